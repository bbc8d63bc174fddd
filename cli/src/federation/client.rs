//! A Flight SQL client of a federation, as any other client would connect: TLS, a user's token, SQL.

use std::time::{Duration, Instant};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::layout::{Layout, User};

/// A connection.
pub type Client = FlightSqlServiceClient<Channel>;

/// Sites have this long to start and to register.
const START_MAX: Duration = Duration::from_secs(60);
/// How often it is asked whether all sites have registered.
const START_CHECK: Duration = Duration::from_millis(100);

/// A connection with purpose and placement set, once the sites that the question needs have registered.
pub async fn ready(layout: &Layout, user: &User, placement: &str, sql: &str) -> anyhow::Result<Client> {
    let deadline = Instant::now() + START_MAX;
    loop {
        let tried = async {
            let mut client = connect(layout, user).await?;
            if let Some(purpose) = user.purposes.first() {
                query(&mut client, &format!("SET dynamos.purpose = '{purpose}'")).await?;
            }
            query(&mut client, &format!("SET dynamos.placement = '{placement}'")).await?;
            query(&mut client, &format!("EXPLAIN {sql}")).await?;
            anyhow::Ok(client)
        };
        match tried.await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => return Err(error).context("the federation does not come up"),
            Err(_) => tokio::time::sleep(START_CHECK).await,
        }
    }
}

/// A Flight SQL connection of a user.
pub async fn connect(layout: &Layout, user: &User) -> anyhow::Result<Client> {
    let authority = Certificate::from_pem(std::fs::read(layout.ca_file())?);
    let tls = ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", layout.clients))?.tls_config(tls)?;
    let mut client = FlightSqlServiceClient::new(endpoint.connect().await?);
    client.set_token(user.token.clone());
    Ok(client)
}

/// Runs a statement and gives all its rows.
pub async fn query(client: &mut Client, sql: &str) -> anyhow::Result<Vec<RecordBatch>> {
    let info = client.execute(sql.to_owned(), None).await?;
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        let ticket = endpoint.ticket.context("an endpoint without a ticket")?;
        let stream = client.do_get(ticket).await?;
        batches.extend(stream.try_collect::<Vec<_>>().await?);
    }
    Ok(batches)
}
