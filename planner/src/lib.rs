//! The query planner: SQL under agreements becomes fragments that sites may run. It is pure: no clock, no random
//! number, no input or output.
//!
//! - [`sql`]: text to [`sql::DynamosStatement`], the first step of a query's path;
//! - [`policy`]: what an agreement says and whom it concerns.

pub mod policy;
pub mod sql;
