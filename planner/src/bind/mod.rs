//! Names resolved: SQL text to a logical plan over one catalog version, and clause expressions over a relation.

mod analysis;
mod bound;
mod names;
mod normal;

pub use analysis::{analyze, optimize, scalar_expr};
pub use bound::{BoundPlan, ParsedQuery, bind, parameter_types, parse};
pub use names::{VisibleTable, VisibleTables};
pub use normal::normalize;
