//! The Flight SQL door: the only way in for clients. It turns calls of the protocol into calls of the [`Engine`] and
//! results back into Arrow messages. It plans nothing, decides no policy and never looks at a value of the data.
//! It stands before the first arrow of the query's path and after the last one.
//!
//! ```text
//! client ── service ──┬─ handshake, sessions        auth, session
//!                     ├─ statements and tickets     statement, ticket, running, plain_types, afterword
//!                     ├─ prepared statements        prepared, parameters, placeholder     ──► engine (trait)
//!                     ├─ metadata commands          metadata, keys, sql_info, type_info
//!                     └─ actions                    actions
//! ```

mod actions;
mod afterword;
mod auth;
mod clock;
mod door;
mod engine;
mod errors;
mod keys;
mod metadata;
mod parameters;
mod placeholder;
mod plain_types;
mod prepared;
mod put;
mod running;
mod seal;
mod service;
mod session;
mod sql_info;
mod statement;
mod ticket;
mod type_info;
mod wire;

#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use engine::{
    Caller, Engine, Identity, Outcome, Prepared, ReleasedBy, SessionSettings, StatementKind, TableInfo, TableKind,
};
pub(crate) use errors::cancelled;
pub use seal::SigningKey;
pub use service::{FlightSqlFrontend, service, service_with_clock};
