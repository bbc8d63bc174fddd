//! The registry as sites call it: gRPC over mTLS. Finds out who calls and hands over to [`Members`].

use std::sync::Arc;

use dynamos_proto::v1;
use dynamos_proto::v1::registry_server::Registry as RegistryRpc;
use tonic::{Request, Response, Status};

use super::identity::caller;
use super::members::Members;
use super::places::{HEARTBEAT, Registration};

/// The gRPC face of [`Members`].
pub struct RegistryService {
    members: Arc<Members>,
}

impl RegistryService {
    /// The service of these members.
    pub fn new(members: Arc<Members>) -> Self {
        Self { members }
    }
}

#[tonic::async_trait]
impl RegistryRpc for RegistryService {
    async fn register(&self, request: Request<v1::Announcement>) -> Result<Response<v1::RegisterReply>, Status> {
        let caller = caller(&request)?;
        let catalog_version = self.members.register(&caller, request.get_ref()).await.inspect_err(|error| {
            tracing::warn!(site_id = %caller, code = %error.code, reason = %error.message, "registration refused");
        })?;
        let heartbeat_ms = u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX);
        Ok(Response::new(v1::RegisterReply { catalog_version, heartbeat_ms }))
    }

    async fn heartbeat(&self, request: Request<v1::HeartbeatRequest>) -> Result<Response<v1::HeartbeatReply>, Status> {
        let caller = caller(&request)?;
        let registration = self.members.heartbeat(&caller, &request.get_ref().site)?;
        Ok(Response::new(v1::HeartbeatReply { register_again: registration == Registration::Missing }))
    }
}
