//! Expressions that have a value for every row. What a clause lists runs over protected rows before anything is decided about
//! them, so an expression that fails on a value would tell by its error that some row has it, however few there are. Here is
//! looked at what is written; what the types of columns add is in [`mod@super::failing`].

use std::collections::BTreeSet;
use std::sync::OnceLock;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value,
};

use crate::function::engine_state;

/// How much of SQL is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// What a mask may be: columns, literals, conditions, and a few functions of text and time.
    Narrow,
    /// Arithmetic, patterns and more functions as well.
    Wide,
}

/// Further functions that give a value, or NULL, for whatever they are given; `floor` and `ceil` not for every decimal, which is
/// looked at with the types.
const WIDE: [&str; 24] = [
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
    "ln",
    "log2",
    "log10",
    "floor",
    "ceil",
    "isnan",
    "signum",
];

/// Whether an expression has a value for every row, as far as that can be said without types; if not, the part that may have
/// none. Sums and products of integers wrap around, and arithmetic of doubles goes to infinity. [`mod@super::failing`] looks at the rest.
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
        ("round", &[value]) if extent == Extent::Wide => check_total(value, extent),
        ("round", &[value, places]) if extent == Extent::Wide && is_signed_number(places) => check_total(value, extent),
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

/// A number without a sign.
fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

/// A number, with a sign or without.
fn is_signed_number(expr: &Expr) -> bool {
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => is_number(expr),
        other => is_number(other),
    }
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn defined(text: &str) -> Result<(), String> {
        let expr = Parser::new(&GenericDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap();
        check_total(&expr, Extent::Wide).map_err(ToString::to_string)
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
            "CASE WHEN a > 1 THEN ln(b) ELSE -b END",
            "round(a) + round(a, 2) + round(a, -3)",
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
            ("1 + sqrt(a)", "sqrt(a)"),
            ("round(a, b)", "round(a, b)"),
            ("a LIKE b", "a LIKE b"),
            ("CASE WHEN a > 1 THEN chr(a) END", "chr(a)"),
            ("random()", "random()"),
        ] {
            assert_eq!(defined(text), Err(part.to_owned()), "{text}");
        }
    }
}
