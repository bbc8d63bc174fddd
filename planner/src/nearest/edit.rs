//! The edits. Each gives a question whose answer follows from the answer of the one before, on every database, minimums and
//! masks aside; an edit of which that is not certain is not made. Since each step is so, any number of them is.
//!
//! | edit | cost | why it is contained |
//! |---|---|---|
//! | an item is left out | 2 | the other columns are there |
//! | a key is left out, or an expression of it takes its place | 2, 1 | groups merge: sums add, an average is a sum and a count |
//! | a function gives way to a weaker one | 1 | it is computed from columns that are there |
//! | a condition on columns that are there is added | 1 | the other rows are thrown away |
//! | a condition on keys moves above the groups | 1 | it takes or leaves whole groups: the answer is the same |
//! | an order is left out | 1 | the rows are the same |

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{Expr, Value, visit_expressions, visit_expressions_mut};

use super::question::{Call, Item, Question, call, calls};
use super::scope::Scope;

/// What takes the place of a column or key counts less than its loss: it lies between.
pub(super) const WEAKER: usize = 1;
/// Something is gone.
pub(super) const LEFT_OUT: usize = 2;

/// The functions that come out of others over the same rows: the weaker one, and what it is computed from.
const DERIVED: [(&str, &[&str]); 6] = [
    ("avg", &["sum", "count"]),
    ("sum", &["avg", "count"]),
    ("var", &["stddev"]),
    ("stddev", &["var"]),
    ("var_pop", &["stddev_pop"]),
    ("stddev_pop", &["var_pop"]),
];

impl Question {
    /// Without an item that is no key.
    pub(super) fn without_item(&self, index: usize) -> Option<Self> {
        let gone = self.scope.text(&self.items.get(index)?.expr);
        if self.items.len() < 2 || self.is_key(&gone) || (self.distinct() && self.limited()) {
            return None;
        }
        let mut next = self.clone();
        next.items.remove(index);
        // Which rows a limit takes depends on the order; otherwise an order by what is gone is gone with it.
        if !self.limited() {
            next.order.retain(|one| self.scope.text(&one.expr) != gone);
        }
        next.edits += LEFT_OUT;
        Some(next)
    }

    /// Without an item of the order.
    pub(super) fn without_order(&self, index: usize) -> Option<Self> {
        if self.limited() || index >= self.order.len() {
            return None;
        }
        let mut next = self.clone();
        next.order.remove(index);
        next.edits += WEAKER;
        Some(next)
    }

    /// Without a key, or with an expression of it in its place. What cannot be merged over the larger groups goes, too.
    pub(super) fn with_coarser_key(&self, index: usize, coarser: Option<Expr>, state: &SessionState) -> Option<Self> {
        let key = self.keys.get(index)?;
        let gone = self.scope.text(key);
        let fixed = self.limited() || self.distinct() || self.windows();
        // HAVING may have thrown groups away that would be merged.
        let kept_whole = self.having.iter().all(|one| calls(one, state).is_empty() && !self.depends(one, key, state));
        if fixed || !self.grouped || !kept_whole {
            return None;
        }
        let outputs = self.outputs();
        let others = self.keys.iter().enumerate().filter(|(other, _)| *other != index);
        // Groups can be told apart only by what the answer shows.
        if !others.clone().all(|(_, other)| outputs.contains(&self.scope.text(other)))
            || (coarser.is_some() && !outputs.contains(&gone))
        {
            return None;
        }
        let mut next = self.clone();
        next.edits += if coarser.is_some() { WEAKER } else { LEFT_OUT };
        match &coarser {
            Some(coarser) => *next.keys.get_mut(index)? = coarser.clone(),
            None => drop(next.keys.remove(index)),
        }
        next.items.clear();
        for item in &self.items {
            let text = self.scope.text(&item.expr);
            match (&coarser, text == gone) {
                (Some(coarser), true) => {
                    next.items.push(Item { expr: coarser.clone(), alias: item.alias.clone() });
                }
                (None, true) => {}
                _ if !self.depends(&item.expr, key, state) && self.merges(&item.expr, state) => {
                    next.items.push(item.clone())
                }
                _ => next.edits += LEFT_OUT,
            }
        }
        next.order.retain(|one| !self.depends(&one.expr, key, state) && self.merges(&one.expr, state));
        (!next.items.is_empty()).then_some(next)
    }

    /// With a weaker function in the place of an item's.
    pub(super) fn with_weaker_function(&self, index: usize, weaker: &str, state: &SessionState) -> Option<Self> {
        let item = self.items.get(index)?;
        let strong = call(&item.expr, state).filter(|call| call.is_simple() && call.argument.is_some())?;
        if self.limited() || self.distinct() || self.windows() || !self.derives(&strong, weaker) {
            return None;
        }
        let gone = self.scope.text(&item.expr);
        let mut next = self.clone();
        next.items.get_mut(index)?.expr = strong.renamed(weaker);
        next.order.retain(|one| self.scope.text(&one.expr) != gone);
        next.edits += WEAKER;
        Some(next)
    }

    /// With another condition, over columns of the answer. `scope` is the one that it is written in.
    pub(super) fn with_condition(&self, condition: &Expr, scope: &Scope) -> Option<Self> {
        if self.limited() || self.windows() {
            return None;
        }
        let condition = scope.rewritten(condition, &self.shown_columns())?;
        let mut next = self.clone();
        next.conditions.push(condition);
        next.edits += WEAKER;
        Some(next)
    }

    /// With a condition on keys above the groups instead of below.
    pub(super) fn with_condition_above(&self, index: usize) -> Option<Self> {
        let condition = self.conditions.get(index)?;
        let keys: Vec<String> = self.keys.iter().filter_map(|key| self.scope.column_text(key)).collect();
        let columns = self.scope.columns(condition)?;
        // A function may give another value each time it is called.
        let calls_none = visit_expressions(condition, |node| match node {
            Expr::Function(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .is_continue();
        if !calls_none || columns.is_empty() || !columns.iter().all(|column| keys.contains(column)) {
            return None;
        }
        let mut next = self.clone();
        next.having.push(next.conditions.remove(index));
        next.edits += WEAKER;
        Some(next)
    }

    /// The columns that the answer tells for each of its rows, with the words that the question has for them. A column of a
    /// group is told only if it is a key.
    pub(super) fn shown_columns(&self) -> BTreeMap<String, Expr> {
        let shown = self.items.iter().filter(|item| !self.grouped || self.is_key(&self.scope.text(&item.expr)));
        shown.filter_map(|item| Some((self.scope.column_text(&item.expr)?, item.expr.clone()))).collect()
    }

    /// Whether a text is that of a key.
    pub(super) fn is_key(&self, text: &str) -> bool {
        self.keys.iter().any(|key| self.scope.text(key) == text)
    }

    /// Whether an expression has something of a key in it besides aggregates: their arguments are not values of groups.
    fn depends(&self, expr: &Expr, key: &Expr, state: &SessionState) -> bool {
        if self.scope.text(expr) == self.scope.text(key) {
            return true;
        }
        let key = self.scope.columns(key);
        let outside = self.scope.columns(&without_calls(expr, state));
        match (key, outside) {
            (Some(key), Some(outside)) => !key.is_disjoint(&outside),
            _ => true,
        }
    }

    /// Whether the aggregates in an expression can be merged over several groups from what the answer has.
    fn merges(&self, expr: &Expr, state: &SessionState) -> bool {
        let outputs = self.outputs();
        let shown = |call: &Call, name: &str| outputs.contains(&self.scope.text(&call.renamed(name)));
        calls(expr, state).iter().all(|call| {
            call.is_simple()
                && match (call.name.as_str(), call.distinct) {
                    ("sum" | "count", false) | ("min" | "max", _) => shown(call, &call.name),
                    ("avg", false) => shown(call, "count") && (shown(call, "avg") || shown(call, "sum")),
                    _ => false,
                }
        })
    }

    /// Whether a function of an item's rows follows from the other items and it.
    fn derives(&self, strong: &Call, weaker: &str) -> bool {
        let outputs = self.outputs();
        DERIVED.iter().filter(|(name, _)| *name == weaker && !strong.distinct).any(|(_, from)| {
            from.contains(&strong.name.as_str())
                && from.iter().all(|name| outputs.contains(&self.scope.text(&strong.renamed(name))))
        })
    }
}

/// An expression with its aggregates cut out.
fn without_calls(expr: &Expr, state: &SessionState) -> Expr {
    let mut expr = expr.clone();
    let done: ControlFlow<()> = visit_expressions_mut(&mut expr, |node| {
        if call(node, state).is_some() {
            *node = Expr::value(Value::Null);
        }
        ControlFlow::Continue(())
    });
    debug_assert!(done.is_continue(), "the visitor does not stop");
    expr
}
