//! The knowledge file: costs of links and places as the planner is to believe them.
//!
//! ```toml
//! version = 1                          # may be left out
//!
//! [default_link]                       # a link that is not listed
//! bandwidth_mbit_per_s = 1000
//! latency = "1ms"                      # of a round trip
//!
//! [[links]]                            # in one direction
//! from = "uva"
//! to = "surf"
//! bandwidth_mbit_per_s = 100
//! latency = "20ms"
//!
//! [speed]                              # relative to the reference machine; 1 where not listed
//! surf = 4.0
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use dynamos_coordinator::config::{LinksSection, Span};
use dynamos_coordinator::query::Links;
use dynamos_planner::catalog::Catalog;
use dynamos_planner::knowledge::{Knowledge, Link};
use dynamos_proto::ids::SiteId;
use dynamos_proto::settings;
use serde::Deserialize;

use super::error::ExplainError;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnowledgeFile {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    default_link: Option<LinksSection>,
    #[serde(default)]
    links: Vec<LinkSection>,
    #[serde(default)]
    speed: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkSection {
    from: String,
    to: String,
    bandwidth_mbit_per_s: u64,
    latency: Span,
}

/// Reads a knowledge file about the places of a catalog.
///
/// # Errors
///
/// When the file cannot be read, has an unknown key, or speaks of a place that there is not.
pub fn read_knowledge(path: &Path, catalog: &Catalog) -> Result<Knowledge, ExplainError> {
    let text = settings::text(path)?;
    knowledge(&text, catalog).map_err(|problem| ExplainError::content(path, problem))
}

fn knowledge(text: &str, catalog: &Catalog) -> Result<Knowledge, String> {
    let file: KnowledgeFile = settings::parse(text)?;
    let place = |name: &str| {
        let place = SiteId::new(name);
        catalog
            .sites
            .contains_key(&place)
            .then_some(place)
            .ok_or_else(|| format!("`{name}` is no place of the catalog"))
    };
    let mut knowledge = Knowledge { version: file.version, ..Knowledge::default() };
    if let Some(link) = file.default_link {
        knowledge.default_link = believed(link.bandwidth_mbit_per_s, link.latency, "default_link")?;
    }
    for link in &file.links {
        let between = format!("the link from `{}` to `{}`", link.from, link.to);
        let value = believed(link.bandwidth_mbit_per_s, link.latency, &between)?;
        if knowledge.links.insert((place(&link.from)?, place(&link.to)?), value).is_some() {
            return Err(format!("{between} is given twice; remove one"));
        }
    }
    for (name, speed) in &file.speed {
        if !(speed.is_finite() && *speed > 0.0) {
            return Err(format!("the speed of `{name}` must be above 0"));
        }
        knowledge.speed.insert(place(name)?, *speed);
    }
    Ok(knowledge)
}

fn believed(bandwidth_mbit_per_s: u64, latency: Span, which: &str) -> Result<Link, String> {
    if bandwidth_mbit_per_s == 0 {
        return Err(format!("`bandwidth_mbit_per_s` of {which} is 0; give what the link carries"));
    }
    Ok(Links { bandwidth_mbit_per_s, latency: latency.0 }.into())
}

#[cfg(test)]
mod tests {
    use dynamos_planner::catalog::{Availability, Site, SiteKind};

    use super::*;

    fn places() -> Catalog {
        let site = || Site {
            kind: SiteKind::Provider,
            roles: Default::default(),
            regions: Default::default(),
            uri: String::new(),
            availability: Availability::Up,
            tables: BTreeMap::new(),
        };
        let sites = ["uva", "surf"].map(|name| (SiteId::new(name), site())).into();
        Catalog { sites, ..Catalog::default() }
    }

    const FILE: &str = "version = 3\n[default_link]\nbandwidth_mbit_per_s = 1000\nlatency = \"5ms\"\n[[links]]\n\
        from = \"uva\"\nto = \"surf\"\nbandwidth_mbit_per_s = 100\nlatency = \"20ms\"\n[speed]\nsurf = 4.0\n";

    #[test]
    fn reads_links_in_one_direction_and_speeds() {
        let (uva, surf) = (SiteId::new("uva"), SiteId::new("surf"));
        let knowledge = knowledge(FILE, &places()).unwrap();
        assert_eq!(knowledge.version, 3);
        assert_eq!(knowledge.link(&uva, &surf), Link { bandwidth_bytes_s: 12.5e6, round_trip_ms: 20.0 });
        assert_eq!(knowledge.link(&surf, &uva), Link { bandwidth_bytes_s: 125.0e6, round_trip_ms: 5.0 });
        assert_eq!((knowledge.speed(&uva), knowledge.speed(&surf)), (1.0, 4.0));
    }

    #[test]
    fn refuses_unknown_keys_and_places() {
        for (from, to, expected) in [
            ("version = 3", "colour = 3", "colour"),
            ("from = \"uva\"", "from = \"vu\"", "`vu` is no place"),
            ("surf = 4.0", "vu = 4.0", "`vu` is no place"),
            ("surf = 4.0", "surf = 0.0", "must be above 0"),
            ("bandwidth_mbit_per_s = 100\n", "bandwidth_mbit_per_s = 0\n", "from `uva` to `surf` is 0"),
            ("latency = \"20ms\"", "latency = \"20\"", "`20`"),
        ] {
            let error = knowledge(&FILE.replacen(from, to, 1), &places()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
