//! A running door for a test: server, clock and clients. The server dies with the fixture.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::sql::ProstMessageExt;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, FlightDescriptor, FlightInfo};
use dynamos_proto::status::{Code, ServiceError};
use futures::TryStreamExt;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};

use super::fake_engine::FakeEngine;
use crate::frontend::door::Door;
use crate::frontend::{Clock, Engine, FlightSqlFrontend, SigningKey};

pub(super) type Client = FlightSqlServiceClient<Channel>;

/// A clock that only tests move.
#[derive(Default)]
pub(in crate::frontend) struct ManualClock {
    now_ms: AtomicU64,
}

impl ManualClock {
    pub(in crate::frontend) fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst))
    }
}

pub(super) struct Fixture {
    pub(super) engine: Arc<FakeEngine>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) door: Arc<Door>,
    channel: Channel,
    _server: JoinSet<()>,
}

impl Fixture {
    pub(super) async fn start() -> Self {
        Self::start_with_secret(1).await
    }

    pub(super) async fn start_with_secret(secret: u8) -> Self {
        let engine = Arc::new(FakeEngine::new());
        let clock = Arc::new(ManualClock::default());
        let key = SigningKey::from_secret(&[secret; 32]).unwrap();
        let door = Door::new(Arc::clone(&engine) as Arc<dyn Engine>, &key, Arc::clone(&clock) as Arc<dyn Clock>);
        let door = Arc::new(door);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = FlightSqlFrontend::for_test(Arc::clone(&door));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { engine, clock, door, channel, _server: server }
    }

    /// A client that has not logged in.
    pub(super) fn stranger(&self) -> Client {
        Client::new(self.channel.clone())
    }

    /// A client with a user's token.
    pub(super) fn client(&self, user: &str) -> Client {
        let mut client = self.stranger();
        client.set_token(format!("token-{user}"));
        client
    }
}

/// Everything that the endpoints of a flight info give, with the schema checked to be the promised one.
pub(super) async fn fetch(client: &mut Client, info: FlightInfo) -> Result<RecordBatch, ServiceError> {
    let promised = Arc::new(info.clone().try_decode_schema().unwrap());
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        assert!(endpoint.location.is_empty());
        let mut stream = client.do_get(endpoint.ticket.unwrap()).await.map_err(error)?;
        while let Some(batch) = stream.try_next().await.map_err(error)? {
            batches.push(batch);
        }
        assert_eq!(stream.schema(), Some(&promised));
    }
    Ok(arrow::compute::concat_batches(&promised, &batches).unwrap())
}

/// Runs a query and fetches its rows.
pub(super) async fn query(client: &mut Client, sql: &str) -> Result<RecordBatch, ServiceError> {
    let info = client.execute(sql.to_owned(), None).await.map_err(error)?;
    fetch(client, info).await
}

/// A batch as text.
pub(super) fn pretty(batch: &RecordBatch) -> String {
    arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string()
}

/// The service's error inside the client's.
pub(super) fn error(error: arrow_flight::error::FlightError) -> ServiceError {
    match error {
        arrow_flight::error::FlightError::Tonic(status) => {
            // As clients show it that know nothing of advice.
            ServiceError { message: status.message().to_owned(), ..ServiceError::from_status(&status) }
        }
        other => ServiceError::new(Code::Internal, format!("unexpected: {other}")),
    }
}

/// Asserts that a bare call failed with a code.
pub(super) fn assert_code<T>(result: Result<T, Status>, code: Code) {
    let status = result.err().unwrap();
    assert_eq!(ServiceError::from_status(&status).code, code, "{status}");
}

/// A request of a bare client with a user's token.
pub(super) fn request<T>(user: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer token-{user}").parse().unwrap());
    request
}

/// A descriptor for a command.
pub(super) fn descriptor(command: &impl ProstMessageExt) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

/// Does an action with a bare body and decodes its only result.
pub(super) async fn act<R: Message + Default>(
    client: &mut Client,
    name: &str,
    body: &impl Message,
) -> Result<R, ServiceError> {
    let action = Action::new(name, body.encode_to_vec());
    let results = client.do_action(action).await.map_err(error)?.try_collect::<Vec<_>>().await;
    let results = results.map_err(|status| ServiceError::from_status(&status))?;
    assert_eq!(results.len(), 1);
    Ok(R::decode(results[0].body.clone()).unwrap())
}
