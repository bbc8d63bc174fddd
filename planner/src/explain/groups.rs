//! Release points in words: what is released of groups, how large a group must be, and what is sent to be merged.

use dynamos_proto::ids::SiteId;

use super::lines::listed;
use super::words::{Given, Origin, Words, value_text};
use crate::fragment::{FragmentGraph, ReleasePoint};
use crate::policy::{AgreementSet, MinimumScope, Outcome, ReleaseConditions, conditions};

/// Writes about the release points of a query.
pub(super) struct Groups<'a> {
    /// The placed query.
    pub(super) graph: &'a FragmentGraph,
    /// The agreements with the clauses.
    pub(super) agreements: &'a AgreementSet,
}

impl Groups<'_> {
    /// What is released, as a steward that takes part must know it.
    pub(super) fn released(&self, point: &ReleasePoint, steward: &SiteId) -> String {
        let input = self.words().aggregated(point);
        let (values, keys) = (values(point, &input), keys(point, &input));
        let what = match values.as_slice() {
            [] => format!("released groups: {}", if keys.is_empty() { "the whole" } else { &keys }),
            values if keys.is_empty() => format!("released of all rows together: {}", listed(values)),
            values => format!("released groups: {} by {keys}", listed(values)),
        };
        let each = if keys.is_empty() { "" } else { "each " };
        format!("{what}, {each}{}", self.demands(point, &input, steward))
    }

    /// What one steward sends to be merged, of its rows that are `chosen` so.
    pub(super) fn partials(&self, point: &ReleasePoint, steward: &SiteId, chosen: &str) -> String {
        let input = self.words().aggregated(point);
        if point.scope == MinimumScope::PerSite {
            return format!("its own {}{chosen}; sent so that they can be merged", self.released(point, steward));
        }
        let (values, keys) = (values(point, &input), keys(point, &input));
        let per = if keys.is_empty() { "of all rows together".to_owned() } else { format!("per group of {keys}") };
        let of = if values.is_empty() { String::new() } else { format!(", for {}", listed(&values)) };
        let mut entities: Vec<&str> = point.shape.entities.iter().map(|entity| entity.name.as_str()).collect();
        entities.sort_unstable();
        entities.dedup();
        let counted = match entities.as_slice() {
            [] => String::new(),
            entities => format!(", with what counts different {}", listed(entities)),
        };
        format!("partials {per}{chosen}{of}{counted}; groups of any size are in them")
    }

    fn words(&self) -> Words<'_> {
        Words { graph: self.graph, agreements: self.agreements }
    }

    /// What must hold of a group, and what happens else. Where each steward decides by itself, its own clause counts.
    fn demands(&self, point: &ReleasePoint, input: &Given, steward: &SiteId) -> String {
        let alone = point.scope == MinimumScope::PerSite;
        let clauses: Vec<_> =
            point.clauses.iter().filter(|clause| !alone || clause.steward == *steward).cloned().collect();
        let Ok(conditions) = conditions(&clauses, self.agreements) else {
            return "under conditions that are not known here".to_owned();
        };
        let least = least(&conditions);
        let mut parts = match least.as_slice() {
            [] => vec!["with no minimum, so that it may be a single person".to_owned()],
            least => vec![
                format!("with {}", listed(least)),
                match conditions.outcome {
                    Outcome::Drop if point.shape.keys == 0 => "of fewer there is no value".to_owned(),
                    Outcome::Drop => "smaller groups are left out".to_owned(),
                    Outcome::Remainder => "smaller groups are merged into one without keys".to_owned(),
                    Outcome::Fail => "a smaller group fails the query".to_owned(),
                },
            ],
        };
        let shares = conditions.minimums.iter().filter_map(|(entity, minimum)| Some((entity, minimum.portion()?)));
        parts.extend(shares.map(|(entity, portion)| {
            let several = !alone && owners(point, input, entity).unwrap_or(conditions.stewards.len()) > 1;
            let nobody = if several { format!("no {entity} and no steward") } else { format!("no {entity}") };
            format!("{nobody} has more than {portion} of a sum")
        }));
        if let Some(step) = &conditions.round_to {
            parts.push(format!("numbers are rounded to multiples of {step}"));
        }
        if alone {
            parts.push("each steward decides about its own groups (per site)".to_owned());
        }
        parts.join("; ")
    }
}

/// So many stewards' rows stand one below the other beside an entity of this name; none if that is not known.
fn owners(point: &ReleasePoint, input: &Given, entity: &str) -> Option<usize> {
    let columns = point.shape.entities.iter().filter(|one| one.name == entity);
    let words = columns.filter_map(|one| input.words.get(one.column));
    let stewards = words.map(|word| word.of.iter().filter(|origin| matches!(origin, Origin::Rows(_))).count());
    stewards.max().filter(|stewards| *stewards > 0)
}

/// The smallest group that is released.
fn least(conditions: &ReleaseConditions) -> Vec<String> {
    let entities = conditions.minimums.iter();
    let entities = entities.map(|(entity, minimum)| format!("at least {} different {entity}", minimum.largest));
    let sites = (conditions.sites > 1).then(|| format!("at least {} stewards", conditions.sites));
    entities.chain(sites).collect()
}

fn values(point: &ReleasePoint, input: &Given) -> Vec<String> {
    point.shape.aggregates.iter().map(|value| value_text(value, input)).collect()
}

fn keys(point: &ReleasePoint, input: &Given) -> String {
    let all: Vec<String> = (0..point.shape.keys).map(|key| input.text(key)).collect();
    match point.shape.sets.as_slice() {
        [] => all.join(", "),
        sets => {
            let sets: Vec<String> = sets.iter().map(|set| format!("({})", set.of(&all).join(", "))).collect();
            format!("grouping sets ({})", sets.join(", "))
        }
    }
}
