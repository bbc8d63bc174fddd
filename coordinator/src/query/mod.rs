//! The life of a query, from the statement's text to the last row, and the statements that are not queries.
//!
//! ```text
//! engine ─┬─ Query, EXPLAIN ANALYZE   run: admission → attempts: planning → decision → dispatch → rows
//!         ├─ Query of dynamos.…       system
//!         ├─ EXPLAIN [POLICY]         explain
//!         ├─ SET                      settings
//!         ├─ SHOW …                   show
//!         ├─ SIMULATE AGREEMENT       simulate
//!         └─ CREATE/ALTER/REVOKE      change
//! ```

mod admission;
mod attempts;
mod change;
mod decisions;
mod engine;
mod explain;
mod federation_planner;
mod planner_door;
mod planning;
mod queries;
mod rows;
mod run;
mod settings;
mod show;
mod simulate;
mod system;
mod text;

#[cfg(test)]
mod tests;

pub use engine::{EngineParts, QueryEngine};
pub use federation_planner::FederationPlanner;
pub use planner_door::{
    Description, Links, PermittedPlan, PlanRequest, PlannerDoor, Refusal, Verdict, VisibleTable, nearest_hint,
};
pub use queries::{Asked, Edge, Queries, QueryRecord, QueryState};
