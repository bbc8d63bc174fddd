//! The tables of one FROM and what a column name means among them, on the syntax tree: enough to compare expressions of a
//! query with those of clauses. What is not understood keeps its own name and so equals nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinOperator, ObjectName, ObjectNamePart, TableFactor, TableWithJoins, visit_expressions,
    visit_expressions_mut,
};

use crate::bind::{VisibleTable, VisibleTables};
use crate::policy::FromRelation;
use crate::policy::view::concerns;

/// One relation of a FROM.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    /// The names by which its columns may be qualified, the shortest last.
    pub(super) qualifier: Vec<String>,
    /// The table; none for a subquery or a name of WITH.
    pub(super) table: Option<VisibleTable>,
    /// Whether an outer join fills its columns with NULLs.
    pub(super) padded: bool,
}

/// The relations of a FROM, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) factors: Vec<Factor>,
}

/// An identifier as SQL means it.
pub(super) fn plain(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// An identifier that reads back as this name.
pub(super) fn ident(name: &str) -> Ident {
    if crate::policy::print::is_plain(name) { Ident::new(name) } else { Ident::with_quote('"', name) }
}

/// The parts of a name; none if one of them is no identifier.
pub(super) fn parts(name: &ObjectName) -> Option<Vec<String>> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Some(plain(ident)),
        ObjectNamePart::Function(_) => None,
    };
    name.0.iter().map(part).collect()
}

/// The table that a name in a FROM means; none if there is none, or if WITH gives the name another meaning.
pub(super) fn table_named<'a>(
    name: &ObjectName,
    tables: &'a VisibleTables,
    shadowed: &BTreeSet<String>,
) -> Option<&'a VisibleTable> {
    let reference = match parts(name)?.as_slice() {
        [table] if shadowed.contains(table) => return None,
        [table] => TableReference::bare(table.as_str()),
        [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
        [site, schema, table] => TableReference::full(site.as_str(), schema.as_str(), table.as_str()),
        _ => return None,
    };
    tables.find(&reference).ok()
}

impl Scope {
    /// The relations of a FROM; none if one of them is of a kind whose names are not known here.
    pub(super) fn of(from: &[TableWithJoins], tables: &VisibleTables, shadowed: &BTreeSet<String>) -> Option<Self> {
        let mut scope = Self::default();
        for one in from {
            let first = scope.factors.len();
            scope.factors.push(factor(&one.relation, tables, shadowed)?);
            for join in &one.joins {
                let mut joined = factor(&join.relation, tables, shadowed)?;
                let (pads_before, pads_joined) = match &join.join_operator {
                    JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => (false, false),
                    JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => (false, true),
                    JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (true, false),
                    JoinOperator::FullOuter(_) => (true, true),
                    _ => return None,
                };
                joined.padded = pads_joined;
                if pads_before {
                    scope.factors.iter_mut().skip(first).for_each(|factor| factor.padded = true);
                }
                scope.factors.push(joined);
            }
        }
        Some(scope)
    }

    /// The relation of a clause, made of tables that this scope has; none if it has another one.
    pub(super) fn of_clause(&self, from: &FromRelation) -> Option<Self> {
        let find = |named| {
            let table = self.tables().find(|table| concerns(Some(named), &table.name))?;
            let qualifier = vec![table.name.schema.clone(), table.name.table.clone()];
            Some(Factor { qualifier, table: Some(table.clone()), padded: false })
        };
        Some(Self { factors: from.tables().map(find).collect::<Option<_>>()? })
    }

    /// The tables, in order.
    pub(super) fn tables(&self) -> impl Iterator<Item = &VisibleTable> {
        self.factors.iter().filter_map(|factor| factor.table.as_ref())
    }

    /// Whether two relations have one table name, so that the text of a column does not tell whose it is.
    pub(super) fn has_twins(&self) -> bool {
        let mut names = BTreeSet::new();
        !self.tables().all(|table| names.insert(&table.name))
    }

    /// The relation and name of a column; none if it is no column of one certain relation.
    pub(super) fn column(&self, expr: &Expr) -> Option<(usize, String)> {
        let has = |factor: &Factor, name: &str| {
            factor.table.as_ref().is_some_and(|table| table.schema.column_with_name(name).is_some())
        };
        match expr {
            Expr::Identifier(name) => {
                let name = plain(name);
                if self.factors.iter().any(|factor| factor.table.is_none()) {
                    return None;
                }
                let mut having = self.factors.iter().enumerate().filter(|(_, factor)| has(factor, &name));
                having.next().map(|(index, _)| (index, name))
            }
            Expr::CompoundIdentifier(names) => {
                let (name, qualifier) = names.split_last()?;
                let (name, qualifier) = (plain(name), qualifier.iter().map(plain).collect::<Vec<_>>());
                let index = self.factors.iter().position(|factor| factor.qualifier.ends_with(&qualifier))?;
                has(self.factors.get(index)?, &name).then_some((index, name))
            }
            Expr::Nested(inner) => self.column(inner),
            _ => None,
        }
    }

    /// A column as text that is the same however it is written; none if the expression is no column.
    pub(super) fn column_text(&self, expr: &Expr) -> Option<String> {
        let (index, name) = self.column(expr)?;
        Some(format!("{}.{name}", self.factors.get(index)?.table.as_ref()?.name))
    }

    /// An expression as text in which columns, functions and parentheses are written in one way.
    pub(super) fn text(&self, expr: &Expr) -> String {
        let mut expr = expr.clone();
        let done: ControlFlow<()> = visit_expressions_mut(&mut expr, |node| {
            if let Some(column) = self.column_text(node) {
                *node = Expr::Identifier(Ident::new(column));
            } else if let Expr::Nested(inner) = node {
                *node = inner.as_ref().clone();
            } else if let Expr::Function(call) = node
                && let Some(name) = parts(&call.name)
            {
                call.name = ObjectName::from(vec![Ident::new(name.join("."))]);
            }
            ControlFlow::Continue(())
        });
        debug_assert!(done.is_continue(), "the visitor does not stop");
        expr.to_string()
    }

    /// The columns that an expression names, as texts; none if it holds a subquery, whose columns are another matter, or a
    /// name that is not known.
    pub(super) fn columns(&self, expr: &Expr) -> Option<BTreeSet<String>> {
        let mut columns = BTreeSet::new();
        let walked = visit_expressions(expr, |node| {
            let known = match node {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => match self.column_text(node) {
                    Some(column) => {
                        columns.insert(column);
                        true
                    }
                    None => false,
                },
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } | Expr::AnyOp { .. } => false,
                Expr::AllOp { .. } => false,
                _ => true,
            };
            if known { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        walked.is_continue().then_some(columns)
    }

    /// An expression over this scope's columns written with other words for them; none if one of them has no word.
    pub(super) fn rewritten(&self, expr: &Expr, words: &BTreeMap<String, Expr>) -> Option<Expr> {
        let mut expr = expr.clone();
        let done = visit_expressions_mut(&mut expr, |node| match node {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                match self.column_text(node).and_then(|column| words.get(&column)) {
                    Some(word) => {
                        *node = word.clone();
                        ControlFlow::Continue(())
                    }
                    None => ControlFlow::Break(()),
                }
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        done.is_continue().then_some(expr)
    }

    /// How a column is written so that nothing else is meant.
    pub(super) fn written(&self, factor: &Factor, column: &str) -> Expr {
        match factor.qualifier.last() {
            Some(last) if self.factors.len() > 1 => {
                let same = |other: &&Factor| other.qualifier.last() == Some(last);
                let unique = self.factors.iter().filter(same).count() == 1;
                let qualifier = if unique { std::slice::from_ref(last) } else { factor.qualifier.as_slice() };
                let names = qualifier.iter().map(String::as_str).chain([column]);
                Expr::CompoundIdentifier(names.map(ident).collect())
            }
            _ => Expr::Identifier(ident(column)),
        }
    }
}

fn factor(relation: &TableFactor, tables: &VisibleTables, shadowed: &BTreeSet<String>) -> Option<Factor> {
    match relation {
        TableFactor::Table { name, alias, args: None, version: None, sample: None, .. } => {
            let table = table_named(name, tables, shadowed);
            let qualifier = match alias {
                Some(alias) if !alias.columns.is_empty() => return None,
                Some(alias) => vec![plain(&alias.name)],
                None => parts(name)?,
            };
            Some(Factor { qualifier, table: table.cloned(), padded: false })
        }
        TableFactor::Derived { lateral: false, alias: Some(alias), .. } => {
            Some(Factor { qualifier: vec![plain(&alias.name)], table: None, padded: false })
        }
        _ => None,
    }
}
