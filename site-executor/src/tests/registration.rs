//! How a site makes itself known, and how it starts and stops.

use std::time::Duration;

use dynamos_proto::v1::registry_server::{Registry, RegistryServer};
use dynamos_proto::v1::{Announcement, HeartbeatReply, HeartbeatRequest, RegisterReply};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::SiteError;
use crate::config::PlaceKind;
use crate::place::TlsFiles;
use crate::server::{bind, start};
use crate::testing::*;

const ROWS: &str = "1,a,100\n2,a,200\n";

/// A coordinator that hands announcements on and forgets its sites at every heartbeat.
struct Forgetful(mpsc::UnboundedSender<Announcement>);

#[async_trait::async_trait]
impl Registry for Forgetful {
    async fn register(&self, request: Request<Announcement>) -> Result<Response<RegisterReply>, Status> {
        self.0.send(request.into_inner()).map_err(|_| Status::unavailable("the test has ended"))?;
        Ok(Response::new(RegisterReply { catalog_version: 1, heartbeat_ms: 60_000 }))
    }

    async fn heartbeat(&self, _request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatReply>, Status> {
        Ok(Response::new(HeartbeatReply { register_again: true }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_announces_itself_again_when_its_agreements_change_and_stops_when_told() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    federation.stop("uva");
    let tls = TlsFiles::read(&federation.config_of("coordinator", PlaceKind::Coordinator)).unwrap();
    let tls = ServerTlsConfig::new().identity(tls.identity).client_ca_root(tls.authority);
    let (sender, mut announced) = mpsc::unbounded_channel();
    let incoming = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut config = federation.steward("uva", ROWS, PLAIN);
    config.coordinator.uri = format!("https://{}", incoming.local_addr().unwrap());
    let router = Server::builder().tls_config(tls).unwrap().add_service(RegistryServer::new(Forgetful(sender)));
    let mut coordinator = JoinSet::new();
    coordinator.spawn(router.serve_with_incoming(incoming));

    let shutdown = CancellationToken::new();
    let site = start(config, shutdown.clone()).await.unwrap();
    let first = announced.recv().await.unwrap();
    assert_eq!((first.site.as_str(), first.kind.as_str()), ("uva", "steward"));
    assert_eq!(first.uri, format!("https://{}", site.address()));
    // No smaller number is published.
    assert_eq!((first.tables.len(), first.tables[0].rows, first.tables[0].entity.as_str()), (1, 100, "id"));
    assert_eq!(first.agreements[0].epoch, 1);

    let revoke = "REVOKE AGREEMENT a ON SITE uva".to_owned();
    site.executor().change_agreement(revoke, token("uva")).await.unwrap();
    let second = announced.recv().await.unwrap();
    assert_eq!((second.agreements[0].epoch, second.agreements[0].revoked), (2, true));

    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), site.stopped()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_address_is_an_error_that_names_it() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let mut config = federation.config_of("surf", PlaceKind::Provider);
    config.site.listen = federation.sites["surf"].address();
    let error = start(config.clone(), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, SiteError::Listen { .. }));
    assert!(error.to_string().contains(&config.site.listen.to_string()), "{error}");
}
