//! How commands get into one order that outlasts a crash: Raft, in a group of one unless more are configured. Nothing outside
//! this module names raft or its storage. What the commands mean is the business of `state`.
//!
//! ```text
//! Replica::propose ──► inbox ──► Owner ──► Node (raft) ──► Store (redb): log, rows of the state
//!        ▲                                   │ after each transaction
//!        └───────────── outcome ◄────────────┴──► Rows: whoever keeps a view of the state
//! ```
//!
//! The order in which one batch is worked off is that of `node`; its comment says why.

mod codec;
mod error;
mod log;
mod node;
mod owner;
mod replica;
mod store;
mod tables;

#[cfg(test)]
mod tests;

pub use error::{ConsensusError, Unsettled};
pub use node::{Alone, Group, Peers, Rows};
pub use owner::Owner;
pub use replica::{Replica, Replication, open};
