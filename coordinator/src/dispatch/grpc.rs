//! A site over gRPC with mutual TLS. The site must show a certificate for `<place>.dynamos`, so a permit cannot be
//! delivered to the wrong place by a wrong URI.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::status::{CODE_KEY, Code, ServiceError};
use dynamos_proto::v1;
use dynamos_proto::v1::site_client::SiteClient;
use tokio::time::timeout;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Response, Status};

use super::channel::{Begun, SiteChannel, SiteConnector};

/// A site that does not accept a permit within this time is unavailable.
const SUBMIT_MAX: Duration = Duration::from_secs(4);
/// Shorter than [`SUBMIT_MAX`], so that a dead address is told from a slow site.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long a site may take to acknowledge a cancellation; nobody waits for it.
const CANCEL_MAX: Duration = Duration::from_secs(4);
/// How long the end of a result may be held up by a report.
const REPORT_MAX: Duration = Duration::from_secs(2);
/// How long a steward may take to decide a change of agreements.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// The largest message that is read from a site, bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The coordinator's identity and whom it trusts; PEM.
#[derive(Clone)]
pub struct MutualTls {
    /// Certificate chain.
    pub cert: Vec<u8>,
    /// Private key.
    pub key: Vec<u8>,
    /// Certificates of the authority.
    pub ca: Vec<u8>,
}

/// Makes [`GrpcChannel`]s.
pub struct GrpcConnector {
    tls: MutualTls,
}

impl GrpcConnector {
    /// A connector with this identity.
    pub fn new(tls: MutualTls) -> Self {
        Self { tls }
    }
}

impl SiteConnector for GrpcConnector {
    fn connect(&self, site: &SiteId, uri: &str) -> Result<Arc<dyn SiteChannel>, ServiceError> {
        Ok(Arc::new(GrpcChannel::new(site.clone(), uri, &self.tls)?))
    }
}

/// A site over the network.
pub struct GrpcChannel {
    site: SiteId,
    client: SiteClient<Channel>,
}

impl GrpcChannel {
    /// A channel that connects when it is first used. Must be called from within a runtime.
    pub fn new(site: SiteId, uri: &str, tls: &MutualTls) -> Result<Self, ServiceError> {
        let unusable = |why: &dyn std::fmt::Display| {
            ServiceError::new(
                Code::SiteUnavailable,
                format!("site `{site}` announces `{uri}`, which cannot be used: {why}"),
            )
        };
        let secure = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&tls.ca))
            .identity(Identity::from_pem(&tls.cert, &tls.key))
            .domain_name(format!("{site}.dynamos"));
        let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|error| unusable(&error))?;
        if endpoint.uri().scheme_str() != Some("https") {
            return Err(unusable(&"it does not begin with `https://`"));
        }
        let endpoint = endpoint.tls_config(secure).map_err(|error| unusable(&error))?;
        let channel = endpoint
            .connect_timeout(CONNECT_MAX)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .connect_lazy();
        let client = SiteClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { site, client })
    }

    async fn call<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ServiceError> {
        match timeout(limit, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(&status)),
            Err(_) => Err(self.unavailable(format!("did not answer within {} s", limit.as_secs()))),
        }
    }

    /// What a site says about itself carries a code of ours; anything else is the network's.
    fn failure(&self, status: &Status) -> ServiceError {
        if status.metadata().contains_key(CODE_KEY) {
            let error = ServiceError::from_status(status);
            return ServiceError { message: format!("site `{}`: {}", self.site, error.message), ..error };
        }
        match status.code() {
            tonic::Code::Unimplemented => {
                ServiceError::new(Code::Internal, format!("site `{}` speaks another version", self.site))
                    .with_hint("run the same version everywhere")
            }
            _ => self.unavailable("cannot be reached".to_owned()),
        }
    }

    fn unavailable(&self, what: String) -> ServiceError {
        ServiceError::new(Code::SiteUnavailable, format!("site `{}` {what}", self.site))
            .with_hint("try again when the site is back")
    }
}

#[async_trait]
impl SiteChannel for GrpcChannel {
    async fn submit(&self, permit: v1::Permit) -> Result<(), ServiceError> {
        let request = v1::SubmitRequest { permit: Some(permit) };
        self.call(SUBMIT_MAX, self.client.clone().submit(request)).await.map(|_| ())
    }

    async fn cancel(&self, query: &QueryId, attempt: u32, begun: Begun) {
        let not_begun = begun == Begun::Nowhere;
        let request = v1::CancelRequest { query_id: query.to_string(), not_begun, attempt };
        if let Err(error) = self.call(CANCEL_MAX, self.client.clone().cancel(request)).await {
            tracing::info!(site_id = %self.site, query_id = %query, code = %error.code, "cancellation did not arrive");
        }
    }

    async fn report(&self, query: &QueryId) -> Result<Vec<v1::FragmentReport>, ServiceError> {
        let request = v1::ReportRequest { query_id: query.to_string() };
        self.call(REPORT_MAX, self.client.clone().report(request)).await.map(|reply| reply.fragments)
    }

    async fn change_agreement(&self, statement: &str, token: &str) -> Result<Vec<v1::SignedAgreement>, ServiceError> {
        let request = v1::ChangeAgreementRequest { statement: statement.to_owned(), token: token.to_owned() };
        self.call(CHANGE_MAX, self.client.clone().change_agreement(request)).await.map(|reply| reply.agreements)
    }
}
