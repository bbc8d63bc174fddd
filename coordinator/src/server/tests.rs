//! Both ports over real TLS: who gets in, and what a client sees.

use std::net::SocketAddr;
use std::path::Path;

use arrow_flight::sql::client::FlightSqlServiceClient;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::token::{self, Claims};
use dynamos_proto::v1;
use dynamos_proto::v1::registry_client::RegistryClient;
use futures::TryStreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::running::{CoordinatorError, RunningCoordinator, start};
use crate::config::CoordinatorConfig;
use crate::dispatch::testing::FakePlace;
use crate::registry::tests::{announcement, key};

/// An authority that vouches for places, with its files in a folder.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// Certificate and key of a place, PEM.
    fn place(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![format!("{name}.dynamos")]).unwrap();
        let uri = format!("spiffe://dynamos/place/{name}");
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn config(&self, sites_listen: &str) -> CoordinatorConfig {
        let folder = self.folder.path();
        let (cert, private) = self.place("coordinator");
        std::fs::write(folder.join("cert.pem"), cert).unwrap();
        std::fs::write(folder.join("key.pem"), private).unwrap();
        std::fs::write(folder.join("signing.key"), "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n").unwrap();
        let text = format!(
            "state_dir = \"state\"\n[coordinator]\nname = \"test\"\nlisten = \"127.0.0.1:0\"\n\
             sites_listen = \"{sites_listen}\"\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nca = \"ca.pem\"\n\
             [keys]\nsigning = \"signing.key\"\n[[organisations]]\nname = \"uva\"\npublic_key = \"{}\"\n\
             [[sites]]\nname = \"uva\"\nkind = \"steward\"\npublic_key = \"{}\"\nroles = [\"university\"]\n\
             regions = [\"eu\"]\n[[sites]]\nname = \"surf\"\nkind = \"provider\"\n",
            key(5).public().to_text(),
            key(1).public().to_text(),
        );
        CoordinatorConfig::parse(&text, &folder.join("coordinator.toml")).unwrap()
    }

    async fn connect(&self, address: SocketAddr, place: Option<&str>) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.issuer.pem()))
            .domain_name("coordinator.dynamos");
        if let Some(place) = place {
            let (cert, key) = self.place(place);
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap().connect().await
    }
}

async fn coordinator(config: &CoordinatorConfig) -> Result<RunningCoordinator, CoordinatorError> {
    start(config, FakePlace::new(), CancellationToken::new()).await
}

#[tokio::test]
async fn sites_register_with_their_own_certificate_only() {
    let authority = Authority::new();
    let running = coordinator(&authority.config("127.0.0.1:0")).await.unwrap();
    let register = async |place: Option<&str>| {
        let channel = authority.connect(running.sites_address(), place).await.map_err(|_| None)?;
        let answer = RegistryClient::new(channel).register(announcement()).await;
        answer.map(|_| ()).map_err(|status| Some(ServiceError::from_status(&status).code))
    };
    assert_eq!(register(Some("surf")).await, Err(Some(Code::Denied)));
    assert_eq!(register(Some("stranger")).await, Err(Some(Code::Denied)));
    // Without a certificate the connection fails, at the handshake or at the first call.
    assert!(matches!(register(None).await, Err(None | Some(Code::SiteUnavailable | Code::Internal))));
    assert!(!running.registry().snapshot().is_up(&SiteId::new("uva")));
    assert_eq!(register(Some("uva")).await, Ok(()));
    assert!(running.registry().snapshot().is_up(&SiteId::new("uva")));

    let channel = authority.connect(running.sites_address(), Some("surf")).await.unwrap();
    let heartbeat = v1::HeartbeatRequest { site: "surf".into() };
    let reply = RegistryClient::new(channel).heartbeat(heartbeat).await.unwrap();
    assert!(reply.into_inner().register_again);
}

#[tokio::test]
async fn clients_get_in_by_token_and_calls_end_at_shutdown() {
    let authority = Authority::new();
    let running = coordinator(&authority.config("127.0.0.1:0")).await.unwrap();
    let site = authority.connect(running.sites_address(), Some("uva")).await.unwrap();
    RegistryClient::new(site).register(announcement()).await.unwrap();
    let claims = Claims {
        iss: "uva".into(),
        sub: "a@uva.nl".into(),
        roles: vec![],
        purposes: vec!["statistics".into()],
        exp: i64::MAX - 100,
        jti: "1".into(),
    };
    let channel = authority.connect(running.clients_address(), None).await.unwrap();
    let mut client = FlightSqlServiceClient::new(channel);
    client.set_token("not a token".to_owned());
    assert!(client.execute("SHOW AGREEMENTS".to_owned(), None).await.is_err());
    client.set_token(token::issue(&claims, &key(5)).unwrap());
    let info = client.execute("SHOW AGREEMENTS".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches: Vec<_> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    drop(client);
    running.shutdown.cancel();
    running.wait().await;
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_named() {
    let authority = Authority::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = coordinator(&authority.config(&address)).await.err().unwrap().to_string();
    assert!(error.contains("sites") && error.contains(&address), "{error}");

    let mut config = authority.config("127.0.0.1:0");
    config.tls.ca = Path::new("missing.pem").to_owned();
    let error = coordinator(&config).await.err().unwrap().to_string();
    assert!(error.contains("authority") && error.contains("missing.pem"), "{error}");

    let config = authority.config("127.0.0.1:0");
    std::fs::write(&config.keys.signing, "short").unwrap();
    assert!(matches!(coordinator(&config).await, Err(CoordinatorError::Key { .. })));
}
