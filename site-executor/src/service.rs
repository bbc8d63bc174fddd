//! The control service of a place. Only the coordinator calls it; that what it asks for is allowed is decided elsewhere.

use async_trait::async_trait;
use dynamos_proto::ids::QueryId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use dynamos_proto::v1::site_server::Site;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::executor::Executor;
use crate::identity::caller;

/// A place's control service.
#[derive(Clone, Debug)]
pub(crate) struct ControlService {
    pub(crate) executor: Executor,
    /// Cancelled when the place takes no more queries.
    pub(crate) closing: CancellationToken,
}

/// The content of a request of the coordinator.
fn from_coordinator<T>(request: Request<T>) -> Result<T, ServiceError> {
    let caller = caller(&request)?;
    if caller.is_coordinator() {
        return Ok(request.into_inner());
    }
    tracing::warn!(%caller, "control request of a place that is not the coordinator");
    Err(ServiceError::new(Code::SiteRefused, format!("`{caller}` is not the coordinator")))
}

#[async_trait]
impl Site for ControlService {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitReply>, Status> {
        let permit = from_coordinator(request)?.permit;
        let permit = permit.ok_or_else(|| ServiceError::new(Code::InvalidArgument, "the request holds no permit"))?;
        if self.closing.is_cancelled() {
            return Err(ServiceError::new(Code::SiteUnavailable, "the site is shutting down").into());
        }
        self.executor
            .submit(permit)
            .await
            .inspect_err(|error| tracing::warn!(code = %error.code, %error, "refused"))?;
        Ok(Response::new(v1::SubmitReply {}))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::CancelReply>, Status> {
        self.executor.cancel(&from_coordinator(request)?).await;
        Ok(Response::new(v1::CancelReply {}))
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<v1::ReportReply>, Status> {
        let fragments = self.executor.report(&QueryId::new(from_coordinator(request)?.query_id));
        Ok(Response::new(v1::ReportReply { fragments }))
    }

    async fn change_agreement(
        &self,
        request: Request<v1::ChangeAgreementRequest>,
    ) -> Result<Response<v1::ChangeAgreementReply>, Status> {
        let v1::ChangeAgreementRequest { statement, token } = from_coordinator(request)?;
        if self.executor.simulates(statement.clone(), token.clone()).await? {
            return Ok(Response::new(v1::ChangeAgreementReply { agreements: Vec::new() }));
        }
        let changed = self.executor.change_agreement(statement, token).await?;
        Ok(Response::new(v1::ChangeAgreementReply { agreements: vec![changed] }))
    }
}
