//! [`Grants`]: which places hold data of this steward, for which queries, until when. INVARIANT(held_on_lease): rows go to
//! another place only while it has a lease; a change of an agreement is acknowledged when every lease that it ends was given
//! back or has run out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Key, LEASE, QUERIES_MAX};
use crate::query::{Query, QueryRegistry, lenders};

/// The leases that a steward gave.
#[derive(Debug)]
pub(crate) struct Grants {
    steward: SiteId,
    /// Leases of an earlier process have all run out a lease's time after this.
    started: Instant,
    state: Mutex<State>,
    /// Counts recalls, so that whoever serves a holder looks for its own.
    recalls: watch::Sender<u64>,
    /// Counts leases that were given back.
    returns: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    sessions: u64,
    /// By session: what is missing from a request was given back only on the connection that the request came by.
    grants: BTreeMap<(Session, Key), Grant>,
}

/// One connection of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session(u64);

#[derive(Debug)]
struct Grant {
    holder: SiteId,
    query: Arc<Query>,
    until: Instant,
}

impl Grants {
    /// Nothing is held of `steward` yet, as far as this process knows.
    pub(crate) fn new(steward: &SiteId) -> Self {
        Self {
            steward: steward.clone(),
            started: Instant::now(),
            state: Mutex::default(),
            recalls: watch::Sender::new(0),
            returns: watch::Sender::new(0),
        }
    }

    /// A new connection of a holder.
    pub(crate) fn open(&self) -> Session {
        let mut state = self.lock();
        state.sessions += 1;
        Session(state.sessions)
    }

    /// Answers a request that `holder` made at some time before `now`.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` if it names more queries than any place runs.
    pub(crate) fn renew(
        &self,
        (session, holder): (Session, &SiteId),
        request: &v1::HoldRequest,
        queries: &QueryRegistry,
        now: Instant,
    ) -> Result<v1::HoldReply, ServiceError> {
        if request.held.len() + request.dropping.len() > QUERIES_MAX {
            let text = format!("more than {QUERIES_MAX} queries are held at `{holder}`");
            return Err(ServiceError::new(Code::InvalidArgument, text));
        }
        let mut reply = v1::HoldReply { number: request.number, ..v1::HoldReply::default() };
        let named: Vec<Key> = request.held.iter().chain(&request.dropping).map(Key::from).collect();
        let mut state = self.lock();
        let before = state.grants.len();
        state.grants.retain(|(of, key), _| *of != session || named.contains(key));
        if state.grants.len() < before {
            self.returns.send_modify(|count| *count += 1);
        }
        for held in &request.held {
            let key = (session, Key::from(held));
            let known = state.grants.get(&key).map(|grant| Arc::clone(&grant.query));
            let query = known.or_else(|| queries.find(&key.1.query, &key.1.hash));
            let found = query.ok_or_else(|| self.missing(&key.1, holder, queries));
            match found.and_then(|query| self.lease(query, holder, now)) {
                Ok((query, until, last)) => {
                    let lease_ms = u32::try_from((until - now).as_millis()).unwrap_or(u32::MAX);
                    reply.leases.push(v1::Lease { query: Some(held.clone()), lease_ms, last });
                    let grant = state.grants.entry(key).or_insert(Grant { holder: holder.clone(), query, until });
                    grant.until = grant.until.max(until);
                }
                Err(error) => reply.recalls.push(recall(held.clone(), error)),
            }
        }
        Ok(reply)
    }

    /// What a holder may get: until when, and whether the agreement ends then.
    fn lease(
        &self,
        query: Arc<Query>,
        holder: &SiteId,
        now: Instant,
    ) -> Result<(Arc<Query>, Instant, bool), ServiceError> {
        if let Some(reason) = query.halt.reason(now) {
            return Err(reason);
        }
        if !lenders(&query.graph, holder).contains(&self.steward) {
            let text = format!("site `{}` refuses: nothing of this query goes to `{holder}`", self.steward);
            return Err(ServiceError::new(Code::SiteRefused, text));
        }
        let whole = now + LEASE;
        let end = query.halt.until(&self.steward).filter(|end| *end <= whole);
        Ok((query, end.unwrap_or(whole), end.is_some()))
    }

    /// Why there is nothing to hold of a query: it was halted, is another one here, or is not known.
    fn missing(&self, key: &Key, holder: &SiteId, queries: &QueryRegistry) -> ServiceError {
        let (steward, query) = (&self.steward, &key.query);
        if let Some(other) = queries.get(query).filter(|other| other.hash != key.hash) {
            let attempt = other.graph.attempt;
            let text =
                format!("site `{steward}` refuses: query `{query}`, attempt {attempt}, is another one at `{holder}`");
            return ServiceError::new(Code::SiteRefused, text);
        }
        queries.halted(query).unwrap_or_else(|| {
            let text =
                format!("site `{steward}` does not know query `{query}`; it has ended, or the site was restarted");
            ServiceError::new(Code::SiteUnavailable, text)
        })
    }

    /// Whether `holder` may have data of a query now.
    pub(crate) fn is_held(&self, holder: &SiteId, query: &Query, now: Instant) -> bool {
        let state = self.lock();
        let of_query = |grant: &&Grant| grant.holder == *holder && std::ptr::eq(Arc::as_ptr(&grant.query), query);
        state.grants.values().filter(of_query).any(|grant| grant.until > now)
    }

    /// Tells every holder which of its queries were halted.
    pub(crate) fn recall(&self) {
        self.recalls.send_modify(|count| *count += 1);
    }

    /// Changes whenever something may have been recalled.
    pub(crate) fn recalls(&self) -> watch::Receiver<u64> {
        self.recalls.subscribe()
    }

    /// The halted queries that a connection's holder has leases for.
    pub(crate) fn recalled(&self, session: Session, now: Instant) -> Vec<v1::Recall> {
        let state = self.lock();
        let own = state.grants.iter().filter(|((of, _), _)| *of == session);
        own.filter_map(|((_, key), grant)| Some(recall(key.message(), grant.query.halt.reason(now)?))).collect()
    }

    /// Waits until no place holds anything of these queries: every lease was given back or has run out, those of an earlier
    /// process included. Takes no longer than [`LEASE`], for queries of which no lease is given any more.
    pub(crate) async fn over(&self, queries: &[Arc<Query>]) {
        if queries.is_empty() {
            return;
        }
        let mut returns = self.returns.subscribe();
        loop {
            returns.borrow_and_update();
            let Some(next) = self.first_end(queries, Instant::now()) else { return };
            tokio::select! {
                () = sleep_until(next) => {}
                // The sender lives as long as `self`.
                _ = returns.changed() => {}
            }
        }
    }

    /// When the first lease of these queries ends that is not over.
    fn first_end(&self, queries: &[Arc<Query>], now: Instant) -> Option<Instant> {
        let state = self.lock();
        let grants = state.grants.values().filter(|grant| queries.iter().any(|query| Arc::ptr_eq(query, &grant.query)));
        grants.map(|grant| grant.until).filter(|until| *until > now).min()
    }

    /// Waits until no lease of an earlier process can be left.
    pub(crate) async fn earlier_over(&self) {
        sleep_until(self.started + LEASE).await;
    }

    /// Whether another place holds data of this steward now.
    pub(crate) fn any_held(&self, now: Instant) -> bool {
        self.lock().grants.values().any(|grant| grant.until > now)
    }

    /// Forgets leases that have run out.
    pub(crate) fn sweep(&self, now: Instant) {
        self.lock().grants.retain(|_, grant| grant.until > now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn recall(query: v1::HeldQuery, error: ServiceError) -> v1::Recall {
    v1::Recall { query: Some(query), code: error.code.as_str().to_owned(), message: error.message }
}
