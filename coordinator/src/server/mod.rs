//! The process around everything else: ports, certificates, start and orderly end.

mod running;

#[cfg(test)]
mod tests;

pub use running::{CoordinatorError, RunningCoordinator, start, start_with_planner};
