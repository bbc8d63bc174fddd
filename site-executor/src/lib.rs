//! The site executor: what runs at a place of the federation, beside a steward's data or at a provider. The coordinator
//! embeds one as well, without tables, for the last fragment of each query.
//!
//! ```text
//!  permit ─► service ─► admission ─► accepted query ── fetched ─► plan ─► run ─► guard ─► flight ─► reader
//!                          │                                       │
//!                     agreements (own, signed)        protected views, exchanges, release points
//!                          │                                       │
//!                       change ──────────── halted ────────────► leases
//! ```
//!
//! A place believes nothing that only the coordinator vouches for: it checks the whole graph by the agreements that it
//! holds itself, and builds views and release points from them. What a fragment's plan says is only what to compute above.

mod admission;
mod agreements;
mod apart;
mod catalog;
mod change;
mod clock;
pub mod config;
mod cpu;
mod error;
mod exchange;
mod executor;
mod fault;
mod flight;
mod guard;
pub mod identity;
mod lease;
mod ledger;
mod measure;
mod place;
mod protected;
mod query;
mod recut;
mod registration;
mod server;
mod service;
pub mod source;
mod spill;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use catalog::published_tables;
pub use config::SiteConfig;
pub use error::SiteError;
pub use executor::Executor;
pub use fault::service_error;
pub use server::{RunningSite, start};
