//! How long a plan takes, from text to permit, as stewards and clauses grow; and how long the search for the nearest allowed
//! query takes where there is no plan. The planner runs alone: no site, no socket, no row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use arrow::datatypes::{DataType, Field, Schema};
use dynamos_planner::catalog::{
    Availability, Catalog, Entity, EntityScope, FederatedTable, Site, SiteKind, Table, TableName, TableStatistics,
};
use dynamos_planner::knowledge::Knowledge;
use dynamos_planner::policy::{AgreementSet, HeldAgreement, Purposes, Requester, UtcMillis};
use dynamos_planner::sql::parse_agreement;
use dynamos_planner::{Placement, Planned, PlanningInput, nearest_query, plan_query};
use dynamos_proto::ids::{QueryId, SiteId};

use crate::figures::{Times, say};

/// Stewards and clauses of all agreements together.
const SIZES: [(usize, usize); 6] = [(1, 10), (3, 25), (6, 50), (12, 150), (25, 400), (50, 1000)];
/// The size of which a goal speaks, and the goal.
const GOAL: ((usize, usize), f64) = ((6, 50), 50.0);

/// Questions that are permitted: what is asked, and how.
const PERMITTED: [(&str, &str); 6] = [
    ("global aggregate", "SELECT count(*) FROM w.people"),
    ("groups", "SELECT sex, avg(scale), count(*) FROM w.people GROUP BY sex ORDER BY sex"),
    (
        "groups of a join",
        "SELECT p.sex, avg(j.hours), count(*) FROM w.people p JOIN w.jobs j ON p.id = j.id \
         WHERE p.sex = 'f' GROUP BY p.sex HAVING count(*) > 10",
    ),
    (
        "three tables of rows",
        "SELECT n.name, sum(o.total) FROM w.orders o JOIN w.customers c ON o.customer = c.id \
         JOIN w.nations n ON c.nation = n.id WHERE o.total > 10 GROUP BY n.name ORDER BY 2 DESC LIMIT 5",
    ),
    ("one steward", "SELECT dept, count(*) FROM s0.w.jobs GROUP BY dept"),
    (
        "groups beside rows",
        "WITH g AS (SELECT dept, avg(hours) AS h FROM w.jobs GROUP BY dept) \
         SELECT g.dept, g.h, n.name FROM g JOIN w.nations n ON g.dept = n.name",
    ),
];
/// Questions that are refused; a nearest one is found for the first two.
const REFUSED: [(&str, &str); 3] = [
    ("one key too many", "SELECT sex, city, sum(scale) FROM w.people GROUP BY sex, city"),
    ("rows instead of groups", "SELECT p.sex, j.hours, j.dept FROM w.people p JOIN w.jobs j ON p.id = j.id"),
    ("nothing near", "SELECT max(scale) FROM w.people WHERE city = 'x'"),
];

/// Runs the measurement.
pub fn run(rounds: usize) -> anyhow::Result<()> {
    for (stewards, clauses) in SIZES {
        let federation = Federation::new(stewards, clauses)?;
        say(&format!("planning: {stewards} stewards, {} clauses", federation.clauses))?;
        let mut all = Times::default();
        for (name, sql) in PERMITTED {
            let mut times = Times::default();
            for _ in 0..rounds {
                let began = Instant::now();
                let planned = federation.ask(|input| plan_query(sql, &[], input))?;
                let took = began.elapsed();
                anyhow::ensure!(matches!(planned, Planned::Permitted(_)), "`{sql}` is refused: {planned:?}");
                times.push(took);
                all.push(took);
            }
            say(&format!("  {name:<24} p50 {:>7.1} ms, p99 {:>7.1} ms", times.share_ms(0.5), times.share_ms(0.99)))?;
        }
        let goal = if (stewards, clauses) == GOAL.0 { format!(", goal p99 ≤ {} ms", GOAL.1) } else { String::new() };
        say(&format!("  all: p50 {:.1} ms, p99 {:.1} ms{goal}", all.share_ms(0.5), all.share_ms(0.99)))?;
        for (name, sql) in REFUSED {
            let mut times = Times::default();
            let mut found = None;
            for _ in 0..rounds.div_ceil(5) {
                let began = Instant::now();
                found = federation.ask(|input| nearest_query(sql, &[], input));
                times.push(began.elapsed());
            }
            let found = found.map_or_else(|| "none".to_owned(), |nearest| format!("{} edits", nearest.edits));
            say(&format!("  nearest to {name:<24} p50 {:>7.1} ms, {found}", times.share_ms(0.5)))?;
        }
    }
    Ok(())
}

/// Stewards that all hold the same five tables, and let sums of two and the rows of three go.
struct Federation {
    catalog: Catalog,
    agreements: AgreementSet,
    clauses: usize,
}

impl Federation {
    fn new(stewards: usize, clauses: usize) -> anyhow::Result<Self> {
        let names: Vec<String> = (0..stewards).map(|number| format!("s{number}")).collect();
        let mut sites: BTreeMap<SiteId, Site> =
            names.iter().map(|name| (SiteId::new(name), site(SiteKind::Steward))).collect();
        sites.insert(SiteId::new("p"), site(SiteKind::Provider));
        sites.insert(SiteId::coordinator(), site(SiteKind::Coordinator));
        let all: BTreeSet<SiteId> = names.iter().map(SiteId::new).collect();
        let federated = tables().into_keys().map(|name| (name, FederatedTable { stewards: all.clone() })).collect();
        let mut agreements = AgreementSet::default();
        let mut made = 0;
        for name in &names {
            let text = agreement(name, clauses.div_ceil(stewards));
            let agreement = parse_agreement(&text).with_context(|| format!("the agreement of `{name}`"))?;
            made += agreement.clauses.len();
            agreements.insert(HeldAgreement::new(1, agreement));
        }
        Ok(Self { catalog: Catalog { version: 1, sites, federated }, agreements, clauses: made })
    }

    fn ask<T>(&self, ask: impl FnOnce(&PlanningInput<'_>) -> T) -> T {
        let requester = Requester { user: "ann".into(), organisation: "s0".into(), roles: vec!["analyst".into()] };
        ask(&PlanningInput {
            catalog: &self.catalog,
            agreements: &self.agreements,
            purposes: &Purposes::default(),
            requester: &requester,
            purpose: Some("statistics"),
            agreement: None,
            placement: Placement::Auto,
            default_schema: None,
            knowledge: &Knowledge::default(),
            query: QueryId::new("measured"),
            attempt: 0,
            now: UtcMillis(0),
            token_hash: vec![0; 32],
        })
    }
}

fn site(kind: SiteKind) -> Site {
    Site {
        kind,
        roles: BTreeSet::new(),
        regions: BTreeSet::new(),
        uri: "https://localhost:1".into(),
        availability: Availability::Up,
        tables: if kind == SiteKind::Steward { tables() } else { BTreeMap::new() },
    }
}

fn tables() -> BTreeMap<TableName, Table> {
    let table = |name: &str, entity: Option<&str>, columns: &[(&str, DataType)]| {
        let fields = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
        let table = Table {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            statistics: TableStatistics { rows: 10_000, columns: BTreeMap::new() },
            entity: entity.map(|column| Entity { column: column.into(), scope: EntityScope::Local }),
            colocated: BTreeMap::new(),
        };
        (TableName::new("w", name), table)
    };
    let (text, number) = (DataType::Utf8, DataType::Int64);
    BTreeMap::from([
        table(
            "people",
            Some("id"),
            &[("id", number.clone()), ("sex", text.clone()), ("city", text.clone()), ("scale", number.clone())],
        ),
        table("jobs", Some("id"), &[("id", number.clone()), ("dept", text.clone()), ("hours", number.clone())]),
        table("customers", None, &[("id", number.clone()), ("nation", number.clone()), ("name", text.clone())]),
        table("orders", None, &[("id", number.clone()), ("customer", number.clone()), ("total", number.clone())]),
        table("nations", None, &[("id", number), ("name", text)]),
    ])
}

/// So many clauses: what the questions need stands last, behind clauses that almost fit.
fn agreement(steward: &str, clauses: usize) -> String {
    let mut needed = vec![
        "people: RELEASE avg, sum, count OF scale, * BY sex FROM w.people MINIMUM 10 DISTINCT id".to_owned(),
        "work: RELEASE avg, sum, count OF hours, * BY dept FROM w.jobs MINIMUM 10 DISTINCT id".to_owned(),
        "both: RELEASE avg, sum, count OF hours, * BY sex FROM w.people JOIN w.jobs ON id \
         MINIMUM 10 DISTINCT people.id"
            .to_owned(),
        "SHIP PARTIALS OF people TO p".to_owned(),
        "SHIP PARTIALS OF work TO p".to_owned(),
        "SHIP PARTIALS OF both TO p".to_owned(),
        "FILTER ON people.sex COMPARE WITH LITERALS".to_owned(),
    ];
    for table in ["customers", "orders", "nations"] {
        needed.push(format!("RELEASE ROWS (*) FROM w.{table}"));
        needed.push(format!("SHIP ROWS (*) FROM w.{table} TO ANY"));
    }
    let others = (0..clauses.saturating_sub(needed.len())).map(|number| match number % 3 {
        0 => format!("x{number}: RELEASE sum OF scale + {number} BY sex FROM w.people MINIMUM 10 DISTINCT id"),
        1 => format!("x{number}: RELEASE sum OF hours + {number} BY dept FROM w.jobs MINIMUM 10 DISTINCT id"),
        _ => format!("SHIP ROWS (id, hours) FROM w.jobs WHERE hours > {number} TO ROLE r{number}"),
    });
    let all: Vec<String> = others.chain(needed).collect();
    format!("CREATE AGREEMENT g ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS (\n  {}\n)", all.join(",\n  "))
}
