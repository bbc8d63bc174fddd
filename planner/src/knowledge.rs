//! What is known of links and places when plans are costed. Configured for now; measurements fill the same interface.

use std::collections::BTreeMap;

use dynamos_proto::ids::SiteId;

/// A link in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bytes a second.
    pub bandwidth_bytes_s: f64,
    /// Round trip time, milliseconds.
    pub round_trip_ms: f64,
}

/// Costs as they are believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Knowledge {
    /// Rises with every change.
    pub version: u64,
    /// A link that is not listed.
    pub default_link: Link,
    /// By sender and receiver.
    pub links: BTreeMap<(SiteId, SiteId), Link>,
    /// Speed of a place relative to the reference machine; 1 where not listed.
    pub speed: BTreeMap<SiteId, f64>,
}

impl Default for Knowledge {
    fn default() -> Self {
        // 1 Gbit/s within a country.
        let default_link = Link { bandwidth_bytes_s: 125.0e6, round_trip_ms: 1.0 };
        Self { version: 0, default_link, links: BTreeMap::new(), speed: BTreeMap::new() }
    }
}

impl Knowledge {
    /// The link from one place to another.
    pub fn link(&self, from: &SiteId, to: &SiteId) -> Link {
        self.links.get(&(from.clone(), to.clone())).copied().unwrap_or(self.default_link)
    }

    /// A place's relative speed.
    pub fn speed(&self, place: &SiteId) -> f64 {
        self.speed.get(place).copied().unwrap_or(1.0).max(0.01)
    }
}
