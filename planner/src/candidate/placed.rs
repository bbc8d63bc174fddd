//! A plan in which every operator has a place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use dynamos_proto::ids::SiteId;

/// Where the rows of an operator are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distribution {
    /// All at one place.
    At(SiteId),
    /// Each row at the steward whose row it is.
    Spread(BTreeSet<SiteId>),
}

impl Distribution {
    /// The places that hold rows.
    pub fn places(&self) -> Vec<SiteId> {
        match self {
            Self::At(place) => vec![place.clone()],
            Self::Spread(stewards) => stewards.iter().cloned().collect(),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<String> = self.places().iter().map(ToString::to_string).collect();
        out.write_str(&places.join("+"))
    }
}

/// A family of placements that a requester can force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Placement {
    /// Whatever is legal and cheapest.
    #[default]
    Auto,
    /// Operators run beside the data; only partials and released data leave a steward.
    ComputeToData,
    /// Rows go to a compute provider, as SHIP says.
    DataToCompute,
}

impl Placement {
    /// The name that `SET dynamos.placement` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ComputeToData => "compute_to_data",
            Self::DataToCompute => "data_to_compute",
        }
    }
}

impl FromStr for Placement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Auto, Self::ComputeToData, Self::DataToCompute]
            .into_iter()
            .find(|placement| placement.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no placement; use auto, compute_to_data or data_to_compute"))
    }
}

/// An operator at a place, with everything below it.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What is done.
    pub op: PlacedOp,
    /// Where its rows are.
    pub at: Distribution,
    /// Rows, estimated.
    pub rows: f64,
    /// Bytes of a row, estimated.
    pub width: f64,
}

/// What an operator does.
#[derive(Clone, Debug)]
pub enum PlacedOp {
    /// Reads a table whose rows are released.
    Scan(LogicalPlan),
    /// Rows that every place can make: literals.
    Constant(LogicalPlan),
    /// A release point, by the index of its protected part.
    Release {
        /// Index into the compliant plan's parts.
        part: usize,
        /// How it is computed.
        how: ReleaseHow,
        /// The released data that its protected part reads, each at every steward that reads it.
        brought: Arc<Brought>,
    },
    /// An operator over placed inputs; the inputs inside `plan` stand only for their columns.
    Node {
        /// The operator.
        plan: LogicalPlan,
        /// Its inputs, in order.
        inputs: Vec<Arc<Placed>>,
    },
    /// Rows moved from where the input has them.
    Exchange(Arc<Placed>),
}

/// Released data by the number that stands for them in a protected part, and by the steward where they are read.
pub type Brought = BTreeMap<(usize, SiteId), Arc<Placed>>;

/// How a release point is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReleaseHow {
    /// At the one steward, over its own rows.
    Beside,
    /// Stewards send partial aggregates, which are merged.
    Merge,
    /// Stewards send rows, which are aggregated.
    Rows,
}
