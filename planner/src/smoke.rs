//! Smoke.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use arrow::datatypes::{DataType, Field, Schema};
use dynamos_proto::ids::{QueryId, SiteId};
use crate::catalog::*;
use crate::*;
use crate::policy::*;

fn table(fields: &[(&str, DataType)], rows: u64) -> Table {
    Table {
        schema: Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>())),
        statistics: TableStatistics { rows, columns: BTreeMap::new() },
        entity: Some(Entity { column: "unieknr".into(), scope: EntityScope::Local }),
        colocated: BTreeSet::new(),
    }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog { version: 1, ..Catalog::default() };
    for (name, kind) in [("uva", SiteKind::Steward), ("vu", SiteKind::Steward), ("surf", SiteKind::Provider), ("coordinator", SiteKind::Coordinator)] {
        let mut tables = BTreeMap::new();
        if kind == SiteKind::Steward {
            tables.insert(TableName::new("wages", "personen"), table(&[("unieknr", DataType::Int64), ("geslacht", DataType::Utf8), ("gebdat", DataType::Date32)], 18000));
            tables.insert(TableName::new("wages", "aanstellingen"), table(&[("unieknr", DataType::Int64), ("salschal", DataType::Int64), ("hoopgeb", DataType::Utf8)], 18000));
        }
        let roles = if kind == SiteKind::Provider { BTreeSet::from(["compute_provider".to_owned()]) } else { BTreeSet::new() };
        catalog.sites.insert(SiteId::new(name), Site { kind, roles, regions: BTreeSet::new(), uri: format!("grpc://{name}"), availability: Availability::Up, tables });
    }
    for t in ["personen", "aanstellingen"] {
        catalog.federated.insert(TableName::new("wages", t), FederatedTable { stewards: BTreeSet::from(["uva".into(), "vu".into()]) });
    }
    catalog
}

fn try_query(agreement: &str, sql: &str, placement: Placement) {
    let catalog = catalog();
    let mut agreements = AgreementSet::default();
    for s in ["uva", "vu"] {
        agreements.insert(1, crate::sql::parse_agreement(&agreement.replace("SITE x", &format!("SITE {s}"))).unwrap());
    }
    let purposes = purpose::shipped().unwrap();
    let requester = Requester { user: "a".into(), organisation: "uva".into(), roles: vec!["analyst".into()] };
    let knowledge = knowledge::Knowledge::default();
    let input = PlanningInput { catalog: &catalog, agreements: &agreements, purposes: &purposes, requester: &requester, purpose: Some("statistics"), agreement: None, placement, default_schema: None, knowledge: &knowledge, query: QueryId::new("q"), now: UtcMillis(0), token_hash: vec![] };
    match plan_query(sql, &[], &input) {
        Ok(Planned::Permitted(q)) => {
            println!("== {sql} {placement:?} -> {:?}", q.candidates());
            for f in &q.graph().fragments { println!("{} @{} -> {:?} partial {:?}\n{}", f.id, f.place, f.consumer, f.partial_of, f.plan.display_indent()); }
            for r in &q.graph().releases { println!("{} in {} {:?}", r.id, r.fragment, r.shape); if let fragment::ReleaseInput::Complete(p) = &r.input { println!("{}", p.display_indent()); } else { println!("{:?}", r.input); } }
            for v in q.verdicts() { println!("  edge {} -> {:?}: {} by {:?}", v.from, v.to, v.what, v.clauses); }
        }
        Ok(Planned::Denied(d)) => println!("== {sql} {placement:?} DENIED {d}"),
        Err(e) => println!("== {sql} {placement:?} ERROR {e:?}"),
    }
}

#[test]
fn smoke() {
    let wage = "CREATE AGREEMENT w ON SITE x FOR ROLE analyst PURPOSE statistics AS (
        RELEASE avg, count OF salschal, * BY geslacht, hoopgeb FROM personen JOIN aanstellingen ON unieknr MINIMUM 10 DISTINCT personen.unieknr,
        SHIP PARTIALS OF 1 TO surf, SHIP ROWS (personen.unieknr, geslacht, salschal) FROM personen JOIN aanstellingen ON unieknr TO surf)";
    let q = "SELECT geslacht, avg(salschal) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY geslacht ORDER BY geslacht";
    for p in [Placement::Auto, Placement::DataToCompute, Placement::ComputeToData] { try_query(wage, q, p); }
    try_query(wage, "SELECT avg(salschal) FROM uva.wages.personen p JOIN uva.wages.aanstellingen a USING (unieknr)", Placement::Auto);
    try_query(wage, "SELECT geslacht FROM wages.personen", Placement::Auto);
    let open = "CREATE AGREEMENT o ON SITE x FOR ANYONE PURPOSE statistics AS (RELEASE ROWS (*) FROM personen, RELEASE ROWS (*) FROM aanstellingen, SHIP ROWS (*) FROM personen TO ANY, SHIP ROWS (*) FROM aanstellingen TO ANY)";
    for p in [Placement::Auto, Placement::DataToCompute, Placement::ComputeToData] { try_query(open, q, p); }
    try_query(open, "SELECT unieknr, count(*) c FROM wages.personen GROUP BY unieknr HAVING count(*) > (SELECT avg(salschal) FROM wages.aanstellingen) ORDER BY c LIMIT 3", Placement::Auto);
    try_query(open, "SELECT * FROM uva.wages.personen p JOIN vu.wages.personen q ON p.unieknr = q.unieknr", Placement::Auto);
}
