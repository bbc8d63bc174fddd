//! The query planner: SQL under agreements becomes fragments that sites may run. It is pure: no clock, no random
//! number, no input or output.
//!
//! - [`policy`]: what an agreement says and whom it concerns.

pub mod policy;
