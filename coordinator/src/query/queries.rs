//! [`Queries`]: the queries that run and those that ran recently. What is kept of a query, in memory only, is who asked
//! what, how it went and what sites measured; no row. The statement's text and the values of its parameters serve SIMULATE
//! AGREEMENT and are shown to nobody.
//!
//! ```text
//! Planning ──► Dispatching ──► Running ──► Finished
//!     │             │             │
//!     └─────────────┴─────────────┴──────► Failed | Cancelled
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::ScalarValue;
use dynamos_planner::Placement;
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::policy::Requester;
use dynamos_proto::ids::{FragmentId, QueryId, SiteId};
use dynamos_proto::status::Code;
use dynamos_proto::v1;

use super::planner_door::PlanRequest;
use crate::decision::{Ending, Recorded};

/// Ended queries that are remembered; beyond this the oldest is forgotten.
const RECENT_MAX: usize = 1000;
/// A statement whose text, or the values of whose parameters, are larger (bytes) is not kept.
const TEXT_MAX: usize = 16 * 1024;

/// Where a query stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryState {
    /// Waits for its turn or is planned.
    Planning,
    /// Its permit is on the way to the places.
    Dispatching,
    /// Rows are being made.
    Running,
    /// All rows were given.
    Finished,
    /// It ended with an error.
    Failed(Code),
    /// The requester went away or said stop.
    Cancelled,
}

impl QueryState {
    /// Whether nothing more happens.
    pub fn is_end(self) -> bool {
        match self {
            Self::Planning | Self::Dispatching | Self::Running => false,
            Self::Finished | Self::Failed(_) | Self::Cancelled => true,
        }
    }
}

impl QueryState {
    /// The end in one word, as it is recorded.
    fn outcome(self) -> &'static str {
        match self {
            Self::Finished => "FINISHED",
            Self::Failed(code) => code.as_str(),
            Self::Cancelled => Code::Cancelled.as_str(),
            Self::Planning | Self::Dispatching | Self::Running => "RUNNING",
        }
    }
}

/// What is kept of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRecord {
    /// Its id.
    pub query: QueryId,
    /// Who asked what.
    pub asked: Asked,
    /// Where it stands.
    pub state: QueryState,
    /// Rows given to the requester.
    pub rows: u64,
    /// Its edges; empty until it is planned.
    pub edges: Vec<Edge>,
    /// What places measured; filled at the end.
    pub reports: Vec<v1::FragmentReport>,
}

/// A question and who asked it, with all that the answer depends on and the requester chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The statement; none if it is too long to be kept.
    pub sql: Option<String>,
    /// The values of its parameters.
    pub parameters: Vec<ScalarValue>,
    /// Who asked.
    pub requester: Requester,
    /// The declared purpose.
    pub purpose: Option<String>,
    /// The agreement that was named, if one was.
    pub agreement: Option<String>,
    /// Where the work was to be done.
    pub placement: Placement,
    /// The schema of names without one.
    pub default_schema: Option<String>,
}

impl Asked {
    /// What a plan was asked for.
    pub(super) fn of(sql: &str, parameters: &[ScalarValue], request: &PlanRequest) -> Self {
        let values = parameters.iter().map(ScalarValue::size).fold(0, usize::saturating_add);
        let kept = sql.len() <= TEXT_MAX && values <= TEXT_MAX;
        Self {
            sql: kept.then(|| sql.to_owned()),
            parameters: if kept { parameters.to_vec() } else { Vec::new() },
            requester: request.requester.clone(),
            purpose: request.purpose.clone(),
            agreement: request.agreement.clone(),
            placement: request.placement,
            default_schema: request.default_schema.clone(),
        }
    }
}

/// The way of a fragment's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The fragment.
    pub from: FragmentId,
    /// The place that runs it.
    pub place: SiteId,
    /// The fragment that reads it, and its place; none for the requester.
    pub to: Option<(FragmentId, SiteId)>,
}

impl Edge {
    /// The edges of a placed query, in order of their senders.
    pub(super) fn of(graph: &FragmentGraph) -> Vec<Self> {
        let edges = graph.fragments.iter().map(|fragment| Self {
            from: fragment.id,
            place: fragment.place.clone(),
            to: fragment.consumer.and_then(|id| Some((id, graph.fragment(id)?.place.clone()))),
        });
        edges.collect()
    }
}

/// By steward that decided about its own groups, whether it released any, in whichever of its fragments.
pub(super) fn released_by(reports: &[v1::FragmentReport]) -> BTreeMap<String, bool> {
    let mut released = BTreeMap::new();
    for (report, some) in reports.iter().filter_map(|report| Some((report, report.released?))) {
        *released.entry(report.place.clone()).or_default() |= some;
    }
    released
}

/// Running and recent queries.
#[derive(Clone, Default)]
pub struct Queries {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<QueryId, QueryRecord>,
    recent: VecDeque<QueryRecord>,
}

/// A query that has not ended; dropping it before an end counts as cancelled.
pub(super) struct LiveQuery {
    query: QueryId,
    queries: Queries,
    /// From the permit on.
    ending: Option<Ending>,
}

impl Queries {
    /// Running queries, then ended ones, the newest end last.
    pub fn list(&self) -> Vec<QueryRecord> {
        let state = self.lock();
        state.running.values().chain(&state.recent).cloned().collect()
    }

    /// One query, if it is not forgotten.
    pub fn get(&self, query: &QueryId) -> Option<QueryRecord> {
        let state = self.lock();
        state.running.get(query).or_else(|| state.recent.iter().find(|one| &one.query == query)).cloned()
    }

    /// The query of a user that ended last, if it is not forgotten.
    pub(super) fn last(&self, user: &str, organisation: &str) -> Option<QueryRecord> {
        let state = self.lock();
        let own =
            |one: &&QueryRecord| one.asked.requester.user == user && one.asked.requester.organisation == organisation;
        state.recent.iter().rev().find(own).cloned()
    }

    pub(super) fn begin(&self, query: &QueryId, asked: Asked) -> LiveQuery {
        let record = QueryRecord {
            query: query.clone(),
            asked,
            state: QueryState::Planning,
            rows: 0,
            edges: Vec::new(),
            reports: Vec::new(),
        };
        self.lock().running.insert(query.clone(), record);
        LiveQuery { query: query.clone(), queries: self.clone(), ending: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveQuery {
    /// The end of the query is to be recorded from now on.
    pub(super) fn permitted(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    /// Changes the record of the query, which goes on.
    pub(super) fn update(&self, change: impl FnOnce(&mut QueryRecord)) {
        if let Some(record) = self.queries.lock().running.get_mut(&self.query) {
            change(record);
            debug_assert!(!record.state.is_end(), "the end of a query is to be recorded");
        }
    }

    /// Changes the state of the query, which goes on.
    pub(super) fn enter(&self, next: QueryState) {
        self.update(|record| record.state = next);
    }

    /// Changes the record of the query to that of an ended one, which moves it to the recent ones; only the first end
    /// counts. Whoever is told of the end is told after it is durable.
    pub(super) fn end(&self, end: QueryState, change: impl FnOnce(&mut QueryRecord)) -> Recorded {
        let mut state = self.queries.lock();
        let Some(mut record) = state.running.remove(&self.query) else { return Recorded::nothing() };
        change(&mut record);
        record.state = end;
        tracing::info!(query_id = %self.query, state = ?record.state, rows = record.rows, "query ended");
        let rows = record.rows;
        let released = released_by(&record.reports).into_iter();
        let nothing = released.filter(|(_, some)| !some).map(|(steward, _)| steward).collect();
        if state.recent.len() >= RECENT_MAX {
            state.recent.pop_front();
        }
        state.recent.push_back(record);
        drop(state);
        match &self.ending {
            Some(ending) => ending.record(&self.query, end.outcome(), rows, nothing),
            None => Recorded::nothing(),
        }
    }
}

impl Drop for LiveQuery {
    /// Nobody is there to be told.
    fn drop(&mut self) {
        drop(self.end(QueryState::Cancelled, |_| ()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(organisation: &str) -> Asked {
        let requester = Requester { user: "a".into(), organisation: organisation.into(), roles: vec![] };
        Asked {
            sql: None,
            parameters: vec![],
            requester,
            purpose: None,
            agreement: None,
            placement: Placement::default(),
            default_schema: None,
        }
    }

    #[test]
    fn the_first_end_counts_and_a_dropped_query_is_cancelled() {
        let queries = Queries::default();
        let (one, two) = (QueryId::new("1"), QueryId::new("2"));
        let live = queries.begin(&one, asked("uva"));
        drop(live.end(QueryState::Failed(Code::SiteUnavailable), |_| ()));
        drop(live.end(QueryState::Finished, |_| ()));
        drop(live);
        drop(queries.begin(&two, asked("vu")));
        assert_eq!(queries.get(&one).unwrap().state, QueryState::Failed(Code::SiteUnavailable));
        assert_eq!(queries.get(&two).unwrap().state, QueryState::Cancelled);
        // Two organisations may each have an `a`.
        assert_eq!(queries.last("a", "uva").unwrap().query, one);
        assert_eq!(queries.last("a", "vu").unwrap().query, two);
        assert_eq!(queries.last("b", "uva"), None);
    }

    #[test]
    fn b6_a_steward_that_released_in_one_of_its_fragments_is_in_the_answer() {
        let report = |place: &str, released| v1::FragmentReport { place: place.into(), released, ..Default::default() };
        let reports = [
            report("uva", Some(false)),
            report("uva", Some(true)),
            report("vu", Some(false)),
            report("vu", Some(false)),
            report("surf", None),
        ];
        assert_eq!(released_by(&reports), [("uva".to_owned(), true), ("vu".to_owned(), false)].into());
    }

    #[test]
    fn memory_of_ended_queries_is_bounded() {
        let queries = Queries::default();
        for number in 0..RECENT_MAX + 5 {
            drop(queries.begin(&QueryId::new(number.to_string()), asked("uva")));
        }
        assert_eq!(queries.list().len(), RECENT_MAX);
        assert!(queries.get(&QueryId::new("4")).is_none() && queries.get(&QueryId::new("5")).is_some());
    }
}
