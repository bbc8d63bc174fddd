//! Left joins in the relation of a clause (rules A.1, A.6, B.1, C.3, C.5).

use super::bench::Bench;

const LEFT: &str = "RELEASE sum, count OF wage, cost, * BY sex, ward FROM s.people LEFT JOIN s.visits ON id
                    MINIMUM 5 DISTINCT people.id, SHIP PARTIALS OF 1 TO p, FILTER ON ward COMPARE WITH LITERALS";
const INNER: &str = "RELEASE sum, count OF wage, cost, * BY sex, ward FROM s.people JOIN s.visits ON id
                     MINIMUM 5 DISTINCT people.id, SHIP PARTIALS OF 1 TO p, FILTER ON ward COMPARE WITH LITERALS";
const ANOTHER: &str = "it is about another relation";

#[test]
fn a1_a_left_join_is_what_a_clause_says_and_only_that() {
    let bench = Bench::both(LEFT);
    for from in [
        "s.people x LEFT JOIN s.visits y ON x.id = y.id",
        "s.people x LEFT OUTER JOIN s.visits y ON y.id = x.id",
        "s.visits y RIGHT JOIN s.people x ON y.id = x.id",
        "s.people x LEFT JOIN s.visits y USING (id)",
        "(SELECT * FROM s.people) x LEFT JOIN (SELECT id, ward, cost FROM s.visits) y ON x.id = y.id",
    ] {
        let query =
            bench.allows(&format!("SELECT sex, ward, sum(wage), count(cost), count(*) FROM {from} GROUP BY sex, ward"));
        for steward in ["a", "b"] {
            bench.judged_by(steward, &query).unwrap();
            // A site whose clause says JOIN does not take it for one.
            let refused = Bench::both(INNER).judged_by(steward, &query).unwrap_err();
            assert!(refused.contains(ANOTHER), "{from}: {refused}");
        }
    }
    for (from, reason) in [
        ("s.people x JOIN s.visits y ON x.id = y.id", ANOTHER),
        ("s.visits y LEFT JOIN s.people x ON x.id = y.id", ANOTHER),
        ("s.people x RIGHT JOIN s.visits y ON x.id = y.id", ANOTHER),
        ("s.people x FULL JOIN s.visits y ON x.id = y.id", "a Full join may not work on protected rows"),
        ("s.people x LEFT JOIN s.visits y ON x.id = y.id AND x.sex = y.ward", ANOTHER),
        ("s.people x LEFT JOIN s.visits y ON x.id = y.id AND y.ward = 'w'", "by equal columns and no other condition"),
        ("s.people x LEFT JOIN s.visits y ON x.id = y.id AND x.sex = 'f'", "by equal columns and no other condition"),
        ("s.people x LEFT JOIN s.visits y ON x.id = y.id + 1", "a Left join of protected rows"),
        ("s.people x LEFT JOIN s.visits y ON x.id = y.id AND x.wage = y.cost + 1", "by equal columns"),
    ] {
        bench.refuses(&format!("SELECT count(*) FROM {from}"), reason);
    }
    let inner = Bench::both(INNER);
    let query = inner.allows("SELECT sum(wage) FROM s.people x JOIN s.visits y ON x.id = y.id");
    assert!(bench.judged_by("a", &query).unwrap_err().contains(ANOTHER));
    inner.refuses("SELECT sum(wage) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id", ANOTHER);
}

#[test]
fn a1_what_is_done_to_the_table_that_is_filled_up_stands_above_the_join() {
    let bench = Bench::both(LEFT);
    for (table, reason) in [
        ("(SELECT * FROM s.visits WHERE ward = 'w')", "takes no condition on the table that it fills up"),
        ("(SELECT id, coalesce(cost, 0) AS cost FROM s.visits)", "is computed before it"),
        ("(SELECT id, 1 AS cost FROM s.visits)", "is computed before it"),
        ("(SELECT * FROM s.visits WHERE id IN (VALUES (1)))", "takes no condition"),
    ] {
        bench.refuses(&format!("SELECT sum(y.cost) FROM s.people x LEFT JOIN {table} y ON x.id = y.id"), reason);
    }
    bench.refuses(
        "SELECT count(*) FROM s.people x LEFT JOIN (SELECT v.id FROM s.visits v JOIN s.people w ON v.id = w.id) y ON x.id = y.id",
        "only once",
    );
    bench.allows("SELECT sum(cost) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id WHERE y.ward = 'w'");
    bench.allows("SELECT count(*) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id WHERE y.ward IS NULL");
}

#[test]
fn c3_the_steward_of_a_table_that_is_filled_up_tells_whether_something_matched() {
    let bench = Bench::both(LEFT);
    let ask = "SELECT count(*) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id";
    bench.allows(&format!("{ask} GROUP BY x.steward"));
    bench.refuses(&format!("{ask} GROUP BY y.steward"), "does not list the grouping");
    bench.refuses(&format!("{ask} WHERE y.steward IS NULL"), "no FILTER clause allows");
    bench.refuses(&format!("{ask} WHERE y.steward = 'a'"), "no FILTER clause allows");
    bench.refuses(&format!("{ask} WHERE y.id IS NULL"), "no FILTER clause allows");
    bench.refuses(
        "SELECT count(y.steward) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id",
        "does not list `count`",
    );
}

#[test]
fn c3_a_key_is_not_paired_with_the_steward_of_a_table_that_is_filled_up() {
    let bench = Bench::both(
        "RELEASE count DISTINCT OF sex FROM s.people LEFT JOIN s.visits ON id MINIMUM 5 DISTINCT people.id,
         SHIP ROWS (people.id, sex) FROM s.people LEFT JOIN s.visits ON id TO p",
    );
    let ask =
        |counted: &str| format!("SELECT count(DISTINCT {counted}) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id");
    bench.allows(&ask("x.sex"));
    // Each has one value of the pair, or two where something matches for some and not for others.
    let paired = "CASE WHEN x.sex IS NOT NULL THEN concat(y.steward, '/', x.sex) END";
    bench.refuses(&ask(paired), "does not list `count`");
}

#[test]
fn c5_a_local_key_of_a_table_that_is_filled_up_is_listed_with_its_steward() {
    let of = |by: &str| {
        Bench::both(&format!(
            "RELEASE count OF * BY {by} FROM s.people LEFT JOIN s.visits ON id MINIMUM 5 DISTINCT people.id,
             SHIP PARTIALS OF 1 TO p"
        ))
    };
    let from = "s.people x LEFT JOIN s.visits y ON x.id = y.id";
    // Where the key is there, something matched: it tells all that the steward's name does.
    for sql in [
        format!("SELECT DISTINCT y.id FROM {from}"),
        format!("SELECT y.steward, count(*) FROM {from} GROUP BY y.steward"),
    ] {
        let query = of("visits.id").allows(&sql);
        of("visits.id").judged_by("a", &query).unwrap();
        assert!(of("people.id").judged_by("a", &query).is_err());
        of("people.id").refuses(&sql, "does not list the grouping");
    }
}

#[test]
fn b1_only_the_key_of_the_table_that_is_kept_is_the_person_of_every_row() {
    let sql = "SELECT sex, count(*) FROM s.people x LEFT JOIN s.visits y ON x.id = y.id GROUP BY sex";
    let of = |key: &str| {
        Bench::both(&format!(
            "RELEASE count OF * BY sex FROM s.people LEFT JOIN s.visits ON id MINIMUM 5 DISTINCT {key}, SHIP PARTIALS OF 1 TO p"
        ))
    };
    let query = of("people.id").allows(sql);
    of("people.id").judged_by("a", &query).unwrap();
    let refused = of("visits.id").judged_by("a", &query).unwrap_err();
    assert!(refused.contains("does not count `id`"), "{refused}");
    let of_visits = of("visits.id").allows(sql);
    assert!(of("people.id").judged_by("a", &of_visits).is_err());
    // Both tables have the column, and the left join does not make them equal.
    of("id").refuses(sql, "the minimum counts `id`, and does not say of which table");
    assert!(of("id").judged_by("a", &query).is_err());
}

#[test]
fn a1_no_inner_join_stands_on_what_a_left_join_fills_up() {
    let agreement =
        "RELEASE count OF * FROM s.people LEFT JOIN s.visits ON id MINIMUM 5 DISTINCT people.id, JOIN ON cost WITH c,
                     SHIP ROWS (people.id, visits.cost) FROM s.people LEFT JOIN s.visits ON id TO p";
    let cases =
        "RELEASE count OF * FROM t.cases MINIMUM 5 DISTINCT bsn, JOIN ON bsn WITH a, SHIP ROWS (bsn) FROM t.cases TO p";
    let bench = Bench::none().with("a", "g", agreement).with("c", "g", cases);
    let from = "a.s.people x LEFT JOIN a.s.visits y ON x.id = y.id JOIN c.t.cases z";
    bench.refuses(&format!("SELECT count(*) FROM {from} ON z.bsn = y.cost"), "joins a table that a left join fills up");
}

#[test]
fn a1_left_joins_of_several_stewards_rows_are_refused_by_name() {
    let people =
        "RELEASE count OF * FROM s.people LEFT JOIN t.cases ON people.bsn = cases.bsn MINIMUM 5 DISTINCT people.id";
    let bench = Bench::none().with("a", "g", people).with("c", "g", "RELEASE count OF * FROM t.cases");
    bench.refuses(
        "SELECT count(*) FROM a.s.people x LEFT JOIN c.t.cases c ON x.bsn = c.bsn",
        "a Left join of protected rows is one of the same stewards' tables",
    );
}

#[test]
fn c5_joins_of_federated_tables_are_the_stewards_own_only_on_keys_that_stay_within_them() {
    for (kind, reason) in [("LEFT JOIN", "equal at one steward only"), ("JOIN", "joined within each steward")] {
        let bench = Bench::both(&format!(
            "RELEASE count OF * FROM s.people {kind} s.visits ON people.city = visits.ward MINIMUM 5 DISTINCT people.id,
             SHIP PARTIALS OF 1 TO p"
        ));
        let ask =
            |scope: &str| format!("SELECT count(*) FROM {scope}s.people x {kind} {scope}s.visits y ON x.city = y.ward");
        bench.allows(&ask("a."));
        bench.refuses(&ask(""), reason);
        bench.allows(&format!("{} AND x.steward = y.steward", ask("")));
    }
}
