//! The `dynamos` binary: reads the command line, runs one subcommand, gives its exit code.

use std::process::ExitCode;

use clap::Parser;
use dynamos_cli::command::Command;

#[tokio::main]
async fn main() -> ExitCode {
    match Command::parse().run().await {
        Ok(code) => code,
        Err(error) => dynamos_cli::command::report(&error),
    }
}
