//! Which word of an agreement's text an error is about. An agreement does not know where its words stand, so that two
//! spellings of it are one value: it is said here what kind of word is meant, and whoever has the text finds the place
//! ([`crate::sql::WordPositions`]). Only expressions carry where they were read.

use std::fmt::Display;

use datafusion::sql::sqlparser::ast::{Expr, Spanned};
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// A word of an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Where an expression begins, or a part of one.
    At(Location),
    /// A word outside of expressions, as it is printed.
    Name(NameKind, String),
}

/// What a word outside of expressions is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// The number that a clause is given.
    Number,
    /// The clause that another refers to.
    Reference,
    /// A table.
    Table,
    /// A column, with its table if that is written.
    Column,
    /// An aggregate function.
    Function,
    /// A place, a role or a region of places.
    Place,
    /// A purpose.
    Purpose,
    /// An organisation.
    Organisation,
    /// A word of the language.
    Keyword,
}

/// Something that is wrong with an agreement that could be read.
pub trait Flaw: Display {
    /// The number of the clause that it is about; none before the clauses.
    fn clause(&self) -> Option<u32>;
    /// The word that it is about, if it is about one.
    fn word(&self) -> Option<Word>;
}

impl Word {
    pub(super) fn name(kind: NameKind, name: impl Display) -> Option<Self> {
        Some(Self::Name(kind, name.to_string()))
    }

    /// The beginning of an expression, where that is known.
    pub(super) fn of(expr: &Expr) -> Option<Self> {
        Self::at(expr.span())
    }

    pub(super) fn at(span: Span) -> Option<Self> {
        (span != Span::empty()).then_some(Self::At(span.start))
    }
}

/// What is wrong with a clause, and with which word of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) text: String,
    pub(super) word: Option<Word>,
}

impl Problem {
    pub(super) fn new(word: Option<Word>, text: impl Into<String>) -> Self {
        Self { text: text.into(), word }
    }
}
