//! Fragments: the placed plan cut at exchanges.

mod cut;
mod graph;
mod key_set;

pub use cut::{Cut, cut};
pub use graph::*;
pub use key_set::KeySet;
