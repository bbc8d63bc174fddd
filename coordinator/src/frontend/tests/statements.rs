//! Queries and updates without preparing, and cancelling them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow_flight::decode::{DecodedFlightData, DecodedPayload};
use arrow_flight::sql::{ActionCancelQueryRequest, CommandStatementQuery, CommandStatementUpdate};
use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightEndpoint, FlightInfo, PollInfo,
    RenewFlightEndpointRequest, SchemaResult,
};
use dynamos_proto::status::Code;
use futures::TryStreamExt;
use prost::Message;
use serde_json::json;

use super::fixture::{Client, Fixture, act, descriptor, error, fetch, pretty, query, request};

#[tokio::test]
async fn streams_rows_in_plain_types_with_the_promised_schema() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let batch = query(&mut client, "SELECT * FROM visits ORDER BY id").await.unwrap();
    let expected = "\
+----+--------+------+
| id | region | note |
+----+--------+------+
| 1  | north  | a    |
| 2  | south  |      |
| 3  | north  | c    |
+----+--------+------+";
    assert_eq!(pretty(&batch), expected);
    let schema = batch.schema();
    let types = schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    assert_eq!(types, [DataType::Int64, DataType::Utf8, DataType::Utf8]);
    assert_eq!(schema.field(1).metadata()["ARROW:FLIGHT:SQL:TYPE_NAME"], "VARCHAR");
}

#[tokio::test]
async fn sends_the_schema_of_an_empty_result() {
    let fixture = Fixture::start().await;
    let batch = query(&mut fixture.client("alice"), "SELECT id FROM visits WHERE id > 9").await.unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (0, 1));
}

#[tokio::test]
async fn splits_a_large_result_into_messages_near_the_target() {
    let fixture = Fixture::start().await;
    let sql = "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 100000)";
    let mut client = fixture.client("alice");
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let stream = client.inner_mut().do_get(request("alice", ticket)).await.unwrap().into_inner();
    let sizes = stream.map_ok(|data| data.data_body.len()).try_collect::<Vec<_>>().await.unwrap();
    assert!(sizes.iter().all(|size| *size < 3 * 1024 * 1024), "{sizes:?}");
    assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), 100_000);
}

/// The messages of the answer that a ticket gives; what the last one says.
async fn said(client: &mut Client, info: FlightInfo) -> (Vec<DecodedFlightData>, Option<serde_json::Value>) {
    let stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let messages: Vec<_> = stream.into_inner().try_collect().await.unwrap();
    let (last, others) = messages.split_last().unwrap();
    assert!(others.iter().all(|message| message.app_metadata().is_empty()));
    let text = last.app_metadata();
    let said = (!text.is_empty()).then(|| serde_json::from_slice(&text).unwrap());
    (messages, said)
}

#[tokio::test]
async fn b6_the_last_message_says_which_stewards_released_something() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let info = client.execute("SELECT id FROM visits".to_owned(), None).await.unwrap();
    let (messages, nothing) = said(&mut client, info).await;
    assert_eq!((messages.len(), nothing), (2, None), "schema and rows");
    let answer = json!({"query": "query", "released": {"uva": true, "vu": false}});
    for (sql, rows) in
        [("SELECT id AS per_site, note FROM visits", 3), ("SELECT id AS per_site, note FROM visits WHERE id > 9", 0)]
    {
        let info = client.execute(sql.to_owned(), None).await.unwrap();
        let (messages, released) = said(&mut client, info).await;
        assert_eq!(released, Some(json!({"answers": [answer.clone()]})), "{sql}");
        let DecodedPayload::RecordBatch(last) = &messages.last().unwrap().payload else { panic!("it is a batch") };
        assert_eq!((last.num_rows(), last.num_columns()), (0, 2), "clients show nothing of it");
        assert_eq!(query(&mut client, sql).await.unwrap().num_rows(), rows, "{sql}");
    }
    let mut statement =
        client.prepare("SELECT id AS per_site FROM visits WHERE id = ?".to_owned(), None).await.unwrap();
    let ids = Arc::new(Int64Array::from(vec![1, 3])) as ArrayRef;
    statement.set_parameters(RecordBatch::try_from_iter([("$1", ids)]).unwrap()).unwrap();
    let info = statement.execute().await.unwrap();
    let (_, released) = said(&mut client, info).await;
    assert_eq!(released, Some(json!({"answers": [answer.clone(), answer]})), "one for each row of parameters");
}

#[tokio::test]
async fn an_update_on_the_query_path_runs_exactly_once() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let info = client.execute("ADD 5".to_owned(), None).await.unwrap();
    for _ in 0..2 {
        let batch = fetch(&mut client, info.clone()).await.unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (0, 0));
    }
    assert_eq!(fixture.engine.total.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn an_update_by_put_runs_once_and_tells_its_count() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    assert_eq!(client.execute_update("ADD 7".to_owned(), None).await.unwrap(), 1);
    assert_eq!(fixture.engine.total.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn a_query_put_as_an_update_is_refused_before_it_runs() {
    let fixture = Fixture::start().await;
    let refused = fixture.client("alice").execute_update("SELECT 1".to_owned(), None).await.map_err(error).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(fixture.engine.runs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn get_schema_describes_without_running() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let select = CommandStatementQuery { query: "SELECT id FROM visits".to_owned(), transaction_id: None };
    let add = CommandStatementQuery { query: "ADD 1".to_owned(), transaction_id: None };
    let put = CommandStatementUpdate { query: "ADD 1".to_owned(), transaction_id: None };
    let mut fields = Vec::new();
    for command in [descriptor(&select), descriptor(&add), descriptor(&put)] {
        let result: SchemaResult = client.inner_mut().get_schema(request("alice", command)).await.unwrap().into_inner();
        fields.push(Schema::try_from(&result).unwrap().fields().len());
    }
    assert_eq!(fields, [1, 0, 0]);
    assert!(fixture.engine.runs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn polling_completes_at_once() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let select = CommandStatementQuery { query: "SELECT 1 AS one".to_owned(), transaction_id: None };
    let polled = client.inner_mut().poll_flight_info(request("alice", descriptor(&select))).await.unwrap();
    let PollInfo { info, flight_descriptor, .. } = polled.into_inner();
    assert!(flight_descriptor.is_none());
    assert_eq!(fetch(&mut client, info.unwrap()).await.unwrap().num_rows(), 1);
}

#[tokio::test]
async fn cancelling_ends_a_running_stream_with_an_error() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let info = client.execute("FOREVER".to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    assert_eq!(stream.try_next().await.unwrap().unwrap().num_rows(), 1);
    let cancel = CancelFlightInfoRequest::new(info.clone());
    let result: CancelFlightInfoResult = act(&mut client, "CancelFlightInfo", &cancel).await.unwrap();
    assert_eq!(result.status(), CancelStatus::Cancelled);
    assert!(fixture.engine.cancels.lock().unwrap()[0].is_cancelled(), "the engine knows before the stream is read");
    assert_eq!(stream.try_next().await.map_err(error).unwrap_err().code, Code::Cancelled);
    assert_eq!(fetch(&mut client, info).await.unwrap_err().code, Code::Cancelled);
}

#[tokio::test]
async fn cancel_query_makes_a_waiting_ticket_worthless() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    let cancel = ActionCancelQueryRequest { info: info.encode_to_vec().into() };
    let _: arrow_flight::sql::Any = act(&mut client, "CancelQuery", &cancel).await.unwrap();
    assert_eq!(fetch(&mut client, info).await.unwrap_err().code, Code::Cancelled);
    assert!(fixture.engine.runs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn dropping_the_stream_stops_the_query() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let info = client.execute("FOREVER".to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.try_next().await.unwrap();
    assert_eq!(fixture.door.running.len(), 1);
    drop(stream);
    let gone = async {
        while fixture.door.running.len() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn a_renewed_ticket_outlives_the_first() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let mut info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    fixture.clock.advance(Duration::from_secs(500));
    let renew = RenewFlightEndpointRequest::new(info.endpoint[0].clone());
    let renewed: FlightEndpoint = act(&mut client, "RenewFlightEndpoint", &renew).await.unwrap();
    let seconds = |endpoint: &FlightEndpoint| endpoint.expiration_time.unwrap().seconds;
    assert_eq!(seconds(&renewed) - seconds(&info.endpoint[0]), 500);
    fixture.clock.advance(Duration::from_secs(500));
    assert_eq!(fetch(&mut client, info.clone()).await.unwrap_err().code, Code::InvalidArgument);
    info.endpoint[0] = renewed;
    assert_eq!(fetch(&mut client, info).await.unwrap().num_rows(), 1);
}
