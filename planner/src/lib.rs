//! The query planner: SQL under agreements to permitted fragments. Pure and synchronous: no clock, random number or I/O;
//! the same input gives the same plan.
//!
//! A query is a value that changes type:
//!
//! ```text
//! Statement → BoundPlan → CompliantPlan → CandidatePlan → CostedPlan → FragmentGraph → PermittedQuery
//!    sql        bind         policy         candidate       cost/choose   fragment        policy::permit
//! ```

pub mod catalog;
pub mod fragment;
pub mod function;
pub mod policy;
pub mod sql;
pub mod wire;
