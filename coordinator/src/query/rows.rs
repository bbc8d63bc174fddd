//! The rows of a running query on their way to the requester. A task of its own makes each batch when it is asked for,
//! and watches all the while for what can end the query: a place that went down, an agreement that was revoked, the
//! deadline, a requester that says stop. One that stops reading holds nothing up: the query ends without it, and it is
//! told when it asks again. Dropping the stream cancels.
//!
//! Whether a query may go on under an altered agreement its steward decides, who recalls the data of what may not. A query
//! that ends so before its first batch is planned again, and so is one that loses its data because a place was silent for a
//! moment.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use futures::StreamExt;
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::attempts::{Attempt, Attempts, Basis};
use super::planner_door::PermittedPlan;
use super::queries::{LiveQuery, QueryState, released_by};
use crate::background::Background;
use crate::dispatch::Participants;
use crate::frontend::{ReleasedBy, cancelled};
use crate::registry::Snapshot;

/// How long a query that is over waits for its requester, who may still have a batch in hand, to ask again. It is longer than a
/// steward waits for data that it has recalled, so that such a batch counts as being there until then.
const IN_HAND_MAX: Duration = Duration::from_secs(1);

/// A running query.
pub(super) struct RunningRows {
    /// What runs now.
    pub(super) attempt: Attempt,
    /// What another attempt begins from.
    pub(super) attempts: Attempts,
    /// Learns the plan of each attempt.
    pub(super) plans: watch::Sender<Arc<dyn PermittedPlan>>,
    /// The columns that were promised.
    pub(super) schema: SchemaRef,
    /// Whether a batch was given to the requester.
    pub(super) begun: bool,
    /// Fires when the requester says stop.
    pub(super) cancel: CancellationToken,
    /// Is told whose groups are among the rows.
    pub(super) released: ReleasedBy,
    /// Its record.
    pub(super) live: LiveQuery,
    /// Its place among the running ones.
    pub(super) slot: OwnedSemaphorePermit,
}

/// The next batch with what it rests on, what ended the query, or that all rows were given.
type Item = Option<Result<(RecordBatch, Basis), DataFusionError>>;
/// Those that wait for an item, one after another.
type Asked = mpsc::Receiver<oneshot::Sender<Item>>;

impl RunningRows {
    /// The rows as a stream. What makes them is one of the tasks in the background.
    pub(super) fn into_stream(self, background: &Background) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let (asks, asked) = mpsc::channel(1);
        let over = Arc::new(OnceLock::new());
        let giving = self.give(asked, Arc::clone(&over), background.stopping());
        background.spawn(giving.instrument(tracing::Span::current()));
        let batches = stream::unfold(Some(asks), move |asks| {
            let over = Arc::clone(&over);
            async move {
                let asks = asks?;
                let item = ask(&asks, &over).await?;
                let more = item.is_ok().then_some(asks);
                Some((item, more))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    /// Gives a batch to each that asks, until there is none, the query is over otherwise, or nobody is there to ask.
    async fn give(mut self, mut asked: Asked, over: Arc<OnceLock<ServiceError>>, stopping: CancellationToken) {
        let cancel = self.cancel.clone();
        loop {
            let asking = tokio::select! {
                biased;
                () = cancel.cancelled() => return self.call_off(&over).await,
                asking = self.asking(&mut asked, &stopping) => asking,
            };
            let mut asking = match asking {
                Ok(Some(asking)) => asking,
                Ok(None) => return,
                Err(problem) => {
                    tracing::info!("the requester has stopped reading");
                    let problem = over.get_or_init(|| problem);
                    return self.fail(problem).await;
                }
            };
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => return self.call_off(&over).await,
                () = asking.closed() => return,
                next = self.next(&stopping) => next,
            };
            let last = match next {
                Ok(Some(batch)) => {
                    self.live.update(|record| record.rows += batch.num_rows() as u64);
                    // Whoever asked may be gone by now; then nobody asks again.
                    drop(asking.send(Some(Ok((batch, self.attempt.basis())))));
                    continue;
                }
                Ok(None) => {
                    let reports = tokio::select! {
                        biased;
                        () = cancel.cancelled() => return self.call_off(&over).await,
                        () = asking.closed() => return,
                        reports = self.attempt.participants.reports() => reports,
                    };
                    self.finish(reports).await.err().map(|error| Err(carried(error)))
                }
                Err(error) => {
                    self.fail(&shown(&error)).await;
                    Some(Err(error))
                }
            };
            drop(asking.send(last));
            return;
        }
    }

    /// The next that asks, or none if nobody is there to. What ends the query waits a moment for the requester to ask.
    async fn asking(
        &mut self,
        asked: &mut Asked,
        stopping: &CancellationToken,
    ) -> Result<Option<oneshot::Sender<Item>>, ServiceError> {
        tokio::select! {
            biased;
            asking = asked.recv() => Ok(asking),
            problem = self.attempt.problem(self.attempts.deadline, stopping) => {
                timeout(IN_HAND_MAX, asked.recv()).await.map_err(|_| problem)
            }
        }
    }

    /// The next batch. As long as none was released, a query begins anew whose basis has changed, or that lost its data at a
    /// place that is there all the same.
    async fn next(&mut self, stopping: &CancellationToken) -> Result<Option<RecordBatch>, DataFusionError> {
        loop {
            let given = self.attempt.next(self.attempts.deadline, stopping, &self.schema).await;
            match given {
                Err(error) if !self.begun && self.may_begin_anew(&shown(&error)) => self.begin_anew(error).await?,
                given => {
                    self.begun |= matches!(given, Ok(Some(_)));
                    return given;
                }
            }
        }
    }

    fn may_begin_anew(&mut self, error: &ServiceError) -> bool {
        let lost = error.code == Code::SiteUnavailable && self.attempt.problem_now().is_some();
        !lost && self.attempts.may_follow(error)
    }

    async fn begin_anew(&mut self, error: DataFusionError) -> Result<(), DataFusionError> {
        let basis = self.attempt.basis();
        let attempt = self.attempts.again(&shown(&error), basis, &mut self.live).await.map_err(carried)?;
        if attempt.plan.schema() != self.schema {
            return Err(error);
        }
        self.plans.send_replace(Arc::clone(&attempt.plan));
        self.attempt = attempt;
        self.live.enter(QueryState::Running);
        Ok(())
    }

    /// Puts on record that the query failed.
    async fn fail(self, error: &ServiceError) {
        let code = error.code;
        tracing::warn!(%code, "query failed while it ran");
        self.break_off(QueryState::Failed(code)).await;
    }

    /// Puts on record that the requester said stop. Whoever asks for more is told so.
    async fn call_off(self, over: &OnceLock<ServiceError>) {
        over.get_or_init(cancelled);
        self.break_off(QueryState::Cancelled).await;
    }

    /// Ends the query before its rows did, and puts that on record.
    async fn break_off(self, end: QueryState) {
        let recorded = self.live.end(end, |_| ());
        // Places are told to stop before anything is waited for.
        drop(self);
        if recorded.durable().await.is_err() {
            tracing::warn!(?end, "the requester is told of an end that is not on record");
        }
    }

    /// Puts the end on record with its reports. A fragment that failed makes the whole result one: what looked like the
    /// end of the rows was not. So does an end that cannot be recorded.
    async fn finish(self, reports: Vec<v1::FragmentReport>) -> Result<(), ServiceError> {
        let failed = reports.iter().find(|report| !report.error_code.is_empty()).map(|report| {
            let text = format!("fragment f{} failed at site `{}`: {}", report.fragment, report.place, report.error);
            ServiceError::new(Code::from_text(&report.error_code).unwrap_or(Code::Internal), text)
        });
        let ended = reports.len() == self.attempt.plan.graph().fragments.len();
        let state = failed.as_ref().map_or(QueryState::Finished, |error| QueryState::Failed(error.code));
        if failed.is_none() {
            self.released.tell(released_by(&reports));
        }
        let recorded = self.live.end(state, |record| record.reports = reports);
        drop(self.slot);
        let recorded = recorded.durable().await;
        if let Some(error) = failed {
            return Err(error);
        }
        recorded?;
        // A fragment that nobody had to read waits at its place until that is told to stop.
        if ended {
            self.attempt.participants.end();
        }
        Ok(())
    }
}

/// Asks for the next batch. One that was not taken before the query was over, or before an agreement that it rests on was
/// revoked, is not given any more.
async fn ask(
    asks: &mpsc::Sender<oneshot::Sender<Item>>,
    over: &OnceLock<ServiceError>,
) -> Option<Result<RecordBatch, DataFusionError>> {
    // Why a batch was kept back, if one was: whatever else comes, it is missing before that.
    let mut kept_back = None;
    loop {
        let (asking, given) = oneshot::channel();
        // If nobody is there to give anything, what was to answer is lost at once.
        drop(asks.send(asking).await);
        let given = given.await;
        if let Some(problem) = over.get() {
            // The end is on record when nobody gives anything any more.
            asks.closed().await;
            return Some(Err(carried(problem.clone())));
        }
        let lost = || ServiceError::new(Code::Internal, "the query ended without a result");
        let given = given.unwrap_or_else(|_| Some(Err(carried(lost()))));
        match (given, kept_back.take()) {
            (Some(Err(error)), _) => return Some(Err(error)),
            (_, Some(problem)) => return Some(Err(carried(problem))),
            (None, None) => return None,
            (Some(Ok((batch, (plan, snapshots)))), None) => {
                // Then the next item says so, and that is on record.
                kept_back = revoked(&snapshots.borrow(), plan.as_ref());
                if kept_back.is_none() {
                    return Some(Ok(batch));
                }
            }
        }
    }
}

impl Attempt {
    /// The next batch of this attempt, under the columns that were promised.
    async fn next(
        &mut self,
        deadline: Instant,
        stopping: &CancellationToken,
        schema: &SchemaRef,
    ) -> Result<Option<RecordBatch>, DataFusionError> {
        let Self { rows, participants, plan, snapshots } = self;
        let batch = tokio::select! {
            biased;
            problem = problem(snapshots, participants, plan.as_ref(), deadline, stopping) => return Err(carried(problem)),
            batch = rows.next() => batch,
        };
        match batch {
            None => Ok(None),
            Some(Ok(batch)) => promised(&batch, schema).map(Some).map_err(carried),
            // If a place is known to be gone, that is the better reason.
            Some(Err(error)) => Err(self.problem_now().map_or(error, carried)),
        }
    }

    /// Waits until something has happened that this attempt cannot outlive.
    async fn problem(&mut self, deadline: Instant, stopping: &CancellationToken) -> ServiceError {
        problem(&mut self.snapshots, &self.participants, self.plan.as_ref(), deadline, stopping).await
    }

    fn problem_now(&mut self) -> Option<ServiceError> {
        problem_in(&self.snapshots.borrow_and_update(), &self.participants, self.plan.as_ref())
    }
}

async fn problem(
    snapshots: &mut watch::Receiver<Snapshot>,
    participants: &Participants,
    plan: &dyn PermittedPlan,
    deadline: Instant,
    stopping: &CancellationToken,
) -> ServiceError {
    loop {
        if let Some(problem) = problem_in(&snapshots.borrow_and_update(), participants, plan) {
            return problem;
        }
        tokio::select! {
            biased;
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return shutting_down();
                }
            }
            () = sleep_until(deadline) => return time_is_up(),
            () = stopping.cancelled() => return shutting_down(),
        }
    }
}

/// What has happened to the federation that a query cannot outlive.
fn problem_in(snapshot: &Snapshot, participants: &Participants, plan: &dyn PermittedPlan) -> Option<ServiceError> {
    if let Some(site) = participants.sites().find(|site| !snapshot.is_up(site)) {
        let text = format!("site `{site}` went down while the query ran");
        return Some(ServiceError::new(Code::SiteUnavailable, text).with_hint("run the query again when it is back"));
    }
    revoked(snapshot, plan)
}

fn revoked(snapshot: &Snapshot, plan: &dyn PermittedPlan) -> Option<ServiceError> {
    let mut governing = plan.graph().governing.iter();
    let revoked = governing.find(|(steward, one)| snapshot.agreements.get(steward, &one.agreement).is_none());
    revoked.map(|(steward, governing)| {
        let text = format!("agreement `{}` of `{steward}` was revoked while the query ran", governing.agreement);
        ServiceError::new(Code::StaleBasis, text).with_hint("run the query again")
    })
}

/// A batch under the promised schema: fragment 0 numbers its columns, the names are the query's; types must be equal.
fn promised(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ServiceError> {
    let given = batch.schema();
    let same = given.fields().len() == schema.fields().len()
        && given
            .fields()
            .iter()
            .zip(schema.fields())
            .all(|(given, promised)| given.data_type().equals_datatype(promised.data_type()));
    let other = || ServiceError::new(Code::Internal, "the rows are not of the columns that were promised");
    if !same {
        return Err(other());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options).map_err(|_| other())
}

/// The error of a result stream as it may be shown: what was written to be shown, or only that it failed, because the
/// text of a foreign error may hold a value.
pub(super) fn shown(error: &DataFusionError) -> ServiceError {
    let inner = match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<ServiceError>(),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(inner) => inner.downcast_ref::<ServiceError>(),
            _ => None,
        },
        _ => None,
    };
    inner
        .cloned()
        .unwrap_or_else(|| ServiceError::new(Code::DataError, "the query failed while its rows were being made"))
}

fn shutting_down() -> ServiceError {
    ServiceError::new(Code::Cancelled, "the coordinator is shutting down")
}

pub(super) fn time_is_up() -> ServiceError {
    ServiceError::new(Code::DeadlineExceeded, "the query's time is up")
        .with_hint("ask for less at once, or ask the operator for a longer `query_deadline`")
}

fn carried(error: ServiceError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
