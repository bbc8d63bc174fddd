//! The functions that planner and sites agree on, beyond DataFusion's own, and the one session state both use to resolve
//! functions. Nothing here knows tables.

mod as_written;
mod average;
mod entities;
mod exact;
mod exact_aggregate;
#[cfg(test)]
mod exact_aggregate_tests;
mod exact_sum;
#[cfg(test)]
mod exact_tests;
mod fingerprint;
mod hash_key;
mod magnitude;
mod magnitudes_of;
mod pushdown;
mod remainder;
mod round;
mod share;
mod state;
mod wide;

pub use average::average_of;
pub use entities::{entities, shares, united_entities};
pub use exact::ExactSum;
pub use exact_sum::{EXACT_SUM, exact_sum, sum_of, united_sums};
pub use fingerprint::fingerprint;
pub use hash_key::{
    HASH_KEY, HashKeys, KeyDomain, KeyKind, hash_key, hash_of, hashed, hashes_in, holds_hash, under_keys,
};
pub use magnitude::{Magnitudes, Portion};
pub use magnitudes_of::{all_magnitudes, magnitudes, united_magnitudes};
pub use remainder::{IS_REMAINDER, asks_for_remainder};
pub use round::{Step, rounded_to};
pub use share::{EntityHash, HASH_BYTES, Share};
pub use state::{engine_state, engine_state_with};
