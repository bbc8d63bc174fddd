//! Relations of clauses that are joins, over a federation: left joins below a release point, and rows of a join that are
//! released, with exactly the rows that they must have under every placement. The stewards number people alike, and mean
//! different ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use dynamos_cli::federation::{Design, FederatedTable, Person, Provider, Steward};

use crate::federation::{TestFederation, answer, error, everywhere, explained};

const MINIMUM: usize = 5;
const STEWARDS: [&str; 2] = ["north", "south"];

/// Somebody, with the visits that there are: nobody of every third has one, others have two.
struct Known {
    steward: &'static str,
    id: usize,
    sex: &'static str,
    city: String,
    wage: usize,
    visits: Vec<(&'static str, usize)>,
}

fn people() -> Vec<Known> {
    let known = |steward: &'static str, id: usize| Known {
        steward,
        id,
        sex: if id.is_multiple_of(2) { "f" } else { "m" },
        city: format!("{}{}", if id < 30 { "ams" } else { "rdm" }, id % 4),
        wage: 100 + 7 * id + steward.len(),
        visits: match id % 3 {
            0 => Vec::new(),
            1 => vec![("er", 10 + id)],
            _ => vec![("er", 20 + id), ("icu", 500 + id)],
        },
    };
    STEWARDS.into_iter().flat_map(|steward| (0..60).map(move |id| known(steward, id))).collect()
}

fn design(root: &Path, clauses: &str) -> Design {
    let stewards = STEWARDS.into_iter().map(|name| {
        let (mut persons, mut visits) = ("id,sex,city,wage\n".to_owned(), "id,ward,cost\n".to_owned());
        for one in people().into_iter().filter(|one| one.steward == name) {
            writeln!(persons, "{},{},{},{}", one.id, one.sex, one.city, one.wage).unwrap();
            for (ward, cost) in one.visits {
                writeln!(visits, "{},{ward},{cost}", one.id).unwrap();
            }
        }
        // Visits of nobody who is known, and of nobody at all.
        visits += "900,er,7\n901,icu,8\n,er,9\n";
        std::fs::create_dir_all(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("people.csv"), persons).unwrap();
        std::fs::write(root.join(name).join("visits.csv"), visits).unwrap();
        let table = |table: &str| {
            format!(
                "[[tables]]\nschema = \"reg\"\ntable = \"{table}\"\npath = \"{table}.csv\"\nformat = \"csv\"\nentity = \"id\"\n"
            )
        };
        Steward {
            name: name.into(),
            tables: ["people", "visits"].map(table).concat(),
            agreements: vec![format!(
                "CREATE AGREEMENT reg ON SITE {name} FOR ROLE analyst PURPOSE statistics AS ({clauses})"
            )],
        }
    });
    let federated = |table: &str| FederatedTable {
        schema: "reg".into(),
        table: table.into(),
        stewards: STEWARDS.map(str::to_owned).to_vec(),
    };
    Design {
        stewards: stewards.collect(),
        providers: vec![Provider { name: "surf".into() }],
        federated: ["people", "visits"].map(federated).to_vec(),
        people: vec![Person {
            user: "ann@north".into(),
            organisation: "north".into(),
            role: "analyst".into(),
            purpose: "statistics".into(),
        }],
        site_limits: String::new(),
    }
}

/// One row of people with their visits, or with NULLs where they have none.
#[derive(Clone)]
struct Row {
    who: (&'static str, usize),
    sex: &'static str,
    wage: usize,
    visit: Option<(&'static str, usize)>,
}

fn left_joined() -> Vec<Row> {
    let rows = people().into_iter().flat_map(|one| {
        let visits: Vec<_> =
            if one.visits.is_empty() { vec![None] } else { one.visits.into_iter().map(Some).collect() };
        let row = move |visit| Row { who: (one.steward, one.id), sex: one.sex, wage: one.wage, visit };
        visits.into_iter().map(row)
    });
    rows.collect()
}

/// Key, rows and sums of wage and cost, by key in order, with NULL last.
fn grouped(rows: &[Row], key: impl Fn(&Row) -> Option<&'static str>) -> Vec<[String; 4]> {
    let mut groups: BTreeMap<(bool, Option<&str>), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry((key(row).is_none(), key(row))).or_default().push(row);
    }
    let line = |((_, key), rows): ((bool, Option<&str>), Vec<&Row>)| {
        let people: BTreeSet<_> = rows.iter().map(|row| row.who).collect();
        assert!(people.len() >= MINIMUM, "the design has no small groups");
        let costs = rows.iter().filter_map(|row| row.visit).map(|(_, cost)| cost).sum::<usize>();
        let wages = rows.iter().map(|row| row.wage).sum::<usize>();
        [key.unwrap_or("NULL").to_owned(), rows.len().to_string(), wages.to_string(), costs.to_string()]
    };
    groups.into_iter().map(line).collect()
}

/// The same without costs.
fn without_costs(rows: &[Row], key: impl Fn(&Row) -> Option<&'static str>) -> Vec<Vec<String>> {
    grouped(rows, key).into_iter().map(|row| row[..3].to_vec()).collect()
}

const LEFT: &str = "
    groups: RELEASE count, sum, avg OF wage, cost, * BY sex, ward
            FROM reg.people LEFT JOIN reg.visits ON id MINIMUM 5 DISTINCT people.id ELSE DROP,
    SHIP PARTIALS OF groups TO surf,
    SHIP ROWS (people.id, sex, wage, ward, cost) FROM reg.people LEFT JOIN reg.visits ON id TO surf,
    FILTER ON ward, sex COMPARE WITH LITERALS";

#[tokio::test(flavor = "multi_thread")]
async fn a1_left_joined_rows_are_aggregated_as_the_clause_joins_them() {
    let federation = TestFederation::design(|root| design(root, LEFT)).await;
    let from = "reg.people p LEFT JOIN reg.visits v ON p.id = v.id";
    let mut ann =
        federation.client("ann@north", "auto", &format!("SELECT sex, count(*) FROM {from} GROUP BY sex")).await;
    let ward = |row: &Row| row.visit.map(|(ward, _)| ward);
    let sex = |row: &Row| Some(row.sex);
    let rows = left_joined();
    let by_ward =
        format!("SELECT v.ward, count(*), sum(p.wage) FROM {from} GROUP BY v.ward ORDER BY v.ward NULLS LAST");
    assert_eq!(without_costs(&rows, ward).len(), 3);
    assert_eq!(everywhere(&mut ann, &by_ward).await, without_costs(&rows, ward));
    let mirrored = by_ward.replace(from, "reg.visits v RIGHT JOIN reg.people p ON v.id = p.id");
    assert_eq!(everywhere(&mut ann, &mirrored).await, without_costs(&rows, ward));
    // Nobody enters a sum of costs where there are none.
    let costs = by_ward.replace("sum(p.wage)", "sum(p.wage), sum(v.cost)");
    let visited: Vec<Row> = rows.iter().filter(|row| row.visit.is_some()).cloned().collect();
    assert_eq!(everywhere(&mut ann, &costs).await, grouped(&visited, ward));
    let by_sex = format!("SELECT p.sex, count(*), sum(p.wage) FROM {from} GROUP BY p.sex ORDER BY p.sex");
    assert_eq!(everywhere(&mut ann, &by_sex).await, without_costs(&rows, sex));
    assert_eq!(
        everywhere(&mut ann, &by_sex.replace("sum(p.wage)", "sum(p.wage), sum(v.cost)")).await,
        grouped(&rows, sex)
    );
    // Conditions on what is filled up stand above the join.
    let none: Vec<Row> = rows.iter().filter(|row| row.visit.is_none()).cloned().collect();
    let without = by_sex.replace("GROUP", "WHERE v.ward IS NULL GROUP");
    assert_eq!(everywhere(&mut ann, &without).await, without_costs(&none, sex));
    let er: Vec<Row> = rows.iter().filter(|row| ward(row) == Some("er")).cloned().collect();
    let of_er = by_sex.replace("GROUP", "WHERE v.ward = 'er' GROUP");
    assert_eq!(everywhere(&mut ann, &of_er).await, without_costs(&er, sex));
    // One steward alone, by a condition and by name.
    let north: Vec<Row> = rows.iter().filter(|row| row.who.0 == "north").cloned().collect();
    let one = by_sex.replace("GROUP", "WHERE p.steward = 'north' GROUP");
    assert_eq!(answer(&mut ann, &one).await, without_costs(&north, sex));
    let named = by_sex.replace("reg.", "north.reg.");
    assert_eq!(answer(&mut ann, &named).await, without_costs(&north, sex));
    for (sql, reason) in [
        (by_sex.replace("LEFT JOIN", "JOIN"), "it is about another relation"),
        (by_sex.replace("LEFT JOIN", "FULL JOIN"), "a Full join may not work on protected rows"),
        (by_sex.replace("LEFT JOIN", "RIGHT JOIN"), "it is about another relation"),
        (
            by_sex.replace("ON p.id = v.id", "ON p.id = v.id AND v.ward = 'er'"),
            "by equal columns and no other condition",
        ),
        (by_ward.replace("v.ward", "v.steward"), "does not list the grouping"),
    ] {
        let refused = error(&mut ann, &sql).await.to_string();
        assert!(refused.contains(reason), "{sql}: {refused}");
    }
    let text = explained(&mut ann, "EXPLAIN", &by_sex).await;
    let report = explained(&mut ann, "EXPLAIN POLICY", &by_sex).await;
    for steward in STEWARDS {
        assert!(text.contains(&format!("{steward}: agreement `reg` epoch 1, clause 1")), "{text}");
        assert!(report.contains(&format!("reg of {steward}, epoch 1")), "{report}");
    }
    assert_eq!(report.matches("    by clause 1: ").count(), STEWARDS.len(), "{report}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_where_nothing_matches_the_key_of_what_is_filled_up_counts_for_nobody() {
    let clauses = "groups: RELEASE count OF * BY ward FROM reg.people LEFT JOIN reg.visits ON id
                            MINIMUM 5 DISTINCT visits.id ELSE DROP,
                   SHIP PARTIALS OF groups TO surf,
                   SHIP ROWS (visits.id, ward) FROM reg.people LEFT JOIN reg.visits ON id TO surf";
    let federation = TestFederation::design(|root| design(root, clauses)).await;
    let sql = "SELECT v.ward, count(*) FROM reg.people p LEFT JOIN reg.visits v ON p.id = v.id GROUP BY v.ward ORDER BY v.ward";
    let mut ann = federation.client("ann@north", "auto", sql).await;
    let rows = left_joined();
    let of = |ward: &str| rows.iter().filter(|row| row.visit.is_some_and(|(of, _)| of == ward)).count();
    // Those without a visit are many rows, and nobody is counted behind them. They are somebody's all the same, and would be what
    // the total leaves of the other groups, so that the smallest of these is withheld with them.
    assert!(of("icu") < of("er"));
    assert_eq!(everywhere(&mut ann, sql).await, [["er".to_owned(), of("er").to_string()]]);
    federation.stop().await;
}

const ROWS: &str = "
    RELEASE ROWS (city, ward, cost) FROM reg.people JOIN reg.visits ON id WHERE people.wage >= 110,
    SHIP ROWS (city, ward, cost) FROM reg.people JOIN reg.visits ON id WHERE people.wage >= 110 TO surf,
    MASK people.city AS left(city, 3),
    ROWS ON people WHERE sex = 'f'";

#[tokio::test(flavor = "multi_thread")]
async fn a3_rows_of_a_join_are_released_as_the_steward_joins_them() {
    let federation = TestFederation::design(|root| design(root, ROWS)).await;
    let from = "reg.people p JOIN reg.visits v ON p.id = v.id";
    let ready = format!("SELECT p.city FROM {from} WHERE p.wage >= 110");
    let mut ann = federation.client("ann@north", "auto", &ready).await;
    let expected = |kept: &dyn Fn(&str, &str, usize) -> bool| {
        let mut rows: Vec<(String, String, usize)> = Vec::new();
        for one in people().into_iter().filter(|one| one.sex == "f" && one.wage >= 110) {
            let city = one.city[..3].to_owned();
            let visits = one.visits.into_iter().map(|(ward, cost)| (city.clone(), ward.to_owned(), cost));
            rows.extend(visits.filter(|(city, ward, cost)| kept(city, ward, *cost)));
        }
        rows.sort();
        rows.into_iter().map(|(city, ward, cost)| vec![city, ward, cost.to_string()]).collect::<Vec<_>>()
    };
    let ask =
        |more: &str| format!("SELECT p.city, v.ward, v.cost FROM {from} WHERE p.wage >= 110 {more} ORDER BY 1, 2, 3");
    assert_eq!(everywhere(&mut ann, &ask("")).await, expected(&|_, _, _| true));
    let of_ams = expected(&|city, _, cost| city == "ams" && cost > 30);
    assert_eq!(everywhere(&mut ann, &ask("AND p.city = 'ams' AND v.cost > 30")).await, of_ams);
    assert!(!of_ams.is_empty());
    // The mask is what conditions see.
    assert_eq!(everywhere(&mut ann, &ask("AND p.city = 'ams0'")).await, Vec::<Vec<String>>::new());
    // A value that nobody shows is not met by what could fail on it: 7 and 8 are costs of people who are not there.
    let failing = ask("AND 100 / ((v.cost - 7) * (v.cost - 8) * (v.cost - 9)) >= 0");
    assert_eq!(everywhere(&mut ann, &failing).await, expected(&|_, _, _| true));
    let total: usize = expected(&|_, _, _| true).iter().map(|row| row[2].parse::<usize>().unwrap()).sum();
    let sum = format!("SELECT sum(cost), count(DISTINCT ward) FROM ({}) t", ask("").split(" ORDER").next().unwrap());
    assert_eq!(everywhere(&mut ann, &sum).await, [[total.to_string(), "2".to_owned()]]);
    let south = format!("SELECT count(*) FROM {from} WHERE p.wage >= 110 AND p.steward = 'south'");
    let of_south = people().into_iter().filter(|one| one.sex == "f" && one.wage >= 110 && one.steward == "south");
    let of_south: usize = of_south.map(|one| one.visits.len()).sum();
    assert_eq!(answer(&mut ann, &south).await, [[of_south.to_string()]]);
    assert_eq!(
        answer(&mut ann, &south.replace("reg.", "south.reg.").replace(" AND p.steward = 'south'", "")).await,
        [[of_south.to_string()]]
    );
    for (sql, reason) in [
        ("SELECT city FROM reg.people".to_owned(), "it is about another relation"),
        ("SELECT cost FROM reg.visits".to_owned(), "it is about another relation"),
        (format!("SELECT p.city FROM {from}"), "it needs the condition"),
        (format!("SELECT p.city, p.id FROM {from} WHERE p.wage >= 110"), "it does not list `reg.people.id`"),
        (format!("SELECT p.city FROM {from} WHERE p.wage >= 111"), "it needs the condition"),
        (ask("").replace("JOIN", "LEFT JOIN"), "it is about another relation"),
        (ask("AND p.sex <> v.ward"), "it does not list `reg.people.sex`"),
    ] {
        let refused = error(&mut ann, &sql).await.to_string();
        assert!(refused.contains(reason), "{sql}: {refused}");
    }
    let text = explained(&mut ann, "EXPLAIN", &ask("")).await;
    let report = explained(&mut ann, "EXPLAIN POLICY", &ask("")).await;
    assert_eq!(report.matches("    by clause 1: RELEASE ROWS (").count(), STEWARDS.len(), "{report}");
    for steward in STEWARDS {
        assert!(text.contains(&format!("{steward}: agreement `reg` epoch 1, clause 1")), "{text}");
        assert!(
            text.contains(&format!("rows of {steward}.reg.people ⋈ reg.visits (city, wage, cost, ward)")),
            "{text}"
        );
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_rows_of_a_left_join_are_released_with_those_who_match_nothing() {
    let clauses = "RELEASE ROWS (sex, visits.id, ward) FROM reg.people LEFT JOIN reg.visits ON id";
    let federation = TestFederation::design(|root| design(root, clauses)).await;
    let from = "reg.people p LEFT JOIN reg.visits v ON p.id = v.id";
    let mut ann = federation.client("ann@north", "auto", &format!("SELECT p.sex FROM {from}")).await;
    // Rows and people, by steward and ward.
    let mut groups: BTreeMap<_, (usize, BTreeSet<usize>)> = BTreeMap::new();
    for row in left_joined() {
        let (steward, ward) = (row.visit.map(|_| row.who.0), row.visit.map(|(ward, _)| ward));
        let group = groups.entry((steward, ward)).or_default();
        group.0 += 1;
        group.1.extend(row.visit.map(|_| row.who.1));
    }
    let text = |one: Option<&str>| one.unwrap_or("NULL").to_owned();
    let expected: Vec<Vec<String>> = groups
        .into_iter()
        .map(|((steward, ward), (rows, ids))| vec![text(steward), text(ward), rows.to_string(), ids.len().to_string()])
        .collect();
    let sql = format!(
        "SELECT v.steward, v.ward, count(*), count(DISTINCT v.id) FROM {from} GROUP BY v.steward, v.ward
         ORDER BY v.steward NULLS FIRST, v.ward NULLS FIRST"
    );
    assert_eq!(everywhere(&mut ann, &sql).await, expected);
    let none = format!("SELECT p.sex, count(*) FROM {from} WHERE v.id IS NULL GROUP BY p.sex ORDER BY p.sex");
    assert_eq!(everywhere(&mut ann, &none).await, [["f", "20"], ["m", "20"]]);
    for sql in [format!("SELECT p.id FROM {from}"), format!("SELECT p.sex FROM {}", from.replace("LEFT ", ""))] {
        error(&mut ann, &sql).await;
    }
    federation.stop().await;
}
