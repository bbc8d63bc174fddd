//! The queries that are being streamed now, by ticket, so that they can be cancelled. A query leaves when its stream is
//! dropped. Cancelling a ticket that is not being streamed makes it worthless instead. Nothing here outlives the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dynamos_proto::status::{Code, ServiceError};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::errors::cancelled;

/// Streams at one time, also those whose query is over and that nobody has read to the end; beyond this, DoGet is refused until
/// one ends.
const RUNNING_MAX: usize = 1_000;
/// Cancelled tickets that are remembered; beyond this, the one that expires first is forgotten.
const CANCELLED_MAX: usize = 10_000;

/// A ticket's id.
pub(super) type TicketId = Bytes;

#[derive(Default)]
struct State {
    next_stream: u64,
    running: BTreeMap<(TicketId, u64), CancellationToken>,
    /// Ticket and when it expires.
    cancelled: BTreeMap<TicketId, Duration>,
}

/// The registry.
pub(super) struct RunningQueries {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

/// A place in the registry, left when dropped.
pub(super) struct RunningQuery {
    key: (TicketId, u64),
    state: Arc<Mutex<State>>,
    /// Fires when the query is to stop.
    pub(super) cancel: CancellationToken,
}

impl RunningQueries {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Enters a query that is about to run.
    pub(super) fn enter(&self, ticket: &TicketId) -> Result<RunningQuery, ServiceError> {
        let mut state = lock(&self.state);
        if state.cancelled.contains_key(ticket) {
            return Err(cancelled());
        }
        if state.running.len() >= RUNNING_MAX {
            return Err(ServiceError::new(Code::ResourceExhausted, "too many queries are running"));
        }
        let key = (ticket.clone(), state.next_stream);
        state.next_stream += 1;
        let cancel = CancellationToken::new();
        state.running.insert(key.clone(), cancel.clone());
        Ok(RunningQuery { key, state: Arc::clone(&self.state), cancel })
    }

    /// Stops every stream of the ticket and lets no other begin.
    pub(super) fn cancel(&self, ticket: &TicketId, expires_at: Duration) {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        let of_ticket = (ticket.clone(), 0)..=(ticket.clone(), u64::MAX);
        state.running.range(of_ticket).for_each(|(_, cancel)| cancel.cancel());
        state.cancelled.retain(|_, expires_at| *expires_at > now);
        if state.cancelled.len() >= CANCELLED_MAX {
            let first = state.cancelled.iter().min_by_key(|(_, expires_at)| **expires_at).map(|(id, _)| id.clone());
            first.map(|id| state.cancelled.remove(&id));
        }
        state.cancelled.insert(ticket.clone(), expires_at);
    }

    /// How many streams there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.state).running.len()
    }
}

impl Drop for RunningQuery {
    fn drop(&mut self) {
        lock(&self.state).running.remove(&self.key);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
