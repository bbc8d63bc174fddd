//! The nearest allowed query: what a requester whose query was refused could ask instead. It is contained in the refused
//! one: minimums and masks aside, and but for stewards that are left out, its answer follows from the other's answer. The
//! planner itself has accepted it before it is shown, and it is found from no more than the clauses that hold for this
//! requester and the published tables. A query is never widened: no condition is ever taken away.
//!
//! ```text
//!  refused query ─► without some stewards ─► as a question ─► edits towards each RELEASE clause ─► planned, cheapest first
//!                   stewards                 question, scope  edit, group, target                  search
//! ```

mod edit;
mod group;
mod join;
mod offer;
mod question;
mod scope;
mod search;
mod stewards;
mod target;
#[cfg(test)]
mod tests;

pub use search::{NearestQuery, nearest_query};
