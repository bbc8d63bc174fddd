//! [`Channels`]: one channel for each place, kept between queries and replaced when a site has moved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dynamos_planner::catalog::Catalog;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};

use super::channel::{RootExecutor, SiteChannel, SiteConnector};

/// The channels to all places, the coordinator's own executor among them.
pub struct Channels {
    root: Arc<dyn RootExecutor>,
    connector: Box<dyn SiteConnector>,
    open: Mutex<BTreeMap<SiteId, OpenChannel>>,
}

struct OpenChannel {
    /// Where the site listened when the channel was made.
    uri: String,
    channel: Arc<dyn SiteChannel>,
}

impl Channels {
    /// No channel yet.
    pub fn new(root: Arc<dyn RootExecutor>, connector: Box<dyn SiteConnector>) -> Self {
        Self { root, connector, open: Mutex::default() }
    }

    /// The executor of fragment 0.
    pub fn root(&self) -> &Arc<dyn RootExecutor> {
        &self.root
    }

    /// The channel to a place of this catalog.
    pub fn to(&self, site: &SiteId, catalog: &Catalog) -> Result<Arc<dyn SiteChannel>, ServiceError> {
        if site.is_coordinator() {
            return Ok(Arc::clone(&self.root) as Arc<dyn SiteChannel>);
        }
        let Some(place) = catalog.sites.get(site) else {
            return Err(ServiceError::new(Code::SiteUnavailable, format!("site `{site}` has not registered")));
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(site).filter(|known| known.uri == place.uri) {
            return Ok(Arc::clone(&known.channel));
        }
        let channel = self.connector.connect(site, &place.uri)?;
        let uri = place.uri.clone();
        open.insert(site.clone(), OpenChannel { uri, channel: Arc::clone(&channel) });
        Ok(channel)
    }
}
