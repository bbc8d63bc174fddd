//! What raft logs, as events of this program.

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record, o};

/// A logger that passes on what matters. Raft tells of every step at its lower levels; those are dropped.
pub(super) fn logger() -> Logger {
    Logger::root(Events, o!())
}

struct Events;

impl Drain for Events {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let text = record.msg();
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(raft = %text, "the protocol of the coordinators failed"),
            Level::Warning => tracing::warn!(raft = %text, "the protocol of the coordinators warns"),
            Level::Info | Level::Debug | Level::Trace => {}
        }
        Ok(())
    }
}
