//! What the sites of this process log at the level that roles start with, so that a test can look for a line.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The lines of all tests of this process.
static LINES: Mutex<String> = Mutex::new(String::new());
static STARTED: OnceLock<()> = OnceLock::new();

struct Recorder;

/// Begins to record; once for the process.
pub(super) fn start() {
    STARTED.get_or_init(|| tracing::subscriber::set_global_default(Recorder).unwrap());
}

/// Whether a site has logged this refusal.
pub(super) fn has_refusal(text: &str) -> bool {
    let logged = LINES.lock().unwrap();
    logged.lines().any(|line| line.contains("refused") && line.contains(text))
}

/// The lines so far that hold this text.
pub(super) fn lines_with(text: &str) -> Vec<String> {
    let logged = LINES.lock().unwrap();
    logged.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("dynamos")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let mut logged = LINES.lock().unwrap();
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
