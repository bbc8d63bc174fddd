//! The session with one server: connect, log in, send requests, read results. Prints nothing and decides nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::CommandGetTables;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{FlightEndpoint, FlightInfo, HandshakeRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::TryStreamExt;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::cookies::CookieChannel;
use super::error::ShellError;
use super::target::{Credentials, Secret, ServerUri, Target, Transport};

/// Largest message accepted, bytes. Servers keep theirs to 16 MiB; a larger one than this fails the query.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to ask whether the server is still there while a query runs.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// The location that means "the connection that you already have".
const REUSE_CONNECTION: &str = "arrow-flight-reuse-connection://";

type SqlClient = FlightSqlServiceClient<CookieChannel>;

/// What can be asked of a server.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Run a statement.
    Statement(String),
    /// List tables.
    Tables(CommandGetTables),
    /// List catalogs: the sites, and the federation itself.
    Catalogs,
}

/// A logged-in connection.
#[derive(Clone, Debug)]
pub(super) struct Client {
    sql: SqlClient,
    server: ServerUri,
    ca: Option<Certificate>,
}

impl Client {
    /// Connects and logs in.
    pub(super) async fn connect(target: &Target) -> Result<Self, ShellError> {
        let ca = target.ca_pem.as_ref().map(Certificate::from_pem);
        let sql = open(&target.server, ca.as_ref()).await?;
        let mut client = Self { sql, server: target.server.clone(), ca };
        match &target.credentials {
            Credentials::Anonymous => {}
            Credentials::Bearer(token) => client.sql.set_token(token.reveal().to_owned()),
            Credentials::Basic { user, token } => client.log_in(user, token).await?,
        }
        Ok(client)
    }

    /// Sends a request; the result is read from what this returns.
    pub(super) async fn ask(&mut self, ask: Ask) -> Result<ResultStream, ShellError> {
        let info = match ask {
            Ask::Statement(sql) => self.sql.execute(sql, None).await?,
            Ask::Tables(command) => self.sql.get_tables(command).await?,
            Ask::Catalogs => self.sql.get_catalogs().await?,
        };
        ResultStream::new(self.clone(), info)
    }

    /// The handshake, by hand: [`FlightSqlServiceClient::handshake`] flattens the server's error into a string.
    async fn log_in(&mut self, user: &str, token: &Secret) -> Result<(), ShellError> {
        let basic = BASE64_STANDARD.encode(format!("{user}:{}", token.reveal()));
        let basic: AsciiMetadataValue = format!("Basic {basic}")
            .parse()
            .map_err(|_| ShellError::Usage("user and token do not fit in a header".to_owned()))?;
        let mut request = Request::new(futures::stream::iter([HandshakeRequest::default()]));
        request.metadata_mut().insert("authorization", basic);
        let response = self.sql.inner_mut().handshake(request).await?;
        let header = response.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let bearer = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        let _greeting: Vec<_> = response.into_inner().try_collect().await?;
        let bearer = bearer.ok_or_else(|| ShellError::Protocol("its handshake returned no bearer token".to_owned()))?;
        self.sql.set_token(bearer);
        Ok(())
    }

    /// The connection over which to fetch an endpoint: this one, unless the server names another place.
    async fn at(&self, endpoint: &FlightEndpoint) -> Result<SqlClient, ShellError> {
        let Some(location) = endpoint.location.first() else { return Ok(self.sql.clone()) };
        if location.uri.is_empty() || location.uri.starts_with(REUSE_CONNECTION) {
            return Ok(self.sql.clone());
        }
        let place: ServerUri = location.uri.parse()?;
        if place == self.server {
            return Ok(self.sql.clone());
        }
        // The bearer goes along, so the other place must be as well protected as this one.
        if self.server.transport == Transport::Tls && place.transport == Transport::Plain {
            return Err(ShellError::Protocol(format!("it sends a protected session to `{place}`, which has no TLS")));
        }
        let mut other = open(&place, self.ca.as_ref()).await?;
        if let Some(token) = self.sql.token() {
            other.set_token(token.clone());
        }
        Ok(other)
    }
}

async fn open(server: &ServerUri, ca: Option<&Certificate>) -> Result<SqlClient, ShellError> {
    let failed = |source| ShellError::Connect { uri: server.to_string(), source };
    let mut endpoint = Endpoint::from_shared(server.http()).map_err(failed)?;
    if server.transport == Transport::Tls {
        let tls = ca.into_iter().fold(ClientTlsConfig::new(), |tls, ca| tls.ca_certificate(ca.clone()));
        endpoint = endpoint.tls_config(tls).map_err(failed)?;
    }
    endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).http2_keep_alive_interval(KEEP_ALIVE_INTERVAL);
    let channel = endpoint.connect().await.map_err(failed)?;
    let flight = FlightServiceClient::new(CookieChannel::new(channel)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(FlightSqlServiceClient::new_from_inner(flight))
}

/// The batches of a result, endpoint by endpoint. Dropping it cancels the query at the server.
#[derive(Debug)]
pub(super) struct ResultStream {
    client: Client,
    announced: SchemaRef,
    waiting: VecDeque<FlightEndpoint>,
    current: Option<FlightRecordBatchStream>,
}

impl ResultStream {
    fn new(client: Client, info: FlightInfo) -> Result<Self, ShellError> {
        let waiting = info.endpoint.clone().into();
        let announced = if info.schema.is_empty() { Schema::empty() } else { info.try_decode_schema()? };
        Ok(Self { client, announced: Arc::new(announced), waiting, current: None })
    }

    /// The schema that the server announced; no columns if the statement has no result.
    pub(super) fn announced_schema(&self) -> SchemaRef {
        Arc::clone(&self.announced)
    }

    /// The next batch, or nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, ShellError> {
        loop {
            if let Some(stream) = &mut self.current {
                if let Some(batch) = stream.try_next().await? {
                    return Ok(Some(batch));
                }
                if let (true, Some(schema)) = (self.announced.fields().is_empty(), stream.schema()) {
                    self.announced = Arc::clone(schema);
                }
                self.current = None;
            }
            let Some(endpoint) = self.waiting.pop_front() else { return Ok(None) };
            let Some(ticket) = endpoint.ticket.clone() else {
                return Err(ShellError::Protocol("an endpoint has no ticket".to_owned()));
            };
            self.current = Some(self.client.at(&endpoint).await?.do_get(ticket).await?);
        }
    }
}
