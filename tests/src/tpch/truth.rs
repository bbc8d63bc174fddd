//! What the answers must be: one plain engine over all rows, and how two answers are compared.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::data::TableRows;

/// One engine over all tables, with `threads` partitions.
pub fn truth(rows: &[TableRows], threads: usize) -> anyhow::Result<SessionContext> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
    for table in rows {
        let held = MemTable::try_new(table.schema.clone(), vec![table.batches.clone()])?;
        context.register_table(table.name, Arc::new(held))?;
    }
    Ok(context)
}

/// How an answer is not the true one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// Other number of rows.
    #[error("{answered} rows and not {expected}")]
    Rows {
        /// Rows of the answer.
        answered: usize,
        /// Rows of the truth.
        expected: usize,
    },
    /// Rows differ; the first that do, both sorted.
    #[error("`{answered}` and not `{expected}`")]
    Row {
        /// Row of the answer.
        answered: String,
        /// Row of the truth.
        expected: String,
    },
    /// A value cannot be shown.
    #[error("a value cannot be shown: {0}")]
    Value(String),
}

/// Floats may differ by this share: their sums depend on the order of rows.
const FLOAT_TOLERANCE: f64 = 1e-9;

/// Compares as sets of rows, in which a row may stand several times.
pub fn compare(answer: &[RecordBatch], truth: &[RecordBatch]) -> Result<(), Difference> {
    let (answer, truth) = (sorted(answer)?, sorted(truth)?);
    if answer.len() != truth.len() {
        return Err(Difference::Rows { answered: answer.len(), expected: truth.len() });
    }
    for (answered, expected) in answer.iter().zip(&truth) {
        let same =
            answered.len() == expected.len() && answered.iter().zip(expected).all(|(one, other)| equal(one, other));
        if !same {
            return Err(Difference::Row { answered: answered.join("|"), expected: expected.join("|") });
        }
    }
    Ok(())
}

fn equal(one: &str, other: &str) -> bool {
    one == other
        || match (one.parse::<f64>(), other.parse::<f64>()) {
            (Ok(one), Ok(other)) => (one - other).abs() <= FLOAT_TOLERANCE * one.abs().max(other.abs()),
            _ => false,
        }
}

fn sorted(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, Difference> {
    let mut rows = Vec::new();
    let options = FormatOptions::default().with_null("NULL");
    for batch in batches {
        let columns: Result<Vec<_>, _> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect();
        let columns = columns.map_err(|error| Difference::Value(error.to_string()))?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>());
        }
    }
    rows.sort();
    Ok(rows)
}
