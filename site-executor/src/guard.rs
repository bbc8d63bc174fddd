//! The last thing that rows meet before they leave a place: exactly the columns that the graph declares, in batches of one
//! size (else the first batch would tell how many hidden rows were filtered out of it), and no more than the limits.

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};

use crate::config::Limits;
use crate::fault;
use crate::recut::Recut;

/// Re-cuts and counts one fragment's output.
#[derive(Debug)]
pub(crate) struct Guard {
    place: SiteId,
    declared: SchemaRef,
    cut: Recut,
    rows_max: u64,
    bytes_max: u64,
    rows: u64,
    bytes: u64,
}

impl Guard {
    pub(crate) fn new(place: &SiteId, declared: SchemaRef, limits: &Limits) -> Self {
        Self {
            place: place.clone(),
            cut: Recut::new(SchemaRef::clone(&declared)),
            declared,
            rows_max: limits.output_rows,
            bytes_max: limits.output_bytes.0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes a batch of the fragment's plan.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let exact = RecordBatch::try_new_with_options(
            SchemaRef::clone(&self.declared),
            batch.columns().to_vec(),
            &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
        )?;
        self.rows = self.rows.saturating_add(batch.num_rows() as u64);
        self.bytes = self.bytes.saturating_add(bytes_of(batch)?);
        if self.rows > self.rows_max || self.bytes > self.bytes_max {
            let text = format!("a part of the query gives more rows than site `{}` sends", self.place);
            let hint = "ask for less at once, or ask the site's operator for a larger `output_rows` or `output_bytes`";
            return Err(fault::into_engine(ServiceError::new(Code::ResourceExhausted, text).with_hint(hint)));
        }
        self.cut.push(exact)
    }

    /// A full batch, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.cut.next()
    }

    /// What remains after the last batch of the plan.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        self.cut.finish()
    }

    /// Rows and bytes so far.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.rows, self.bytes)
    }
}

/// The size of a batch's own rows, whatever larger buffers they are slices of.
pub(crate) fn bytes_of(batch: &RecordBatch) -> Result<u64> {
    let mut bytes = 0;
    for column in batch.columns() {
        bytes += column.to_data().get_slice_memory_size()? as u64;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn guard(limits: &Limits) -> Guard {
        let declared = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        Guard::new(&SiteId::new("uva"), declared, limits)
    }

    fn batch(rows: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from((0..rows).collect::<Vec<_>>()))]).unwrap()
    }

    #[test]
    fn batches_leave_in_one_size_under_the_declared_names() {
        let mut guard = guard(&Limits::default());
        let mut sizes = Vec::new();
        for rows in [8191, 1, 5, 20_000] {
            guard.push(&batch(rows)).unwrap();
            while let Some(cut) = guard.next().unwrap() {
                assert_eq!(cut.schema().field(0).name(), "a");
                sizes.push(cut.num_rows());
            }
        }
        while let Some(cut) = guard.finish().unwrap() {
            sizes.push(cut.num_rows());
        }
        assert_eq!(sizes, [8192, 8192, 8192, 28_197 - 3 * 8192]);
        assert_eq!(guard.counted().0, 28_197);
    }

    #[test]
    fn e3_sizes_of_batches_tell_of_no_row_that_a_filter_hid() {
        // The engine filters batch by batch; a filter that hides single rows leaves holes of these sizes.
        let sizes = |given: &[i64]| {
            let mut guard = guard(&Limits::default());
            let mut sizes = Vec::new();
            for rows in given {
                guard.push(&batch(*rows)).unwrap();
                sizes.extend(std::iter::from_fn(|| guard.next().unwrap()).map(|cut| cut.num_rows()));
            }
            sizes.extend(std::iter::from_fn(|| guard.finish().unwrap()).map(|cut| cut.num_rows()));
            sizes
        };
        assert_eq!(sizes(&[8191, 8192, 8192, 100]), [8192, 8192, 8192, 99]);
        // Where the hidden row was does not matter, nor in how many batches the rest came.
        for given in [vec![8192, 8191, 8192, 100], vec![8192, 8192, 8192, 99], vec![1; 24_675], vec![24_675]] {
            assert_eq!(sizes(&given), [8192, 8192, 8192, 99], "{} batches", given.len());
        }
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[0, 8192, 0]), [8192]);
    }

    #[test]
    fn e3_bare_rows_leave_in_one_size_too() {
        let declared = Arc::new(Schema::empty());
        let mut guard = Guard::new(&SiteId::new("uva"), Arc::clone(&declared), &Limits::default());
        let mut sizes = Vec::new();
        for rows in [8191, 8194, 8192, 5] {
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            guard
                .push(&RecordBatch::try_new_with_options(Arc::clone(&declared), Vec::new(), &options).unwrap())
                .unwrap();
            sizes.extend(std::iter::from_fn(|| guard.next().unwrap()).map(|cut| cut.num_rows()));
        }
        sizes.extend(std::iter::from_fn(|| guard.finish().unwrap()).map(|cut| cut.num_rows()));
        assert_eq!(sizes, [8192, 8192, 8192, 6]);
    }

    #[test]
    fn nothing_leaves_beyond_the_limits_or_of_another_type() {
        let limits = Limits { output_rows: 10, ..Limits::default() };
        assert!(guard(&limits).push(&batch(10)).is_ok());
        assert!(guard(&limits).push(&batch(11)).is_err());
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
        let other = RecordBatch::new_empty(schema);
        assert!(guard(&Limits::default()).push(&other).is_err());
    }
}
