//! Answers that are text: the rows of SHOW and EXPLAIN.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use dynamos_proto::status::{Code, ServiceError};
use futures::stream;
use uuid::Uuid;

use crate::frontend::{Outcome, ReleasedBy};

/// The columns of a text answer.
pub(super) fn schema(columns: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>()))
}

/// Rows of text under these columns.
pub(super) fn outcome(columns: &[&str], rows: Vec<Vec<Option<String>>>) -> Result<Outcome, ServiceError> {
    let schema = schema(columns);
    let arrays = (0..columns.len()).map(|column| {
        let values = rows.iter().map(|row| row.get(column).cloned().flatten());
        Arc::new(values.collect::<StringArray>()) as ArrayRef
    });
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays.collect())
        .map_err(|_| ServiceError::new(Code::Internal, "the answer could not be written down"))?;
    let stream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), stream::iter([Ok(batch)])));
    Ok(Outcome::Rows { query_id: Uuid::new_v4().to_string(), schema, stream, released: ReleasedBy::default() })
}

/// The lines of a text as rows of one column.
pub(super) fn lines(column: &str, text: &str) -> Result<Outcome, ServiceError> {
    outcome(&[column], text.lines().map(|line| vec![Some(line.to_owned())]).collect())
}
