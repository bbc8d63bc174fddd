//! [`Snapshot`]: what is known of the federation at one moment. Cheap to clone, never changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use dynamos_planner::catalog::{Availability, Catalog};
use dynamos_planner::policy::AgreementSet;
use dynamos_proto::ids::SiteId;
use dynamos_proto::v1;

/// Catalog and agreements of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Places and tables.
    pub catalog: Arc<Catalog>,
    /// The agreements in force, as values.
    pub agreements: Arc<AgreementSet>,
    /// The same as their stewards signed them, by steward and name; revoked ones are kept for their epoch.
    pub signed: Arc<BTreeMap<(SiteId, String), v1::SignedAgreement>>,
}

impl Snapshot {
    /// An agreement in force as its steward signed it.
    pub fn original(&self, steward: &SiteId, name: &str) -> Option<&v1::SignedAgreement> {
        self.agreements.get(steward, name)?;
        self.signed.get(&(steward.clone(), name.to_owned()))
    }

    /// The newest version that is known of an agreement, in force or revoked.
    pub fn epoch(&self, steward: &SiteId, name: &str) -> Option<u64> {
        self.signed.get(&(steward.clone(), name.to_owned())).map(|signed| signed.epoch)
    }

    /// Whether a place answers now. A place that was never heard of does not.
    pub fn is_up(&self, site: &SiteId) -> bool {
        self.catalog.sites.get(site).is_some_and(|site| site.availability == Availability::Up)
    }
}
