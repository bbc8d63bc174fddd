//! The relations that a clause is about: tables, the joins among them and lists of columns, by name only. Whether the
//! names exist is decided when an agreement meets a catalog.

use std::fmt;

use datafusion::sql::sqlparser::ast::Expr;

use super::print::Name;

/// A table as a clause names it; at the steward, so the site is never written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableRef {
    /// The schema, where the clause gives one.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
}

/// A bare column as a clause names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ColumnRef {
    /// The table; may be left out where only one table of the clause has the column.
    pub table: Option<TableRef>,
    /// The column.
    pub column: String,
}

/// Columns that a clause lists.
#[derive(Debug, Clone, PartialEq)]
pub enum Columns {
    /// Every column of the relation, written `(*)`.
    All,
    /// Exactly these, columns or expressions as written; never empty.
    Listed(Vec<Expr>),
}

/// The relation of a clause: one table, or a chain of joins in the order written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromRelation {
    /// The first table.
    pub first: TableRef,
    /// What is joined to it, from left to right.
    pub joins: Vec<JoinStep>,
}

/// One join of a clause's relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinStep {
    /// Inner unless the clause says LEFT.
    pub kind: JoinKind,
    /// The table joined.
    pub table: TableRef,
    /// Keys that must all be equal; never empty.
    pub on: Vec<JoinKey>,
}

/// The kinds of join that a clause can list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// Rows that match.
    Inner,
    /// All rows of the left side.
    Left,
}

/// One equality of a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinKey {
    /// `ON k`: column `k` of the joined table equals column `k` of the tables to its left.
    Same(String),
    /// `ON a.k = b.k`, as written.
    Pair {
        /// The column left of `=`.
        left: ColumnRef,
        /// The column right of `=`.
        right: ColumnRef,
    },
}

impl FromRelation {
    /// All tables, in the order written.
    pub fn tables(&self) -> impl Iterator<Item = &TableRef> {
        std::iter::once(&self.first).chain(self.joins.iter().map(|join| &join.table))
    }
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", Name(schema))?;
        }
        write!(f, "{}", Name(&self.table))
    }
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            write!(f, "{table}.")?;
        }
        write!(f, "{}", Name(&self.column))
    }
}
