//! How data of a steward may be at another place: on a lease, for one query, that the steward's own site renews. A place that
//! does not hear from that site for [`LEASE`], or is told to, drops the data and everything made of them.
//!
//! ```text
//!  holder                                   steward
//!  requests: all that is held ────────────► grants: who holds what, until when
//!            ◄─── leases, as long as the agreement lasts; recalls, at once
//! ```
//!
//! The holder counts a lease from the moment before it asked, the steward from the moment after it was asked: when it is over
//! for the steward, it is over at the holder. Only that both clocks run equally fast is assumed.

mod grants;
mod holder;
mod service;

#[cfg(test)]
mod tests;

use std::time::Duration;

use dynamos_proto::ids::QueryId;
use dynamos_proto::v1;

pub(crate) use grants::Grants;
pub(crate) use holder::LeaseHolder;
pub(crate) use service::PeerService;

use crate::query::Query;

/// For so long data may be held after a steward was asked.
pub(crate) const LEASE: Duration = Duration::from_millis(500);
/// How often a steward is asked. Several requests may be lost before a lease is.
const RENEW: Duration = Duration::from_millis(100);
/// Queries in one request; a place runs far fewer at once.
const QUERIES_MAX: usize = 4096;

/// One attempt of a query: its id and the hash of its graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    query: QueryId,
    hash: Vec<u8>,
}

impl Key {
    fn of(query: &Query) -> Self {
        Self { query: query.graph.query.clone(), hash: query.hash.clone() }
    }

    fn message(&self) -> v1::HeldQuery {
        v1::HeldQuery { query_id: self.query.to_string(), graph_hash: self.hash.clone() }
    }
}

impl From<&v1::HeldQuery> for Key {
    fn from(message: &v1::HeldQuery) -> Self {
        Self { query: QueryId::new(&message.query_id), hash: message.graph_hash.clone() }
    }
}
