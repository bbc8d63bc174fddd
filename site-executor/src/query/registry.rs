//! The queries of a place: running ones, and the reports of those that have ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::FragmentReport;
use tokio::time::Instant;

use super::accepted::{Progress, Query};

/// Reports of ended queries that are kept; of older ones nothing is known any more.
const ENDED_MAX: usize = 1024;

/// The queries of a place.
#[derive(Debug)]
pub(crate) struct QueryRegistry {
    fragments_max: usize,
    queries: Mutex<Queries>,
}

#[derive(Debug, Default)]
struct Queries {
    running: BTreeMap<QueryId, Arc<Query>>,
    ended: VecDeque<(QueryId, Arc<Progress>)>,
}

impl QueryRegistry {
    pub(crate) fn new(fragments_max: usize) -> Self {
        Self { fragments_max, queries: Mutex::default() }
    }

    /// Takes in a query. A later attempt takes the place of an earlier one.
    pub(crate) fn add(&self, query: Arc<Query>) -> Result<(), ServiceError> {
        let mut queries = self.lock();
        let id = query.graph.query.clone();
        if let Some(before) = queries.running.get(&id).cloned() {
            if before.graph.attempt >= query.graph.attempt {
                let text = format!("a later attempt of query `{id}` is running");
                return Err(ServiceError::new(Code::SiteRefused, text));
            }
            queries.end(&before);
        }
        let unfinished: usize = queries.running.values().map(|query| query.unfinished()).sum();
        if unfinished + query.unfinished() > self.fragments_max {
            return Err(ServiceError::new(Code::ResourceExhausted, "the site is busy, try again later"));
        }
        queries.running.insert(id, query);
        Ok(())
    }

    /// A running query, once its permit is recorded.
    pub(crate) fn get(&self, id: &QueryId) -> Option<Arc<Query>> {
        self.lock().running.get(id).filter(|query| query.is_recorded()).cloned()
    }

    /// Ends a query of which nothing has begun here, and gives it; else it stays as it is.
    pub(crate) fn withdraw(&self, id: &QueryId) -> Option<Arc<Query>> {
        let mut queries = self.lock();
        let query = queries.running.get(id).filter(|query| query.withdraw()).cloned()?;
        queries.end(&query);
        Some(query)
    }

    /// Ends a query and everything that runs for it; nothing if it is not running.
    pub(crate) fn cancel(&self, id: &QueryId) {
        let mut queries = self.lock();
        if let Some(query) = queries.running.get(id).cloned() {
            queries.end(&query);
        }
    }

    /// Ends the queries that rest on an agreement which has changed.
    pub(crate) fn cancel_resting_on(&self, steward: &SiteId, agreement: &str) {
        self.end_where(|query| query.rests_on(steward, agreement));
    }

    /// Ends the queries whose time is over, fetched or not.
    pub(crate) fn sweep(&self, now: Instant) {
        self.end_where(|query| query.deadline <= now);
    }

    /// Ends every query.
    pub(crate) fn cancel_all(&self) {
        self.end_where(|_| true);
    }

    /// How many queries are running.
    pub(crate) fn running(&self) -> usize {
        self.lock().running.len()
    }

    /// Lets go of a query whose fragments have all ended.
    pub(crate) fn retire_if_finished(&self, query: &Arc<Query>) {
        if query.unfinished() == 0 {
            self.lock().end(query);
        }
    }

    /// What is known of a query's fragments.
    pub(crate) fn reports(&self, id: &QueryId) -> Vec<FragmentReport> {
        let queries = self.lock();
        let running = queries.running.get(id).map(|query| query.progress());
        let ended =
            || queries.ended.iter().rev().find(|(ended, _)| ended == id).map(|(_, progress)| Arc::clone(progress));
        running.or_else(ended).map(|progress| progress.reports()).unwrap_or_default()
    }

    fn end_where(&self, over: impl Fn(&Query) -> bool) {
        let mut queries = self.lock();
        let ending: Vec<Arc<Query>> = queries.running.values().filter(|query| over(query)).cloned().collect();
        for query in ending {
            queries.end(&query);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queries> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queries {
    fn end(&mut self, query: &Arc<Query>) {
        query.stop.cancel();
        let id = &query.graph.query;
        if self.running.get(id).is_some_and(|running| Arc::ptr_eq(running, query)) {
            self.running.remove(id);
            self.ended.push_back((id.clone(), query.progress()));
            if self.ended.len() > ENDED_MAX {
                self.ended.pop_front();
            }
        }
    }
}
