//! From a permitted query to the places that run it: the channel to a place, and handing the signed graph to all of
//! them at once. Only a [`PermittedPlan`](crate::query::PermittedPlan) can be dispatched.

mod channel;
mod channels;
mod grpc;
mod permit;
mod submit;

#[cfg(test)]
pub(crate) mod testing;

pub use channel::{Begun, RootExecutor, SiteChannel, SiteConnector};
pub use channels::Channels;
pub use grpc::{GrpcChannel, GrpcConnector, MutualTls};
pub(crate) use submit::{Participants, dispatch};
