//! `dynamos demo`: a whole federation on one machine, from nothing: certificates, keys, data, agreements, users, and every
//! role. The files that it writes are those of a real federation, so that each role can also be run by itself.

mod args;
mod client;
mod federation;
mod layout;
mod pki;
mod questions;
mod run;
mod truth;

pub use args::DemoArgs;
pub use client::{Client, connect, query, ready};
pub use federation::{Federation, Processes, Running};
pub use layout::{Layout, User};
pub use questions::{Question, questions};
pub use run::run;
pub use truth::{Truth, compare, rows};
