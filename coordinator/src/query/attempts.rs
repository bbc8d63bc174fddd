//! The attempts of one query. Each is planned, decided, on the disk, dispatched and opened. What a query rests on may change on
//! the way, or a place fall silent for a moment, which ends the leases of its data; as long as no batch has been released the
//! query can be planned again, under the same id and the next number, and the stewards charge it only once.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use dynamos_planner::policy::{UtcMillis, largest_minimum};
use dynamos_proto::status::{Code, ServiceError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::decisions::{denial_record, failure_record, permit_record};
use super::engine::EngineParts;
use super::planner_door::{PermittedPlan, PlanRequest, Verdict, nearest_hint};
use super::planning::Planning;
use super::queries::{Edge, LiveQuery, QueryState};
use super::rows::time_is_up;
use crate::background::Background;
use crate::decision::Ending;
use crate::dispatch::{Participants, dispatch};
use crate::registry::Snapshot;

/// Attempts of one query; stewards take a few more.
const ATTEMPTS_MAX: u32 = 3;
/// A change that a site knows of is known here, too, within this time.
const CHANGE_KNOWN: Duration = Duration::from_secs(1);

/// A place that was silent has so long to take its part in another attempt. Places wait at most three seconds for each other,
/// and the requester is to be told of a lost one in five.
const BACK_WITHIN: Duration = Duration::from_millis(1500);

/// What every attempt of a query begins from.
pub(super) struct Attempts {
    pub(super) parts: Arc<EngineParts>,
    pub(super) planning: Planning,
    pub(super) background: Background,
    /// The requester's.
    pub(super) token: String,
    pub(super) sql: String,
    pub(super) parameters: Vec<ScalarValue>,
    /// Of the newest attempt.
    pub(super) request: PlanRequest,
    pub(super) deadline: Instant,
    /// Whether one of them was ended by a place that was silent. A second one is not forgiven.
    pub(super) after_silence: bool,
}

/// An attempt whose rows are coming.
pub(super) struct Attempt {
    /// The rows of fragment 0.
    pub(super) rows: SendableRecordBatchStream,
    /// Who takes part; tells them to stop when dropped.
    pub(super) participants: Participants,
    /// Its plan.
    pub(super) plan: Arc<dyn PermittedPlan>,
    /// The federation as it changes, from before the plan was made.
    pub(super) snapshots: watch::Receiver<Snapshot>,
}

/// What an attempt rests on: its plan, and the federation as it changed since.
pub(super) type Basis = (Arc<dyn PermittedPlan>, watch::Receiver<Snapshot>);

impl Attempt {
    /// What it rests on.
    pub(super) fn basis(&self) -> Basis {
        (Arc::clone(&self.plan), self.snapshots.clone())
    }
}

impl Attempts {
    /// Makes the first attempt, and further ones while sites find that what it rests on has changed.
    pub(super) async fn begin(&mut self, live: &mut LiveQuery) -> Result<Attempt, ServiceError> {
        loop {
            match self.once(live).await {
                Ok(attempt) => return Ok(attempt),
                Err(Stopped { error, basis: Some(basis) }) if error.code == Code::StaleBasis && self.any_left() => {
                    self.follow(&error, basis).await;
                }
                Err(stopped) => return Err(stopped.error),
            }
        }
    }

    /// Makes the next attempt, after one that ended so and released nothing.
    pub(super) async fn again(
        &mut self,
        error: &ServiceError,
        basis: Basis,
        live: &mut LiveQuery,
    ) -> Result<Attempt, ServiceError> {
        self.follow(error, basis).await;
        if error.code == Code::SiteUnavailable {
            let begun = timeout(BACK_WITHIN, self.begin(live)).await;
            return begun.unwrap_or_else(|_| Err(error.clone()));
        }
        self.begin(live).await
    }

    /// Whether an attempt that was running, and ended so, may be followed by another.
    pub(super) fn may_follow(&self, error: &ServiceError) -> bool {
        let worth_it = match error.code {
            Code::StaleBasis => true,
            Code::SiteUnavailable => !self.after_silence,
            _ => false,
        };
        worth_it && self.any_left()
    }

    fn any_left(&self) -> bool {
        self.request.attempt + 1 < ATTEMPTS_MAX
    }

    /// Goes on to the next attempt when what a site noticed is known here, too.
    async fn follow(&mut self, error: &ServiceError, (plan, snapshots): Basis) {
        match error.code {
            Code::SiteUnavailable => self.after_silence = true,
            _ => self.change_known(plan.as_ref(), snapshots).await,
        }
        self.request.attempt += 1;
        tracing::info!(%error, attempt = self.request.attempt, "the query is planned again");
    }

    async fn change_known(&self, plan: &dyn PermittedPlan, mut snapshots: watch::Receiver<Snapshot>) {
        let governing = &plan.graph().governing;
        let clock = &self.parts.clock;
        let changed = |snapshot: &Snapshot| {
            governing.iter().any(|(steward, one)| match snapshot.agreements.get(steward, &one.agreement) {
                Some(held) => {
                    let over = |until: UtcMillis| until.0 <= clock.utc_ms();
                    held.epoch != one.epoch || held.agreement.valid_until.is_some_and(over)
                }
                None => true,
            })
        };
        let known = async { drop(snapshots.wait_for(changed).await) };
        if timeout(CHANGE_KNOWN, known).await.is_err() {
            tracing::warn!("a site found a change that is not known here");
        }
    }

    async fn once(&mut self, live: &mut LiveQuery) -> Result<Attempt, Stopped> {
        // The federation may have changed while the query waited.
        let snapshots = self.parts.registry.watch();
        self.request.snapshot = self.parts.registry.snapshot();
        self.request.now = UtcMillis(self.parts.clock.utc_ms());
        let plan: Arc<dyn PermittedPlan> = Arc::from(self.decide().await?);
        tracing::Span::current().record("basis", plan.graph().basis());
        live.permitted(self.ending());
        live.update(|record| {
            record.edges = Edge::of(plan.graph());
            record.state = QueryState::Dispatching;
        });
        let stopped = |error| Stopped { error, basis: Some((Arc::clone(&plan), snapshots.clone())) };
        let (parts, snapshot) = (&self.parts, &self.request.snapshot);
        let dispatched =
            dispatch(plan.as_ref(), &self.token, snapshot, &parts.key, &parts.channels, &self.background).await;
        let mut participants = dispatched.map_err(stopped)?;
        participants.begin();
        let root = parts.channels.root().open_root(&self.request.query);
        let rows = timeout_at(self.deadline, root).await.unwrap_or_else(|_| Err(time_is_up())).map_err(stopped)?;
        Ok(Attempt { rows, participants, plan, snapshots })
    }

    /// Plans the query and writes the decision down. A denial is an error from here on.
    async fn decide(&self) -> Result<Box<dyn PermittedPlan>, ServiceError> {
        let (decisions, sql, request) = (&self.parts.decisions, &self.sql, &self.request);
        match self.planning.plan(sql, self.parameters.clone(), request).await {
            Ok(Verdict::Permitted(plan)) => {
                if plan.graph().query != request.query || plan.graph().attempt != request.attempt {
                    return Err(ServiceError::new(Code::Internal, "the plan is not of this query"));
                }
                decisions.append(&permit_record(sql, request, plan.as_ref())).await?;
                Ok(plan)
            }
            Ok(Verdict::Denied(refusal)) => {
                decisions.append(&denial_record(sql, request, &refusal)).await?;
                let nearest = self.planning.nearest(sql, self.parameters.clone(), request).await;
                Err(refusal.with_nearest(nearest).into())
            }
            Err(error) => {
                decisions.append(&failure_record(sql, request, &error)).await?;
                if error.code != Code::SiteUnavailable {
                    return Err(error);
                }
                // Those that do answer may be asked without the one that does not.
                let nearest = self.planning.nearest(sql, self.parameters.clone(), request).await;
                Err(nearest.map_or(error.clone(), |sql| error.with_hint(nearest_hint(&sql))))
            }
        }
    }

    fn ending(&self) -> Ending {
        Ending {
            log: self.parts.decisions.clone(),
            clock: self.parts.clock.clone(),
            background: self.background.clone(),
            largest_minimum: largest_minimum(&self.request.snapshot.agreements),
        }
    }
}

/// Why an attempt did not begin, and its plan, if it had one, with the federation since then.
struct Stopped {
    error: ServiceError,
    basis: Option<Basis>,
}

impl From<ServiceError> for Stopped {
    fn from(error: ServiceError) -> Self {
        Self { error, basis: None }
    }
}
