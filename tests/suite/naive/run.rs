//! Runs the worlds through both and compares: the verdict, and of a permitted plan that each of its edges is one that the
//! naive reading allows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use dynamos_planner::catalog::Catalog;
use dynamos_planner::fragment::{FragmentGraph, ReleaseInput};
use dynamos_planner::knowledge::Knowledge;
use dynamos_planner::policy::{AgreementSet, HeldAgreement, Purposes, Requester, UtcMillis, purpose};
use dynamos_planner::sql::parse_agreement;
use dynamos_planner::{PermittedQuery, Placement, Planned, PlanningInput, plan_query};
use dynamos_proto::ids::QueryId;
use dynamos_proto::status::Code;

use super::catalog::catalog;
use super::draw;
use super::oracle::{How, Way, Why, compares_chosen_keys, may_be, ways, why};
use super::shrink::smaller;
use super::world::{COORDINATOR, Col, Family, PLACES, Source, Table, World};

/// So many cases run unless `DYNAMOS_CASES` says otherwise.
const CASES: u64 = 10_000;
const THREADS: usize = 2;
/// As many as the planner needs for deep plans.
const STACK_BYTES: usize = 16 << 20;
/// Failures that are made smaller.
const SHRUNK_MAX: usize = 5;

/// What every case shares.
struct Bench {
    catalog: Catalog,
    purposes: Purposes,
    requester: Requester,
    knowledge: Knowledge,
    now: UtcMillis,
}

impl Bench {
    fn new() -> Self {
        let requester = Requester {
            user: "ann@uni.nl".to_owned(),
            organisation: "uni".to_owned(),
            roles: vec!["analyst".to_owned()],
        };
        Self {
            catalog: catalog(),
            purposes: purpose::shipped().unwrap(),
            requester,
            knowledge: Knowledge::default(),
            now: UtcMillis::parse("2026-06-01").unwrap(),
        }
    }

    /// The planner's verdict.
    fn plan(&self, world: &World) -> Result<Result<Box<PermittedQuery>, String>, String> {
        let mut agreements = AgreementSet::default();
        for agreement in &world.agreements {
            let text = agreement.to_string();
            let agreement = parse_agreement(&text).map_err(|error| format!("{text}: {error}"))?;
            agreements.insert(HeldAgreement::new(1, agreement));
        }
        let input = PlanningInput {
            catalog: &self.catalog,
            agreements: &agreements,
            purposes: &self.purposes,
            requester: &self.requester,
            purpose: Some("statistics"),
            agreement: None,
            placement: match world.family {
                Family::Auto => Placement::Auto,
                Family::ComputeToData => Placement::ComputeToData,
                Family::DataToCompute => Placement::DataToCompute,
            },
            default_schema: None,
            knowledge: &self.knowledge,
            query: QueryId::new("naive"),
            attempt: 0,
            now: self.now,
            token_hash: Vec::new(),
        };
        match plan_query(&world.question.to_string(), &[], &input) {
            Ok(Planned::Permitted(query)) => Ok(Ok(query)),
            Ok(Planned::Denied(denial)) => {
                let text = denial.to_string();
                // The check must agree with the planner, so that it never has to stop one of its plans.
                if text.contains("the check of the placed plan refused it") { Err(text) } else { Ok(Err(text)) }
            }
            // What no agreement speaks of does not exist for the requester.
            Err(error) if error.code() == Code::UnknownName && error.to_string().contains("no table") => {
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// What is wrong with a world's verdict, if something is.
    fn wrong(&self, world: &World) -> Option<String> {
        let legal = ways(world);
        match self.plan(world) {
            Err(error) if compares_chosen_keys(&world.question) && error.contains("does not say whose it is") => None,
            Err(error) => Some(format!("the planner failed: {error}")),
            Ok(Ok(_)) if compares_chosen_keys(&world.question) => {
                Some("keys without their steward are compared".to_owned())
            }
            Ok(Err(_)) if legal.is_empty() => None,
            Ok(Err(text)) => Some(format!("a legal plan was missed: {:?}; {text}", legal[0])),
            Ok(Ok(query)) => {
                let taken = way(query.graph());
                if !legal.contains(&taken) {
                    return Some(format!("a plan that is not legal: {taken:?}"));
                }
                forbidden_row_edge(world, query.graph())
            }
        }
    }
}

/// The way that a graph takes.
fn way(graph: &FragmentGraph) -> Way {
    let fixed = |name: &str| PLACES.into_iter().find(|place| *place == name).unwrap_or(COORDINATOR);
    let name = |name: &str| if name == "first" { "first" } else { "second" };
    let agreements: BTreeMap<_, _> = graph
        .governing
        .iter()
        .map(|(steward, governing)| (fixed(steward.as_str()), name(&governing.agreement)))
        .collect();
    let Some(release) = graph.releases.first() else { return Way::Released { agreements } };
    assert_eq!(graph.releases.len(), 1, "these questions have one release point");
    let place = fixed(graph.fragment(release.fragment).unwrap().place.as_str());
    let clauses: BTreeMap<_, _> =
        release.clauses.iter().map(|clause| (fixed(clause.steward.as_str()), clause.clause as usize)).collect();
    let how = match &release.input {
        ReleaseInput::Merge(_) => How::Merge,
        ReleaseInput::Complete(_) if clauses.keys().eq([&place]) => How::Beside,
        ReleaseInput::Complete(_) => How::Rows,
    };
    Way::Aggregates { agreements, clauses, place, how }
}

/// A place that released rows of a table come by and may not be at.
fn forbidden_row_edge(world: &World, graph: &FragmentGraph) -> Option<String> {
    if !graph.releases.is_empty() {
        return None;
    }
    for fragment in &graph.fragments {
        for (relation, columns) in scans(world, &fragment.plan) {
            let steward = fragment.place.as_str();
            let agreement = &graph.governing.get(&fragment.place)?.agreement;
            let mut next = fragment.consumer;
            while let Some(reader) = next.and_then(|id| graph.fragment(id)) {
                let place = reader.place.as_str();
                let free = place == COORDINATOR || place == steward;
                if !free && !may_be(world, steward, agreement, relation, &columns, place) {
                    return Some(format!("rows of {relation} at {steward} ({columns:?}) come by {place}"));
                }
                next = reader.consumer;
            }
        }
    }
    None
}

/// The relations that a plan reads, each with the columns that it reads of it. One that is released as a join is read like a
/// table, whose columns say by number of which table they are.
fn scans(world: &World, plan: &LogicalPlan) -> Vec<(Source, Vec<Col>)> {
    let mut all = Vec::new();
    let known = |table: Table, name: &str| {
        let (name, _) = table.columns().iter().find(|(known, _)| *known == name).unwrap();
        Col(table, name)
    };
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.schema() == Some("s")
        {
            let table = if scan.table_name.table() == "people" { Table::People } else { Table::Visits };
            let fields = || scan.projected_schema.fields().iter().map(|field| field.name().as_str());
            let whole = scan.source.schema();
            let joined =
                whole.fields().iter().all(|field| field.name().starts_with("t0_") || field.name().starts_with("t1_"));
            all.push(if joined {
                let of = |name: &str| match name.split_once('_').unwrap() {
                    ("t0", name) => known(Table::People, name),
                    (_, name) => known(Table::Visits, name),
                };
                (world.question.from.relation().unwrap(), fields().map(of).collect())
            } else {
                (Source::One(table), fields().map(|name| known(table, name)).collect())
            });
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    all
}

#[test]
fn the_planner_and_the_naive_reading_of_the_rules_agree() {
    let only = number("DYNAMOS_CASE");
    let cases = only.map_or(0..number("DYNAMOS_CASES").unwrap_or(CASES), |case| case..case + 1);
    let (next, started) = (AtomicU64::new(cases.start), Instant::now());
    let mut wrong: Vec<(u64, String)> = Vec::new();
    let mut mix: BTreeMap<Why, u64> = BTreeMap::new();
    std::thread::scope(|scope| {
        let work = || {
            let bench = Bench::new();
            let (mut wrong, mut mix) = (Vec::new(), BTreeMap::<Why, u64>::new());
            loop {
                let case = next.fetch_add(1, Ordering::Relaxed);
                if case >= cases.end {
                    return (wrong, mix);
                }
                let world = draw::world(case);
                *mix.entry(why(&world)).or_default() += 1;
                wrong.extend(bench.wrong(&world).map(|what| (case, what)));
            }
        };
        let spawn = |_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).unwrap();
        let threads: Vec<_> = (0..THREADS).map(spawn).collect();
        for thread in threads {
            let (of_thread, counted) = thread.join().unwrap();
            wrong.extend(of_thread);
            for (why, count) in counted {
                *mix.entry(why).or_default() += count;
            }
        }
    });
    let total: u64 = mix.values().sum();
    println!("{total} cases in {:.1} s", started.elapsed().as_secs_f64());
    for (why, count) in &mix {
        println!("{count:>8}  {:>5.1} %  {why:?}", *count as f64 * 100.0 / total as f64);
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{}", report(&wrong));
    if only.is_none() {
        // A generator that permits nothing, or everything, would show nothing.
        for why in [Why::Permitted, Why::NoAgreement, Why::NoRelease, Why::Operator, Why::NoPlace] {
            let share = mix.get(&why).copied().unwrap_or_default() as f64 / total as f64;
            assert!(share > 0.01, "{why:?} is too rare: {share}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// The failures by what went wrong, the first of each made smaller.
fn report(wrong: &[(u64, String)]) -> String {
    let bench = Bench::new();
    let kind = |what: &str| what.split('{').next().unwrap_or_default().chars().take(90).collect::<String>();
    let mut kinds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (case, what) in wrong {
        kinds.entry(kind(what)).or_default().push(*case);
    }
    let mut text = format!("{} cases are wrong\n", wrong.len());
    let mut kinds: Vec<(String, Vec<u64>)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
    for (which, cases) in kinds.iter().take(SHRUNK_MAX) {
        let mut world = draw::world(cases[0]);
        while let Some(less) =
            smaller(&world).into_iter().find(|less| bench.wrong(less).is_some_and(|what| kind(&what) == *which))
        {
            world = less;
        }
        let what = bench.wrong(&world).unwrap_or_default();
        writeln!(text, "── {} × {which}, DYNAMOS_CASE={}\n{world}\n{what}", cases.len(), cases[0]).unwrap();
    }
    text
}
