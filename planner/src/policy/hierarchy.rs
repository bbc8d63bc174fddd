//! A hierarchy of names in which a grant on a node covers everything below it. What names there are is data
//! ([`super::purpose`]); this file only knows how to climb.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

/// Child to parent, without cycles. A name that is not in it covers only itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hierarchy {
    parents: BTreeMap<String, String>,
}

/// Why edges are not a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HierarchyError {
    /// A name has two parents.
    #[error("`{child}` lies below both `{first}` and `{second}`; give it one parent")]
    TwoParents {
        /// The name.
        child: String,
        /// The parent given first.
        first: String,
        /// The other parent.
        second: String,
    },
    /// A name lies below itself.
    #[error("`{name}` lies below itself; remove one of the edges of the cycle")]
    Cycle {
        /// A name on the cycle.
        name: String,
    },
}

impl Hierarchy {
    /// Builds a hierarchy of `(child, parent)` edges.
    pub fn new<'a>(edges: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, HierarchyError> {
        let mut parents: BTreeMap<String, String> = BTreeMap::new();
        for (child, parent) in edges {
            match parents.insert(child.to_owned(), parent.to_owned()) {
                Some(first) if first != parent => {
                    return Err(HierarchyError::TwoParents {
                        child: child.to_owned(),
                        first,
                        second: parent.to_owned(),
                    });
                }
                _ => {}
            }
        }
        let hierarchy = Self { parents };
        match hierarchy.parents.keys().find(|name| hierarchy.ancestors(name).any(|above| above == **name)) {
            Some(name) => Err(HierarchyError::Cycle { name: name.clone() }),
            None => Ok(hierarchy),
        }
    }

    /// Whether a grant on `granted` covers `asked`: it is the same name or lies above it.
    pub fn covers(&self, granted: &str, asked: &str) -> bool {
        granted == asked || self.ancestors(asked).any(|above| above == granted)
    }

    /// Everything above `name`, nearest first. Bounded by the number of edges, so that it ends on a cycle, too.
    pub fn ancestors<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        std::iter::successors(self.parents.get(name), |above| self.parents.get(above.as_str()))
            .map(String::as_str)
            .take(self.parents.len())
    }

    /// Every name that has a parent, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parents.keys().map(String::as_str)
    }

    /// Every name, with those at the top.
    pub fn all(&self) -> BTreeSet<&str> {
        self.parents.iter().flat_map(|(child, parent)| [child.as_str(), parent.as_str()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_everything_below_it_and_nothing_above_or_beside() {
        let tree = Hierarchy::new([("b", "a"), ("c", "b"), ("d", "a")]).unwrap();
        for (granted, asked, covered) in [
            ("a", "a", true),
            ("a", "c", true),
            ("b", "c", true),
            ("c", "b", false),
            ("d", "c", false),
            ("a", "unknown", false),
            ("unknown", "unknown", true),
        ] {
            assert_eq!(tree.covers(granted, asked), covered, "{granted} covers {asked}");
        }
    }

    #[test]
    fn refuses_cycles_and_second_parents() {
        assert_eq!(Hierarchy::new([("b", "a"), ("a", "b")]), Err(HierarchyError::Cycle { name: "a".to_owned() }));
        assert_eq!(Hierarchy::new([("a", "a")]), Err(HierarchyError::Cycle { name: "a".to_owned() }));
        assert!(matches!(Hierarchy::new([("c", "a"), ("c", "b")]), Err(HierarchyError::TwoParents { .. })));
    }
}
