//! [`QueryEngine`]: what stands behind the Flight SQL door. It reads a statement and hands it to whoever does that sort
//! of thing.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use dynamos_planner::policy::{Purposes, UtcMillis};
use dynamos_planner::sql::{DynamosStatement, ExplainMode, parse_statement};
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::SigningKey;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::token::{self, Issuers};
use futures::TryStreamExt;
use tokio::time::Instant;

use super::admission::Admission;
use super::change::change_agreement;
use super::decisions::denial_record;
use super::planner_door::{PlannerDoor, Verdict};
use super::planning::Planning;
use super::queries::Queries;
use super::rows::shown;
use super::settings::{self, requester};
use super::system::{self, SystemQuery, system_query};
use super::{explain, show, simulate, text};
use crate::background::Background;
use crate::clock::Clock;
use crate::config::LimitsSection;
use crate::decision::DecisionLog;
use crate::dispatch::Channels;
use crate::frontend::{Caller, Engine, Identity, Outcome, Prepared, StatementKind, TableInfo, TableKind};
use crate::registry::{Members, Registry};

/// Longest time that planning one statement may take.
const PLANNING_MAX: Duration = Duration::from_secs(10);
/// How long places are told to stop after the coordinator itself was.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What an engine is made of.
pub struct EngineParts {
    /// Who takes part.
    pub registry: Arc<Registry>,
    /// How that is changed for good.
    pub members: Arc<Members>,
    /// How places are reached.
    pub channels: Channels,
    /// The planner.
    pub planner: Arc<dyn PlannerDoor>,
    /// Where decisions are written down.
    pub decisions: DecisionLog,
    /// The key that signs permits.
    pub key: SigningKey,
    /// The keys that tokens are verified with.
    pub issuers: Issuers,
    /// Which purposes lie below which.
    pub purposes: Arc<Purposes>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Time from a query's arrival to its last row.
    pub deadline: Duration,
}

/// The engine.
pub struct QueryEngine {
    pub(super) parts: Arc<EngineParts>,
    pub(super) queries: Queries,
    pub(super) admission: Admission,
    pub(super) planning: Planning,
    pub(super) background: Background,
}

impl QueryEngine {
    /// An engine that runs nothing yet. Must be called from within a runtime.
    pub fn new(parts: EngineParts, limits: &LimitsSection) -> Self {
        Self {
            queries: Queries::default(),
            admission: Admission::new(limits.concurrent_queries, limits.queue),
            planning: Planning::new(Arc::clone(&parts.planner), PLANNING_MAX),
            background: Background::new(),
            parts: Arc::new(parts),
        }
    }

    /// Running and recent queries.
    pub fn queries(&self) -> &Queries {
        &self.queries
    }

    /// Waits until places have been told to stop what nobody waits for.
    pub async fn drain(&self) {
        self.background.drain(DRAIN_MAX).await;
    }

    async fn explain(&self, caller: &Caller, sql: &str, policy: Asked) -> Result<Outcome, ServiceError> {
        let request = self.request(caller)?;
        if let Some(query) = system_query(sql, request.default_schema.as_deref())? {
            return text::lines(explain::COLUMN, &query.explain(&request).await?);
        }
        let text = match (self.planning.plan(sql, Vec::new(), &request).await?, policy) {
            (Verdict::Permitted(plan), Asked::Plan) => plan.explain(),
            (Verdict::Permitted(plan), Asked::Policy) => {
                explain::permitted(plan.as_ref(), &request.snapshot.agreements)
            }
            (Verdict::Denied(refusal), asked) => {
                self.parts.decisions.append(&denial_record(sql, &request, &refusal)).await?;
                let refusal = refusal.with_nearest(self.planning.nearest(sql, Vec::new(), &request).await);
                match asked {
                    Asked::Plan => return Err(refusal.into()),
                    Asked::Policy => explain::denied(&refusal),
                }
            }
        };
        text::lines(explain::COLUMN, &text)
    }

    /// Runs a query for what is measured; its rows are dropped here.
    async fn analyze(&self, caller: &Caller, sql: &str) -> Result<Outcome, ServiceError> {
        if system_query(sql, default_schema(caller))?.is_some() {
            return Err(ServiceError::new(Code::Unsupported, "nothing is measured of the system's own tables")
                .with_hint("write EXPLAIN without ANALYZE"));
        }
        let mut started = self.start(caller, sql, Vec::new()).await?;
        let drained = async {
            while started.stream.try_next().await?.is_some() {}
            Ok(())
        };
        drained.await.map_err(|error| shown(&error))?;
        let reports = self.queries.get(&started.query).map(|record| record.reports).unwrap_or_default();
        let mut text = started.plan.borrow().explain();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text::lines(explain::COLUMN, &(text + &explain::measured(&reports)))
    }

    /// A query over the system's tables has its turn like any other; no steward's data is in it, so nothing is decided.
    async fn run_system(
        &self,
        caller: &Caller,
        query: SystemQuery,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, ServiceError> {
        let request = self.request(caller)?;
        let _slot = self.admission.enter(Instant::now() + self.parts.deadline).await?;
        let decisions = self.parts.decisions.recent(&request.requester.user, &request.requester.organisation);
        query.run(parameters, request, decisions, self.parts.deadline).await
    }

    fn permissions(&self, caller: &Caller, purpose: Option<String>) -> Result<Outcome, ServiceError> {
        let purposes = &self.parts.purposes;
        let purpose = match purpose {
            Some(asked) => Some(asked),
            None => settings::purpose(&caller.settings, &caller.identity, purposes)?,
        };
        let Some(purpose) = purpose else {
            return Err(ServiceError::new(Code::InvalidArgument, "no purpose is declared")
                .with_hint("write `SHOW PERMISSIONS FOR PURPOSE …` or `SET dynamos.purpose = …`"));
        };
        settings::check_purpose(&purpose, &caller.identity, purposes)?;
        let now = UtcMillis(self.parts.clock.utc_ms());
        show::permissions(&self.parts.registry.snapshot(), &requester(&caller.identity), &purpose, now, purposes)
    }

    async fn change(&self, caller: &Caller, steward: &str, sql: &str) -> Result<Outcome, ServiceError> {
        let (parts, token) = (&self.parts, &caller.identity.token);
        let (steward, snapshot) = (SiteId::new(steward), parts.registry.snapshot());
        change_agreement(&steward, sql, token, &snapshot, &parts.members, &parts.channels).await
    }
}

/// What an explanation is to show.
#[derive(Clone, Copy)]
enum Asked {
    Plan,
    Policy,
}

#[async_trait]
impl Engine for QueryEngine {
    fn authenticate(&self, token: &str) -> Result<Identity, ServiceError> {
        let seconds = self.parts.clock.utc_ms().div_euclid(1000);
        let claims = token::verify(token, &self.parts.issuers, seconds)
            .map_err(|error| ServiceError::new(Code::Unauthenticated, error.to_string()))?;
        Ok(Identity {
            user: claims.sub,
            organisation: claims.iss,
            roles: claims.roles,
            purposes: claims.purposes,
            token: token.to_owned(),
        })
    }

    async fn prepare(&self, caller: &Caller, sql: &str) -> Result<Prepared, ServiceError> {
        let rows = |schema| Ok(prepared(schema, Vec::new(), StatementKind::Query));
        match parse(sql)? {
            DynamosStatement::Query(query) => {
                let request = self.request(caller)?;
                if let Some(query) = system_query(&query, request.default_schema.as_deref())? {
                    let described = query.describe(&request).await?;
                    return Ok(prepared(described.schema, described.parameters, StatementKind::Query));
                }
                let described = self.planning.ask(move |door| door.describe(&query, &request)).await?;
                Ok(prepared(described.schema, described.parameters, StatementKind::Query))
            }
            DynamosStatement::Explain { .. } | DynamosStatement::ExplainPolicy { .. } => {
                rows(text::schema(&[explain::COLUMN]))
            }
            DynamosStatement::ShowAgreements | DynamosStatement::ShowAgreement { .. } => {
                rows(text::schema(&show::AGREEMENT_COLUMNS))
            }
            DynamosStatement::ShowPermissions { .. } => rows(text::schema(&show::PERMISSION_COLUMNS)),
            DynamosStatement::ShowEdges => rows(text::schema(&show::EDGE_COLUMNS)),
            DynamosStatement::SimulateAgreement { .. } => rows(text::schema(&simulate::COLUMNS)),
            DynamosStatement::ShowDecisions => rows(text::schema(&show::DECISION_COLUMNS)),
            DynamosStatement::Set { .. }
            | DynamosStatement::CreateAgreement(_)
            | DynamosStatement::AlterAgreement(_)
            | DynamosStatement::RevokeAgreement { .. } => {
                Ok(prepared(Arc::new(Schema::empty()), Vec::new(), StatementKind::Update))
            }
        }
    }

    async fn run(&self, caller: &Caller, sql: &str, parameters: Vec<ScalarValue>) -> Result<Outcome, ServiceError> {
        let statement = parse(sql)?;
        if !parameters.is_empty() && !matches!(statement, DynamosStatement::Query(_)) {
            return Err(ServiceError::new(Code::InvalidArgument, "only queries take parameters"));
        }
        let identity = &caller.identity;
        let snapshot = || self.parts.registry.snapshot();
        match statement {
            DynamosStatement::Query(query) => {
                if let Some(query) = system_query(&query, default_schema(caller))? {
                    return self.run_system(caller, query, parameters).await;
                }
                let started = self.start(caller, &query, parameters).await?;
                let query_id = started.query.to_string();
                Ok(Outcome::Rows { query_id, schema: started.schema, stream: started.stream })
            }
            DynamosStatement::Explain { mode: ExplainMode::Plan, sql } => self.explain(caller, &sql, Asked::Plan).await,
            DynamosStatement::Explain { mode: ExplainMode::Analyze, sql } => self.analyze(caller, &sql).await,
            DynamosStatement::ExplainPolicy { sql } => self.explain(caller, &sql, Asked::Policy).await,
            DynamosStatement::Set { name, value } => {
                settings::set(&name, value, identity, &self.parts.purposes, &snapshot())
            }
            DynamosStatement::ShowAgreements => show::agreements(&snapshot(), &requester(identity), None),
            DynamosStatement::ShowAgreement { name, steward } => {
                show::agreements(&snapshot(), &requester(identity), Some((&name, steward.as_deref())))
            }
            DynamosStatement::ShowPermissions { purpose } => self.permissions(caller, purpose),
            DynamosStatement::ShowEdges => show::edges(self.queries.last(&identity.user, &identity.organisation)),
            DynamosStatement::ShowDecisions => {
                show::decisions(self.parts.decisions.recent(&identity.user, &identity.organisation))
            }
            DynamosStatement::CreateAgreement(agreement) | DynamosStatement::AlterAgreement(agreement) => {
                self.change(caller, &agreement.steward, sql).await
            }
            DynamosStatement::RevokeAgreement { steward, .. } => self.change(caller, &steward, sql).await,
            DynamosStatement::SimulateAgreement { agreement, query } => {
                self.simulate(caller, (agreement, sql), query).await
            }
        }
    }

    fn tables(&self, caller: &Caller) -> Result<Vec<TableInfo>, ServiceError> {
        let request = self.request(caller)?;
        let tables = self.planning.door().visible_tables(&request)?.into_iter().map(|table| TableInfo {
            catalog: table.site.map(|site| site.to_string()),
            schema: table.name.schema,
            table: table.name.table,
            kind: TableKind::Table,
            columns: table.schema,
        });
        let own = system::tables().into_iter().map(|(name, columns)| TableInfo {
            catalog: None,
            schema: system::SCHEMA.to_owned(),
            table: name.to_owned(),
            kind: TableKind::SystemTable,
            columns,
        });
        Ok(tables.chain(own).collect())
    }
}

fn default_schema(caller: &Caller) -> Option<&str> {
    caller.settings.options.get("schema").map(String::as_str)
}

fn parse(sql: &str) -> Result<DynamosStatement, ServiceError> {
    parse_statement(sql).map_err(|error| ServiceError::new(Code::Syntax, error.to_string()))
}

fn prepared(schema: SchemaRef, parameters: Vec<Option<DataType>>, kind: StatementKind) -> Prepared {
    let fields = parameters
        .into_iter()
        .enumerate()
        .map(|(index, kind)| Field::new(format!("${}", index + 1), kind.unwrap_or(DataType::Null), true));
    Prepared { schema, parameters: Arc::new(Schema::new(fields.collect::<Vec<_>>())), kind }
}
