//! `dynamos request`: a request in the JSON of the original DYNAMOS middleware, asked as SQL of this system.
//!
//! A request is translated into statements, which are shown and sent like any other client's. It decides nothing: what
//! the agreements do not allow, the coordinator refuses. On a query's path it stands before the shell's client.

mod args;
mod error;
mod model;
mod run;
#[cfg(test)]
mod tests;
mod translate;

pub use args::RequestArgs;
pub use error::RequestError;
pub use model::{Algorithm, DataRequest, Options, Request};
pub use run::{ask, run};
pub use translate::{Names, Statements, translate};
