//! Candidates: the compliant plan with a place for every operator. Every candidate is legal; the enumeration keeps, for
//! each operator and distribution of its rows, the cheapest way to get there.

mod alternative;
mod enumerate;
mod estimate;
mod join_order;
mod legal;
mod nowhere;
mod placed;
mod reduce;
mod split;

pub use alternative::{Alternative, Alternatives};
pub use enumerate::{Candidates, enumerate};
pub use estimate::Estimates;
pub use legal::{Legal, place_matches};
pub use placed::{Brought, Distribution, Placed, PlacedOp, Placement, ReleaseHow};
