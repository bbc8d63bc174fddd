//! Cardinalities, from the statistics that stewards publish. Coarse on purpose: they decide between plans, not results.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Operator};
use datafusion::prelude::Expr;

use crate::bind::unalias;
use crate::catalog::{Catalog, ColumnStatistics, TableName};

/// What is known of an output's columns, by column.
pub type Columns = BTreeMap<Column, ColumnEstimate>;

/// What is known of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColumnEstimate {
    /// Distinct values.
    pub distinct: f64,
    /// Bounds, as numbers, where the type has an order that numbers show.
    pub bounds: Option<(f64, f64)>,
}

/// Estimates over one catalog.
#[derive(Clone, Copy, Debug)]
pub struct Estimates<'a> {
    /// Whose statistics are used.
    pub catalog: &'a Catalog,
}

/// Selectivity of a predicate about which nothing is known.
const UNKNOWN: f64 = 0.25;
/// Selectivity of a comparison with a literal without bounds.
const RANGE: f64 = 0.33;

impl Estimates<'_> {
    /// Rows and columns of a scan.
    pub fn scan(&self, table: &crate::bind::VisibleTable, schema: &DFSchema) -> (f64, Columns) {
        let parts = |name: &TableName| -> Vec<_> {
            table.stewards.iter().filter_map(|steward| self.catalog.table(steward, name)).collect()
        };
        let rows_of = |name: &TableName| parts(name).iter().map(|part| part.statistics.rows as f64).sum::<f64>();
        // Joins on keys keep the largest.
        let rows = table.joined.iter().chain([&table.name]).map(rows_of).fold(1.0, f64::max);
        let mut columns = Columns::new();
        for column in schema.columns() {
            let (of, name) = table.base(&column.name);
            let parts = parts(of);
            let of_parts: Vec<&ColumnStatistics> =
                parts.iter().filter_map(|part| part.statistics.columns.get(name)).collect();
            if column.name == crate::catalog::STEWARD {
                columns.insert(column, ColumnEstimate { distinct: parts.len().max(1) as f64, bounds: None });
                continue;
            }
            let own = table.colocated.contains_key(&column.name) || table.local.as_ref() == Some(&column.name);
            let counts = of_parts.iter().filter_map(|statistics| statistics.distinct).map(|distinct| distinct as f64);
            let distinct = if own { counts.sum::<f64>() } else { counts.fold(0.0, f64::max) };
            let distinct = if distinct > 0.0 { distinct.min(rows) } else { (rows / 10.0).max(1.0) };
            let bounds = of_parts.iter().map(|statistics| bounds(statistics)).reduce(wider).flatten();
            columns.insert(column, ColumnEstimate { distinct, bounds });
        }
        (rows, columns)
    }
}

fn bounds(statistics: &ColumnStatistics) -> Option<(f64, f64)> {
    Some((number(statistics.min.as_ref()?)?, number(statistics.max.as_ref()?)?))
}

fn wider(one: Option<(f64, f64)>, other: Option<(f64, f64)>) -> Option<(f64, f64)> {
    let ((low, high), (other_low, other_high)) = (one?, other?);
    Some((low.min(other_low), high.max(other_high)))
}

/// A value as a number on which intervals can be compared; dates count days.
fn number(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Date32(Some(days)) => Some(f64::from(*days)),
        ScalarValue::Decimal128(Some(value), _, scale) => Some(*value as f64 / 10_f64.powi(i32::from(*scale))),
        other => match other.cast_to(&DataType::Float64) {
            Ok(ScalarValue::Float64(number)) if other.data_type().is_numeric() => number,
            _ => None,
        },
    }
}

/// The share of rows that a predicate keeps.
pub fn selectivity(predicate: &Expr, columns: &Columns) -> f64 {
    let share = match unalias(predicate) {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            selectivity(left, columns) * selectivity(right, columns)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (one, other) = (selectivity(left, columns), selectivity(right, columns));
            one + other - one * other
        }
        Expr::Not(inner) => 1.0 - selectivity(inner, columns),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => comparison(left, *op, right, columns),
        Expr::Between(Between { expr, low, high, negated: false }) => {
            comparison(expr, Operator::GtEq, low, columns) + comparison(expr, Operator::LtEq, high, columns) - 1.0
        }
        Expr::InList(InList { expr, list, negated }) => {
            let one = known(expr, columns).map_or(UNKNOWN, |column| 1.0 / column.distinct);
            let some = (one * list.len() as f64).min(1.0);
            if *negated { 1.0 - some } else { some }
        }
        Expr::IsNotNull(_) => 0.95,
        Expr::IsNull(_) => 0.05,
        Expr::Like(like) => {
            if like.negated {
                0.9
            } else {
                0.1
            }
        }
        Expr::Literal(ScalarValue::Boolean(Some(value)), _) => {
            if *value {
                1.0
            } else {
                0.0
            }
        }
        _ => UNKNOWN,
    };
    share.clamp(1.0e-6, 1.0)
}

fn known<'a>(expr: &Expr, columns: &'a Columns) -> Option<&'a ColumnEstimate> {
    match unalias(expr) {
        Expr::Column(column) => columns.get(column),
        Expr::Cast(cast) => known(&cast.expr, columns),
        _ => None,
    }
}

fn comparison(left: &Expr, op: Operator, right: &Expr, columns: &Columns) -> f64 {
    let (column, literal, op) = match (known(left, columns), known(right, columns)) {
        (Some(one), Some(other)) if op == Operator::Eq => return 1.0 / one.distinct.max(other.distinct),
        (Some(column), None) => (column, right, op),
        (None, Some(column)) => (column, left, op.swap().unwrap_or(op)),
        _ => return if op == Operator::Eq { 0.1 } else { UNKNOWN },
    };
    let value = match unalias(literal) {
        Expr::Literal(value, _) => number(value),
        _ => None,
    };
    match (op, value, column.bounds) {
        (Operator::Eq, _, _) => 1.0 / column.distinct,
        (Operator::NotEq, _, _) => 1.0 - 1.0 / column.distinct,
        (Operator::Lt | Operator::LtEq, Some(value), Some((low, high))) if high > low => (value - low) / (high - low),
        (Operator::Gt | Operator::GtEq, Some(value), Some((low, high))) if high > low => (high - value) / (high - low),
        (Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq, _, _) => RANGE,
        _ => UNKNOWN,
    }
}

/// Rows of an inner join on these equalities and conditions.
pub fn join_rows(left: f64, right: f64, on: &[(Expr, Expr)], filter: Option<&Expr>, columns: &Columns) -> f64 {
    let distinct = |expr: &Expr, most: f64| known(expr, columns).map_or(most, |column| column.distinct.min(most));
    // A side has no more different values of all keys together than it has rows.
    let of_left = on.iter().map(|(one, _)| distinct(one, left)).product::<f64>().min(left);
    let of_right = on.iter().map(|(_, other)| distinct(other, right)).product::<f64>().min(right);
    let mut rows = left * right / of_left.max(of_right).max(1.0);
    if let Some(filter) = filter {
        rows *= selectivity(filter, columns);
    }
    rows.max(1.0)
}

/// Groups of an aggregation by these keys.
pub fn groups(rows: f64, keys: &[Expr], columns: &Columns) -> f64 {
    let product = keys.iter().map(|key| known(key, columns).map_or(20.0, |column| column.distinct));
    product.product::<f64>().min(rows).max(1.0)
}

/// Bytes of a row with these columns on the wire.
pub fn width(schema: &DFSchema) -> f64 {
    schema.fields().iter().map(|field| type_width(field.data_type())).sum::<f64>().max(1.0)
}

fn type_width(kind: &DataType) -> f64 {
    match kind.primitive_width() {
        Some(bytes) => bytes as f64,
        None if *kind == DataType::Boolean => 0.2,
        None => 18.0,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::col;

    use super::*;

    #[test]
    fn several_keys_together_have_no_more_values_than_there_are_rows() {
        let estimate = |distinct| ColumnEstimate { distinct, bounds: None };
        let columns: Columns = [("lp", 200_000.0), ("ls", 10_000.0), ("pp", 200_000.0), ("ps", 10_000.0)]
            .map(|(name, distinct)| (Column::from_name(name), estimate(distinct)))
            .into();
        let on = [(col("lp"), col("pp")), (col("ls"), col("ps"))];
        assert_eq!(join_rows(6.0e6, 800_000.0, &on, None, &columns), 800_000.0);
        assert_eq!(join_rows(6.0e6, 800_000.0, &on[..1], None, &columns), 24.0e6);
    }
}
