//! What is wrong with a text, and where. These errors reach the author of the text; they hold nothing but that text.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer::Location;
use thiserror::Error;

/// A place in a text; both counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character of the line.
    pub column: u64,
}

/// Why a text is not a statement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{position}: {problem}")]
pub struct SqlError {
    /// Where.
    pub position: Position,
    /// What.
    pub problem: SqlProblem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SqlProblem {
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What should.
        expected: String,
        /// What does.
        found: String,
    },
    /// The SQL parser objects in its own words.
    #[error("{0}")]
    Syntax(String),
    /// The text is too long.
    #[error("the text has {bytes} bytes, the limit is {limit}; send it in parts")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// [`super::MAX_BYTES`].
        limit: usize,
    },
    /// Expressions or subqueries go too deep.
    #[error(
        "expressions nest too deep here; use parentheses less, IN lists in place of chains of OR, or several queries"
    )]
    TooDeep,
    /// A statement of another kind.
    #[error(
        "{found} does not begin a statement that is accepted; write a query (SELECT, WITH, VALUES), EXPLAIN, EXPLAIN \
         POLICY, CREATE, ALTER, REVOKE, SHOW or SIMULATE AGREEMENT, SHOW AGREEMENTS, SHOW PERMISSIONS, SHOW EDGES, \
         SHOW DECISIONS or SET dynamos.…"
    )]
    NotAccepted {
        /// Its first word.
        found: String,
    },
    /// A query that also writes or locks.
    #[error("a query may only read; remove {what}")]
    NotReadOnly {
        /// What it does besides reading.
        what: &'static str,
    },
    /// Part of an expression that a clause cannot hold.
    #[error("a clause cannot hold {what}; write an expression of the columns of its own row")]
    NotInClause {
        /// That part.
        what: &'static str,
    },
    /// A condition on released rows.
    #[error("`{word}` says nothing about single rows; remove it, or release aggregates instead of ROWS")]
    ConditionOnRows {
        /// The condition's first word.
        word: String,
    },
    /// `OF *` without `count`.
    #[error("`*` can only be counted; add `count` to the functions or name a column")]
    StarWithoutCount,
    /// Something may stand only once.
    #[error("`{what}` is given twice; remove one")]
    Twice {
        /// That thing.
        what: String,
    },
    /// Clause numbers go down.
    #[error("clause number {number} does not exceed the one before it; numbers rise and are never used again")]
    NumberNotRising {
        /// The number given.
        number: u32,
    },
    /// A reference to a clause that is not there.
    #[error("there is no clause `{reference}` in this agreement; give the number or name of an aggregate RELEASE")]
    NoSuchClause {
        /// The reference.
        reference: String,
    },
    /// PARTIALS of a clause that has none.
    #[error("clause `{reference}` releases no aggregates, so it has no partials; name an aggregate RELEASE")]
    NoPartials {
        /// The reference.
        reference: String,
    },
    /// An interval without a moment in it.
    #[error("the agreement ends at {until}, which is not after its beginning at {from}")]
    EmptyInterval {
        /// Its beginning.
        from: crate::policy::UtcMillis,
        /// Its end.
        until: crate::policy::UtcMillis,
    },
    /// An expression that has no canonical text.
    #[error("this agreement has no canonical text: an expression in it reads back differently; write it another way")]
    NotCanonical,
}

impl Position {
    /// The beginning of a text.
    pub(super) const START: Position = Position { line: 1, column: 1 };

    /// The problem at this place.
    pub(super) fn error(self, problem: SqlProblem) -> SqlError {
        SqlError { position: self, problem }
    }

    /// The place just after `text`.
    pub(super) fn after(text: &str) -> Self {
        let line = text.matches('\n').count() as u64 + 1;
        let column = text.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
        Self { line, column }
    }

    /// The byte of `text` at this place; its end where the place is behind it.
    pub(super) fn byte_of(self, text: &str) -> usize {
        let mut here = Self::START;
        for (byte, character) in text.char_indices() {
            if here >= self {
                return byte;
            }
            here = match character {
                '\n' => Self { line: here.line + 1, column: 1 },
                _ => Self { column: here.column + 1, ..here },
            };
        }
        text.len()
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line, column: location.column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}
