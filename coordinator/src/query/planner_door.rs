//! [`PlannerDoor`]: the planner as the life of a query needs it. A seam, so that the life can be tested without plans:
//! the planner itself is pure and knows neither tasks nor services.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use dynamos_planner::Placement;
use dynamos_planner::catalog::TableName;
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::knowledge::Link;
use dynamos_planner::policy::{EdgeVerdict, Policy, Purposes, Reason, Requester, UtcMillis};
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::status::{Code, ServiceError};

use crate::registry::Snapshot;

/// What is assumed of links that were not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Links {
    /// Bandwidth, megabits per second.
    pub bandwidth_mbit_per_s: u64,
    /// Round-trip time.
    pub latency: std::time::Duration,
}

impl From<Links> for Link {
    fn from(links: Links) -> Self {
        // Megabits to bytes; exact for any bandwidth that a link can have.
        let bandwidth_bytes_s = links.bandwidth_mbit_per_s as f64 * 125_000.0;
        Self { bandwidth_bytes_s, round_trip_ms: links.latency.as_secs_f64() * 1000.0 }
    }
}

/// Everything that a plan depends on besides the statement.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// Catalog and agreements.
    pub snapshot: Snapshot,
    /// Which purposes lie below which.
    pub purposes: Arc<Purposes>,
    /// Who asks.
    pub requester: Requester,
    /// The declared purpose.
    pub purpose: Option<String>,
    /// The agreement to plan under, where the requester insists on one.
    pub agreement: Option<String>,
    /// Where the requester wants the work to be done.
    pub placement: Placement,
    /// The schema of names without one.
    pub default_schema: Option<String>,
    /// The query's id.
    pub query: QueryId,
    /// Counts the plans of this query, from 0.
    pub attempt: u32,
    /// The present.
    pub now: UtcMillis,
    /// SHA-256 of the requester's token.
    pub token_hash: Vec<u8>,
}

impl PlanRequest {
    /// What decides about the query, and what a report on it may tell.
    pub fn policy(&self) -> Policy<'_> {
        Policy {
            catalog: &self.snapshot.catalog,
            agreements: &self.snapshot.agreements,
            purposes: &self.purposes,
            requester: &self.requester,
            purpose: self.purpose.as_deref().unwrap_or_default(),
            agreement: self.agreement.as_deref(),
            now: self.now,
        }
    }
}

/// A query that may run.
pub trait PermittedPlan: Send + Sync + std::fmt::Debug + 'static {
    /// The placed query.
    fn graph(&self) -> &FragmentGraph;
    /// Its canonical bytes, which are signed.
    fn graph_bytes(&self) -> &[u8];
    /// The columns of the result.
    fn schema(&self) -> SchemaRef;
    /// Agreements (steward, name) that a place needs from others to build its release points.
    fn agreements_for(&self, site: &SiteId) -> Vec<(SiteId, String)>;
    /// The clause beside every edge.
    fn verdicts(&self) -> &[EdgeVerdict];
    /// Its whole path for people.
    fn explain(&self) -> String;
}

/// Why a query may not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reasons in one sentence, with agreement and clause.
    pub reason: String,
    /// The same one by one, with whose agreement each is about.
    pub reasons: Vec<Reason>,
    /// The nearest query that is allowed, or where to look.
    pub hint: Option<String>,
}

/// The hint that tells the nearest query that is allowed.
pub fn nearest_hint(sql: &str) -> String {
    format!("nearest allowed query: {sql}")
}

impl Refusal {
    /// The refusal with what could be asked instead, where there is something.
    pub fn with_nearest(self, sql: Option<String>) -> Self {
        Self { hint: sql.map(|sql| nearest_hint(&sql)).or(self.hint), ..self }
    }
}

impl From<Refusal> for ServiceError {
    /// A denial as the requester sees it.
    fn from(refusal: Refusal) -> Self {
        Self { code: Code::Denied, message: refusal.reason, hint: refusal.hint }
    }
}

/// What the planner says. A denial is an answer, not an error.
#[derive(Debug)]
pub enum Verdict {
    /// It may run.
    Permitted(Box<dyn PermittedPlan>),
    /// It may not.
    Denied(Refusal),
}

/// A query's columns and parameters, from binding alone.
#[derive(Clone, Debug)]
pub struct Description {
    /// The columns of the result.
    pub schema: SchemaRef,
    /// The type of each parameter, where it is known.
    pub parameters: Vec<Option<DataType>>,
}

/// A table that the requester may know to exist.
#[derive(Clone, Debug)]
pub struct VisibleTable {
    /// Whose it is; none for a federated table.
    pub site: Option<SiteId>,
    /// Its name.
    pub name: TableName,
    /// The columns that the requester may know of.
    pub schema: SchemaRef,
}

/// The planner. Its functions compute and may take long; they are called on threads that may block.
pub trait PlannerDoor: Send + Sync + 'static {
    /// Plans a query.
    fn plan(&self, sql: &str, parameters: &[ScalarValue], request: &PlanRequest) -> Result<Verdict, ServiceError>;

    /// The nearest query that is allowed and contained in this one, which was refused; none if none was found.
    fn nearest(&self, sql: &str, parameters: &[ScalarValue], request: &PlanRequest) -> Option<String>;

    /// Binds a query without planning it.
    fn describe(&self, sql: &str, request: &PlanRequest) -> Result<Description, ServiceError>;

    /// The tables that the requester may know to exist.
    fn visible_tables(&self, request: &PlanRequest) -> Result<Vec<VisibleTable>, ServiceError>;
}
