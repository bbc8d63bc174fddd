//! How a place stays known to the coordinator: it announces itself, again after each change of its agreements and when the
//! coordinator has forgotten it, and sends heartbeats in between.

use std::time::Duration;

use dynamos_proto::ids::SiteId;
use dynamos_proto::status::ServiceError;
use dynamos_proto::v1;
use dynamos_proto::v1::registry_client::RegistryClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::config::{PlaceKind, SiteConfig};
use crate::exchange::endpoint_error;
use crate::executor::Executor;

/// Waiting time after the first failure; doubled after each further one.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// No heartbeat is sent more often, whatever the coordinator asks for.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
/// A coordinator that does not answer within this time is taken to be away.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Keeps a place registered until `closing`.
pub(crate) struct Registration {
    pub(crate) executor: Executor,
    pub(crate) config: SiteConfig,
    /// Where others reach the place.
    pub(crate) uri: String,
    pub(crate) closing: CancellationToken,
}

/// What comes next after a call that went well.
enum Next {
    Heartbeat,
    Register,
}

impl Registration {
    /// Runs until the place closes.
    pub(crate) async fn run(self) {
        let closing = self.closing.clone();
        closing.run_until_cancelled(self.keep_registered()).await;
    }

    async fn keep_registered(&self) {
        let mut retry = RETRY_FIRST;
        loop {
            match self.register_and_beat(&mut retry).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, retry_ms = retry.as_millis(), "not registered");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Registers, then sends heartbeats until the place has to register again.
    async fn register_and_beat(&self, retry: &mut Duration) -> Result<(), ServiceError> {
        let coordinator = SiteId::coordinator();
        let channel = self.executor.place().channels.to(&coordinator, &self.config.coordinator.uri);
        let channel = channel.map_err(|error| endpoint_error(&coordinator, &error))?;
        let mut client = RegistryClient::new(channel);
        let call = within(client.register(self.announcement())).await?;
        let every = Duration::from_millis(u64::from(call.heartbeat_ms)).max(HEARTBEAT_MIN);
        tracing::info!(catalog_version = call.catalog_version, "registered");
        *retry = RETRY_FIRST;
        loop {
            match self.next(&mut client, every).await? {
                Next::Heartbeat => {}
                Next::Register => return Ok(()),
            }
        }
    }

    async fn next(&self, client: &mut RegistryClient<Channel>, every: Duration) -> Result<Next, ServiceError> {
        tokio::select! {
            () = self.executor.place().agreements_changed.notified() => Ok(Next::Register),
            () = tokio::time::sleep(every) => {
                let beat = v1::HeartbeatRequest { site: self.config.site.name.to_string() };
                let again = within(client.heartbeat(beat)).await?.register_again;
                Ok(if again { Next::Register } else { Next::Heartbeat })
            }
        }
    }

    fn announcement(&self) -> v1::Announcement {
        let (tables, agreements) = self.executor.publication();
        let site = &self.config.site;
        v1::Announcement {
            site: site.name.to_string(),
            uri: self.uri.clone(),
            kind: match site.kind {
                PlaceKind::Steward => "steward".to_owned(),
                PlaceKind::Provider => "provider".to_owned(),
                PlaceKind::Coordinator => "coordinator".to_owned(),
            },
            roles: site.roles.clone(),
            region: site.regions.join(","),
            tables,
            agreements,
        }
    }
}

async fn within<T>(call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, ServiceError> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, call).await;
    let answer = answer.unwrap_or_else(|_| Err(tonic::Status::unavailable("the coordinator does not answer")));
    answer.map(tonic::Response::into_inner).map_err(|status| ServiceError::from_status(&status))
}
