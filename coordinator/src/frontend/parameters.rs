//! Parameter rows on their way from a client's upload to the engine: read from the upload, kept as bytes inside a
//! handle or ticket, and taken apart into one value per `$n`. Values are never logged or put into an error's text.

use std::panic::AssertUnwindSafe;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use dynamos_proto::status::{Code, ServiceError};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use tonic::Status;

use super::errors::{encoding, invalid};
use super::plain_types::plain_type;

/// Parameter rows that one execution takes; more are refused before anything has run.
pub(super) const PARAMETER_ROWS_MAX: usize = 65_536;
/// Bytes of bound parameters that a handle or ticket carries; more are refused, so that a handle fits in a message.
pub(super) const PARAMETER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an upload, whatever is in them.
const UPLOAD_BYTES_MAX: usize = 2 * PARAMETER_BYTES_MAX;
/// Bytes that a message counts for at least, so that one without rows counts, too.
const MESSAGE_BYTES_MIN: usize = 64;
/// Bytes that a value counts for whose type has no width of its own.
const VALUE_BYTES: usize = 32;

/// One row of values, for `$1`, `$2`, ….
pub(super) type ParameterRow = Vec<ScalarValue>;

/// The batches in an upload. An upload without any data gives none.
pub(super) async fn read_upload(
    upload: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<Vec<RecordBatch>, ServiceError> {
    let mut taken = 0;
    let admitted = upload.and_then(move |data| {
        let admitted = admit(&mut taken, &data).map_err(Status::from);
        futures::future::ready(admitted.map(|()| data))
    });
    let with_data = admitted.try_filter(|data| futures::future::ready(!data.data_header.is_empty()));
    let batches = FlightRecordBatchStream::new_from_flight_data(with_data.map_err(FlightError::from));
    let collected = AssertUnwindSafe(collect_bounded(batches)).catch_unwind().await;
    // Arrow's reader trusts the buffer lengths in a message, so a malformed one can panic in it; that must not take
    // anything but this request with it.
    collected.unwrap_or_else(|_| Err(invalid("the uploaded parameters are not valid Arrow data")))
}

/// Lets a message through to be decoded, unless the upload gets too long with it or it is compressed.
fn admit(taken: &mut usize, data: &FlightData) -> Result<(), ServiceError> {
    let bytes = data.data_header.len() + data.data_body.len() + data.app_metadata.len();
    *taken = taken.saturating_add(bytes.max(MESSAGE_BYTES_MIN));
    if *taken > UPLOAD_BYTES_MAX {
        let text = format!("the upload of parameters takes more than the {UPLOAD_BYTES_MAX} bytes that are allowed");
        return Err(too_much(text));
    }
    if is_compressed(&data.data_header) {
        return Err(
            invalid("the uploaded parameters are compressed").with_hint("send the parameters without compression")
        );
    }
    Ok(())
}

/// Whether this is the header of a compressed batch: the lengths in those are believed before anything is unpacked.
fn is_compressed(header: &[u8]) -> bool {
    // What cannot be read here cannot be decoded either, and is refused there.
    let Ok(message) = root_as_message(header) else { return false };
    let of_dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    let mut batches = message.header_as_record_batch().into_iter().chain(of_dictionary);
    batches.any(|batch| batch.compression().is_some())
}

fn too_much(text: String) -> ServiceError {
    ServiceError::new(Code::ResourceExhausted, text).with_hint("bind fewer rows at a time")
}

async fn collect_bounded(mut batches: FlightRecordBatchStream) -> Result<Vec<RecordBatch>, ServiceError> {
    let mut kept = Vec::new();
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| match error {
            FlightError::Tonic(status) => ServiceError::from_status(&status),
            _ => invalid("the uploaded parameters are not valid Arrow data"),
        })?;
        rows += batch.num_rows();
        if rows > PARAMETER_ROWS_MAX {
            let text = format!("more than {PARAMETER_ROWS_MAX} parameter rows were uploaded");
            return Err(ServiceError::new(Code::ResourceExhausted, text).with_hint("execute in several batches"));
        }
        if batch.num_columns() > 0 {
            kept.push(batch);
        }
    }
    Ok(kept)
}

/// The batches as an IPC stream; no batches give no bytes.
pub(super) fn encode(batches: &[RecordBatch]) -> Result<Bytes, ServiceError> {
    let Some(first) = batches.first() else { return Ok(Bytes::new()) };
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema()).map_err(|error| encoding(&error))?;
    for batch in batches {
        writer.write(batch).map_err(|error| encoding(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| encoding(&error))?;
    if bytes.len() > PARAMETER_BYTES_MAX {
        let text = format!("the bound parameters take {} bytes but {PARAMETER_BYTES_MAX} are allowed", bytes.len());
        return Err(too_much(text));
    }
    Ok(Bytes::from(bytes))
}

/// The batches that [`encode`] wrote. Only sealed bytes come here.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>, ServiceError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let reader = StreamReader::try_new(bytes, None).map_err(|error| encoding(&error))?;
    reader.collect::<Result<Vec<_>, _>>().map_err(|error| encoding(&error))
}

/// A schema as an encapsulated IPC message, zero fields included.
pub(super) fn encode_schema(schema: &Schema) -> Result<Bytes, ServiceError> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage = SchemaAsIpc::new(schema, &options).try_into().map_err(|error| encoding(&error))?;
    Ok(message.0)
}

/// The schema that [`encode_schema`] wrote. Only sealed bytes come here.
pub(super) fn decode_schema(bytes: &Bytes) -> Result<Schema, ServiceError> {
    Schema::try_from(IpcMessage(bytes.clone())).map_err(|error| encoding(&error))
}

/// The uploaded rows in types for the engine, checked against the statement's parameters.
pub(super) fn typed(batches: &[RecordBatch], parameters: &Schema) -> Result<Vec<RecordBatch>, ServiceError> {
    let wanted = parameters.fields().len();
    if batches.is_empty() && wanted > 0 {
        return Err(invalid(format!("the statement has {wanted} parameters and none are bound"))
            .with_hint("prepare the statement and bind a value to each parameter"));
    }
    let mut expanded = 0;
    batches.iter().map(|batch| typed_batch(batch, parameters, &mut expanded)).collect()
}

/// Adds to `expanded` what the batch's dictionaries and views take as plain values.
fn typed_batch(batch: &RecordBatch, parameters: &Schema, expanded: &mut usize) -> Result<RecordBatch, ServiceError> {
    let (wanted, bound) = (parameters.fields().len(), batch.num_columns());
    if bound != wanted {
        return Err(invalid(format!("the statement has {wanted} parameters but {bound} are bound")));
    }
    for (index, column) in batch.columns().iter().enumerate() {
        if shares_values(column.data_type(), false) {
            let text = format!("parameter {} has a type whose values are shared in it: run-end encoded, ", index + 1);
            return Err(invalid(text + "a list view, or a dictionary or view inside another type")
                .with_hint("send the values in a plain type"));
        }
        *expanded = expanded.saturating_add(expanded_bytes(column));
        if *expanded > PARAMETER_BYTES_MAX {
            let text = format!("the values of the bound parameters take more than {PARAMETER_BYTES_MAX} bytes");
            return Err(too_much(text));
        }
    }
    let typed = batch.columns().iter().zip(parameters.fields()).enumerate().map(|(index, (column, field))| {
        let column = typed_column(column, field.data_type(), index + 1)?;
        Ok((format!("${}", index + 1), column, true))
    });
    let columns = typed.collect::<Result<Vec<_>, ServiceError>>()?;
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| encoding(&error))
}

/// The rows to execute with: one empty row for a statement without parameters, else one per row of [`typed`] batches.
pub(super) fn rows(typed: &[RecordBatch]) -> Result<Vec<ParameterRow>, ServiceError> {
    if typed.is_empty() {
        return Ok(vec![ParameterRow::new()]);
    }
    let mut rows = Vec::new();
    for batch in typed {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, row));
            let values = values.collect::<Result<ParameterRow, _>>();
            rows.push(values.map_err(|_| invalid("a parameter has a type that cannot be used in a statement"))?);
        }
    }
    Ok(rows)
}

/// Whether one value may stand in many places of such a column, so that it is larger when it is plain, and is not
/// counted by [`expanded_bytes`].
fn shares_values(data_type: &DataType, inside: bool) -> bool {
    match data_type {
        DataType::RunEndEncoded(_, _) | DataType::ListView(_) | DataType::LargeListView(_) => true,
        DataType::Dictionary(_, values) => {
            let encoded = matches!(**values, DataType::Dictionary(_, _) | DataType::RunEndEncoded(_, _));
            inside || encoded || values.is_nested()
        }
        DataType::Utf8View | DataType::BinaryView => inside,
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::FixedSizeList(child, _)
        | DataType::Map(child, _) => shares_values(child.data_type(), true),
        DataType::Struct(children) => children.iter().any(|child| shares_values(child.data_type(), true)),
        DataType::Union(children, _) => children.iter().any(|(_, child)| shares_values(child.data_type(), true)),
        _ => false,
    }
}

/// The bytes of the values in a dictionary or a view when each row has its own; nothing for other columns, which are
/// as large as they were sent.
fn expanded_bytes(column: &ArrayRef) -> usize {
    if let Some(dictionary) = column.as_any_dictionary_opt() {
        let (keys, values) = (dictionary.keys(), dictionary.values());
        if let Some(width) = fixed_width(values.data_type()) {
            return width.saturating_mul(keys.len());
        }
        if values.is_empty() {
            return 0;
        }
        let used = dictionary.normalized_keys().into_iter().enumerate().filter(|(row, _)| keys.is_valid(*row));
        return sum(used.map(|(_, key)| value_bytes(values, key)));
    }
    match column.data_type() {
        DataType::Utf8View | DataType::BinaryView => {
            sum((0..column.len()).filter(|row| column.is_valid(*row)).map(|row| value_bytes(column, row)))
        }
        _ => 0,
    }
}

fn sum(bytes: impl Iterator<Item = usize>) -> usize {
    bytes.fold(0, usize::saturating_add)
}

/// The bytes of each value of a type; none for text and binary, whose values differ.
fn fixed_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => None,
        DataType::FixedSizeBinary(width) => Some(usize::try_from(*width).unwrap_or(usize::MAX)),
        other => Some(other.primitive_width().unwrap_or(VALUE_BYTES)),
    }
}

/// The bytes of one value of text or binary.
fn value_bytes(values: &ArrayRef, index: usize) -> usize {
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().value(index).len(),
        DataType::LargeUtf8 => values.as_string::<i64>().value(index).len(),
        DataType::Utf8View => values.as_string_view().value(index).len(),
        DataType::Binary => values.as_binary::<i32>().value(index).len(),
        DataType::LargeBinary => values.as_binary::<i64>().value(index).len(),
        DataType::BinaryView => values.as_binary_view().value(index).len(),
        _ => VALUE_BYTES,
    }
}

/// A client's column in a type for the engine: plain, and the declared type where the client had only text or nothing.
/// Other types stay as the client chose them; the engine coerces them as it does literals.
fn typed_column(column: &ArrayRef, declared: &DataType, number: usize) -> Result<ArrayRef, ServiceError> {
    let plain = plain_type(column.data_type());
    let untyped = matches!(plain, DataType::Utf8 | DataType::LargeUtf8 | DataType::Null);
    let target = if untyped && *declared != DataType::Null { declared.clone() } else { plain };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, &target, &options)
        .map_err(|_| invalid(format!("the value of parameter {number} is not a {target}")))
}
