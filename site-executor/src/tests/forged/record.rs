//! What the sites of this process log, so that a test can look for a refusal.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The warnings of all tests of this process.
static WARNINGS: Mutex<String> = Mutex::new(String::new());
static STARTED: OnceLock<()> = OnceLock::new();

struct Recorder;

/// Begins to record; once for the process.
pub(super) fn start() {
    STARTED.get_or_init(|| tracing::subscriber::set_global_default(Recorder).unwrap());
}

/// Whether a site has logged this refusal.
pub(super) fn has_refusal(text: &str) -> bool {
    let logged = WARNINGS.lock().unwrap();
    logged.lines().any(|line| line.contains("refused") && line.contains(text))
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("dynamos")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let mut logged = WARNINGS.lock().unwrap();
        logged.push_str(&line.0.replace('\n', " "));
        logged.push('\n');
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
