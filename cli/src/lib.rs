//! The `dynamos` binary's subcommands, one module each.

pub mod audit;
pub mod command;
pub mod demo;
pub mod embedded;
pub mod explain;
pub mod federation;
pub mod interchange;
pub mod request;
pub mod role;
pub mod sample;
pub mod shell;
pub mod telemetry;
