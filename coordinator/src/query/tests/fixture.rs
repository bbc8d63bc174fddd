//! A federation of two stewards, a provider and the coordinator, none of which computes anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlanBuilder;
use dynamos_planner::catalog::{SiteKind, TableName};
use dynamos_planner::fragment::{AgreementRef, Fragment, FragmentGraph};
use dynamos_planner::policy::{Carried, CarriedRows, EdgeVerdict, purpose};
use dynamos_proto::ids::{FragmentId, QueryId, ReleaseId, SiteId};
use dynamos_proto::status::ServiceError;
use dynamos_proto::token::{self, Claims};
use dynamos_proto::v1;
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use crate::clock::testing::ManualClock;
use crate::config::LimitsSection;
use crate::decision::DecisionLog;
use crate::dispatch::Channels;
use crate::dispatch::testing::{FakePlace, FakePlaces};
use crate::frontend::{Caller, Engine, Outcome, SessionSettings};
use crate::query::{
    Description, EngineParts, PermittedPlan, PlanRequest, PlannerDoor, QueryEngine, Refusal, Verdict, VisibleTable,
};
use crate::registry::Registry;
use crate::registry::tests::{agreement, announcement, key, known, signed, unreplicated};

/// What the planner says next.
#[derive(Clone)]
pub(super) enum Answer {
    Permit,
    PermitAnotherQuery,
    Deny(Refusal),
    Fail(ServiceError),
}

/// A planner that says what it is told and remembers what it was asked.
pub(super) struct FakePlanner {
    pub(super) answer: Mutex<Answer>,
    pub(super) asked: Mutex<Vec<PlanRequest>>,
    /// The values that came with them.
    pub(super) parameters: Mutex<Vec<Vec<ScalarValue>>>,
    pub(super) nearest: Mutex<Option<String>>,
}

#[derive(Debug)]
struct FakePlan(FragmentGraph, Vec<EdgeVerdict>);

impl PermittedPlan for FakePlan {
    fn graph(&self) -> &FragmentGraph {
        &self.0
    }
    fn graph_bytes(&self) -> &[u8] {
        b"graph"
    }
    fn schema(&self) -> SchemaRef {
        columns()
    }
    fn agreements_for(&self, site: &SiteId) -> Vec<(SiteId, String)> {
        if site.as_str() == "surf" { vec![(SiteId::new("uva"), "a".to_owned())] } else { Vec::new() }
    }
    fn verdicts(&self) -> &[EdgeVerdict] {
        &self.1
    }
    fn explain(&self) -> String {
        "fragments f0\nfragments f1".to_owned()
    }
}

impl PlannerDoor for FakePlanner {
    fn plan(&self, _: &str, parameters: &[ScalarValue], request: &PlanRequest) -> Result<Verdict, ServiceError> {
        self.asked.lock().unwrap().push(request.clone());
        self.parameters.lock().unwrap().push(parameters.to_vec());
        Ok(match self.answer.lock().unwrap().clone() {
            Answer::Permit => permitted(&request.query, request.attempt),
            Answer::PermitAnotherQuery => permitted(&QueryId::new("other"), 0),
            Answer::Deny(refusal) => Verdict::Denied(refusal),
            Answer::Fail(error) => return Err(error),
        })
    }
    fn nearest(&self, _: &str, _: &[ScalarValue], _: &PlanRequest) -> Option<String> {
        self.nearest.lock().unwrap().clone()
    }
    fn describe(&self, _: &str, _: &PlanRequest) -> Result<Description, ServiceError> {
        Ok(Description { schema: columns(), parameters: vec![Some(DataType::Int64), None] })
    }
    fn visible_tables(&self, _: &PlanRequest) -> Result<Vec<VisibleTable>, ServiceError> {
        let name = TableName::new("wages", "personen");
        let table =
            |site: Option<&str>| VisibleTable { site: site.map(SiteId::new), name: name.clone(), schema: columns() };
        Ok(vec![table(None), table(Some("uva"))])
    }
}

fn permitted(query: &QueryId, attempt: u32) -> Verdict {
    let rows = CarriedRows {
        steward: SiteId::new("uva"),
        relation: "wages.personen".into(),
        conditions: Vec::new(),
        listed: Vec::new(),
    };
    let edge = EdgeVerdict {
        from: FragmentId(2),
        to: Some(FragmentId(1)),
        what: "partials of r0".into(),
        carried: Carried::Partials(ReleaseId(0), rows),
        clauses: vec!["uva.a@3 clause 1".into()],
        rows_of: None,
    };
    Verdict::Permitted(Box::new(FakePlan(FragmentGraph { attempt, ..graph(query) }, vec![edge])))
}

fn graph(query: &QueryId) -> FragmentGraph {
    let fragment = |id, place, consumer: Option<u32>| Fragment {
        id: FragmentId(id),
        place: SiteId::new(place),
        consumer: consumer.map(FragmentId),
        plan: LogicalPlanBuilder::empty(false).build().unwrap(),
        partial_of: None,
    };
    FragmentGraph {
        query: query.clone(),
        attempt: 0,
        purpose: "statistics".into(),
        catalog_version: 1,
        fragments: vec![
            fragment(0, "coordinator", None),
            fragment(1, "surf", Some(0)),
            fragment(2, "uva", Some(1)),
            fragment(3, "vu", Some(1)),
        ],
        releases: vec![],
        endpoints: BTreeMap::new(),
        governing: [(SiteId::new("uva"), AgreementRef { agreement: "a".into(), epoch: 3 })].into(),
        planned_at_ms: 0,
        expires_at_ms: 0,
        token_hash: vec![],
        organisation: "uva".into(),
    }
}

pub(super) fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

pub(super) fn batch(values: &[i64]) -> RecordBatch {
    RecordBatch::try_new(columns(), vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
}

pub(super) struct Fixture {
    pub(super) engine: QueryEngine,
    pub(super) registry: Arc<Registry>,
    pub(super) planner: Arc<FakePlanner>,
    pub(super) root: Arc<FakePlace>,
    pub(super) places: BTreeMap<SiteId, Arc<FakePlace>>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with_deadline(Duration::from_secs(60))
    }

    pub(super) fn with_deadline(deadline: Duration) -> Self {
        let clock = Arc::new(ManualClock::default());
        let known = vec![
            known("uva", SiteKind::Steward, Some(1)),
            known("vu", SiteKind::Steward, Some(2)),
            known("surf", SiteKind::Provider, None),
        ];
        let places = crate::registry::KnownPlaces { sites: known, ..Default::default() };
        let registry = Arc::new(Registry::new(places, Arc::clone(&clock) as _));
        registry.register(&SiteId::new("uva"), &announcement()).unwrap();
        for (site, kind) in [("vu", "steward"), ("surf", "provider")] {
            let announcement = v1::Announcement {
                site: site.into(),
                kind: kind.into(),
                agreements: vec![],
                tables: vec![],
                ..announcement()
            };
            registry.register(&SiteId::new(site), &announcement).unwrap();
        }
        let places: BTreeMap<SiteId, Arc<FakePlace>> =
            ["uva", "vu", "surf"].map(|site| (SiteId::new(site), FakePlace::new())).into();
        let (root, folder) = (FakePlace::new(), tempfile::tempdir().unwrap());
        let planner = Arc::new(FakePlanner {
            answer: Mutex::new(Answer::Permit),
            asked: Mutex::default(),
            parameters: Mutex::default(),
            nearest: Mutex::default(),
        });
        let parts = EngineParts {
            registry: Arc::clone(&registry),
            members: Arc::new(unreplicated(&registry)),
            channels: Channels::new(Arc::clone(&root) as _, Box::new(FakePlaces(places.clone()))),
            planner: Arc::clone(&planner) as _,
            decisions: DecisionLog::open(folder.path()).unwrap(),
            key: key(9),
            issuers: [("uva".to_owned(), key(5).public())].into(),
            purposes: Arc::new(purpose::shipped().unwrap()),
            clock: Arc::clone(&clock) as _,
            deadline,
        };
        let engine = QueryEngine::new(parts, &LimitsSection::default());
        Self { engine, registry, planner, root, places, clock, folder }
    }

    pub(super) fn place(&self, site: &str) -> &Arc<FakePlace> {
        &self.places[&SiteId::new(site)]
    }

    /// A caller with this role at `uva`, who may declare statistics and research.
    pub(super) fn caller(&self, role: &str) -> Caller {
        let claims = Claims {
            iss: "uva".into(),
            sub: "a@uva.nl".into(),
            roles: vec![role.into()],
            purposes: vec!["statistics".into(), "research".into()],
            exp: 2_000_000_000,
            jti: "1".into(),
        };
        let token = token::issue(&claims, &key(5)).unwrap();
        let identity = Arc::new(self.engine.authenticate(&token).unwrap());
        let settings = SessionSettings { options: [("purpose".to_owned(), "statistics".to_owned())].into() };
        Caller { identity, settings, cancel: CancellationToken::new() }
    }

    pub(super) async fn run(&self, sql: &str) -> Result<Outcome, ServiceError> {
        self.engine.run(&self.caller("analyst"), sql, vec![]).await
    }

    /// Starts a query and gives its rows.
    pub(super) async fn rows(&self) -> Result<(QueryId, SendableRecordBatchStream), ServiceError> {
        self.rows_for(&self.caller("analyst")).await
    }

    /// The same for another caller.
    pub(super) async fn rows_for(&self, caller: &Caller) -> Result<(QueryId, SendableRecordBatchStream), ServiceError> {
        match self.engine.run(caller, "SELECT n FROM wages.personen", vec![]).await? {
            Outcome::Rows { query_id, stream, .. } => Ok((QueryId::new(query_id), stream)),
            _ => panic!("a query answers with rows"),
        }
    }

    /// The rows of a text answer, the columns of each joined by `|`.
    pub(super) async fn text(&self, sql: &str) -> Result<Vec<String>, ServiceError> {
        self.text_for(&self.caller("analyst"), sql).await
    }

    /// The same for another caller.
    pub(super) async fn text_for(&self, caller: &Caller, sql: &str) -> Result<Vec<String>, ServiceError> {
        let Outcome::Rows { stream, .. } = self.engine.run(caller, sql, vec![]).await? else {
            panic!("`{sql}` answers with rows")
        };
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let cell = |column, row| arrow::util::display::array_value_to_string(column, row).unwrap();
        let rows = batches.iter().flat_map(|batch| {
            (0..batch.num_rows()).map(move |row| {
                let cells: Vec<String> = batch.columns().iter().map(|column| cell(column, row)).collect();
                cells.join("|")
            })
        });
        Ok(rows.collect())
    }

    pub(super) fn decisions(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("decisions.log")).unwrap()
    }

    /// The records of the decision log, whose chain must be whole.
    pub(super) fn records(&self) -> Vec<serde_json::Value> {
        dynamos_proto::record::verify(&self.folder.path().join("decisions.log")).unwrap();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["record"].take();
        self.decisions().lines().map(line).collect()
    }

    /// Lets everybody but one site be heard until that site is taken for down.
    pub(super) fn lose(&self, lost: &str) {
        for _ in 0..4 {
            self.clock.advance(Duration::from_secs(1));
            for site in self.places.keys().filter(|site| site.as_str() != lost) {
                self.registry.heartbeat(site, site.as_str()).unwrap();
            }
            self.registry.sweep();
        }
    }

    /// Gives `uva`'s agreement a new epoch.
    pub(super) fn change_agreement(&self) {
        self.registry.update_agreements(&SiteId::new("uva"), &[agreement("a", 4, 1)]).unwrap();
    }

    /// Takes `uva`'s agreement back.
    pub(super) fn revoke_agreement(&self) {
        let revoked = signed(v1::SignedAgreement { revoked: true, ..agreement("a", 4, 1) }, 1);
        self.registry.update_agreements(&SiteId::new("uva"), &[revoked]).unwrap();
    }
}
