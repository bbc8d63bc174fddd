//! One session at work: sends a request, attends to progress and Ctrl-C, and shows the result as it arrives.

use std::io::Write;

use arrow::array::RecordBatch;

use super::Format;
use super::client::{Ask, Client};
use super::error::ShellError;
use super::interrupt::Interrupts;
use super::progress::{Progress, ProgressMode};
use super::render::Renderer;

/// Where results and messages go. Results alone go to `out`, so that it can be piped.
pub(super) struct Console<'a> {
    /// Results.
    pub out: &'a mut (dyn Write + Send),
    /// Messages, errors and progress.
    pub err: &'a mut (dyn Write + Send),
    /// What reads the results.
    pub reader: Reader,
    /// Whether progress may be drawn on `err`.
    pub progress: ProgressMode,
}

/// What reads the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A person at a terminal.
    Terminal,
    /// A file or another program.
    Program,
}

/// Whether each statement's duration is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// It is.
    On,
    /// It is not.
    Off,
}

impl Timing {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::On => Self::Off,
            Self::Off => Self::On,
        }
    }
}

/// A connection with its settings and its console.
pub(super) struct Session<'a> {
    client: Client,
    /// Results and messages.
    pub console: Console<'a>,
    /// Ctrl-C.
    pub interrupts: Interrupts,
    /// How results are printed.
    pub format: Format,
    /// Whether durations are shown.
    pub timing: Timing,
    /// The purpose stated last through this shell's own means.
    pub purpose: Option<String>,
}

impl<'a> Session<'a> {
    /// A session over a connection.
    pub(super) fn new(client: Client, console: Console<'a>, interrupts: Interrupts, format: Format) -> Self {
        Self { client, console, interrupts, format, timing: Timing::Off, purpose: None }
    }

    /// Sends a request and prints its result.
    pub(super) async fn show(&mut self, ask: Ask) -> Result<(), ShellError> {
        self.check_format()?;
        let mut progress = Progress::start(self.console.progress);
        let outcome = self.stream(ask, &mut progress).await;
        progress.erase(self.console.err)?;
        let flushed = self.console.out.flush();
        if self.timing == Timing::On {
            writeln!(self.console.err, "Time: {:.3} ms", progress.elapsed().as_secs_f64() * 1000.0)?;
        }
        outcome?;
        Ok(flushed?)
    }

    /// Refuses to send bytes that are not text to a terminal.
    pub(super) fn check_format(&self) -> Result<(), ShellError> {
        if self.format == Format::Arrow && self.console.reader == Reader::Terminal {
            return Err(ShellError::Usage("arrow output is binary: send it to a file or a pipe".to_owned()));
        }
        Ok(())
    }

    /// Sends a request and returns its result instead of printing it; for small results.
    pub(super) async fn collect(&mut self, ask: Ask) -> Result<Vec<RecordBatch>, ShellError> {
        let mut progress = Progress::start(self.console.progress);
        let Self { client, console, interrupts, .. } = self;
        let work = async {
            let mut result = client.ask(ask).await?;
            let mut batches = Vec::new();
            while let Some(batch) = result.next().await? {
                batches.push(batch);
            }
            Ok(batches)
        };
        let outcome = progress.attend(work, interrupts, console.err).await;
        progress.erase(console.err)?;
        outcome
    }

    /// States the purpose of the queries that follow.
    pub(super) async fn state_purpose(&mut self, purpose: &str) -> Result<(), ShellError> {
        let statement = format!("SET dynamos.purpose = '{}'", purpose.replace('\'', "''"));
        self.collect(Ask::Statement(statement)).await?;
        self.purpose = Some(purpose.to_owned());
        Ok(())
    }

    async fn stream(&mut self, ask: Ask, progress: &mut Progress) -> Result<(), ShellError> {
        let Self { client, console, interrupts, format, .. } = self;
        let mut result = progress.attend(client.ask(ask), interrupts, console.err).await?;
        let mut renderer = None;
        while let Some(batch) = progress.attend(result.next(), interrupts, console.err).await? {
            progress.arrived(batch.num_rows(), console.err)?;
            let renderer = match &mut renderer {
                Some(renderer) => renderer,
                None => renderer.insert(Renderer::new(*format, &batch.schema())?),
            };
            renderer.write(&batch, console.out)?;
            console.out.flush()?;
        }
        progress.erase(console.err)?;
        let mut renderer = match renderer {
            Some(renderer) => renderer,
            None => Renderer::new(*format, &result.announced_schema())?,
        };
        renderer.finish(console.out)
    }
}
