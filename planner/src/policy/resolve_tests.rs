//! What an agreement may name at its steward, and what becomes of a view when a clause that limits it is about nothing.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::*;
use crate::function::engine_state;
use crate::policy::{EntityKey, RawTable};
use crate::sql::{parse_agreement, word_positions};
use crate::wire::LeafTable;

fn table(columns: &[(&str, DataType)], entity: Option<&str>) -> RawTable {
    let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
    RawTable { provider: LeafTable::new(Arc::new(Schema::new(fields))), entity: entity.map(key) }
}

fn key(column: &str) -> EntityKey {
    EntityKey { column: column.into(), name: column.into() }
}

/// `s.people`, `s.visits` and `t.jobs`; `wage` is in two of them, `opted_out` in the first alone.
fn tables() -> RawTables {
    let (int, text) = (DataType::Int64, DataType::Utf8);
    let people = [
        ("id", int.clone()),
        ("born", DataType::Date32),
        ("wage", int.clone()),
        ("city", text.clone()),
        ("opted_out", DataType::Boolean),
    ];
    let visits = [("id", int.clone()), ("ward", text.clone()), ("days", int.clone())];
    let jobs = [("person", int.clone()), ("wage", int), ("sector", text)];
    RawTables::from([
        (TableName::new("s", "people"), table(&people, Some("id"))),
        (TableName::new("s", "visits"), table(&visits, Some("id"))),
        (TableName::new("t", "jobs"), table(&jobs, None)),
    ])
}

fn agreement(clauses: &str) -> Agreement {
    let text = format!("CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE statistics AS ({clauses})");
    parse_agreement(&text).unwrap_or_else(|error| panic!("{clauses}: {error}"))
}

fn refused(clauses: &str) -> Vec<String> {
    let refused = refuse_unresolved(&agreement(clauses), &tables(), &engine_state()).err().unwrap_or_default();
    refused.iter().map(ToString::to_string).collect()
}

#[test]
fn c2_clauses_that_mean_something_are_accepted() {
    for clauses in [
        "RELEASE avg, count OF wage, * BY city, date_part('year', born) FROM s.people MINIMUM 5 DISTINCT id",
        "RELEASE sum OF days BY ward FROM people JOIN visits ON id WHERE visits.days > 0 MINIMUM 5 DISTINCT id",
        "RELEASE count OF * BY sector FROM people JOIN jobs ON people.id = jobs.person MINIMUM 5 DISTINCT people.id",
        "RELEASE ROWS (*) FROM s.visits, FILTER ON ward LIKE 'a%', days COMPARE WITH LITERALS",
        "SHIP ROWS (people.id, ward) FROM s.people JOIN s.visits ON id TO surf, JOIN ON id WITH TABLE care.patients",
        // Without a relation of its own an agreement may speak of any table.
        "FILTER ON sector COMPARE WITH LITERALS, JOIN ON person WITH REQUESTER",
        "ROWS ON people WHERE opted_out IS NOT TRUE, ROWS WHERE days > 0 AND ward <> 'x'",
        "MASK people.born AS date_trunc('year', born), MASK city AS NULL, MASK s.people.wage AS 0, MASK people.id AS id",
    ] {
        assert_eq!(refused(clauses), Vec::<String>::new(), "{clauses}");
    }
    // Clauses speak of what is seen: a masked date is a text here.
    let masked = "MASK people.born AS 'hidden', RELEASE count OF * BY upper(born) FROM s.people MINIMUM 5 DISTINCT id";
    assert_eq!(refused(masked), Vec::<String>::new());
}

#[test]
fn c2_a_clause_about_nothing_is_refused_by_number() {
    for (clauses, expected) in [
        ("ROWS ON poeple WHERE opted_out IS NOT TRUE", "clause 1: there is no table `poeple`; there is `s.people`"),
        ("ROWS ON people WHERE opted_uot IS NOT TRUE", "`s.people` has no column `opted_uot`; there is `id`, `born`"),
        ("ROWS WHERE opted_uot IS NOT TRUE", "about no table here; check the names, and write `ROWS ON`"),
        ("ROWS WHERE wage < 9", "may be about `s.people` or `t.jobs`; write `ROWS ON`"),
        ("ROWS ON people WHERE wage + INTERVAL '1 day'", "clause 1: `wage"),
        ("ROWS ON people WHERE opted_out + born > 3", "has no meaning there"),
        ("ROWS WHERE opted_out < born", "has no meaning there"),
        ("ROWS ON people WHERE wage", "`wage` is no condition but of type Int64"),
        ("7: ROWS ON people WHERE visits.ward = 'a'", "clause 7: `s.people` has no column `visits.ward`"),
        ("MASK poeple.born AS NULL", "there is no table `poeple`"),
        ("MASK people.bron AS NULL", "`s.people` has no column `bron`"),
        ("MASK bron AS NULL", "the column `bron` is about no table here"),
        ("MASK wage AS NULL", "the column `wage` may be about `s.people` or `t.jobs`"),
        ("MASK born AS date_trunc('year', bron)", "`s.people` has no column `bron`"),
        ("MASK people.id AS NULL", "the entity key `id` of `s.people` may not be masked"),
        ("MASK city AS NULL, MASK born AS NULL, 9: MASK s.people.born AS 1", "is given twice"),
        ("RELEASE ROWS (*) FROM s.poeple", "there is no table `s.poeple`"),
        ("RELEASE ROWS (id, bron) FROM s.people", "`bron` is no column of `s.people`"),
        ("RELEASE averge OF wage FROM s.people", "there is no aggregate function `averge`"),
        ("RELEASE avg OF wgae FROM s.people", "`wgae` is no column of `s.people`"),
        ("RELEASE avg OF wage BY agegroup(born) FROM s.people", "`agegroup(born)` has no meaning there"),
        ("RELEASE avg OF wage FROM s.people MINIMUM 5 DISTINCT person", "`person` is no column of `s.people`"),
        ("RELEASE avg OF wage FROM s.people WHERE ward = 'a'", "`ward` is no column of `s.people`"),
        ("RELEASE avg OF days FROM people JOIN visits ON person", "`person` is no column of `s.people`"),
        ("RELEASE avg OF days FROM people JOIN visits ON people.id = visits.person", "`visits.person` is no column"),
        ("SHIP ROWS (id) FROM people JOIN visits ON id TO surf", "`id` is ambiguous; write `s.people.id` or"),
        ("RELEASE ROWS (*) FROM s.people, FILTER ON ward COMPARE WITH LITERALS", "clause 2: `ward` is no column of"),
        ("RELEASE ROWS (*) FROM s.people, JOIN ON person WITH surf", "clause 2: `person` is no column of `s.people`"),
    ] {
        let text = format!("CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE statistics AS ({clauses})");
        let said = match parse_agreement(&text) {
            Ok(_) => refused(clauses).join("; "),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{clauses}: {said}");
    }
    // Every clause that is wrong is named.
    let three = refused("ROWS WHERE x = 1, MASK y AS NULL, RELEASE ROWS (z) FROM s.people");
    assert_eq!(three.len(), 3, "{three:?}");
}

/// The engine casts what is written, so that types agree, and fails on some values; its error would tell of them.
#[test]
fn c2_what_the_engine_casts_in_a_clause_never_fails() {
    for clauses in [
        "ROWS ON people WHERE TRY_CAST(city AS INT) >= 1000",
        "ROWS ON people WHERE born >= '2000-01-01' AND wage > 2.5 AND city IN ('1', '2') AND opted_out IS NOT TRUE",
        "MASK people.born AS date_trunc('year', born), MASK city AS concat(left(city, 2), 'XX')",
        "MASK city AS CASE WHEN city < '5' THEN 'few' END, MASK people.wage AS CASE WHEN wage < 5 THEN 1 END",
        "RELEASE count OF * BY date_part('year', TRY_CAST(city AS DATE)) FROM s.people MINIMUM 5 DISTINCT id",
        "RELEASE sum OF wage * 1.5 BY EXTRACT(YEAR FROM born) FROM s.people MINIMUM 5 DISTINCT id",
        "RELEASE ROWS (*) FROM s.people, FILTER ON left(city, 2), date_trunc('month', born) COMPARE WITH LITERALS",
    ] {
        assert_eq!(refused(clauses), Vec::<String>::new(), "{clauses}");
    }
    let city = "`s.people.city`, of type Utf8, would be cast to";
    for (clauses, parts) in [
        ("MASK city AS CASE WHEN city < 5 THEN 'few' END", [city, "Int64, which fails", "write literals of the type"]),
        ("ROWS ON people WHERE city >= 1000", [city, "Int64, which", "write TRY_CAST(s.people.city AS BIGINT)"]),
        ("ROWS ON people WHERE city > born", [city, "Date32, which", "write TRY_CAST(s.people.city AS DATE)"]),
        (
            "RELEASE count OF * BY date_part('year', city) FROM s.people MINIMUM 5 DISTINCT id",
            [city, "Timestamp", "write TRY_CAST(s.people.city AS TIMESTAMP)"],
        ),
        (
            "RELEASE count OF * FROM s.people WHERE city BETWEEN 1 AND 5 MINIMUM 5 DISTINCT id",
            [city, "Int64, which", "clause 1"],
        ),
        ("SHIP ROWS (id) FROM s.people WHERE city IN (1, 2) TO surf", [city, "Int64, which", "clause 1"]),
        (
            "RELEASE ROWS (*) FROM s.people, FILTER ON date_trunc('year', city) COMPARE WITH LITERALS",
            [city, "Timestamp", "clause 2"],
        ),
        (
            "RELEASE count OF * FROM people JOIN jobs ON people.city = jobs.person MINIMUM 5 DISTINCT people.id",
            [
                "the key `people.city` is of type Utf8",
                "`jobs.person` of type Int64",
                "give the tables' columns one type",
            ],
        ),
    ] {
        let refused = refused(clauses).join("; ");
        assert!(parts.iter().all(|part| refused.contains(part)), "{clauses}: {refused}");
    }
    // What is in force already shows nothing.
    let state = engine_state();
    let failing = agreement("RELEASE ROWS (*) FROM s.people, ROWS ON people WHERE city >= 1000");
    assert!(protected_view(&failing, &TableName::new("s", "people"), &tables(), &state).is_err());
}

/// What is wrong with clauses about one table `s.sales`, with numbers and times.
fn refused_of_sales(clauses: &str) -> String {
    let columns = [
        ("id", DataType::Int64),
        ("n", DataType::Int64),
        ("price", DataType::Decimal128(10, 2)),
        ("total", DataType::Decimal128(38, 20)),
        ("born", DataType::Date32),
        ("seen", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ];
    let tables = RawTables::from([(TableName::new("s", "sales"), table(&columns, Some("id")))]);
    let refused = refuse_unresolved(&agreement(clauses), &tables, &engine_state()).err().unwrap_or_default();
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn c2_numbers_and_times_that_fail_on_a_value_are_refused() {
    for clauses in [
        "RELEASE sum OF price * 2 BY round(price, 1) FROM s.sales MINIMUM 5 DISTINCT id",
        "RELEASE sum OF price - price / 1.5 BY born - DATE '2000-01-01' FROM s.sales MINIMUM 5 DISTINCT id",
        "ROWS ON sales WHERE ceil(TRY_CAST(price AS DOUBLE)) > 2 AND n / 7 < 3",
        "RELEASE ROWS (*) FROM s.sales, FILTER ON date_part('year', seen), round(n, 1) COMPARE WITH LITERALS",
    ] {
        assert_eq!(refused_of_sales(clauses), "", "{clauses}");
    }
    let (number, time) = ("write it over TRY_CAST(… AS DOUBLE)", "write it with numbers that date_part gives");
    let text = "write parts of it, with date_part";
    for (clauses, part, instead) in [
        (
            "RELEASE sum OF total * price FROM s.sales MINIMUM 5 DISTINCT id",
            "clause 1: in `total * price` `s.sales.total * s.sales.price` can fail on a value",
            number,
        ),
        ("RELEASE sum OF n / nullif(id, 0) FROM s.sales MINIMUM 5 DISTINCT id", "can fail on a value", number),
        ("ROWS ON sales WHERE ceil(price) > 2", "`ceil(s.sales.price)` can fail on a value", number),
        ("SHIP ROWS (id) FROM s.sales WHERE total + price IS NOT NULL TO surf", "can fail on a value", number),
        (
            "RELEASE ROWS (*) FROM s.sales, FILTER ON floor(price) COMPARE WITH LITERALS",
            "clause 2: in `FLOOR(price)` `floor(s.sales.price)` can fail on a value",
            number,
        ),
        (
            "RELEASE count OF * BY seen - seen FROM s.sales MINIMUM 5 DISTINCT id",
            "`s.sales.seen - s.sales.seen` can fail on a value",
            time,
        ),
        ("MASK sales.born AS concat('in ', born)", "`s.sales.born`, of type Date32, would be cast to Utf8", text),
        (
            "RELEASE count OF * BY TRY_CAST(born AS TEXT) FROM s.sales MINIMUM 5 DISTINCT id",
            "`s.sales.born`, of type Date32, would be cast to Utf8",
            text,
        ),
        (
            "RELEASE count OF * BY TRY_CAST(seen AS DATE) FROM s.sales MINIMUM 5 DISTINCT id",
            "would be cast to Date32, which fails on some values",
            text,
        ),
    ] {
        let refused = refused_of_sales(clauses);
        assert!(refused.contains(part) && refused.contains(instead), "{clauses}: {refused}");
    }
}

/// The engine would cast one of the keys, and a question that joins on what is cast matches no clause.
#[test]
fn c2_the_keys_of_a_join_have_one_type() {
    let tables = |kind: DataType| {
        RawTables::from([
            (TableName::new("s", "people"), table(&[("id", DataType::Int64)], Some("id"))),
            (TableName::new("s", "visits"), table(&[("id", kind.clone()), ("person", kind)], Some("id"))),
        ])
    };
    let joins = [
        ("RELEASE ROWS (people.id) FROM s.people JOIN s.visits ON id", "`id`"),
        ("SHIP ROWS (people.id) FROM people LEFT JOIN visits ON people.id = visits.person TO surf", "`visits.person`"),
    ];
    for (clauses, key) in joins {
        let refused = |kind| refuse_unresolved(&agreement(clauses), &tables(kind), &engine_state()).err();
        assert_eq!(refused(DataType::Int64), None, "{clauses}");
        for kind in [DataType::Int32, DataType::UInt64, DataType::Float64, DataType::Decimal128(20, 0)] {
            let refused = refused(kind.clone()).unwrap_or_default();
            let said: Vec<String> = refused.iter().map(ToString::to_string).collect();
            let said = said.join("; ");
            let part = format!("is of type Int64 and {key} of type {kind}");
            assert!(said.contains(&part) && said.contains("give the tables' columns one type"), "{clauses}: {said}");
        }
    }
}

/// A table may come or go after an agreement was made: what the agreement hid must not come to light by that.
#[test]
fn c2_there_is_no_view_while_a_limit_is_about_nothing() {
    let state = engine_state();
    let people = TableName::new("s", "people");
    let view = |clauses: &str| {
        let agreement = agreement(&format!("RELEASE ROWS (*) FROM s.people, {clauses}"));
        protected_view(&agreement, &people, &tables(), &state).map_err(|error| error.strip_backtrace())
    };
    assert!(matches!(view("ROWS ON people WHERE opted_out IS NOT TRUE"), Ok(ProtectedView::Derived(_))));
    assert!(matches!(view("ROWS ON jobs WHERE wage < 9"), Ok(ProtectedView::Whole)));
    for limit in [
        "ROWS ON poeple WHERE opted_out IS NOT TRUE",
        "ROWS ON people WHERE opted_uot IS NOT TRUE",
        "ROWS WHERE opted_uot IS NOT TRUE",
        "ROWS WHERE opted_out + born > 3",
        "MASK poeple.born AS NULL",
        "MASK people.bron AS NULL",
        "MASK bron AS NULL",
        "MASK id AS NULL",
    ] {
        let error = view(limit).unwrap_err();
        assert!(
            error.contains("clause 2 of agreement `a` cannot be applied to the tables of `vu`"),
            "{limit}: {error}"
        );
        // Whoever asks is not told what the tables look like.
        assert!(!error.contains("born") && !error.contains("opted"), "{limit}: {error}");
    }
}

#[test]
fn d3_only_entity_keys_of_rows_that_are_shipped_can_be_hashes() {
    for clauses in [
        "SHIP ROWS (hash(id), city) FROM s.people TO surf",
        "SHIP ROWS (hash(people.id), ward) FROM people JOIN visits ON id TO surf, ROLE compute_provider",
    ] {
        assert_eq!(refused(clauses), Vec::<String>::new(), "{clauses}");
    }
    for (clauses, why) in [
        ("SHIP ROWS (hash(city)) FROM s.people TO surf", "`city` is no entity key, so `hash(city)` cannot be shipped"),
        ("SHIP ROWS (hash(person)) FROM t.jobs TO surf", "`person` is no entity key"),
        ("SHIP ROWS (hash(steward)) FROM s.people TO surf", "`steward` is no column of `s.people`"),
        ("SHIP ROWS (hash(id)) FROM people JOIN visits ON id TO surf", "`id` is ambiguous"),
        ("RELEASE ROWS (hash(id)) FROM s.people", "only a list of `SHIP ROWS` can have"),
        ("RELEASE count OF hash(id) FROM s.people MINIMUM 5 DISTINCT id", "only a list of `SHIP ROWS` can have"),
        ("RELEASE count OF * BY hash(id) FROM s.people MINIMUM 5 DISTINCT id", "only a list of `SHIP ROWS` can have"),
        ("SHIP ROWS (id) FROM s.people WHERE hash(id) IS NULL TO surf", "only a list of `SHIP ROWS` can have"),
        ("FILTER ON hash(id) COMPARE WITH LITERALS", "only a list of `SHIP ROWS` can have"),
    ] {
        let refused = refused(clauses);
        assert!(refused.iter().any(|one| one.contains(why)), "{clauses}: {refused:?}");
    }
    let born = RawTables::from([(
        TableName::new("s", "people"),
        table(&[("id", DataType::Date32), ("city", DataType::Utf8)], Some("id")),
    )]);
    let agreement = agreement("SHIP ROWS (hash(id)) FROM s.people TO surf");
    let refused = refuse_unresolved(&agreement, &born, &engine_state()).unwrap_err();
    assert!(refused[0].problem.contains("only whole numbers and texts can be hashed"), "{refused:?}");
}

/// Where each error points, as line and column of these clauses.
fn places(clauses: &str) -> Vec<String> {
    let text = format!("CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE statistics AS (\n{clauses})");
    let agreement = parse_agreement(&text).unwrap_or_else(|error| panic!("{clauses}: {error}"));
    let refused = refuse_unresolved(&agreement, &tables(), &engine_state()).err().unwrap_or_default();
    let located = word_positions(&text).unwrap().locate(&refused);
    located.iter().filter_map(|one| one.position.map(|at| format!("{}:{}", at.line - 1, at.column))).collect()
}

#[test]
fn each_error_points_at_its_word() {
    for (clauses, expected) in [
        ("ROWS ON poeple WHERE opted_out", vec!["1:9"]),
        ("ROWS ON people WHERE id = 1 AND opted_uot IS NOT TRUE", vec!["1:33"]),
        ("ROWS WHERE opted_uot IS NOT TRUE", vec!["1:12"]),
        ("ROWS ON people WHERE\n  wage", vec!["2:3"]),
        ("MASK poeple.born AS NULL", vec!["1:6"]),
        ("MASK people.bron AS NULL", vec!["1:6"]),
        ("MASK born AS date_trunc('year',\n bron)", vec!["2:2"]),
        ("RELEASE ROWS (*) FROM s.people JOIN t.jobss ON id", vec!["1:37"]),
        ("RELEASE ROWS (*) FROM s.people JOIN s.visits ON idd", vec!["1:49"]),
        ("RELEASE ROWS (*) FROM s.people JOIN s.visits ON people.id = visits.idd", vec!["1:61"]),
        (
            "RELEASE avg, averge OF wage + wgae, upper(bron)\nBY citty, agegroup(born)\nFROM s.people WHERE ward = 'a'\n\
             MINIMUM 5 DISTINCT person MINIMUM 6 DISTINCT person",
            vec!["1:14", "1:31", "1:43", "2:4", "2:11", "3:21", "4:20", "4:46"],
        ),
        ("SHIP ROWS (hash(city), hash(idd)) FROM s.people TO surf", vec!["1:17", "1:29"]),
        ("RELEASE ROWS (*) FROM s.people, FILTER ON city, ward COMPARE WITH LITERALS", vec!["1:49"]),
        ("RELEASE ROWS (*) FROM s.people, JOIN ON id, person WITH surf", vec!["1:45"]),
    ] {
        assert_eq!(places(clauses), expected, "{clauses}");
    }
}
