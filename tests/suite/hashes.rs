//! Rows of stewards joined at a provider that may have their keys as hashes only (rule D.3): the answer is the one that the
//! keys give, no key arrives, and what arrives is another thing in each query.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use dynamos_cli::demo::rows;
use dynamos_cli::federation::{Client, Design, query};
use dynamos_proto::status::Code;

use crate::employers::{self, Party};
use crate::federation::{TestFederation, answer, error, told};
use crate::recording::{Recorder, Sent};

const MINIMUM: usize = 5;
/// Nobody has such a key but in a table.
const CANARY: &str = "key.of.";

fn key(person: usize) -> String {
    format!("{CANARY}{person}")
}

/// Who works where for how much.
fn jobs(employer: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..90).filter(move |person| person % 2 == employer).map(|person| (person, 1_000 + 7 * person))
}

/// Who has what; some have it twice, some work nowhere.
fn cases() -> Vec<(usize, &'static str)> {
    let mut cases: Vec<(usize, &'static str)> = (0..40).map(|person| (person, "flu")).collect();
    cases.extend((0..10).map(|person| (person, "flu")));
    cases.extend((30..60).map(|person| (person, "cold")));
    cases.extend((60..64).map(|person| (person, "gout")));
    cases.extend((70..74).map(|person| (person, "rare")));
    cases.extend((80..84).map(|person| (person, "odd")));
    cases.extend((90..120).map(|person| (person, "cold")));
    cases
}

fn design(root: &Path) -> Design {
    let employer = |index: usize, name| {
        let mut rows = "bsn,wage\n".to_owned();
        for (person, wage) in jobs(index) {
            writeln!(rows, "{},{wage}", key(person)).unwrap();
        }
        let clauses = format!(
            "RELEASE sum, avg, count, median OF wage, * FROM work.jobs MINIMUM {MINIMUM} DISTINCT bsn,
             SHIP ROWS (hash(bsn), wage) FROM work.jobs TO surf,
             JOIN ON bsn WITH clinic"
        );
        Party { name, rows, clauses }
    };
    let mut rows = "bsn,illness\n".to_owned();
    for (person, illness) in cases() {
        writeln!(rows, "{},{illness}", key(person)).unwrap();
    }
    let clauses = format!(
        "RELEASE count, count DISTINCT OF *, bsn BY illness FROM care.cases MINIMUM {MINIMUM} DISTINCT bsn,
         SHIP ROWS (hash(bsn), illness) FROM care.cases TO surf,
         JOIN ON bsn WITH north, JOIN ON bsn WITH south"
    );
    let parties = vec![employer(0, "north"), employer(1, "south"), Party { name: "clinic", rows, clauses }];
    employers::design(root, parties, &[("ann@clinic", "analyst"), ("steward@clinic", "steward")])
}

/// Of the joined rows by illness: how many there are, of how many people, and their wages, for groups of enough people.
fn expected() -> Vec<Vec<String>> {
    let jobs: BTreeMap<usize, usize> = jobs(0).chain(jobs(1)).collect();
    let mut groups: BTreeMap<&str, (BTreeSet<usize>, usize, usize)> = BTreeMap::new();
    for (person, illness) in cases() {
        let Some(wage) = jobs.get(&person) else { continue };
        let group = groups.entry(illness).or_default();
        group.0.insert(person);
        group.1 += 1;
        group.2 += wage;
    }
    let enough = groups.into_iter().filter(|(_, (people, ..))| people.len() >= MINIMUM);
    let row = |(illness, (people, rows, wages)): (&str, (BTreeSet<usize>, usize, usize))| {
        vec![illness.to_owned(), rows.to_string(), people.len().to_string(), wages.to_string()]
    };
    enough.map(row).collect()
}

const FROM: &str = "FROM work.jobs j JOIN clinic.care.cases c ON j.bsn = c.bsn";

/// So often a query is asked that a busy machine keeps from being answered at once.
const TRIES: usize = 10;

fn question() -> String {
    format!(
        "SELECT c.illness, count(*), count(DISTINCT c.bsn), sum(j.wage) {FROM} GROUP BY c.illness ORDER BY c.illness"
    )
}

/// Every value that came to a place, as text.
fn texts(sent: &[Sent]) -> Vec<String> {
    let of_batch = |batch: &RecordBatch| {
        let columns = batch.columns().iter();
        let of_column = |column: &dyn Array| -> Vec<String> {
            (0..column.len()).map(|row| array_value_to_string(column, row).unwrap()).collect()
        };
        columns.flat_map(|column| of_column(column.as_ref())).collect::<Vec<_>>()
    };
    sent.iter().flat_map(|one| one.batches.iter().flat_map(of_batch)).collect()
}

/// The hashes that each steward sent to surf.
fn hashes(recorder: &Recorder) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    let all = recorder.take();
    assert!(texts(&all).iter().all(|text| !text.contains(CANARY)), "a key went from place to place");
    let mut found: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for sent in all {
        let columns = sent.batches.iter().flat_map(RecordBatch::columns);
        let hashed: Vec<_> = columns.filter(|one| *one.data_type() == DataType::FixedSizeBinary(16)).collect();
        if sent.to != "surf" {
            assert!(hashed.is_empty(), "{} got hashes of {}", sent.to, sent.from);
            continue;
        }
        let values = hashed.into_iter().flat_map(|one| one.as_fixed_size_binary().iter().flatten().map(<[u8]>::to_vec));
        found.entry(sent.from).or_default().extend(values);
    }
    found
}

/// Asks, and gives the hashes that were sent. On a busy machine a lease can run out, and the query fails or is planned again under
/// other keys: then what was sent is of more than one query, and is asked anew.
async fn sent_hashes(client: &mut Client, recorder: &Recorder) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    for _ in 0..TRIES {
        drop(recorder.take());
        let sql = question();
        match query(client, &sql).await {
            Ok(batches) => assert_eq!(rows(&batches).unwrap(), expected()),
            Err(error) => {
                let code = told(&error).code;
                assert!([Code::SiteUnavailable, Code::StaleBasis].contains(&code), "{error:#}");
                continue;
            }
        }
        let sent = hashes(recorder);
        if sent.get("north").is_some_and(|of_north| of_north.len() == 45) {
            return sent;
        }
    }
    panic!("no query of {TRIES} was answered at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_keys_of_several_stewards_meet_as_hashes_of_one_query() {
    let (federation, recorder) = TestFederation::recorded(design).await;
    let mut ann = federation.client("ann@clinic", "auto", &format!("SELECT sum(j.wage) {FROM}")).await;
    let first = sent_hashes(&mut ann, &recorder).await;
    let second = sent_hashes(&mut ann, &recorder).await;
    for run in [&first, &second] {
        let count = |steward: &str| run.get(steward).map(BTreeSet::len).unwrap_or_default();
        // Everybody has one job at most, but may have several cases.
        let people: BTreeSet<usize> = cases().into_iter().map(|(person, _)| person).collect();
        assert_eq!([count("north"), count("south"), count("clinic")], [45, 45, people.len()]);
        let both: BTreeSet<&Vec<u8>> = run["north"].union(&run["south"]).collect();
        let met = run["clinic"].iter().filter(|hash| both.contains(hash)).count();
        assert_eq!(met, people.iter().filter(|person| **person < 90).count(), "equal keys have equal hashes");
    }
    for steward in ["north", "south", "clinic"] {
        assert!(first[steward].is_disjoint(&second[steward]), "{steward}: a hash of one query is one of the next");
    }
    // Each steward, and whoever asks, sees what leaves.
    let shown = answer(&mut ann, &format!("EXPLAIN SELECT sum(j.wage) {FROM}")).await;
    let shown = shown.iter().map(|row| row.join(" ")).collect::<Vec<_>>().join("\n");
    for edge in ["rows of north.work.jobs (hash(bsn), wage)", "rows of clinic.care.cases (hash(bsn))"] {
        assert!(shown.contains(edge), "{shown}");
    }
    // One steward alone shares its key with nobody.
    let alone = answer(&mut ann, "SELECT count(*) FROM clinic.care.cases").await;
    assert_eq!(alone, [[cases().len().to_string()]]);
    let median = answer(&mut ann, "SELECT median(wage) FROM work.jobs").await;
    assert_eq!(median.len(), 1);
    assert!(hashes(&recorder).keys().all(|steward| ["north", "south"].contains(&steward.as_str())));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_what_needs_more_than_equal_keys_is_denied() {
    let federation = TestFederation::design(design).await;
    let mut ann = federation.client("ann@clinic", "auto", &format!("SELECT sum(j.wage) {FROM}")).await;
    for sql in [
        format!("SELECT c.bsn, count(*) {FROM} GROUP BY c.bsn"),
        format!("SELECT min(j.bsn) {FROM}"),
        format!("SELECT count(c.bsn) {FROM}"),
        format!("SELECT sum(j.wage) {FROM} WHERE j.bsn = 'key.of.1'"),
        format!("SELECT j.bsn {FROM}"),
    ] {
        let refused = error(&mut ann, &sql).await;
        assert_eq!(refused.code, Code::Denied, "{sql}: {refused}");
    }
    let mut steward = federation.plain_client("steward@clinic", "statistics").await;
    let create = "CREATE AGREEMENT more ON SITE clinic FOR ANYONE PURPOSE statistics AS (SHIP ROWS (hash(illness)) FROM care.cases TO surf)";
    let refused = error(&mut steward, create).await;
    assert!(refused.message.contains("`illness` is no entity key"), "{refused}");
    federation.stop().await;
}
