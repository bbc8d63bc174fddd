//! Agreements that change while queries run, over real processes: what is revoked stops to the last byte, what ends stops at
//! its instant, and data of a steward that is silent do not stay where they were sent.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dynamos_cli::federation::{Client, Design, Layout, Person, connect, query, ready};
use dynamos_planner::policy::UtcMillis;
use dynamos_proto::status::{Code, ServiceError};
use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::archive::{EVERYTHING, READER, archive};
use crate::federation::{TestFederation, answer, told};
use crate::roles::{Line, Roles, until};

const STEWARD: &str = "keeper@leiden.nl";
/// Queries that run when the agreement is revoked.
const QUERIES: usize = 32;
/// How often all of it is done.
const ROUNDS: usize = 3;
/// From REVOKE to the last byte at the requester, for 99 of 100 queries.
const LAST_BYTE_MAX: Duration = Duration::from_secs(1);
/// A lease, and what a busy machine may add.
const DROPPED_MAX: Duration = Duration::from_millis(500 + 500);
/// Everything else takes no longer than this.
const LONG: Duration = Duration::from_secs(60);

const REVOKE: &str = "REVOKE AGREEMENT open_lines ON SITE leiden";

/// The archives, whose rows may also go to the provider, with somebody who decides for one of them.
fn kept_archive(root: &Path) -> Design {
    let mut design = archive(root);
    for steward in &mut design.stewards {
        steward.agreements = vec![agreement("CREATE", &steward.name, "")];
    }
    design.people.push(Person {
        user: STEWARD.into(),
        organisation: "leiden".into(),
        role: "steward".into(),
        purpose: "statistics".into(),
    });
    design
}

fn agreement(verb: &str, steward: &str, valid: &str) -> String {
    format!(
        "{verb} AGREEMENT open_lines ON SITE {steward} FOR ROLE reader PURPOSE statistics {valid} AS (
           RELEASE ROWS (*) FROM archive.lines,
           SHIP ROWS (*) FROM archive.lines TO surf)"
    )
}

async fn start() -> Roles {
    Roles::start_edited(kept_archive, |layout| {
        let config = layout.coordinator_config();
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}\n[limits]\nconcurrent_queries = {QUERIES}\n")).unwrap();
    })
    .await
}

/// A connection of somebody who decides for `leiden`.
async fn steward(roles: &Roles) -> Client {
    connect(&roles.layout, roles.layout.user(STEWARD).unwrap()).await.unwrap()
}

/// Rows as a requester saw them come.
struct Seen {
    /// When the last of them came.
    last: Instant,
    /// How they ended.
    error: ServiceError,
    ended: Instant,
}

/// Asks, says so once the first rows are there, and from `go` on reads to the end, which must be an error.
async fn read(mut client: Client, sql: String, begun: mpsc::Sender<()>, mut go: watch::Receiver<bool>) -> Seen {
    let info = client.execute(sql, None).await.unwrap();
    let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    rows.next().await.unwrap().unwrap();
    begun.send(()).await.unwrap();
    go.wait_for(|go| *go).await.unwrap();
    let mut last = Instant::now();
    loop {
        match rows.next().await.expect("the rows came to their end") {
            Ok(_) => last = Instant::now(),
            Err(error) => return Seen { last, error: told(&error.into()), ended: Instant::now() },
        }
    }
}

/// Milliseconds since 1970, as logs have it.
fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// When a line was written, microseconds since 1970.
fn at_us(line: &Line) -> i64 {
    let (seconds, rest) = line.at.split_once('.').unwrap();
    UtcMillis::parse(&format!("{seconds}Z")).unwrap().0 * 1_000 + rest.trim_end_matches('Z').parse::<i64>().unwrap()
}

/// When the last batch of a stream went on that a line says has stopped.
fn last_batch_us(line: &Line) -> i64 {
    at_us(line) - line.fields["last_us_ago"].as_i64().expect("it gave rows")
}

fn of<'a>(lines: &'a [Line], message: &str) -> impl Iterator<Item = &'a Line> {
    lines.iter().filter(move |line| line.fields["message"] == message)
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_revoke_stops_32_running_queries_to_the_last_byte() {
    let roles = start().await;
    let lines = format!("{EVERYTHING} WHERE steward = 'leiden'");
    let mut readers = Vec::new();
    for _ in 0..QUERIES {
        readers.push(roles.client(READER, &lines).await);
    }
    let mut steward = steward(&roles).await;
    let mut until_last = Vec::new();
    for _ in 0..ROUNDS {
        until_last.extend(revoke_while_all_run(&roles, &readers, &lines, &mut steward).await);
    }
    until_last.sort_unstable();
    let (half, p99) = (until_last[until_last.len() / 2], until_last[until_last.len() * 99 / 100]);
    println!("{} queries: from REVOKE to the last byte p50 {half:?}, p99 {p99:?}", until_last.len());
    assert!(p99 < LAST_BYTE_MAX, "{p99:?}");
    roles.stop().await;
}

/// Revokes the agreement while every reader is in the middle of these lines, and puts it in force again; gives how long after
/// the order the last rows came to each. No place gives rows after the revocation was acknowledged.
async fn revoke_while_all_run(roles: &Roles, readers: &[Client], lines: &str, steward: &mut Client) -> Vec<Duration> {
    let (begun, mut all_begun) = mpsc::channel(QUERIES);
    let mut reading = JoinSet::new();
    let go = watch::Sender::new(false);
    for client in readers {
        reading.spawn(read(client.clone(), lines.to_owned(), begun.clone(), go.subscribe()));
    }
    for _ in 0..QUERIES {
        tokio::time::timeout(LONG, all_begun.recv()).await.expect("all queries run in time").unwrap();
    }
    let before = roles.lines("leiden").len();
    go.send_replace(true);
    let asked = Instant::now();
    query(steward, REVOKE).await.unwrap();
    println!("REVOKE acknowledged after {:?}", asked.elapsed());
    let mut until_last = Vec::new();
    for seen in tokio::time::timeout(LONG, reading.join_all()).await.expect("all queries end in time") {
        assert_eq!(seen.error.code, Code::StaleBasis, "{}", seen.error);
        assert!(seen.error.message.contains("`open_lines` of `leiden` was revoked"), "{}", seen.error);
        until_last.push(seen.last.saturating_duration_since(asked));
    }
    let leiden = roles.lines("leiden").split_off(before);
    let acknowledged = of(&leiden, "change acknowledged").next().expect("it is acknowledged");
    assert_eq!(acknowledged.fields["queries"], QUERIES);
    // What the steward's and the coordinator's logs say of the last batch that went on.
    for place in ["leiden", "coordinator"] {
        let last = until("an end of all rows", LONG, || {
            let log = roles.lines(place);
            let ended = of(&log, "rows stopped").filter(|line| line.at >= leiden[0].at);
            let last: Vec<i64> = ended.map(last_batch_us).collect();
            (last.len() == QUERIES).then_some(last)
        })
        .await;
        let late = last.into_iter().filter(|at| *at > at_us(acknowledged)).count();
        assert_eq!(late, 0, "{place} gave rows after the revocation was acknowledged");
    }
    query(steward, &agreement("CREATE", "leiden", "")).await.unwrap();
    until_last
}

/// A question that takes minutes over all lines, and no time over ten.
const PAIRS: &str =
    "SELECT count(*) FROM leiden.archive.lines a, leiden.archive.lines b WHERE a.number + b.number >= 0";

/// The agreement of `leiden` with a budget, and `more`.
fn budgeted(verb: &str, more: &str) -> String {
    agreement(verb, "leiden", "").replace("TO surf)", &format!("TO surf, BUDGET 90 QUERIES PER YEAR{more})"))
}

fn budgeted_archive(root: &Path) -> Design {
    let mut design = kept_archive(root);
    design.stewards[0].agreements = vec![budgeted("CREATE", "")];
    design
}

fn ledger(layout: &Layout) -> String {
    fs::read_to_string(layout.root.join("leiden/state/ledger.log")).unwrap()
}

/// Of each attempt that a ledger permits after so many lines: its query, its number and how many release points were charged.
fn charges(ledger: &str, after: usize) -> Vec<(String, u64, u64)> {
    // A line that is being written is no record yet.
    let lines = ledger.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).skip(after);
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["record"].take());
    let permits = lines.filter(|record| record["event"] == "permit");
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let charged = |record: serde_json::Value| {
        let query = record["query_id"].as_str().unwrap().to_owned();
        (query, number(&record["attempt"]), number(&record["charge"]["points"]))
    };
    permits.map(charged).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_query_that_has_released_nothing_is_answered_under_the_new_version_and_charged_once() {
    let federation = TestFederation::design(budgeted_archive).await;
    let mut client = federation.client(READER, "auto", PAIRS).await;
    let mut steward = federation.plain_client(STEWARD, "statistics").await;
    let ledger = || ledger(&federation.layout);
    let before = ledger().lines().count();
    let mut asking = JoinSet::new();
    asking.spawn(async move { answer(&mut client, PAIRS).await });
    until("a query that is admitted", LONG, || (ledger().lines().count() > before).then_some(())).await;
    query(&mut steward, &budgeted("ALTER", ", ROWS ON lines WHERE number < 10")).await.unwrap();
    let answer = tokio::time::timeout(LONG, asking.join_next()).await.expect("it is planned again").unwrap().unwrap();
    assert_eq!(answer, [["100"]]);
    let charges = charges(&ledger(), before);
    let (id, points) = (&charges[0].0, charges[0].2);
    assert!(points > 0, "{charges:?}");
    assert_eq!(charges, [(id.clone(), 0, points), (id.clone(), 1, 0)]);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_query_whose_steward_stood_still_for_a_moment_is_answered_and_charged_once() {
    let roles = Roles::start(budgeted_archive).await;
    let mut client = roles.client(READER, PAIRS).await;
    let mut steward = steward(&roles).await;
    let ledger = || ledger(&roles.layout);
    let (asked_before, before) = (roles.permitted().len(), ledger().lines().count());
    let mut asking = JoinSet::new();
    asking.spawn(async move { answer(&mut client, PAIRS).await });
    let id = until("a permitted query", LONG, || roles.permitted().get(asked_before).cloned()).await;
    until("a query that is admitted", LONG, || (!charges(&ledger(), before).is_empty()).then_some(())).await;
    // The coordinator may not have its lease yet the first time.
    let lost = || !roles.fragments_ended("coordinator", &id).is_empty();
    while !lost() {
        roles.signal("leiden", "STOP");
        let ended = until("an end of the first attempt", LONG, || lost().then_some(()));
        drop(tokio::time::timeout(DROPPED_MAX, ended).await);
        roles.signal("leiden", "CONT");
    }
    until("another attempt", LONG, || (charges(&ledger(), before).len() > 1).then_some(())).await;
    query(&mut steward, &budgeted("ALTER", ", ROWS ON lines WHERE number < 10")).await.unwrap();
    let answer = tokio::time::timeout(LONG, asking.join_next()).await.expect("it is planned again").unwrap().unwrap();
    assert_eq!(answer, [["100"]]);
    let charges = charges(&ledger(), before);
    let points = charges[0].2;
    assert!(points > 0, "{charges:?}");
    assert_eq!(charges, [(id.clone(), 0, points), (id.clone(), 1, 0), (id, 2, 0)]);
    roles.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_the_end_of_an_agreement_stops_its_rows_at_that_instant() {
    let roles = start().await;
    let lines = format!("{EVERYTHING} WHERE steward = 'leiden'");
    let client = roles.client(READER, &lines).await;
    let mut steward = steward(&roles).await;
    let end = UtcMillis(now_ms() + 8_000);
    query(&mut steward, &agreement("ALTER", "leiden", &format!("VALID UNTIL '{end}'"))).await.unwrap();
    let (begun, mut first) = mpsc::channel(1);
    let mut reading = JoinSet::new();
    // Far more than can be read before the end.
    let repeated = format!("SELECT a.line FROM ({lines}) a, ({lines}) b");
    let go = watch::Sender::new(true);
    reading.spawn(read(client, repeated, begun, go.subscribe()));
    tokio::time::timeout(LONG, first.recv()).await.unwrap().unwrap();
    assert!(now_ms() < end.0, "the first rows came too late for this test");
    let seen = tokio::time::timeout(LONG, reading.join_next()).await.unwrap().unwrap().unwrap();
    let late_ms = now_ms() - end.0;
    println!("told {late_ms} ms after the end, last rows {:?} before", seen.ended - seen.last);
    assert_eq!(seen.error.code, Code::StaleBasis, "{}", seen.error);
    assert!(seen.error.message.contains("`open_lines` of `leiden` came to its end"), "{}", seen.error);
    // A holder counts from before it asked, so it may be early by the way to the steward.
    assert!((-100..1_000).contains(&late_ms), "{late_ms} ms");
    roles.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_provider_drops_the_rows_of_a_steward_that_is_stopped() {
    let mut roles = start().await;
    // `surf` joins, and so has rows of both.
    let joined =
        "SELECT a.number, a.line FROM leiden.archive.lines a JOIN utrecht.archive.lines b ON a.number = b.number";
    let reader = roles.layout.user(READER).unwrap().clone();
    let mut client = ready(&roles.layout, &reader, "data_to_compute", joined).await.unwrap();
    let info = client.execute(joined.to_owned(), None).await.unwrap();
    let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    rows.next().await.unwrap().unwrap();
    let id = roles.permitted().pop().unwrap();
    assert!(roles.fragments_ended("surf", &id).is_empty(), "`surf` is already done");
    let stopped = Instant::now();
    // Nobody else ends the query: that the data are gone is by `surf` itself, and not for want of them.
    roles.signal("coordinator", "STOP");
    roles.signal("leiden", "STOP");
    let dropped = until("an end of what `surf` does", DROPPED_MAX, || {
        let ended = roles.fragments_ended("surf", &id);
        (!ended.is_empty()).then_some(ended)
    })
    .await;
    println!("`surf` dropped the rows of a stopped steward after {:?}", stopped.elapsed());
    assert!(dropped.iter().all(|one| one.code == Code::SiteUnavailable.as_str()), "{dropped:?}");
    roles.signal("coordinator", "CONT");
    let error = loop {
        if let Err(error) = rows.next().await.expect("the rows came to their end") {
            break told(&error.into());
        }
    };
    assert_eq!((error.code, error.message.contains("`leiden`")), (Code::SiteUnavailable, true), "{error}");
    roles.kill("leiden").await;
    roles.stop().await;
}
