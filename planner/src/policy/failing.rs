//! What fails on some value once the types of columns are known: what the engine casts so that types agree, numbers that have no
//! place in their type, and points in time outside the calendar. An error over protected rows would tell of such a value.

use std::fmt;

use arrow::datatypes::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType,
    TimeUnit,
};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion::prelude::Expr;

use super::total::Extent;
use crate::bind::unalias;

/// A decimal with so many digits before the point has room for whatever is counted or measured, products of it included.
const AMPLE: i16 = 20;

/// A part of an expression that fails on some value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failing {
    /// A cast.
    Cast(FailingCast),
    /// What is made of numbers, and may have no place in its type.
    Number(String),
    /// What is made of points in time, or of the time between them.
    Time(String),
}

impl fmt::Display for Failing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cast(cast) => write!(out, "{cast}"),
            Self::Number(what) => {
                write!(out, "`{what}` can fail on a value, where the result has no place in its type")
            }
            Self::Time(what) => write!(out, "`{what}` can fail on a value, where the result is outside the calendar"),
        }
    }
}

impl Failing {
    /// What a steward writes in its place.
    pub(super) fn instead(&self, extent: Extent) -> String {
        match self {
            Self::Cast(cast) => cast.instead(extent),
            Self::Number(_) => "it over TRY_CAST(… AS DOUBLE), which is rounded instead".to_owned(),
            Self::Time(_) => "it with numbers that date_part gives".to_owned(),
        }
    }
}

/// A cast that fails on some value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FailingCast {
    /// What is cast.
    of: String,
    from: DataType,
    to: DataType,
}

impl fmt::Display for FailingCast {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, from, to } = self;
        write!(out, "`{of}`, of type {from}, would be cast to {to}, which fails on some values")
    }
}

impl FailingCast {
    fn instead(&self, extent: Extent) -> String {
        if !try_never_fails(&self.from, &self.to) {
            return "parts of it, with date_part".to_owned();
        }
        let own = "literals of the type that it has";
        match extent {
            Extent::Narrow => own.to_owned(),
            Extent::Wide => {
                format!("TRY_CAST({} AS {}), which is NULL where there is no value, or {own}", self.of, sql(&self.to))
            }
        }
    }
}

/// A type as SQL calls it.
fn sql(kind: &DataType) -> String {
    match kind {
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        other => other.to_string(),
    }
}

/// The first cast in an expression of a clause, with types coerced, that fails on some value; else what else fails on one there.
pub(super) fn failing_cast(expr: &Expr, schema: &DFSchema) -> Result<Option<Failing>> {
    let mut failing = first_cast(expr, schema)?.map(Failing::Cast);
    expr.apply(|node| {
        if failing.is_none() {
            failing = failing_part(node, schema)?;
        }
        Ok(if failing.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(failing)
}

fn first_cast(expr: &Expr, schema: &DFSchema) -> Result<Option<FailingCast>> {
    Ok(failing_casts([expr], schema)?.into_iter().next())
}

/// What fails on some value in an expression apart from its parts, and is no CAST.
fn failing_part(node: &Expr, schema: &DFSchema) -> Result<Option<Failing>> {
    match node {
        Expr::TryCast(cast) if !matches!(cast.expr.as_ref(), Expr::Literal(..)) => {
            let (from, to) = (cast.expr.get_type(schema)?, cast.field.data_type().clone());
            let fails = !try_never_fails(&from, &to);
            Ok(fails.then(|| Failing::Cast(FailingCast { of: cast.expr.to_string(), from, to })))
        }
        // Integers wrap around, and a decimal has a sign beside its digits.
        Expr::Negative(inner) => {
            let kind = inner.get_type(schema)?;
            Ok((!kind.is_numeric() && !kind.is_null()).then(|| Failing::Time(node.to_string())))
        }
        Expr::BinaryExpr(binary) if binary.op.is_numerical_operators() => failing_arithmetic(binary, schema),
        Expr::ScalarFunction(call) => Ok(call_fails(call, schema)?.then(|| Failing::Number(node.to_string()))),
        _ => Ok(None),
    }
}

/// Integers wrap around, but for the smallest divided by minus one; doubles go to infinity; decimals have so many digits. What is
/// divided by is not zero, which is looked at as it is written.
fn failing_arithmetic(binary: &BinaryExpr, schema: &DFSchema) -> Result<Option<Failing>> {
    let BinaryExpr { left, op, right } = binary;
    let (one, other) = (left.get_type(schema)?, right.get_type(schema)?);
    let fails = match (&one, &other) {
        (DataType::Null, _) | (_, DataType::Null) => false,
        (one, other) if one.is_decimal() && other.is_decimal() => {
            let known = digits_of(left, one).zip(digits_of(right, other)).zip(most_digits(one));
            !known.is_some_and(|((one, other), most)| fits(one, *op, other, most))
        }
        (one, other) if one.is_signed_integer() && other.is_integer() => {
            *op == Operator::Divide && !is_another_than_minus_one(right)
        }
        (one, other) if one.is_numeric() && other.is_numeric() => false,
        // The days between two dates are a number.
        (DataType::Date32, DataType::Date32) | (DataType::Date64, DataType::Date64) if *op == Operator::Minus => false,
        _ => return Ok(Some(Failing::Time(binary.to_string()))),
    };
    Ok(fails.then(|| Failing::Number(binary.to_string())))
}

/// Whether what is made of decimals with so many digits before the point and behind it never needs more digits than the type
/// has, on the way neither, or only for numbers that are larger than any that is counted or measured. The engine writes both
/// with as many behind the point where it does not multiply them, and a quotient with four more than what is divided.
fn fits((whole, scale): (i16, i16), op: Operator, (other_whole, other_scale): (i16, i16), most: i16) -> bool {
    let finer = scale.max(other_scale);
    let (before, behind) = match op {
        Operator::Plus | Operator::Minus => (whole.max(other_whole) + 1, finer),
        Operator::Modulo => (whole.max(other_whole), finer),
        Operator::Multiply => (whole + other_whole, scale + other_scale),
        Operator::Divide => {
            let moved = (scale + 4).min(most) - scale + other_scale;
            (whole.max(other_whole), (scale + moved.max(0)).max(other_scale - moved.min(0)))
        }
        _ => return false,
    };
    before + behind <= most || most - behind >= AMPLE
}

/// The digits of decimals of a type; those of a literal are counted.
fn digits_of(expr: &Expr, kind: &DataType) -> Option<(i16, i16)> {
    let (whole, scale) = digits(kind)?;
    match expr {
        Expr::Literal(ScalarValue::Decimal128(Some(number), ..), _) => {
            let counted = number.unsigned_abs().checked_ilog10().map_or(0, |power| power + 1);
            Some((i16::try_from(counted).ok()? - scale, scale))
        }
        _ => Some((whole, scale)),
    }
}

/// How many digits a decimal has at most.
fn most_digits(kind: &DataType) -> Option<i16> {
    let most = match kind {
        DataType::Decimal32(..) => DECIMAL32_MAX_PRECISION,
        DataType::Decimal64(..) => DECIMAL64_MAX_PRECISION,
        DataType::Decimal128(..) => DECIMAL128_MAX_PRECISION,
        DataType::Decimal256(..) => DECIMAL256_MAX_PRECISION,
        _ => return None,
    };
    Some(i16::from(most))
}

/// Whether the average of decimals has no place in its type: it has four digits more than they have.
pub(super) fn average_fails(kind: &DataType) -> bool {
    let digits = digits(kind).filter(|_| kind.is_decimal()).zip(most_digits(kind));
    digits.is_some_and(|((whole, scale), most)| whole + scale + 4 > most)
}

/// Whether a function of a number has no place for some of its results.
fn call_fails(call: &ScalarFunction, schema: &DFSchema) -> Result<bool> {
    Ok(match (call.name(), call.args.as_slice()) {
        // 9.9 is of a type in which 10.0 is not.
        ("ceil" | "floor", [value]) => {
            let kind = value.get_type(schema)?;
            kind.is_decimal() && digits(&kind).is_some_and(|(_, scale)| scale > 0)
        }
        ("round", [value, places]) => round_fails(&value.get_type(schema)?, places),
        // The whole of a length of time in small units, which has as many digits as it likes.
        ("date_part", [_, value]) => {
            matches!(value.get_type(schema)?, DataType::Duration(_) | DataType::Interval(_))
        }
        _ => false,
    })
}

/// Rounding makes a number longer where it is to tens, hundreds and so on, and nothing behind the point makes room for that.
fn round_fails(kind: &DataType, places: &Expr) -> bool {
    if is_not_negative(places) {
        return false;
    }
    let room =
        digits(kind).zip(most_digits(kind)).is_some_and(|((whole, scale), most)| scale > 0 || whole + scale < most);
    kind.is_integer() || (kind.is_decimal() && !(room && matches!(places, Expr::Literal(..))))
}

/// Whether an expression is a whole number that is written down and not minus one.
fn is_another_than_minus_one(expr: &Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    matches!(value.cast_to(&DataType::Int64), Ok(ScalarValue::Int64(Some(number))) if number != -1)
}

/// Whether an expression is a whole number that is written down and not below zero.
fn is_not_negative(expr: &Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    matches!(value.cast_to(&DataType::Int64), Ok(ScalarValue::Int64(Some(0..))))
}

/// The first cast that fails on some value and that the engine would add where this operator runs, so that types agree. What
/// the operator itself asks for is not meant.
pub(super) fn cast_by_the_engine(plan: &LogicalPlan) -> Result<Option<FailingCast>> {
    if nothing_to_reconcile(plan) {
        return Ok(None);
    }
    let schema = merge_schema(&plan.inputs());
    let mut rewriter = TypeCoercionRewriter::new(&schema);
    let coerced = plan.clone().map_expressions(|expr| expr.rewrite(&mut rewriter))?.data;
    let coerced = rewriter.coerce_plan(coerced)?;
    let asked_for = failing_casts(&plan.expressions(), &schema)?;
    let mut casts = failing_casts(&coerced.expressions(), &schema)?.into_iter();
    if let Some(added) = casts.find(|cast| !asked_for.contains(cast)) {
        return Ok(Some(added));
    }
    // A union casts the columns of its inputs.
    let LogicalPlan::Union(union) = plan else { return Ok(None) };
    let together = coerced.schema().fields();
    let mut columns = union.inputs.iter().flat_map(|input| input.schema().fields().iter().zip(together.iter()));
    let failing = columns.find(|(own, all)| !never_fails(own.data_type(), all.data_type()));
    Ok(failing.map(|(own, all)| FailingCast {
        of: own.name().clone(),
        from: own.data_type().clone(),
        to: all.data_type().clone(),
    }))
}

/// Whether the operator only hands on columns, or compares or unites such of one type. Most do, and need not be rewritten to see
/// that.
fn nothing_to_reconcile(plan: &LogicalPlan) -> bool {
    let as_it_is = |expr: &Expr| matches!(unalias(expr), Expr::Column(_) | Expr::Literal(..));
    match plan {
        LogicalPlan::Projection(projection) => projection.expr.iter().all(as_it_is),
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| {
            let fields = input.schema().fields().iter().zip(union.schema.fields());
            fields.into_iter().all(|(own, all)| own.data_type() == all.data_type())
        }),
        LogicalPlan::Join(join) => {
            let (left, right) = (join.left.schema(), join.right.schema());
            let alike = |one: &Expr, other: &Expr| {
                let kinds = one.get_type(left).ok().zip(other.get_type(right).ok());
                as_it_is(one) && as_it_is(other) && kinds.is_some_and(|(one, other)| one == other)
            };
            join.filter.is_none() && join.on.iter().all(|(one, other)| alike(one, other))
        }
        _ => false,
    }
}

/// The casts in expressions that fail on some value. Those of literals do so before a query runs, whatever the rows are; and a
/// date is taken to be a point in time for `date_trunc`.
fn failing_casts<'a>(exprs: impl IntoIterator<Item = &'a Expr>, schema: &DFSchema) -> Result<Vec<FailingCast>> {
    let mut failing = Vec::new();
    let mut cut: Vec<&Expr> = Vec::new();
    for expr in exprs {
        expr.apply(|node| {
            match node {
                Expr::ScalarFunction(call) if call.name() == "date_trunc" => cut.extend(call.args.iter()),
                Expr::Cast(cast) if !matches!(cast.expr.as_ref(), Expr::Literal(..)) => {
                    let (from, to) = (cast.expr.get_type(schema)?, cast.field.data_type());
                    let is_date = matches!(from, DataType::Date32 | DataType::Date64);
                    if !(never_fails(&from, to) || (is_date && cut.contains(&node))) {
                        failing.push(FailingCast { of: cast.expr.to_string(), from, to: to.clone() });
                    }
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(failing)
}

/// Whether values of two types are compared without an error on some of them. The engine casts both to a type that they have
/// in common: texts to numbers or dates, numbers to decimals with fewer digits before the point than they have.
pub(super) fn compares_without_errors(one: &DataType, other: &DataType) -> bool {
    comparison_coercion(one, other).is_some_and(|common| never_fails(one, &common) && never_fails(other, &common))
}

/// Whether every value of one type can be cast to the other. It may be rounded. The engine writes down no date outside its own
/// calendar, which only nanoseconds never leave, and no time outside a day.
fn never_fails(from: &DataType, to: &DataType) -> bool {
    if from == to || from.is_null() {
        return true;
    }
    match (from, to) {
        (DataType::Dictionary(_, value), to) => never_fails(value, to),
        // As many different values as a batch can have.
        (from, DataType::Dictionary(key, value)) => {
            key.primitive_width().is_some_and(|width| width >= 4) && never_fails(from, value)
        }
        (DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Duration(_) | DataType::Interval(_), to)
            if to.is_string() =>
        {
            true
        }
        (from, to) if to.is_string() => from.is_string() || from.is_numeric() || *from == DataType::Boolean,
        (from, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => from.is_string() || from.is_binary(),
        (DataType::Date32, DataType::Date64) => true,
        (DataType::Timestamp(finer, zone), DataType::Timestamp(coarser, other)) => zone == other && finer >= coarser,
        (from, DataType::Float64) => from.is_numeric(),
        (from, DataType::Float32) => from.is_integer() || *from == DataType::Float16,
        (from, to) if to.is_decimal() => digits(from)
            .zip(digits(to))
            .is_some_and(|((whole, scale), (wider, finer))| whole <= wider && scale <= finer),
        (from, to) if from.is_integer() && to.is_integer() => {
            let wider = from.primitive_width() < to.primitive_width();
            wider && (from.is_unsigned_integer() || to.is_signed_integer())
        }
        _ => false,
    }
}

/// Whether TRY_CAST gives a value, or NULL, for every value of a type. It fails all the same where the engine writes down a
/// point in time, or looks for its day or hour.
fn try_never_fails(from: &DataType, to: &DataType) -> bool {
    if never_fails(from, to) {
        return true;
    }
    let plain = |kind: &DataType| kind.is_numeric() || *kind == DataType::Boolean;
    match (from, to) {
        (DataType::Dictionary(_, value), to) => try_never_fails(value, to),
        (from, DataType::Dictionary(key, value)) => {
            key.primitive_width().is_some_and(|width| width >= 4) && try_never_fails(from, value)
        }
        (from, _) if from.is_string() => true,
        (from, to) if from.is_binary() => to.is_string() || to.is_binary(),
        (from, to) if plain(from) => plain(to) || to.is_temporal(),
        (DataType::Timestamp(unit, _), DataType::Date32 | DataType::Time32(_) | DataType::Time64(_)) => {
            *unit == TimeUnit::Nanosecond
        }
        (DataType::Timestamp(..), DataType::Timestamp(..) | DataType::Date64)
        | (DataType::Date32, DataType::Timestamp(..))
        | (DataType::Date64, DataType::Date32) => true,
        (from, to) => from.is_temporal() && to.is_numeric(),
    }
}

/// How many digits numbers of a type have before the point, and behind it; none of a type whose numbers are not exact.
fn digits(kind: &DataType) -> Option<(i16, i16)> {
    match kind {
        DataType::Int8 | DataType::UInt8 => Some((3, 0)),
        DataType::Int16 | DataType::UInt16 => Some((5, 0)),
        DataType::Int32 | DataType::UInt32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::UInt64 => Some((20, 0)),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), i16::from(*scale)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, IntervalUnit, Schema};
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::bind::{coerce, scalar_expr};
    use crate::function::engine_state;

    /// What fails in an expression over these columns, as it is told.
    fn told(text: &str) -> Option<String> {
        let columns = [
            ("price", DataType::Decimal128(10, 2)),
            ("total", DataType::Decimal128(38, 2)),
            ("stock", DataType::Decimal128(38, 0)),
            ("rate", DataType::Decimal128(38, 20)),
            ("n", DataType::Int64),
            ("m", DataType::Int64),
            ("x", DataType::Float64),
            ("city", DataType::Utf8),
            ("born", DataType::Date32),
            ("died", DataType::Date32),
            ("seen", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("gone", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("stamp", DataType::Timestamp(TimeUnit::Nanosecond, None)),
            ("span", DataType::Interval(IntervalUnit::MonthDayNano)),
            ("waiting", DataType::Duration(TimeUnit::Microsecond)),
        ];
        let fields: Vec<Field> = columns.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
        let schema = DFSchema::try_from(Schema::new(fields)).unwrap();
        let state = engine_state();
        let written = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
        let typed = scalar_expr(&written, &schema, &state).and_then(|expr| coerce(expr, &schema, &state));
        let typed = typed.unwrap_or_else(|error| panic!("{text}: {error}"));
        failing_cast(&typed, &schema).unwrap().map(|failing| failing.to_string())
    }

    #[test]
    fn c3_values_are_compared_where_no_cast_of_them_fails() {
        let decimal = |precision, scale| DataType::Decimal128(precision, scale);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for (one, other) in [
            (DataType::Int64, DataType::Int64),
            (DataType::Int32, DataType::Int64),
            (DataType::Int64, DataType::UInt64),
            (DataType::UInt8, DataType::Int16),
            (DataType::Int64, DataType::Float64),
            (DataType::Int64, decimal(20, 0)),
            (DataType::Int64, decimal(38, 18)),
            (DataType::Int64, DataType::Null),
            (decimal(10, 2), decimal(12, 4)),
            (DataType::Utf8, DataType::Utf8View),
            (DataType::Utf8, dictionary),
            (DataType::Date32, DataType::Date64),
        ] {
            assert!(compares_without_errors(&one, &other) && compares_without_errors(&other, &one), "{one}, {other}");
        }
        for (one, other) in [
            // All but one digit would stand behind the point.
            (DataType::Int64, decimal(38, 37)),
            (decimal(38, 0), decimal(38, 37)),
            (DataType::Float64, decimal(10, 2)),
            (DataType::Utf8, DataType::Int64),
            (DataType::Utf8, DataType::Date32),
            (DataType::Date32, DataType::Int64),
            (DataType::Date32, DataType::Timestamp(TimeUnit::Nanosecond, None)),
            (DataType::Utf8, DataType::Boolean),
        ] {
            assert!(!compares_without_errors(&one, &other) && !compares_without_errors(&other, &one), "{one}, {other}");
        }
    }

    #[test]
    fn c3_numbers_that_have_no_place_in_their_type_are_found() {
        for text in [
            "price + price",
            "price * price * price",
            "price * (1 - price)",
            "price * 100",
            "total + x",
            "total * 1.5",
            "stock + stock",
            "total * price",
            "total / price",
            "price / 100",
            "price % 7",
            "-price",
            "-n",
            "n * m + 1",
            "n / 100",
            "n / -2",
            "n % nullif(m, 0)",
            "x / nullif(m, 0)",
            "floor(stock)",
            "ceil(n)",
            "floor(x)",
            "round(price)",
            "round(price, 1)",
            "round(total, -2)",
            "round(n, 2)",
            "round(x, -2)",
            "ceil(TRY_CAST(price AS DOUBLE))",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
        for (text, part) in [
            ("1.5 + x + CASE WHEN x > 0 THEN rate + price END", "`rate + price` can fail on a value"),
            ("stock - rate", "`stock - rate` can fail on a value"),
            ("rate * price", "`rate * price` can fail on a value"),
            ("rate / price", "`rate / price` can fail on a value"),
            ("stock % rate", "`stock % rate` can fail on a value"),
            ("floor(price)", "`floor(price)` can fail on a value"),
            ("coalesce(ceil(price), 0)", "`ceil(price)` can fail on a value"),
            ("round(stock, -1)", "`round(stock"),
            ("round(n, -2)", "`round(n"),
            ("n / nullif(m, 0)", "`n / nullif(m"),
            ("n / -1", "`n / "),
            ("date_part('microsecond', waiting)", "`date_part("),
            ("date_part('millisecond', span)", "`date_part("),
        ] {
            let said = told(text).unwrap_or_default();
            assert!(said.starts_with(part) && said.contains("can fail on a value"), "{text}: {said}");
        }
    }

    #[test]
    fn c3_averages_have_room_for_four_digits_more() {
        let fails = [
            (DataType::Decimal32(5, 2), false),
            (DataType::Decimal32(7, 2), true),
            (DataType::Decimal64(14, 2), false),
            (DataType::Decimal64(15, 2), true),
            (DataType::Decimal128(34, 2), false),
            (DataType::Decimal128(35, 2), true),
            (DataType::Decimal256(72, 2), false),
            (DataType::Decimal256(73, 2), true),
            (DataType::Int64, false),
            (DataType::Float64, false),
        ];
        for (kind, expected) in fails {
            assert_eq!(average_fails(&kind), expected, "{kind}");
        }
    }

    #[test]
    fn c3_points_in_time_outside_the_calendar_are_found() {
        for text in [
            "died - born",
            "concat(stamp, 'x')",
            "date_part('year', seen)",
            "date_trunc('month', born)",
            "TRY_CAST(city AS DATE)",
            "TRY_CAST(city AS TIMESTAMP)",
            "TRY_CAST(born AS TIMESTAMP)",
            "TRY_CAST(stamp AS DATE)",
            "TRY_CAST(x AS DECIMAL(10, 2))",
            "TRY_CAST(price AS INT)",
            "TRY_CAST(n AS TEXT)",
            "born > '2000-01-01'",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
        for (text, part) in [
            ("seen - gone", "`seen - gone` can fail on a value"),
            ("-span", "`(- span)` can fail on a value"),
            ("concat(born, 'x')", "`born`, of type Date32, would be cast to Utf8"),
            ("city || seen", "`seen`, of type Timestamp"),
            ("length(born)", "`born`, of type Date32, would be cast to Utf8"),
            ("TRY_CAST(born AS TEXT)", "`born`, of type Date32, would be cast to Utf8"),
            ("TRY_CAST(seen AS DATE)", "`seen`, of type Timestamp"),
            ("TRY_CAST(seen AS TIME)", "`seen`, of type Timestamp"),
        ] {
            let said = told(text).unwrap_or_default();
            assert!(said.starts_with(part) && said.contains("fail"), "{text}: {said}");
        }
    }
}
