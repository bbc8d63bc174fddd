//! Prepared statements.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, Any, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, DoPutUpdateResult, ProstMessageExt,
};
use arrow_flight::{Action, FlightData, FlightInfo, IpcMessage};
use dynamos_proto::status::Code;
use futures::{TryStreamExt, stream};
use prost::Message;

use super::fixture::{Client, Fixture, act, descriptor, error, fetch, pretty, request};
use crate::frontend::wire::PreparedResult;

fn numbers(values: Vec<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("$1", Arc::new(Int64Array::from(values)) as ArrayRef)]).unwrap()
}

async fn create(client: &mut Client, sql: &str) -> PreparedResult {
    let body = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None }.as_any();
    let answer: Any = act(client, "CreatePreparedStatement", &body).await.unwrap();
    assert!(answer.type_url.ends_with("ActionCreatePreparedStatementResult"));
    PreparedResult::decode(answer.value).unwrap()
}

async fn upload(command: &impl ProstMessageExt, batch: RecordBatch) -> Vec<FlightData> {
    FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor(command)))
        .with_schema(batch.schema())
        .build(stream::iter([Ok(batch)]))
        .try_collect()
        .await
        .unwrap()
}

#[tokio::test]
async fn runs_a_query_with_question_marks() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let sql = "SELECT id, '?' AS mark FROM visits WHERE id > ? ORDER BY id";
    let mut statement = client.prepare(sql.to_owned(), None).await.unwrap();
    assert_eq!(statement.parameter_schema().unwrap().fields().len(), 1);
    assert!(statement.parameter_schema().unwrap().field(0).is_nullable());
    assert_eq!(statement.dataset_schema().unwrap().fields().len(), 2);
    for (least, rows) in [(1, 2), (2, 1)] {
        statement.set_parameters(numbers(vec![least])).unwrap();
        let info = statement.execute().await.unwrap();
        assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), rows);
    }
    statement.close().await.unwrap();
}

#[tokio::test]
async fn several_rows_give_the_results_one_after_another() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let mut statement = client.prepare("SELECT id FROM visits WHERE id = ?".to_owned(), None).await.unwrap();
    statement.set_parameters(numbers(vec![3, 9, 1])).unwrap();
    let info = statement.execute().await.unwrap();
    let batch = fetch(&mut client, info).await.unwrap();
    assert_eq!(pretty(&batch), "+----+\n| id |\n+----+\n| 3  |\n| 1  |\n+----+");
}

#[tokio::test]
async fn text_is_read_as_the_declared_type() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let mut statement = client.prepare("SELECT id FROM visits WHERE id = ?".to_owned(), None).await.unwrap();
    let text = |value| RecordBatch::try_from_iter([("p", Arc::new(StringArray::from(vec![value])) as ArrayRef)]);
    statement.set_parameters(text("2").unwrap()).unwrap();
    let info = statement.execute().await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), 1);
    statement.set_parameters(text("zwei").unwrap()).unwrap();
    let refused = statement.execute().await.map_err(error).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(!refused.message.contains("zwei"));
}

#[tokio::test]
async fn an_update_is_told_apart_and_runs_once_per_row() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let prepared = create(&mut client, "ADD ?").await;
    assert_eq!(prepared.is_update, Some(true));
    assert!(!prepared.dataset_schema.is_empty());
    assert!(Schema::try_from(IpcMessage(prepared.dataset_schema)).unwrap().fields().is_empty());
    assert_eq!(create(&mut client, "SELECT 1").await.is_update, Some(false));

    let mut statement = client.prepare("ADD ?".to_owned(), None).await.unwrap();
    statement.set_parameters(numbers(vec![1, 10, 100])).unwrap();
    assert_eq!(statement.execute_update().await.unwrap(), 3);
    assert_eq!(fixture.engine.total.load(Ordering::SeqCst), 111);
}

#[tokio::test]
async fn parameters_may_come_with_the_update_itself() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let handle = create(&mut client, "ADD ?").await.prepared_statement_handle;
    let command = CommandPreparedStatementUpdate { prepared_statement_handle: handle };
    let messages = upload(&command, numbers(vec![20, 22])).await;
    let mut answers = client.do_put(stream::iter(messages)).await.unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(DoPutUpdateResult::decode(answer.app_metadata).unwrap().record_count, 2);
    assert_eq!(fixture.engine.total.load(Ordering::SeqCst), 42);
}

#[tokio::test]
async fn an_update_executed_as_a_query_runs_once() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let mut statement = client.prepare("ADD ?".to_owned(), None).await.unwrap();
    statement.set_parameters(numbers(vec![4])).unwrap();
    let info = statement.execute().await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap().num_columns(), 0);
    assert_eq!(fixture.engine.total.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_client_that_ignores_the_new_handle_still_gets_its_parameters() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let handle = create(&mut client, "SELECT id FROM visits WHERE id >= ?").await.prepared_statement_handle;
    let command = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    let messages = upload(&command, numbers(vec![2])).await;
    client.do_put(stream::iter(messages)).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    let execute = |client: &mut Client| {
        let mut bare = client.inner_mut().clone();
        let command = descriptor(&command);
        async move { bare.get_flight_info(request("alice", command)).await.map(tonic::Response::into_inner) }
    };
    let info: FlightInfo = execute(&mut client).await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), 2);
    let close = ActionClosePreparedStatementRequest { prepared_statement_handle: handle }.as_any();
    let action = Action::new("ClosePreparedStatement", close.encode_to_vec());
    client.do_action(action).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    super::fixture::assert_code(execute(&mut client).await, Code::InvalidArgument);
}

#[tokio::test]
async fn a_handle_and_a_ticket_survive_a_restart_with_the_same_key() {
    let (before, after) = (Fixture::start_with_secret(3).await, Fixture::start_with_secret(3).await);
    let handle = create(&mut before.client("alice"), "SELECT 7 AS seven").await.prepared_statement_handle;
    let command = descriptor(&CommandPreparedStatementQuery { prepared_statement_handle: handle });
    let mut bare = before.client("alice").into_inner();
    let info = bare.get_flight_info(request("alice", command.clone())).await.unwrap().into_inner();
    assert_eq!(fetch(&mut after.client("alice"), info).await.unwrap().num_rows(), 1);
    let mut bare = after.client("alice").into_inner();
    assert!(bare.get_flight_info(request("alice", command)).await.is_ok());
}

#[tokio::test]
async fn wrong_parameters_are_refused_with_their_count() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let mut statement = client.prepare("SELECT id FROM visits WHERE id = ?".to_owned(), None).await.unwrap();
    let unbound = statement.execute().await.map_err(error).unwrap_err();
    assert_eq!(unbound.code, Code::InvalidArgument);
    let two = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    statement.set_parameters(RecordBatch::try_from_iter([("a", Arc::clone(&two)), ("b", two)]).unwrap()).unwrap();
    let error = statement.execute().await.map_err(error).unwrap_err();
    assert!(error.message.contains("1 parameters but 2"), "{error}");
}

#[tokio::test]
async fn garbage_parameters_are_refused() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let handle = create(&mut client, "SELECT id FROM visits WHERE id = ?").await.prepared_statement_handle;
    let command = CommandPreparedStatementQuery { prepared_statement_handle: handle };
    let good = upload(&command, numbers(vec![1, 2, 3])).await;
    let mut cut = good.clone();
    cut[1].data_body = cut[1].data_body.slice(..8);
    let mut noise = good.clone();
    noise[1].data_header = vec![0xff; 40].into();
    let headless = vec![good[0].clone(), FlightData::new().with_data_header(vec![1, 2, 3])];
    for messages in [cut, noise, headless] {
        let result = client.do_put(stream::iter(messages)).await.map_err(error);
        assert_eq!(result.err().map(|error| error.code), Some(Code::InvalidArgument));
    }
}

#[tokio::test]
async fn unknown_parameter_types_are_told_as_text() {
    let fixture = Fixture::start().await;
    let prepared = create(&mut fixture.client("alice"), "SELECT $1 AS a, $2 AS b").await;
    let schema = Schema::try_from(IpcMessage(prepared.parameter_schema)).unwrap();
    assert!(schema.fields().iter().all(|field| *field.data_type() == DataType::Utf8 && field.is_nullable()));
    assert_eq!(schema.fields().len(), 2);
}

#[tokio::test]
async fn a_result_takes_the_type_of_the_bound_value() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let mut statement = client.prepare("SELECT ? AS x, 1 AS y".to_owned(), None).await.unwrap();
    let values: [(ArrayRef, DataType); 2] = [
        (Arc::new(Int64Array::from(vec![42])), DataType::Int64),
        (Arc::new(StringArray::from(vec!["zweiundvierzig"])), DataType::Utf8),
    ];
    for (value, data_type) in values {
        statement.set_parameters(RecordBatch::try_from_iter([("0", value)]).unwrap()).unwrap();
        let info = statement.execute().await.unwrap();
        let batch = fetch(&mut client, info).await.unwrap();
        assert_eq!((batch.schema().field(0).name().as_str(), batch.column(0).data_type()), ("x", &data_type));
        assert_eq!(batch.num_rows(), 1);
    }
}
