//! [`Halt`]: until when the data of a query may be at this place, and whether they are gone. A steward's agreement may end
//! or be taken back while its query runs, and a place holds another steward's data no longer than that steward lets it.
//!
//! INVARIANT(halted_is_silent): once a query has been halted, or the time of one of its terms is over, no batch of it is
//! handed on here; a batch counts as handed on until its reader has asked for the next one.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::OnceLock;

use dynamos_proto::ids::SiteId;
use dynamos_proto::status::ServiceError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long one steward lets its data be here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Term {
    /// The end; none as long as the steward has not allowed anything.
    pub(crate) until: Option<Instant>,
    /// What the query ends with then.
    pub(crate) after: ServiceError,
}

/// Whether a query's data may be here, and who still has them in hand.
#[derive(Debug)]
pub(crate) struct Halt {
    reason: OnceLock<ServiceError>,
    told: CancellationToken,
    terms: watch::Sender<BTreeMap<SiteId, Term>>,
    active: watch::Sender<usize>,
}

/// Somebody has data of the query in hand: a fragment that runs, or a stream that is read. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Activity(watch::Sender<usize>);

impl Drop for Activity {
    fn drop(&mut self) {
        self.0.send_modify(|active| *active = active.saturating_sub(1));
    }
}

impl Halt {
    /// Nothing may be here yet of the stewards in `terms`.
    pub(crate) fn new(terms: BTreeMap<SiteId, Term>) -> Self {
        let (reason, told) = (OnceLock::new(), CancellationToken::new());
        Self { reason, told, terms: watch::Sender::new(terms), active: watch::Sender::new(0) }
    }

    /// From now on nothing of the query leaves this place. Only the first reason counts.
    pub(crate) fn halt(&self, reason: ServiceError) {
        if self.reason.set(reason).is_ok() {
            self.told.cancel();
        }
    }

    /// Why the query's data must not be here any more, if so at `now`.
    pub(crate) fn reason(&self, now: Instant) -> Option<ServiceError> {
        if let Some(reason) = self.reason.get() {
            return Some(reason.clone());
        }
        let over = |term: &&Term| term.until.is_some_and(|until| until <= now);
        let after = self.terms.borrow().values().find(over)?.after.clone();
        self.halt(after);
        self.reason.get().cloned()
    }

    /// Waits until the query's data must not be here any more; gives why.
    pub(crate) async fn over(&self) -> ServiceError {
        let mut terms = self.terms.subscribe();
        loop {
            if let Some(reason) = self.reason(Instant::now()) {
                return reason;
            }
            let first = terms.borrow_and_update().values().filter_map(|term| term.until).min();
            let end = async {
                match first {
                    Some(first) => sleep_until(first).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.told.cancelled() => {}
                () = end => {}
                // The sender lives as long as `self`.
                _ = terms.changed() => {}
            }
        }
    }

    /// Replaces a steward's term; none: the steward sets no end.
    pub(crate) fn set_term(&self, steward: &SiteId, term: Option<Term>) {
        self.terms.send_if_modified(|terms| match term {
            Some(term) => terms.insert(steward.clone(), term.clone()).as_ref() != Some(&term),
            None => terms.remove(steward).is_some(),
        });
    }

    /// The end of a steward's term, if it has one.
    pub(crate) fn until(&self, steward: &SiteId) -> Option<Instant> {
        self.terms.borrow().get(steward)?.until
    }

    /// The stewards that set a term.
    pub(crate) fn stewards(&self) -> Vec<SiteId> {
        self.terms.borrow().keys().cloned().collect()
    }

    /// The stewards that have allowed nothing yet.
    pub(crate) fn waiting(&self) -> Vec<SiteId> {
        let terms = self.terms.borrow();
        let waiting = terms.iter().filter(|(_, term)| term.until.is_none());
        waiting.map(|(steward, _)| steward.clone()).collect()
    }

    /// Waits until every steward has allowed its data to be here.
    ///
    /// # Errors
    ///
    /// Why they must not be here.
    pub(crate) async fn allowed(&self) -> Result<(), ServiceError> {
        let mut terms = self.terms.subscribe();
        let all = async { drop(terms.wait_for(|terms| terms.values().all(|term| term.until.is_some())).await) };
        tokio::select! {
            biased;
            reason = self.over() => Err(reason),
            () = all => Ok(()),
        }
    }

    /// Takes data of the query in hand.
    ///
    /// # Errors
    ///
    /// Why they must not be here.
    pub(crate) fn enter(&self) -> Result<Activity, ServiceError> {
        // First counted, then asked: who halts the query and then finds nobody active has been seen by this one.
        self.active.send_modify(|active| *active += 1);
        let activity = Activity(self.active.clone());
        match self.reason(Instant::now()) {
            Some(reason) => Err(reason),
            None => Ok(activity),
        }
    }

    /// Whether nobody has data of the query in hand.
    pub(crate) fn is_idle(&self) -> bool {
        *self.active.borrow() == 0
    }

    /// Waits until nobody has data of the query in hand.
    pub(crate) async fn gone(&self) {
        let mut active = self.active.subscribe();
        // The sender lives as long as `self`.
        drop(active.wait_for(|active| *active == 0).await);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dynamos_proto::status::Code;
    use futures::FutureExt;

    use super::*;

    fn error(text: &str) -> ServiceError {
        ServiceError::new(Code::StaleBasis, text)
    }

    fn term(until: Option<Instant>) -> Term {
        Term { until, after: error("over") }
    }

    #[tokio::test]
    async fn e2_the_end_of_the_first_term_halts_at_its_very_instant() {
        let now = Instant::now();
        let (soon, later) = (now + Duration::from_secs(3600), now + Duration::from_secs(7200));
        let halt = Halt::new([("uva".into(), term(None)), ("vu".into(), term(Some(later)))].into());
        assert!(halt.waiting() == ["uva".into()] && halt.allowed().now_or_never().is_none());
        halt.set_term(&"uva".into(), Some(term(Some(soon))));
        assert!(halt.waiting().is_empty() && halt.allowed().now_or_never().unwrap().is_ok());
        assert_eq!(halt.reason(soon - Duration::from_nanos(1)), None);
        assert!(halt.over().now_or_never().is_none() && halt.enter().is_ok());
        assert_eq!(halt.reason(soon), Some(error("over")));
        // What is over does not begin again.
        halt.set_term(&"uva".into(), Some(term(Some(later))));
        assert_eq!(halt.over().now_or_never(), Some(error("over")));
        assert_eq!(halt.enter().unwrap_err(), error("over"));
    }

    #[tokio::test]
    async fn e2_a_term_that_ends_wakes_whoever_waits() {
        let halt = Halt::new([("uva".into(), term(None))].into());
        let waiting = halt.over();
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        halt.set_term(&"uva".into(), Some(term(Some(Instant::now() + Duration::from_millis(20)))));
        assert_eq!(waiting.await, error("over"));
    }

    #[tokio::test]
    async fn e2_a_halted_query_is_gone_when_the_last_has_let_go() {
        let halt = Halt::new(BTreeMap::new());
        let (one, two) = (halt.enter().unwrap(), halt.enter().unwrap());
        halt.halt(error("revoked"));
        halt.halt(error("too late"));
        assert_eq!(halt.over().now_or_never(), Some(error("revoked")));
        drop(one);
        assert!(halt.gone().now_or_never().is_none());
        drop(two);
        assert!(halt.gone().now_or_never().is_some());
        assert!(halt.enter().is_err() && halt.gone().now_or_never().is_some());
    }
}
