//! Who takes part: sites register with tables and signed agreements, and are heard from every second. The result is an
//! immutable [`Snapshot`] that planning starts from.

mod agreement;
mod announcement;
mod compare;
mod identity;
mod liveness;
mod members;
mod places;
mod service;
mod snapshot;

#[cfg(test)]
pub(crate) mod tests;

pub use identity::{caller, place_of_certificate};
pub use liveness::watch_liveness;
pub use members::Members;
pub use places::{HEARTBEAT, KnownPlaces, KnownSite, Registration, Registry, SILENCE_MAX};
pub use service::RegistryService;
pub use snapshot::Snapshot;
