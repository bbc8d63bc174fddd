//! Budgets and records of a place that runs as in use, but for the check of edges, which has tests of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dynamos_planner::fragment::{AgreementRef, FragmentGraph, ReleaseClauseRef, ReleasePoint};
use dynamos_planner::policy::UtcMillis;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::{FragmentId, ReleaseId};
use dynamos_proto::sign::sha256;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::token::{Claims, issue};
use dynamos_proto::v1;
use futures::StreamExt;
use tokio::task::JoinSet;

use crate::Executor;
use crate::clock::Clock;
use crate::config::SiteConfig;
use crate::testing::*;
use crate::tests::average_by_grade;

const ROWS: &str = "1,a,100\n2,a,200\n";

fn budget(limits: &str) -> String {
    format!("{PLAIN}, BUDGET {limits}")
}

/// A question for uva's averages.
fn ask(federation: &Federation, query: &str) -> v1::Permit {
    federation.permit(&average_by_grade(federation, query, 1))
}

/// How a place answers to a permit.
async fn submit(place: &Executor, permit: v1::Permit) -> Result<(), Code> {
    place.submit(permit).await.map_err(|error| error.code)
}

/// Lets the coordinator say that nobody has begun.
async fn withdraw(place: &Executor, query: &str) {
    place.cancel(&v1::CancelRequest { query_id: query.into(), not_begun: true, attempt: 0 }).await;
}

/// uva again, over its files.
async fn restarted(federation: &mut Federation, clauses: &str) -> Executor {
    federation.stop("uva");
    let config = federation.steward("uva", ROWS, clauses);
    Executor::start_with(&config, Box::new(AllowAll)).await.unwrap()
}

fn events(records: &[serde_json::Value]) -> Vec<(&str, &str)> {
    records
        .iter()
        .map(|record| (record["event"].as_str().unwrap(), record["query_id"].as_str().unwrap_or_default()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_refuses_with_what_is_allowed_and_until_when() {
    let federation = Federation::start([ROWS, ROWS], &budget("2 QUERIES PER YEAR")).await;
    let uva = federation.executor("uva");
    for query in ["q1", "q2"] {
        assert_eq!(submit(uva, ask(&federation, query)).await, Ok(()));
    }
    let ServiceError { code, message, hint } = uva.submit(ask(&federation, "q3")).await.unwrap_err();
    assert_eq!(code, Code::BudgetSpent);
    assert!(!code.is_retryable(), "trying again at once is no use");
    let next = dynamos_planner::policy::Period::Year.next(UtcMillis(now_ms()));
    let expected = format!(
        "clause 2 of agreement `a` of `uva` allows 2 queries per year to `uva`, of which 2 are spent and this one needs 1; the \
         next year begins at {next}"
    );
    assert_eq!(message, expected);
    assert!(hint.unwrap().contains(&next.to_string()));
    assert_eq!(uva.running(), 2, "the refused one is gone");
    // Each steward counts its own.
    assert_eq!(submit(federation.executor("vu"), ask(&federation, "q3")).await, Ok(()));

    let records = federation.records("uva");
    assert_eq!(events(&records), [("permit", "q1"), ("permit", "q2"), ("refusal", "q3")]);
    let (permit, refusal) = (&records[0], &records[2]);
    assert_eq!(permit["charge"]["points"], 1);
    assert_eq!((&permit["purpose"], &permit["requester"]), (&"statistics".into(), &"ann@uva.nl".into()));
    assert_eq!(permit["agreements"][0], serde_json::json!({"steward": "uva", "agreement": "a", "epoch": 1}));
    assert_eq!((&refusal["code"], &refusal["reason"]), (&"BUDGET_SPENT".into(), &"budget".into()));
    assert_eq!(refusal["organisation"], "uva");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_many_queries_at_once_spend_exactly_the_budget() {
    const BUDGET: usize = 7;
    const QUERIES: usize = 60;
    let mut federation = Federation::start([ROWS, ROWS], &budget("7 QUERIES PER YEAR")).await;
    let mut submissions = JoinSet::new();
    for number in 0..QUERIES {
        let (place, permit) = (federation.executor("uva").clone(), ask(&federation, &format!("q{number}")));
        submissions.spawn(async move { submit(&place, permit).await });
    }
    let answers = submissions.join_all().await;
    let admitted = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().filter(|answer| **answer == Err(Code::BudgetSpent)).count();
    assert_eq!((admitted, refused), (BUDGET, QUERIES - BUDGET));
    let records = federation.records("uva");
    assert_eq!(records.iter().filter(|record| record["event"] == "permit").count(), BUDGET);
    assert_eq!(records.len(), QUERIES);
    let again = restarted(&mut federation, &budget("7 QUERIES PER YEAR")).await;
    assert_eq!(submit(&again, ask(&federation, "after")).await, Err(Code::BudgetSpent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_and_a_new_version_of_the_agreement_bring_nothing_back() {
    let mut federation = Federation::start([ROWS, ROWS], &budget("2 QUERIES PER YEAR")).await;
    assert_eq!(submit(federation.executor("uva"), ask(&federation, "q1")).await, Ok(()));
    // Killed while it wrote: the beginning of a record is left.
    let again = restarted(&mut federation, &budget("2 QUERIES PER YEAR")).await;
    drop(again);
    let path = federation.folder.path().join("uva.state/ledger.log");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{{\"number\":2,\"prev")).unwrap();
    let again = restarted(&mut federation, &budget("2 QUERIES PER YEAR")).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    assert_eq!(submit(&again, ask(&federation, "q2")).await, Ok(()));
    assert_eq!(submit(&again, ask(&federation, "q3")).await, Err(Code::BudgetSpent));
    drop(again);
    // What was asked counts under a limit that came later, and one that was raised gives only the difference.
    let again = restarted(&mut federation, &budget("3 QUERIES PER YEAR")).await;
    let graph = |query: &str| average_by_grade(&federation, query, 2);
    let newer = |query: &str| {
        let mut graph = graph(query);
        graph.governing.insert("uva".into(), AgreementRef { agreement: "a".into(), epoch: 2 });
        // vu's stays as it was.
        graph.releases[0].clauses[1].agreement.epoch = 1;
        let mut permit = federation.permit(&graph);
        permit.agreements.retain(|one| one.steward != "uva");
        permit
    };
    assert_eq!(submit(&again, newer("q4")).await, Ok(()));
    assert_eq!(submit(&again, newer("q5")).await, Err(Code::BudgetSpent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_ledger_keeps_the_place_from_starting() {
    let mut federation = Federation::start([ROWS, ROWS], &budget("1 QUERIES PER YEAR")).await;
    assert_eq!(submit(federation.executor("uva"), ask(&federation, "q1")).await, Ok(()));
    federation.stop("uva");
    let path = federation.folder.path().join("uva.state/ledger.log");
    drop(restarted(&mut federation, PLAIN).await);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"points\":1", "\"points\":0")).unwrap();
    let config = federation.steward("uva", ROWS, PLAIN);
    let error = Executor::start_with(&config, Box::new(AllowAll)).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    // Behind the agreement with which the place began.
    assert!(cause.starts_with("line 2 of the record file"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_attempts_of_a_query_have_one_charge() {
    let federation = Federation::start([ROWS, ROWS], &budget("2 QUERIES PER YEAR")).await;
    let uva = federation.executor("uva");
    for attempt in 0..8 {
        let graph = FragmentGraph { attempt, ..average_by_grade(&federation, "q1", 1) };
        assert_eq!(submit(uva, federation.permit(&graph)).await, Ok(()), "{attempt}");
    }
    let endless = FragmentGraph { attempt: 8, ..average_by_grade(&federation, "q1", 1) };
    assert_eq!(submit(uva, federation.permit(&endless)).await, Err(Code::SiteRefused));
    assert_eq!(submit(uva, ask(&federation, "q2")).await, Ok(()));
    assert_eq!(submit(uva, ask(&federation, "q3")).await, Err(Code::BudgetSpent));
    let points: Vec<_> = federation.records("uva").iter().map(|record| record["charge"]["points"].as_u64()).collect();
    assert_eq!(points[..3], [Some(1), Some(0), Some(0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_release_point_counts() {
    let federation = Federation::start([ROWS, ROWS], &budget("3 QUERIES PER YEAR")).await;
    let uva = federation.executor("uva");
    let mut two = average_by_grade(&federation, "q1", 1);
    // The second one is vu's and uva's, the third one vu's alone.
    let second = ReleasePoint { id: ReleaseId(1), ..two.releases[0].clone() };
    let only_vu: Vec<ReleaseClauseRef> = vec![second.clauses[1].clone()];
    let third = ReleasePoint { id: ReleaseId(2), clauses: only_vu, ..second.clone() };
    two.releases.extend([second, third]);
    assert_eq!(submit(uva, federation.permit(&two)).await, Ok(()));
    assert_eq!(federation.records("uva")[0]["charge"]["points"], 2);
    let error = uva.submit(federation.permit(&FragmentGraph { query: "q2".into(), ..two })).await.unwrap_err();
    assert!(error.message.contains("of which 2 are spent and this one needs 2"), "{error}");
    assert_eq!(submit(uva, ask(&federation, "q3")).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_is_given_back_only_if_nobody_had_begun() {
    let mut federation = Federation::start([ROWS, ROWS], &budget("1 QUERIES PER YEAR")).await;
    let uva = federation.executor("uva").clone();
    let next = async |query: &str| submit(&uva, ask(&federation, query)).await;
    // Nobody had begun, and the coordinator says so.
    assert_eq!(next("q1").await, Ok(()));
    assert_eq!(next("q2").await, Err(Code::BudgetSpent));
    withdraw(&uva, "q1").await;
    withdraw(&uva, "q1").await;
    assert_eq!(uva.running(), 0);
    assert_eq!(next("q3").await, Ok(()));
    assert_eq!(next("q4").await, Err(Code::BudgetSpent), "it was given back once");
    // It had not begun here, but perhaps elsewhere.
    withdraw(&uva, "q3").await;
    assert_eq!(next("q5").await, Ok(()));
    uva.cancel(&cancel(&"q5".into())).await;
    assert_eq!(next("q6").await, Err(Code::BudgetSpent));
    let records = federation.records("uva");
    let returned: Vec<_> = events(&records).into_iter().filter(|(event, _)| *event == "return").collect();
    assert_eq!(returned, [("return", "q1"), ("return", "q3")]);
    drop(uva);
    let again = restarted(&mut federation, &budget("1 QUERIES PER YEAR")).await;
    assert_eq!(submit(&again, ask(&federation, "q7")).await, Err(Code::BudgetSpent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lies_about_what_has_begun_gets_nothing_back() {
    let federation = Federation::start([ROWS, ROWS], &budget("1 QUERIES PER YEAR")).await;
    let root = scan(&Leaf::Exchange(FragmentId(1)), persons()).build().unwrap();
    let rows = scan_persons("uva").build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, root), fragment(1, "uva", Some(0), rows)];
    let graph = federation.graph("q1", fragments, Vec::new());
    federation.submit(&graph).await;
    let permit = &federation.records("uva")[0];
    assert_eq!(permit["charge"]["points"], 1, "a query without a release point is not free");
    let mut rows = federation.coordinator.open_root(&graph.query).unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 2);
    withdraw(federation.executor("uva"), "q1").await;
    let refused = submit(federation.executor("uva"), ask(&federation, "q2")).await;
    assert_eq!(refused, Err(Code::BudgetSpent));
}

/// Stands still until it is moved.
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_period_brings_a_new_budget_by_the_calendar() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    federation.stop("uva");
    let config: SiteConfig = federation.steward("uva", ROWS, &budget("2 QUERIES PER HOUR, 3 QUERIES PER MONTH"));
    let at = |text: &str| UtcMillis::parse(text).unwrap().0;
    let clock = Arc::new(ManualClock(AtomicI64::new(at("2031-01-31T22:30:00Z"))));
    let uva = Executor::start_at(&config, Box::new(AllowAll), Arc::clone(&clock) as _).await.unwrap();
    let claims = Claims {
        iss: "vu".into(),
        sub: "bob@vu.nl".into(),
        roles: Vec::new(),
        purposes: vec!["statistics".into()],
        exp: at("2032-01-01") / 1000,
        jti: "1".into(),
    };
    let token = issue(&claims, &key_of("vu")).unwrap();
    let ask = async |query: &str, moment: &str| {
        clock.0.store(at(moment), Ordering::SeqCst);
        let mut graph = average_by_grade(&federation, query, 2);
        graph.governing.insert("uva".into(), AgreementRef { agreement: "a".into(), epoch: 2 });
        graph.releases[0].clauses[1].agreement.epoch = 1;
        graph.planned_at_ms = at(moment);
        graph.expires_at_ms = at(moment) + 30_000;
        graph.token_hash = sha256(token.as_bytes());
        let permit = v1::Permit { token: token.clone(), ..federation.permit(&graph) };
        uva.submit(permit).await.map_err(|error| (error.code, error.message))
    };
    assert_eq!(ask("q1", "2031-01-31T22:30:00Z").await, Ok(()));
    assert_eq!(ask("q2", "2031-01-31T22:59:59.999Z").await, Ok(()));
    let (code, text) = ask("q3", "2031-01-31T22:59:59.999Z").await.unwrap_err();
    assert_eq!(code, Code::BudgetSpent);
    assert!(text.contains("2 queries per hour to `vu`") && text.ends_with("begins at 2031-01-31T23:00:00Z"), "{text}");
    assert_eq!(ask("q4", "2031-01-31T23:00:00Z").await, Ok(()));
    let (_, text) = ask("q5", "2031-01-31T23:59:59Z").await.unwrap_err();
    assert!(text.contains("3 queries per month") && text.ends_with("the next month begins at 2031-02-01"), "{text}");
    assert_eq!(ask("q6", "2031-02-01").await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn obligations_are_on_record_and_that_nothing_is_left_too() {
    let clauses = format!("{PLAIN}, OBLIGE RETENTION INTERVAL '0' HOUR AT surf, OBLIGE AUDIT");
    let federation = Federation::start([ROWS, ROWS], &clauses).await;
    let graph = average_by_grade(&federation, "q1", 1);
    federation.submit(&graph).await;
    let permit = federation.records("surf").remove(0);
    let obliged = ["uva", "vu"].map(|steward| {
        let of = |clause: u32| format!("{steward}: agreement `a` epoch 1, clause {clause}");
        [format!("{}: OBLIGE RETENTION INTERVAL '0' HOUR AT surf", of(2)), format!("{}: OBLIGE AUDIT", of(3))]
    });
    assert_eq!(permit["obligations"], serde_json::json!(obliged.concat()));
    // The stewards are told to record it, and not to forget it.
    assert_eq!(federation.records("uva")[0]["obligations"], serde_json::json!([obliged[0][1], obliged[1][1]]));
    let spilled = federation.folder.path().join("surf.state/spill");
    let folders = || std::fs::read_dir(&spilled).unwrap().count();
    assert_eq!((events(&federation.records("surf")), folders()), (vec![("permit", "q1")], 1));
    federation.rows(&graph).await.unwrap();
    let recorded = async {
        while federation.records("surf").len() < 2 {
            federation.executor("surf").place().record_erased();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), recorded).await.unwrap();
    assert_eq!((events(&federation.records("surf")), folders()), (vec![("permit", "q1"), ("erased", "q1")], 0));
    assert_eq!(events(&federation.records("uva")), [("permit", "q1"), ("given", "q1")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_query_when_nothing_is_left_of_any_attempt() {
    let clauses = format!("{PLAIN}, OBLIGE RETENTION INTERVAL '0' HOUR");
    let federation = Federation::start([ROWS, ROWS], &clauses).await;
    let surf = federation.executor("surf");
    for attempt in 0..2 {
        let graph = FragmentGraph { attempt, ..average_by_grade(&federation, "q1", 1) };
        assert_eq!(submit(surf, federation.permit(&graph)).await, Ok(()), "{attempt}");
    }
    // The second attempt has taken the place of the first one, of which nothing is left.
    surf.place().record_erased();
    assert_eq!(events(&federation.records("surf")), [("permit", "q1"), ("permit", "q1")]);
    surf.cancel(&v1::CancelRequest { query_id: "q1".into(), not_begun: false, attempt: 1 }).await;
    let recorded = async {
        while federation.records("surf").len() < 3 {
            surf.place().record_erased();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), recorded).await.unwrap();
    surf.place().record_erased();
    assert_eq!(events(&federation.records("surf")), [("permit", "q1"), ("permit", "q1"), ("erased", "q1")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stopped_place_held_is_gone_when_it_begins_again() {
    let clauses = format!("{PLAIN}, OBLIGE RETENTION INTERVAL '0' HOUR");
    let mut federation = Federation::start([ROWS, ROWS], &clauses).await;
    assert_eq!(submit(federation.executor("uva"), ask(&federation, "q1")).await, Ok(()));
    assert_eq!(events(&federation.records("uva")), [("permit", "q1")]);
    let left = federation.folder.path().join("uva.state/spill/left");
    std::fs::write(&left, "rows").unwrap();
    drop(restarted(&mut federation, &clauses).await);
    assert!(!left.exists());
    assert_eq!(events(&federation.records("uva")), [("permit", "q1"), ("erased", "q1")]);
    // Once is enough.
    drop(restarted(&mut federation, &clauses).await);
    assert_eq!(federation.records("uva").len(), 2);
}
