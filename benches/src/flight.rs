//! How fast rows get from a site through the coordinator to a client, against a plain Flight server of the same crate that
//! sends the same rows from memory, with and without TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightClient, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use dynamos_cli::federation::{Federation, Layout, Processes, ready};
use dynamos_tests::tpch::{Split, TableRows, USER, design};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::figures::{Times, say};

const COLUMNS: usize = 8;
const BATCH_ROWS: usize = 65_536;
const BATCHES: usize = 64;
const MIB: f64 = (COLUMNS * BATCH_ROWS * BATCHES * 8) as f64 / (1 << 20) as f64;

/// Runs the measurement.
pub async fn run(rounds: usize) -> anyhow::Result<()> {
    say(&format!("flight: {MIB:.0} MiB of {COLUMNS} columns of 64-bit integers over loopback; {rounds} rounds"))?;
    let batches = batches()?;
    let folder = tempfile::tempdir()?;
    let rows = TableRows {
        name: "numbers",
        schema: batches.first().map(RecordBatch::schema).unwrap_or_else(|| Arc::new(Schema::empty())),
        batches: batches.clone(),
    };
    let layout = Layout::write(folder.path(), &design(folder.path(), &[rows], Split::Whole)?, 0)?;
    let federation = Federation::start(&layout, Processes::One).await?;
    let mut servers = JoinSet::new();
    let plain = serve(&mut servers, batches.clone(), None).await?;
    let tls = serve(&mut servers, batches, Some(&folder.path().join("a"))).await?;
    let sql = "SELECT * FROM c.tpch.numbers";
    let mut client = ready(&layout, layout.user(USER)?, "auto", sql).await?;
    let (mut without, mut with, mut ours) = (Times::default(), Times::default(), Times::default());
    for round in 0..=rounds {
        let one = fetch(plain, None).await?;
        let two = fetch(tls, Some(&folder.path().join("ca.pem"))).await?;
        let began = Instant::now();
        let mut count = 0;
        for endpoint in client.execute(sql.to_owned(), None).await?.endpoint {
            let ticket = endpoint.ticket.unwrap_or_default();
            let mut stream = client.do_get(ticket).await?;
            while let Some(batch) = stream.try_next().await? {
                count += batch.num_rows();
            }
        }
        anyhow::ensure!(count == BATCHES * BATCH_ROWS, "{count} rows came");
        if round > 0 {
            without.push(one);
            with.push(two);
            ours.push(began.elapsed());
        }
    }
    let rate = |times: &Times| MIB / (times.median_ms() / 1e3);
    say(&format!("  plain Flight server: {:.0} MiB/s; with TLS {:.0} MiB/s", rate(&without), rate(&with)))?;
    say(&format!(
        "  site, coordinator, client, TLS twice, from Parquet: {:.0} MiB/s, {:.2} of the plain server with TLS",
        rate(&ours),
        rate(&ours) / rate(&with)
    ))?;
    servers.shutdown().await;
    federation.stop().await
}

fn batches() -> anyhow::Result<Vec<RecordBatch>> {
    let fields: Vec<Field> =
        (0..COLUMNS).map(|column| Field::new(format!("c{column}"), DataType::Int64, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut next = 0_i64;
    let mut batches = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let columns = (0..COLUMNS).map(|column| {
            let values = (0..BATCH_ROWS as i64).map(|row| (next + row).wrapping_mul(0x9e37_79b9 + column as i64));
            Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
        });
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns.collect())?);
        next += BATCH_ROWS as i64;
    }
    Ok(batches)
}

async fn serve(
    servers: &mut JoinSet<()>,
    batches: Vec<RecordBatch>,
    place: Option<&Path>,
) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut server = Server::builder();
    if let Some(place) = place {
        let identity =
            Identity::from_pem(std::fs::read(place.join("cert.pem"))?, std::fs::read(place.join("key.pem"))?);
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    let serving = server.add_service(FlightServiceServer::new(Plain(batches)));
    let serving = serving.serve_with_incoming(TcpListenerStream::new(listener));
    servers.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the plain server failed");
        }
    });
    Ok(address)
}

/// Reads everything; gives the time.
async fn fetch(server: SocketAddr, authority: Option<&Path>) -> anyhow::Result<Duration> {
    let scheme = if authority.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{server}"))?;
    if let Some(authority) = authority {
        let authority = Certificate::from_pem(std::fs::read(authority)?);
        endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost"))?;
    }
    let inner = FlightServiceClient::new(endpoint.connect().await?).max_decoding_message_size(64 << 20);
    let mut client = FlightClient::new_from_inner(inner);
    let began = Instant::now();
    let mut rows = client.do_get(Ticket::new("all")).await?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        count += batch?.num_rows();
    }
    anyhow::ensure!(count == BATCHES * BATCH_ROWS, "{count} rows came");
    Ok(began.elapsed())
}

/// A server that only sends its rows.
struct Plain(Vec<RecordBatch>);

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait::async_trait]
impl FlightService for Plain {
    type HandshakeStream = Answer<HandshakeResponse>;
    type ListFlightsStream = Answer<FlightInfo>;
    type DoGetStream = Answer<FlightData>;
    type DoPutStream = Answer<PutResult>;
    type DoExchangeStream = Answer<FlightData>;
    type DoActionStream = Answer<arrow_flight::Result>;
    type ListActionsStream = Answer<ActionType>;

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let rows = futures::stream::iter(self.0.clone().into_iter().map(Ok::<_, FlightError>));
        let encoded = FlightDataEncoderBuilder::new().build(rows).map_err(Status::from);
        Ok(Response::new(encoded.boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(only_rows())
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(only_rows())
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        Err(only_rows())
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(only_rows())
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        Err(only_rows())
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        Err(only_rows())
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(only_rows())
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        Err(only_rows())
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(only_rows())
    }
}

fn only_rows() -> Status {
    Status::unimplemented("this server only sends its rows")
}
