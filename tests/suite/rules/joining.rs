//! Joins over stewards as each of them judges a graph that somebody else planned (rules A.5, B.6, B.7).

use super::bench::{Bench, places};

const PEOPLE: &str = "RELEASE avg, count OF wage, * BY sex FROM s.people MINIMUM 5 DISTINCT id,
                      SHIP ROWS (id, bsn, wage, sex) FROM s.people TO p, SHIP PARTIALS OF 1 TO p";
const CASES: &str =
    "RELEASE count OF * BY illness FROM t.cases MINIMUM 5 DISTINCT bsn, SHIP ROWS (bsn, illness) FROM t.cases TO p";
const JOINED: &str =
    "SELECT c.illness, avg(x.wage) FROM s.people x JOIN c.t.cases c ON x.bsn = c.bsn GROUP BY c.illness";

/// What each steward adds to its clauses.
fn bench(a: &str, b: &str, c: &str) -> Bench {
    let with =
        |clauses: &str, more: &str| if more.is_empty() { clauses.to_owned() } else { format!("{clauses}, {more}") };
    Bench::none().with("a", "g", &with(PEOPLE, a)).with("b", "g", &with(PEOPLE, b)).with("c", "g", &with(CASES, c))
}

#[test]
fn b7_a_condition_of_another_s_value_is_no_condition_of_the_rows() {
    let people =
        "RELEASE sum, count OF wage, * FROM s.people WHERE city = 'x' MINIMUM 5 DISTINCT id, JOIN ON bsn WITH c";
    let cases = "RELEASE count OF illness, * FROM t.cases MINIMUM 5 DISTINCT bsn, JOIN ON bsn WITH a,
                 SHIP ROWS (bsn, illness) FROM t.cases TO a";
    let bench = |people: &str| Bench::none().with("a", "g", people).with("c", "g", cases);
    let from = "FROM a.s.people x JOIN c.t.cases y ON x.bsn = y.bsn";
    bench(people).allows(&format!("SELECT sum(x.wage), count(y.illness) {from} WHERE x.city = 'x'"));
    let of_one = format!("SELECT sum(x.wage), count(y.illness) FILTER (WHERE x.city = 'x') {from}");
    bench(people).refuses(&of_one, "it needs the condition");
    let filter = format!("{people}, FILTER ON city COMPARE WITH LITERALS");
    bench(&filter).refuses(&of_one, "it needs the condition");
    // Where the clause wants none, the condition is one that FILTER allows or not.
    let any = people.replace("WHERE city = 'x' ", "");
    bench(&any).refuses(&of_one, "no FILTER clause allows the condition");
    bench(&format!("{any}, FILTER ON city COMPARE WITH LITERALS")).allows(&of_one);
}

#[test]
fn b7_each_steward_judges_the_join_by_itself() {
    let (people, cases) = ("JOIN ON bsn WITH c", "JOIN ON bsn WITH ANY");
    let agreed = bench(people, people, cases);
    let query = agreed.allows(JOINED);
    assert!(places(&query).contains("p"));
    for steward in ["a", "b", "c"] {
        agreed.judged_by(steward, &query).unwrap();
    }
    let by_table = bench("JOIN ON bsn WITH TABLE t.cases", people, "JOIN ON bsn WITH TABLE people");
    for steward in ["a", "b", "c"] {
        by_table.judged_by(steward, &query).unwrap();
    }
    // The same graph under agreements that lack one of the clauses: only whose clause it is can know, and refuses.
    for (bench, at, reason) in [
        (bench("", people, cases), "a", "no JOIN clause that lets its rows be joined with `c` on `bsn`"),
        (
            bench(people, "JOIN ON bsn WITH a", cases),
            "b",
            "no JOIN clause that lets its rows be joined with `c` on `bsn`",
        ),
        (
            bench(people, people, "JOIN ON bsn WITH a"),
            "c",
            "no JOIN clause that lets its rows be joined with `b` on `bsn`",
        ),
        (
            bench(people, people, "JOIN ON bsn, illness WITH ANY"),
            "c",
            "no JOIN clause that lets its rows be joined with `a`",
        ),
        (
            bench(people, people, "JOIN ON bsn WITH REQUESTER"),
            "c",
            "no JOIN clause that lets its rows be joined with `a`",
        ),
    ] {
        let refused = bench.judged_by(at, &query).unwrap_err();
        assert!(refused.contains(reason), "{at}: {refused}");
        for other in ["a", "b", "c"].into_iter().filter(|other| *other != at) {
            bench.judged_by(other, &query).unwrap();
        }
        bench.refuses(JOINED, reason);
    }
}

#[test]
fn b7_a_part_without_columns_in_the_answer_releases_its_rows() {
    let (people, cases) = ("JOIN ON bsn WITH c", "JOIN ON bsn WITH ANY");
    let only_average =
        "RELEASE avg OF wage FROM s.people MINIMUM 5 DISTINCT id, SHIP ROWS (id, bsn, wage) FROM s.people TO p";
    let by_illness =
        "SELECT c.illness, count(*) FROM a.s.people x JOIN c.t.cases c ON x.bsn = c.bsn GROUP BY c.illness";
    let average = "SELECT avg(x.wage) FROM a.s.people x JOIN c.t.cases c ON x.bsn = c.bsn";
    let bench =
        Bench::none().with("a", "g", &format!("{only_average}, {people}")).with("c", "g", &format!("{CASES}, {cases}"));
    // Of people the first shows nothing but how many rows there are; of cases the second does.
    bench.refuses(by_illness, "does not list `count` of `*`");
    bench.allows(average);
    let no_count = "RELEASE max OF illness FROM t.cases MINIMUM 5 DISTINCT bsn, SHIP ROWS (bsn) FROM t.cases TO p";
    let bench = Bench::none().with("a", "g", &format!("{only_average}, {people}")).with(
        "c",
        "g",
        &format!("{no_count}, {cases}"),
    );
    bench.refuses(average, "does not list `count` of `*`");
}

#[test]
fn a5_each_steward_judges_a_list_by_itself() {
    let sql = "SELECT sex, avg(wage) FROM s.people WHERE bsn IN (VALUES (1), (2), (3)) GROUP BY sex";
    let list = "JOIN ON bsn WITH REQUESTER";
    let agreed = bench(list, list, "");
    let query = agreed.allows(sql);
    agreed.judged_by("a", &query).unwrap();
    for other in ["", "JOIN ON id WITH REQUESTER", "JOIN ON bsn WITH c", "FILTER ON bsn COMPARE WITH LITERALS"] {
        let refused = bench(other, list, "").judged_by("a", &query).unwrap_err();
        assert!(
            refused.contains("no JOIN clause lets `bsn` be compared with rows of the requester"),
            "{other}: {refused}"
        );
        bench(other, list, "").judged_by("b", &query).unwrap();
    }
}

#[test]
fn b6_joined_rows_of_several_stewards_have_no_groups_of_one_alone() {
    let (people, cases) = ("JOIN ON bsn WITH c", "JOIN ON bsn WITH ANY");
    let query = bench(people, people, cases).allows(JOINED);
    let alone = |clauses: &str| {
        clauses.replace("DISTINCT id", "DISTINCT id PER SITE").replace("DISTINCT bsn", "DISTINCT bsn PER SITE")
    };
    let of = |at: &str, clauses: &str, more: &str| {
        let clauses = format!("{clauses}, {more}");
        ["a", "b", "c"].into_iter().fold(Bench::none(), |all, steward| {
            let own = match steward {
                "c" => format!("{CASES}, {cases}"),
                _ => format!("{PEOPLE}, {people}"),
            };
            all.with(steward, "g", if steward == at { &clauses } else { &own })
        })
    };
    for (at, clauses, more) in [("a", PEOPLE, people), ("b", PEOPLE, people), ("c", CASES, cases)] {
        let bench = of(at, &alone(clauses), more);
        bench.refuses(JOINED, "PER SITE has no meaning over joined rows of several stewards");
        let refused = bench.judged_by(at, &query).unwrap_err();
        assert!(refused.contains("is not decided by each steward over its own groups"), "{at}: {refused}");
    }
}
