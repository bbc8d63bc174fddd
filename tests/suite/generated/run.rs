//! Runs the generated queries through a federation and through the oracle, and says what is different, with the seed and a
//! smaller query that shows the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dynamos_cli::federation::{Client, query};
use dynamos_proto::status::{Code, ServiceError};
use tokio::task::JoinSet;

use super::grammar;
use super::not_yet::NOBODY;
use super::oracle::Oracle;
use super::query::{Feature, Query};
use super::schema::{PLACEMENTS, design};
use super::verdict::{Answer, in_order};
use crate::federation::{TestFederation, told};

/// So many queries run unless `DYNAMOS_QUERIES` says otherwise.
const QUERIES: u64 = 2_000;
/// Connections that ask at the same time, each under every placement.
const CONNECTIONS: usize = 3;
/// A query that takes longer hangs.
const QUERY_MAX: Duration = Duration::from_secs(60);
/// EXPLAIN is asked for every so many queries, to see how many sites take part.
const EXPLAINED_EVERY: u64 = 8;
/// So many kinds of failures are made smaller, with so many tries each.
const SHRUNK_MAX: usize = 12;
const SHRINK_TRIES: usize = 150;
/// Every site takes part in it.
const EVERYBODY: &str = "SELECT count(*) FROM gen.orders";

/// A way to place a query, and a connection that forces it.
pub(super) struct Placed {
    pub(super) placement: &'static str,
    pub(super) client: Client,
}

/// What became of a query under one placement.
enum Outcome {
    /// The oracle's answer, of so many rows.
    Same {
        rows: usize,
    },
    /// Neither engine does it.
    Neither {
        code: Code,
        truth: String,
    },
    /// Only the federation does it, so nobody can say whether it is right.
    Unjudged {
        truth: String,
    },
    /// The forced family of placements has no legal plan.
    NoPlan,
    /// A condition on `steward` leaves nobody to ask, which is refused by name; see [`super::not_yet`].
    Nobody,
    Failed(Failure),
}

/// Something that must not be.
#[derive(Clone)]
struct Failure {
    /// Alike for failures with one cause, as far as can be told.
    kind: String,
    text: String,
}

/// What happened to one seed.
struct Ran {
    seed: u64,
    query: Query,
    outcomes: Vec<(&'static str, Outcome)>,
    /// How many sites but the coordinator the plan uses, if that was asked.
    sites: Option<usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_queries_give_the_rows_of_one_plain_engine() {
    let started = Instant::now();
    let only = number("DYNAMOS_SEED");
    let seeds = only.map_or(0..number("DYNAMOS_QUERIES").unwrap_or(QUERIES), |seed| seed..seed + 1);
    let federation = Arc::new(TestFederation::design(design).await);
    let oracle = Arc::new(Oracle::open(&federation.layout).await);
    let next = Arc::new(AtomicU64::new(seeds.start));
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (federation, oracle, next) = (Arc::clone(&federation), Arc::clone(&oracle), Arc::clone(&next));
        let end = seeds.end;
        workers.spawn(async move {
            let mut placed = connect(&federation).await;
            let mut all = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return all;
                }
                all.push(ask(seed, &mut placed, &oracle).await);
            }
        });
    }
    let mut all: Vec<Ran> = Vec::new();
    while let Some(ran) = workers.join_next().await {
        all.extend(ran.unwrap());
    }
    all.sort_by_key(|ran| ran.seed);
    let seconds = started.elapsed().as_secs_f64();
    if let (Some(_), [ran]) = (only, all.as_slice()) {
        println!("{}\n{}", ran.query.federated(), ran.query);
    }
    println!("{}\n{} queries in {seconds:.1} s\n{}", without_truth(&all), all.len(), Mix::of(&all));
    let failures = report(&all, &federation, &oracle).await;
    if let Some(federation) = Arc::into_inner(federation) {
        federation.stop().await;
    }
    assert!(failures.is_empty(), "{failures}");
    if only.is_none() {
        Mix::of(&all).must_be_worth_something();
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

pub(super) async fn connect(federation: &TestFederation) -> Vec<Placed> {
    let mut all = Vec::new();
    for placement in PLACEMENTS {
        all.push(Placed { placement, client: federation.client(placement, placement, EVERYBODY).await });
    }
    all
}

/// Runs the query of a seed under `auto` and one other placement.
async fn ask(seed: u64, placed: &mut [Placed], oracle: &Oracle) -> Ran {
    let generated = grammar::query(seed);
    let truth = truth(&generated, oracle).await;
    let forced = 1 + (seed % 2) as usize;
    let mut outcomes = Vec::new();
    let mut sites = None;
    for (index, way) in placed.iter_mut().enumerate().filter(|(index, _)| *index == 0 || *index == forced) {
        outcomes.push((way.placement, judge(&generated, &truth, way).await));
        if index == 0 && seed.is_multiple_of(EXPLAINED_EVERY) {
            sites = sites_of(&generated, way).await;
        }
    }
    Ran { seed, query: generated, outcomes, sites }
}

async fn truth(query: &Query, oracle: &Oracle) -> Result<Answer, String> {
    let batches = oracle.answer(&query.to_string()).await.map_err(|error| error.strip_backtrace())?;
    Ok(Answer::new(&batches, &query.kinds()))
}

async fn judge(generated: &Query, truth: &Result<Answer, String>, way: &mut Placed) -> Outcome {
    let sql = generated.federated();
    let answered = match tokio::time::timeout(QUERY_MAX, query(&mut way.client, &sql)).await {
        Ok(answered) => answered.map_err(|error| told(&error)),
        Err(_) => return Outcome::Failed(Failure { kind: "hangs".into(), text: "no answer in time".into() }),
    };
    match (answered, truth) {
        (Ok(batches), Ok(truth)) => {
            let answer = Answer::new(&batches, &generated.kinds());
            match truth.differs(&answer) {
                None if !in_order(&batches, &generated.order) => {
                    Outcome::Failed(Failure { kind: "wrong order".into(), text: "the rows are not in order".into() })
                }
                None => Outcome::Same { rows: answer.rows.len() },
                Some(text) => {
                    let kind = format!("wrong {}", text.split(':').next().unwrap_or_default());
                    Outcome::Failed(Failure { kind, text })
                }
            }
        }
        (Ok(_), Err(truth)) => Outcome::Unjudged { truth: truth.clone() },
        (Err(refused), Ok(_)) => {
            let none = format!("placement `{}` has no legal plan", way.placement);
            if refused.code == Code::Denied && way.placement != "auto" && refused.message.contains(&none) {
                return Outcome::NoPlan;
            }
            if refused.code == Code::Denied && refused.message.contains(NOBODY) {
                return Outcome::Nobody;
            }
            Outcome::Failed(refused_failure(&refused))
        }
        (Err(refused), Err(truth)) => match refused.code {
            Code::Syntax | Code::UnknownName | Code::Unsupported | Code::DataError | Code::InvalidArgument => {
                Outcome::Neither { code: refused.code, truth: truth.clone() }
            }
            _ => {
                let Failure { kind, text } = refused_failure(&refused);
                Outcome::Failed(Failure { kind, text: format!("{text}\nthe oracle fails, too: {truth}") })
            }
        },
    }
}

fn refused_failure(refused: &ServiceError) -> Failure {
    let text = format!("{}: {refused}", refused.code);
    Failure { kind: likeness(&text), text }
}

/// The text without names, numbers and quoted parts.
fn likeness(text: &str) -> String {
    let mut kind = String::new();
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '`' => quoted = !quoted,
            _ if quoted => {}
            '0'..='9' => {}
            letter => kind.push(letter),
        }
    }
    kind.chars().take(110).collect()
}

/// The sites but the coordinator that a plan's fragments are at.
async fn sites_of(generated: &Query, way: &mut Placed) -> Option<usize> {
    let batches = query(&mut way.client, &format!("EXPLAIN {}", generated.federated())).await.ok()?;
    let lines = dynamos_cli::demo::rows(&batches).unwrap();
    let text: Vec<String> =
        lines.into_iter().flatten().flat_map(|cell| cell.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let place = |line: &String| -> Option<String> {
        let (_, rest) = line.trim().strip_prefix('f')?.split_once(" at ")?;
        Some(rest.split(' ').next()?.to_owned())
    };
    let places: BTreeSet<String> = text.iter().filter_map(place).filter(|place| place != "coordinator").collect();
    Some(places.len())
}

/// What the queries were, to see that they are not trivial.
struct Mix {
    queries: usize,
    features: BTreeMap<Feature, usize>,
    same: usize,
    not_empty: usize,
    no_plan: usize,
    nobody: usize,
    neither: usize,
    unjudged: usize,
    failed: usize,
    explained: usize,
    several_sites: usize,
}

impl Mix {
    fn of(all: &[Ran]) -> Self {
        let mut features = BTreeMap::new();
        for feature in all.iter().flat_map(|ran| &ran.query.features) {
            *features.entry(*feature).or_insert(0) += 1;
        }
        let outcomes = || all.iter().flat_map(|ran| ran.outcomes.iter().map(|(_, outcome)| outcome));
        let count = |which: &dyn Fn(&Outcome) -> bool| outcomes().filter(|outcome| which(outcome)).count();
        Self {
            queries: all.len(),
            features,
            same: count(&|outcome| matches!(outcome, Outcome::Same { .. })),
            not_empty: count(&|outcome| matches!(outcome, Outcome::Same { rows: 1.. })),
            no_plan: count(&|outcome| matches!(outcome, Outcome::NoPlan)),
            nobody: count(&|outcome| matches!(outcome, Outcome::Nobody)),
            neither: count(&|outcome| matches!(outcome, Outcome::Neither { .. })),
            unjudged: count(&|outcome| matches!(outcome, Outcome::Unjudged { .. })),
            failed: count(&|outcome| matches!(outcome, Outcome::Failed(_))),
            explained: all.iter().filter(|ran| ran.sites.is_some()).count(),
            several_sites: all.iter().filter(|ran| ran.sites.is_some_and(|sites| sites > 1)).count(),
        }
    }

    /// A mix that would prove little is a fault of the grammar.
    fn must_be_worth_something(&self) {
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        for (feature, least) in [
            (Feature::Join, 0.5),
            (Feature::OuterJoin, 0.25),
            (Feature::Aggregate, 0.3),
            (Feature::GroupingSets, 0.04),
            (Feature::Window, 0.12),
            (Feature::SetOperation, 0.15),
            (Feature::Subquery, 0.25),
            (Feature::Correlated, 0.15),
            (Feature::With, 0.15),
            (Feature::Limit, 0.15),
            (Feature::LocalKey, 0.1),
        ] {
            let have = share(self.features.get(&feature).copied().unwrap_or(0), self.queries);
            assert!(have >= least, "only {have:.2} of the queries have {feature:?}");
        }
        let answered = self.same + self.failed + self.no_plan + self.nobody + self.neither + self.unjudged;
        assert!(share(self.same, answered) > 0.9, "too few queries are answered:\n{self}");
        assert!(share(self.not_empty, self.same) > 0.6, "too many answers are empty:\n{self}");
        assert!(share(self.nobody, answered) < 0.02, "too few queries are answered:\n{self}");
        assert!(share(self.neither + self.unjudged, answered) < 0.03, "the oracle knows too little:\n{self}");
        assert!(share(self.several_sites, self.explained) > 0.5, "too few queries need several sites:\n{self}");
    }
}

impl std::fmt::Display for Mix {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let features: Vec<String> =
            self.features.iter().map(|(feature, count)| format!("{feature:?} {count}")).collect();
        writeln!(out, "queries with: {}", features.join(", "))?;
        writeln!(
            out,
            "answers: {} right ({} not empty), {} wrong or refused, {} without a plan in the forced family, {} that leave no \
             steward, {} that neither engine gives, {} that only the federation gives",
            self.same, self.not_empty, self.failed, self.no_plan, self.nobody, self.neither, self.unjudged
        )?;
        write!(out, "plans over several sites: {} of {} looked at", self.several_sites, self.explained)
    }
}

/// The queries that the oracle does not answer, and why.
fn without_truth(all: &[Ran]) -> String {
    let of = |ran: &Ran| {
        let truths = ran.outcomes.iter().filter_map(|(placement, outcome)| match outcome {
            Outcome::Neither { code, truth } => {
                Some(format!("seed {} under {placement}: neither, {code}: {truth}", ran.seed))
            }
            Outcome::Unjudged { truth } => Some(format!("seed {} under {placement}: unjudged: {truth}", ran.seed)),
            Outcome::Same { .. } | Outcome::NoPlan | Outcome::Nobody | Outcome::Failed(_) => None,
        });
        truths.collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect::<Vec<_>>().join("\n")
}

/// All failures by kind; of each kind the first, made smaller.
async fn report(all: &[Ran], federation: &TestFederation, oracle: &Oracle) -> String {
    let mut kinds: BTreeMap<&str, Vec<(&Ran, &'static str, &Failure)>> = BTreeMap::new();
    for ran in all {
        for (placement, outcome) in &ran.outcomes {
            match outcome {
                Outcome::Failed(failure) => kinds.entry(&failure.kind).or_default().push((ran, placement, failure)),
                Outcome::Neither { .. }
                | Outcome::Unjudged { .. }
                | Outcome::Same { .. }
                | Outcome::NoPlan
                | Outcome::Nobody => {}
            }
        }
    }
    if kinds.is_empty() {
        return String::new();
    }
    let mut placed = connect(federation).await;
    let mut text = String::new();
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, failures)| std::cmp::Reverse(failures.len()));
    for (index, (kind, failures)) in kinds.into_iter().enumerate() {
        let seeds: BTreeSet<u64> = failures.iter().map(|(ran, ..)| ran.seed).collect();
        text += &format!("\n── {} × {kind}\nseeds {:?}\n", failures.len(), seeds.iter().take(20).collect::<Vec<_>>());
        // The shortest is the quickest to understand.
        let Some((ran, placement, failure)) = failures.into_iter().min_by_key(|(ran, ..)| ran.query.to_string().len())
        else {
            continue;
        };
        let (mut shown, mut failure) = (ran.query.clone(), failure.clone());
        if let Some(way) = placed.iter_mut().find(|way| way.placement == placement && index < SHRUNK_MAX) {
            (shown, failure) = shrink(shown, failure, way, oracle).await;
        }
        text += &format!(
            "DYNAMOS_SEED={} under {placement}\n{}\n(full: {})\n{}\n",
            ran.seed,
            shown.federated(),
            ran.query.federated(),
            failure.text
        );
    }
    text
}

/// A smaller query that fails in the same way.
async fn shrink(mut query: Query, mut failure: Failure, way: &mut Placed, oracle: &Oracle) -> (Query, Failure) {
    let mut tries = 0;
    'smaller: loop {
        for less in query.smaller().into_iter().filter(Query::is_determined) {
            tries += 1;
            if tries > SHRINK_TRIES {
                return (query, failure);
            }
            let truth = truth(&less, oracle).await;
            if let Outcome::Failed(same) = judge(&less, &truth, way).await
                && same.kind == failure.kind
            {
                (query, failure) = (less, same);
                continue 'smaller;
            }
        }
        return (query, failure);
    }
}

#[test]
fn a_seed_gives_one_query() {
    for seed in 0..200 {
        assert_eq!(grammar::query(seed).to_string(), grammar::query(seed).to_string(), "DYNAMOS_SEED={seed}");
    }
    let different: BTreeSet<String> = (0..200).map(|seed| grammar::query(seed).to_string()).collect();
    assert!(different.len() > 195);
}
