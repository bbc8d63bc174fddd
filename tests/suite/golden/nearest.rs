//! The nearest allowed query of every refusal: it is permitted, and contained in what was asked.

use dynamos_cli::explain::{ExplainArgs, Prepared, prepared};
use dynamos_coordinator::query::{PlannerDoor, Verdict};
use dynamos_planner::catalog::{Catalog, SiteKind};
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::Code;

use super::contained::contained;
use super::plans::cases;

/// Further questions that are refused, put as a golden case of this name puts its own.
const REFUSED: [(&str, &str); 23] = [
    (
        "denied_function",
        "SELECT p.geslacht, a.salschal FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
    ),
    (
        "denied_function",
        "SELECT p.geslacht, a.salschal FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr LIMIT 100",
    ),
    (
        "denied_function",
        "SELECT DISTINCT p.unieknr, p.geslacht, p.gebdat, a.functcat, a.salschal AS salary FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
    ),
    ("denied_function", "SELECT * FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr"),
    (
        "denied_function",
        "SELECT p.geslacht, p.nationaliteit, sum(a.salschal) AS total, count(*) AS n FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY 1, 2 ORDER BY n DESC",
    ),
    (
        "denied_function",
        "SELECT p.nationaliteit, avg(a.salschal), count(a.salschal) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY p.nationaliteit",
    ),
    (
        "denied_function",
        "SELECT p.geslacht, count(*) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY p.geslacht ORDER BY max(a.salschal)",
    ),
    (
        "denied_function",
        "SELECT p.geslacht, median(a.salschal), avg(a.salschal) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr WHERE a.hoopgeb = 'x' OR a.hoopgeb = 'y' GROUP BY p.geslacht",
    ),
    (
        "denied_function",
        "SELECT p.bko, count(*) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY p.bko HAVING count(*) > 1",
    ),
    (
        "denied_function",
        "SELECT p.geslacht, p.bko, count(*) FROM wages.personen p, wages.aanstellingen a WHERE p.unieknr = a.unieknr GROUP BY p.geslacht, p.bko HAVING p.geslacht = 'M'",
    ),
    (
        "denied_function",
        "SELECT count(a.salschal), sum(a.salschal) FROM wages.personen p LEFT JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
    ),
    (
        "denied_function",
        "SELECT avg(x) FROM (SELECT p.geslacht, max(a.salschal) AS x FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY p.geslacht)",
    ),
    ("denied_column", "SELECT * FROM north.registry.patients"),
    ("denied_column", "SELECT patient_id, diagnosis, opted_out FROM registry.patients"),
    ("denied_column", "SELECT diagnosis, count(*) AS n FROM registry.patients GROUP BY diagnosis ORDER BY n"),
    (
        "denied_column",
        "SELECT diagnosis, opted_out, count(*) AS n FROM north.registry.patients GROUP BY diagnosis, opted_out",
    ),
    (
        "denied_column",
        "WITH p AS (SELECT diagnosis FROM registry.patients) SELECT diagnosis, count(*) FROM p GROUP BY diagnosis",
    ),
    ("denied_no_shipping", "SELECT diagnosis, count(*) FROM registry.patients GROUP BY diagnosis HAVING count(*) > 1"),
    ("denied_no_shipping", "SELECT diagnosis, postcode, count(*) FROM registry.patients GROUP BY diagnosis, postcode"),
    ("denied_no_shipping", "SELECT diagnosis FROM registry.patients"),
    ("denied_median_beside_data", "SELECT drug, median(dose_mg), max(dose_mg) FROM registry.treatments GROUP BY drug"),
    (
        "denied_join_key",
        "SELECT j.sector, c.illness, max(j.wage), count(*) FROM work.jobs j JOIN clinic.care.cases c ON j.bsn = c.bsn GROUP BY j.sector, c.illness",
    ),
    ("denied_expired", "SELECT diagnosis, count(*) FROM registry.patients GROUP BY diagnosis"),
];

/// A refused question: what it is called, and everything that its plan depends on.
struct Refused {
    name: String,
    prepared: Prepared,
}

/// All refused questions of the golden set, and those of this file.
fn refused() -> Vec<Refused> {
    let cases: Vec<(String, ExplainArgs)> = cases()
        .into_iter()
        .map(|(path, case)| (path.file_stem().unwrap().to_string_lossy().into_owned(), case.args().clone()))
        .collect();
    let further = REFUSED.iter().enumerate().map(|(number, (like, sql))| {
        let (_, args) = cases.iter().find(|(name, _)| name == like).unwrap();
        let args = ExplainArgs { sql: (*sql).to_owned(), placement: Default::default(), ..args.clone() };
        (format!("{like}, question {number}"), args)
    });
    let all = cases.iter().cloned().chain(further);
    let mut refused = Vec::new();
    for (name, args) in all {
        let Ok(prepared) = prepared(&args) else { continue };
        let Prepared { planner, request, sql, parameters } = &prepared;
        let denied = match planner.plan(sql, parameters, request) {
            Ok(verdict) => matches!(verdict, Verdict::Denied(_)),
            Err(error) => error.code == Code::SiteUnavailable,
        };
        assert!(denied || !name.contains("question"), "{name} is not refused");
        if denied {
            refused.push(Refused { name, prepared });
        }
    }
    refused
}

/// The stewards that a suggestion is about where the question was about all.
fn kept(catalog: &Catalog, asked: &str, suggested: &str) -> Vec<SiteId> {
    let stewards = catalog.sites.iter().filter(|(_, site)| site.kind == SiteKind::Steward);
    let all: Vec<SiteId> = stewards.map(|(name, _)| name.clone()).collect();
    match suggested.split_once("steward IN (") {
        Some((_, rest)) if !asked.contains("steward IN (") => {
            let (list, _) = rest.split_once(')').unwrap();
            all.into_iter().filter(|steward| list.contains(&format!("'{steward}'"))).collect()
        }
        _ => all,
    }
}

#[tokio::test]
async fn e5_every_suggestion_is_permitted_and_contained_in_what_was_asked() {
    let refused = refused();
    let (mut without, mut text) = (0, String::new());
    for Refused { name, prepared: Prepared { planner, request, sql, parameters } } in &refused {
        let Some(nearest) = planner.nearest(sql, parameters, request) else {
            without += 1;
            text += &format!("{name}\n  none\n");
            continue;
        };
        let verdict = planner.plan(&nearest, parameters, request);
        assert!(matches!(verdict, Ok(Verdict::Permitted(_))), "{name}: `{nearest}` is not permitted: {verdict:?}");
        let catalog = &request.snapshot.catalog;
        let seen = contained(catalog, &kept(catalog, sql, &nearest), sql.trim(), &nearest).await;
        if let Some(counterexample) = seen.counterexample {
            panic!("{name}: {counterexample}");
        }
        assert!(seen.repeated >= 10, "{name}: only {} databases say anything", seen.repeated);
        text += &format!("{name}\n  {nearest}\n");
    }
    println!("{text}{} refused, {without} without a suggestion", refused.len());
    assert!(refused.len() >= 30 && without * 2 < refused.len(), "{without} of {}\n{text}", refused.len());
}

/// The experiment finds what is not contained: else it would say nothing of what it lets pass.
#[tokio::test]
async fn e5_what_is_not_contained_is_found_out() {
    let refused = refused();
    let like = |part: &str| &refused.iter().find(|one| one.name == part).unwrap().prepared.request.snapshot.catalog;
    let (demo, registry) = (like("denied_function"), like("denied_column"));
    let from = "FROM registry.treatments";
    for (catalog, stronger, weaker) in [
        (registry, format!("SELECT drug, avg(dose_mg) {from} GROUP BY drug"), format!("SELECT avg(dose_mg) {from}")),
        (registry, format!("SELECT drug {from}"), format!("SELECT drug, dose_mg {from}")),
        (registry, format!("SELECT drug {from} WHERE dose_mg = 1"), format!("SELECT drug {from}")),
        (registry, format!("SELECT DISTINCT drug {from}"), format!("SELECT drug {from}")),
        (
            registry,
            format!("SELECT drug, sum(dose_mg) {from} GROUP BY drug HAVING count(*) > 1"),
            format!("SELECT sum(dose_mg) {from}"),
        ),
        (registry, format!("SELECT count(dose_mg) {from}"), format!("SELECT count(*) {from}")),
        (
            registry,
            format!("SELECT drug, count(*) {from} GROUP BY drug ORDER BY 1 LIMIT 1"),
            format!("SELECT count(*) {from}"),
        ),
        (
            demo,
            "SELECT count(*) FROM wages.personen p LEFT JOIN wages.aanstellingen a ON p.unieknr = a.unieknr".to_owned(),
            "SELECT count(*) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr".to_owned(),
        ),
    ] {
        let seen = contained(catalog, &kept(catalog, "", ""), &stronger, &weaker).await;
        assert!(seen.counterexample.is_some(), "`{weaker}` passes for contained in `{stronger}`");
    }
}
