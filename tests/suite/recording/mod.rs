//! Everything that goes from place to place, recorded on the way and held against what the receiving place may have.

mod canaries;
mod transport;

pub use transport::{Recorder, Sent};
