//! A Flight SQL server for the shell's tests: a handful of canned statements behind a real handshake, so that the client
//! is tested over a socket. It speaks enough of the protocol to show whether sessions, errors and cancellation work.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetTables, CommandStatementQuery, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use dynamos_proto::status::{Code, ServiceError};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// The one token that opens a session.
pub(super) const TOKEN: &str = "right-token";
const BEARER: &str = "Bearer session-1";
const COOKIE: &str = "dynamos_session=c-1";

type FlightStream = <Canned as FlightService>::DoGetStream;

/// The running server and what it saw.
pub(super) struct TestServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the statements did.
    pub seen: Arc<Seen>,
    _task: JoinSet<()>,
}

/// What the server saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Statements in the order of execution.
    pub statements: Mutex<Vec<String>>,
    /// Purposes by bearer.
    purposes: Mutex<BTreeMap<String, String>>,
    /// Counts endless results that a client has dropped.
    pub dropped: watch::Sender<u64>,
    /// Counts endless results that have sent their first batch.
    pub started: watch::Sender<u64>,
}

impl TestServer {
    /// Starts it on a free loopback port, with TLS if there is an identity.
    pub(super) async fn start(identity: Option<Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let service = FlightServiceServer::new(Canned { seen: Arc::clone(&seen) });
        let mut builder = Server::builder();
        if let Some(identity) = identity {
            builder = builder.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let serving = builder.add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let mut task = JoinSet::new();
        task.spawn(async move { serving.await.unwrap() });
        Self { address, seen, _task: task }
    }
}

struct Canned {
    seen: Arc<Seen>,
}

enum Answer {
    Nothing,
    Batches(Vec<RecordBatch>),
    Endless(RecordBatch),
}

impl Canned {
    /// The session's bearer, if both the bearer and the cookie came back.
    fn session(metadata: &MetadataMap) -> Result<String, Status> {
        let text = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (bearer, cookie) = (text("authorization"), text("cookie"));
        if bearer == BEARER && cookie == COOKIE {
            return Ok(bearer);
        }
        Err(ServiceError::new(Code::Unauthenticated, format!("no session for `{bearer}`, `{cookie}`")).into())
    }

    fn answer(&self, sql: &str, session: &str) -> Result<Answer, Status> {
        let mut purposes = self.seen.purposes.lock().unwrap();
        match sql {
            "SELECT purpose" => {
                let purpose = purposes.get(session).map(String::as_str);
                Ok(Answer::Batches(vec![text_batch("purpose", vec![purpose])]))
            }
            "SELECT rows" => Ok(Answer::Batches(vec![numbers(&[1, 2]), numbers(&[30])])),
            "SELECT empty" => Ok(Answer::Batches(vec![numbers(&[])])),
            "SELECT forever" => Ok(Answer::Endless(numbers(&[1]))),
            "SHOW AGREEMENTS" => Ok(Answer::Batches(vec![text_batch("agreement", vec![Some("A-17")])])),
            "SELECT denied" => Err(ServiceError::new(Code::Denied, "A-17 §1: raw rows stay with `vu`")
                .with_hint("aggregate over at least 10 persons")
                .into()),
            other => match other.strip_prefix("SET dynamos.purpose = '") {
                Some(rest) => {
                    purposes.insert(session.to_owned(), rest.trim_end_matches('\'').to_owned());
                    Ok(Answer::Nothing)
                }
                None => Err(ServiceError::new(Code::Syntax, format!("cannot read `{other}`")).into()),
            },
        }
    }
}

fn numbers(values: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(values.to_vec())) as ArrayRef)]).unwrap()
}

fn text_batch(name: &str, values: Vec<Option<&str>>) -> RecordBatch {
    let array = Arc::new(StringArray::from(values)) as ArrayRef;
    RecordBatch::try_from_iter_with_nullable([(name, array, true)]).unwrap()
}

fn info(schema: &Schema, ticket: Vec<u8>) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    Ok(Response::new(FlightInfo::new().try_with_schema(schema).unwrap().with_endpoint(endpoint)))
}

fn encode(schema: SchemaRef, batches: BoxStream<'static, Result<RecordBatch, FlightError>>) -> Response<FlightStream> {
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    Response::new(Box::pin(data.map_err(Status::from)))
}

fn encode_batch(batch: RecordBatch) -> Response<FlightStream> {
    encode(batch.schema(), stream::iter([Ok(batch)]).boxed())
}

/// Tells the test that the client let go of the result.
struct DropFlag(watch::Sender<u64>);

impl Drop for DropFlag {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

fn tables(command: CommandGetTables) -> RecordBatch {
    let mut builder = command.into_builder();
    let money = Field::new("salary", DataType::Decimal128(10, 2), true);
    let typed = BTreeMap::from([("ARROW:FLIGHT:SQL:TYPE_NAME".to_owned(), "VARCHAR".to_owned())]);
    let name = Field::new("name", DataType::Utf8, false).with_metadata(typed.into_iter().collect());
    let columns = Schema::new(vec![name, money]);
    for (catalog, table) in [("uva", "person_nen"), ("uva", "personXnen"), ("vu", "person_nen")] {
        builder.append(catalog, "wages", table, "TABLE", &columns).unwrap();
    }
    builder.build().unwrap()
}

#[tonic::async_trait]
impl FlightSqlService for Canned {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>, Status> {
        let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("alice:{TOKEN}")));
        if request.metadata().get("authorization").is_none_or(|given| given != expected.as_str()) {
            let error = ServiceError::new(Code::Unauthenticated, "wrong user or token");
            return Err(error.with_hint("ask the federation for a new token").into());
        }
        let greeting = stream::iter([Ok(HandshakeResponse::default())]);
        let mut response = Response::new(greeting.boxed() as _);
        response.metadata_mut().insert("authorization", BEARER.parse().unwrap());
        response.metadata_mut().insert("set-cookie", format!("{COOKIE}; Path=/; HttpOnly").parse().unwrap());
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let session = Self::session(request.metadata())?;
        let schema = match self.answer(&query.query, &session)? {
            Answer::Nothing => Schema::empty(),
            Answer::Batches(batches) => batches[0].schema().as_ref().clone(),
            Answer::Endless(batch) => batch.schema().as_ref().clone(),
        };
        let ticket = TicketStatementQuery { statement_handle: query.query.into_bytes().into() };
        info(&schema, ticket.as_any().encode_to_vec())
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<FlightStream>, Status> {
        let session = Self::session(request.metadata())?;
        let sql = String::from_utf8(ticket.statement_handle.to_vec()).unwrap();
        self.seen.statements.lock().unwrap().push(sql.clone());
        Ok(match self.answer(&sql, &session)? {
            Answer::Nothing => encode(Arc::new(Schema::empty()), stream::empty().boxed()),
            Answer::Batches(batches) => encode(batches[0].schema(), stream::iter(batches).map(Ok).boxed()),
            Answer::Endless(batch) => {
                let flag = DropFlag(self.seen.dropped.clone());
                self.seen.started.send_modify(|count| *count += 1);
                let endless = stream::pending().map(move |never| {
                    let _keep = &flag;
                    never
                });
                encode(batch.schema(), stream::iter([Ok(batch)]).chain(endless).boxed())
            }
        })
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::session(request.metadata())?;
        info(&query.into_builder().schema(), query.as_any().encode_to_vec())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<Response<FlightStream>, Status> {
        Self::session(request.metadata())?;
        let mut builder = query.into_builder();
        builder.append("vu");
        builder.append("uva");
        Ok(encode_batch(builder.build().unwrap()))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::session(request.metadata())?;
        info(&tables(query.clone()).schema(), query.as_any().encode_to_vec())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<FlightStream>, Status> {
        Self::session(request.metadata())?;
        Ok(encode_batch(tables(query)))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
