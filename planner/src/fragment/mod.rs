//! Fragments: the placed plan cut at exchanges.

mod cut;
mod graph;

pub use cut::{Cut, cut};
pub use graph::*;
