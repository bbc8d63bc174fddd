//! Cutting rows to batches of one size: where a batch ends then tells only how many rows came before it, never in which
//! batches they came, which is where hidden rows were.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;

/// Rows in each batch but the last.
pub(crate) const BATCH_ROWS: usize = 8192;

/// Rows of some columns, in their order, cut anew.
#[derive(Debug)]
pub(crate) struct Recut {
    schema: SchemaRef,
    cutter: BatchCoalescer,
    /// Rows without columns that wait.
    bare_rows: usize,
}

impl Recut {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { cutter: BatchCoalescer::new(SchemaRef::clone(&schema), BATCH_ROWS), schema, bare_rows: 0 }
    }

    /// Takes a batch with the columns that this is for.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if self.schema.fields().is_empty() {
            self.bare_rows += batch.num_rows();
            return Ok(());
        }
        Ok(self.cutter.push_batch(batch)?)
    }

    /// A full batch, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.bare_rows >= BATCH_ROWS {
            self.bare_rows -= BATCH_ROWS;
            return Ok(Some(self.bare(BATCH_ROWS)?));
        }
        Ok(self.cutter.next_completed_batch())
    }

    /// What remains when no further batch comes, and no full one is left.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.bare_rows > 0 {
            let rows = std::mem::take(&mut self.bare_rows);
            return Ok(Some(self.bare(rows)?));
        }
        self.cutter.finish_buffered_batch()?;
        Ok(self.cutter.next_completed_batch())
    }

    /// Rows of which no column is asked for, only their number.
    fn bare(&self, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), Vec::new(), &options)?)
    }
}
