//! [`Purposes`]: the purposes that this release knows, as a [`Hierarchy`] for each version that was ever shipped. This one: the six purposes of secondary use in Regulation (EU)
//! 2025/327 (European Health Data Space), article 53(1), and below them terms of the GA4GH Data Use Ontology. Which
//! purpose a query has is declared by the requester and vouched for by the requester's organisation, not found here.
//!
//! ```text
//! secondary_use
//! ├── public_health      53(1)(a)
//! ├── policy_making      53(1)(b)
//! ├── statistics         53(1)(c)
//! ├── education          53(1)(d)
//! ├── research           53(1)(e)
//! │   ├── product_development (i), algorithm_training (ii), scientific_research
//! │   └── DUO:0000042 general research use
//! │       ├── DUO:0000006 health, medical or biomedical ── DUO:0000007, DUO:0000037 ── DUO:0000038, 39, 40
//! │       ├── DUO:0000011 origins or ancestry ── DUO:0000032 ── DUO:0000033
//! │       └── DUO:0000031 method development, DUO:0000034 and 35 age and gender category
//! └── care_improvement   53(1)(f)
//! ```
//!
//! `DUO:0000004` (no restriction) is left out: a grant on it would cover everything, which a steward can write as
//! `secondary_use` when it is meant. DUO's modifiers are conditions, not purposes.

use std::collections::{BTreeMap, BTreeSet};

use super::hierarchy::{Hierarchy, HierarchyError};

/// The newest version of [`shipped`], under which agreements are signed now.
pub const SHIPPED_VERSION: u32 = 1;

const EDGES: [(&str, &str); 22] = [
    ("public_health", "secondary_use"),
    ("policy_making", "secondary_use"),
    ("statistics", "secondary_use"),
    ("education", "secondary_use"),
    ("research", "secondary_use"),
    ("care_improvement", "secondary_use"),
    ("product_development", "research"),
    ("algorithm_training", "research"),
    ("scientific_research", "research"),
    ("DUO:0000042", "research"),
    ("DUO:0000006", "DUO:0000042"),
    ("DUO:0000007", "DUO:0000006"),
    ("DUO:0000037", "DUO:0000006"),
    ("DUO:0000038", "DUO:0000037"),
    ("DUO:0000039", "DUO:0000037"),
    ("DUO:0000040", "DUO:0000037"),
    ("DUO:0000011", "DUO:0000042"),
    ("DUO:0000032", "DUO:0000011"),
    ("DUO:0000033", "DUO:0000032"),
    ("DUO:0000031", "DUO:0000042"),
    ("DUO:0000034", "DUO:0000042"),
    ("DUO:0000035", "DUO:0000042"),
];

/// The hierarchies of purposes by version. An agreement is read under the version that it was signed under, whatever lies
/// below what in a later one: its steward has agreed to that and to nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purposes {
    versions: BTreeMap<u32, Hierarchy>,
}

impl Default for Purposes {
    /// Only [`SHIPPED_VERSION`], in which no purpose lies below another.
    fn default() -> Self {
        Self::new([(SHIPPED_VERSION, Hierarchy::default())])
    }
}

impl Purposes {
    /// These versions.
    pub fn new(versions: impl IntoIterator<Item = (u32, Hierarchy)>) -> Self {
        Self { versions: versions.into_iter().collect() }
    }

    /// A version of the hierarchy, if it is known.
    pub fn version(&self, version: u32) -> Option<&Hierarchy> {
        self.versions.get(&version)
    }

    /// Every name of the newest version that has a parent, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.versions.values().next_back().into_iter().flat_map(Hierarchy::names)
    }

    /// Every name of the newest version, with those at the top.
    pub fn all(&self) -> BTreeSet<&str> {
        self.versions.values().next_back().map(Hierarchy::all).unwrap_or_default()
    }

    /// Whether `granted` covers `asked` in the newest version: what is signed for a short time, such as a token, is read
    /// under that.
    pub fn covers(&self, granted: &str, asked: &str) -> bool {
        let newest = self.versions.values().next_back();
        newest.map_or(granted == asked, |newest| newest.covers(granted, asked))
    }
}

/// The purposes that come with this release.
pub fn shipped() -> Result<Purposes, HierarchyError> {
    Ok(Purposes::new([(SHIPPED_VERSION, Hierarchy::new(EDGES)?)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_purposes_form_one_tree_under_secondary_use() {
        let purposes = shipped().unwrap();
        for name in purposes.version(SHIPPED_VERSION).unwrap().names() {
            assert!(purposes.covers("secondary_use", name), "{name}");
        }
        let all = purposes.all();
        assert!(all.contains("secondary_use") && all.contains("DUO:0000040"), "{all:?}");
        assert_eq!(all.len(), EDGES.len() + 1);
    }

    #[test]
    fn a_grant_for_research_covers_disease_specific_research_but_not_statistics() {
        let purposes = shipped().unwrap();
        assert!(purposes.covers("research", "DUO:0000007"));
        assert!(purposes.covers("DUO:0000006", "DUO:0000039"));
        assert!(!purposes.covers("research", "statistics"));
        assert!(!purposes.covers("DUO:0000007", "DUO:0000006"));
        // HMB says that it does not include the study of origins or ancestry.
        assert!(!purposes.covers("DUO:0000006", "DUO:0000033"));
        assert!(!purposes.covers("secondary_use", "marketing"));
    }
}
