//! Which expressions of a question the clauses of an agreement list.

use arrow::datatypes::{Field, Schema};
use datafusion::common::TableReference;
use datafusion::logical_expr::cast;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::*;
use crate::bind::coerce;
use crate::function::engine_state;
use crate::sql::parse_agreement;

const COLUMNS: [(&str, DataType); 11] = [
    ("id", DataType::Int64),
    ("born", DataType::Date32),
    ("hired", DataType::Date32),
    ("x", DataType::Float64),
    ("price", DataType::Decimal128(9, 2)),
    ("fee", DataType::Decimal32(7, 2)),
    ("n", DataType::Int64),
    ("m", DataType::Int64),
    ("a", DataType::Int32),
    ("b", DataType::Int32),
    ("city", DataType::Utf8),
];

/// The table `s.t`, in which one column may have another type.
fn relation(changed: Option<(&str, DataType)>) -> RelationShape {
    let kind = |name: &str, kind: DataType| match &changed {
        Some((column, other)) if *column == name => other.clone(),
        _ => kind,
    };
    let fields: Vec<Field> = COLUMNS.map(|(name, own)| Field::new(name, kind(name, own), true)).into();
    let schema = DFSchema::try_from_qualified_schema(TableReference::partial("s", "t"), &Schema::new(fields)).unwrap();
    RelationShape { tables: [(TableName::new("s", "t"), schema)].into(), ..RelationShape::default() }
}

/// An expression of a question.
fn expr(relation: &RelationShape, text: &str) -> Expr {
    let schema = relation.schema().unwrap();
    let written = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
    let typed = scalar_expr(&written, &schema, &engine_state()).unwrap();
    coerce(typed, &schema, &engine_state()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn agreement(clauses: &str) -> Agreement {
    let text = format!("CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE statistics AS ({clauses})");
    parse_agreement(&text).unwrap_or_else(|error| panic!("{clauses}: {error}"))
}

fn value(function: &str, argument: Option<Expr>) -> Asked {
    Asked { function: function.into(), distinct: false, argument, filter: None }
}

/// Why a clause does not release these keys and this value.
fn refused(relation: &RelationShape, clause: &str, keys: &[Expr], asked: &Asked) -> String {
    let asked = [asked.bare(relation)];
    let released = relation.released_aggregates(&agreement(clause), keys, &asked, None, &engine_state());
    released.err().unwrap_or_default().join("; ")
}

#[test]
fn c3_clauses_are_held_to_the_types_that_columns_have_now() {
    let (now, then) = (relation(Some(("born", DataType::Utf8))), relation(None));
    let year = "RELEASE count OF * BY date_part('year', born) FROM s.t MINIMUM 5 DISTINCT id";
    let by_year =
        |relation| refused(relation, year, &[expr(relation, "date_part('year', born)")], &value("count", None));
    assert_eq!(by_year(&then), "");
    assert!(by_year(&now).contains("does not list the grouping"), "{}", by_year(&now));
    let of_years = "RELEASE sum OF date_part('year', born) FROM s.t MINIMUM 5 DISTINCT id";
    let sum =
        |relation| refused(relation, of_years, &[], &value("sum", Some(expr(relation, "date_part('year', born)"))));
    assert_eq!(sum(&then), "");
    assert!(sum(&now).contains("does not list `sum`"), "{}", sum(&now));
    // What an earlier release took.
    let quotients = "RELEASE sum OF 100 / n FROM s.t MINIMUM 5 DISTINCT id";
    let quotient = value("sum", Some(expr(&then, "100 / n")));
    assert!(refused(&then, quotients, &[], &quotient).contains("does not list `sum`"));
    let conditional = "RELEASE count OF * FROM s.t WHERE 100 / n > 1 MINIMUM 5 DISTINCT id";
    assert!(refused(&then, conditional, &[], &value("count", None)).contains("is not about this relation"));
}

#[test]
fn c3_an_average_of_a_decimal_without_room_is_not_released() {
    let relation = relation(None);
    let clause = "RELEASE avg OF fee, price FROM s.t MINIMUM 5 DISTINCT id";
    let average = |column| refused(&relation, clause, &[], &value("avg", Some(expr(&relation, column))));
    assert_eq!(average("price"), "");
    assert!(average("fee").contains("can fail on a value"), "{}", average("fee"));
}

#[test]
fn c3_years_and_whole_numbers_below_are_ranges_of_a_listed_column() {
    let relation = relation(None);
    let refused = |condition: &str| {
        let filter = agreement("FILTER ON born, x, price, city COMPARE WITH LITERALS");
        !relation.refused_beside(&filter, &[expr(&relation, condition)], &engine_state()).is_empty()
    };
    for condition in [
        "date_part('year', born) = 1990",
        "EXTRACT(YEAR FROM born) IN (1990, 1991, 1992, 1993)",
        "1990 < EXTRACT(YEAR FROM born)",
        "floor(x) >= 3",
        "floor(x) BETWEEN 3 AND 5",
    ] {
        assert!(!refused(condition), "{condition}");
    }
    for condition in [
        "date_part('month', born) = 5",
        "date_part('year', hired) = 1990",
        "floor(price) = 3",
        "floor(x + 1) = 3",
        "ceil(x) = 3",
        "upper(city) = 'A'",
        "date_part('year', born) = floor(x)",
    ] {
        assert!(refused(condition), "{condition}");
    }
}

#[test]
fn a6_an_argument_that_the_engine_widens_is_the_one_that_is_listed() {
    let relation = relation(None);
    let clause = "RELEASE avg, sum OF n * m, a + b, n FROM s.t MINIMUM 5 DISTINCT id";
    let of = |function: &str, text: &str, kind: DataType| {
        refused(&relation, clause, &[], &value(function, Some(cast(expr(&relation, text), kind))))
    };
    assert_eq!(of("avg", "n * m", DataType::Float64), "");
    assert_eq!(of("sum", "a + b", DataType::Int64), "");
    assert_eq!(of("avg", "n", DataType::Float64), "");
    // Not what narrows.
    assert!(of("sum", "n * m", DataType::Int32).contains("does not list"));
    assert!(of("sum", "n * n", DataType::Float64).contains("does not list"));
}
