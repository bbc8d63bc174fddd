//! Expressions that have a value for every row. What a clause lists runs over protected rows before anything is decided about
//! them, so an expression that fails on a value would tell by its error that some row has it, however few there are. What is
//! written is looked at first, and then, with the types that columns have, what the engine casts so that types agree.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{ExprSchemable, LogicalPlan};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion::prelude::Expr as Typed;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value,
};

use crate::bind::unalias;
use crate::function::engine_state;

/// How much of SQL is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// What a mask may be: columns, literals, conditions, and a few functions of text and time.
    Narrow,
    /// Arithmetic, patterns and more functions as well.
    Wide,
}

/// Further functions that give a value, or NULL, for whatever they are given.
const WIDE: [&str; 26] = [
    "initcap",
    "reverse",
    "trim",
    "btrim",
    "ltrim",
    "rtrim",
    "nullif",
    "length",
    "char_length",
    "character_length",
    "octet_length",
    "bit_length",
    "starts_with",
    "ends_with",
    "contains",
    "strpos",
    "md5",
    "sqrt",
    "ln",
    "log2",
    "log10",
    "floor",
    "ceil",
    "round",
    "isnan",
    "signum",
];

/// Whether an expression has a value for every row; if not, the part that may have none. Arithmetic of integers wraps around,
/// that of doubles goes to infinity, and that of decimals has up to 38 digits.
pub(super) fn check_total(expr: &Expr, extent: Extent) -> Result<(), &Expr> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::TypedString(_) => Ok(()),
        Expr::Nested(inner)
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::UnaryOp { op: UnaryOperator::Not, expr: inner }
        | Expr::Extract { expr: inner, .. } => check_total(inner, extent),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } if is_number(inner) => Ok(()),
        Expr::BinaryOp { left, op, right } if is_comparison(op) => all([left.as_ref(), right.as_ref()], extent),
        Expr::Between { expr, low, high, .. } => all([expr.as_ref(), low.as_ref(), high.as_ref()], extent),
        Expr::InList { expr, list, .. } => all(std::iter::once(expr.as_ref()).chain(list), extent),
        Expr::Case { operand, conditions, else_result, .. } => {
            all(operand.iter().chain(else_result).map(AsRef::as_ref), extent)?;
            all(conditions.iter().flat_map(|when| [&when.condition, &when.result]), extent)
        }
        Expr::Substring { expr: inner, substring_from, substring_for, .. } => {
            let literal = |bound: &Option<Box<Expr>>| bound.as_ref().is_none_or(|bound| is_number(bound));
            if literal(substring_from) && literal(substring_for) { check_total(inner, extent) } else { Err(expr) }
        }
        Expr::Function(function) => {
            let plain = function.filter.is_none() && function.over.is_none() && function.null_treatment.is_none();
            match positional(&function.args).filter(|_| plain) {
                Some(arguments) => check_function(&function.name.to_string(), &arguments, expr, extent),
                None => Err(expr),
            }
        }
        other if extent == Extent::Wide => check_wide(other),
        other => Err(other),
    }
}

/// What only the wide extent has.
fn check_wide(expr: &Expr) -> Result<(), &Expr> {
    let extent = Extent::Wide;
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: inner }
        | Expr::Ceil { expr: inner, .. }
        | Expr::Floor { expr: inner, .. }
        | Expr::Trim { expr: inner, trim_what: None, trim_characters: None, .. }
        | Expr::Cast { kind: CastKind::TryCast, expr: inner, .. } => check_total(inner, extent),
        Expr::BinaryOp { left, op: BinaryOperator::Divide | BinaryOperator::Modulo, right } if is_never_zero(right) => {
            all([left.as_ref(), right.as_ref()], extent)
        }
        Expr::BinaryOp { left, op, right } if is_arithmetic(op) => all([left.as_ref(), right.as_ref()], extent),
        Expr::Like { expr: text, pattern, escape_char: None, any: false, .. }
        | Expr::ILike { expr: text, pattern, escape_char: None, any: false, .. }
            if is_text(pattern) =>
        {
            check_total(text, extent)
        }
        _ => Err(expr),
    }
}

fn all<'a>(exprs: impl IntoIterator<Item = &'a Expr>, extent: Extent) -> Result<(), &'a Expr> {
    exprs.into_iter().try_for_each(|expr| check_total(expr, extent))
}

/// Functions without errors, and the arguments that must be literals for that to be so.
fn check_function<'a>(name: &str, arguments: &[&'a Expr], call: &'a Expr, extent: Extent) -> Result<(), &'a Expr> {
    match (name, arguments) {
        ("upper" | "lower" | "year", &[value]) => check_total(value, extent),
        ("date_trunc" | "date_part", &[unit, value]) if is_text(unit) => check_total(value, extent),
        ("left" | "right", &[value, length]) if is_number(length) => check_total(value, extent),
        ("substr" | "substring", &[value, from]) if is_number(from) => check_total(value, extent),
        ("substr" | "substring", &[value, from, length]) if is_number(from) && is_number(length) => {
            check_total(value, extent)
        }
        ("concat" | "coalesce", [_, ..]) => all(arguments.iter().copied(), extent),
        (name, [_, ..]) if extent == Extent::Wide && WIDE.contains(&name) => all(arguments.iter().copied(), extent),
        // One that does not exist is refused as such.
        (name, _) if extent == Extent::Wide && !exists(name) => Ok(()),
        _ => Err(call),
    }
}

fn exists(function: &str) -> bool {
    static KNOWN: OnceLock<BTreeSet<String>> = OnceLock::new();
    KNOWN.get_or_init(|| engine_state().scalar_functions().keys().cloned().collect()).contains(function)
}

/// A number other than zero, or what is NULL where it would be zero.
fn is_never_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_never_zero(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.to_string().parse::<f64>().is_ok_and(|number| number != 0.0),
            _ => false,
        },
        Expr::Function(function) if function.name.to_string() == "nullif" => {
            let zero = |expr: &Expr| matches!(expr, Expr::Value(value) if value.to_string() == "0");
            positional(&function.args).is_some_and(|arguments| matches!(arguments[..], [_, last] if zero(last)))
        }
        _ => false,
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::And
            | BinaryOperator::Or
    )
}

fn is_arithmetic(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply | BinaryOperator::StringConcat)
}

/// The arguments of a call, if all are plain expressions.
fn positional(arguments: &FunctionArguments) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = arguments else { return None };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let expr = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().map(expr).collect()
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
    /// What a steward writes in its place.
    pub(super) fn instead(&self, extent: Extent) -> String {
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

/// The first cast in an expression of a clause, with types coerced, that fails on some value.
pub(super) fn failing_cast(expr: &Typed, schema: &DFSchema) -> Result<Option<FailingCast>> {
    Ok(failing_casts([expr], schema)?.into_iter().next())
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
    let as_it_is = |expr: &Typed| matches!(unalias(expr), Typed::Column(_) | Typed::Literal(..));
    match plan {
        LogicalPlan::Projection(projection) => projection.expr.iter().all(as_it_is),
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| {
            let fields = input.schema().fields().iter().zip(union.schema.fields());
            fields.into_iter().all(|(own, all)| own.data_type() == all.data_type())
        }),
        LogicalPlan::Join(join) => {
            let (left, right) = (join.left.schema(), join.right.schema());
            let alike = |one: &Typed, other: &Typed| {
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
fn failing_casts<'a>(exprs: impl IntoIterator<Item = &'a Typed>, schema: &DFSchema) -> Result<Vec<FailingCast>> {
    let mut failing = Vec::new();
    let mut cut: Vec<&Typed> = Vec::new();
    for expr in exprs {
        expr.apply(|node| {
            match node {
                Typed::ScalarFunction(call) if call.name() == "date_trunc" => cut.extend(call.args.iter()),
                Typed::Cast(cast) if !matches!(cast.expr.as_ref(), Typed::Literal(..)) => {
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

/// Whether every value of one type can be cast to the other. It may be rounded.
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
        (from, to) if to.is_string() => {
            from.is_string() || from.is_numeric() || from.is_temporal() || *from == DataType::Boolean
        }
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

/// A number without a sign.
fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn defined(text: &str) -> Result<(), String> {
        let expr = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
        check_total(&expr, Extent::Wide).map_err(ToString::to_string)
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
    fn b2_what_fails_on_a_value_is_told_from_what_never_does() {
        for text in [
            "a",
            "t.a + 1",
            "price * (1 - discount)",
            "a / 100",
            "a / nullif(b, 0)",
            "a % 7",
            "upper(left(a, 3)) || 'x'",
            "a LIKE 'x%'",
            "year(born) IN (1990, 1991)",
            "EXTRACT(YEAR FROM born)",
            "date_trunc('month', born)",
            "CASE WHEN a > 1 THEN sqrt(b) ELSE -b END",
            "TRY_CAST(zip AS INT)",
            "coalesce(a, 0) BETWEEN b AND c",
        ] {
            assert_eq!(defined(text), Ok(()), "{text}");
        }
        for (text, part) in [
            ("100 / hours", "100 / hours"),
            ("a / 0", "a / 0"),
            ("a / nullif(b, 1)", "a / nullif(b, 1)"),
            ("coalesce(a % b, 1)", "a % b"),
            ("CAST(zip AS INT)", "CAST(zip AS INT)"),
            ("zip::int + 1", "zip::INT"),
            ("to_date(a)", "to_date(a)"),
            ("repeat(a, b)", "repeat(a, b)"),
            ("abs(a)", "abs(a)"),
            ("a LIKE b", "a LIKE b"),
            ("CASE WHEN a > 1 THEN chr(a) END", "chr(a)"),
            ("random()", "random()"),
        ] {
            assert_eq!(defined(text), Err(part.to_owned()), "{text}");
        }
    }
}
