//! What was permitted and what was denied, written down before anything is released, and how each query ended, written down
//! before the requester sees the end.

mod ending;
mod log;
mod recent;
mod record;
mod redact;

pub(crate) use ending::Ending;
pub(crate) use log::Recorded;
pub use log::{DecisionError, DecisionLog};
pub use recent::Shown;
pub use record::{AgreementBasis, DecisionRecord, EndRecord, Verdict, statement_hash, statement_without_literals};
pub(crate) use redact::without_literals;
