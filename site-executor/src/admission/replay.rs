//! Which permits have been acted on. Each counts once: a graph is remembered until it expires, and after a restart nothing
//! that was planned before it is taken.

use std::collections::BTreeMap;

use dynamos_proto::ids::QueryId;
use dynamos_proto::status::{Code, ServiceError};

/// Graphs that are remembered at once; more are refused until some have expired.
const REMEMBERED_MAX: usize = 65_536;

/// The permits acted on, with the instant at which each expires (milliseconds since 1970-01-01 UTC).
#[derive(Debug)]
pub(crate) struct ReplayMemory {
    started_at_ms: i64,
    expires: BTreeMap<(QueryId, u32), i64>,
}

impl ReplayMemory {
    /// A memory that begins now.
    pub(crate) fn new(started_at_ms: i64) -> Self {
        Self { started_at_ms, expires: BTreeMap::new() }
    }

    /// Remembers a graph, or refuses it because it was seen before or may have been.
    pub(crate) fn remember(
        &mut self,
        query: &QueryId,
        attempt: u32,
        planned_at_ms: i64,
        expires_at_ms: i64,
        now_ms: i64,
    ) -> Result<(), ServiceError> {
        if planned_at_ms < self.started_at_ms {
            return Err(ServiceError::new(Code::StaleBasis, "the query was planned before this site started"));
        }
        if self.expires.len() >= REMEMBERED_MAX {
            self.expires.retain(|_, expires| *expires >= now_ms);
        }
        if self.expires.len() >= REMEMBERED_MAX {
            return Err(ServiceError::new(Code::ResourceExhausted, "too many queries at once, try again later"));
        }
        match self.expires.insert((query.clone(), attempt), expires_at_ms) {
            None => Ok(()),
            Some(before) => {
                self.expires.insert((query.clone(), attempt), before.max(expires_at_ms));
                Err(ServiceError::new(Code::SiteRefused, format!("the permit of query `{query}` was used before")))
            }
        }
    }
}
