//! Which predicates may act on rows that nobody may see. An ordinary one can tell of them by failing on their values, by
//! its text in an error, or by its running time; a comparison of a column with a literal of the same type can do none of
//! that.

use arrow::datatypes::Schema;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// Whether a predicate over these columns is leak-proof.
pub(crate) fn is_leak_proof(predicate: &Expr, schema: &Schema) -> bool {
    match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            is_leak_proof(left, schema) && is_leak_proof(right, schema)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            is_comparison(*op) && (is_pair(left, right, schema) || is_pair(right, left, schema))
        }
        Expr::InList(InList { expr, list, negated: _ }) => list.iter().all(|value| is_pair(expr, value, schema)),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => matches!(inner.as_ref(), Expr::Column(_)),
        Expr::Not(inner) => is_leak_proof(inner, schema),
        _ => false,
    }
}

fn is_comparison(operator: Operator) -> bool {
    matches!(operator, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

/// A bare column and a literal of its own type.
fn is_pair(column: &Expr, literal: &Expr, schema: &Schema) -> bool {
    let (Expr::Column(column), Expr::Literal(value, _)) = (column, literal) else { return false };
    schema.field_with_name(&column.name).is_ok_and(|field| *field.data_type() == value.data_type())
}
