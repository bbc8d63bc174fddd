//! SQL text to a [`DynamosStatement`]: queries are checked and kept as text, agreements are read into
//! [`crate::policy`] values. Names are not resolved here; that is the binder's work on the bound plan.

mod agreement;
mod clause;
mod cursor;
mod error;
#[cfg(test)]
mod generate;
mod limits;
mod positions;
mod relation;
mod release;
mod statement;
#[cfg(test)]
mod tests;

pub use agreement::parse_agreement;
pub use error::{Position, SqlError, SqlProblem};
pub use limits::MAX_BYTES;
pub use positions::{Located, WordPositions, word_positions};
pub use statement::{DynamosStatement, ExplainMode, parse_statement};
