//! Minimums over a federation so small that every expected row can be worked out by hand: three people are enough.
//!
//! ```text
//!  group   at a            at b            people
//!  x       1 2 3 4, NULL   11 12 13        7        each steward's share is enough alone
//!  y       5               14 15           3        neither is; what is left of any is all three
//!  NULL    8 9 10                          3        a group like any other
//!  z       6 7                             2        too few
//!  v                       16 17           2        too few; with z four
//! ```
//!
//! Somebody's wage is ten times their number. 6 and 16 have been at the ward ten times.

use std::fmt::Write;
use std::path::Path;

use dynamos_cli::federation::{Client, Design, FederatedTable, Person, Provider, Steward};

use crate::federation::{TestFederation, afterword, answer, error};

/// Somebody's number and group.
type Row = (Option<u32>, &'static str);

const PEOPLE: [(&str, &[Row]); 2] = [
    (
        "a",
        &[
            (Some(1), "x"),
            (Some(2), "x"),
            (Some(3), "x"),
            (Some(4), "x"),
            (None, "x"),
            (Some(5), "y"),
            (Some(6), "z"),
            (Some(7), "z"),
            (Some(8), ""),
            (Some(9), ""),
            (Some(10), ""),
        ],
    ),
    (
        "b",
        &[
            (Some(11), "x"),
            (Some(12), "x"),
            (Some(13), "x"),
            (Some(14), "y"),
            (Some(15), "y"),
            (Some(16), "v"),
            (Some(17), "v"),
        ],
    ),
];

/// The wage of the row that is nobody's.
pub const NOBODY: u32 = 1_000;

pub fn design(root: &Path) -> Design {
    let mut stewards = Vec::new();
    for (steward, people) in PEOPLE {
        let mut rows = "id,grp,wage,bonus,car\n".to_owned();
        let mut visits = "id,day\n".to_owned();
        for (id, group) in people {
            let wage = id.map_or(NOBODY, |id| id * 10);
            // Two people of x have a bonus.
            let bonus = id.filter(|id| *id == 1 || *id == 11).map(|_| "7").unwrap_or_default();
            let key = id.map(|id| id.to_string()).unwrap_or_default();
            // Two people of y have no car.
            let car = if matches!(id, Some(14 | 15)) { "" } else { "1" };
            writeln!(rows, "{key},{group},{wage},{bonus},{car}").unwrap();
            for day in 0..id.map_or(0, |id| if id % 10 == 6 { 10 } else { 1 }) {
                writeln!(visits, "{key},{day}").unwrap();
            }
        }
        std::fs::create_dir_all(root.join(steward)).unwrap();
        std::fs::write(root.join(steward).join("people.csv"), rows).unwrap();
        std::fs::write(root.join(steward).join("visits.csv"), visits).unwrap();
        let table = |name: &str| {
            format!(
                "[[tables]]\nschema = \"s\"\ntable = \"{name}\"\npath = \"{name}.csv\"\nformat = \"csv\"\nentity = \"id\"\n"
            )
        };
        let agreement = |outcome: &str| {
            let relation = "FROM s.people JOIN s.visits ON id";
            format!(
                "CREATE AGREEMENT {outcome} ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS (
                   groups: RELEASE sum, avg, count OF wage, bonus, car, wage * car, * BY grp FROM s.people
                           MINIMUM 3 DISTINCT id ELSE {outcome},
                   joined: RELEASE sum, count OF wage, * BY grp {relation} MINIMUM 3 DISTINCT people.id ELSE {outcome},
                   SHIP PARTIALS OF groups TO p, SHIP PARTIALS OF joined TO p,
                   SHIP ROWS (id, grp, wage, bonus, car) FROM s.people TO p,
                   SHIP ROWS (people.id, grp, wage) {relation} TO p,
                   FILTER ON grp COMPARE WITH LITERALS)"
            )
        };
        let rows_only = format!(
            "CREATE AGREEMENT some ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS (
               RELEASE ROWS (grp, wage) FROM s.people WHERE id > 5,
               SHIP ROWS (grp, wage) FROM s.people WHERE id > 5 TO p)"
        );
        let alone = format!(
            "CREATE AGREEMENT alone ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS (
               groups: RELEASE sum, avg, count OF wage, car, * BY grp FROM s.people MINIMUM 3 DISTINCT id PER SITE ELSE DROP,
               SHIP PARTIALS OF groups TO p, FILTER ON grp COMPARE WITH LITERALS)"
        );
        stewards.push(Steward {
            name: steward.into(),
            tables: format!("{}\n{}", table("people"), table("visits")),
            agreements: ["drop", "remainder", "fail"].map(agreement).into_iter().chain([rows_only, alone]).collect(),
        });
    }
    stewards.push(Steward { name: "c".into(), tables: String::new(), agreements: Vec::new() });
    let federated = |table: &str| FederatedTable {
        schema: "s".into(),
        table: table.into(),
        stewards: ["a", "b"].map(str::to_owned).to_vec(),
    };
    Design {
        stewards,
        providers: vec![Provider { name: "p".into() }],
        federated: ["people", "visits"].map(federated).into(),
        people: vec![Person {
            user: "ann@c".into(),
            organisation: "c".into(),
            role: "analyst".into(),
            purpose: "statistics".into(),
        }],
        site_limits: String::new(),
    }
}

/// Rows of an answer, sorted, under every placement the same.
pub async fn everywhere(client: &mut Client, sql: &str) -> Vec<String> {
    // The condition of one value is a column that no SHIP ROWS lists, and so is a product.
    let placements: &[&str] = if sql.contains("FILTER") || sql.contains("wage * car") {
        &["auto", "compute_to_data"]
    } else {
        &["auto", "compute_to_data", "data_to_compute"]
    };
    let mut answers = Vec::new();
    for placement in placements {
        answer(client, &format!("SET dynamos.placement = '{placement}'")).await;
        let mut rows: Vec<String> = answer(client, sql).await.into_iter().map(|row| row.join("|")).collect();
        let ordered = sql.rfind("ORDER BY").is_some_and(|at| sql.rfind(')').is_none_or(|end| end < at));
        if !ordered {
            rows.sort();
        }
        answers.push(rows);
    }
    assert!(answers.iter().all(|one| *one == answers[0]), "{sql}: {answers:?}");
    answers.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b2_b5_every_value_of_a_group_has_enough_people_behind_it() {
    let federation = TestFederation::design(design).await;
    let by_group = "SELECT grp, count(*), sum(wage) FROM s.people GROUP BY grp";
    let mut ann = federation.client("ann@c", "auto", by_group).await;
    answer(&mut ann, "SET dynamos.agreement = 'drop'").await;
    let x = format!("x|8|{}", 10 + 20 + 30 + 40 + 110 + 120 + 130 + NOBODY);
    for (sql, expected) in [
        // A NULL key is a group, a NULL person is nobody, and groups may lie at both stewards.
        (by_group, vec!["NULL|3|270", x.as_str(), "y|3|340"]),
        // A join that multiplies rows multiplies no people; the row that is nobody's has no match.
        (
            "SELECT p.grp, count(*) FROM s.people p JOIN s.visits v ON p.id = v.id GROUP BY p.grp",
            vec!["NULL|3", "x|7", "y|3"],
        ),
        // Two people have a bonus: too few behind that value, whatever stands beside it.
        ("SELECT grp, count(*), sum(bonus) FROM s.people GROUP BY grp", vec![]),
        ("SELECT count(bonus) FROM s.people", vec!["NULL"]),
        // Two people have no car: too few to be left of all others.
        ("SELECT count(car) FROM s.people", vec!["16"]),
        ("SELECT count(*), count(car) FROM s.people", vec!["NULL|NULL"]),
        ("SELECT count(*), count(car) FROM s.people WHERE grp = 'x'", vec!["8|8"]),
        ("SELECT count(*), sum(car), avg(car) FROM s.people", vec!["NULL|NULL|NULL"]),
        // Also if the car is a factor of what is summed.
        ("SELECT sum(wage), sum(wage * car) FROM s.people WHERE grp IN ('x', 'y')", vec!["NULL|NULL"]),
        ("SELECT sum(wage), sum(wage * car) FROM s.people WHERE grp = 'x'", vec!["1460|1460"]),
        // Groups without rows are not there, and nobody looks like few.
        ("SELECT grp, count(*) FROM s.people WHERE grp = 'nobody' GROUP BY grp", vec![]),
        ("SELECT count(*), sum(wage) FROM s.people WHERE grp = 'nobody'", vec!["NULL|NULL"]),
        ("SELECT count(*), sum(wage) FROM s.people WHERE grp = 'z'", vec!["NULL|NULL"]),
        ("SELECT count(*) FILTER (WHERE grp = 'z'), count(*) FROM s.people", vec!["NULL|NULL"]),
        ("SELECT count(*) FROM s.people", vec!["18"]),
        // What is left of one value without another is nobody or enough: here three people without a group, there z's two.
        ("SELECT count(*), count(*) FILTER (WHERE grp <> 'nobody') FROM s.people", vec!["18|15"]),
        ("SELECT count(*), count(*) FILTER (WHERE grp <> 'z') FROM s.people", vec!["18|13"]),
        ("SELECT count(*), count(*) FILTER (WHERE grp <> 'z' OR grp IS NULL) FROM s.people", vec!["NULL|NULL"]),
        // An average is of the same column as a sum, though it is computed in doubles.
        ("SELECT sum(wage) FILTER (WHERE grp <> 'z' OR grp IS NULL), avg(wage) FROM s.people", vec!["NULL|NULL"]),
        (
            "SELECT sum(wage) FILTER (WHERE grp IN ('x', 'z')), sum(wage) FILTER (WHERE grp = 'x') FROM s.people",
            vec!["NULL|NULL"],
        ),
        (
            "SELECT count(*) FILTER (WHERE grp IN ('x', 'y')), count(*) FILTER (WHERE grp = 'x') FROM s.people",
            vec!["11|8"],
        ),
    ] {
        assert_eq!(everywhere(&mut ann, sql).await, expected, "{sql}");
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_groups_that_are_added_up_leave_nobody_or_enough_of_a_steward() {
    let federation = TestFederation::design(design).await;
    let both = "SELECT grp, sum(wage) FROM s.people WHERE grp = 'y' OR grp IS NULL GROUP BY grp";
    let mut ann = federation.client("ann@c", "auto", both).await;
    // Alone each is three people, and neither steward's part of y is known. Of both together a's four people are: two of b are left.
    for (agreement, expected) in [("drop", vec!["NULL|270"]), ("remainder", vec!["NULL|270"])] {
        answer(&mut ann, &format!("SET dynamos.agreement = '{agreement}'")).await;
        assert_eq!(everywhere(&mut ann, both).await, expected, "{agreement}");
    }
    answer(&mut ann, "SET dynamos.agreement = 'fail'").await;
    assert!(error(&mut ann, both).await.to_string().contains("below the agreed minimum"));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_what_stands_above_a_minimum_sees_released_groups_only() {
    let federation = TestFederation::design(design).await;
    let by_group = "SELECT grp, count(*) AS n FROM s.people GROUP BY grp";
    let mut ann = federation.client("ann@c", "auto", by_group).await;
    answer(&mut ann, "SET dynamos.agreement = 'drop'").await;
    for (sql, expected) in [
        // Three groups are left, in any order and under any condition on their counts.
        (format!("{by_group} HAVING count(*) < 4 ORDER BY grp NULLS LAST"), vec!["y|3", "NULL|3"]),
        (format!("{by_group} HAVING count(*) < 3"), vec![]),
        (format!("{by_group} ORDER BY n DESC, grp LIMIT 2"), vec!["x|8", "y|3"]),
        // An aggregate of the groups is one of those that are released.
        (format!("SELECT sum(n), max(n), count(*) FROM ({by_group})"), vec!["14|8|3"]),
        // Branches of a union are released each by itself.
        (
            "SELECT grp, count(*) FROM s.people GROUP BY grp UNION ALL SELECT 'all', count(*) FROM s.people".to_owned(),
            vec!["NULL|3", "all|18", "x|8", "y|3"],
        ),
        (format!("SELECT grp, rank() OVER (ORDER BY n DESC) FROM ({by_group})"), vec!["NULL|2", "x|1", "y|2"]),
        (format!("SELECT grp, sum(n) OVER () FROM ({by_group})"), vec!["NULL|14", "x|14", "y|14"]),
        (
            format!(
                "SELECT one.grp, one.n FROM ({by_group}) one LEFT JOIN ({by_group}) two ON one.grp = two.grp AND two.n > 3"
            ),
            vec!["NULL|3", "x|8", "y|3"],
        ),
    ] {
        assert_eq!(everywhere(&mut ann, &sql).await, expected, "{sql}");
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_b5_the_rest_is_merged_or_fails_the_query() {
    let federation = TestFederation::design(design).await;
    let by_group = "SELECT grp, count(*), sum(wage) FROM s.people GROUP BY grp";
    let mut ann = federation.client("ann@c", "auto", by_group).await;
    answer(&mut ann, "SET dynamos.agreement = 'remainder'").await;
    let x = format!("x|8|{}", 10 + 20 + 30 + 40 + 110 + 120 + 130 + NOBODY);
    // z and v together are four people.
    assert_eq!(everywhere(&mut ann, by_group).await, ["NULL|3|270", "NULL|4|460", x.as_str(), "y|3|340"]);
    // v alone is below the minimum: it is released by no name, and nobody could be subtracted from.
    let few = "SELECT grp, count(*) FROM s.people WHERE grp IN ('x', 'v') GROUP BY grp";
    assert_eq!(everywhere(&mut ann, few).await, ["NULL|10"], "x is taken along, so that v is not what is missing");
    answer(&mut ann, "SET dynamos.agreement = 'fail'").await;
    let failed = error(&mut ann, by_group).await.to_string();
    assert!(failed.contains("below the agreed minimum"), "{failed}");
    let fine = "SELECT grp, count(*) FROM s.people WHERE grp IN ('x', 'y') GROUP BY grp";
    assert_eq!(everywhere(&mut ann, fine).await, ["x|8", "y|3"]);
    let nobody = error(&mut ann, "SELECT count(*) FROM s.people WHERE grp = 'nobody'").await.to_string();
    assert!(nobody.contains("below the agreed minimum"), "{nobody}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_rows_under_a_condition_are_released_and_nothing_sees_the_others() {
    let federation = TestFederation::design(design).await;
    let all = "SELECT grp, wage FROM s.people WHERE id > 5";
    let mut ann = federation.client("ann@c", "auto", all).await;
    let expected = [
        "NULL|100", "NULL|80", "NULL|90", "v|160", "v|170", "x|110", "x|120", "x|130", "y|140", "y|150", "z|60", "z|70",
    ];
    assert_eq!(everywhere(&mut ann, all).await, expected);
    // The fifth person, who is not among them, earns 50: what fails on that row never sees it, wherever it stands.
    for (sql, expected) in [
        (
            "SELECT wage FROM s.people WHERE 700 / (wage - 50) > 10 AND id > 5",
            vec!["100", "110", "60", "70", "80", "90"],
        ),
        (
            "SELECT wage FROM (SELECT wage FROM s.people WHERE id > 5) WHERE 700 / (wage - 50) > 10",
            vec!["100", "110", "60", "70", "80", "90"],
        ),
        ("SELECT wage FROM s.people WHERE id > 5 AND wage < 80 AND 700 / (wage - 50) > 10", vec!["60", "70"]),
        ("SELECT count(*), max(wage) FROM s.people WHERE id > 5", vec!["12|170"]),
    ] {
        assert_eq!(everywhere(&mut ann, sql).await, expected, "{sql}");
    }
    for (sql, reason) in [
        ("SELECT grp, wage FROM s.people", "it needs the condition"),
        ("SELECT grp, wage FROM s.people WHERE id > 4", "it needs the condition"),
        ("SELECT id FROM s.people WHERE id > 5", "it does not list"),
        ("SELECT wage FROM s.people WHERE id > 5 AND bonus > 1", "it does not list"),
    ] {
        let refused = error(&mut ann, sql).await.to_string();
        assert!(refused.contains(reason), "{sql}: {refused}");
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_the_answer_says_which_stewards_are_in_it() {
    let federation = TestFederation::design(design).await;
    let by_group = "SELECT grp, count(*) FROM s.people GROUP BY grp";
    let mut ann = federation.client("ann@c", "auto", by_group).await;
    answer(&mut ann, "SET dynamos.agreement = 'alone'").await;
    for (sql, rows, a, b) in [
        // b has nobody without a group, and too few of y; a has too few of y, too.
        (by_group, vec!["NULL|3", "x|8"], true, true),
        ("SELECT count(*) FROM s.people WHERE grp IS NULL", vec!["3"], true, false),
        ("SELECT count(*) FROM s.people", vec!["18"], true, true),
        ("SELECT count(*), sum(wage) FROM s.people WHERE grp IN ('y', 'v')", vec!["4|620"], false, true),
        ("SELECT grp, count(*) FROM s.people WHERE grp = 'y' GROUP BY grp", vec![], false, false),
        // An average is sent as a sum and a count, and two people of b have no car.
        ("SELECT avg(car), count(*) FROM s.people", vec!["1.000000000|11"], true, false),
    ] {
        let mut answered: Vec<String> = answer(&mut ann, sql).await.into_iter().map(|row| row.join("|")).collect();
        answered.sort();
        assert_eq!(answered, rows, "{sql}");
        let edges = answer(&mut ann, "SHOW EDGES FOR LAST QUERY").await;
        let of = |steward: &str| edges.iter().find(|edge| edge[1] == steward).map(|edge| edge[6].clone()).unwrap();
        assert_eq!([of("a"), of("b")], [a, b].map(|released: bool| released.to_string()), "{sql}");
        assert_eq!(edges.iter().find(|edge| edge[1] == "coordinator").unwrap()[6], "NULL");
        let said = afterword(&mut ann, sql).await.unwrap();
        let query = answer(&mut ann, "SHOW DECISIONS").await[0][1].clone();
        let released = serde_json::json!({"a": a, "b": b});
        assert_eq!(said, serde_json::json!({"answers": [{"query": query, "released": released}]}), "{sql}");
        let nothing = [("a", a), ("b", b)].into_iter().filter(|(_, released)| !released).map(|(name, _)| name);
        let nothing = nothing.collect::<Vec<_>>().join(", ");
        let told = answer(&mut ann, "SELECT coalesce(released_nothing, '') FROM dynamos.decisions LIMIT 1").await;
        assert_eq!(told, [[nothing]], "{sql}");
        let measured = answer(&mut ann, &format!("EXPLAIN ANALYZE {sql}")).await;
        let measured = measured.into_iter().map(|row| row.join("|")).collect::<Vec<_>>().join("\n");
        assert_eq!(
            measured.matches("released nothing").count(),
            [a, b].into_iter().filter(|some| !some).count(),
            "{measured}"
        );
    }
    // Where the groups are decided about together there is nothing to say.
    answer(&mut ann, "SET dynamos.agreement = 'drop'").await;
    assert_eq!(afterword(&mut ann, by_group).await, None);
    federation.stop().await;
}
