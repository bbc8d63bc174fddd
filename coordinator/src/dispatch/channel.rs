//! The seam between the coordinator and a place: over gRPC to a site, in the process to the coordinator's own executor.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::status::ServiceError;
use dynamos_proto::v1;

/// Whether some place has begun to run its part of a query. None does before the first row of the answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// None has.
    Nowhere,
    /// Some may have.
    Somewhere,
}

/// A place, as the coordinator calls it. Every call ends within a few seconds.
#[async_trait]
pub trait SiteChannel: Send + Sync + 'static {
    /// Hands over the permit; the place checks it and begins.
    async fn submit(&self, permit: v1::Permit) -> Result<(), ServiceError>;

    /// Tells the place to stop, and whether the query had begun anywhere: what it was charged is only given back if it had
    /// not. Later attempts of the query go on. As good as can be done: a place that does not hear it stops when the permit
    /// expires.
    async fn cancel(&self, query: &QueryId, attempt: u32, begun: Begun);

    /// What the place tells of the fragments that it ran.
    async fn report(&self, query: &QueryId) -> Result<Vec<v1::FragmentReport>, ServiceError>;

    /// Asks a steward to change its agreements for the person whose token this is; gives what changed, signed.
    async fn change_agreement(&self, statement: &str, token: &str) -> Result<Vec<v1::SignedAgreement>, ServiceError>;
}

/// The executor of the place `coordinator`, which runs fragment 0.
#[async_trait]
pub trait RootExecutor: SiteChannel {
    /// The rows of fragment 0 of a query that was submitted.
    async fn open_root(&self, query: &QueryId) -> Result<SendableRecordBatchStream, ServiceError>;
}

/// Makes channels to sites.
pub trait SiteConnector: Send + Sync + 'static {
    /// A channel to the site that listens at `uri`; connects when it is first used.
    fn connect(&self, site: &SiteId, uri: &str) -> Result<Arc<dyn SiteChannel>, ServiceError>;
}
