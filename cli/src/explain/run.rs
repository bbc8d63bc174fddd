//! The subcommand: the path on standard output, or the reason on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use super::args::ExplainArgs;
use super::plan::explained;

/// Runs `dynamos explain`: exit code 0 if the query may run, 1 if it may not or cannot be planned.
///
/// # Errors
///
/// Only if the output cannot be written.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    match explained(args) {
        Ok(path) => {
            let written = io::stdout().write_all(path.as_bytes());
            match written {
                // Whoever reads has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                other => other?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            error.report(&mut io::stderr())?;
            Ok(ExitCode::FAILURE)
        }
    }
}
