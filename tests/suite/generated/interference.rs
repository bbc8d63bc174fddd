//! Non-interference: a question gets the same answer, the same verdict, the same error and the same reported sizes from two
//! federations that differ only in what the agreements hide from whoever asks. And what goes from place to place on the way is
//! the same: no row and no value that is hidden, nor anything that was made of one, leaves its steward.

use std::collections::BTreeMap;
use std::fmt;

use dynamos_cli::demo::rows;
use dynamos_cli::federation::query;

use super::grammar;
use super::hidden::{Side, design};
use super::run::{Placed, connect};
use crate::federation::{TestFederation, told};
use crate::recording::Recorder;

/// Cases unless `DYNAMOS_CASES` says otherwise; each is a generated query under one placement, or one by hand under each.
const CASES: usize = 600;
/// The column of SHOW EDGES that is NULL where a place has not reported.
const REPORTED: usize = 4;
/// So many failures are shown.
const SHOWN_MAX: usize = 5;

/// Questions whose outcome would tell of hidden rows or masked values if anything of them ran on raw data.
const BY_HAND: &[&str] = &[
    "SELECT rid FROM gen.orders WHERE 100 / (qty - 20) > 1",
    "SELECT 100 / (qty - 20) FROM gen.orders",
    "SELECT rid FROM gen.visits WHERE days + 9223372036854775800 > 0",
    "SELECT sum(days) FROM gen.visits",
    "SELECT CAST(kind AS BIGINT) FROM gen.orders",
    "SELECT rid FROM gen.orders WHERE CAST(kind AS BIGINT) = 1",
    "SELECT rid FROM gen.orders WHERE kind LIKE '%lice'",
    "SELECT count(*) FROM gen.orders WHERE price > 0",
    "SELECT count(*), min(rid), max(rid) FROM gen.orders",
    "SELECT count(DISTINCT pid) FROM gen.visits",
    "SELECT name, count(*) FROM gen.customers GROUP BY name",
    "SELECT v.rid FROM gen.visits v JOIN gen.people p ON v.pid = p.pid WHERE v.days > 5000",
    "SELECT rid FROM gen.visits ORDER BY days DESC, rid LIMIT 3",
    "SELECT rid, rank() OVER (ORDER BY days) FROM gen.visits",
    "SELECT rid FROM gen.people WHERE pid NOT IN (SELECT pid FROM gen.visits WHERE days = 5)",
    "SELECT rid FROM gen.orders WHERE rid >= 500000",
    "SELECT num FROM gen.tags WHERE num >= 90 OR 1 / (num - 95) = 7",
    "SELECT 1 FROM gen.rates WHERE 1 / (CAST(rate AS BIGINT) - 6000) > 5",
    "SELECT word FROM a.gen.nothing WHERE 1 / (num - 90) > 0",
    "SELECT nobody FROM gen.orders",
];

/// All that can be seen of what a question did.
struct Seen {
    /// The rows, or the error.
    outcome: String,
    /// The reported sizes, by edge.
    edges: Vec<Vec<String>>,
    /// The rows that went from one place to another, in order.
    sent: BTreeMap<(String, String), Vec<Vec<String>>>,
    /// Whether every stream of rows came to its end.
    ended: bool,
}

impl Seen {
    async fn of(sql: &str, way: &mut Placed, recorder: &Recorder) -> Self {
        drop(recorder.take());
        let outcome = match query(&mut way.client, sql).await {
            Ok(batches) => {
                let mut answer = rows(&batches).unwrap();
                // Rows of several places come in any order, and the one that was asked for is another test's matter.
                answer.sort();
                let lines: Vec<String> = answer.iter().map(|row| row.join("|")).collect();
                format!("{} rows\n{}", answer.len(), lines.join("\n"))
            }
            Err(error) => {
                let told = told(&error);
                // Of several places that fail on rows in view, the fastest is named.
                let message = told.message.split(" at site `").next().unwrap_or_default();
                let outcome = format!("{}: {message}", told.code);
                return Self { outcome, edges: Vec::new(), sent: BTreeMap::new(), ended: false };
            }
        };
        let mut sent: BTreeMap<(String, String), Vec<Vec<String>>> = BTreeMap::new();
        let streams = recorder.take();
        let ended = streams.iter().all(|stream| stream.ended);
        for stream in streams {
            sent.entry((stream.from, stream.to)).or_default().extend(rows(&stream.batches).unwrap());
        }
        sent.values_mut().for_each(|rows| rows.sort());
        let edges = query(&mut way.client, "SHOW EDGES FOR LAST QUERY").await.unwrap();
        Self { outcome, edges: rows(&edges).unwrap(), sent, ended }
    }

    /// Whether all that was to be sent was: no reader had enough before the end.
    fn is_whole(&self) -> bool {
        self.ended && !self.edges.is_empty() && self.edges.iter().all(|edge| edge[REPORTED] != "NULL")
    }

    /// Whether nothing tells the two apart. Whether a fragment whose reader needs no more rows has reported by then is a
    /// matter of time, and NULL.
    fn is_like(&self, other: &Self) -> bool {
        let alike = |one: &Vec<String>, other: &Vec<String>| {
            one.iter().zip(other).all(|(one, other)| one == other || one == "NULL" || other == "NULL")
        };
        let edges = self.edges.len() == other.edges.len();
        let sent = !(self.is_whole() && other.is_whole()) || self.sent == other.sent;
        self.outcome == other.outcome
            && edges
            && sent
            && self.edges.iter().zip(&other.edges).all(|(one, two)| alike(one, two))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.outcome)?;
        self.edges.iter().try_for_each(|edge| writeln!(out, "edge {}", edge.join("|")))?;
        self.sent.iter().try_for_each(|((from, to), rows)| writeln!(out, "{from} to {to}: {rows:?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_tells_of_what_the_agreements_hide() {
    let cases = std::env::var("DYNAMOS_CASES").map_or(CASES, |text| text.parse().unwrap());
    let (one, recorder) = TestFederation::recorded(design(Side::One)).await;
    let (other, other_recorder) = TestFederation::recorded(design(Side::Other)).await;
    let (mut here, mut there) = (connect(&one).await, connect(&other).await);
    let (mut apart, mut answered, mut whole, mut streams) = (Vec::new(), 0, 0, 0);
    // One after the other, as a user's last query is asked for.
    for case in 0..cases {
        let (number, way) = (case / here.len(), case % here.len());
        let generated = || grammar::query(case as u64).federated();
        let sql = BY_HAND.get(number).map_or_else(generated, |sql| (*sql).to_owned());
        let (first, second) =
            tokio::join!(Seen::of(&sql, &mut here[way], &recorder), Seen::of(&sql, &mut there[way], &other_recorder));
        answered += usize::from(first.outcome.contains(" rows\n"));
        if first.is_whole() && second.is_whole() {
            whole += 1;
            streams += first.sent.len();
        }
        if !first.is_like(&second) {
            apart.push(format!("case {case} under {}: {sql}\n{first}──\n{second}", here[way].placement));
        }
    }
    one.stop().await;
    other.stop().await;
    println!("{cases} cases, {answered} answered; of {whole} all was sent that was to be, over {streams} ways");
    let shown = apart.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
    assert!(apart.is_empty(), "{} cases tell the two apart\n{shown}", apart.len());
    assert!(answered * 10 > cases * 7, "too few are answered: {answered} of {cases}");
    assert!(whole * 2 > cases && streams > whole, "too little was looked at: {streams} ways of {whole} questions");
}
