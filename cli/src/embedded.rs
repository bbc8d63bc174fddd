//! The site executor of the place `coordinator`, in the coordinator's own process: it runs the last fragment of each
//! query and holds no tables. The coordinator knows it only as a [`RootExecutor`].

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use dynamos_coordinator::config::CoordinatorConfig;
use dynamos_coordinator::dispatch::{Begun, RootExecutor, SiteChannel};
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::sign::SigningKey;
use dynamos_proto::status::ServiceError;
use dynamos_proto::v1;
use dynamos_site::config::{CoordinatorSection, KeysSection, Limits, Organisation, Peer, PlaceKind, SiteSection};
use dynamos_site::{Executor, SiteConfig};

/// The executor of the place `coordinator`.
#[derive(Debug)]
pub struct EmbeddedExecutor(Executor);

impl EmbeddedExecutor {
    /// Starts it from what the coordinator is configured with.
    pub async fn start(config: &CoordinatorConfig) -> anyhow::Result<Arc<Self>> {
        let key = std::fs::read_to_string(&config.keys.signing)
            .with_context(|| format!("cannot read the signing key `{}`", config.keys.signing.display()))?;
        let public_key = SigningKey::from_text(&key)?.public().to_text();
        let executor = Executor::start(&SiteConfig {
            site: SiteSection {
                name: SiteId::coordinator(),
                listen: config.coordinator.sites_listen,
                advertise: None,
                kind: PlaceKind::Coordinator,
                roles: config.coordinator.roles.iter().cloned().collect(),
                regions: config.coordinator.regions.iter().cloned().collect(),
                purposes: Vec::new(),
                state_dir: config.state_dir.join("executor"),
                agreements_dir: None,
            },
            tls: config.tls.clone(),
            keys: KeysSection { signing: None },
            coordinator: CoordinatorSection { uri: format!("https://{}", config.coordinator.sites_listen), public_key },
            peers: config
                .sites
                .iter()
                .map(|site| Peer {
                    name: SiteId::new(&site.name),
                    roles: site.roles.iter().cloned().collect(),
                    regions: site.regions.iter().cloned().collect(),
                    public_key: site.public_key.as_ref().map(|key| key.0.to_text()),
                })
                .collect(),
            organisations: config
                .organisations
                .iter()
                .map(|one| Organisation { name: one.name.clone(), public_key: one.public_key.0.to_text() })
                .collect(),
            limits: Limits::default(),
            tables: Vec::new(),
            federated: Vec::new(),
        })
        .await?;
        Ok(Arc::new(Self(executor)))
    }
}

#[async_trait]
impl SiteChannel for EmbeddedExecutor {
    async fn submit(&self, permit: v1::Permit) -> Result<(), ServiceError> {
        self.0.submit(permit).await
    }

    async fn cancel(&self, query: &QueryId, attempt: u32, begun: Begun) {
        let not_begun = begun == Begun::Nowhere;
        self.0.cancel(&v1::CancelRequest { query_id: query.to_string(), not_begun, attempt }).await;
    }

    async fn report(&self, query: &QueryId) -> Result<Vec<v1::FragmentReport>, ServiceError> {
        Ok(self.0.report(query))
    }

    async fn change_agreement(&self, statement: &str, token: &str) -> Result<Vec<v1::SignedAgreement>, ServiceError> {
        Ok(vec![self.0.change_agreement(statement.to_owned(), token.to_owned()).await?])
    }
}

#[async_trait]
impl RootExecutor for EmbeddedExecutor {
    async fn open_root(&self, query: &QueryId) -> Result<SendableRecordBatchStream, ServiceError> {
        self.0.open_root(query)
    }
}
