//! The ways to get an operator's rows, the cheapest for each distribution.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use dynamos_proto::ids::SiteId;

use super::estimate::Columns;
use super::placed::{Distribution, Placed, PlacedOp};
use crate::cost::{self, Cost};
use crate::knowledge::Knowledge;

/// One way, with its cost.
#[derive(Clone, Debug)]
pub struct Alternative {
    /// The placed plan.
    pub placed: Arc<Placed>,
    /// What it takes.
    pub cost: Cost,
}

/// All ways worth keeping.
#[derive(Clone, Debug)]
pub struct Alternatives {
    /// By distribution.
    pub by_distribution: BTreeMap<Distribution, Alternative>,
    /// Where these rows may be at all.
    pub places: BTreeSet<SiteId>,
    /// The output's columns.
    pub schema: DFSchemaRef,
    /// Rows, estimated.
    pub rows: f64,
    /// Bytes of a row, estimated.
    pub width: f64,
    /// What is known of the columns.
    pub columns: Columns,
}

impl Alternatives {
    /// None yet, for rows like these.
    pub fn new(places: BTreeSet<SiteId>, schema: DFSchemaRef, rows: f64, columns: Columns) -> Self {
        let width = super::estimate::width(&schema);
        Self { by_distribution: BTreeMap::new(), places, schema, rows, width, columns }
    }

    /// Keeps a way if it is the cheapest for its distribution. Ties keep the earlier one.
    pub fn offer(&mut self, alternative: Alternative) {
        let at = alternative.placed.at.clone();
        match self.by_distribution.get(&at) {
            Some(have) if !alternative.cost.beats(have.cost) => {}
            _ => {
                self.by_distribution.insert(at, alternative);
            }
        }
    }

    /// The cheapest way to have the rows in a distribution, moving them if that is allowed and cheaper.
    pub fn to(&self, at: &Distribution, knowledge: &Knowledge) -> Option<Alternative> {
        if !at.places().iter().all(|place| self.places.contains(place)) {
            return None;
        }
        let mut best = match at {
            Distribution::At(_) => self.by_distribution.get(at).cloned(),
            // Rows spread by steward are not the same as rows that are whole at each steward.
            Distribution::Spread(_) => None,
        };
        for (from, way) in &self.by_distribution {
            if from == at && best.is_some() {
                continue;
            }
            let cost = way.cost + cost::exchange(self.rows, self.width, from, at, knowledge);
            if best.as_ref().is_none_or(|best| cost.beats(best.cost)) {
                let placed = Placed {
                    op: PlacedOp::Exchange(Arc::clone(&way.placed)),
                    at: at.clone(),
                    rows: self.rows,
                    width: self.width,
                };
                best = Some(Alternative { placed: Arc::new(placed), cost });
            }
        }
        best
    }

    /// The way that has rows spread over exactly these stewards, each row at its own.
    pub fn spread(&self) -> impl Iterator<Item = (&BTreeSet<SiteId>, &Alternative)> {
        self.by_distribution.iter().filter_map(|(at, way)| match at {
            Distribution::Spread(stewards) => Some((stewards, way)),
            Distribution::At(_) => None,
        })
    }
}
