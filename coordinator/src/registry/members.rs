//! [`Members`]: changes of the registry that outlast the coordinator. Each is checked, then replicated, and counts only then.

use std::collections::BTreeMap;
use std::sync::Arc;

use dynamos_proto::ids::SiteId;
use dynamos_proto::state::command::Change;
use dynamos_proto::state::{Agreements, Organisation, Organisations, Outcome, Row};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;

use super::places::{Registration, Registry};
use crate::consensus::{Replication, Rows};

/// The places of the federation and what they have agreed, as they may be changed.
pub struct Members {
    registry: Arc<Registry>,
    replication: Arc<dyn Replication>,
}

impl Members {
    /// The members in `registry`, whose changes are kept by `replication`. That must tell the registry of what is kept.
    pub fn new(registry: Arc<Registry>, replication: Arc<dyn Replication>) -> Self {
        Self { registry, replication }
    }

    /// Takes in what a site announces about itself; gives the new catalog version. `caller` is who its certificate says it
    /// is.
    pub async fn register(&self, caller: &SiteId, announcement: &v1::Announcement) -> Result<u64, ServiceError> {
        let offered = self.registry.examine(caller, announcement)?;
        if let Some(news) = offered.news() {
            let outcome = self.replication.replicate(Change::Announced(news)).await?;
            accepted(&outcome)?;
        }
        Ok(self.registry.admit(offered))
    }

    /// Notes that a site is alive, and says whether it is registered.
    pub fn heartbeat(&self, caller: &SiteId, site: &str) -> Result<Registration, ServiceError> {
        self.registry.heartbeat(caller, site)
    }

    /// Takes in agreements that a steward changed on somebody's request; when this returns, they outlast the coordinator.
    pub async fn agreements_changed(
        &self,
        steward: &SiteId,
        changed: &[v1::SignedAgreement],
    ) -> Result<(), ServiceError> {
        let agreements = self.registry.changed(steward, changed)?;
        if agreements.is_empty() {
            return Ok(());
        }
        let outcome = self.replication.replicate(Change::Agreements(Agreements { agreements })).await?;
        accepted(&outcome)
    }

    /// Takes in the organisations that are configured, by name, with the keys of their users' tokens.
    pub async fn organisations(&self, configured: BTreeMap<String, String>) -> Result<(), ServiceError> {
        let kept = self.registry.organisations();
        if kept == configured {
            return Ok(());
        }
        let other = |(name, key): &(&String, &String)| kept.get(*name).is_some_and(|kept| kept != *key);
        for (name, _) in configured.iter().filter(other) {
            tracing::warn!(organisation = %name, "the key of this organisation's tokens is another than before");
        }
        let organisations = configured.into_iter().map(|(name, public_key)| Organisation { name, public_key });
        let change = Change::Organisations(Organisations { organisations: organisations.collect() });
        self.replication.replicate(change).await.map(drop)
    }
}

/// A version that was overtaken by a newer one is no failure; one that contradicts another is.
fn accepted(outcome: &Outcome) -> Result<(), ServiceError> {
    match outcome.refused.iter().find(|refused| refused.offered == refused.known) {
        None => Ok(()),
        Some(refused) => {
            let text = format!(
                "agreement `{}` of `{}`: epoch {} has two different texts",
                refused.name, refused.steward, refused.offered
            );
            Err(ServiceError::new(Code::StaleBasis, text).with_hint("issue the agreement anew at the steward's site"))
        }
    }
}

impl Rows for Registry {
    fn put(&self, rows: &[Row]) {
        Self::put(self, rows);
    }
}
