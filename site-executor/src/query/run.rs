//! Running one fragment on the engine's threads, and its output as a stream. The stream ends well only if the fragment
//! did: a task that was dropped or failed is an error to its reader, never a shorter result. Of a halted query the stream
//! gives the reason, and nothing of what was still waiting in it. What a steward gave is on record before its reader learns
//! how the rows ended.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::FragmentReport;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument, info_span};

use super::accepted::Query;
use super::giving::Giving;
use super::halt::Activity;
use super::plan::FragmentPlanner;
use crate::exchange::hash_keys;
use crate::fault;
use crate::guard::Guard;
use crate::measure;
use crate::place::Place;

/// Batches that wait for a slow reader; when they are full the fragment waits, too.
const WAITING_BATCHES: usize = 2;

/// The output of a running fragment. Dropping it ends the fragment.
pub(crate) struct FragmentStream {
    id: FragmentId,
    schema: SchemaRef,
    batches: mpsc::Receiver<RecordBatch>,
    outcome: Arc<Outcome>,
    query: Arc<Query>,
    halted: BoxFuture<'static, ServiceError>,
    /// Its reader may have a batch in hand; none after the end.
    reading: Option<Activity>,
    /// When the last batch was handed on.
    gave: Option<Instant>,
    /// What was handed on, where that is recorded.
    giving: Option<Giving>,
    /// How the rows ended, until the reader is told.
    ended: Option<Result<(), ServiceError>>,
    task: JoinSet<()>,
}

impl fmt::Debug for FragmentStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FragmentStream({})", self.query.graph.query)
    }
}

/// How a fragment ended; empty while it runs, and for good if its task was lost.
type Outcome = Mutex<Option<Result<(), ServiceError>>>;

/// Starts a fragment of this place. Fails if it was started before.
pub(crate) fn start(place: &Arc<Place>, query: &Arc<Query>, id: FragmentId) -> Result<FragmentStream, ServiceError> {
    let (reading, running) = (query.halt.enter()?, query.halt.enter()?);
    query.begin(id)?;
    let schema = query.output(id).cloned();
    let schema = schema.ok_or_else(|| ServiceError::new(Code::Internal, format!("fragment {id} has no columns")))?;
    let (sender, batches) = mpsc::channel(WAITING_BATCHES);
    let outcome = Arc::new(Outcome::default());
    let run = Run {
        place: Arc::clone(place),
        query: Arc::clone(query),
        id,
        schema: SchemaRef::clone(&schema),
        report: ReportAtEnd::new(place, query, id),
    };
    let shared = Arc::clone(&outcome);
    let (query_id, basis) = (&query.graph.query, query.graph.basis());
    let span = info_span!("stage", %query_id, fragment_id = %id, site_id = %place.name, basis);
    let work = async move {
        let ended = run.send_all(&sender).await;
        *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        // Only now: the reader looks for the outcome when no further batch can come.
        drop(sender);
        drop(running);
    };
    let task = place.cpu.start(work.instrument(span));
    let awaited = Arc::clone(query);
    let halted = async move { awaited.halt.over().await }.boxed();
    let (reading, giving) = (Some(reading), Giving::of(place, query, id));
    let query = Arc::clone(query);
    Ok(FragmentStream { id, schema, batches, outcome, query, halted, reading, gave: None, giving, ended: None, task })
}

impl FragmentStream {
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The reason of a halted query, if this is one: at this instant, or because it was told since the last look.
    fn halted(&mut self, context: &mut Context<'_>) -> Option<ServiceError> {
        let told = match self.halted.poll_unpin(context) {
            Poll::Ready(reason) => Some(reason),
            Poll::Pending => None,
        };
        told.or_else(|| self.query.halt.reason(Instant::now()))
    }

    /// Drops what waits, and the fragment.
    fn close(&mut self) {
        self.reading = None;
        self.batches.close();
        while self.batches.try_recv().is_ok() {}
        self.task.abort_all();
    }

    /// Tells the reader how the rows ended, once that is on record. Rows of which it cannot be recorded do not end well.
    fn tell(
        &mut self,
        ended: Result<(), ServiceError>,
        context: &mut Context<'_>,
    ) -> Poll<Option<<Self as Stream>::Item>> {
        let recorded = match &mut self.giving {
            Some(giving) => giving.poll_recorded(&ended, context),
            None => Poll::Ready(Ok(())),
        };
        let Poll::Ready(recorded) = recorded else {
            self.ended = Some(ended);
            return Poll::Pending;
        };
        self.giving = None;
        Poll::Ready(ended.and(recorded).err().map(Err))
    }
}

impl Stream for FragmentStream {
    type Item = Result<RecordBatch, ServiceError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(ended) = self.ended.take() {
            return self.tell(ended, context);
        }
        if self.reading.is_none() {
            return Poll::Ready(None);
        }
        if let Some(reason) = self.halted(context) {
            self.close();
            return self.tell(Err(reason), context);
        }
        let Poll::Ready(next) = self.batches.poll_recv(context) else { return Poll::Pending };
        if let Some(batch) = next {
            self.gave = Some(Instant::now());
            if let Some(giving) = &mut self.giving {
                giving.count(&batch);
            }
            return Poll::Ready(Some(Ok(batch)));
        }
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lost = || ServiceError::new(Code::Internal, "a part of the query ended without a result");
        self.reading = None;
        self.tell(outcome.unwrap_or_else(|| Err(lost())), context)
    }
}

impl Drop for FragmentStream {
    /// Of a halted query the log says when the last batch went on, whoever ended the stream.
    fn drop(&mut self) {
        let now = Instant::now();
        let Some(reason) = self.query.halt.reason(now) else { return };
        let last_us_ago = self.gave.map(|gave| u64::try_from((now - gave).as_micros()).unwrap_or(u64::MAX));
        let (query_id, fragment_id) = (&self.query.graph.query, &self.id);
        tracing::info!(%query_id, %fragment_id, code = %reason.code, last_us_ago, "rows stopped");
    }
}

struct Run {
    place: Arc<Place>,
    query: Arc<Query>,
    id: FragmentId,
    schema: SchemaRef,
    report: ReportAtEnd,
}

impl Run {
    /// Runs the fragment; its report is there before the reader learns of the end.
    async fn send_all(self, sender: &mpsc::Sender<RecordBatch>) -> Result<(), ServiceError> {
        let Self { place, query, id, schema, mut report } = self;
        let ended = tokio::select! {
            biased;
            reason = query.halt.over() => Err(reason),
            // Before a cancellation: what is over is cleared away, which must not look like somebody's wish.
            () = tokio::time::sleep_until(query.deadline) => {
                let text = format!("query `{}` reached its deadline at site `{}`", query.graph.query, place.name);
                Err(ServiceError::new(Code::DeadlineExceeded, text).with_hint("ask for less at once"))
            }
            () = query.stop.cancelled() => {
                Err(ServiceError::new(Code::Cancelled, format!("query `{}` was cancelled", query.graph.query)))
            }
            ended = produce(&place, &query, id, schema, sender, &mut report) => ended,
        };
        report.set_outcome(&ended);
        ended
    }
}

async fn produce(
    place: &Arc<Place>,
    query: &Arc<Query>,
    id: FragmentId,
    schema: SchemaRef,
    sender: &mpsc::Sender<RecordBatch>,
    report: &mut ReportAtEnd,
) -> Result<(), ServiceError> {
    let fragment = query.graph.fragment(id);
    let fragment = fragment.ok_or_else(|| ServiceError::new(Code::Internal, format!("no fragment {id}")))?;
    let planned = async {
        let hashing = hash_keys(place, query, fragment).await?;
        Ok::<_, ServiceError>(FragmentPlanner { place, query, fragment, hashing }.physical().await)
    };
    let (leases, planned) = tokio::join!(place.leases.hold(query), planned);
    leases?;
    report.planned = Some(Instant::now());
    let plan = planned?.map_err(|error| {
        log(place, query, id, &error);
        fault::of_planning(&error, &place.name)
    })?;
    let failed = |error: DataFusionError| {
        log(place, query, id, &error);
        fault::of_execution(&error, &place.name)
    };
    report.plan = Some(Arc::clone(&plan));
    let states = query.decides(fragment);
    report.released = states.map(|_| false);
    let mut rows = execute_stream(Arc::clone(&plan), query.state.task_ctx()).map_err(failed)?;
    let mut guard = Guard::new(&place.name, schema, &place.limits);
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(failed)?;
        report.released = report.released.map(|some| some || states.is_some_and(|first| holds_value(&batch, first)));
        guard.push(&batch).map_err(failed)?;
        report.counted = guard.counted();
        while let Some(cut) = guard.next().map_err(failed)? {
            if send(sender, cut).await == Reader::Gone {
                return Ok(());
            }
        }
    }
    while let Some(cut) = guard.finish().map_err(failed)? {
        if send(sender, cut).await == Reader::Gone {
            return Ok(());
        }
    }
    report.given = Extent::Whole;
    Ok(())
}

/// Whether one of the columns from this one on has a value: a total that is withheld is a row of NULLs.
fn holds_value(groups: &RecordBatch, first: usize) -> bool {
    groups.columns().iter().skip(first).any(|column| column.null_count() < column.len())
}

/// Whether anybody still reads. A reader that has what it needs (a LIMIT, a join whose other side is empty) goes before
/// the end, and the query is none the worse; one that failed reports that itself.
#[derive(PartialEq, Eq)]
enum Reader {
    Listens,
    Gone,
}

async fn send(sender: &mpsc::Sender<RecordBatch>, batch: RecordBatch) -> Reader {
    if sender.send(batch).await.is_ok() { Reader::Listens } else { Reader::Gone }
}

/// The engine's text may hold a value of a row. It is written down only where all rows are this place's own; a place that
/// others' rows have come to keeps none of them, in its log neither.
fn log(place: &Place, query: &Query, id: FragmentId, error: &DataFusionError) {
    let kind = fault::kind(error);
    if query.has_only_own_rows(&place.name, id) {
        tracing::warn!(query_id = %query.graph.query, fragment_id = %id, kind, %error, "fragment failed");
    } else {
        tracing::warn!(query_id = %query.graph.query, fragment_id = %id, kind, "fragment failed");
    }
}

/// How much of its rows a fragment gave before it ended.
#[derive(Clone, Copy, Debug)]
enum Extent {
    Whole,
    Part,
}

/// Records how a fragment ended, and for the own log what its operators did until then, even if its task is dropped half way,
/// which its reader does by going, see [`Reader`], or a fault of this program.
struct ReportAtEnd {
    query: Arc<Query>,
    place: Arc<Place>,
    id: FragmentId,
    started: Instant,
    planned: Option<Instant>,
    /// What runs, once it does.
    plan: Option<Arc<dyn ExecutionPlan>>,
    counted: (u64, u64),
    given: Extent,
    /// Whether this place released a group, where it decides about its own.
    released: Option<bool>,
    error: Option<ServiceError>,
}

impl ReportAtEnd {
    fn new(place: &Arc<Place>, query: &Arc<Query>, id: FragmentId) -> Self {
        Self {
            query: Arc::clone(query),
            place: Arc::clone(place),
            id,
            started: Instant::now(),
            planned: None,
            plan: None,
            counted: (0, 0),
            given: Extent::Part,
            released: None,
            error: None,
        }
    }

    fn set_outcome(&mut self, outcome: &Result<(), ServiceError>) {
        self.error = outcome.as_ref().err().cloned();
    }
}

impl Drop for ReportAtEnd {
    fn drop(&mut self) {
        let micros = |from: Instant, to: Instant| u64::try_from((to - from).as_micros()).unwrap_or(u64::MAX);
        let planned = self.planned.unwrap_or(self.started);
        let minimum = self.query.largest_minimum();
        let (rows, bytes) = self.counted;
        if std::thread::panicking() {
            let lost = ServiceError::new(Code::Internal, "a part of the query ended without a result");
            self.error.get_or_insert(lost);
        }
        if self.error.is_none() && matches!(self.given, Extent::Part) {
            self.error = self.query.halt.reason(Instant::now());
        }
        let code = self.error.as_ref().map(|error| error.code.as_str()).unwrap_or_default();
        let (query_id, fragment_id, given) = (&self.query.graph.query, &self.id, self.given);
        let (planned_us, ran_us) = (micros(self.started, planned), micros(planned, Instant::now()));
        let operators = self.plan.as_ref().map(measure::operators).unwrap_or_default();
        tracing::info!(
            %query_id, %fragment_id, rows, bytes, ?given, code, planned_us, ran_us, %operators, "fragment ended"
        );
        self.query.end(FragmentReport {
            fragment: self.id.0,
            place: self.place.name.to_string(),
            rows_bucket: measure::bucket(rows, minimum),
            bytes_bucket: measure::bucket(bytes, minimum),
            queued_us: micros(self.query.accepted, self.started),
            planned_us,
            ran_us,
            error_code: code.to_owned(),
            error: self.error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
            released: self.released,
        });
        self.place.queries.retire_if_finished(&self.query);
    }
}
