//! A place as a process sees it: bound to an address, serving other places and the coordinator, registered, and drained
//! when it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use dynamos_proto::v1::peer_server::PeerServer;
use dynamos_proto::v1::site_server::SiteServer;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Server, ServerTlsConfig};

use crate::config::SiteConfig;
use crate::error::SiteError;
use crate::executor::Executor;
use crate::flight::ExchangeService;
use crate::lease::PeerService;
use crate::place::TlsFiles;
use crate::registration::Registration;
use crate::service::ControlService;

/// A request, permit and agreements included, may be this large (bytes).
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Streams that one other place may have open at once; as many exchanges of large graphs as could ever wait for each other.
const STREAMS_MAX: u32 = 4096;
/// How long queries that run when the place is told to stop may go on.
const DRAIN: Duration = Duration::from_secs(10);
/// How often a draining place looks whether its queries have ended.
const DRAIN_CHECK: Duration = Duration::from_millis(50);

/// A place that serves. Dropping it stops it at once; cancelling the token it was started with drains it.
#[derive(Debug)]
pub struct RunningSite {
    executor: Executor,
    address: SocketAddr,
    tasks: JoinSet<Result<(), tonic::transport::Error>>,
    /// Ends what would be served without end.
    _over: DropGuard,
}

/// Starts a place. It takes no more queries once `shutdown` is cancelled and ends when those that run have ended, or
/// 10 s later.
///
/// # Errors
///
/// [`SiteError`] says what in the configuration, the files or the address is wrong.
pub async fn start(config: SiteConfig, shutdown: CancellationToken) -> Result<RunningSite, SiteError> {
    let incoming = bind(config.site.listen)?;
    let executor = Executor::start(&config).await?;
    serve(config, executor, incoming, shutdown)
}

/// Takes the address.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpIncoming, SiteError> {
    let incoming = TcpIncoming::bind(address).map_err(|source| SiteError::Listen { address, source })?;
    Ok(incoming.with_nodelay(Some(true)))
}

/// Serves a place that is open, on an address that is taken.
pub(crate) fn serve(
    config: SiteConfig,
    executor: Executor,
    incoming: TcpIncoming,
    shutdown: CancellationToken,
) -> Result<RunningSite, SiteError> {
    let listen = config.site.listen;
    let address = incoming.local_addr().map_err(|source| SiteError::Listen { address: listen, source })?;
    let uri = config.site.advertise.clone().unwrap_or_else(|| format!("https://{address}"));
    let drained = CancellationToken::new();
    let router = router(&config, &executor, &shutdown, &drained)?;
    let over = drained.clone().drop_guard();
    let mut tasks = JoinSet::new();
    let (draining, closing) = (executor.clone(), shutdown.clone());
    tasks.spawn(async move {
        let stopped = drained.clone();
        let serving = router.serve_with_incoming_shutdown(incoming, stopped.cancelled_owned());
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended,
            () = closing.cancelled() => {}
        }
        let end = Instant::now() + DRAIN;
        tokio::select! {
            ended = &mut serving => return ended,
            () = drain(&draining, end) => {}
        }
        drained.cancel();
        // The last rows of a query that has ended may still be on their way to a reader.
        tokio::time::timeout_at(end.max(Instant::now() + DRAIN_CHECK), serving).await.unwrap_or(Ok(()))
    });
    let registration = Registration { executor: executor.clone(), config, uri, closing: shutdown };
    tasks.spawn(async move {
        registration.run().await;
        Ok(())
    });
    tracing::info!(site = %executor.name(), %address, "serving");
    Ok(RunningSite { executor, address, tasks, _over: over })
}

fn router(
    config: &SiteConfig,
    executor: &Executor,
    closing: &CancellationToken,
    drained: &CancellationToken,
) -> Result<Router, SiteError> {
    let files = TlsFiles::read(config)?;
    let tls = ServerTlsConfig::new().identity(files.identity).client_ca_root(files.authority);
    let control = ControlService { executor: executor.clone(), closing: closing.clone() };
    let control = SiteServer::new(control).max_decoding_message_size(REQUEST_BYTES_MAX);
    let exchange = FlightServiceServer::new(ExchangeService(executor.clone()));
    let peer = PeerService { executor: executor.clone(), drained: drained.clone() };
    let server = Server::builder().tls_config(tls).map_err(SiteError::Tls)?;
    let mut server = server.http2_keepalive_interval(Some(DRAIN)).max_concurrent_streams(Some(STREAMS_MAX));
    Ok(server.add_service(control).add_service(exchange).add_service(PeerServer::new(peer)))
}

/// Waits for the queries of a place, and for those of others that its rows have reached: they could not go on without it. But
/// not for ever.
async fn drain(executor: &Executor, end: Instant) {
    let ended = async {
        while executor.running() > 0 || executor.place().grants.any_held(Instant::now()) {
            tokio::time::sleep(DRAIN_CHECK).await;
        }
    };
    if tokio::time::timeout_at(end, ended).await.is_err() {
        tracing::warn!(queries = executor.running(), "queries are cancelled at the end of the drain");
        executor.place().queries.cancel_all();
    }
}

impl RunningSite {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The place without its sockets.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Waits until the place has stopped.
    ///
    /// # Errors
    ///
    /// [`SiteError::Serve`] if serving failed.
    pub async fn stopped(mut self) -> Result<(), SiteError> {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(SiteError::Serve(error)),
                Err(lost) => return Err(SiteError::Engine(lost.to_string())),
            }
        }
        Ok(())
    }
}
