//! Names resolved: SQL text to a logical plan over one catalog version, and clause expressions over a relation.

mod analysis;
mod bound;
mod domains;
mod local;
mod names;
mod normal;
mod origin;
mod restrict;

pub use analysis::{analyze, coerce, optimize, scalar_expr};
pub use bound::{BoundPlan, ParsedQuery, bind, parameter_types, parse};
pub use local::localize;
pub use names::{VisibleTable, VisibleTables};
pub use normal::normalize;
pub use origin::{Origin, canonical, origin, unalias, unpadded_origin};
pub use restrict::{fulfils, restrict_stewards, stewards_in};
