//! What the agreements that govern a query demand of a place, read from the place's own copies.

use std::collections::BTreeSet;

use dynamos_proto::ids::SiteId;

use super::check::cite;
use super::{AgreementSet, Clause, Obligation, PlaceRef};
use crate::candidate::place_matches;
use crate::fragment::FragmentGraph;

/// One thing that is demanded of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obliged {
    /// What.
    pub obligation: Obligation,
    /// The clause as records cite it, with what it says.
    pub clause: String,
}

impl Obliged {
    /// Whether it limits how long the place keeps what it received.
    pub fn is_retention(&self) -> bool {
        matches!(self.obligation, Obligation::Retention { .. })
    }
}

/// The obligations of a place that has these roles and is in these regions.
pub fn obligations(
    graph: &FragmentGraph,
    agreements: &AgreementSet,
    place: &SiteId,
    roles: &BTreeSet<String>,
    regions: &BTreeSet<String>,
) -> Vec<Obliged> {
    let mut all = Vec::new();
    for (steward, governing) in &graph.governing {
        let held = agreements.get(steward, &governing.agreement).filter(|held| held.epoch == governing.epoch);
        let Some(held) = held else { continue };
        for numbered in &held.agreement.clauses {
            let Clause::Oblige(oblige) = &numbered.clause else { continue };
            let at = |at: &PlaceRef| place_matches(std::slice::from_ref(at), place, roles, regions);
            if oblige.at.as_ref().is_none_or(at) {
                let clause = format!("{}: {oblige}", cite(steward, held, numbered.number));
                all.push(Obliged { obligation: oblige.obligation.clone(), clause });
            }
        }
    }
    all
}
