//! A federation on one machine, from nothing: certificates, keys, configuration, agreements, users, and every role. The
//! files that it writes are those of a real federation, so that each role can also be run by itself. The demo, the tests and
//! the measurements all start theirs here; what is in it is said by a [`Design`].

mod client;
mod design;
mod layout;
mod pki;
mod running;

pub use client::{Client, connect, query, ready};
pub use design::{Design, FederatedTable, Person, Provider, Steward};
pub(crate) use layout::write_secret;
pub use layout::{Layout, User};
pub use running::{Federation, Processes, Running};
