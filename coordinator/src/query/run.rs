//! Running one query. What happens is in the order of the calls: its turn, its plan, the decision on the disk, the
//! permit at every place, the root's rows.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use dynamos_planner::policy::{Requester, UtcMillis, largest_minimum};
use dynamos_proto::ids::QueryId;
use dynamos_proto::sign::{sha256, sha256_hex};
use dynamos_proto::status::{Code, ServiceError};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, info_span};
use uuid::Uuid;

use super::engine::QueryEngine;
use super::planner_door::{PermittedPlan, PlanRequest, Refusal, Verdict};
use super::queries::{Asked, Edge, LiveQuery, QueryState};
use super::rows::{RunningRows, time_is_up};
use super::settings::{placement, purpose, requester};
use super::show::concerns;
use crate::decision::{AgreementBasis, DecisionRecord, Ending, Verdict as Decided, statement_hash, without_literals};
use crate::dispatch::dispatch;
use crate::frontend::Caller;
use crate::registry::Snapshot;

/// A query whose rows are coming.
pub(super) struct Started {
    pub(super) query: QueryId,
    pub(super) schema: SchemaRef,
    pub(super) stream: SendableRecordBatchStream,
    /// Its plan.
    pub(super) plan: Box<dyn PermittedPlan>,
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
            placement: placement(options.get("placement"))?,
            default_schema: options.get("schema").cloned(),
            query: QueryId::new(Uuid::new_v4().to_string()),
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
                self.parts.decisions.append(&self.unplanned(caller, sql, &error)).await?;
                return Err(error);
            }
        };
        let span = info_span!("query", query_id = %request.query);
        let live = self.queries.begin(&request.query, Asked::of(sql, &request));
        let deadline = Instant::now() + self.parts.deadline;
        self.admit_and_start(caller, sql, parameters, request, live, deadline).instrument(span).await
    }

    async fn admit_and_start(
        &self,
        caller: &Caller,
        sql: &str,
        parameters: Vec<ScalarValue>,
        mut request: PlanRequest,
        mut live: LiveQuery,
        deadline: Instant,
    ) -> Result<Started, ServiceError> {
        let begun = async {
            let slot = self.admission.enter(deadline).await?;
            // The federation may have changed while the query waited.
            let snapshots = self.parts.registry.watch();
            request.snapshot = self.parts.registry.snapshot();
            request.now = UtcMillis(self.parts.clock.utc_ms());
            let plan = self.decide(sql, parameters, &request).await?;
            live.permitted(self.ending(&request));
            live.update(|record| {
                record.edges = Edge::of(plan.graph());
                record.state = QueryState::Dispatching;
            });
            let parts = &self.parts;
            let (token, snapshot) = (&caller.identity.token, &request.snapshot);
            let mut participants =
                dispatch(plan.as_ref(), token, snapshot, &parts.key, &parts.channels, &self.background).await?;
            participants.begin();
            let root = parts.channels.root().open_root(&request.query);
            let rows = timeout_at(deadline, root).await.unwrap_or_else(|_| Err(time_is_up()))?;
            Ok((slot, snapshots, plan, participants, rows))
        };
        let (slot, snapshots, plan, participants, rows) = begun.await.inspect_err(|error: &ServiceError| {
            tracing::info!(code = %error.code, "query did not start");
            live.enter(QueryState::Failed(error.code));
        })?;
        live.enter(QueryState::Running);
        let schema = plan.schema();
        let governing = plan.graph().governing.clone();
        let fragments = plan.graph().fragments.len();
        let running = RunningRows {
            rows,
            schema: schema.clone(),
            participants,
            fragments,
            governing,
            snapshots,
            deadline,
            live,
            slot,
        };
        Ok(Started { query: request.query, schema, stream: running.into_stream(), plan })
    }

    /// Plans a query and writes the decision down. A denial is an error from here on.
    async fn decide(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
        request: &PlanRequest,
    ) -> Result<Box<dyn PermittedPlan>, ServiceError> {
        let decisions = &self.parts.decisions;
        match self.plan(sql, parameters, request).await {
            Ok(Verdict::Permitted(plan)) => {
                if plan.graph().query != request.query {
                    return Err(ServiceError::new(Code::Internal, "the plan is not of this query"));
                }
                decisions.append(&permit_record(sql, request, plan.as_ref())).await?;
                Ok(plan)
            }
            Ok(Verdict::Denied(refusal)) => {
                decisions.append(&denial_record(sql, request, &refusal)).await?;
                Err(refusal.into())
            }
            Err(error) => {
                let record = DecisionRecord {
                    code: Some(error.code.as_str().to_owned()),
                    agreements: concerned(&request.snapshot, &request.requester),
                    ..record(sql, request, Decided::Refused)
                };
                decisions.append(&record).await?;
                Err(error)
            }
        }
    }

    /// The record of a query whose session asks for what the requester may not, such as a purpose.
    fn unplanned(&self, caller: &Caller, sql: &str, error: &ServiceError) -> DecisionRecord {
        let (identity, snapshot) = (&caller.identity, self.parts.registry.snapshot());
        let agreements = concerned(&snapshot, &requester(identity));
        DecisionRecord {
            at: UtcMillis(self.parts.clock.utc_ms()).to_string(),
            query_id: Uuid::new_v4().to_string(),
            verdict: Decided::Refused,
            code: Some(error.code.as_str().to_owned()),
            requester: identity.user.clone(),
            organisation: identity.organisation.clone(),
            purpose: caller.settings.options.get("purpose").cloned(),
            statement_sha256: statement_hash(sql),
            graph_sha256: None,
            catalog_version: snapshot.catalog.version,
            agreements,
            clauses: Vec::new(),
            reason: None,
        }
    }

    fn ending(&self, request: &PlanRequest) -> Ending {
        Ending {
            log: self.parts.decisions.clone(),
            clock: self.parts.clock.clone(),
            background: self.background.clone(),
            largest_minimum: largest_minimum(&request.snapshot.agreements),
        }
    }

    /// Plans a query.
    pub(super) async fn plan(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
        request: &PlanRequest,
    ) -> Result<Verdict, ServiceError> {
        let (sql, request) = (sql.to_owned(), request.clone());
        self.planning.ask(move |door| door.plan(&sql, &parameters, &request)).await
    }
}

/// The record of a denial.
pub(super) fn denial_record(sql: &str, request: &PlanRequest, refusal: &Refusal) -> DecisionRecord {
    DecisionRecord {
        code: Some(Code::Denied.as_str().to_owned()),
        agreements: concerned(&request.snapshot, &request.requester),
        reason: Some(without_literals(&refusal.reason)),
        ..record(sql, request, Decided::Denied)
    }
}

fn permit_record(sql: &str, request: &PlanRequest, plan: &dyn PermittedPlan) -> DecisionRecord {
    let graph = plan.graph();
    let used: BTreeSet<&String> = plan.verdicts().iter().flat_map(|verdict| &verdict.clauses).collect();
    let agreements = graph.governing.iter().map(|(steward, governing)| AgreementBasis {
        steward: steward.to_string(),
        agreement: governing.agreement.clone(),
        epoch: governing.epoch,
    });
    DecisionRecord {
        graph_sha256: Some(sha256_hex(plan.graph_bytes())),
        agreements: agreements.collect(),
        clauses: used.into_iter().cloned().collect(),
        ..record(sql, request, Decided::Permitted)
    }
}

/// The agreements in force that the decision about this requester rests on.
fn concerned(snapshot: &Snapshot, requester: &Requester) -> Vec<AgreementBasis> {
    let all = snapshot.agreements.all().filter(|held| concerns(&held.agreement, requester));
    let basis = all.map(|held| AgreementBasis {
        steward: held.agreement.steward.clone(),
        agreement: held.agreement.name.clone(),
        epoch: held.epoch,
    });
    basis.collect()
}

/// What every record says.
fn record(sql: &str, request: &PlanRequest, verdict: Decided) -> DecisionRecord {
    DecisionRecord {
        at: request.now.to_string(),
        query_id: request.query.to_string(),
        verdict,
        code: None,
        requester: request.requester.user.clone(),
        organisation: request.requester.organisation.clone(),
        purpose: request.purpose.clone(),
        statement_sha256: statement_hash(sql),
        graph_sha256: None,
        catalog_version: request.snapshot.catalog.version,
        agreements: Vec::new(),
        clauses: Vec::new(),
        reason: None,
    }
}
