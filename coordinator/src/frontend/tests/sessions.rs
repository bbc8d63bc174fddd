//! Logging in and session options.

use std::collections::HashMap;

use arrow_flight::{BasicAuth, HandshakeRequest};
use dynamos_proto::status::{Code, ServiceError};
use futures::{TryStreamExt, stream};
use prost::Message;
use tonic::Request;

use super::fixture::{Client, Fixture, act, error, query};
use crate::frontend::wire::{
    CloseSessionResult, CloseStatus, GetSessionOptionsResult, OptionErrorKind, OptionValue, SessionOptionValue,
    SetSessionOptionsRequest, SetSessionOptionsResult,
};

fn text(value: &str) -> SessionOptionValue {
    SessionOptionValue { value: Some(OptionValue::Text(value.to_owned())) }
}

async fn set(client: &mut Client, options: &[(&str, SessionOptionValue)]) -> HashMap<String, OptionErrorKind> {
    let session_options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let request = SetSessionOptionsRequest { session_options };
    let result: SetSessionOptionsResult = act(client, "SetSessionOptions", &request).await.unwrap();
    result.errors.into_iter().map(|(name, error)| (name, error.value())).collect()
}

async fn get(client: &mut Client) -> HashMap<String, SessionOptionValue> {
    let result: GetSessionOptionsResult = act(client, "GetSessionOptions", &()).await.unwrap();
    result.session_options
}

/// The purpose under which the latest statement ran.
async fn purpose_seen(fixture: &Fixture, client: &mut Client) -> Option<String> {
    query(client, "SELECT 1").await.unwrap();
    fixture.engine.runs.lock().unwrap().last().unwrap().1.clone()
}

#[tokio::test]
async fn a_handshake_with_user_and_token_gives_the_token_back() {
    let fixture = Fixture::start().await;
    let mut client = fixture.stranger();
    assert_eq!(client.handshake("alice", "token-alice").await.unwrap(), "token-alice");
    assert_eq!(client.token().unwrap(), "token-alice");
    assert_eq!(query(&mut client, "SELECT 1").await.unwrap().num_rows(), 1);
}

#[tokio::test]
async fn a_handshake_with_wrong_or_borrowed_token_is_refused_alike() {
    let fixture = Fixture::start().await;
    let mut texts = Vec::new();
    for (user, password) in [("alice", "wrong"), ("alice", "token-bob"), ("", "token-bob")] {
        let mut client = fixture.stranger();
        texts.push(client.handshake(user, password).await.unwrap_err().to_string());
        assert!(client.token().is_none());
    }
    assert!(texts.iter().all(|text| text == &texts[0]), "{texts:?}");
}

#[tokio::test]
async fn a_handshake_with_bearer_or_with_the_older_message_is_accepted() {
    let fixture = Fixture::start().await;
    let mut bare = fixture.stranger().into_inner();
    let mut bearer = Request::new(stream::iter([HandshakeRequest::default()]));
    bearer.metadata_mut().insert("authorization", "Bearer token-bob".parse().unwrap());
    let answer = bare.handshake(bearer).await.unwrap();
    assert!(answer.metadata().contains_key("set-cookie"));

    let login = BasicAuth { username: "bob".to_owned(), password: "token-bob".to_owned() };
    let message = HandshakeRequest { protocol_version: 0, payload: login.encode_to_vec().into() };
    let answer = bare.handshake(Request::new(stream::iter([message]))).await.unwrap();
    let messages = answer.into_inner().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].payload, "token-bob");
}

#[tokio::test]
async fn calls_without_a_good_token_are_refused() {
    let fixture = Fixture::start().await;
    for header in [None, Some("Bearer None"), Some("Bearer token-mallory"), Some("Basic YTpi")] {
        let mut client = fixture.stranger();
        header.into_iter().for_each(|header| client.set_header("authorization", header));
        let refused = client.execute("SELECT 1".to_owned(), None).await.map_err(error).unwrap_err();
        assert_eq!(refused.code, Code::Unauthenticated, "{header:?}");
    }
}

#[tokio::test]
async fn set_is_seen_by_the_next_statement_on_every_path() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    assert_eq!(purpose_seen(&fixture, &mut client).await, None);
    query(&mut client, "SET purpose = 'study'").await.unwrap();
    assert_eq!(purpose_seen(&fixture, &mut client).await.as_deref(), Some("study"));
    client.execute_update("SET purpose = 'care'".to_owned(), None).await.unwrap();
    assert_eq!(purpose_seen(&fixture, &mut client).await.as_deref(), Some("care"));
    let mut statement = client.prepare("RESET purpose".to_owned(), None).await.unwrap();
    statement.execute_update().await.unwrap();
    assert_eq!(purpose_seen(&fixture, &mut client).await, None);
}

#[tokio::test]
async fn a_statement_keeps_the_settings_it_was_handed_in_with() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    set(&mut client, &[("purpose", text("study"))]).await;
    let info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    set(&mut client, &[("purpose", text("care"))]).await;
    super::fixture::fetch(&mut client, info).await.unwrap();
    assert_eq!(fixture.engine.runs.lock().unwrap().last().unwrap().1.as_deref(), Some("study"));
}

#[tokio::test]
async fn options_are_set_and_refused_one_by_one() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let number = SessionOptionValue { value: Some(OptionValue::Int64(1)) };
    let long = text(&"x".repeat(300));
    let options = [
        ("purpose", text("study")),
        ("colour", text("red")),
        ("catalog", number),
        ("schema", long),
        ("placement", text("nowhere")),
        ("agreement", text("gone")),
    ];
    let errors = set(&mut client, &options).await;
    let expected = [
        ("colour", OptionErrorKind::InvalidName),
        ("catalog", OptionErrorKind::InvalidValue),
        ("schema", OptionErrorKind::InvalidValue),
        // What SET would refuse, too.
        ("placement", OptionErrorKind::InvalidValue),
        ("agreement", OptionErrorKind::InvalidValue),
    ];
    assert_eq!(errors, expected.map(|(name, kind)| (name.to_owned(), kind)).into());
    assert_eq!(get(&mut client).await, HashMap::from([("purpose".to_owned(), text("study"))]));
    assert!(set(&mut client, &[("purpose", SessionOptionValue { value: None })]).await.is_empty());
    assert!(get(&mut client).await.is_empty());
    assert!(set(&mut client, &[("catalog", text("gone"))]).await.is_empty(), "no query depends on it");
}

#[tokio::test]
async fn a_value_that_is_too_long_for_an_option_is_too_long_for_set() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let refused = query(&mut client, &format!("SET schema = '{}'", "x".repeat(300))).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(get(&mut client).await.is_empty());
}

#[tokio::test]
async fn another_cookie_or_user_is_another_session() {
    let fixture = Fixture::start().await;
    let with_cookie = |user: &str, cookie: &str| {
        let mut client = fixture.client(user);
        client.set_header("cookie", format!("other=1; arrow_flight_session_id={cookie}"));
        client
    };
    let mut first = with_cookie("alice", "one");
    set(&mut first, &[("purpose", text("study"))]).await;
    assert_eq!(get(&mut first).await.len(), 1);
    for mut other in [with_cookie("alice", "two"), fixture.client("alice"), with_cookie("bob", "one")] {
        assert!(get(&mut other).await.is_empty());
    }
}

#[tokio::test]
async fn closing_a_session_forgets_its_options() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    set(&mut client, &[("purpose", text("study"))]).await;
    let result: CloseSessionResult = act(&mut client, "CloseSession", &()).await.unwrap();
    assert_eq!(result.status(), CloseStatus::Closed);
    assert!(get(&mut client).await.is_empty());
}

#[tokio::test]
async fn transactions_and_unknown_actions_are_refused_clearly() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client("alice");
    let begun = client.begin_transaction().await.map_err(error).unwrap_err();
    assert_eq!(begun.code, Code::Unsupported);
    let unknown: Result<(), ServiceError> = act(&mut client, "Dance", &()).await;
    assert_eq!(unknown.unwrap_err().code, Code::Unsupported);
    let inside = client.execute("SELECT 1".to_owned(), Some("t".into())).await.map_err(error).unwrap_err();
    assert_eq!(inside.code, Code::Unsupported);
}
