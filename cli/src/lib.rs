//! The `dynamos` binary's subcommands, one module each.

pub mod sample;
pub mod shell;
