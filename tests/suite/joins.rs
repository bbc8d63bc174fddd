//! Rows of different stewards joined below a release point (rules B.7, B.8): two employers and a clinic know people by one number,
//! and each lets its rows be joined with the others' on it. Every steward answers for its own part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use dynamos_cli::federation::{Client, Design, FederatedTable, Person, Provider, Steward};

use crate::federation::{TestFederation, answer, error, explained};

const MINIMUM: usize = 5;

/// Who works where for how much.
fn jobs(employer: usize) -> Vec<(usize, &'static str, usize)> {
    let people = (0..90).filter(move |person| person % 2 == employer);
    people.map(|person| (person, if person % 3 == 0 { "care" } else { "trade" }, 1_000 + 7 * person)).collect()
}

/// Who has what; some have it twice, some have two things, some work nowhere.
fn cases() -> Vec<(usize, &'static str)> {
    let mut cases = Vec::new();
    cases.extend((0..40).map(|person| (person, "flu")));
    cases.extend((0..10).map(|person| (person, "flu")));
    cases.extend((30..60).map(|person| (person, "cold")));
    cases.extend((60..64).map(|person| (person, "gout")));
    cases.extend((80..84).map(|person| (person, "odd")));
    cases.extend((70..74).map(|person| (person, "rare")));
    cases.extend((90..120).map(|person| (person, "cold")));
    cases
}

/// The federation, with agreements that let rows be joined or do not.
fn design(root: &Path, linked: bool) -> Design {
    let keys = "entity = \"bsn\"\nshared_domain = \"people\"\n";
    let mut stewards = Vec::new();
    for (index, name) in ["north", "south"].into_iter().enumerate() {
        let mut rows = "bsn,sector,wage\n".to_owned();
        for (person, sector, wage) in jobs(index) {
            writeln!(rows, "{person},{sector},{wage}").unwrap();
        }
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("jobs.csv"), rows).unwrap();
        let agreement = |more: &str| {
            format!(
                "CREATE AGREEMENT linked ON SITE {name} FOR ROLE analyst PURPOSE statistics AS (
                   RELEASE sum, avg, count OF wage, * BY sector FROM work.jobs MINIMUM {MINIMUM} DISTINCT bsn,
                   SHIP ROWS (bsn, wage, sector) FROM work.jobs TO surf, clinic,
                   FILTER ON sector COMPARE WITH LITERALS{more})"
            )
        };
        stewards.push(Steward {
            name: name.into(),
            tables: format!(
                "[[tables]]\nschema = \"work\"\ntable = \"jobs\"\npath = \"jobs.csv\"\nformat = \"csv\"\n{keys}\
                 colocated_on = {{ bsn = \"people\" }}\n"
            ),
            agreements: vec![agreement(if linked {
                ",\n JOIN ON bsn WITH clinic, JOIN ON bsn WITH REQUESTER"
            } else {
                ""
            })],
        });
    }
    let mut rows = "bsn,illness\n".to_owned();
    for (person, illness) in cases() {
        writeln!(rows, "{person},{illness}").unwrap();
    }
    std::fs::create_dir_all(root.join("clinic")).unwrap();
    std::fs::write(root.join("clinic").join("cases.csv"), rows).unwrap();
    let agreement = |more: &str| {
        format!(
            "CREATE AGREEMENT linked ON SITE clinic FOR ROLE analyst PURPOSE statistics AS (
               RELEASE count OF * BY illness FROM care.cases MINIMUM {MINIMUM} DISTINCT bsn,
               SHIP ROWS (bsn, illness) FROM care.cases TO surf{more})"
        )
    };
    let both = ",\n JOIN ON bsn WITH north,\n JOIN ON bsn WITH south";
    stewards.push(Steward {
        name: "clinic".into(),
        tables: format!(
            "[[tables]]\nschema = \"care\"\ntable = \"cases\"\npath = \"cases.csv\"\nformat = \"csv\"\n{keys}"
        ),
        agreements: vec![agreement(if linked { both } else { ",\n JOIN ON bsn WITH north" })],
    });
    Design {
        stewards,
        providers: vec![Provider { name: "surf".into() }],
        federated: vec![FederatedTable {
            schema: "work".into(),
            table: "jobs".into(),
            stewards: ["north", "south"].map(str::to_owned).to_vec(),
        }],
        people: vec![Person {
            user: "ann@clinic".into(),
            organisation: "clinic".into(),
            role: "analyst".into(),
            purpose: "statistics".into(),
        }],
        site_limits: String::new(),
    }
}

/// Illness, number of joined rows and sum of their wages of these jobs, for groups of enough people.
fn expected(kept: impl Fn(usize, &str) -> bool) -> Vec<Vec<String>> {
    let jobs: BTreeMap<usize, usize> = [0, 1]
        .into_iter()
        .flat_map(|employer| {
            jobs(employer).into_iter().filter(|(person, sector, _)| kept(*person, sector)).collect::<Vec<_>>()
        })
        .map(|(person, _, wage)| (person, wage))
        .collect();
    let mut groups: BTreeMap<&str, (BTreeSet<usize>, usize, usize)> = BTreeMap::new();
    for (person, illness) in cases() {
        let Some(wage) = jobs.get(&person) else { continue };
        let group = groups.entry(illness).or_default();
        group.0.insert(person);
        group.1 += 1;
        group.2 += wage;
    }
    let enough = groups.into_iter().filter(|(_, (people, ..))| people.len() >= MINIMUM);
    enough.map(|(illness, (_, rows, wages))| vec![illness.to_owned(), rows.to_string(), wages.to_string()]).collect()
}

async fn ask(client: &mut Client, filter: &str) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT c.illness, count(*), sum(j.wage) FROM work.jobs j JOIN clinic.care.cases c ON j.bsn = c.bsn {filter}
         GROUP BY c.illness ORDER BY c.illness"
    );
    answer(client, &sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_rows_of_several_stewards_are_joined_where_each_of_them_lets_the_other_in() {
    let federation = TestFederation::design(|root| design(root, true)).await;
    let ready = "SELECT sector, count(*) FROM work.jobs GROUP BY sector";
    let mut ann = federation.client("ann@clinic", "auto", ready).await;
    let all = expected(|_, _| true);
    assert_eq!(all.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["cold", "flu"]);
    assert_eq!(ask(&mut ann, "").await, all);
    answer(&mut ann, "SET dynamos.placement = 'data_to_compute'").await;
    assert_eq!(ask(&mut ann, "").await, all);
    let refused = {
        answer(&mut ann, "SET dynamos.placement = 'compute_to_data'").await;
        let sql = "SELECT count(*) FROM work.jobs j JOIN clinic.care.cases c ON j.bsn = c.bsn";
        error(&mut ann, sql).await.to_string()
    };
    assert!(refused.contains("compute_to_data"), "{refused}");
    answer(&mut ann, "SET dynamos.placement = 'auto'").await;
    assert_eq!(ask(&mut ann, "WHERE j.sector = 'trade'").await, expected(|_, sector| sector == "trade"));
    // One employer alone: its own minimum is the one that holds.
    assert_eq!(ask(&mut ann, "WHERE j.steward = 'south'").await, expected(|person, _| person % 2 == 1));
    // Keys of two stewards.
    let by_both = answer(
        &mut ann,
        "SELECT j.sector, c.illness, count(*), sum(j.wage) FROM work.jobs j JOIN clinic.care.cases c ON j.bsn = c.bsn
         GROUP BY j.sector, c.illness",
    )
    .await;
    assert!(!by_both.is_empty());
    for row in by_both {
        let of_sector = expected(|_, sector| sector == row[0]);
        assert!(of_sector.contains(&row[1..].to_vec()), "{row:?} is not of {of_sector:?}");
    }
    // None of the clinic's columns: it is asked for the number of its rows.
    let total = answer(&mut ann, "SELECT sum(j.wage) FROM work.jobs j JOIN clinic.care.cases c ON j.bsn = c.bsn").await;
    let wages: usize = cases().iter().filter(|(person, _)| *person < 90).map(|(person, _)| 1_000 + 7 * person).sum();
    assert_eq!(total, [[wages.to_string()]]);
    let sql = "SELECT sum(j.wage) FROM work.jobs j JOIN clinic.care.cases c ON j.bsn = c.bsn";
    let text = explained(&mut ann, "EXPLAIN", sql).await;
    let report = explained(&mut ann, "EXPLAIN POLICY", sql).await;
    for steward in ["north", "south", "clinic"] {
        assert!(text.contains(&format!("{steward}: agreement `linked` epoch 1, clause 1")), "{text}");
        assert!(report.contains(&format!("linked of {steward}, epoch 1")), "{report}");
        assert!(report.contains(&format!("\n{steward}: ")), "{report}");
    }
    assert_eq!(report.matches("    by clause 1: RELEASE ").count(), 3, "{report}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_a_join_that_one_of_the_stewards_does_not_name_is_denied() {
    let federation = TestFederation::design(|root| design(root, true)).await;
    let ready = "SELECT sector, count(*) FROM work.jobs GROUP BY sector";
    let mut ann = federation.client("ann@clinic", "auto", ready).await;
    let from = "work.jobs j JOIN clinic.care.cases c";
    for (sql, reason) in [
        (format!("SELECT count(*) FROM {from} ON j.sector = c.illness"), "no JOIN clause"),
        (format!("SELECT count(*) FROM {from} ON j.bsn = c.bsn AND j.sector = c.illness"), "no JOIN clause"),
        (format!("SELECT count(*) FROM {from} ON j.bsn < c.bsn"), "compares columns of several stewards"),
        (format!("SELECT count(*) FROM {from} ON j.bsn = c.bsn + 1"), "several stewards"),
        (format!("SELECT count(*) FROM {from} ON true"), "on no key of its own"),
        (format!("SELECT count(*) FROM {from} ON j.bsn = c.bsn WHERE c.illness = 'flu'"), "no FILTER clause"),
        (format!("SELECT c.bsn, count(*) FROM {from} ON j.bsn = c.bsn GROUP BY c.bsn"), "does not list the grouping"),
        (format!("SELECT avg(c.bsn) FROM {from} ON j.bsn = c.bsn"), "does not list"),
        (format!("SELECT sum(j.wage + c.bsn) FROM {from} ON j.bsn = c.bsn"), "columns of several stewards"),
        (
            format!("SELECT sum(j.wage) FILTER (WHERE c.illness = 'flu') FROM {from} ON j.bsn = c.bsn"),
            "no FILTER clause",
        ),
        ("SELECT count(*) FROM work.jobs j LEFT JOIN clinic.care.cases c ON j.bsn = c.bsn".to_owned(), "join"),
        (format!("SELECT j.wage FROM {from} ON j.bsn = c.bsn"), "no RELEASE ROWS"),
        (
            format!(
                "SELECT count(*) FROM {from} ON j.bsn = c.bsn WHERE j.steward IN ('north', 'south') AND j.sector = 'care'"
            ),
            "",
        ),
    ] {
        if reason.is_empty() {
            answer(&mut ann, &sql).await;
            continue;
        }
        let refused = error(&mut ann, &sql).await.to_string();
        assert!(refused.contains(reason), "{sql}: {refused}");
    }
    federation.stop().await;
    let federation = TestFederation::design(|root| design(root, false)).await;
    let mut ann = federation.client("ann@clinic", "auto", ready).await;
    let refused = error(&mut ann, &format!("SELECT count(*) FROM {from} ON j.bsn = c.bsn")).await.to_string();
    for who in [
        "`linked` has no JOIN clause that lets its rows be joined with `clinic` on `bsn`",
        "joined with `south` on `bsn`",
    ] {
        assert!(refused.contains(who), "{refused}");
    }
    assert!(!refused.contains("joined with `north`"), "the clinic lets north in: {refused}");
    federation.stop().await;
}

/// People and wages in an answer over jobs that are kept.
fn of_people(kept: impl Fn(usize) -> bool) -> Vec<Vec<String>> {
    let jobs: Vec<_> = [0, 1].into_iter().flat_map(jobs).filter(|(person, ..)| kept(*person)).collect();
    let wages: usize = jobs.iter().map(|(_, _, wage)| wage).sum();
    vec![vec![jobs.len().to_string(), wages.to_string()]]
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_list_of_the_requester_keeps_each_row_once_or_drops_it() {
    let federation = TestFederation::design(|root| design(root, true)).await;
    let ready = "SELECT sector, count(*) FROM work.jobs GROUP BY sector";
    let mut ann = federation.client("ann@clinic", "auto", ready).await;
    let list = |people: &[usize]| people.iter().map(|person| format!("({person})")).collect::<Vec<_>>().join(", ");
    let (some, few) = (list(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 3, 3, 500]), list(&[0, 1, 2]));
    let ask = "SELECT count(*), sum(wage) FROM work.jobs";
    for placement in ["auto", "compute_to_data", "data_to_compute"] {
        answer(&mut ann, &format!("SET dynamos.placement = '{placement}'")).await;
        if placement == "compute_to_data" {
            // Partials may go nowhere under this agreement.
            error(&mut ann, ask).await;
            continue;
        }
        for (sql, expected) in [
            (format!("{ask} WHERE bsn IN (VALUES {some})"), of_people(|person| person < 12)),
            (format!("{ask} WHERE bsn NOT IN (VALUES {some})"), of_people(|person| person >= 12)),
            (
                format!("{ask} j WHERE NOT EXISTS (SELECT 1 FROM (VALUES {some}) l(who) WHERE l.who = j.bsn)"),
                of_people(|person| person >= 12),
            ),
            // Too few, and nobody: they look the same.
            (format!("{ask} WHERE sector = 'care' AND bsn IN (VALUES {some})"), vec![vec!["NULL".to_owned(); 2]]),
            (format!("{ask} WHERE bsn IN (VALUES {few})"), vec![vec!["NULL".to_owned(); 2]]),
            (format!("{ask} WHERE bsn NOT IN (VALUES {some}, (NULL))"), vec![vec!["NULL".to_owned(); 2]]),
        ] {
            assert_eq!(answer(&mut ann, &sql).await, expected, "{placement}: {sql}");
        }
    }
    answer(&mut ann, "SET dynamos.placement = 'auto'").await;
    for (sql, reason) in [
        (format!("{ask} WHERE wage IN (VALUES {some})"), "no JOIN clause lets `wage` be compared"),
        (format!("{ask} WHERE bsn + 1 IN (VALUES {some})"), "no column that can be compared"),
        (format!("{ask} j WHERE EXISTS (SELECT 1 FROM (VALUES {some}) l(who) WHERE l.who < j.bsn)"), "by equality"),
        (format!("{ask} j JOIN (VALUES {some}) l(who) ON l.who = j.bsn"), "joined with released rows"),
        ("SELECT bsn FROM work.jobs WHERE bsn IN (VALUES (1))".to_owned(), "no RELEASE ROWS"),
    ] {
        let refused = error(&mut ann, &sql).await.to_string();
        assert!(refused.contains(reason), "{sql}: {refused}");
    }
    federation.stop().await;
    let federation = TestFederation::design(|root| design(root, false)).await;
    let mut ann = federation.client("ann@clinic", "auto", ready).await;
    let refused = error(&mut ann, &format!("{ask} WHERE bsn IN (VALUES {some})")).await.to_string();
    assert!(refused.contains("no JOIN clause lets `bsn` be compared with rows of the requester"), "{refused}");
    federation.stop().await;
}

/// The largest parts of all joined wages that an employer and a person have.
fn largest_parts() -> (f64, f64) {
    let wages: BTreeMap<usize, usize> =
        [0, 1].into_iter().flat_map(jobs).map(|(person, _, wage)| (person, wage)).collect();
    let (mut employers, mut people) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, usize>::new());
    for (person, _) in cases() {
        let Some(wage) = wages.get(&person) else { continue };
        *employers.entry(person % 2).or_default() += wage;
        *people.entry(person).or_default() += wage;
    }
    let all: usize = people.values().sum();
    let part = |largest: Option<&usize>| *largest.unwrap() as f64 / all as f64;
    (part(employers.values().max()), part(people.values().max()))
}

/// Agreements under DOMINANCE: a name, the portion that the employers demand, that of the clinic, and whether the sum of all
/// wages is released.
fn portions() -> Vec<(&'static str, Option<f64>, Option<f64>, bool)> {
    let (employer, person) = largest_parts();
    vec![
        ("even", Some(employer + 0.001), None, true),
        ("uneven", Some(employer - 0.001), None, false),
        // All rows are of the one clinic, and nobody else has rows like them.
        ("clinical", None, Some(0.9), true),
        ("many", None, Some(person + 0.001), true),
        ("one", None, Some(person - 0.001), false),
        ("both", Some(employer + 0.001), Some(person - 0.001), false),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_dominance_over_joined_rows_is_each_stewards_own() {
    let with_portions = |root: &Path| {
        let mut design = design(root, true);
        for steward in &mut design.stewards {
            let plain = steward.agreements[0].clone();
            let more = portions().into_iter().map(|(name, of_employer, of_clinic, _)| {
                let portion = if steward.name == "clinic" { of_clinic } else { of_employer };
                let minimum = format!("MINIMUM {MINIMUM} DISTINCT bsn");
                let held = portion.map_or(minimum.clone(), |portion| format!("{minimum} DOMINANCE {portion:.6}"));
                plain.replace("AGREEMENT linked", &format!("AGREEMENT {name}")).replacen(&minimum, &held, 1)
            });
            let more: Vec<String> = more.collect();
            steward.agreements.extend(more);
        }
        design
    };
    let federation = TestFederation::design(with_portions).await;
    let ready = "SELECT sector, count(*) FROM work.jobs GROUP BY sector";
    let mut ann = federation.client("ann@clinic", "auto", ready).await;
    let sql = "SELECT sum(j.wage), avg(j.wage) FROM work.jobs j JOIN clinic.care.cases c ON j.bsn = c.bsn";
    answer(&mut ann, "SET dynamos.agreement = 'linked'").await;
    let all = answer(&mut ann, sql).await;
    assert_ne!(all[0][0], "NULL");
    for (name, _, _, released) in portions() {
        answer(&mut ann, &format!("SET dynamos.agreement = '{name}'")).await;
        for placement in ["auto", "data_to_compute"] {
            answer(&mut ann, &format!("SET dynamos.placement = '{placement}'")).await;
            let expected = if released { all.clone() } else { vec![vec!["NULL".to_owned(); 2]] };
            assert_eq!(answer(&mut ann, sql).await, expected, "{name}");
            // A count is no sum.
            assert_ne!(
                answer(&mut ann, &sql.replace("sum(j.wage), avg(j.wage)", "count(*)")).await,
                [["NULL"]],
                "{name}"
            );
        }
    }
    federation.stop().await;
}
