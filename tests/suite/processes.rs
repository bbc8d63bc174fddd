//! Faults of real processes: one that is killed in the middle of a query, a client that leaves, a stop while queries run, a
//! start that cannot succeed.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, CancelFlightInfoRequest, FlightInfo, decode::FlightRecordBatchStream};
use dynamos_cli::demo::rows;
use dynamos_cli::federation::{Client, Layout, query};
use dynamos_coordinator::registry::SILENCE_MAX;
use dynamos_proto::status::{Code, ServiceError};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::archive::{ARCHIVES, EVERYTHING, LINES, READER, SUMS, archive, sums};
use crate::budgets::{one, three_a_year};
use crate::federation::told;
use crate::roles::{Ended, Roles, program, until};

/// A client knows of a lost site within this time.
const ERROR_MAX: Duration = Duration::from_secs(5);
/// What nobody waits for any more is gone within this time.
const FREE_MAX: Duration = Duration::from_secs(1);
/// A site that was started again is known again within this time.
const BACK_MAX: Duration = Duration::from_secs(60);

/// An answer of which the first batch was read.
struct Begun {
    info: FlightInfo,
    rows: FlightRecordBatchStream,
    first: usize,
    query: String,
}

impl Begun {
    /// Asks for all rows. More is left of them than fits on the way, so all sites are in the middle of the query.
    async fn new(roles: &Roles, client: &mut Client) -> Self {
        let before = roles.permitted().len();
        let info = client.execute(EVERYTHING.to_owned(), None).await.unwrap();
        let mut rows = redeem(client, &info).await.unwrap();
        let first = rows.next().await.unwrap().unwrap().num_rows();
        let query = roles.permitted()[before].clone();
        for place in ARCHIVES.into_iter().chain(["coordinator"]) {
            assert!(roles.fragments_ended(place, &query).is_empty(), "`{place}` is already done");
        }
        Self { info, rows, first, query }
    }

    /// Reads on; gives the number of all rows if they came to an end.
    async fn rest(&mut self) -> Result<usize, ServiceError> {
        let mut count = self.first;
        while let Some(batch) = self.rows.next().await {
            count += batch.map_err(|error| told(&error.into()))?.num_rows();
        }
        Ok(count)
    }
}

async fn redeem(
    client: &mut FlightSqlServiceClient<Channel>,
    info: &FlightInfo,
) -> Result<FlightRecordBatchStream, ServiceError> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    client.do_get(ticket).await.map_err(|error| told(&error.into()))
}

/// Asks until every site is back; the answer must be right, and an error may only be that of a site that is away.
async fn answered_again(client: &mut Client) {
    let began = Instant::now();
    loop {
        match query(client, SUMS).await {
            Ok(batches) => return assert_eq!(rows(&batches).unwrap(), sums()),
            Err(error) => assert_eq!(told(&error).code, Code::SiteUnavailable, "{error:#}"),
        }
        assert!(began.elapsed() < BACK_MAX, "the site does not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn assert_names_the_lost(error: &ServiceError, site: &str) {
    assert_eq!(error.code, Code::SiteUnavailable, "{error}");
    assert!(error.message.contains(&format!("`{site}`")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_killed_while_its_rows_come_is_named_and_answers_when_it_is_back() {
    let mut roles = Roles::start(archive).await;
    let mut client = roles.client(READER, SUMS).await;
    let mut begun = Begun::new(&roles, &mut client).await;
    let killed = Instant::now();
    roles.signal("utrecht", "KILL");
    let rest = tokio::time::timeout(ERROR_MAX, begun.rest()).await.expect("the client is told in time");
    println!("told {:?} after the kill", killed.elapsed());
    assert_names_the_lost(&rest.expect_err("a part of the rows was given for the whole"), "utrecht");
    assert!(!roles.ended("utrecht").await.success());
    roles.run("utrecht");
    answered_again(&mut client).await;
    roles.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_killed_before_it_took_its_part_is_named_and_answers_when_it_is_back() {
    let mut roles = Roles::start(archive).await;
    let mut client = roles.client(READER, SUMS).await;
    assert_eq!(rows(&query(&mut client, SUMS).await.unwrap()).unwrap(), sums());
    let info = client.execute(SUMS.to_owned(), None).await.unwrap();
    let before = roles.permitted().len();
    // It holds its connections but does nothing more: the query is permitted, sent, and waits.
    roles.signal("leiden", "STOP");
    let mut asking = JoinSet::new();
    let mut other = client.clone();
    asking.spawn(async move {
        let rows = redeem(&mut other, &info).await?;
        rows.try_collect::<Vec<_>>().await.map_err(|error| told(&error.into()))
    });
    until("a permitted query", ERROR_MAX, || (roles.permitted().len() > before).then_some(())).await;
    let killed = Instant::now();
    roles.signal("leiden", "KILL");
    let answer = tokio::time::timeout(ERROR_MAX, asking.join_next()).await.expect("the client is told in time");
    println!("told {:?} after the kill", killed.elapsed());
    let answer = answer.unwrap().unwrap();
    assert_names_the_lost(&answer.expect_err("a lost site gave an answer"), "leiden");
    assert!(!roles.ended("leiden").await.success());
    roles.run("leiden");
    answered_again(&mut client).await;
    roles.stop().await;
}

/// The third of three queries is running when the site is killed; the answer to a fourth would be one too many.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_killed_while_it_spends_the_last_of_a_budget_has_spent_it() {
    let mut roles = Roles::start(three_a_year).await;
    let mut client = roles.client(READER, SUMS).await;
    for _ in 0..2 {
        query(&mut client, &one("leiden")).await.unwrap();
    }
    let lines = EVERYTHING.to_owned() + " WHERE steward = 'leiden'";
    let info = client.execute(lines, None).await.unwrap();
    let mut running = redeem(&mut client, &info).await.unwrap();
    running.next().await.unwrap().unwrap();
    roles.signal("leiden", "KILL");
    assert!(!roles.ended("leiden").await.success());
    drop(running);
    roles.run("leiden");
    let began = Instant::now();
    loop {
        let error = told(&query(&mut client, &one("leiden")).await.expect_err("the budget was overspent"));
        if error.code == Code::BudgetSpent {
            assert!(error.message.contains("of which 3 are spent"), "{error}");
            break;
        }
        assert_eq!(error.code, Code::SiteUnavailable, "{error}");
        assert!(began.elapsed() < BACK_MAX, "the site does not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    roles.stop().await;
}

/// How a client may leave a query.
#[derive(Clone, Copy, Debug)]
enum Leave {
    DropStream,
    Disconnect,
    Cancel,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_every_place() {
    let roles = Roles::start(archive).await;
    for leave in [Leave::DropStream, Leave::Disconnect, Leave::Cancel] {
        let mut client = roles.client(READER, SUMS).await;
        let mut begun = Begun::new(&roles, &mut client).await;
        let query = begun.query.clone();
        let left = Instant::now();
        match leave {
            Leave::DropStream => drop(begun),
            Leave::Disconnect => drop((begun, client)),
            Leave::Cancel => {
                cancel(&mut client, begun.info.clone()).await;
                let error = begun.rest().await.expect_err("a part of the rows was given for the whole");
                assert_eq!(error.code, Code::Cancelled, "{error}");
            }
        }
        let places = || ARCHIVES.into_iter().chain(["coordinator"]);
        let freed = || places().all(|place| !roles.fragments_ended(place, &query).is_empty());
        until("an end of every fragment", FREE_MAX, || freed().then_some(())).await;
        let freed = left.elapsed();
        println!("{leave:?}: free after {freed:?}");
        assert!(freed <= FREE_MAX, "{leave:?}: {freed:?}");
        for place in places() {
            // A place hears of the cancellation, or finds its reader gone; it never gave all its rows.
            let ended = roles.fragments_ended(place, &query);
            let cut =
                |one: &Ended| one.given == "Part" && (one.code.is_empty() || one.code == Code::Cancelled.as_str());
            assert!(ended.iter().all(cut), "{leave:?} at {place}: {ended:?}");
        }
    }
    let mut client = roles.client(READER, SUMS).await;
    assert_eq!(rows(&query(&mut client, SUMS).await.unwrap()).unwrap(), sums());
    roles.stop().await;
}

async fn cancel(client: &mut Client, info: FlightInfo) {
    let body = CancelFlightInfoRequest { info: Some(info) }.encode_to_vec();
    let action = Action { r#type: "CancelFlightInfo".to_owned(), body: body.into() };
    let results = client.do_action(action).await.unwrap();
    assert_eq!(results.try_collect::<Vec<_>>().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_told_to_stop_lets_a_running_query_end() {
    let mut roles = Roles::start(archive).await;
    let mut client = roles.client(READER, SUMS).await;
    for name in ["utrecht", "coordinator"] {
        let mut begun = Begun::new(&roles, &mut client).await;
        let asked = Instant::now();
        roles.signal(name, "TERM");
        let rest = begun.rest().await;
        println!("{name}: {rest:?} after {:?}", asked.elapsed());
        match rest {
            Ok(count) => assert_eq!(count, 2 * LINES, "a part of the rows was given for the whole"),
            // A site that stops is no longer heard. Only a machine that is too busy to send the rest before the
            // coordinator takes it for down gives an error.
            Err(error) => {
                assert_names_the_lost(&error, name);
                assert!(asked.elapsed() >= SILENCE_MAX, "{name} cut off the rows: {error}");
            }
        }
        drop(begun);
        let status = roles.ended(name).await;
        println!("{name}: ended after {:?}", asked.elapsed());
        assert!(status.success(), "`{name}` ended with {status}");
        roles.run(name);
        client = roles.client(READER, SUMS).await;
        answered_again(&mut client).await;
    }
    roles.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_told_to_stop_does_not_wait_for_a_client_that_does_not_read() {
    let mut roles = Roles::start(archive).await;
    let mut client = roles.client(READER, SUMS).await;
    let mut begun = Begun::new(&roles, &mut client).await;
    let asked = Instant::now();
    for name in ["utrecht", "coordinator"] {
        roles.signal(name, "TERM");
    }
    for name in ["utrecht", "coordinator"] {
        let status = roles.ended(name).await;
        println!("{name}: ended after {:?}", asked.elapsed());
        assert!(status.success(), "`{name}` ended with {status}");
        roles.run(name);
    }
    begun.rest().await.expect_err("a part of the rows was given for the whole");
    drop(begun);
    answered_again(&mut roles.client(READER, SUMS).await).await;
    roles.stop().await;
}

#[test]
fn a_start_that_cannot_succeed_says_why_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::write(folder.path(), &archive(folder.path()), 0).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (role, config) in [("coordinator", layout.coordinator_config()), ("site", layout.site_config("leiden"))] {
        let text = fs::read_to_string(&config).unwrap();
        let listen = text.lines().find(|line| line.starts_with("listen = ")).unwrap();
        let other = config.with_file_name("other.toml");

        assert_told(role, &config.with_file_name("missing.toml"), &["missing.toml", "No such file"]);
        fs::write(&other, text.replace(listen, &format!("{listen}\ncolour = \"red\""))).unwrap();
        assert_told(role, &other, &["other.toml", "line ", "`colour`", "`listen`"]);
        fs::write(&other, text.replace(listen, &format!("listen = \"{address}\""))).unwrap();
        assert_told(role, &other, &[&address, "in use"]);
    }
}

/// The role ends at once with an error of one line that holds these parts.
fn assert_told(role: &str, config: &Path, parts: &[&str]) {
    let mut command = Command::new(program());
    let Output { status, stdout, stderr } =
        command.arg(role).arg("--config").arg(config).env("DYNAMOS_LOG", "error").output().unwrap();
    let told = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && stdout.is_empty(), "{role}: {status}: {told}");
    assert_eq!(told.lines().count(), 1, "{role}: {told}");
    assert!(told.starts_with("error: ") && parts.iter().all(|part| told.contains(part)), "{role}: {told}");
}
