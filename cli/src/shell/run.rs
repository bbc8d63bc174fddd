//! The subcommand from arguments to exit code.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;

use super::SqlArgs;
use super::client::Client;
use super::error::ShellError;
use super::interrupt::{self, Interrupts};
use super::meta::Flow;
use super::progress::{Progress, ProgressMode};
use super::repl::{run_interactive, run_script};
use super::session::{Console, Reader, Session};
use super::target::Credentials;

/// Runs `dynamos sql`. Failures are reported on standard error; exit code 1 then, 130 after Ctrl-C, else 0.
///
/// # Errors
/// Only if standard error itself cannot be written.
pub async fn run(args: SqlArgs) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout());
    let mut err = io::stderr();
    let reader = if io::stdout().is_terminal() { Reader::Terminal } else { Reader::Program };
    let progress = if io::stderr().is_terminal() { ProgressMode::Shown } else { ProgressMode::Silent };
    let outcome = {
        let console = Console { out: &mut out, err: &mut err, reader, progress };
        let input = if io::stdin().is_terminal() { Input::Terminal } else { Input::Stream };
        work(&args, console, Interrupts::listen(), input, &|name| std::env::var(name).ok()).await
    };
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is_closed_pipe() => Ok(ExitCode::SUCCESS),
        Err(error) => {
            error.report(&mut err)?;
            let cancelled = matches!(error, ShellError::Cancelled);
            Ok(if cancelled { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::FAILURE })
        }
    }
}

/// Connects and runs what `-c` gives, for other subcommands that ask in SQL.
pub(crate) async fn run_commands(
    args: &SqlArgs,
    reader: Reader,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Result<(), ShellError> {
    let console = Console { out, err, reader, progress: ProgressMode::Silent };
    work(args, console, Interrupts::listen(), Input::Stream, &|name| std::env::var(name).ok()).await
}

/// What standard input is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// A terminal with a person at it.
    Terminal,
    /// A file or a pipe.
    Stream,
}

/// Connects and does what the arguments ask for.
pub(super) async fn work(
    args: &SqlArgs,
    console: Console<'_>,
    mut interrupts: Interrupts,
    input: Input,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ShellError> {
    let target = args.resolve(variable)?;
    let client = {
        let mut progress = Progress::start(ProgressMode::Silent);
        progress.attend(Client::connect(&target), &mut interrupts, console.err).await?
    };
    let is_prompt = args.commands.is_empty() && args.file.is_none() && matches!(input, Input::Terminal);
    if is_prompt {
        let user = match &target.credentials {
            Credentials::Basic { user, .. } => format!(" as `{user}`"),
            Credentials::Bearer(_) | Credentials::Anonymous => String::new(),
        };
        writeln!(console.err, "connected to {}{user}; \\? for help, \\q to leave", target.server)?;
        if !target.known_purposes.is_empty() && target.purpose.is_none() {
            let purposes = target.known_purposes.join(", ");
            writeln!(console.err, "state a purpose with \\purpose; yours: {purposes}")?;
        }
    }
    console.err.flush()?;
    let mut session = Session::new(client, console, interrupts, args.access.format);
    if let Some(purpose) = &target.purpose {
        session.state_purpose(purpose).await?;
    }
    if is_prompt { run_interactive(&mut session).await } else { run_given(args, &mut session).await }
}

async fn run_given(args: &SqlArgs, session: &mut Session<'_>) -> Result<(), ShellError> {
    for command in &args.commands {
        if run_script(session, Path::new("-c"), &mut command.as_bytes()).await? == Flow::Quit {
            return Ok(());
        }
    }
    match &args.file {
        Some(path) if path != Path::new("-") => {
            let opened = File::open(path).map_err(|source| ShellError::Script { path: path.clone(), source })?;
            run_script(session, path, &mut BufReader::new(opened)).await?;
        }
        None if !args.commands.is_empty() => {}
        Some(_) | None => {
            // Read through a buffer of its own: the lock of standard input must not be held across an await.
            let mut input: Box<dyn BufRead> = Box::new(BufReader::new(io::stdin()));
            run_script(session, Path::new("standard input"), &mut input).await?;
        }
    }
    Ok(())
}
