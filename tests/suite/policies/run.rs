//! Every policy with every query: planned all, and run wherever the plan was not seen before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use datafusion::prelude::SessionContext;
use dynamos_cli::federation::{Layout, Person, query};
use dynamos_planner::knowledge::Knowledge;
use dynamos_planner::policy::{AgreementSet, Purposes, Requester, UtcMillis};
use dynamos_planner::{PermittedQuery, Placement, Planned, PlanningInput, explain, plan_query};
use dynamos_proto::ids::QueryId;
use dynamos_tests::tpch::{QUERIES, Split, compare, design, generate, sql, truth};

use super::catalog::{agreements, catalog, unsplit};
use super::reading::{allows, columns_read};
use super::set::{PolicySet, sets};
use crate::federation::TestFederation;

/// Small, so that all of it runs within minutes on two cores.
const FACTOR: f64 = 0.01;
/// Fewer policies than this, and files were lost.
const SETS_MIN: usize = 30;

/// The planner over all policies.
struct Planner<'a> {
    catalog: &'a dynamos_planner::catalog::Catalog,
    agreements: &'a AgreementSet,
    /// The same agreements without SHIP PARTIALS.
    unsplit: &'a AgreementSet,
}

impl Planner<'_> {
    /// The plan of a query under a policy, or why there is none, in one line.
    fn plan(&self, set: &PolicySet, sql: &str, placement: Placement) -> Result<Box<PermittedQuery>, String> {
        self.plan_under(self.agreements, set, sql, placement)
    }

    fn plan_under(
        &self,
        agreements: &AgreementSet,
        set: &PolicySet,
        sql: &str,
        placement: Placement,
    ) -> Result<Box<PermittedQuery>, String> {
        let requester =
            Requester { user: format!("{}@a", set.name), organisation: "a".into(), roles: vec![set.name.clone()] };
        let input = PlanningInput {
            catalog: self.catalog,
            agreements,
            purposes: &Purposes::default(),
            requester: &requester,
            purpose: Some("statistics"),
            agreement: None,
            placement,
            default_schema: Some("tpch"),
            knowledge: &Knowledge::default(),
            query: QueryId::new("q"),
            attempt: 0,
            now: UtcMillis(0),
            token_hash: Vec::new(),
        };
        let line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        match plan_query(sql, &[], &input) {
            Ok(Planned::Permitted(query)) => Ok(query),
            Ok(Planned::Denied(denial)) => Err(denial.reasons.first().map_or_else(String::new, |one| line(&one.text))),
            Err(error) => Err(line(&error.to_string())),
        }
    }

    /// Whether a planner that only chooses places for the operators of the one optimised plan would answer: some placement
    /// has no partial aggregate of protected rows. A planner that makes none has no use for SHIP PARTIALS, so this one is asked
    /// without.
    fn without_rewrites(&self, set: &PolicySet, sql: &str) -> bool {
        [Placement::Auto, Placement::ComputeToData, Placement::DataToCompute].into_iter().any(|placement| {
            [self.agreements, self.unsplit].into_iter().any(|agreements| {
                let planned = self.plan_under(agreements, set, sql, placement);
                planned.is_ok_and(|query| query.graph().fragments.iter().all(|fragment| fragment.partial_of.is_none()))
            })
        })
    }
}

/// What each place does.
fn fragments(query: &PermittedQuery) -> String {
    let text = explain(query);
    let (_, rest) = text.split_once("fragments\n").unwrap();
    rest.split_once("\nedges\n").unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_answers_rightly_or_refuses_rightly() {
    let (sets, rows) = (sets(), generate(FACTOR).unwrap());
    assert!(sets.len() >= SETS_MIN, "{} policies", sets.len());
    let texts: BTreeMap<i32, String> = QUERIES.map(|number| (number, sql(number, FACTOR).unwrap())).collect();
    let (catalog, agreements) = (catalog(&rows), agreements(&sets));
    let unsplit = unsplit(&sets);
    let planner = Planner { catalog: &catalog, agreements: &agreements, unsplit: &unsplit };
    let plain = truth(&rows, 2).unwrap();
    let mut reads = BTreeMap::new();
    for (number, text) in &texts {
        reads.insert(*number, columns_read(&plain, text).await);
    }

    let mut wrong = String::new();
    let mut to_run: Vec<(&PolicySet, i32)> = Vec::new();
    let mut seen = BTreeSet::new();
    let (mut answered, mut placed) = (0, 0);
    for set in &sets {
        let mut verdicts = BTreeMap::new();
        let (mut of_set, mut placed_of_set) = (0, 0);
        for (number, text) in &texts {
            let planned = planner.plan(set, text, Placement::Auto);
            if set.is_of_rows() && planned.is_ok() != allows(set, &reads[number]) {
                writeln!(wrong, "{}, query {number}: a plain reading says otherwise: {planned:?}", set.name).unwrap();
            }
            let verdict = match &planned {
                Ok(_) => "answered".to_owned(),
                Err(reason) => format!("refused: {reason}"),
            };
            verdicts.insert(*number, verdict);
            if let Ok(query) = planned {
                of_set += 1;
                placed_of_set += usize::from(planner.without_rewrites(set, text));
                // The same work over the same rows was seen to be right.
                if seen.insert((*number, fragments(&query), set.views.clone())) {
                    to_run.push((set, *number));
                }
            }
        }
        println!("{:<28} {of_set:>2} answered, {placed_of_set:>2} by placement alone", set.name);
        (answered, placed) = (answered + of_set, placed + placed_of_set);
        if verdicts == set.expected {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            std::fs::write(&set.path, set.file(&verdicts)).unwrap();
        } else {
            writeln!(wrong, "{}: expected\n{:#?}\nand not\n{verdicts:#?}", set.name, set.expected).unwrap();
        }
    }
    println!(
        "{} policies, {} queries: {answered} answered, {placed} by placement alone, {} distinct plans run",
        sets.len(),
        sets.len() * texts.len(),
        to_run.len()
    );
    run(&sets, &to_run, &texts, &rows, &mut wrong).await;
    assert!(wrong.is_empty(), "{wrong}");
    assert!(placed < answered, "the rewrites answer nothing more");
}

/// Runs these in a federation in which every policy has its own user, and compares with one plain engine over the views.
async fn run(
    sets: &[PolicySet],
    to_run: &[(&PolicySet, i32)],
    texts: &BTreeMap<i32, String>,
    rows: &[dynamos_tests::tpch::TableRows],
    wrong: &mut String,
) {
    let design = |root: &Path| {
        let mut design = design(root, rows, Split::Customers).unwrap();
        for steward in &mut design.stewards {
            steward.agreements = sets.iter().filter_map(|set| set.agreement(&steward.name)).collect();
        }
        design.people = sets.iter().map(person).collect();
        design
    };
    let federation = TestFederation::edited(design, know_a_place_far_away).await;
    let began = std::time::Instant::now();
    let mut truths: BTreeMap<BTreeMap<String, String>, SessionContext> = BTreeMap::new();
    let mut client = None;
    for (set, number) in to_run {
        let user = format!("{}@a", set.name);
        if client.as_ref().is_none_or(|(of, _)| *of != user) {
            let open = federation.client(&user, "auto", &texts[number]).await;
            client = Some((user.clone(), open));
        }
        let Some((_, client)) = &mut client else { continue };
        if !truths.contains_key(&set.views) {
            truths.insert(set.views.clone(), viewed(set, rows).await);
        }
        let expected = truths[&set.views].sql(&texts[number]).await.unwrap().collect().await.unwrap();
        let outcome = match query(client, &texts[number]).await {
            Ok(answer) => compare(&answer, &expected).map_err(|difference| difference.to_string()),
            Err(error) => Err(format!("{error:#}")),
        };
        if let Err(problem) = outcome {
            writeln!(wrong, "{}, query {number}: {problem}", set.name).unwrap();
        }
    }
    println!("{} plans run in {:.0} s", to_run.len(), began.elapsed().as_secs_f64());
    federation.stop().await;
}

/// Every steward knows a place in another region, which takes no part.
fn know_a_place_far_away(layout: &Layout) {
    for steward in &layout.stewards {
        let path = layout.site_config(steward);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + "\n[[peers]]\nname = \"far\"\nregions = [\"us\"]\n").unwrap();
    }
}

fn person(set: &PolicySet) -> Person {
    Person {
        user: format!("{}@a", set.name),
        organisation: "a".into(),
        role: set.name.clone(),
        purpose: "statistics".into(),
    }
}

/// One plain engine that sees of each table what the policy lets be seen.
async fn viewed(set: &PolicySet, rows: &[dynamos_tests::tpch::TableRows]) -> SessionContext {
    let engine = truth(rows, 2).unwrap();
    for (table, view) in &set.views {
        let frame = engine.sql(view).await.unwrap_or_else(|error| panic!("{}: {error}", set.name));
        let (schema, batches) = (frame.schema().as_arrow().clone(), frame.collect().await.unwrap());
        let seen = datafusion::datasource::MemTable::try_new(std::sync::Arc::new(schema), vec![batches]).unwrap();
        engine.deregister_table(table.as_str()).unwrap();
        engine.register_table(table.as_str(), std::sync::Arc::new(seen)).unwrap();
    }
    engine
}
