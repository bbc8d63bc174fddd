//! A running coordinator: both ports, the loop that looks for silent sites, the owner of the replicated state, and the
//! orderly end of all of it.
//!
//! ```text
//! listen        Flight SQL, TLS; a client certificate is checked if one is shown, users are known by their tokens
//! sites_listen  registry, mTLS; sites are known by their certificates
//! ```

use std::collections::BTreeMap;
use std::error::Error as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dynamos_planner::policy::{HierarchyError, purpose};
use dynamos_proto::sign::{SignError, SigningKey};
use dynamos_proto::v1::registry_server::RegistryServer;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::background::blocking;
use crate::clock::{Clock, SystemClock};
use crate::config::CoordinatorConfig;
use crate::consensus::{self, Alone, ConsensusError, Group, Owner, Replica};
use crate::decision::{DecisionError, DecisionLog};
use crate::dispatch::{Channels, GrpcConnector, MutualTls, RootExecutor};
use crate::frontend;
use crate::query::{EngineParts, FederationPlanner, Links, PlannerDoor, QueryEngine};
use crate::registry::{KnownPlaces, KnownSite, Members, Registry, RegistryService, watch_liveness};

/// A peer that does not finish its TLS handshake within this time is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long calls may go on after the coordinator was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// HTTP/2 flow control: enough for 1 Gbit/s over 30 ms, bytes.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// The file of the replicated state, in `state_dir`.
const STATE_FILE: &str = "federation.redb";
/// The largest announcement that is read, bytes; federations have sites with thousands of tables.
const ANNOUNCEMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a coordinator does not start.
#[derive(Debug, Error)]
pub enum CoordinatorError {
    /// A port cannot be had.
    #[error("cannot listen for {whom} at `{address}`; stop what listens there or configure another port")]
    Bind {
        /// For whom: clients or sites.
        whom: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that the configuration names cannot be read.
    #[error("cannot read {what} `{path}`")]
    Read {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The signing key is not one.
    #[error("the signing key in `{path}` cannot be used")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SignError,
    },
    /// The certificates do not make a TLS server.
    #[error("the certificates in `tls` cannot be used")]
    Tls(#[source] tonic::transport::Error),
    /// The decision log cannot be opened.
    #[error(transparent)]
    Decisions(#[from] DecisionError),
    /// The replicated state cannot be opened.
    #[error(transparent)]
    State(#[from] ConsensusError),
    /// The replicated state takes no changes.
    #[error("the replicated state takes no changes: {0}")]
    Change(String),
    /// The shipped purposes are not a hierarchy.
    #[error("the hierarchy of purposes is broken")]
    Purposes(#[from] HierarchyError),
    /// The front door cannot be built.
    #[error("the front door cannot be built: {0}")]
    Door(String),
}

/// A coordinator that serves.
pub struct RunningCoordinator {
    clients: SocketAddr,
    sites: SocketAddr,
    registry: Arc<Registry>,
    engine: Arc<QueryEngine>,
    tasks: JoinSet<()>,
    replica: Replica,
    /// The thread that owns the replicated state.
    state: JoinSet<Result<(), ConsensusError>>,
    pub(super) shutdown: CancellationToken,
}

impl RunningCoordinator {
    /// Where clients reach it.
    pub fn clients_address(&self) -> SocketAddr {
        self.clients
    }

    /// Where sites reach it.
    pub fn sites_address(&self) -> SocketAddr {
        self.sites
    }

    /// Who takes part.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The engine behind the front door.
    pub fn engine(&self) -> &Arc<QueryEngine> {
        &self.engine
    }

    /// Serves until the shutdown token fires, or a server stops by itself; then lets calls end and tells places to stop.
    pub async fn wait(mut self) {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {}
            _ = self.tasks.join_next() => tracing::error!("a server stopped; the coordinator shuts down"),
            ended = self.state.join_next() => {
                told(ended);
                tracing::error!("the replicated state stopped; the coordinator shuts down");
            }
        }
        self.shutdown.cancel();
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_MAX, rest).await.is_err() {
            tracing::warn!("calls are cut off at shutdown");
            self.tasks.shutdown().await;
        }
        self.engine.drain().await;
        self.replica.stop().await;
        while let Some(ended) = self.state.join_next().await {
            told(Some(ended));
        }
    }
}

/// Tells how the thread of the replicated state ended, if that was not in order.
fn told(ended: Option<Result<Result<(), ConsensusError>, JoinError>>) {
    match ended {
        Some(Ok(Err(error))) => {
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "the replicated state failed");
        }
        Some(Err(error)) => tracing::error!(%error, "the thread of the replicated state failed"),
        Some(Ok(Ok(()))) | None => {}
    }
}

/// Starts a coordinator whose fragments run at `root`. It serves when this returns, until `shutdown`.
pub async fn start(
    config: &CoordinatorConfig,
    root: Arc<dyn RootExecutor>,
    shutdown: CancellationToken,
) -> Result<RunningCoordinator, CoordinatorError> {
    let links = Links { bandwidth_mbit_per_s: config.links.bandwidth_mbit_per_s, latency: config.links.latency.0 };
    start_with_planner(config, root, Arc::new(FederationPlanner::new(links)), shutdown).await
}

/// The same with another planner.
pub async fn start_with_planner(
    config: &CoordinatorConfig,
    root: Arc<dyn RootExecutor>,
    planner: Arc<dyn PlannerDoor>,
    shutdown: CancellationToken,
) -> Result<RunningCoordinator, CoordinatorError> {
    let tls = MutualTls {
        cert: read("the certificate", &config.tls.cert)?,
        key: read("the private key", &config.tls.key)?,
        ca: read("the authority's certificates", &config.tls.ca)?,
    };
    let seed = read("the signing key", &config.keys.signing)?;
    let key = SigningKey::from_text(&String::from_utf8_lossy(&seed))
        .map_err(|source| CoordinatorError::Key { path: config.keys.signing.clone(), source })?;
    let clients = bind("clients", config.coordinator.listen).await?;
    let sites = bind("sites", config.coordinator.sites_listen).await?;
    let (clients_at, sites_at) = (clients.1, sites.1);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Arc::new(Registry::new(known_places(config), Arc::clone(&clock)));
    let (replica, owner) = replicated(config, Arc::clone(&registry)).await?;
    let mut state = JoinSet::new();
    state.spawn_blocking(move || owner.run());
    let members = Arc::new(Members::new(Arc::clone(&registry), Arc::new(replica.clone())));
    members.organisations(organisations(config)).await.map_err(|error| CoordinatorError::Change(error.to_string()))?;
    // The key of seals is derived inside the door, so the same secret may serve for both.
    let seal = frontend::SigningKey::from_secret(&seed).map_err(|error| CoordinatorError::Door(error.to_string()))?;
    let parts = EngineParts {
        registry: Arc::clone(&registry),
        members: Arc::clone(&members),
        channels: Channels::new(root, Box::new(GrpcConnector::new(tls.clone()))),
        planner,
        decisions: DecisionLog::open(&config.state_dir)?,
        key,
        issuers: config.issuers(),
        purposes: Arc::new(purpose::shipped()?),
        clock,
        deadline: config.limits.query_deadline.0,
    };
    let engine = Arc::new(QueryEngine::new(parts, &config.limits));

    let door = frontend::service(Arc::clone(&engine) as Arc<dyn frontend::Engine>, &seal);
    let for_clients = server(&tls, ClientCertificate::Optional)?.add_service(door);
    let announcements =
        RegistryServer::new(RegistryService::new(members)).max_decoding_message_size(ANNOUNCEMENT_BYTES_MAX);
    let for_sites = server(&tls, ClientCertificate::Required)?.add_service(announcements);

    let mut tasks = JoinSet::new();
    tasks.spawn(serve("clients", for_clients, clients.0, shutdown.clone()));
    tasks.spawn(serve("sites", for_sites, sites.0, shutdown.clone()));
    tasks.spawn(watch_liveness(Arc::clone(&registry), shutdown.clone()));
    tasks.spawn(replica.clone().tick(shutdown.clone()));
    tracing::info!(name = %config.coordinator.name, clients = %clients_at, sites = %sites_at, "coordinator serves");
    Ok(RunningCoordinator { clients: clients_at, sites: sites_at, registry, engine, tasks, replica, state, shutdown })
}

/// Opens the replicated state; the registry then knows what is in it.
async fn replicated(config: &CoordinatorConfig, registry: Arc<Registry>) -> Result<(Replica, Owner), CoordinatorError> {
    let path = config.state_dir.join(STATE_FILE);
    let open = move || consensus::open(&path, &Group::alone(), Box::new(Alone), registry);
    Ok(blocking(open).await.unwrap_or(Err(ConsensusError::Stopped))?)
}

fn organisations(config: &CoordinatorConfig) -> BTreeMap<String, String> {
    config.issuers().iter().map(|(name, key)| (name.clone(), key.to_text())).collect()
}

/// Whether a peer must show a certificate.
#[derive(Clone, Copy)]
enum ClientCertificate {
    Optional,
    Required,
}

fn server(tls: &MutualTls, certificate: ClientCertificate) -> Result<Server, CoordinatorError> {
    let secure = ServerTlsConfig::new()
        .identity(Identity::from_pem(&tls.cert, &tls.key))
        .client_ca_root(Certificate::from_pem(&tls.ca))
        .client_auth_optional(matches!(certificate, ClientCertificate::Optional))
        .timeout(HANDSHAKE_MAX);
    let server = Server::builder().tls_config(secure).map_err(CoordinatorError::Tls)?;
    Ok(server
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10))))
}

async fn serve(whom: &'static str, router: Router, listener: TcpListener, shutdown: CancellationToken) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    if let Err(error) = router.serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned()).await {
        tracing::error!(whom, %error, "server failed");
    }
}

async fn bind(whom: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), CoordinatorError> {
    let failed = |source| CoordinatorError::Bind { whom, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, CoordinatorError> {
    std::fs::read(path).map_err(|source| CoordinatorError::Read { what, path: path.to_owned(), source })
}

fn known_places(config: &CoordinatorConfig) -> KnownPlaces {
    KnownPlaces {
        sites: config.sites.iter().map(KnownSite::from).collect(),
        coordinator_roles: config.coordinator.roles.clone(),
        coordinator_regions: config.coordinator.regions.clone(),
        federated: config.federated_tables(),
    }
}
