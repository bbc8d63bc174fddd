//! What must not pass: foreign, forged and expired tickets and handles, and requests that make no sense.

use std::time::Duration;

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{
    Any, CommandStatementIngest, CommandStatementQuery, CommandStatementSubstraitPlan, ProstMessageExt,
    TicketStatementQuery,
};
use arrow_flight::{Action, CancelFlightInfoRequest, Criteria, FlightData, FlightDescriptor, FlightInfo, Ticket};
use dynamos_proto::status::{Code, ServiceError};
use futures::stream;
use prost::Message;

use super::fixture::{Client, Fixture, act, assert_code, descriptor, error, fetch, request};

async fn info(client: &mut Client) -> FlightInfo {
    client.execute("SELECT 1".to_owned(), None).await.unwrap()
}

#[tokio::test]
async fn a_ticket_of_another_user_is_refused() {
    let fixture = Fixture::start().await;
    let info = info(&mut fixture.client("alice")).await;
    assert_eq!(fetch(&mut fixture.client("bob"), info.clone()).await.unwrap_err().code, Code::Denied);
    let cancel = CancelFlightInfoRequest::new(info.clone());
    let cancelled: Result<(), ServiceError> = act(&mut fixture.client("bob"), "CancelFlightInfo", &cancel).await;
    assert_eq!(cancelled.unwrap_err().code, Code::Denied);
    assert_eq!(fetch(&mut fixture.client("alice"), info).await.unwrap().num_rows(), 1);
}

#[tokio::test]
async fn a_prepared_statement_of_another_user_is_refused() {
    let fixture = Fixture::start().await;
    let mut alice = fixture.client("alice");
    let mut statement = alice.prepare("SELECT 1".to_owned(), None).await.unwrap();
    let descriptor = statement.execute().await.unwrap().flight_descriptor.unwrap();
    let mut bare = fixture.client("bob").into_inner();
    assert_code(bare.get_flight_info(request("bob", descriptor)).await, Code::Denied);
}

#[tokio::test]
async fn an_expired_ticket_is_refused() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let info = info(&mut client).await;
    fixture.clock.advance(Duration::from_secs(599));
    assert!(fetch(&mut client, info.clone()).await.is_ok());
    fixture.clock.advance(Duration::from_secs(1));
    let refused = fetch(&mut client, info).await.unwrap_err();
    assert!(refused.message.contains("expired"), "{refused}");
}

#[tokio::test]
async fn a_forged_ticket_is_refused() {
    let (fixture, other) = (Fixture::start_with_secret(1).await, Fixture::start_with_secret(2).await);
    let mut client = fixture.client("alice");
    let foreign = info(&mut other.client("alice")).await;
    assert_eq!(fetch(&mut client, foreign).await.unwrap_err().code, Code::InvalidArgument);

    let ticket = info(&mut client).await.endpoint[0].ticket.clone().unwrap();
    let sealed = Any::decode(ticket.ticket).unwrap().unpack::<TicketStatementQuery>().unwrap().unwrap();
    let mut bytes = sealed.statement_handle.to_vec();
    let place = bytes.windows(8).position(|window| window == b"SELECT 1").unwrap();
    bytes[place + 7] = b'2';
    for statement_handle in [bytes, Vec::new(), vec![0; 10], vec![0; 200]] {
        let forged = TicketStatementQuery { statement_handle: statement_handle.into() }.as_any().encode_to_vec();
        let refused = client.do_get(Ticket::new(forged)).await.map_err(error);
        assert_eq!(refused.err().map(|error| error.code), Some(Code::InvalidArgument));
    }
    assert!(fixture.engine.runs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn malformed_commands_are_invalid_arguments() {
    let fixture = Fixture::start().await;
    let mut bare = fixture.client("alice").into_inner();
    let truncated = Any { type_url: CommandStatementQuery::type_url().to_owned(), value: vec![0x0a, 0xff].into() };
    let unknown = Any { type_url: "type.googleapis.com/some.Message".to_owned(), value: Vec::new().into() };
    let ticket = TicketStatementQuery::default().as_any();
    for bytes in [vec![0xff; 7], Vec::new(), truncated.encode_to_vec(), unknown.encode_to_vec(), ticket.encode_to_vec()]
    {
        let command = FlightDescriptor::new_cmd(bytes.clone());
        assert_code(bare.get_flight_info(request("alice", command.clone())).await, Code::InvalidArgument);
        assert_code(bare.poll_flight_info(request("alice", command.clone())).await, Code::InvalidArgument);
        assert_code(bare.get_schema(request("alice", command.clone())).await, Code::InvalidArgument);
        assert_code(bare.do_get(request("alice", Ticket::new(bytes))).await, Code::InvalidArgument);
        let upload = stream::iter([FlightData::new().with_descriptor(command)]);
        assert_code(bare.do_put(request("alice", upload)).await, Code::InvalidArgument);
    }
    let path = FlightDescriptor { r#type: DescriptorType::Path.into(), ..FlightDescriptor::default() };
    assert_code(bare.get_flight_info(request("alice", path)).await, Code::InvalidArgument);
    assert_code(bare.do_put(request("alice", stream::iter([FlightData::new()]))).await, Code::InvalidArgument);
    assert_code(bare.do_put(request("alice", stream::iter([]))).await, Code::InvalidArgument);
}

#[tokio::test]
async fn malformed_actions_are_invalid_arguments() {
    let fixture = Fixture::start().await;
    let mut bare = fixture.client("alice").into_inner();
    for name in
        ["CreatePreparedStatement", "ClosePreparedStatement", "CancelQuery", "CancelFlightInfo", "RenewFlightEndpoint"]
    {
        let action = Action::new(name, vec![0xff; 5]);
        assert_code(bare.do_action(request("alice", action)).await, Code::InvalidArgument);
    }
    let action = Action::new("SetSessionOptions", vec![0xff; 5]);
    assert_code(bare.do_action(request("alice", action)).await, Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_not_offered_says_so() {
    let fixture = Fixture::start().await;
    let mut bare = fixture.client("alice").into_inner();
    assert_code(bare.list_flights(request("alice", Criteria::default())).await, Code::Unsupported);
    assert_code(bare.do_exchange(request("alice", stream::iter([FlightData::new()]))).await, Code::Unsupported);
    let plan = descriptor(&CommandStatementSubstraitPlan::default());
    let ingest = descriptor(&CommandStatementIngest { table: "t".to_owned(), ..Default::default() });
    for command in [plan, ingest] {
        assert_code(bare.get_flight_info(request("alice", command.clone())).await, Code::Unsupported);
        let upload = stream::iter([FlightData::new().with_descriptor(command)]);
        assert_code(bare.do_put(request("alice", upload)).await, Code::Unsupported);
    }
}

#[tokio::test]
async fn the_engines_errors_keep_their_code_and_text() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("bob");
    let denied = client.execute("SELECT secret".to_owned(), None).await.map_err(error).unwrap_err();
    assert_eq!((denied.code, denied.message.as_str()), (Code::Denied, "no agreement allows it"));
}

#[tokio::test]
async fn an_error_in_the_data_does_not_carry_the_value() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let sql = "SELECT CAST(note AS BIGINT) FROM visits WHERE note = 'c'";
    let failed = super::fixture::query(&mut client, sql).await.unwrap_err();
    assert_eq!(failed.code, Code::DataError);
    assert!(!failed.message.contains("'c'"), "{failed}");
}
