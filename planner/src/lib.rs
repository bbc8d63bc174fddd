//! The query planner: SQL under agreements to permitted fragments. Pure and synchronous: no clock, random number or I/O;
//! the same input gives the same plan.
//!
//! A query is a value that changes type:
//!
//! ```text
//! DynamosStatement → BoundPlan → CompliantPlan → Alternatives of Placed → FragmentGraph → PermittedQuery
//!       sql            bind          policy         candidate, cost          fragment         permit
//! ```

pub mod bind;
pub mod candidate;
pub mod catalog;
pub mod cost;
pub mod explain;
pub mod fragment;
pub mod function;
pub mod knowledge;
pub mod nearest;
pub mod permit;
pub mod plan;
pub mod policy;
#[cfg(test)]
mod random;
pub mod sql;
pub mod wire;

pub use candidate::Placement;
pub use explain::{explain, explain_denial, explain_policy};
pub use nearest::{NearestQuery, nearest_query};
pub use permit::PermittedQuery;
pub use plan::{Described, PlanError, Planned, PlanningInput, describe_query, plan_query, visible_tables};
