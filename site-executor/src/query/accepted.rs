//! A query that a place has accepted: everything that its fragments share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use dynamos_planner::fragment::{Fragment, FragmentGraph, ReleasePoint};
use dynamos_planner::policy::{
    AgreementSet, EdgeVerdict, MinimumScope, ReleaseConditions, ReleasePlan, Requester, conditions, largest_minimum,
};
use dynamos_proto::ids::{FragmentId, SiteId};
use dynamos_proto::sign::HashKey;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::FragmentReport;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::halt::{Halt, Term};
use super::hash_keys::QueryHashKeys;
use crate::admission::Admitted;
use crate::ledger::Charge;
use crate::spill::SpillFolder;

/// An accepted query.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) graph: FragmentGraph,
    pub(crate) hash: Vec<u8>,
    /// Who asks; unknown where no token came with the permit.
    pub(crate) requester: Option<Requester>,
    /// The clauses beside every edge that carries something of this place.
    pub(crate) edges: Vec<EdgeVerdict>,
    /// The agreements as they were when the query was accepted. A change that matters halts it.
    pub(crate) agreements: Arc<AgreementSet>,
    /// Until when its data may be here.
    pub(crate) halt: Halt,
    /// Functions, memory pool and spill folder of this query.
    pub(crate) state: SessionState,
    /// Under which this place hashes entities in this query; nobody else ever has it.
    pub(crate) entity_key: HashKey,
    /// Under which it hashes entity keys that leave it in this query.
    pub(crate) hash_keys: QueryHashKeys,
    pub(crate) stop: CancellationToken,
    pub(crate) accepted: Instant,
    pub(crate) deadline: Instant,
    /// What it spills; after `state`, which writes there.
    _spill: SpillFolder,
    outputs: BTreeMap<FragmentId, SchemaRef>,
    progress: Arc<Progress>,
    /// Set once the permit is recorded; before that no row is given. Holds what it was charged.
    recorded: OnceLock<Option<Charge>>,
    /// Whether the stewards whose data come here have been asked for leases.
    asked: AtomicBool,
}

/// How far the fragments of a query are; outlives the query so that it can be reported.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<BTreeMap<FragmentId, Stage>>);

#[derive(Debug)]
enum Stage {
    Waiting,
    /// Never began and never will.
    Withdrawn,
    Running,
    Finished(FragmentReport),
}

impl Query {
    /// The query with the output schemas of this place's fragments worked out.
    pub(crate) fn new(
        place: &SiteId,
        admitted: Admitted,
        agreements: Arc<AgreementSet>,
        (state, spill): (SessionState, SpillFolder),
        deadline: Instant,
    ) -> Result<Self> {
        let Admitted { graph, requester, edges, hash } = admitted;
        let mut outputs = BTreeMap::new();
        let mut stages = BTreeMap::new();
        for fragment in graph.at(place) {
            outputs.insert(fragment.id, output_schema(&graph, fragment, &agreements, &state)?);
            stages.insert(fragment.id, Stage::Waiting);
        }
        let progress = Arc::new(Progress(Mutex::new(stages)));
        let (stop, accepted) = (CancellationToken::new(), Instant::now());
        let (entity_key, hash_keys) = (draw_key()?, QueryHashKeys::new(place, &graph)?);
        let (recorded, asked) = (OnceLock::new(), AtomicBool::new(false));
        let lenders = lenders(&graph, place).into_iter().map(|steward| {
            let after = unreachable(&steward, place);
            (steward, Term { until: None, after })
        });
        let halt = Halt::new(lenders.collect());
        Ok(Self {
            graph,
            hash,
            requester,
            edges,
            agreements,
            halt,
            state,
            entity_key,
            hash_keys,
            stop,
            accepted,
            deadline,
            _spill: spill,
            outputs,
            progress,
            recorded,
            asked,
        })
    }

    /// Whether this is the first time that somebody is about to ask for its leases.
    pub(crate) fn ask_once(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// Its permit is on the disk, for this charge: from now on its rows are given.
    pub(crate) fn record(&self, charge: Option<Charge>) {
        // A query is recorded once.
        self.recorded.set(charge).unwrap_or_default();
    }

    /// Whether its permit is on the disk.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded.get().is_some()
    }

    /// What it was charged, if it was.
    pub(crate) fn charge(&self) -> Option<&Charge> {
        self.recorded.get()?.as_ref()
    }

    /// Makes sure that no fragment begins, unless one has; gives whether none has.
    pub(crate) fn withdraw(&self) -> bool {
        let mut stages = self.progress.lock();
        if !stages.values().all(|stage| matches!(stage, Stage::Waiting)) {
            return false;
        }
        stages.values_mut().for_each(|stage| *stage = Stage::Withdrawn);
        true
    }

    /// The columns of a fragment that this place runs.
    pub(crate) fn output(&self, fragment: FragmentId) -> Option<&SchemaRef> {
        self.outputs.get(&fragment)
    }

    /// Marks a fragment as running. A fragment runs once.
    pub(crate) fn begin(&self, fragment: FragmentId) -> std::result::Result<(), ServiceError> {
        match self.progress.lock().get_mut(&fragment) {
            Some(stage @ Stage::Waiting) => {
                *stage = Stage::Running;
                Ok(())
            }
            Some(Stage::Withdrawn) => {
                let text = format!("query `{}` was cancelled before it began", self.graph.query);
                Err(ServiceError::new(Code::Cancelled, text))
            }
            Some(Stage::Running | Stage::Finished(_)) => {
                let text = format!("fragment {fragment} of query `{}` was fetched before", self.graph.query);
                Err(ServiceError::new(Code::SiteRefused, text))
            }
            None => {
                let text = format!("query `{}` has no fragment {fragment} here", self.graph.query);
                Err(ServiceError::new(Code::SiteRefused, text))
            }
        }
    }

    /// Records how a fragment ended; only the first end counts.
    pub(crate) fn end(&self, report: FragmentReport) {
        if let Some(stage @ Stage::Running) = self.progress.lock().get_mut(&FragmentId(report.fragment)) {
            *stage = Stage::Finished(report);
        }
    }

    /// How far its fragments are.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Fragments that have not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.progress.lock().values().filter(|stage| !matches!(stage, Stage::Finished(_))).count()
    }

    /// Whether a fragment has been fetched and has not ended.
    #[cfg(test)]
    pub(crate) fn is_running(&self, fragment: FragmentId) -> bool {
        matches!(self.progress.lock().get(&fragment), Some(Stage::Running))
    }

    /// Whether an agreement in any version has a part in it.
    pub(crate) fn rests_on(&self, steward: &SiteId, agreement: &str) -> bool {
        let governs = self.graph.governing.get(steward).is_some_and(|governing| governing.agreement == agreement);
        let releases = self.graph.releases.iter().flat_map(|point| &point.clauses);
        governs || releases.into_iter().any(|one| &one.steward == steward && one.agreement.agreement == agreement)
    }

    /// Whether all rows that a fragment works on are `place`'s own: it is a steward, and nothing comes from elsewhere,
    /// directly or not.
    pub(crate) fn has_only_own_rows(&self, place: &SiteId, fragment: FragmentId) -> bool {
        let (mut next, mut seen) = (vec![fragment], BTreeSet::new());
        while let Some(reader) = next.pop() {
            // A graph that goes in circles was refused, but this must end all the same.
            if !seen.insert(reader) {
                continue;
            }
            for sender in self.graph.fragments.iter().filter(|sender| sender.consumer == Some(reader)) {
                if sender.place != *place {
                    return false;
                }
                next.push(sender.id);
            }
        }
        self.graph.governing.contains_key(place)
    }

    /// Where a fragment gives the groups that its steward released by itself: the position of their first value.
    pub(crate) fn decides(&self, fragment: &Fragment) -> Option<usize> {
        let point = self.graph.release(fragment.partial_of?)?;
        // What is left over is marked in the first column, and the keys stand behind it.
        (point.scope == MinimumScope::PerSite).then(|| 1 + point.shape.group_columns())
    }

    /// The largest of the minimums that were in force when it was accepted.
    pub(crate) fn largest_minimum(&self) -> u32 {
        largest_minimum(&self.agreements)
    }
}

impl Progress {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<FragmentId, Stage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports of the fragments that have ended, in order of number.
    pub(crate) fn reports(&self) -> Vec<FragmentReport> {
        let stages = self.lock();
        let finished = stages.values().filter_map(|stage| match stage {
            Stage::Finished(report) => Some(report.clone()),
            Stage::Waiting | Stage::Withdrawn | Stage::Running => None,
        });
        finished.collect()
    }
}

/// The stewards whose data, or what was made of them, come to a place in this query: those that run something, directly or
/// not, for a fragment of the place.
pub(crate) fn lenders(graph: &FragmentGraph, place: &SiteId) -> BTreeSet<SiteId> {
    let comes_here = |fragment: &Fragment| {
        let mut seen = BTreeSet::new();
        let mut next = fragment.consumer;
        // A graph that goes in circles was refused, but this must end all the same.
        while let Some(reader) = next.filter(|id| seen.insert(*id)).and_then(|id| graph.fragment(id)) {
            if reader.place == *place {
                return true;
            }
            next = reader.consumer;
        }
        false
    };
    let others = graph.fragments.iter().filter(|fragment| fragment.place != *place);
    let stewards = others.filter(|fragment| graph.governing.contains_key(&fragment.place));
    stewards.filter(|fragment| comes_here(fragment)).map(|fragment| fragment.place.clone()).collect()
}

/// What a query ends with when a steward's site no longer lets its data be at `place`.
pub(crate) fn unreachable(steward: &SiteId, place: &SiteId) -> ServiceError {
    let text = format!("site `{steward}` does not answer, so its data may not stay at `{place}`");
    ServiceError::new(Code::SiteUnavailable, text).with_hint("run the query again when the site is back")
}

/// What a query ends with when an agreement that it rests on comes to its end.
pub(crate) fn ended(steward: &SiteId, agreement: &str) -> ServiceError {
    let text = format!("agreement `{agreement}` of `{steward}` came to its end while the query ran");
    ServiceError::new(Code::StaleBasis, text).with_hint("run the query again")
}

pub(super) fn draw_key() -> Result<HashKey> {
    let mut bytes = [0; 32];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(HashKey::from_bytes(bytes)),
        Err(_) => datafusion::common::exec_err!("the system has no random numbers"),
    }
}

/// The columns of a fragment's output, as every place that has the graph works them out for itself.
pub(crate) fn output_schema(
    graph: &FragmentGraph,
    fragment: &Fragment,
    agreements: &AgreementSet,
    state: &SessionState,
) -> Result<SchemaRef> {
    let Some(id) = fragment.partial_of else { return Ok(Arc::clone(fragment.plan.schema().inner())) };
    let Some(point) = graph.release(id) else {
        return datafusion::common::plan_err!("fragment {} makes partials of {id}, which does not exist", fragment.id);
    };
    let conditions = sender_conditions(point, &fragment.place, agreements)?;
    // Only the columns matter here.
    let key = HashKey::from_bytes([0; 32]);
    let plan = ReleasePlan { shape: &point.shape, conditions: &conditions, sends_states: false, key: &key, state };
    plan.sent(fragment.plan.clone(), point.scope)
}

/// The conditions under which a steward makes its part of a release point: those of all clauses, or its own alone.
pub(crate) fn sender_conditions(
    point: &ReleasePoint,
    sender: &SiteId,
    agreements: &AgreementSet,
) -> Result<ReleaseConditions> {
    let own = point.clauses.iter().filter(|clause| clause.steward == *sender).cloned();
    match point.scope {
        MinimumScope::Federation => conditions(&point.clauses, agreements),
        MinimumScope::PerSite => conditions(&own.collect::<Vec<_>>(), agreements),
    }
}
