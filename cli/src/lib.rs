//! The `dynamos` binary's subcommands, one module each.

pub mod shell;
