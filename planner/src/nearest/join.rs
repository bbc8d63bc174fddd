//! From an outer join to an inner one. The rows that the outer join only fills up are told by the key that is NULL in them,
//! where the answer shows that key; and a global aggregate over the filled columns does not count them in any case.

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, JoinConstraint, JoinOperator};

use super::edit::WEAKER;
use super::question::{Question, calls, conjuncts};

impl Question {
    /// Whether a join keeps rows that match nothing.
    pub(super) fn has_outer_join(&self) -> bool {
        self.scope.factors.iter().any(|factor| factor.padded)
    }

    /// Every LEFT JOIN as an inner one; none if the answer would not follow, or there is another kind.
    pub(super) fn with_inner_joins(&self, state: &SessionState) -> Option<Self> {
        if self.limited() || self.windows() {
            return None;
        }
        let mut next = self.clone();
        let mut number = 0;
        for (from, one) in self.select()?.from.iter().enumerate() {
            number += 1;
            for (at, join) in one.joins.iter().enumerate() {
                let constraint = match &join.join_operator {
                    JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => Some(constraint),
                    JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => None,
                    _ => return None,
                };
                if let Some(constraint) = constraint {
                    if !self.tells_matches(number, constraint, state) {
                        return None;
                    }
                    let select = next.joins_mut()?;
                    select.from.get_mut(from)?.joins.get_mut(at)?.join_operator =
                        JoinOperator::Join(constraint.clone());
                    next.scope.factors.get_mut(number)?.padded = false;
                    next.edits += WEAKER;
                }
                number += 1;
            }
        }
        Some(next)
    }

    /// Whether the answer of the join with the relation of this number follows without the rows that it only fills up.
    fn tells_matches(&self, number: usize, constraint: &JoinConstraint, state: &SessionState) -> bool {
        let of_joined = |expr: &Expr| self.scope.column(expr).is_some_and(|(index, _)| index == number);
        let shown = self.shown_columns();
        let keys = match constraint {
            JoinConstraint::On(on) => conjuncts(on),
            _ => Vec::new(),
        };
        let key_is_shown = keys.iter().any(|key| match key {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => [left, right].into_iter().any(|side| {
                of_joined(side) && self.scope.column_text(side).is_some_and(|column| shown.contains_key(&column))
            }),
            _ => false,
        });
        let global = self.grouped && self.keys.is_empty() && self.having.is_empty();
        key_is_shown
            || (global
                && self.items.iter().all(|item| {
                    let calls = calls(&item.expr, state);
                    // Aggregates skip a NULL; not every function of a column is NULL where the column is.
                    !calls.is_empty()
                        && calls.iter().all(|call| {
                            call.is_simple()
                                && call.function.filter.is_none()
                                && SKIPS_NULL.contains(&call.name.as_str())
                                && call.argument.as_ref().is_some_and(of_joined)
                        })
                }))
    }
}

/// Aggregates to which a NULL is nothing.
const SKIPS_NULL: [&str; 6] = ["avg", "count", "max", "median", "min", "sum"];
