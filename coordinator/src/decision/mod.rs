//! What was permitted and what was denied, written down before anything is released.

mod log;
mod record;

pub use log::{DecisionError, DecisionLog};
pub use record::{AgreementBasis, DecisionRecord, Verdict, statement_hash};
