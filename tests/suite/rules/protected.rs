//! What may stand below a release point, where the release is, and what a clause matches (rules A.1 to A.6).

use dynamos_planner::policy::MinimumScope;

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
fn a5_released_rows_keep_or_drop_protected_ones_where_they_may_be() {
    let sql = "SELECT count(*) FROM a.s.people WHERE bsn IN (SELECT bsn FROM c.t.cases WHERE illness = 'flu')";
    let people = "RELEASE count OF * FROM s.people MINIMUM 5 DISTINCT id, JOIN ON bsn WITH REQUESTER";
    let cases = "RELEASE ROWS (bsn, illness) FROM t.cases, SHIP ROWS (bsn, illness) FROM t.cases TO a";
    let bench = |people: &str, cases: &str| Bench::none().with("a", "g", people).with("c", "g", cases);
    let both = bench(people, cases);
    let query = both.allows(sql);
    assert_eq!(query.graph().releases.len(), 1);
    for steward in ["a", "c"] {
        both.judged_by(steward, &query).unwrap();
    }
    both.allows(&sql.replace("IN", "NOT IN"));
    both.allows("SELECT count(*) FROM a.s.people x WHERE EXISTS (SELECT 1 FROM c.t.cases y WHERE y.bsn = x.bsn)");
    // A steward holds the others to its own agreement.
    let closed = people.replace("JOIN ON bsn", "JOIN ON id");
    bench(&closed, cases).refuses(sql, "no JOIN clause lets `bsn` be compared");
    assert!(bench(&closed, cases).judged_by("a", &query).unwrap_err().contains("no JOIN clause"));
    let elsewhere = cases.replace("TO a", "TO p");
    bench(people, &elsewhere)
        .refuses(sql, "c: released rows of `t.cases` would keep or drop rows of `a` there, and may not go to it");
    assert!(bench(people, &elsewhere).judged_by("c", &query).unwrap_err().contains("names another place"));
    // Rows that are not released are no list, wherever they may be.
    let protected = cases.replace("RELEASE ROWS (bsn, illness)", "RELEASE count OF *");
    bench(people, &protected).refuses(sql, "a LeftSemi join may not work on protected rows");
    assert!(bench(people, &protected).judged_by("c", &query).is_err());
    // Nor does a column of theirs go on.
    both.refuses(
        "SELECT illness, count(*) FROM a.s.people x JOIN c.t.cases y ON x.bsn = y.bsn GROUP BY illness",
        "has no JOIN clause",
    );
}

#[test]
fn a5_a_released_value_is_compared_as_a_literal_is() {
    let people = "RELEASE sum, count OF wage, * BY sex FROM s.people MINIMUM 5 DISTINCT id,
                  FILTER ON wage COMPARE WITH LITERALS";
    let jobs =
        "RELEASE avg, count, min OF pay, * BY sector FROM t.jobs MINIMUM 5 DISTINCT bsn, SHIP PARTIALS OF 1 TO a";
    let bench = |people: &str, jobs: &str| Bench::none().with("a", "g", people).with("d", "g", jobs);
    let both = bench(people, jobs);
    let sql = "SELECT sex, count(*) FROM a.s.people WHERE wage > (SELECT avg(pay) FROM d.t.jobs) GROUP BY sex";
    let query = both.allows(sql);
    let at = |release: usize| query.graph().fragment(query.graph().releases[release].fragment).unwrap().place.clone();
    assert_eq!((at(0).as_str(), at(1).as_str()), ("a", "d"), "each is decided beside its data");
    for steward in ["a", "d"] {
        both.judged_by(steward, &query).unwrap();
    }
    for condition in [
        "wage = (SELECT min(pay) FROM d.t.jobs)",
        "NOT wage <= (SELECT min(pay) FROM d.t.jobs)",
        "wage BETWEEN (SELECT min(pay) FROM d.t.jobs) AND (SELECT count(*) FROM d.t.jobs)",
        "wage > 3 AND wage < (SELECT avg(pay) FROM d.t.jobs)",
    ] {
        let query = both.allows(&format!("SELECT sum(wage) FROM a.s.people WHERE {condition}"));
        both.judged_by("a", &query).unwrap();
    }
    let unfiltered = people.replace("FILTER ON wage", "FILTER ON city");
    bench(&unfiltered, jobs).refuses(sql, "no FILTER clause allows the predicate");
    assert!(bench(&unfiltered, jobs).judged_by("a", &query).unwrap_err().contains("no FILTER clause allows"));
    let elsewhere = jobs.replace("TO a", "TO p");
    bench(people, &elsewhere).refuses(sql, "d: what clause 1 releases would keep or drop rows of `a` there");
    assert!(bench(people, &elsewhere).judged_by("d", &query).unwrap_err().contains("names another place"));
    for (sql, reason) in [
        ("SELECT count(*) FROM a.s.people WHERE city > (SELECT avg(pay) FROM d.t.jobs)", "no FILTER clause allows"),
        ("SELECT sum(wage - (SELECT avg(pay) FROM d.t.jobs)) FROM a.s.people", "does not list `sum`"),
        (
            "SELECT count(*) FROM a.s.people GROUP BY wage > (SELECT avg(pay) FROM d.t.jobs)",
            "does not list the grouping",
        ),
        (
            "SELECT sum(wage) FILTER (WHERE wage > (SELECT avg(pay) FROM d.t.jobs)) FROM a.s.people",
            "no FILTER clause allows the condition of `sum`",
        ),
        (
            "SELECT sum(wage) FILTER (WHERE wage > y.m) FROM a.s.people CROSS JOIN (SELECT avg(pay) AS m FROM d.t.jobs) y",
            "not in the FILTER of `sum`",
        ),
        ("SELECT count(*) FROM a.s.people WHERE 9 / wage > (SELECT avg(pay) FROM d.t.jobs)", "no FILTER clause allows"),
    ] {
        both.refuses(sql, reason);
    }
    // What decides is that each steward is sent the value by itself: none of them sees what the others are sent.
    let both = format!("{people}, SHIP PARTIALS OF 1 TO p");
    let federated = Bench::none()
        .with("a", "g", &both)
        .with("b", "g", &both)
        .with("d", "g", &jobs.replace("TO a", "TO a, b"))
        .allows("SELECT sex, sum(wage) FROM s.people WHERE wage > (SELECT avg(pay) FROM d.t.jobs) GROUP BY sex");
    let scopes: Vec<_> = federated.graph().releases.iter().map(|point| (point.clauses.len(), point.scope)).collect();
    assert!(scopes.contains(&(2, MinimumScope::PerSite)), "{scopes:?}");
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
