//! Running one query. What happens is in the order of the calls: its turn, its plan, the decision on the disk, the
//! permit at every place, the root's rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use dynamos_planner::policy::UtcMillis;
use dynamos_proto::ids::QueryId;
use dynamos_proto::sign::sha256;
use dynamos_proto::status::ServiceError;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, info_span};
use uuid::Uuid;

use super::attempts::Attempts;
use super::decisions::unplanned_record;
use super::engine::QueryEngine;
use super::planner_door::{PermittedPlan, PlanRequest};
use super::queries::{Asked, LiveQuery, QueryState};
use super::rows::RunningRows;
use super::settings::{placement, purpose, requester};
use crate::frontend::{Caller, ReleasedBy};

/// A query whose rows are coming.
pub(super) struct Started {
    pub(super) query: QueryId,
    pub(super) schema: SchemaRef,
    pub(super) stream: SendableRecordBatchStream,
    /// The plan of its newest attempt.
    pub(super) plan: watch::Receiver<Arc<dyn PermittedPlan>>,
    /// Whose groups are among the rows.
    pub(super) released: ReleasedBy,
}

impl QueryEngine {
    /// What a plan for this caller depends on, under a new query id.
    pub(super) fn request(&self, caller: &Caller) -> Result<PlanRequest, ServiceError> {
        let options = &caller.settings.options;
        Ok(PlanRequest {
            snapshot: self.parts.registry.snapshot(),
            purposes: self.parts.purposes.clone(),
            requester: requester(&caller.identity),
            purpose: purpose(&caller.settings, &caller.identity, &self.parts.purposes)?,
            agreement: options.get("agreement").cloned(),
            placement: placement(options.get("placement").map(String::as_str))?,
            default_schema: options.get("schema").cloned(),
            query: QueryId::new(Uuid::new_v4().to_string()),
            attempt: 0,
            now: UtcMillis(self.parts.clock.utc_ms()),
            token_hash: sha256(caller.identity.token.as_bytes()),
        })
    }

    /// Runs a query up to its first row.
    pub(super) async fn start(
        &self,
        caller: &Caller,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Started, ServiceError> {
        let request = match self.request(caller) {
            Ok(request) => request,
            Err(error) => {
                let (snapshot, now) = (self.parts.registry.snapshot(), UtcMillis(self.parts.clock.utc_ms()));
                self.parts.decisions.append(&unplanned_record(caller, sql, &error, &snapshot, now)).await?;
                return Err(error);
            }
        };
        let span = info_span!("query", query_id = %request.query, basis = Empty);
        let live = self.queries.begin(&request.query, Asked::of(sql, &parameters, &request));
        let attempts = Attempts {
            parts: Arc::clone(&self.parts),
            planning: self.planning.clone(),
            background: self.background.clone(),
            token: caller.identity.token.clone(),
            sql: sql.to_owned(),
            parameters,
            request,
            deadline: Instant::now() + self.parts.deadline,
            after_silence: false,
        };
        self.admit_and_start(attempts, live, caller.cancel.clone()).instrument(span).await
    }

    async fn admit_and_start(
        &self,
        mut attempts: Attempts,
        mut live: LiveQuery,
        cancel: CancellationToken,
    ) -> Result<Started, ServiceError> {
        let begun = async {
            let slot = self.admission.enter(attempts.deadline).await?;
            Ok((slot, attempts.begin(&mut live).await?))
        };
        let begun: Result<_, ServiceError> = begun.await;
        let (slot, attempt) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                tracing::info!(code = %error.code, "query did not start");
                let recorded = live.end(QueryState::Failed(error.code), |_| ());
                if recorded.durable().await.is_err() {
                    tracing::warn!(code = %error.code, "the requester is told of an end that is not on record");
                }
                return Err(error);
            }
        };
        live.enter(QueryState::Running);
        let (query, schema) = (attempts.request.query.clone(), attempt.plan.schema());
        let (plans, plan) = watch::channel(Arc::clone(&attempt.plan));
        let released = ReleasedBy::default();
        let running = RunningRows {
            attempt,
            attempts,
            plans,
            schema: schema.clone(),
            begun: false,
            cancel,
            released: released.clone(),
            live,
            slot,
        };
        Ok(Started { query, schema, stream: running.into_stream(&self.background), plan, released })
    }
}
