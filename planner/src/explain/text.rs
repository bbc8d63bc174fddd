//! An expression of a plan as a reader of SQL would write it: columns by their names, literals as literals, and without what
//! the planner put in itself, such as casts that widen.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, InList, ScalarFunction};
use datafusion::logical_expr::{Cast, Expr};

use crate::catalog::STEWARD;
use crate::function::{average_of, exact_sum, hashed, sum_of, united_sums};
use crate::policy::{is_brought, paired_key};

/// Writes expressions.
pub(super) struct ExprText<'a> {
    /// What a column is called.
    pub(super) column: &'a dyn Fn(&Column) -> String,
    /// Whether a cast is nothing that a reader has to know of.
    pub(super) is_silent: &'a dyn Fn(&Cast) -> bool,
    /// Whether a text is the name of a steward, as a literal.
    pub(super) names_steward: &'a dyn Fn(&str) -> bool,
}

impl ExprText<'_> {
    /// The text of an expression.
    pub(super) fn of(&self, expr: &Expr) -> String {
        let written = expr.clone().transform_down(|node| {
            let plain = self.plain(&node);
            Ok(match self.whole(plain) {
                Some(text) => {
                    let named = Expr::Column(Column::new_unqualified(text));
                    Transformed::new(named, true, TreeNodeRecursion::Jump)
                }
                None => Transformed::yes(plain.clone()),
            })
        });
        written.map_or_else(|_| expr.to_string(), |written| written.data.to_string())
    }

    /// The expression without names, silent casts, and the steward beside a key that is local to it.
    pub(super) fn plain<'e>(&self, expr: &'e Expr) -> &'e Expr {
        let inner = match expr {
            Expr::Alias(alias) => Some(alias.expr.as_ref()),
            Expr::Cast(cast) if (self.is_silent)(cast) => Some(cast.expr.as_ref()),
            Expr::ScalarFunction(call) if call.name() == "concat" => self.key_beside_steward(call),
            other => paired_key(other),
        };
        inner.map_or(expr, |inner| self.plain(inner))
    }

    /// The last argument where all before it only say whose it is.
    fn key_beside_steward<'e>(&self, call: &'e ScalarFunction) -> Option<&'e Expr> {
        let (key, before) = call.args.split_last()?;
        let says_whose = |argument: &Expr| {
            let text = self.of(argument);
            let name = text.trim_matches(['\'', '/']);
            name.is_empty() || name == STEWARD || (self.names_steward)(&format!("'{name}'"))
        };
        match key {
            _ if before.is_empty() || !before.iter().all(says_whose) => None,
            // It stands there as a text.
            Expr::Cast(cast) if cast.field.data_type().is_string() => Some(cast.expr.as_ref()),
            key => Some(key),
        }
    }

    /// The text of what is not written part by part.
    fn whole(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Column(column) if is_brought(column) => Some("a released value".to_owned()),
            Expr::Column(column) => Some((self.column)(column)),
            Expr::Literal(value, _) => Some(literal(value)),
            Expr::InList(InList { expr, list, negated }) => {
                let list: Vec<String> = list.iter().map(|value| self.of(value)).collect();
                Some(format!("{} {}IN ({})", self.of(expr), if *negated { "NOT " } else { "" }, list.join(", ")))
            }
            Expr::AggregateFunction(call) => self.aggregate(call),
            Expr::ScalarFunction(call) => self.function(expr, call),
            _ => None,
        }
    }

    fn aggregate(&self, call: &AggregateFunction) -> Option<String> {
        let (function, params) = (function_name(call), &call.params);
        let [argument] = params.args.as_slice() else { return None };
        if params.distinct || params.filter.is_some() || !params.order_by.is_empty() {
            return None;
        }
        match argument {
            Expr::Literal(value, _) if function == "count" && !value.is_null() => Some("count(*)".to_owned()),
            _ if function != call.func.name() => Some(format!("{function}({})", self.of(argument))),
            _ => None,
        }
    }

    fn function(&self, expr: &Expr, call: &ScalarFunction) -> Option<String> {
        if let Some((_, key)) = hashed(expr) {
            return Some(format!("hash({})", self.of(key)));
        }
        match call.args.as_slice() {
            [sum] if call.name() == sum_of().name() => Some(self.of(sum)),
            [sum, _] if call.name() == average_of().name() => {
                self.of(sum).strip_prefix("sum(").map(|argument| format!("avg({argument}"))
            }
            _ => None,
        }
    }
}

/// The name by which a reader knows an aggregate function.
pub(super) fn function_name(call: &AggregateFunction) -> &str {
    let name = call.func.name();
    if name == exact_sum().name() || name == united_sums().name() { "sum" } else { name }
}

fn literal(value: &ScalarValue) -> String {
    if value.is_null() {
        return "NULL".to_owned();
    }
    let text = match value.cast_to(&DataType::Utf8) {
        Ok(ScalarValue::Utf8(Some(text))) => text,
        _ => value.to_string(),
    };
    let kind = value.data_type();
    if kind.is_numeric() || kind == DataType::Boolean { text } else { format!("'{}'", text.replace('\'', "''")) }
}
