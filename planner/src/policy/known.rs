//! The names outside of a steward's own tables that its agreements can use: purposes, places with their roles and regions,
//! and organisations. A name that nobody has is misspelt, or of somebody who is not there yet. It matches nothing, so what is
//! granted to it is not granted, and what is demanded of it is demanded of nobody: it is refused when an agreement is made
//! or altered. An agreement that is in force is not asked again. Who is to come later is configured first.
//!
//! Not asked are the names of users and of their roles, which only their organisations know, and the tables of other
//! stewards in `JOIN … WITH TABLE`.

use std::collections::{BTreeMap, BTreeSet};

use dynamos_proto::ids::SiteId;

use super::resolve::Unresolved;
use super::word::{NameKind, Word};
use super::{Agreement, Clause, Grantee, JoinPartner, PlaceFacts, PlaceRef};
use crate::catalog::Catalog;

/// Known names that are told beside one that is not.
const NEAREST_MAX: usize = 3;
/// A longer name is compared with no other.
const COMPARED_MAX: usize = 64;

/// The names that there are where an agreement is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownNames {
    /// Purposes; without them none is asked about.
    pub purposes: Option<BTreeSet<String>>,
    /// The places, the coordinator among them.
    pub places: BTreeMap<SiteId, PlaceFacts>,
    /// Organisations that vouch for users; without them none is asked about.
    pub organisations: Option<BTreeSet<String>>,
}

impl KnownNames {
    /// The places of a catalog, which knows neither purposes nor organisations.
    pub fn places_of(catalog: &Catalog) -> Self {
        let places = catalog.sites.iter().map(|(name, site)| {
            let facts = PlaceFacts { roles: site.roles.clone(), regions: site.regions.clone() };
            (name.clone(), facts)
        });
        Self { places: places.collect(), ..Self::default() }
    }

    /// Whether a place, a role or a region is one of somebody; if not, what is wrong.
    fn check_place(&self, place: &PlaceRef) -> Result<(), String> {
        match place {
            PlaceRef::Site(name) => known(name, self.places.keys().map(SiteId::as_str), |name| {
                format!("`{name}` is no place that is known here")
            }),
            PlaceRef::Role(name) => {
                let roles = self.places.values().flat_map(|place| &place.roles).map(String::as_str);
                known(name, roles, |name| format!("no place that is known here has the role `{name}`"))
            }
            PlaceRef::Region(name) => {
                let regions = self.places.values().flat_map(|place| &place.regions).map(String::as_str);
                known(name, regions, |name| format!("no place that is known here is in the region `{name}`"))
            }
            PlaceRef::Coordinator | PlaceRef::Any => Ok(()),
        }
    }
}

/// Refuses an agreement with names that nobody has, and says of each which ones are nearest.
///
/// # Errors
///
/// Every such name.
pub fn refuse_unknown(agreement: &Agreement, names: &KnownNames) -> Result<(), Vec<Unresolved>> {
    let mut refused = Vec::new();
    let mut refuse = |clause: Option<u32>, (kind, name): (NameKind, &str), found: Result<(), String>| {
        let word = Word::name(kind, name);
        refused.extend(found.err().map(|problem| Unresolved { clause, word, problem }));
    };
    if let Some(organisations) = &names.organisations {
        for name in agreement.grantees.iter().filter_map(organisation) {
            let text = |name: &str| format!("`{name}` is no organisation that is known here");
            refuse(None, (NameKind::Organisation, name), known(name, organisations.iter().map(String::as_str), text));
        }
    }
    if let Some(purposes) = &names.purposes {
        for name in &agreement.purposes {
            let text = |name: &str| format!("`{name}` is no purpose that is known here");
            refuse(None, (NameKind::Purpose, name), known(name, purposes.iter().map(String::as_str), text));
        }
    }
    for numbered in &agreement.clauses {
        for place in places(&numbered.clause) {
            refuse(Some(numbered.number), (NameKind::Place, place.to_string().as_str()), names.check_place(&place));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

fn organisation(grantee: &Grantee) -> Option<&str> {
    match grantee {
        Grantee::Organisation(name) => Some(name),
        Grantee::Role { organisation, .. } => organisation.as_deref(),
        Grantee::User(_) | Grantee::Anyone => None,
    }
}

/// The places that a clause names.
fn places(clause: &Clause) -> Vec<PlaceRef> {
    match clause {
        Clause::Ship(ship) => ship.to.clone(),
        Clause::Oblige(oblige) => oblige.at.iter().cloned().collect(),
        Clause::Join(join) => match &join.with {
            JoinPartner::Site(name) => vec![PlaceRef::Site(name.clone())],
            JoinPartner::Requester | JoinPartner::Table(_) | JoinPartner::Any => Vec::new(),
        },
        Clause::Release(_)
        | Clause::Filter(_)
        | Clause::Mask(_)
        | Clause::Rows(_)
        | Clause::Budget(_)
        | Clause::Archetypes(_) => Vec::new(),
    }
}

/// Whether a name is one of these; if not, that it is not, with those that are nearest.
fn known<'a>(name: &str, names: impl Iterator<Item = &'a str>, problem: impl Fn(&str) -> String) -> Result<(), String> {
    let names: BTreeSet<&str> = names.collect();
    if names.contains(name) {
        return Ok(());
    }
    let nearest: Vec<String> = nearest(name, &names).into_iter().map(|name| format!("`{name}`")).collect();
    Err(match nearest.as_slice() {
        [] => problem(name),
        [one] => format!("{}; the nearest is {one}", problem(name)),
        several => format!("{}; the nearest are {}", problem(name), several.join(", ")),
    })
}

/// The names that differ least, the nearest first.
fn nearest<'a>(name: &str, names: &BTreeSet<&'a str>) -> Vec<&'a str> {
    if name.chars().count() > COMPARED_MAX {
        return Vec::new();
    }
    let mut all: Vec<(usize, &str)> = names.iter().map(|known| (distance(name, known), *known)).collect();
    all.sort_unstable();
    all.into_iter().take(NEAREST_MAX).map(|(_, known)| known).collect()
}

/// How many letters must be put in, taken out or changed to make one name of the other (Levenshtein 1966).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut last = index + 1;
        let mut next = vec![last];
        for (opposite, above) in other.iter().zip(row.windows(2)) {
            let [changed, without] = above else { continue };
            last = (changed + usize::from(letter != *opposite)).min(without + 1).min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::purpose;
    use crate::sql::{parse_agreement, word_positions};

    fn names() -> KnownNames {
        let facts = |roles: &[&str], regions: &[&str]| PlaceFacts {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        };
        KnownNames {
            purposes: Some(purpose::shipped().unwrap().all().into_iter().map(str::to_owned).collect()),
            places: BTreeMap::from([
                (SiteId::coordinator(), facts(&[], &[])),
                (SiteId::new("uva"), facts(&[], &["nl", "eu"])),
                (SiteId::new("vu"), facts(&[], &["nl", "eu"])),
                (SiteId::new("surf"), facts(&["compute_provider"], &["nl", "eu"])),
            ]),
            organisations: Some(["uva", "vu", "cbs"].map(str::to_owned).into()),
        }
    }

    /// What is refused, each with its place.
    fn refused(grantees: &str, purposes: &str, clauses: &str) -> Vec<String> {
        let text = format!("CREATE AGREEMENT a ON SITE uva FOR {grantees}\nPURPOSE {purposes}\nAS (\n{clauses})");
        let agreement = parse_agreement(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let refused = refuse_unknown(&agreement, &names()).err().unwrap_or_default();
        word_positions(&text).unwrap().locate(&refused).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_of_somebody_are_accepted() {
        for (grantees, purposes, clauses) in [
            ("ANYONE", "statistics", "SHIP ROWS (a) FROM t TO surf, SITE uva, COORDINATOR, \"coordinator\", ANY"),
            ("USER 'nobody', ROLE whatever", "secondary_use, 'DUO:0000007'", "JOIN ON k WITH vu, JOIN ON k WITH ANY"),
            (
                "ROLE analyst OF vu, ORGANISATION cbs",
                "research",
                "SHIP ROWS (a) FROM t TO ROLE compute_provider, REGION eu",
            ),
            (
                "ANYONE",
                "education",
                "OBLIGE AUDIT AT surf, OBLIGE AUDIT, JOIN ON k WITH TABLE x.y, JOIN ON k WITH REQUESTER",
            ),
        ] {
            assert_eq!(refused(grantees, purposes, clauses), Vec::<String>::new(), "{clauses}");
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_refused_where_it_stands() {
        for (grantees, purposes, clauses, expected) in [
            (
                "ROLE analyst OF uvaa",
                "statistics",
                "MASK a AS 1",
                "line 1, column 52: `uvaa` is no organisation that is known here; the nearest are `uva`, `vu`, `cbs`",
            ),
            ("ANYONE, ORGANISATION cbss", "statistics", "MASK a AS 1", "line 1, column 57: `cbss` is no organisation"),
            (
                "ANYONE",
                "research, statistcs",
                "MASK a AS 1",
                "line 2, column 19: `statistcs` is no purpose that is known here; the nearest are `statistics`,",
            ),
            ("ANYONE", "'DUO:0000077'", "MASK a AS 1", "line 2, column 9: `DUO:0000077` is no purpose"),
            (
                "ANYONE",
                "statistics",
                "MASK a AS 1,\n  SHIP ROWS (surff) FROM t TO vu, surff",
                "line 5, column 35: clause 2: `surff` is no place that is known here; the nearest are `surf`,",
            ),
            (
                "ANYONE",
                "statistics",
                "SHIP ROWS (a) FROM t TO ROLE computeprovider",
                "line 4, column 30: clause 1: no place that is known here has the role `computeprovider`; the nearest is \
                 `compute_provider`",
            ),
            (
                "ANYONE",
                "statistics",
                "SHIP ROWS (a) FROM t TO REGION us",
                "line 4, column 32: clause 1: no place that is known here is in the region `us`; the nearest are `eu`, `nl`",
            ),
            ("ANYONE", "statistics", "JOIN ON vuu WITH SITE vuu", "line 4, column 23: clause 1: `vuu` is no place"),
            ("ANYONE", "statistics", "9: OBLIGE AUDIT AT surff", "line 4, column 20: clause 9: `surff` is no place"),
        ] {
            let refused = refused(grantees, purposes, clauses);
            assert!(refused.len() == 1 && refused[0].starts_with(expected), "{clauses}: {refused:?}");
        }
    }

    #[test]
    fn each_of_several_names_has_a_place_of_its_own() {
        let refused = refused("ORGANISATION x", "y", "SHIP ROWS (a) FROM t TO z, z,\nOBLIGE AUDIT AT z");
        let places: Vec<&str> = refused.iter().filter_map(|one| one.split(": ").next()).collect();
        let expected =
            ["line 1, column 49", "line 2, column 9", "line 4, column 25", "line 4, column 28", "line 5, column 17"];
        assert_eq!(places, expected, "{refused:?}");
    }

    #[test]
    fn distance_counts_letters() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("surff", "surf", 1),
            ("vuu", "uva", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
        let long = "x".repeat(COMPARED_MAX + 1);
        assert_eq!(nearest(&long, &BTreeSet::from(["x"])), Vec::<&str>::new());
    }
}
