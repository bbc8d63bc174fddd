//! Batches as messages of a bounded size. How many rows a message has follows from the rows alone. The encoder would split by
//! the buffers that the rows lie in, which are larger or smaller by where hidden rows were.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use futures::{Stream, TryStreamExt, stream};

/// A message of rows has about so many bytes at most.
const MESSAGE_BYTES: usize = 2 << 20;

/// The same rows, in batches of which each is one message. Encode them without a further limit.
pub fn in_messages<E>(
    batches: impl Stream<Item = Result<RecordBatch, E>>,
) -> impl Stream<Item = Result<RecordBatch, E>> {
    batches.map_ok(|batch| stream::iter(cut(&batch).into_iter().map(Ok))).try_flatten()
}

fn cut(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let bytes: usize = batch.columns().iter().map(bytes_of).sum();
    let messages = bytes.div_ceil(MESSAGE_BYTES);
    if messages < 2 {
        return vec![batch.clone()];
    }
    let each = rows.div_ceil(messages).max(1);
    (0..rows).step_by(each).map(|from| without_others(&batch.slice(from, each.min(rows - from)))).collect()
}

/// What the values of a column take.
fn bytes_of(column: &ArrayRef) -> usize {
    let rows = column.len();
    let text = |from: Option<usize>, to: Option<usize>, offset: usize| {
        to.unwrap_or(0).saturating_sub(from.unwrap_or(0)).saturating_add(offset * rows)
    };
    let short = |offsets: &[i32]| {
        let at = |offset: Option<&i32>| offset.and_then(|offset| usize::try_from(*offset).ok());
        text(at(offsets.first()), at(offsets.last()), size_of::<i32>())
    };
    let long = |offsets: &[i64]| {
        let at = |offset: Option<&i64>| offset.and_then(|offset| usize::try_from(*offset).ok());
        text(at(offsets.first()), at(offsets.last()), size_of::<i64>())
    };
    // The length is the lower half of a view's first word.
    let views = |views: &[u128]| views.iter().map(|view| (*view as u32) as usize + size_of::<u128>()).sum();
    match column.data_type() {
        DataType::Utf8 => short(column.as_string::<i32>().value_offsets()),
        DataType::Binary => short(column.as_binary::<i32>().value_offsets()),
        DataType::LargeUtf8 => long(column.as_string::<i64>().value_offsets()),
        DataType::LargeBinary => long(column.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => views(column.as_string_view().views()),
        DataType::BinaryView => views(column.as_binary_view().views()),
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(0) * rows,
        DataType::Null => 0,
        DataType::Boolean => rows.div_ceil(8),
        other => match other.primitive_width() {
            Some(width) => width * rows,
            None => column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()),
        },
    }
}

/// The rows of a slice, without texts of others that their views would be sent with.
fn without_others(batch: &RecordBatch) -> RecordBatch {
    let own = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => std::sync::Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => std::sync::Arc::new(column.as_binary_view().gc()),
            _ => std::sync::Arc::clone(column),
        }
    };
    let columns = batch.columns().iter().map(own).collect();
    RecordBatch::try_new(batch.schema(), columns).unwrap_or_else(|_| batch.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, StringBuilder, StringViewArray};
    use arrow::compute::{concat_batches, filter_record_batch};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    /// Rows with a long text each.
    fn batch(rows: usize, kind: &DataType) -> RecordBatch {
        let mut texts = StringBuilder::with_capacity(16, 3 << 20);
        (0..rows).for_each(|row| texts.append_value(format!("{row:0>300}")));
        let texts = texts.finish();
        let texts: ArrayRef = match kind {
            DataType::Utf8View => Arc::new(StringViewArray::from(&texts)),
            _ => Arc::new(texts),
        };
        let ids = Int64Array::from_iter_values((0..rows).map(|row| i64::try_from(row).unwrap()));
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("note", kind.clone(), true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), texts]).unwrap()
    }

    fn sizes(batch: &RecordBatch) -> Vec<usize> {
        cut(batch).iter().map(RecordBatch::num_rows).collect()
    }

    #[test]
    fn e3_messages_are_cut_by_their_rows_whatever_these_lie_in() {
        for kind in [DataType::Utf8, DataType::Utf8View] {
            let whole = batch(8192, &kind);
            let expected = sizes(&whole);
            assert!(expected.len() > 1 && expected.iter().sum::<usize>() == 8192, "{expected:?}");
            // The same rows out of larger buffers, and out of two.
            let wider = batch(9000, &kind);
            assert_eq!(sizes(&wider.slice(0, 8192)), expected);
            let two = [wider.slice(0, 5000), whole.slice(5000, 3192)];
            assert_eq!(sizes(&concat_batches(&whole.schema(), &two).unwrap()), expected);
            let keep = (0..9000).map(|row| Some(row < 8192)).collect();
            assert_eq!(sizes(&filter_record_batch(&wider, &keep).unwrap()), expected);
            for one in cut(&whole) {
                assert!(one.get_array_memory_size() < 2 * MESSAGE_BYTES || kind == DataType::Utf8);
            }
        }
        assert_eq!(sizes(&batch(100, &DataType::Utf8)), [100]);
        assert_eq!(sizes(&batch(0, &DataType::Utf8)), [0]);
        assert_eq!(sizes(&RecordBatch::new_empty(Arc::new(Schema::empty()))), [0]);
    }

    #[test]
    fn a_row_that_is_larger_than_a_message_is_one() {
        let texts = StringArray::from_iter_values((0..3).map(|_| "x".repeat(MESSAGE_BYTES + 1)));
        let schema = Schema::new(vec![Field::new("note", DataType::Utf8, true)]);
        let large = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(texts)]).unwrap();
        assert_eq!(sizes(&large), [1, 1, 1]);
    }
}
