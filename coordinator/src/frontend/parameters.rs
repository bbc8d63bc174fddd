//! Parameter rows on their way from a client's upload to the engine: read from the upload, kept as bytes inside a
//! handle or ticket, and taken apart into one value per `$n`. Values are never logged or put into an error's text.

use std::panic::AssertUnwindSafe;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema};
use arrow::ipc::reader::StreamReader;
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

/// One row of values, for `$1`, `$2`, ….
pub(super) type ParameterRow = Vec<ScalarValue>;

/// The batches in an upload. An upload without any data gives none.
pub(super) async fn read_upload(
    upload: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<Vec<RecordBatch>, ServiceError> {
    let with_data = upload.try_filter(|data| futures::future::ready(!data.data_header.is_empty()));
    let batches = FlightRecordBatchStream::new_from_flight_data(with_data.map_err(FlightError::from));
    let collected = AssertUnwindSafe(collect_bounded(batches)).catch_unwind().await;
    // Arrow's reader trusts the buffer lengths in a message, so a malformed one can panic in it; that must not take
    // anything but this request with it.
    collected.unwrap_or_else(|_| Err(invalid("the uploaded parameters are not valid Arrow data")))
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
        return Err(ServiceError::new(Code::ResourceExhausted, text).with_hint("bind fewer rows at a time"));
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
    batches.iter().map(|batch| typed_batch(batch, parameters)).collect()
}

fn typed_batch(batch: &RecordBatch, parameters: &Schema) -> Result<RecordBatch, ServiceError> {
    let (wanted, bound) = (parameters.fields().len(), batch.num_columns());
    if bound != wanted {
        return Err(invalid(format!("the statement has {wanted} parameters but {bound} are bound")));
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
