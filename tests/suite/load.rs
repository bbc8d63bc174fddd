//! Many clients at once over real processes: every answer is right, and memory is bounded. It runs for ten seconds, and for a
//! minute where `DYNAMOS_LONG` is set.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamos_cli::demo::{Question, Truth, compare, questions, rows, scene};
use dynamos_cli::federation::{Client, query, ready};
use tokio::task::JoinSet;

use crate::roles::Roles;

const CLIENTS: usize = 64;
const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);

/// No process of the demo needs more, KiB: 16 queries run at one time over tables of a few MiB, so together they must not
/// take what one alone is allowed by default.
const PEAK_KIB_MAX: u64 = 512 << 10;
/// After a quarter of the time 16 queries have been running side by side, and what is kept between queries is there but for
/// the records of ended ones, a few KiB each and at most about a thousand. The allowance holds those and a worse moment of
/// the same 16; something that grows with every answer would be four times what it was.
const GROWTH_KIB_MAX: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_get_right_answers_in_bounded_memory() {
    let roles = Roles::start(|root| scene(root, None).unwrap()).await;
    let truth = Truth::open(&roles.layout).await.unwrap();
    let mut asked = Vec::new();
    for question in questions() {
        asked.push((question, Arc::new(truth.answer(question.truth).await.unwrap())));
    }
    let mut clients = Vec::new();
    for (question, truth) in asked.iter().cycle().take(CLIENTS) {
        let user = roles.layout.user(question.user).unwrap();
        let client = ready(&roles.layout, user, question.placement, question.sql).await.unwrap();
        clients.push((client, *question, Arc::clone(truth)));
    }
    let time = if std::env::var_os("DYNAMOS_LONG").is_some() { LONG } else { SHORT };
    let (began, mut asking) = (Instant::now(), JoinSet::new());
    for (client, question, truth) in clients {
        asking.spawn(ask(client, question, truth, began + time));
    }
    tokio::time::sleep(time / 4).await;
    let early = peaks(&roles);
    let mut answers = 0;
    while let Some(one) = asking.join_next().await {
        let one = one.unwrap();
        assert!(one > 0, "a client got no answer");
        answers += one;
    }
    let late = peaks(&roles);
    println!("{answers} answers to {CLIENTS} clients in {:.1} s", began.elapsed().as_secs_f64());
    for (name, peak) in &late {
        println!("{name}: peak {} MiB after a quarter of the time, {} MiB at its end", early[name] >> 10, peak >> 10);
        assert!(*peak <= PEAK_KIB_MAX, "`{name}` took {peak} KiB");
        assert!(*peak <= early[name] + GROWTH_KIB_MAX, "`{name}` grew from {} to {peak} KiB", early[name]);
    }
    roles.stop().await;
}

/// Asks one question until the time is over; gives how often it was answered.
async fn ask(mut client: Client, question: Question, truth: Arc<Vec<Vec<String>>>, end: Instant) -> usize {
    let mut answers = 0;
    while Instant::now() < end {
        let answer =
            query(&mut client, question.sql).await.unwrap_or_else(|error| panic!("{}: {error:#}", question.title));
        compare(&rows(&answer).unwrap(), &truth).unwrap();
        answers += 1;
    }
    answers
}

/// The most memory that each process has had so far, KiB.
fn peaks(roles: &Roles) -> BTreeMap<String, u64> {
    let peak = |name: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", roles.process(name))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let names = roles.layout.sites.iter().map(String::as_str).chain(["coordinator"]);
    names.map(|name| (name.to_owned(), peak(name))).collect()
}
