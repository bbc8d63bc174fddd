//! The federation that is lied to, the graphs that are legal there, and how a forged one is sent and seen to fail.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{JoinType, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{Expr, col, lit};
use dynamos_planner::fragment::{
    AgreementRef, EntityColumn, Fragment, FragmentGraph, ReleaseClauseRef, ReleaseInput, ReleasePoint, ReleaseShape,
    ReleasedAggregate,
};
use dynamos_planner::function::{KeyDomain, engine_state, hash_of};
use dynamos_planner::policy::MinimumScope;
use dynamos_planner::wire::{Leaf, LeafTable, encode_graph};
use dynamos_proto::ids::{FragmentId, ReleaseId};
use dynamos_proto::sign::{sha256, sha256_hex};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use dynamos_proto::v1::SubmitRequest;
use dynamos_proto::v1::site_client::SiteClient;
use prost::Message;

use super::super::exchange::{channel, fetch};
use super::super::record;
use crate::config::{SiteConfig, SiteTable};
use crate::source::TableConfig;
use crate::testing::{Federation, cancel, fragment, key_of, partial, scan, token};

const PERSONS: [(&str, &str); 2] = [
    // Nobody earns what person 5 does: ROWS keeps that row.
    // Besides a, every group is small; together they are enough people for a to be released beside them.
    ("uva", "1,a,100,1980\n2,a,200,1981\n3,b,300,1982\n4,x,900,1983\n5,a,9000000,1984\n6,d,250,1985\n"),
    ("vu", "11,a,400,1985\n12,c,500,1986\n13,c,,1987\n14,a,200,1988\n15,d,600,1989\n"),
];
const LINKS: [(&str, &str); 2] = [("uva", "1,a\n2,a\n3,b\n4,a\n5,c\n"), ("vu", "2,x\n1,x\n9,x\n3,x\n5,x\n")];
const CONTRACTS: &str = "1,1,10\n2,2,20\n3,3,30\n4,3,50\n5,6,80\n";
pub(super) const CLAUSES: &str = "
    RELEASE avg, sum, count OF salary, * BY grade FROM wages.persons MINIMUM 2 DISTINCT id ELSE DROP,
    SHIP PARTIALS OF 1 TO surf,
    FILTER ON grade COMPARE WITH LITERALS,
    SHIP ROWS (id, grade, salary) FROM wages.persons WHERE grade <> 'x' TO surf,
    RELEASE count OF * BY grade FROM wages.persons JOIN wages.contracts ON persons.id = contracts.person
        MINIMUM 2 DISTINCT persons.id ELSE DROP,
    SHIP PARTIALS OF 5 TO surf,
    MASK persons.born AS NULL,
    ROWS ON persons WHERE salary IS NULL OR salary < 1000000,
    RELEASE sum OF salary BY grade FROM wages.persons MINIMUM 2 DISTINCT id PER SITE ELSE DROP,
    SHIP PARTIALS OF 9 TO surf,
    RELEASE count OF *, hours BY grade FROM wages.persons LEFT JOIN wages.contracts ON persons.id = contracts.person
        MINIMUM 2 DISTINCT persons.id ELSE DROP,
    SHIP PARTIALS OF 11 TO surf,
    RELEASE ROWS (grade, hours) FROM wages.persons JOIN wages.contracts ON persons.id = contracts.person,
    RELEASE count, min, count DISTINCT OF *, bsn, kind BY kind FROM wages.links MINIMUM 2 DISTINCT bsn ELSE DROP,
    SHIP ROWS (hash(bsn), kind) FROM wages.links TO surf,
    JOIN ON bsn WITH ANY,
    JOIN ON id WITH REQUESTER,
    JOIN ON persons.id WITH REQUESTER,
    FILTER ON person, left(grade, 1) COMPARE WITH LITERALS,
    SHIP ROWS (persons.id, grade) FROM wages.persons JOIN wages.contracts ON persons.id = contracts.person TO surf,
    RELEASE ROWS (hours) FROM wages.contracts WHERE hours < 30,
    RELEASE ROWS (hours) FROM wages.contracts WHERE hours >= 30,
    SHIP ROWS (hours) FROM wages.contracts WHERE hours < 30 TO vu,
    FILTER ON salary % 1000 COMPARE WITH LITERALS";

/// A steward's configuration with the agreements `a` and `b`, which say the same.
pub(super) fn steward(federation: &Federation, name: &'static str) -> SiteConfig {
    let mut config = federation.steward(name, "", CLAUSES);
    let folder = federation.folder.path();
    let rows = PERSONS.iter().find(|(site, _)| *site == name).unwrap().1;
    std::fs::write(folder.join(format!("{name}.csv")), format!("id,grade,salary,born\n{rows}")).unwrap();
    let contracts = folder.join(format!("{name}.contracts.csv"));
    std::fs::write(&contracts, format!("id,person,hours\n{CONTRACTS}")).unwrap();
    config.tables.push(SiteTable::plain(TableConfig::csv("wages", "contracts", contracts)));
    let links = folder.join(format!("{name}.links.csv"));
    let rows = LINKS.iter().find(|(site, _)| *site == name).unwrap().1;
    std::fs::write(&links, format!("bsn,kind\n{rows}")).unwrap();
    let mut table = SiteTable::plain(TableConfig::csv("wages", "links", links));
    (table.entity, table.shared_domain) = (Some("bsn".into()), Some("people".into()));
    config.tables.push(table);
    for agreement in ["a", "b"] {
        let text = format!(
            "CREATE AGREEMENT {agreement} ON SITE {name} FOR ROLE analyst OF uva PURPOSE statistics AS ({CLAUSES})"
        );
        std::fs::write(config.site.agreements_dir.as_ref().unwrap().join(format!("{agreement}.sql")), text).unwrap();
    }
    config
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>()))
}

/// A scan of a steward's table with the columns that it has.
pub(super) fn table(site: &str, name: &str) -> LogicalPlanBuilder {
    let leaf = Leaf::Table { site: site.into(), schema: "wages".into(), table: name.into(), clause: None };
    let int = DataType::Int64;
    let columns = match name {
        "links" => schema(&[("bsn", int), ("kind", DataType::Utf8)]),
        "contracts" => schema(&[("id", int.clone()), ("person", int.clone()), ("hours", int)]),
        _ => schema(&[("id", int.clone()), ("grade", DataType::Utf8), ("salary", int.clone()), ("born", int)]),
    };
    scan(&leaf, columns)
}

/// Columns of a plan, in this order.
pub(super) fn columns<const N: usize>(plan: LogicalPlanBuilder, names: [&str; N]) -> LogicalPlan {
    plan.project(names.map(col)).unwrap().build().unwrap()
}

/// What another fragment sends, if it sends `id`, `grade`, `salary`.
pub(super) fn sent_rows(id: u32) -> LogicalPlanBuilder {
    let kinds = [("id", DataType::Int64), ("grade", DataType::Utf8), ("salary", DataType::Int64)];
    scan(&Leaf::Exchange(FragmentId(id)), schema(&kinds))
}

/// Groups of grade with one value, from a release point or from the fragment that read it.
pub(super) fn groups(leaf: Leaf, value: DataType) -> LogicalPlan {
    scan(&leaf, schema(&[("grade", DataType::Utf8), ("value", value)])).build().unwrap()
}

/// The rows of uva that may be at surf.
pub(super) fn shipped_rows() -> LogicalPlanBuilder {
    table("uva", "persons").filter(col("grade").not_eq(lit("x"))).unwrap()
}

/// The joined rows that clause 5 counts, and in another kind of join others.
pub(super) fn joined_rows(kind: JoinType) -> LogicalPlanBuilder {
    joined_with(kind, table("uva", "contracts").build().unwrap(), Vec::new())
}

/// The persons joined with contracts, under more conditions.
pub(super) fn joined_with(kind: JoinType, contracts: LogicalPlan, more: Vec<Expr>) -> LogicalPlanBuilder {
    let key = col("uva.wages.persons.id").eq(col("uva.wages.contracts.person"));
    table("uva", "persons").join_on(contracts, kind, std::iter::once(key).chain(more)).unwrap()
}

/// The same of a join by one more pair of keys, which are NULL on both sides.
pub(super) fn joined_on_null(kind: JoinType) -> LogicalPlan {
    let nothing = |name: &str| lit(ScalarValue::Utf8(None)).alias(name);
    let persons = table("uva", "persons").project([col("id"), col("grade"), nothing("n0")]).unwrap();
    let contracts = table("uva", "contracts").project([col("person"), nothing("n1")]).unwrap().build().unwrap();
    let keys = [col("uva.wages.persons.id").eq(col("uva.wages.contracts.person")), col("n0").eq(col("n1"))];
    columns(persons.join_on(contracts, kind, keys).unwrap(), ["grade", "uva.wages.persons.id"])
}

/// These columns of the joined rows that a clause of uva releases, called like this table.
pub(super) fn released_join(table: &str, clause: u32, names: &[&str]) -> LogicalPlanBuilder {
    let leaf = Leaf::Table { site: "uva".into(), schema: "wages".into(), table: table.into(), clause: Some(clause) };
    let int = DataType::Int64;
    let contracts = [("t0_id", int.clone()), ("t0_person", int.clone()), ("t0_hours", int.clone())];
    let persons = [("t1_id", int.clone()), ("t1_grade", DataType::Utf8), ("t1_salary", int.clone()), ("t1_born", int)];
    let schema = schema(&[contracts.as_slice(), persons.as_slice()].concat());
    let read = names.iter().map(|name| schema.index_of(name).unwrap()).collect();
    let source = provider_as_source(LeafTable::new(schema));
    LogicalPlanBuilder::scan(leaf.to_reference(), source, Some(read)).unwrap()
}

/// The domain of the keys of `wages.links`.
pub(super) fn people() -> KeyDomain {
    KeyDomain::Shared("people".into())
}

/// What a steward sends of `wages.links` to where its keys may be hashes only.
pub(super) fn hashed_links(site: &str, hash: &str, kind: &str) -> LogicalPlan {
    let key = hash_of(&people(), col(format!("{site}.wages.links.bsn"))).alias(hash);
    table(site, "links").project([key, col("kind").alias(kind)]).unwrap().build().unwrap()
}

/// What a fragment sends, if it sends a hash and a kind.
pub(super) fn sent_links(id: u32, hash: &str, kind: &str) -> LogicalPlanBuilder {
    scan(&Leaf::Exchange(FragmentId(id)), schema(&[(hash, DataType::FixedSizeBinary(16)), (kind, DataType::Utf8)]))
}

/// The rows of both, joined by their hashes.
pub(super) fn met_links() -> LogicalPlanBuilder {
    let other = sent_links(3, "h3", "k3").build().unwrap();
    sent_links(2, "h2", "k2").join_on(other, JoinType::Inner, [col("h2").eq(col("h3"))]).unwrap()
}

/// The graphs that are legal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base {
    /// `avg(salary) … GROUP BY grade`: partials of uva (f2) and vu (f3), merged at surf (f1).
    Partials,
    /// The same for uva alone, whose rows (f2) are aggregated at surf (f1).
    Rows,
    /// `count(*) … persons JOIN contracts … GROUP BY grade`: partials of uva (f2), merged at surf (f1).
    Join,
    /// The same over `persons LEFT JOIN contracts`.
    LeftJoin,
    /// `SELECT grade, hours … persons JOIN contracts`: rows of uva (f2), released there.
    JoinedRows,
    /// `u.kind, count(*) … uva.links u JOIN vu.links v ON bsn`: rows of uva (f2) and vu (f3) with hashed keys, joined at
    /// surf (f1).
    Hashes,
    /// `sum(salary) … GROUP BY grade`: what uva (f2) and vu (f3) release each, added at surf (f1).
    PerSite,
}

impl Base {
    pub(super) fn graph(self, federation: &Federation, query: &str) -> FragmentGraph {
        if let Self::JoinedRows = self {
            let rows = columns(released_join("contracts", 13, &["t1_grade", "t0_hours"]), ["t1_grade", "t0_hours"]);
            let read = scan(&Leaf::Exchange(FragmentId(2)), Arc::clone(rows.schema().inner())).build().unwrap();
            let fragments = vec![fragment(0, "coordinator", None, read), fragment(2, "uva", Some(0), rows)];
            return federation.graph(query, fragments, Vec::new());
        }
        let value = match self {
            Self::Join | Self::LeftJoin | Self::PerSite | Self::Hashes => DataType::Int64,
            Self::Partials | Self::Rows | Self::JoinedRows => DataType::Float64,
        };
        let mut fragments = vec![
            fragment(0, "coordinator", None, groups(Leaf::Exchange(FragmentId(1)), value.clone())),
            fragment(1, "surf", Some(0), groups(Leaf::Release(ReleaseId(0)), value)),
        ];
        let input = match self {
            Self::Partials | Self::PerSite => {
                let part = |site| columns(table(site, "persons"), ["grade", "salary", "id"]);
                fragments.extend([partial(2, "uva", 1, part("uva")), partial(3, "vu", 1, part("vu"))]);
                ReleaseInput::Merge(vec![FragmentId(2), FragmentId(3)])
            }
            Self::Rows => {
                fragments.push(fragment(2, "uva", Some(1), columns(shipped_rows(), ["id", "grade", "salary"])));
                ReleaseInput::Complete(columns(sent_rows(2), ["grade", "salary", "id"]))
            }
            Self::Hashes => {
                fragments.push(fragment(2, "uva", Some(1), hashed_links("uva", "h2", "k2")));
                fragments.push(fragment(3, "vu", Some(1), hashed_links("vu", "h3", "k3")));
                ReleaseInput::Complete(columns(met_links(), ["k2", "h2", "h3"]))
            }
            Self::Join | Self::LeftJoin | Self::JoinedRows => {
                let kind = if matches!(self, Self::LeftJoin) { JoinType::Left } else { JoinType::Inner };
                let plan = columns(joined_rows(kind), ["grade", "uva.wages.persons.id"]);
                fragments.push(partial(2, "uva", 1, plan));
                ReleaseInput::Merge(vec![FragmentId(2)])
            }
        };
        let clause = |steward: &str, clause| ReleaseClauseRef {
            steward: steward.into(),
            agreement: AgreementRef { agreement: "a".into(), epoch: 1 },
            clause,
        };
        let (clauses, function, argument, entity) = match self {
            Self::Partials => (vec![clause("uva", 1), clause("vu", 1)], "avg", Some(1), 2),
            Self::Rows => (vec![clause("uva", 1)], "avg", Some(1), 2),
            Self::PerSite => (vec![clause("uva", 9), clause("vu", 9)], "sum", Some(1), 2),
            Self::Hashes => (vec![clause("uva", 14), clause("vu", 14)], "count", None, 1),
            Self::Join | Self::JoinedRows => (vec![clause("uva", 5)], "count", None, 1),
            Self::LeftJoin => (vec![clause("uva", 11)], "count", None, 1),
        };
        let aggregates = vec![ReleasedAggregate {
            function: function.into(),
            distinct: false,
            argument,
            origin: argument,
            family: argument,
            known: false,
            filter: None,
        }];
        let entities = match self {
            Self::Hashes => [1, 2].map(|column| EntityColumn { name: "bsn".into(), column }).to_vec(),
            _ => vec![EntityColumn { name: "id".into(), column: entity }],
        };
        let release = ReleasePoint {
            id: ReleaseId(0),
            fragment: FragmentId(1),
            clauses,
            shape: ReleaseShape { keys: 1, sets: Vec::new(), aggregates, entities },
            input,
            scope: match self {
                Self::PerSite => MinimumScope::PerSite,
                Self::Partials | Self::Rows | Self::Join | Self::LeftJoin | Self::JoinedRows | Self::Hashes => {
                    MinimumScope::Federation
                }
            },
        };
        federation.graph(query, fragments, vec![release])
    }
}

/// What the coordinator makes up.
pub(super) struct Forgery {
    pub(super) graph: FragmentGraph,
    /// Whose hash stands in the graph.
    pub(super) token: String,
    /// Whose key signs the permit.
    pub(super) signer: &'static str,
    /// What is done to the graph's message before it is signed.
    pub(super) message: fn(&mut v1::Graph),
}

impl Forgery {
    pub(super) fn new(graph: FragmentGraph) -> Self {
        Self { graph, token: token("uva"), signer: "coordinator", message: |_| {} }
    }

    pub(super) fn fragment(&mut self, id: u32) -> &mut Fragment {
        self.graph.fragments.iter_mut().find(|fragment| fragment.id == FragmentId(id)).unwrap()
    }

    pub(super) fn release(&mut self) -> &mut ReleasePoint {
        &mut self.graph.releases[0]
    }

    /// Puts another plan in the place of fragment 2's.
    pub(super) fn plan(&mut self, plan: LogicalPlan) {
        self.fragment(2).plan = plan;
    }

    /// Keeps the rows of fragment 2 under one more condition.
    pub(super) fn filter(&mut self, predicate: Expr) {
        let plan = self.fragment(2).plan.clone();
        self.plan(LogicalPlanBuilder::from(plan).filter(predicate).unwrap().build().unwrap());
    }

    /// Leaves nothing but fragment 2, and the coordinator that reads it.
    pub(super) fn straight_to_coordinator(&mut self, plan: LogicalPlan) {
        let read = scan(&Leaf::Exchange(FragmentId(2)), Arc::clone(plan.schema().inner())).build().unwrap();
        self.graph.fragments = vec![fragment(0, "coordinator", None, read), fragment(2, "uva", Some(0), plan)];
        self.graph.releases.clear();
    }

    pub(super) fn permit(&mut self, federation: &Federation) -> v1::Permit {
        self.graph.token_hash = sha256(self.token.as_bytes());
        let bytes = encode_graph(&self.graph, &engine_state()).unwrap();
        let mut message = v1::Graph::decode(bytes.as_slice()).unwrap();
        (self.message)(&mut message);
        let graph = message.encode_to_vec();
        let stewards = ["uva", "vu"].iter().map(|name| federation.executor(name));
        let agreements = stewards.flat_map(|steward| steward.publication().1).collect();
        v1::Permit { signature: key_of(self.signer).sign(&graph), graph, token: self.token.clone(), agreements }
    }
}

/// One lie.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) forge: fn(&mut Forgery),
    pub(super) code: Code,
    /// Part of the reason, so that it is refused for what is wrong with it.
    pub(super) because: &'static str,
}

/// Submits a permit to a site as the coordinator does, over its connection.
pub(super) async fn submit(federation: &Federation, site: &str, permit: v1::Permit) -> Result<(), ServiceError> {
    let mut client = SiteClient::new(channel(federation, "coordinator", site));
    let submitted = client.submit(SubmitRequest { permit: Some(permit) }).await;
    submitted.map(|_| ()).map_err(|status| ServiceError::from_status(&status))
}

/// Sends each forged graph to uva, which refuses it, logs and records that, and gives nothing to whoever the graph sends its rows to.
pub(super) async fn refuse_all(base: Base, cases: &[Case]) {
    let names = |cases: &[Case]| cases.iter().map(|case| case.name).collect::<Vec<_>>();
    assert!(super::LISTS.iter().any(|(_, _, listed)| names(listed) == names(cases)), "a list that is not counted");
    record::start();
    let federation = Federation::start_checked(&steward).await;
    let uva = federation.executor("uva");
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let mut forgery = Forgery::new(base.graph(&federation, &format!("{base:?}{number}")));
        (case.forge)(&mut forgery);
        let permit = forgery.permit(&federation);
        let (graph, hash, bytes) = (forgery.graph, sha256(&permit.graph), permit.graph.clone());
        let Err(error) = submit(&federation, "uva", permit).await else {
            wrong.push(format!("{}: accepted", case.name));
            uva.cancel(&cancel(&graph.query)).await;
            continue;
        };
        if error.code != case.code || !error.message.contains(case.because) {
            wrong.push(format!("{}: {}: {}", case.name, error.code, error.message));
        }
        if !record::has_refusal(&error.message.replace('\n', " ")) {
            wrong.push(format!("{}: not logged", case.name));
        }
        let records = federation.records("uva");
        let last = records.last().unwrap();
        let recorded = ["event", "code", "graph_sha256"].map(|name| last[name].as_str().unwrap_or_default());
        if records.len() != number + 1
            || recorded != ["refusal", error.code.as_str(), sha256_hex(&bytes).as_str()]
            || !last["reason"].is_string()
        {
            wrong.push(format!("{}: not recorded: {last}", case.name));
        }
        for rows in graph.at(&"uva".into()) {
            let reader = rows.consumer.and_then(|id| graph.fragment(id)).unwrap().place.clone();
            let fetched = fetch(&federation, &graph, &hash, reader.as_str(), "uva", rows.id.0).await;
            assert_eq!(fetched.code, Code::SiteUnavailable, "{}: {fetched}", case.name);
        }
        assert_eq!((uva.running(), uva.report(&graph.query).len()), (0, 0), "{}", case.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The site is none the worse for it.
    let honest = base.graph(&federation, "honest");
    submit_everywhere(&federation, honest.clone()).await;
    federation.rows(&honest).await.unwrap();
    let records = federation.records("uva");
    let [.., permit, given] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&permit["event"], &permit["query_id"]), (&"permit".into(), &"honest".into()));
    assert_eq!((&given["event"], &given["outcome"]), (&"given".into(), &"ended".into()));
    assert_eq!((&permit["requester"], &permit["organisation"]), (&"ann@uva.nl".into(), &"uva".into()));
    assert_eq!(permit["charge"]["points"], 1);
    let edges = permit["edges"].as_array().unwrap();
    assert!(edges.iter().all(|edge| edge["clauses"][0].as_str().unwrap().contains("agreement `a`")), "{permit}");
    assert!(!edges.is_empty(), "{permit}");
}

/// Submits a graph to every site that takes part, over the network, and to the coordinator's own place.
pub(super) async fn submit_everywhere(federation: &Federation, graph: FragmentGraph) {
    let places = graph.places();
    let permit = Forgery::new(graph).permit(federation);
    for place in places {
        if place.is_coordinator() {
            federation.coordinator.submit(permit.clone()).await.unwrap();
        } else {
            submit(federation, place.as_str(), permit.clone()).await.unwrap_or_else(|error| panic!("{place}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forged_is_legal_before() {
    let federation = Federation::start_checked(&steward).await;
    for (base, answer) in [
        // Two people of grade a at each steward; of the others each steward has one at most, but two in all.
        (Base::Partials, "|a|225.0|"),
        (Base::Rows, "|a|150.0|"),
        // Grade b has two contracts, but of one person.
        (Base::Join, "|a|2|"),
        (Base::LeftJoin, "|a|2|"),
        // One person each is in b and c, and nobody at vu knows person 4.
        (Base::Hashes, "|a|2|"),
        (Base::JoinedRows, "|a|10|\n|a|20|\n|b|30|\n|b|50|\n|d|80|"),
        // What is withheld is three people at uva and two at vu.
        (Base::PerSite, "|a|900|"),
    ] {
        let graph = base.graph(&federation, &format!("{base:?}"));
        submit_everywhere(&federation, graph.clone()).await;
        assert_eq!(federation.rows(&graph).await.unwrap(), answer, "{base:?}");
    }
}
