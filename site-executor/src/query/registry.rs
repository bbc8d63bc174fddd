//! The queries of a place: running ones, and the reports of those that have ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dynamos_proto::ids::QueryId;
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
    /// Every attempt of which something is left here: ended ones, too, whose last rows still wait for their reader.
    alive: Vec<Weak<Query>>,
    ended: VecDeque<Ended>,
}

/// What is kept of a query that has ended.
#[derive(Debug)]
struct Ended {
    id: QueryId,
    progress: Arc<Progress>,
    /// Why, if it was halted.
    halted: Option<ServiceError>,
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
        queries.alive.retain(|query| query.strong_count() > 0);
        queries.alive.push(Arc::downgrade(&query));
        queries.running.insert(id, query);
        Ok(())
    }

    /// A running query, once its permit is recorded.
    pub(crate) fn get(&self, id: &QueryId) -> Option<Arc<Query>> {
        self.lock().running.get(id).filter(|query| query.is_recorded()).cloned()
    }

    /// Ends a query of which nothing has begun here, if it is in this attempt or an earlier one, and gives it; else it stays
    /// as it is.
    pub(crate) fn withdraw(&self, id: &QueryId, attempt: u32) -> Option<Arc<Query>> {
        let mut queries = self.lock();
        let query = queries.upto(id, attempt).filter(|query| query.withdraw())?;
        queries.end(&query);
        Some(query)
    }

    /// Ends a query in this attempt or an earlier one, and everything that runs for it; nothing if it is not running.
    pub(crate) fn cancel(&self, id: &QueryId, attempt: u32) {
        let mut queries = self.lock();
        if let Some(query) = queries.upto(id, attempt) {
            queries.end(&query);
        }
    }

    /// Every attempt of which something is left here.
    pub(crate) fn alive(&self) -> Vec<Arc<Query>> {
        self.lock().alive.iter().filter_map(Weak::upgrade).collect()
    }

    /// The attempt of a query that has this graph, if something of it is left here.
    pub(crate) fn find(&self, id: &QueryId, hash: &[u8]) -> Option<Arc<Query>> {
        let wanted = |query: &Arc<Query>| query.graph.query == *id && query.hash == hash && query.is_recorded();
        self.lock().alive.iter().filter_map(Weak::upgrade).find(wanted)
    }

    /// Why a query was halted that is no longer running, if it was.
    pub(crate) fn halted(&self, id: &QueryId) -> Option<ServiceError> {
        self.lock().ended.iter().rev().find(|ended| ended.id == *id)?.halted.clone()
    }

    /// Halts a query and ends everything that runs for it.
    pub(crate) fn halt(&self, query: &Arc<Query>, reason: ServiceError) {
        query.halt.halt(reason);
        self.lock().end(query);
    }

    /// Ends the queries whose time is over and those that are halted, fetched or not.
    pub(crate) fn sweep(&self, now: Instant) {
        self.end_where(|query| query.deadline <= now || query.halt.reason(now).is_some());
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
            || queries.ended.iter().rev().find(|ended| ended.id == *id).map(|ended| Arc::clone(&ended.progress));
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
    fn upto(&self, id: &QueryId, attempt: u32) -> Option<Arc<Query>> {
        self.running.get(id).filter(|query| query.graph.attempt <= attempt).cloned()
    }

    fn end(&mut self, query: &Arc<Query>) {
        query.stop.cancel();
        let id = &query.graph.query;
        if self.running.get(id).is_some_and(|running| Arc::ptr_eq(running, query)) {
            self.running.remove(id);
            let halted = query.halt.reason(Instant::now());
            self.ended.push_back(Ended { id: id.clone(), progress: query.progress(), halted });
            if self.ended.len() > ENDED_MAX {
                self.ended.pop_front();
            }
        }
    }
}
