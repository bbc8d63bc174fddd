//! The functions that planner and sites agree on, beyond DataFusion's own, and the one session state both use to resolve
//! functions. Nothing here knows tables.

mod average;
mod minimum;
mod pushdown;
mod state;

pub use average::average_of;
pub use minimum::{MINIMUM_FAILED, minimum_met};
pub use state::{engine_state, engine_state_with};
