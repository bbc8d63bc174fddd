//! The types that clients are sent. Several drivers fail on view, dictionary, run-end, half-float and wide or narrow
//! decimal types, so results are cast to the plain type that holds the same values. Schema and batches go through the
//! same mapping here; both ends of a query (FlightInfo and DoGet) use it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use dynamos_proto::status::{Code, ServiceError};

use super::type_info::describe;

/// The widest decimal that every client reads.
const DECIMAL_PRECISION_MAX: u8 = 38;

/// The schema that a client sees for a result with this schema: plain types, and SQL type names as field metadata.
pub(super) fn client_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| describe(&plain_field(field))).collect::<Vec<_>>();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The batch with the columns cast to `schema`, which came from [`client_schema`].
pub(super) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ServiceError> {
    if batch.num_columns() != schema.fields().len() {
        return Err(ServiceError::new(Code::StaleBasis, "the columns of the result changed since it was described")
            .with_hint("run the query again"));
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| plain_column(column, field))
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|_| ServiceError::new(Code::Internal, "the rows of the result do not fit its description"))
}

fn plain_column(column: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, ServiceError> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &options).map_err(|_| {
        // Arrow's own text quotes the value that does not fit.
        ServiceError::new(Code::DataError, format!("a value of column `{}` does not fit its type", field.name()))
            .with_hint("cast the column in the query")
    })
}

fn plain_field(field: &Field) -> Field {
    field.clone().with_data_type(plain_type(field.data_type()))
}

fn plain_child(field: &FieldRef) -> FieldRef {
    Arc::new(plain_field(field))
}

/// The plain type that holds the same values.
pub(super) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale) => DataType::Decimal128((*precision).min(DECIMAL_PRECISION_MAX), *scale),
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(child) | DataType::ListView(child) => DataType::List(plain_child(child)),
        DataType::LargeList(child) | DataType::LargeListView(child) => DataType::LargeList(plain_child(child)),
        DataType::FixedSizeList(child, length) => DataType::FixedSizeList(plain_child(child), *length),
        DataType::Struct(children) => DataType::Struct(children.iter().map(plain_child).collect()),
        DataType::Map(entries, ordered) => DataType::Map(plain_child(entries), *ordered),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        AsArray, DictionaryArray, Float16Array, Int32Array, ListArray, RunArray, StringArray, StringViewArray,
    };
    use arrow::datatypes::{Decimal256Type, Int8Type, Int32Type};

    use super::*;

    fn nested_views() -> ListArray {
        let child = Arc::new(Field::new("item", DataType::Utf8View, true));
        let values = StringViewArray::from(vec!["a", "a longer text than fits into a view", "c"]);
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 2]);
        ListArray::new(child, offsets, Arc::new(values), None)
    }

    #[test]
    fn casts_every_type_that_clients_stumble_on() {
        let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2]), &StringArray::from(vec!["x"])).unwrap();
        let wide = Int32Array::from(vec![1, 2]);
        let wide = arrow::compute::cast(&wide, &DataType::Decimal256(50, 2)).unwrap();
        assert_eq!(wide.as_primitive::<Decimal256Type>().len(), 2);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("view", Arc::new(StringViewArray::from(vec!["a", "b"]))),
            ("dictionary", Arc::new(vec!["a", "b"].into_iter().collect::<DictionaryArray<Int8Type>>())),
            ("half", Arc::new(Float16Array::from(vec![half(1), half(2)]))),
            ("decimal", wide),
            ("runs", Arc::new(runs)),
            ("nested", Arc::new(nested_views())),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = client_schema(&batch.schema());
        let plain = conform(&batch, &schema).unwrap();
        let types = plain.schema().fields().iter().map(|field| field.data_type().to_string()).collect::<Vec<_>>();
        let expected = ["Utf8", "Utf8", "Float32", "Decimal128(38, 2)", "Utf8", "List(Utf8)"];
        assert_eq!(types, expected);
        assert_eq!(plain.column(4).as_string::<i32>().value(1), "x");
    }

    fn half(value: i8) -> <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native {
        value.into()
    }

    #[test]
    fn names_the_column_but_not_the_value_that_does_not_fit() {
        let batch = RecordBatch::try_from_iter(vec![("a", Arc::new(StringArray::from(vec!["secret"])) as ArrayRef)]);
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
        let error = conform(&batch.unwrap(), &schema).unwrap_err();
        assert_eq!(error.code, Code::DataError);
        assert!(error.message.contains("`a`") && !error.message.contains("secret"));
    }
}
