//! `dynamos sql`: the interactive and scripted SQL client, a Flight SQL client like any other.
//!
//! It knows no policy and no plan: it sends text and shows what comes back, so whatever it can do, JDBC and ADBC can
//! do too. On a query's path it stands before the coordinator's frontend and after the last exchange.
//!
//! ```text
//! args ► target ► client ──────────────► session ◄── repl ◄── splitter
//!                 (cookies)              │     ▲
//!                                render ◄┘     └── meta ◄── catalog
//!                                (table, csv)
//! ```

mod args;
mod catalog;
mod client;
mod cookies;
mod csv;
mod error;
mod interrupt;
mod meta;
mod progress;
mod render;
mod repl;
mod run;
mod session;
mod splitter;
mod table;
mod target;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

pub use args::{Access, SqlArgs};
pub(crate) use error::ShellError;
pub use render::Format;
pub use run::run;
pub(crate) use run::run_commands;
pub use session::Reader;
pub(crate) use splitter::statements_in_place;
pub use target::Secret;
