//! What the coordinators of a federation agree on, as a pure state machine: the same commands in the same order give the
//! same rows, byte for byte. No clock, no randomness, no files. How commands get into an order and onto the disk is the
//! business of `consensus`; whether an announcement may be believed was decided in `registry` before it became a command.

mod epoch;
mod key;
mod machine;

#[cfg(test)]
pub(crate) mod tests;

pub use epoch::{Standing, standing};
pub use key::RowKey;
pub use machine::{Applied, REMEMBERED_MAX, State, lasting};
