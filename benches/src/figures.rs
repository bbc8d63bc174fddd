//! Medians and how they are printed.

use std::io::Write;
use std::time::Duration;

/// Writes a line to standard output.
pub fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// What the figures were taken on.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "development build: optimised little" } else { "release build" };
    format!("{cores} cores, {build}")
}

/// Times of one thing, from several rounds.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds a round.
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
        self.0.sort();
    }

    /// The middle one, milliseconds.
    pub fn median_ms(&self) -> f64 {
        self.0.get(self.0.len() / 2).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    /// The one that this share of all does not exceed, milliseconds.
    pub fn share_ms(&self, share: f64) -> f64 {
        let count = self.0.len();
        let at = (0..count).find(|at| (at + 1) as f64 >= share * count as f64);
        at.and_then(|at| self.0.get(at)).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    /// The middle one with the extremes, milliseconds.
    pub fn show(&self) -> String {
        let ms = |took: Option<&Duration>| took.map_or(f64::NAN, |took| took.as_secs_f64() * 1e3);
        format!("{:.1} ms ({:.1}–{:.1})", self.median_ms(), ms(self.0.first()), ms(self.0.last()))
    }
}
