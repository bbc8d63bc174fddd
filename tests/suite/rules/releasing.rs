//! Rows that are released under a condition of the clause, and grouping sets (rules C.3, B.5).

use dynamos_planner::policy::release_points;
use dynamos_proto::ids::SiteId;

use super::bench::Bench;

#[test]
fn c3_the_condition_of_a_clause_is_stated_and_applied_in_the_view() {
    let clause = "RELEASE ROWS (city, wage) FROM s.people WHERE sex = 'f'";
    let ship = "SHIP ROWS (city, wage) FROM s.people WHERE sex = 'f' TO p";
    let bench = Bench::both(&format!("{clause}, {ship}"));
    let query = bench.allows("SELECT city FROM s.people WHERE sex = 'f' AND 100 / wage > 1 ORDER BY wage");
    let plans = query.graph().fragments.iter().map(|one| one.plan.display_indent().to_string()).collect::<String>();
    assert!(plans.contains("a#1.s.people") && plans.contains("b#1.s.people"), "{plans}");
    assert!(!plans.contains("sex"), "the condition stays in the view: {plans}");
    bench.allows("SELECT x.city FROM s.people x JOIN s.people y ON x.wage = y.wage WHERE x.sex = 'f' AND y.sex = 'f'");
    bench.allows("SELECT city, max(wage) FROM s.people WHERE 'f' = sex GROUP BY city");
    for sql in [
        "SELECT city FROM s.people",
        "SELECT city FROM s.people WHERE sex IN ('f', 'm')",
        "SELECT sex FROM s.people WHERE sex = 'f'",
        "SELECT city FROM s.people WHERE sex = 'f' AND pension > 1",
        "SELECT city FROM s.people WHERE sex = 'f' OR wage > 1",
    ] {
        bench.refuses(sql, "it needs the condition");
    }
    // A steward whose clause has no such condition does not believe that it has.
    for other in [
        "RELEASE ROWS (city, wage) FROM s.people",
        "RELEASE ROWS (city, wage) FROM s.visits WHERE ward = 'f'",
        "RELEASE sum OF wage FROM s.people WHERE sex = 'f'",
    ] {
        let refused = Bench::both(other).judged_by("a", &query).unwrap_err();
        assert!(refused.contains("releases no rows of `s.people` under a condition"), "{other}: {refused}");
    }
    let narrower = Bench::both(&format!("RELEASE ROWS (city) FROM s.people WHERE sex = 'f', {ship}"));
    assert!(narrower.judged_by("a", &query).is_err(), "wage is not listed");
}

const BY_TWO: &str =
    "RELEASE sum, count OF wage, * BY sex, city FROM s.people MINIMUM 5 DISTINCT id, SHIP PARTIALS OF 1 TO p";

#[test]
fn b5_one_clause_covers_all_grouping_sets_of_a_query() {
    let bench = Bench::both(BY_TWO);
    let narrower = Bench::both(&BY_TWO.replace("BY sex, city", "BY sex"));
    for (sets, many) in [
        ("ROLLUP (sex, city)", 3),
        ("CUBE (sex, city)", 4),
        ("GROUPING SETS ((city), (sex), (city))", 3),
        ("GROUPING SETS ((sex, city), ())", 2),
        ("sex, ROLLUP (city, steward)", 3),
    ] {
        let sql = format!("SELECT sex, sum(wage), grouping(sex) FROM s.people GROUP BY {sets}");
        let query = bench.allows(&sql);
        let releases = &query.graph().releases;
        assert_eq!((releases.len(), releases[0].shape.sets.len()), (1, many), "{sql}");
        for steward in ["a", "b"] {
            bench.judged_by(steward, &query).unwrap();
            assert!(narrower.judged_by(steward, &query).unwrap_err().contains("does not list the grouping"), "{sql}");
        }
        narrower.refuses(&sql, "does not list the grouping");
    }
    for (sets, reason) in [
        ("ROLLUP (sex, wage)", "does not list the grouping"),
        ("GROUPING SETS ((sex), (upper(city)))", "does not list the grouping"),
        ("CUBE (sex, city, steward, wage, pension, bsn, wage + 1)", "at most 64 grouping sets"),
        ("CUBE (sex, city, steward), CUBE (wage, pension, bsn), ROLLUP (sex)", "at most 64 grouping sets"),
        ("GROUPING SETS ((), ())", "of 1 to 32 different keys"),
    ] {
        bench.refuses(&format!("SELECT sum(wage) FROM s.people GROUP BY {sets}"), reason);
    }
    // What each of two clauses covers is two queries.
    let two = Bench::both(
        "RELEASE sum OF wage BY sex FROM s.people, RELEASE sum OF wage BY city FROM s.people, SHIP PARTIALS OF 1 TO p, SHIP PARTIALS OF 2 TO p",
    );
    two.allows("SELECT sum(wage) FROM s.people GROUP BY ROLLUP (sex)");
    two.allows("SELECT sum(wage) FROM s.people GROUP BY ROLLUP (city)");
    two.refuses("SELECT sum(wage) FROM s.people GROUP BY GROUPING SETS ((sex), (city))", "does not list the grouping");
}

#[test]
fn b5_aggregates_side_by_side_tell_nothing_small_together() {
    let bench = Bench::both(&format!("{}, FILTER ON city COMPARE WITH LITERALS", BY_TWO.replace("sum,", "sum, avg,")));
    let by = |keys: &str| format!("SELECT sum(wage) AS s FROM s.people GROUP BY {keys}");
    let total = "SELECT sum(wage) AS s FROM s.people";
    for sql in [
        // Groups and what they are of.
        format!("{} UNION ALL {total}", by("sex")),
        format!("SELECT x.s / (SELECT sum(wage) FROM s.people) FROM ({}) x", by("sex, city")),
        // The same groups.
        format!("SELECT x.s FROM ({}) x JOIN ({}) y ON x.s = y.s", by("sex"), by("sex")),
        format!("{} UNION ALL SELECT count(*) FROM s.people GROUP BY sex", by("sex")),
        "SELECT count(*), count(wage) FROM s.people UNION ALL SELECT count(wage), 0 FROM s.people GROUP BY sex"
            .to_owned(),
        // What is told of one column cannot be taken from what is told of the other.
        format!("{} UNION ALL SELECT count(*) FROM s.people GROUP BY city", by("sex")),
        format!("{} UNION ALL SELECT count(*) FROM s.people WHERE city = 'x'", by("sex")),
        "SELECT DISTINCT sex FROM s.people UNION ALL SELECT DISTINCT city FROM s.people".to_owned(),
        // Nobody is in both.
        "SELECT x.n - y.n FROM (SELECT city, sum(wage) AS n FROM s.people WHERE city = 'x' GROUP BY city) x
         JOIN (SELECT sex, sum(wage) AS n FROM s.people WHERE city IN ('y', 'z') GROUP BY sex) y ON x.n = y.n"
            .to_owned(),
        "SELECT sum(wage) FROM a.s.people GROUP BY sex UNION ALL SELECT sum(wage) FROM b.s.people GROUP BY city"
            .to_owned(),
        // A steward's own share is nobody's secret, or it is withheld from what all have.
        format!("{total} UNION ALL SELECT sum(wage) FROM a.s.people"),
    ] {
        bench.allows(&sql);
    }
    for (sql, reason) in [
        (format!("{} UNION ALL {}", by("sex"), by("city")), "by other keys"),
        // A small city goes with a larger one, of which the finer groups may tell all.
        (format!("{} UNION ALL {}", by("sex, city"), by("city")), "by other keys"),
        // The same groups, decided in another way: by what stands beside them, or by one steward alone.
        (
            format!("{} UNION ALL SELECT sum(wage) + count(*) FROM s.people GROUP BY sex", by("sex")),
            "with other values beside them",
        ),
        (format!("{} UNION ALL SELECT sum(wage) FROM a.s.people GROUP BY sex", by("sex")), "of other stewards"),
        (format!("{} UNION ALL {} UNION ALL {total}", by("sex, city"), by("sex")), "by other keys"),
        (
            format!("SELECT (SELECT max(s) FROM ({})) + (SELECT max(s) FROM ({}))", by("sex"), by("city")),
            "by other keys",
        ),
        (format!("{} UNION ALL SELECT sum(wage) FROM a.s.people GROUP BY city", by("sex")), "by other keys"),
        (format!("{} UNION ALL {}", by("ROLLUP (sex)"), by("sex")), "by other keys"),
        (format!("{total} UNION ALL {total} WHERE city = 'x'"), "of other rows"),
        // The conditions have one text.
        (
            format!(
                "{total} WHERE city <> 'x\") OR s.people.city = Utf8(\"y' UNION ALL {total} WHERE city <> 'x' OR city = 'y'"
            ),
            "of other rows",
        ),
        (format!("{total} WHERE city IN ('x', 'y') UNION ALL {total} WHERE city IN ('y', 'z')"), "of other rows"),
        (format!("{total} UNION ALL SELECT sum(wage) FILTER (WHERE city = 'x') FROM s.people"), "under other FILTERs"),
        (
            "SELECT sex, count(wage) FROM s.people GROUP BY sex UNION ALL SELECT '', count(*) FROM s.people".into(),
            "with and without it",
        ),
        // A steward's total beside groups of all of them.
        (format!("{} UNION ALL SELECT sum(wage) FROM a.s.people", by("city")), "by other keys"),
        // Counts under other FILTERs, and of other columns: that all have a wage may be known.
        (
            "SELECT count(*) FROM s.people UNION ALL SELECT count(wage) FILTER (WHERE city = 'x') FROM s.people".into(),
            "under other FILTERs",
        ),
        (
            "SELECT count(*) FROM s.people UNION ALL SELECT count(wage) FROM s.people WHERE city = 'x'".into(),
            "of other rows",
        ),
        // The sum and the average tell the count.
        (
            "SELECT count(*) + sum(wage) FROM s.people UNION ALL SELECT avg(wage) FROM s.people".into(),
            "with and without it",
        ),
        // What the third tells alone is no help where the first two tell it by sex.
        (
            "SELECT count(*) FROM s.people GROUP BY sex UNION ALL SELECT count(wage) FROM s.people GROUP BY sex
             UNION ALL SELECT count(*) + count(wage) FROM s.people"
                .into(),
            "with and without it",
        ),
        // The finer groups would be decided twice.
        (
            format!("{} UNION ALL SELECT sum(wage) + count(*) FROM s.people GROUP BY sex UNION ALL {total}", by("sex")),
            "by other keys",
        ),
    ] {
        bench.refuses(&sql, reason);
    }
    // Each steward's total beside the groups of all of them.
    let per_site = "RELEASE sum OF wage FROM s.people MINIMUM 5 DISTINCT id PER SITE,
        RELEASE sum OF wage BY sex FROM s.people MINIMUM 5 DISTINCT id, SHIP PARTIALS OF 1 TO p, SHIP PARTIALS OF 2 TO p";
    let bench = Bench::both(per_site);
    bench.allows(total);
    bench.allows(&by("sex"));
    bench.refuses(&format!("{} UNION ALL {total}", by("sex")), "of other stewards");
    // Where there is no minimum nothing is too small.
    Bench::both("RELEASE sum OF wage BY sex, city FROM s.people, SHIP PARTIALS OF 1 TO p").allows(&format!(
        "{} UNION ALL {}",
        by("sex"),
        by("city")
    ));
}

#[test]
fn b5_a_column_that_the_engine_widens_is_one_column() {
    let bench = Bench::both("RELEASE sum, avg, sum DISTINCT, avg DISTINCT OF wage FROM s.people MINIMUM 5 DISTINCT id");
    for distinct in ["", "DISTINCT "] {
        let query = bench.allows(&format!("SELECT sum({distinct}wage), avg({distinct}wage) FROM a.s.people"));
        let values = &query.graph().releases[0].shape.aggregates;
        assert_ne!(values[0].argument, values[1].argument, "the average is of doubles");
        assert_eq!(values[0].origin, values[1].origin);
    }
}

#[test]
fn b5_averages_beside_those_of_their_groups_count() {
    let bench = Bench::both(&format!("{}, FILTER ON city COMPARE WITH LITERALS", BY_TWO.replace("sum,", "sum, avg,")));
    let counts = |sql: &str| -> Vec<bool> {
        let query = bench.allows(sql);
        query.graph().releases.iter().map(|release| release.shape.aggregates.iter().any(|value| value.known)).collect()
    };
    let groups = "SELECT avg(wage) FROM s.people GROUP BY sex";
    assert_eq!(counts(groups), [false]);
    // A portion alone is nobody's number.
    assert_eq!(counts(&format!("{groups} UNION ALL SELECT avg(wage) FROM s.people")), [false, false]);
    assert_eq!(counts("SELECT avg(wage) FROM s.people GROUP BY ROLLUP (sex)"), [false]);
    assert_eq!(counts("SELECT avg(wage), count(*) FROM s.people GROUP BY ROLLUP (sex)"), [true]);
    // The rows without a wage are a part that the total decides about.
    let all = "SELECT avg(wage) + count(*) FROM s.people";
    assert_eq!(counts(&format!("{groups} UNION ALL {all}")), [true, true]);
    // That of women, and that of those who do not live in one city.
    let others = "SELECT avg(wage) + count(*) + count(*) FILTER (WHERE city <> 'x') FROM s.people";
    bench.refuses(&format!("{groups} UNION ALL {others}"), "with and without it");
    bench.refuses(
        &format!("{groups} UNION ALL SELECT avg(wage) FROM s.people UNION ALL SELECT count(*) FROM s.people"),
        "with and without it",
    );
}

#[test]
fn b5_what_a_left_join_fills_up_is_told_by_the_steward_s_name() {
    let bench = Bench::both(
        "RELEASE sum OF wage FROM s.people LEFT JOIN s.visits ON id MINIMUM 5 DISTINCT people.id,
         FILTER ON visits.id COMPARE WITH LITERALS, SHIP PARTIALS OF 1 TO p",
    );
    let all = "SELECT sum(wage) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id";
    bench.allows(&format!("{all} WHERE y.steward IS NOT NULL"));
    bench.refuses(&format!("{all} UNION ALL {all} WHERE y.steward IS NOT NULL"), "of other rows");
}

#[test]
fn b5_what_takes_equal_values_once_stands_alone() {
    let bench = Bench::none().with(
        "a",
        "g",
        "RELEASE sum, sum DISTINCT, count, count DISTINCT OF wage, id, * BY sex FROM s.people MINIMUM 5 DISTINCT id,
         FILTER ON city COMPARE WITH LITERALS",
    );
    for sql in [
        "SELECT count(DISTINCT id), count(*), sum(wage) FROM a.s.people",
        "SELECT sex, count(DISTINCT id) FROM a.s.people WHERE city = 'x' GROUP BY sex",
    ] {
        bench.allows(sql);
    }
    for (sql, reason) in [
        (
            "SELECT sum(DISTINCT wage), sum(DISTINCT wage) FILTER (WHERE city = 'x') FROM a.s.people",
            "stands beside no value",
        ),
        ("SELECT sum(DISTINCT wage), sum(wage) FROM a.s.people", "stands beside no value"),
        ("SELECT count(DISTINCT id) FROM a.s.people GROUP BY ROLLUP (sex)", "by several grouping sets"),
        // As many as there are people, if nobody has two rows.
        (
            "SELECT count(*) FROM a.s.people UNION ALL SELECT count(DISTINCT id) FROM a.s.people WHERE city = 'x'",
            "of other rows",
        ),
        (
            "SELECT count(DISTINCT id) FROM a.s.people GROUP BY sex UNION ALL SELECT count(DISTINCT id) FROM a.s.people",
            "each once",
        ),
    ] {
        bench.refuses(sql, reason);
    }
}

#[test]
fn b5_another_clause_may_have_no_minimum() {
    let sql = "SELECT sum(DISTINCT wage), sum(wage) FROM a.s.people";
    let held = "RELEASE sum, sum DISTINCT OF wage FROM s.people MINIMUM 5 DISTINCT id";
    Bench::none().with("a", "g", held).refuses(sql, "stands beside no value");
    let query =
        Bench::none().with("a", "g", &format!("{held}, RELEASE sum, sum DISTINCT OF wage FROM s.people")).allows(sql);
    assert_eq!(query.graph().releases[0].clauses[0].clause, 2);
}

#[test]
fn b5_values_written_over_one_column_are_not_filtered_apart() {
    let bench = Bench::none().with(
        "a",
        "g",
        "RELEASE sum OF wage, wage * 2 FROM s.people MINIMUM 5 DISTINCT id, FILTER ON city COMPARE WITH LITERALS",
    );
    bench.allows("SELECT sum(wage), sum(wage * 2) FROM a.s.people");
    bench.refuses(
        "SELECT sum(wage * 2), sum(wage) FILTER (WHERE city = 'x') FROM a.s.people",
        "have a column in common, or columns of one condition, and stand under different FILTERs",
    );
    let beside = |other: &str| {
        format!("SELECT sum(wage) FROM a.s.people UNION ALL SELECT sum(wage * 2) FROM a.s.people {other}")
    };
    for sql in [beside("WHERE city = 'x'"), beside("")] {
        bench.refuses(&sql, "written in another way");
    }
    let bench =
        Bench::none().with("a", "g", "RELEASE sum, sum DISTINCT OF wage, wage * 2 FROM s.people MINIMUM 5 DISTINCT id");
    bench.refuses("SELECT sum(DISTINCT wage), sum(wage * 2) FROM a.s.people", "stands beside no value");
}

#[test]
fn b5_columns_that_a_condition_or_a_join_makes_alike_are_one() {
    let bench = Bench::none().with(
        "a",
        "g",
        "RELEASE sum OF wage, bsn FROM s.people MINIMUM 5 DISTINCT id, FILTER ON wage, bsn COMPARE WITH COLUMNS,
         FILTER ON city COMPARE WITH LITERALS",
    );
    let apart = "SELECT sum(wage), sum(bsn) FILTER (WHERE city = 'x') FROM a.s.people";
    let aside = |condition: &str| {
        format!(
            "SELECT sum(wage) FROM a.s.people {condition} UNION ALL
             SELECT sum(bsn) FROM a.s.people WHERE city = 'x' {}",
            condition.replace("WHERE", "AND")
        )
    };
    bench.allows(apart);
    bench.allows(&aside(""));
    bench.refuses(&format!("{apart} WHERE wage = bsn"), "columns of one condition, and stand under different FILTERs");
    bench.refuses(&aside("WHERE wage = bsn"), "of other rows");
    // What is left where one of them is not there is decided, too.
    let query = bench.allows("SELECT sum(wage), sum(bsn) FROM a.s.people WHERE wage > bsn");
    let values = &query.graph().releases[0].shape.aggregates;
    assert!(values[0].family.is_some() && values[0].family == values[1].family, "{values:?}");
}

#[test]
fn b5_a_sum_of_what_keys_or_conditions_say_counts() {
    let bench = Bench::none().with(
        "a",
        "g",
        "RELEASE sum, count OF wage, * BY wage, city FROM s.people MINIMUM 5 DISTINCT id,
         FILTER ON wage, city COMPARE WITH LITERALS",
    );
    let known = |sql: &str| {
        let query = bench.allows(sql);
        query.graph().releases[0].shape.aggregates.iter().map(|value| value.known).collect::<Vec<_>>()
    };
    assert_eq!(known("SELECT wage, sum(wage), count(*) FROM a.s.people GROUP BY wage"), [true, false]);
    assert_eq!(known("SELECT sum(wage), count(*) FROM a.s.people WHERE wage = 7"), [true, false]);
    assert_eq!(known("SELECT sum(wage) FILTER (WHERE wage IN (7, 8)), sum(wage) FROM a.s.people"), [true, false]);
    let aside = |condition: &str| {
        format!("SELECT sum(wage) FROM a.s.people {condition} UNION ALL SELECT count(*) FROM a.s.people GROUP BY city")
    };
    bench.allows(&aside("WHERE city = 'x'"));
    bench.refuses(&aside("WHERE wage = 7"), "of other rows");
}

#[test]
fn b6_a_remainder_of_one_steward_is_told_as_such() {
    let clause = |outcome: &str| {
        format!(
            "RELEASE sum OF wage BY city FROM s.people MINIMUM 5 DISTINCT id PER SITE ELSE {outcome}, SHIP PARTIALS OF 1 TO p"
        )
    };
    let sql = "SELECT city, sum(wage), dynamos.is_remainder() FROM s.people GROUP BY city";
    let both = |one: &str, other: &str| Bench::none().with("a", "g", &clause(one)).with("b", "g", &clause(other));
    both("REMAINDER", "DROP").allows(sql);
    both("DROP", "DROP").refuses(sql, "merge no remainder");
}

#[test]
fn e4_each_grouping_set_counts_as_a_release() {
    let bench = Bench::both(BY_TWO);
    for (sets, many) in [("sex", 1), ("ROLLUP (sex, city)", 3), ("GROUPING SETS ((sex), (sex), (city))", 3)] {
        let query = bench.allows(&format!("SELECT sum(wage) FROM s.people GROUP BY {sets}"));
        assert_eq!(release_points(query.graph(), &[], &SiteId::new("a")), many, "{sets}");
    }
}
