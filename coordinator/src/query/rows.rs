//! The rows of a running query on their way to the requester. Between two batches everything is watched that can end
//! the query: a place that went down, an agreement that was revoked, the deadline. Dropping the stream cancels.
//!
//! Whether a query may go on under an altered agreement its steward decides, who recalls the data of what may not. A query
//! that ends so before its first batch is planned again.

use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use dynamos_proto::status::{Code, ServiceError};
use futures::StreamExt;
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep_until;
use tracing::Instrument;

use super::attempts::{Attempt, Attempts};
use super::planner_door::PermittedPlan;
use super::queries::{LiveQuery, QueryState, released_by};
use crate::frontend::ReleasedBy;

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
    /// Is told whose groups are among the rows.
    pub(super) released: ReleasedBy,
    /// Its record.
    pub(super) live: LiveQuery,
    /// Its place among the running ones.
    pub(super) slot: OwnedSemaphorePermit,
}

impl RunningRows {
    /// The rows as a stream.
    pub(super) fn into_stream(self) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let span = tracing::Span::current();
        let batches = stream::unfold(Some(self), move |running| step(running).instrument(span.clone()));
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    /// The next batch. As long as none was released, a query whose basis has changed begins anew.
    async fn next(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        loop {
            let given = self.of_this_attempt().await;
            match given {
                Err(error) if !self.begun && self.attempts.may_follow(&shown(&error)) => self.begin_anew(error).await?,
                given => {
                    self.begun |= matches!(given, Ok(Some(_)));
                    return given;
                }
            }
        }
    }

    async fn begin_anew(&mut self, error: DataFusionError) -> Result<(), DataFusionError> {
        let basis = self.attempt.basis();
        let attempt = self.attempts.again(basis, &mut self.live).await.map_err(carried)?;
        if attempt.plan.schema() != self.schema {
            return Err(error);
        }
        self.plans.send_replace(Arc::clone(&attempt.plan));
        self.attempt = attempt;
        self.live.enter(QueryState::Running);
        Ok(())
    }

    async fn of_this_attempt(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        loop {
            if let Some(problem) = self.problem() {
                return Err(carried(problem));
            }
            let batch = tokio::select! {
                biased;
                changed = self.attempt.snapshots.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Err(carried(shutting_down())),
                },
                () = sleep_until(self.attempts.deadline) => {
                    return Err(carried(time_is_up()));
                }
                batch = self.attempt.rows.next() => batch,
            };
            return match batch {
                None => Ok(None),
                Some(Ok(batch)) => promised(&batch, &self.schema).map(Some).map_err(carried),
                // If a place is known to be gone, that is the better reason.
                Some(Err(error)) => Err(self.problem().map_or(error, carried)),
            };
        }
    }

    /// What has happened to the federation that this query cannot outlive.
    fn problem(&mut self) -> Option<ServiceError> {
        let snapshot = self.attempt.snapshots.borrow_and_update();
        if let Some(site) = self.attempt.participants.sites().find(|site| !snapshot.is_up(site)) {
            let text = format!("site `{site}` went down while the query ran");
            return Some(
                ServiceError::new(Code::SiteUnavailable, text).with_hint("run the query again when it is back"),
            );
        }
        let governing = &self.attempt.plan.graph().governing;
        let revoked = governing
            .iter()
            .find(|(steward, governing)| snapshot.agreements.get(steward, &governing.agreement).is_none());
        revoked.map(|(steward, governing)| {
            let text = format!("agreement `{}` of `{steward}` was revoked while the query ran", governing.agreement);
            ServiceError::new(Code::StaleBasis, text).with_hint("run the query again")
        })
    }

    /// Collects the reports at the end, and puts it on record. A fragment that failed makes the whole result one: what
    /// looked like the end of the rows was not. So does an end that cannot be recorded.
    async fn finish(self) -> Result<(), ServiceError> {
        let reports = self.attempt.participants.reports().await;
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

type Item = Result<RecordBatch, DataFusionError>;

async fn step(running: Option<RunningRows>) -> Option<(Item, Option<RunningRows>)> {
    let mut running = running?;
    match running.next().await {
        Ok(Some(batch)) => {
            running.live.update(|record| record.rows += batch.num_rows() as u64);
            Some((Ok(batch), Some(running)))
        }
        Ok(None) => running.finish().await.err().map(|error| (Err(carried(error)), None)),
        Err(error) => {
            let code = shown(&error).code;
            tracing::warn!(%code, "query failed while it ran");
            let recorded = running.live.end(QueryState::Failed(code), |_| ());
            // Places are told to stop before anything is waited for.
            drop(running);
            if recorded.durable().await.is_err() {
                tracing::warn!(%code, "the requester is told of an end that is not on record");
            }
            Some((Err(error), None))
        }
    }
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
