//! Released data that keep or drop protected rows (rule A.5): rows of a clinic as a list, and the average of one employer's
//! people that another's are compared with. The answer is the one that plain code gives of all files, wherever it is computed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use dynamos_cli::federation::{Client, Design};

use crate::employers::{self, Party};
use crate::federation::{TestFederation, answer, error};

const MINIMUM: usize = 5;

/// Who works where for how much.
fn jobs(employer: usize) -> Vec<(usize, &'static str, usize)> {
    let people = (0..120).filter(move |person| person % 2 == employer);
    people.map(|person| (person, ["care", "trade", "craft"][person % 3], 1_000 + 7 * person)).collect()
}

/// Who has what; some have it twice, some work nowhere.
fn cases() -> Vec<(usize, &'static str)> {
    let flu = (0..60).chain(0..9).map(|person| (person, "flu"));
    flu.chain((30..130).map(|person| (person, "cold"))).collect()
}

fn design(root: &Path) -> Design {
    let employer = |index: usize, name| {
        let mut rows = "bsn,sector,wage\n".to_owned();
        for (person, sector, wage) in jobs(index) {
            writeln!(rows, "{person},{sector},{wage}").unwrap();
        }
        let clauses = format!(
            "RELEASE avg, sum, count OF wage, * BY sector FROM work.jobs MINIMUM {MINIMUM} DISTINCT bsn,
             SHIP PARTIALS OF 1 TO surf, north, south,
             SHIP ROWS (bsn, wage, sector) FROM work.jobs TO surf,
             FILTER ON wage COMPARE WITH LITERALS, JOIN ON bsn WITH REQUESTER"
        );
        Party { name, rows, clauses }
    };
    let mut rows = "bsn,illness\n".to_owned();
    for (person, illness) in cases() {
        writeln!(rows, "{person},{illness}").unwrap();
    }
    let clauses = "RELEASE ROWS (bsn, illness) FROM care.cases,
                   SHIP ROWS (bsn, illness) FROM care.cases TO north, south, surf";
    let clinic = Party { name: "clinic", rows, clauses: clauses.to_owned() };
    employers::design(root, vec![employer(0, "north"), employer(1, "south"), clinic], &[("ann@clinic", "analyst")])
}

/// Sector, people and sum of wages of those that are kept, of each employer's groups of enough people.
fn expected(employers: &[usize], keep: impl Fn(usize, usize) -> bool) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for employer in employers {
        let mut own: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (_, sector, wage) in jobs(*employer).into_iter().filter(|(person, _, wage)| keep(*person, *wage)) {
            let group = own.entry(sector).or_default();
            *group = (group.0 + 1, group.1 + wage);
        }
        for (sector, (people, wages)) in own.into_iter().filter(|(_, (people, _))| *people >= MINIMUM) {
            let group = groups.entry(sector).or_default();
            *group = (group.0 + people, group.1 + wages);
        }
    }
    groups
        .into_iter()
        .map(|(sector, (people, wages))| vec![sector.into(), people.to_string(), wages.to_string()])
        .collect()
}

async fn ask(client: &mut Client, from: &str, condition: &str) -> Vec<Vec<String>> {
    let sql =
        format!("SELECT sector, count(*), sum(wage) FROM {from} WHERE {condition} GROUP BY sector ORDER BY sector");
    answer(client, &sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_released_data_keep_or_drop_protected_rows_wherever_they_are_computed() {
    let federation = TestFederation::design(design).await;
    let ready = "SELECT sector, count(*) FROM work.jobs GROUP BY sector";
    let mut ann = federation.client("ann@clinic", "auto", ready).await;
    let flu: Vec<usize> =
        cases().into_iter().filter(|(_, illness)| *illness == "flu").map(|(person, _)| person).collect();
    let average = |employer: usize| {
        let wages: Vec<usize> = jobs(employer).into_iter().map(|(_, _, wage)| wage).collect();
        wages.iter().sum::<usize>() as f64 / wages.len() as f64
    };
    let list = "bsn IN (SELECT bsn FROM clinic.care.cases WHERE illness = 'flu')";
    let above = "wage > (SELECT avg(wage) FROM south.work.jobs)";
    for placement in ["auto", "compute_to_data", "data_to_compute"] {
        answer(&mut ann, &format!("SET dynamos.placement = '{placement}'")).await;
        let kept = expected(&[0], |person, _| flu.contains(&person));
        assert_eq!(kept.len(), 3);
        assert_eq!(ask(&mut ann, "north.work.jobs", list).await, kept, "{placement}");
        let dropped = expected(&[0], |person, _| !flu.contains(&person));
        assert_eq!(ask(&mut ann, "north.work.jobs", &list.replace("IN", "NOT IN")).await, dropped, "{placement}");
        let richer = expected(&[0], |_, wage| wage as f64 > average(1));
        assert!(richer.len() == 3 && richer != expected(&[0], |_, _| true));
        assert_eq!(ask(&mut ann, "north.work.jobs", above).await, richer, "{placement}");
        let both = expected(&[0], |person, wage| wage as f64 > average(1) && !flu.contains(&person));
        let condition = format!("{above} AND {}", list.replace("IN", "NOT IN"));
        assert_eq!(ask(&mut ann, "north.work.jobs", &condition).await, both, "{placement}");
        // What is withheld is a NULL, and nothing is above it.
        let withheld = "wage > (SELECT avg(wage) FROM south.work.jobs WHERE wage > 1800)";
        assert_eq!(ask(&mut ann, "north.work.jobs", withheld).await, Vec::<Vec<String>>::new(), "{placement}");
    }
    answer(&mut ann, "SET dynamos.placement = 'auto'").await;
    // Over both employers each decides about its own people.
    let federated = expected(&[0, 1], |person, wage| flu.contains(&person) && wage as f64 > average(1) - 350.0);
    let federated: Vec<Vec<String>> = federated.into_iter().map(|row| row[..2].to_vec()).collect();
    let counted = format!(
        "SELECT sector, count(*) FROM work.jobs WHERE {list} AND wage > (SELECT avg(wage) - 350 FROM south.work.jobs)
         GROUP BY sector ORDER BY sector"
    );
    assert_eq!(answer(&mut ann, &counted).await, federated);
    // The sum of some wages beside the average of all would tell of the others.
    let refused = error(&mut ann, &counted.replace("count(*)", "sum(wage)")).await.to_string();
    assert!(refused.contains("values of one column of other rows"), "{refused}");
    let nobody =
        error(&mut ann, "SELECT count(*) FROM clinic.care.cases WHERE bsn IN (SELECT bsn FROM north.work.jobs)");
    assert!(nobody.await.to_string().contains("protected rows cannot be joined with released rows"));
    federation.stop().await;
}
