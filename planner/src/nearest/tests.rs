//! Each kind of edit, with clauses that ask for it; what has no nearest query; and what a suggestion may not tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use dynamos_proto::ids::QueryId;

use super::nearest_query;
use crate::candidate::Placement;
use crate::catalog::{
    Availability, Catalog, Entity, EntityScope, FederatedTable, Site, SiteKind, Table, TableName, TableStatistics,
};
use crate::knowledge::Knowledge;
use crate::plan::{Planned, PlanningInput, plan_query, visible_tables};
use crate::policy::{AgreementSet, HeldAgreement, Purposes, Requester, UtcMillis};
use crate::sql::parse_agreement;

/// Aggregates of people and their jobs, which may be brought together at `p`.
const PAY: &str = "pay: RELEASE avg, sum, count OF scale, * BY sex, dept, date_trunc('year', born) \
    FROM w.people JOIN w.jobs ON id MINIMUM 5 DISTINCT people.id, SHIP PARTIALS OF pay TO p, \
    FILTER ON sex COMPARE WITH LITERALS";
const FROM: &str = "FROM w.people p JOIN w.jobs j ON p.id = j.id";

fn catalog() -> Catalog {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let table = |fields: Vec<Field>| Table {
        schema: Arc::new(Schema::new(fields)),
        statistics: TableStatistics { rows: 100, columns: BTreeMap::new() },
        entity: Some(Entity { column: "id".into(), scope: EntityScope::Local }),
        colocated: BTreeMap::new(),
    };
    let id = || Field::new("id", DataType::Int64, true);
    let tables = BTreeMap::from([
        (
            TableName::new("w", "people"),
            table(vec![id(), text("sex"), Field::new("born", DataType::Date32, true), text("city")]),
        ),
        (
            TableName::new("w", "jobs"),
            table(vec![
                id(),
                Field::new("scale", DataType::Int64, true),
                text("dept"),
                Field::new("hours", DataType::Int64, true),
            ]),
        ),
    ]);
    let site = |kind| Site {
        kind,
        roles: BTreeSet::new(),
        regions: BTreeSet::new(),
        uri: String::new(),
        availability: Availability::Up,
        tables: if kind == SiteKind::Steward { tables.clone() } else { BTreeMap::new() },
    };
    let sites = [
        ("a", SiteKind::Steward),
        ("b", SiteKind::Steward),
        ("c", SiteKind::Steward),
        ("p", SiteKind::Provider),
        ("coordinator", SiteKind::Coordinator),
    ];
    let federated = || FederatedTable { stewards: ["a", "b", "c"].map(Into::into).into() };
    Catalog {
        version: 1,
        sites: sites.map(|(name, kind)| (name.into(), site(kind))).into(),
        federated: ["people", "jobs"].map(|name| (TableName::new("w", name), federated())).into(),
    }
}

/// An agreement of each of these stewards with everybody.
fn agreements(clauses: &[(&str, &str)]) -> AgreementSet {
    let mut set = AgreementSet::default();
    for (steward, clauses) in clauses {
        let text = format!("CREATE AGREEMENT g ON SITE {steward} FOR ANYONE PURPOSE statistics AS ({clauses})");
        set.insert(HeldAgreement::new(1, parse_agreement(&text).unwrap()));
    }
    set
}

fn asked<T>(catalog: &Catalog, agreements: &AgreementSet, ask: impl FnOnce(&PlanningInput<'_>) -> T) -> T {
    let requester = Requester { user: "ann".into(), organisation: "a".into(), roles: vec![] };
    ask(&PlanningInput {
        catalog,
        agreements,
        purposes: &Purposes::default(),
        requester: &requester,
        purpose: Some("statistics"),
        agreement: None,
        placement: Placement::Auto,
        default_schema: None,
        knowledge: &Knowledge::default(),
        query: QueryId::new("q"),
        attempt: 0,
        now: UtcMillis(0),
        token_hash: Vec::new(),
    })
}

/// The nearest query, once the query itself is refused and the nearest one is permitted.
fn nearest_of(catalog: &Catalog, agreements: &AgreementSet, sql: &str) -> Option<(String, usize)> {
    asked(catalog, agreements, |input| {
        match plan_query(sql, &[], input) {
            Ok(Planned::Denied(_)) => {}
            other => panic!("`{sql}` is not denied: {other:?}"),
        }
        let nearest = nearest_query(sql, &[], input)?;
        assert!(matches!(plan_query(&nearest.sql, &[], input), Ok(Planned::Permitted(_))), "{nearest:?}");
        assert_eq!(nearest_query(sql, &[], input).as_ref(), Some(&nearest), "the same question, the same answer");
        Some((nearest.sql, nearest.edits))
    })
}

/// The nearest query where all three stewards agree to the same.
fn nearest(clauses: &str, sql: &str) -> Option<(String, usize)> {
    nearest_of(&catalog(), &agreements(&["a", "b", "c"].map(|steward| (steward, clauses))), sql)
}

fn is(clauses: &str, sql: &str, expected: &str, edits: usize) {
    assert_eq!(nearest(clauses, sql), Some((expected.to_owned(), edits)), "{sql}");
}

fn none(clauses: &str, sql: &str) {
    assert_eq!(nearest(clauses, sql), None, "{sql}");
}

#[test]
fn e5_a_column_is_left_out() {
    let rows = "RELEASE ROWS (id, sex) FROM w.people, SHIP ROWS (*) FROM w.people TO ANY";
    is(rows, "SELECT sex, city FROM w.people", "SELECT sex FROM w.people", 2);
    is(rows, "SELECT * FROM w.people ORDER BY born", "SELECT id, sex, steward FROM w.people", 4);
    is(rows, "SELECT id FROM w.people ORDER BY city", "SELECT id FROM w.people", 1);
    is(
        PAY,
        &format!("SELECT sex, avg(scale), max(scale) {FROM} GROUP BY sex ORDER BY 3"),
        &format!("SELECT sex, avg(scale) {FROM} GROUP BY sex"),
        2,
    );
    none(rows, "SELECT city FROM w.people");
}

/// What a wildcard leaves out or renames is not written out: nobody asked for it.
#[test]
fn e5_a_wildcard_with_options_has_no_suggestion() {
    let rows = "RELEASE ROWS (id, sex) FROM w.people, SHIP ROWS (*) FROM w.people TO ANY";
    none(rows, "SELECT * EXCEPT (id) FROM w.people");
    none(rows, "SELECT * EXCLUDE (id) FROM w.people");
    none(rows, "SELECT p.* EXCEPT (id) FROM w.people p");
    is(rows, "SELECT p.* FROM w.people p", "SELECT id, sex, steward FROM w.people p", 4);
}

/// What the name of an item stands for stays one operand.
#[test]
fn e5_a_named_item_is_written_in_parentheses() {
    is(
        PAY,
        &format!("SELECT sex, sum(scale) - count(*) AS d, max(scale) {FROM} GROUP BY sex HAVING d * 2 < 10"),
        &format!("SELECT sex, sum(scale) - count(*) AS d {FROM} GROUP BY sex HAVING (sum(scale) - count(*)) * 2 < 10"),
        2,
    );
    is(
        PAY,
        &format!("SELECT sex, count(*) AS n, max(scale) {FROM} GROUP BY sex HAVING n * 2 < 10"),
        &format!("SELECT sex, count(*) AS n {FROM} GROUP BY sex HAVING count(*) * 2 < 10"),
        2,
    );
}

/// Of two relations of one name nobody knows whose column a clause means.
#[test]
fn e5_a_table_beside_itself_has_no_suggestion() {
    let rows = "RELEASE ROWS (id, sex) FROM w.people, SHIP ROWS (*) FROM w.people TO ANY";
    let all = agreements(&["a", "b", "c"].map(|steward| (steward, rows)));
    for from in ["w.people p JOIN w.people q ON p.id = q.id", "a.w.people p JOIN b.w.people q ON p.sex = q.sex"] {
        let sql = format!("SELECT p.sex, q.city FROM {from}");
        assert_eq!(asked(&catalog(), &all, |input| nearest_query(&sql, &[], input)), None, "{sql}");
    }
}

#[test]
fn e5_a_key_is_left_out_or_made_coarser() {
    is(
        PAY,
        &format!("SELECT sex, city, sum(scale) AS all_scales {FROM} GROUP BY sex, city"),
        &format!("SELECT sex, sum(scale) AS all_scales {FROM} GROUP BY sex"),
        2,
    );
    is(
        PAY,
        &format!("SELECT born, count(*) {FROM} GROUP BY 1"),
        &format!("SELECT date_trunc('year', born), count(*) {FROM} GROUP BY date_trunc('year', born)"),
        1,
    );
    // An average of averages is not the average; with a count beside it it is.
    is(
        PAY,
        &format!("SELECT city, avg(scale), count(scale) {FROM} GROUP BY city"),
        &format!("SELECT avg(scale), count(scale) {FROM}"),
        2,
    );
    none(PAY, &format!("SELECT city, avg(scale) {FROM} GROUP BY city"));
    // HAVING has thrown groups away.
    none(PAY, &format!("SELECT city, sum(scale) {FROM} GROUP BY city HAVING count(*) > 10"));
    // Nobody knows which cities the answer is about.
    none(PAY, &format!("SELECT city, sum(scale) {FROM} GROUP BY city ORDER BY city LIMIT 3"));
}

#[test]
fn e5_a_function_is_weakened() {
    let averages = PAY.replace("avg, sum, count", "avg, count");
    is(
        &averages,
        &format!("SELECT sex, sum(scale), count(scale) {FROM} GROUP BY sex"),
        &format!("SELECT sex, avg(scale), count(scale) {FROM} GROUP BY sex"),
        1,
    );
    none(&averages, &format!("SELECT sum(scale) {FROM}"));
}

#[test]
fn e5_rows_become_groups() {
    is(PAY, &format!("SELECT p.sex, j.scale {FROM}"), &format!("SELECT p.sex, avg(j.scale) {FROM} GROUP BY p.sex"), 1);
    is(PAY, &format!("SELECT DISTINCT p.sex, p.city {FROM}"), &format!("SELECT DISTINCT p.sex {FROM}"), 2);
    is(PAY, &format!("SELECT p.sex {FROM}"), &format!("SELECT p.sex {FROM} GROUP BY p.sex"), 1);
    // Of some rows no total follows.
    none(PAY, &format!("SELECT p.sex, j.scale {FROM} LIMIT 100"));
}

#[test]
fn e5_a_condition_is_added_where_the_answer_shows_its_columns() {
    let some = "adults: RELEASE count OF * BY sex, city FROM w.people WHERE sex = 'f' MINIMUM 5 DISTINCT people.id, \
        SHIP PARTIALS OF adults TO p";
    is(
        some,
        "SELECT sex, count(*) FROM w.people GROUP BY sex",
        "SELECT sex, count(*) FROM w.people WHERE sex = 'f' GROUP BY sex",
        1,
    );
    none(some, "SELECT city, count(*) FROM w.people GROUP BY city");
    // Every condition that was there stays.
    none(some, "SELECT sex, count(*) FROM w.people WHERE born < DATE '2000-01-01' GROUP BY sex");
}

#[test]
fn e5_a_condition_on_keys_moves_above_the_groups() {
    is(
        PAY,
        &format!("SELECT dept, count(*) {FROM} WHERE dept = 'it' AND sex = 'f' GROUP BY dept"),
        &format!("SELECT dept, count(*) {FROM} WHERE sex = 'f' GROUP BY dept HAVING dept = 'it'"),
        1,
    );
    none(PAY, &format!("SELECT sex, count(*) {FROM} WHERE dept = 'it' GROUP BY sex"));
}

#[test]
fn e5_an_outer_join_becomes_an_inner_one_where_nothing_is_lost() {
    let left = "FROM w.people p LEFT JOIN w.jobs j ON p.id = j.id";
    is(PAY, &format!("SELECT avg(j.scale) {left}"), &format!("SELECT avg(j.scale) {FROM}"), 1);
    none(PAY, &format!("SELECT count(*) {left}"));
    none(PAY, &format!("SELECT p.sex, avg(j.scale) {left} GROUP BY p.sex"));
}

#[test]
fn c4_a_steward_is_left_out() {
    let sql = format!("SELECT sex, count(*) {FROM} GROUP BY sex");
    let two = agreements(&[("a", PAY), ("c", PAY)]);
    let expected = format!("SELECT sex, count(*) {FROM} WHERE p.steward IN ('a', 'c') GROUP BY sex");
    assert_eq!(nearest_of(&catalog(), &two, &sql), Some((expected, 2)));
    // A condition of the query itself stays, in parentheses where it must.
    let some = "SELECT count(*) FROM w.people WHERE sex = 'f' OR sex = 'm'";
    let count = "n: RELEASE count OF * FROM w.people, SHIP PARTIALS OF n TO p, FILTER ON sex COMPARE WITH LITERALS";
    let expected = "SELECT count(*) FROM w.people WHERE (sex = 'f' OR sex = 'm') AND steward IN ('b')";
    assert_eq!(nearest_of(&catalog(), &agreements(&[("b", count)]), some), Some((expected.to_owned(), 4)));
    let mut down = catalog();
    down.sites.get_mut(&"b".into()).unwrap().availability = Availability::Down;
    let all = agreements(&["a", "b", "c"].map(|steward| (steward, PAY)));
    assert!(nearest_of(&down, &all, &sql).unwrap().0.contains("IN ('a', 'c')"));
}

/// An agreement that no longer fits its steward's tables hides them, and those of nobody else.
#[test]
fn c2_a_steward_whose_agreement_does_not_fit_is_left_out() {
    let misfit = format!("{PAY}, MASK people.gone AS NULL");
    let own = format!("{PAY}, RELEASE ROWS (id, sex) FROM x.extra, SHIP ROWS (*) FROM x.extra TO ANY");
    let mut catalog = catalog();
    let of_b = &mut catalog.sites.get_mut(&"b".into()).unwrap().tables;
    let extra = of_b[&TableName::new("w", "people")].clone();
    of_b.insert(TableName::new("x", "extra"), extra);
    let mut agreements = agreements(&[("a", &misfit), ("b", &own), ("c", PAY)]);
    let shown = |agreements: &AgreementSet| -> BTreeSet<String> {
        let tables = asked(&catalog, agreements, visible_tables).unwrap();
        tables.into_iter().filter_map(|table| table.site).map(|site| site.to_string()).collect()
    };
    assert_eq!(shown(&agreements), ["b", "c"].map(str::to_owned).into());
    let sql = format!("SELECT sex, count(*) {FROM} GROUP BY sex");
    let expected = format!("SELECT sex, count(*) {FROM} WHERE p.steward IN ('b', 'c') GROUP BY sex");
    assert_eq!(nearest_of(&catalog, &agreements, &sql), Some((expected, 2)));
    let said = |agreements: &AgreementSet, sql: &str| {
        asked(&catalog, agreements, |input| match plan_query(sql, &[], input) {
            Ok(Planned::Permitted(_)) => "permitted".to_owned(),
            Ok(Planned::Denied(denial)) => denial.to_string(),
            Err(error) => error.to_string(),
        })
    };
    let wrong = "clause 4 of agreement `g` cannot be applied to the tables of `a`";
    for sql in [sql.as_str(), "SELECT count(*) FROM a.w.people", "SELECT count(*) FROM a.w.jobs"] {
        assert!(said(&agreements, sql).contains(wrong), "{sql}: {}", said(&agreements, sql));
    }
    // Of a table that the agreement does not speak of nothing is told.
    assert!(said(&agreements, "SELECT 1 FROM a.x.other").contains("no table `a.x.other`"));
    // A name without a schema may be that of any steward's table.
    assert_eq!(said(&agreements, "SELECT sex FROM extra"), "permitted");
    assert_eq!(said(&agreements, "SELECT sex FROM b.x.extra"), "permitted");
    // An agreement that fits is used instead, whatever it is called.
    let text = format!("CREATE AGREEMENT h ON SITE a FOR ANYONE PURPOSE statistics AS ({PAY})");
    agreements.insert(HeldAgreement::new(1, parse_agreement(&text).unwrap()));
    assert_eq!(shown(&agreements), ["a", "b", "c"].map(str::to_owned).into());
    assert_eq!(said(&agreements, &sql), "permitted");
}

#[test]
fn c4_stewards_are_left_out_of_subqueries_and_of_with() {
    let rows = "RELEASE ROWS (*) FROM w.people, SHIP ROWS (*) FROM w.people TO ANY";
    let sql = "WITH f AS (SELECT id FROM w.people WHERE sex = 'f') SELECT count(*) FROM f";
    let (nearest, edits) = nearest_of(&catalog(), &agreements(&[("a", rows), ("b", rows)]), sql).unwrap();
    assert_eq!(edits, 2);
    assert!(nearest.contains("WHERE sex = 'f' AND steward IN ('a', 'b')"), "{nearest}");
}

#[test]
fn e5_the_nearest_is_that_of_the_fewest_edits_and_then_the_first_by_text() {
    // Either key alone is released: two ways cost the same.
    let one = "n: RELEASE count OF * BY city FROM w.people, m: RELEASE count OF * BY sex FROM w.people, \
        SHIP PARTIALS OF n TO p, SHIP PARTIALS OF m TO p";
    is(
        one,
        "SELECT sex, city, count(*) FROM w.people GROUP BY sex, city",
        "SELECT city, count(*) FROM w.people GROUP BY city",
        2,
    );
}

#[test]
fn e5_nothing_is_told_that_the_requester_may_not_see() {
    let sql = format!("SELECT sex, city, count(*) {FROM} GROUP BY sex, city");
    let mut own = agreements(&["a", "b", "c"].map(|steward| (steward, PAY)));
    let alone = nearest_of(&catalog(), &own, &sql);
    // What others may ask, for other purposes or at other times changes nothing.
    let wider = PAY.replace("BY sex,", "BY city, sex,");
    for (name, whom) in [
        ("h", "FOR USER 'bob' PURPOSE statistics"),
        ("i", "FOR ANYONE PURPOSE research"),
        ("j", "FOR ANYONE PURPOSE statistics VALID FROM '2030-01-01'"),
    ] {
        for steward in ["a", "b", "c"] {
            let text = format!("CREATE AGREEMENT {name} ON SITE {steward} {whom} AS ({wider})");
            own.insert(HeldAgreement::new(1, parse_agreement(&text).unwrap()));
        }
    }
    assert_eq!(nearest_of(&catalog(), &own, &sql), alone);
    assert_eq!(alone.unwrap().1, 2);
}

#[test]
fn e5_the_search_is_bounded() {
    let columns = (0..60).map(|at| format!("max(scale + {at})")).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {columns} {FROM}");
    assert_eq!(nearest(PAY, &sql), None);
    let long = format!("SELECT max(scale) {FROM} WHERE sex = '{}'", "x".repeat(20_000));
    assert_eq!(nearest(PAY, &long), None);
}
