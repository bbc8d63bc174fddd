//! The federation on paper, and the planner's verdict in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use dynamos_planner::catalog::{
    Availability, Catalog, Entity, EntityScope, FederatedTable, Site, SiteKind, Table, TableName, TableStatistics,
};
use dynamos_planner::function::engine_state;
use dynamos_planner::knowledge::Knowledge;
use dynamos_planner::policy::{
    AgreementSet, CheckInput, HeldAgreement, Requester, UtcMillis, Viewpoint, check_graph, purpose,
};
use dynamos_planner::sql::parse_agreement;
use dynamos_planner::{PermittedQuery, Placement, Planned, PlanningInput, describe_query, plan_query, visible_tables};
use dynamos_proto::ids::{QueryId, SiteId};

/// Every question is about people of both stewards unless it names one: `s.people` and `s.visits` of `a` and `b`, whose
/// `id` is LOCAL; `p` and `q` only compute. `c` alone has `t.cases`, and `d` alone `t.jobs`, by the number that everybody has.
pub struct Bench {
    catalog: Catalog,
    agreements: AgreementSet,
    placement: Placement,
    agreement: Option<&'static str>,
}

impl Bench {
    /// Both stewards have the agreement `g` with these clauses.
    pub fn both(clauses: &str) -> Self {
        Self::none().with("a", "g", clauses).with("b", "g", clauses)
    }

    /// Nobody has agreed to anything.
    pub fn none() -> Self {
        Self { catalog: catalog(), agreements: AgreementSet::default(), placement: Placement::Auto, agreement: None }
    }

    /// One more agreement.
    pub fn with(mut self, steward: &str, name: &str, clauses: &str) -> Self {
        let text =
            format!("CREATE AGREEMENT {name} ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS ({clauses})");
        let agreement = parse_agreement(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        self.agreements.insert(HeldAgreement::new(1, agreement));
        self
    }

    /// The stewards' people have keys of these domains.
    pub fn sharing<const N: usize>(mut self, domains: [(&str, &str); N]) -> Self {
        for (steward, domain) in domains {
            let site = self.catalog.sites.get_mut(&SiteId::new(steward)).unwrap();
            let people = site.tables.get_mut(&TableName::new("s", "people")).unwrap();
            people.entity = Some(Entity { column: "id".into(), scope: EntityScope::Shared(domain.into()) });
        }
        self
    }

    /// Only plans of this family.
    pub fn placed(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// The requester names this agreement.
    pub fn under(mut self, agreement: &'static str) -> Self {
        self.agreement = Some(agreement);
        self
    }

    /// The plan, or why there is none: the reasons of a denial or an error.
    pub fn ask(&self, sql: &str) -> Result<Box<PermittedQuery>, String> {
        self.with_input(|input| match plan_query(sql, &[], input) {
            Ok(Planned::Permitted(query)) => Ok(query),
            Ok(Planned::Denied(denial)) => Err(denial.to_string()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The columns of an answer, before anything is decided about it.
    pub fn describes(&self, sql: &str) -> Result<Vec<String>, String> {
        let described = self.with_input(|input| describe_query(sql, input)).map_err(|error| error.to_string())?;
        Ok(described.schema.fields().iter().map(|field| field.name().clone()).collect())
    }

    /// The tables that the requester may know of.
    pub fn shows(&self) -> BTreeSet<String> {
        let visible = self.with_input(visible_tables).unwrap();
        let name =
            |site: Option<SiteId>, name: TableName| site.map_or(name.to_string(), |site| format!("{site}.{name}"));
        visible.into_iter().map(|table| name(table.site, table.name)).collect()
    }

    fn with_input<T>(&self, ask: impl FnOnce(&PlanningInput<'_>) -> T) -> T {
        let purposes = purpose::shipped().unwrap();
        let requester = requester();
        ask(&PlanningInput {
            catalog: &self.catalog,
            agreements: &self.agreements,
            purposes: &purposes,
            requester: &requester,
            purpose: Some("statistics"),
            agreement: self.agreement,
            placement: self.placement,
            default_schema: None,
            knowledge: &Knowledge::default(),
            query: QueryId::new("rules"),
            attempt: 0,
            now: UtcMillis::parse("2026-06-01").unwrap(),
            token_hash: Vec::new(),
        })
    }

    /// The plan of a question that is allowed.
    #[track_caller]
    pub fn allows(&self, sql: &str) -> Box<PermittedQuery> {
        self.ask(sql).unwrap_or_else(|reasons| panic!("{sql}: {reasons}"))
    }

    /// A question that is refused for this reason.
    #[track_caller]
    pub fn refuses(&self, sql: &str, reason: &str) {
        match self.ask(sql) {
            Ok(_) => panic!("{sql} is allowed"),
            Err(reasons) => assert!(reasons.contains(reason), "{sql}: {reasons}"),
        }
    }
}

impl Bench {
    /// What a steward says to a graph that was planned under other agreements of the same names.
    pub fn judged_by(&self, steward: &str, query: &PermittedQuery) -> Result<(), String> {
        let purposes = purpose::shipped().unwrap();
        let requester = requester();
        let input = CheckInput {
            viewpoint: Viewpoint::Site(SiteId::new(steward)),
            agreements: &self.agreements,
            requester: Some(&requester),
            places: &BTreeMap::new(),
            state: &engine_state(),
            now: UtcMillis::parse("2026-06-01").unwrap(),
            purposes: &purposes,
            counts_add: &|_, _, key| key == "id",
            key_domain: &|steward, table, column| self.catalog.key_domain(steward, table, column),
            federated: &|_, name| catalog().federated.get(name).map(|table| table.stewards.clone()),
        };
        check_graph(query.graph(), &input).map(|_| ()).map_err(|refusal| refusal.to_string())
    }
}

fn requester() -> Requester {
    Requester { user: "ann@uni".into(), organisation: "uni".into(), roles: vec!["analyst".to_owned()] }
}

/// The places that run something of a plan.
pub fn places(query: &PermittedQuery) -> BTreeSet<String> {
    query.graph().places().into_iter().map(|place| place.as_str().to_owned()).collect()
}

fn catalog() -> Catalog {
    let people = published(
        "id",
        &[("id", 'i'), ("sex", 't'), ("city", 't'), ("wage", 'i'), ("pension", 'f'), ("bsn", 'i')],
        EntityScope::Local,
    );
    let visits = published("id", &[("id", 'i'), ("ward", 't'), ("cost", 'f')], EntityScope::Local);
    let cases = published("bsn", &[("bsn", 'i'), ("illness", 't')], EntityScope::Shared("people".into()));
    let jobs = published("bsn", &[("bsn", 'i'), ("sector", 't'), ("pay", 'i')], EntityScope::Shared("people".into()));
    let tables = |steward: bool| {
        let both = [("people", &people), ("visits", &visits)].into_iter().filter(|_| steward);
        both.map(|(name, table)| (TableName::new("s", name), table.clone())).collect::<BTreeMap<_, _>>()
    };
    let place = |kind: SiteKind| Site {
        kind,
        roles: BTreeSet::new(),
        regions: BTreeSet::new(),
        uri: "https://localhost:1".into(),
        availability: Availability::Up,
        tables: tables(kind == SiteKind::Steward),
    };
    let sites = BTreeMap::from([
        (SiteId::new("a"), place(SiteKind::Steward)),
        (SiteId::new("b"), place(SiteKind::Steward)),
        (SiteId::new("c"), Site { tables: [(TableName::new("t", "cases"), cases)].into(), ..place(SiteKind::Steward) }),
        (SiteId::new("d"), Site { tables: [(TableName::new("t", "jobs"), jobs)].into(), ..place(SiteKind::Steward) }),
        (SiteId::new("p"), place(SiteKind::Provider)),
        (SiteId::new("q"), place(SiteKind::Provider)),
        (SiteId::coordinator(), place(SiteKind::Coordinator)),
    ]);
    let stewards: BTreeSet<SiteId> = ["a", "b"].map(SiteId::new).into();
    let federated = ["people", "visits"]
        .map(|name| (TableName::new("s", name), FederatedTable { stewards: stewards.clone() }))
        .into();
    Catalog { version: 1, sites, federated }
}

fn published(key: &str, columns: &[(&str, char)], scope: EntityScope) -> Table {
    let fields = columns.iter().map(|(name, kind)| {
        let kind = match kind {
            'i' => DataType::Int64,
            'f' => DataType::Float64,
            _ => DataType::Utf8,
        };
        Field::new(*name, kind, true)
    });
    Table {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        statistics: TableStatistics { rows: 1_000, ..TableStatistics::default() },
        entity: Some(Entity { column: key.into(), scope }),
        colocated: BTreeMap::new(),
    }
}
