//! Uploads of parameters that would take more room than they may, on the wire or once they are read.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Int8Array, Int32Array, Int64Array, RecordBatch, RunArray, StringArray,
    StringViewArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::FlightData;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::utils::batches_to_flight_data;
use dynamos_proto::status::{Code, ServiceError};
use futures::{StreamExt, TryStreamExt, stream};
use tonic::Status;

use crate::frontend::parameters::{read_upload, typed};

const MEBIBYTE: usize = 1024 * 1024;

fn batch(column: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("$1", column)]).unwrap()
}

fn words() -> ArrayRef {
    Arc::new(["a", "b", "a"].into_iter().collect::<DictionaryArray<Int8Type>>())
}

/// Rows that all have the same long text, which is sent once.
fn repeated(rows: usize) -> RecordBatch {
    let values = StringArray::from(vec!["x".repeat(MEBIBYTE)]);
    batch(Arc::new(DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0; rows]), Arc::new(values))))
}

fn plain(batch: &RecordBatch) -> Vec<FlightData> {
    batches_to_flight_data(&batch.schema(), vec![batch.clone()]).unwrap()
}

async fn encoded(column: ArrayRef, options: IpcWriteOptions) -> Vec<FlightData> {
    let batch = batch(column);
    FlightDataEncoderBuilder::new()
        .with_options(options)
        .with_dictionary_handling(DictionaryHandling::Resend)
        .with_schema(batch.schema())
        .build(stream::iter([Ok(batch)]))
        .try_collect()
        .await
        .unwrap()
}

async fn read(messages: Vec<FlightData>) -> Result<Vec<RecordBatch>, ServiceError> {
    read_upload(stream::iter(messages).map(Ok::<_, Status>)).await
}

fn as_text(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, ServiceError> {
    typed(batches, &Schema::new(vec![Field::new("$1", DataType::Utf8, true)]))
}

#[tokio::test]
async fn an_upload_ends_when_its_messages_take_too_much() {
    let long = plain(&batch(Arc::new(StringArray::from(vec!["x".repeat(MEBIBYTE)]))));
    let empty = plain(&batch(Arc::new(Int64Array::from(Vec::<i64>::new()))));
    let nothing = FlightData::new().with_app_metadata("x");
    let uploads =
        [(long[0].clone(), long[1].clone()), (empty[0].clone(), empty[1].clone()), (empty[0].clone(), nothing)];
    for (schema, message) in uploads {
        let upload = stream::iter([schema]).chain(stream::repeat(message));
        let refused = read_upload(upload.map(Ok::<_, Status>)).await.unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted, "{refused}");
        assert_eq!(refused.hint.as_deref(), Some("bind fewer rows at a time"));
    }
    assert_eq!(read(long).await.unwrap().len(), 1);
    assert_eq!(read(empty).await.unwrap()[0].num_rows(), 0);
}

#[tokio::test]
async fn compressed_parameters_are_refused_before_they_are_decoded() {
    let compressed = || IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let rows = encoded(Arc::new(Int64Array::from(vec![1; 1000])), compressed()).await;
    let mut dictionary = encoded(words(), compressed()).await;
    dictionary.truncate(2);
    for messages in [rows, dictionary] {
        assert_eq!(messages.len(), 2);
        let refused = read(messages).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument);
        assert_eq!(refused.hint.as_deref(), Some("send the parameters without compression"));
    }
}

#[tokio::test]
async fn dictionaries_are_read_as_the_values_they_stand_for() {
    let batches = read(encoded(words(), IpcWriteOptions::default()).await).await.unwrap();
    assert!(matches!(batches[0].column(0).data_type(), DataType::Dictionary(_, _)));
    let typed = as_text(&batches).unwrap();
    assert_eq!(typed[0].column(0).as_string::<i32>(), &StringArray::from(vec!["a", "b", "a"]));
}

#[test]
fn values_that_are_shared_count_in_every_row() {
    assert!(as_text(&[repeated(3)]).is_ok());
    let views = batch(Arc::new(StringViewArray::from(vec!["x".repeat(MEBIBYTE).as_str(); 5])));
    for batches in [vec![repeated(5)], vec![repeated(3), repeated(3)], vec![views]] {
        let refused = as_text(&batches).unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted);
        assert_eq!(refused.hint.as_deref(), Some("bind fewer rows at a time"));
    }
}

#[test]
fn values_that_are_shared_out_of_sight_are_refused() {
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![2]), &StringArray::from(vec!["x"])).unwrap();
    let inside = Arc::new(Field::new("word", words().data_type().clone(), true));
    let nested = StructArray::from(vec![(inside, words())]);
    for column in [Arc::new(runs) as ArrayRef, Arc::new(nested) as ArrayRef] {
        let refused = as_text(&[batch(column)]).unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument);
        assert!(refused.message.contains("parameter 1 has a type whose values are shared"), "{refused}");
    }
}
