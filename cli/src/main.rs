//! The `dynamos` binary: reads the command line, runs one subcommand, gives its exit code.

use std::process::ExitCode;

use clap::Parser;
use dynamos_cli::command::{Command, report};

/// Deep plans are walked by recursion; unoptimised builds need more than the usual 2 MiB for it.
const STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(Command::parse().run()));
    ended.unwrap_or_else(|error| report(&error))
}
