//! What may stand below a release point, where the release is, and what a clause matches (rules A.1 to A.6).

use super::bench::{Bench, places};

const CLAUSES: &str = "RELEASE sum, count OF wage, * BY sex, city FROM s.people MINIMUM 5 DISTINCT id,
                       SHIP PARTIALS OF 1 TO p, FILTER ON city COMPARE WITH LITERALS,
                       RELEASE count OF * FROM s.visits";

#[test]
fn a1_below_a_release_there_are_joins_filters_and_projections_only() {
    let bench = Bench::both(CLAUSES);
    bench.allows("SELECT sum(w) FROM (SELECT wage AS w, city FROM s.people WHERE city = 'x') WHERE city < 'y'");
    for (sql, reason) in [
        ("SELECT sum(wage) FROM (SELECT wage FROM s.people LIMIT 5)", "`Limit` may not work on protected rows"),
        ("SELECT sum(wage) FROM (SELECT wage FROM s.people ORDER BY wage LIMIT 5)", "may not work on protected rows"),
        ("SELECT sum(n) FROM (SELECT row_number() OVER (ORDER BY wage) AS n FROM s.people)", "`WindowAggr` may not"),
        ("SELECT sum(wage) FROM (SELECT DISTINCT wage FROM s.people)", "does not list the grouping"),
        ("SELECT sum(n) FROM (SELECT wage, count(*) AS n FROM s.people GROUP BY wage)", "does not list the grouping"),
        ("SELECT sum(w) FROM (SELECT wage w FROM a.s.people UNION ALL SELECT wage FROM b.s.people)", "`Union` may not"),
        ("SELECT sum(wage) FROM s.people x FULL JOIN s.visits y ON x.id = y.id", "a Full join may not work"),
        ("SELECT sum(wage) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id", "it is about another relation"),
        ("SELECT sum(wage) FROM s.people WHERE city = CAST(random() AS text)", "no FILTER clause allows"),
    ] {
        bench.refuses(sql, reason);
    }
}

#[test]
fn a2_the_release_crosses_the_wire_without_its_conditions() {
    let sql = "SELECT sex, sum(wage) FROM a.s.people GROUP BY sex";
    let release = |minimum: &str| {
        let bench = Bench::none().with("a", "g", &format!("RELEASE sum OF wage BY sex FROM s.people {minimum}"));
        let query = bench.allows(sql);
        assert_eq!(query.graph().releases[0].clauses[0].clause, 1);
        format!("{:?}", query.graph().releases)
    };
    let ten = release("MINIMUM 10 DISTINCT id ELSE FAIL");
    assert_eq!(ten, release("MINIMUM 99 DISTINCT id ROUND TO 7 ELSE REMAINDER"));
    assert!(ten.contains("clause: 1") && !ten.contains("10"), "{ten}");
}

#[test]
fn a3_the_lowest_legal_aggregate_is_the_release() {
    // Both could be one: the sum of all groups, or all groups.
    let query =
        Bench::both(CLAUSES).allows("SELECT sum(s) FROM (SELECT sex, sum(wage) AS s FROM s.people GROUP BY sex)");
    let releases = &query.graph().releases;
    assert_eq!((releases.len(), releases[0].shape.keys), (1, 1));
}

#[test]
fn a4_released_data_go_where_partials_or_rows_may() {
    let sql = "SELECT x.city, x.n * y.n FROM (SELECT city, count(*) AS n FROM s.people GROUP BY city) x
               JOIN (SELECT city, count(*) AS n FROM s.people GROUP BY city) y ON x.city = y.city ORDER BY 1";
    let query = Bench::both(CLAUSES).allows(sql);
    let found = places(&query);
    assert!(!found.contains("q"), "no clause names q: {found:?}");
    let releases = query.graph().releases.iter();
    let at: Vec<&str> = releases.map(|point| query.graph().fragment(point.fragment).unwrap().place.as_str()).collect();
    assert!(at.iter().all(|place| *place == "p"), "partials may meet at p only: {at:?}");
    // Without partials there is no place where they meet.
    Bench::both("RELEASE count OF * BY city FROM s.people MINIMUM 5 DISTINCT id").refuses(sql, "no place");
}

#[test]
fn a5_a_list_needs_a_clause_and_gives_no_column() {
    let sql = "SELECT count(*) FROM a.s.people WHERE id IN (VALUES (1), (2))";
    let release = "RELEASE count OF * FROM s.people MINIMUM 5 DISTINCT id";
    Bench::none()
        .with("a", "g", release)
        .refuses(sql, "no JOIN clause lets `id` be compared with rows of the requester");
    let bench = Bench::none().with("a", "g", &format!("{release}, JOIN ON id WITH REQUESTER"));
    bench.allows(sql);
    bench.refuses(
        "SELECT count(*) FROM a.s.people x JOIN (VALUES (1), (2)) l(k) ON x.id = l.k",
        "joined with released rows",
    );
    bench.refuses("SELECT count(*) FROM a.s.people WHERE wage IN (VALUES (1))", "no JOIN clause lets `wage`");
}

#[test]
fn a6_a_clause_matches_what_is_written_and_coarser_groupings() {
    let bench = Bench::both(CLAUSES);
    for sql in [
        "SELECT sex, city, sum(wage), count(wage), count(*), count(1) FROM s.people GROUP BY sex, city",
        "SELECT sum(wage) FROM s.people GROUP BY city",
        "SELECT sum(wage) FROM s.people",
        "SELECT DISTINCT sex FROM s.people",
        "SELECT upper(sex), n FROM (SELECT sex, count(*) AS n FROM s.people GROUP BY sex)",
    ] {
        bench.allows(sql);
    }
    for (sql, reason) in [
        ("SELECT upper(sex), count(*) FROM s.people GROUP BY upper(sex)", "does not list the grouping"),
        ("SELECT sex, wage, count(*) FROM s.people GROUP BY sex, wage", "does not list the grouping"),
        ("SELECT sum(wage + 1) FROM s.people", "does not list `sum`"),
        ("SELECT count(DISTINCT wage) FROM s.people", "does not list `count`"),
        ("SELECT count(pension) FROM s.people", "does not list `count`"),
        ("SELECT max(wage) FROM s.people", "does not list `max`"),
    ] {
        bench.refuses(sql, reason);
    }
    // Functions of one release point come from one clause.
    let two = Bench::none().with("a", "g", "RELEASE sum OF wage FROM s.people, RELEASE count OF * FROM s.people");
    two.allows("SELECT sum(wage) FROM a.s.people");
    two.allows("SELECT count(*) FROM a.s.people");
    two.refuses("SELECT sum(wage), count(*) FROM a.s.people", "does not list");
}
