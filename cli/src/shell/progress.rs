//! One line on standard error while a statement takes long: time and rows so far. Never shown in a file or a pipe.

use std::future::pending;
use std::io::{self, Write};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::error::ShellError;
use super::interrupt::Interrupts;

/// How long a statement may run before progress is shown.
const QUIET: Duration = Duration::from_secs(1);
/// How often the line is drawn again.
const REDRAW: Duration = Duration::from_millis(200);
/// Back to the start of the line, and clear it.
const ERASE: &str = "\r\x1b[K";

/// Whether progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProgressMode {
    /// Standard error is a terminal.
    Shown,
    /// It is not.
    Silent,
}

/// The progress of one statement.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    rows: u64,
    ticks: Option<Interval>,
    on_screen: bool,
}

impl Progress {
    /// Progress of a statement that starts now.
    pub(super) fn start(mode: ProgressMode) -> Self {
        let started = Instant::now();
        let ticks = match mode {
            ProgressMode::Silent => None,
            ProgressMode::Shown => {
                let mut ticks = interval_at(started + QUIET, REDRAW);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                Some(ticks)
            }
        };
        Self { started, rows: 0, ticks, on_screen: false }
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts rows that arrived, and clears the line so that they can be printed.
    pub(super) fn arrived(&mut self, rows: usize, err: &mut dyn Write) -> io::Result<()> {
        self.rows = self.rows.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX));
        self.erase(err)
    }

    /// Removes the line from the screen.
    pub(super) fn erase(&mut self, err: &mut dyn Write) -> io::Result<()> {
        if std::mem::take(&mut self.on_screen) {
            err.write_all(ERASE.as_bytes())?;
            err.flush()?;
        }
        Ok(())
    }

    /// Waits for `work` while it draws progress and listens for Ctrl-C, which drops the work.
    pub(super) async fn attend<T>(
        &mut self,
        work: impl Future<Output = Result<T, ShellError>>,
        interrupts: &mut Interrupts,
        err: &mut (dyn Write + Send),
    ) -> Result<T, ShellError> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = interrupts.raised() => return Err(ShellError::Cancelled),
                done = &mut work => return done,
                () = self.tick() => self.draw(err)?,
            }
        }
    }

    async fn tick(&mut self) {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => pending().await,
        }
    }

    fn draw(&mut self, err: &mut dyn Write) -> io::Result<()> {
        self.on_screen = true;
        write!(err, "{ERASE}{}", line(self.elapsed(), self.rows))?;
        err.flush()
    }
}

fn line(elapsed: Duration, rows: u64) -> String {
    let rows_word = if rows == 1 { "row" } else { "rows" };
    format!("running for {:.1} s, {rows} {rows_word} so far; Ctrl-C cancels", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_over_itself_and_leaves_nothing_behind() {
        let mut err = Vec::new();
        let mut progress = Progress { started: Instant::now(), rows: 0, ticks: None, on_screen: false };
        progress.erase(&mut err).unwrap();
        assert!(err.is_empty(), "nothing was on screen");
        progress.draw(&mut err).unwrap();
        progress.arrived(7, &mut err).unwrap();
        let text = String::from_utf8(err).unwrap();
        assert!(text.starts_with(&format!("{ERASE}running for 0.")), "{text:?}");
        assert!(text.ends_with(ERASE), "{text:?}");
        assert_eq!((progress.rows, progress.on_screen), (7, false));
    }

    #[test]
    fn counts_one_row_in_the_singular() {
        assert_eq!(line(Duration::from_millis(1540), 1), "running for 1.5 s, 1 row so far; Ctrl-C cancels");
        assert_eq!(line(Duration::from_secs(61), 40_960), "running for 61.0 s, 40960 rows so far; Ctrl-C cancels");
    }

    #[tokio::test]
    async fn an_interrupt_drops_the_work() {
        let (sender, mut interrupts) = Interrupts::manual();
        let mut progress = Progress::start(ProgressMode::Silent);
        sender.send_modify(|count| *count += 1);
        let never = pending::<Result<(), ShellError>>();
        let outcome = progress.attend(never, &mut interrupts, &mut Vec::new()).await;
        assert!(matches!(outcome, Err(ShellError::Cancelled)));
        interrupts.acknowledge();
        progress.attend(async { Ok(()) }, &mut interrupts, &mut Vec::new()).await.unwrap();
    }
}
