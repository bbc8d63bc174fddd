//! Fragments: the placed plan cut at exchanges.

mod graph;

pub use graph::*;
