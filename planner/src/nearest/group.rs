//! From rows to groups: whoever may see rows can group and aggregate them. Each column becomes a key, a function or nothing.

use std::collections::BTreeSet;

use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::ast::{Expr, Ident};

use super::edit::{LEFT_OUT, WEAKER};
use super::question::{Item, Question};

/// What becomes of a column of rows.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// It stays, as a key.
    Key,
    /// An expression of it is the key.
    Coarser(Box<Expr>),
    /// A function of it is a value.
    Value(String),
    /// It gives way to the number of rows.
    Count,
    /// It is left out.
    Nothing,
}

impl Question {
    /// The groups of these rows, with a role for each item; none if the rows cannot be grouped so.
    pub(super) fn as_groups(&self, roles: &[Role]) -> Option<Self> {
        let values = roles.iter().any(|role| matches!(role, Role::Value(_) | Role::Count));
        if self.grouped || self.limited() || self.windows() || (self.distinct() && values) {
            return None;
        }
        let mut next = self.clone();
        next.grouped = !self.distinct();
        next.items.clear();
        let mut keys = BTreeSet::new();
        let mut counted = false;
        for (item, role) in self.items.iter().zip(roles) {
            let expr = match role {
                Role::Key => item.expr.clone(),
                Role::Coarser(coarser) => coarser.as_ref().clone(),
                Role::Value(function) => expression(&format!("{function}({})", item.expr))?,
                Role::Count if !counted => expression("count(*)")?,
                Role::Count | Role::Nothing => {
                    next.edits += LEFT_OUT;
                    continue;
                }
            };
            counted |= matches!(role, Role::Count);
            if matches!(role, Role::Coarser(_) | Role::Value(_) | Role::Count) {
                next.edits += WEAKER;
            }
            if matches!(role, Role::Key | Role::Coarser(_)) && keys.insert(self.scope.text(&expr)) && !self.distinct() {
                next.keys.push(expr.clone());
            }
            let alias = item.alias.clone().filter(|_| !matches!(role, Role::Count));
            next.items.push(Item { expr, alias });
        }
        if !values && !self.distinct() {
            next.edits += WEAKER;
        }
        next.order.retain(|one| keys.contains(&self.scope.text(&one.expr)));
        (!next.items.is_empty()).then_some(next)
    }
}

/// SQL of an expression, read.
pub(super) fn expression(text: &str) -> Option<Expr> {
    DFParser::parse_sql_into_expr(text).ok().map(|read| read.expr)
}

/// A list of names as literals: `name IN ('a', 'b')`.
pub(super) fn one_of(column: &Expr, names: impl IntoIterator<Item = String>) -> Option<Expr> {
    let names: Vec<String> = names.into_iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    expression(&format!("{column} IN ({})", names.join(", ")))
}

/// The identifiers of a column that is qualified with these.
pub(super) fn qualified(qualifier: &[String], column: &str) -> Expr {
    let names: Vec<Ident> = qualifier.iter().map(String::as_str).chain([column]).map(super::scope::ident).collect();
    match names.as_slice() {
        [only] => Expr::Identifier(only.clone()),
        _ => Expr::CompoundIdentifier(names),
    }
}
