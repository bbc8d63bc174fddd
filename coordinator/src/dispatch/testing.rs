//! Places that do what a test tells them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use futures::StreamExt;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::channel::{Begun, RootExecutor, SiteChannel, SiteConnector};

/// What the root gives, in order.
pub(crate) type RootItem = Result<RecordBatch, DataFusionError>;

/// A place that records what it is told.
pub(crate) struct FakePlace {
    pub(crate) permits: Mutex<Vec<v1::Permit>>,
    /// How often it was told to stop.
    pub(crate) cancelled: watch::Sender<usize>,
    /// What it was told with that.
    pub(crate) begun: Mutex<Vec<Begun>>,
    /// The attempts that it was told to stop.
    pub(crate) attempts_ended: Mutex<Vec<u32>>,
    /// A submission is answered when this is there; from the start unless a test takes it away.
    pub(crate) answers: Semaphore,
    /// What a submission gives.
    pub(crate) submit: Mutex<Result<(), ServiceError>>,
    pub(crate) reports: Mutex<Vec<v1::FragmentReport>>,
    pub(crate) changes: Mutex<Vec<v1::SignedAgreement>>,
    /// Why nothing changes, if nothing does.
    pub(crate) refuses: Mutex<Option<ServiceError>>,
    pub(crate) statements: Mutex<Vec<(String, String)>>,
    root: Mutex<Option<(SchemaRef, mpsc::UnboundedReceiver<RootItem>)>>,
}

impl FakePlace {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            permits: Mutex::default(),
            cancelled: watch::channel(0).0,
            begun: Mutex::default(),
            attempts_ended: Mutex::default(),
            answers: Semaphore::new(1),
            submit: Mutex::new(Ok(())),
            reports: Mutex::default(),
            changes: Mutex::default(),
            refuses: Mutex::default(),
            statements: Mutex::default(),
            root: Mutex::default(),
        })
    }

    /// Lets the next root give what is sent here; it ends when the sender is dropped.
    pub(crate) fn feed(&self, schema: SchemaRef) -> mpsc::UnboundedSender<RootItem> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.root.lock().unwrap() = Some((schema, receiver));
        sender
    }

    /// Waits until it was told to stop.
    pub(crate) async fn until_cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        let told = cancelled.wait_for(|times| *times > 0);
        let told = tokio::time::timeout(std::time::Duration::from_secs(5), told).await;
        assert!(told.is_ok(), "the place was never told to stop");
    }
}

#[async_trait]
impl SiteChannel for FakePlace {
    async fn submit(&self, permit: v1::Permit) -> Result<(), ServiceError> {
        self.permits.lock().unwrap().push(permit);
        drop(self.answers.acquire().await.unwrap());
        self.submit.lock().unwrap().clone()
    }

    async fn cancel(&self, _: &QueryId, attempt: u32, begun: Begun) {
        self.begun.lock().unwrap().push(begun);
        self.attempts_ended.lock().unwrap().push(attempt);
        self.cancelled.send_modify(|times| *times += 1);
    }

    async fn report(&self, _: &QueryId) -> Result<Vec<v1::FragmentReport>, ServiceError> {
        Ok(self.reports.lock().unwrap().clone())
    }

    async fn change_agreement(&self, statement: &str, token: &str) -> Result<Vec<v1::SignedAgreement>, ServiceError> {
        self.statements.lock().unwrap().push((statement.to_owned(), token.to_owned()));
        let refused = self.refuses.lock().unwrap().clone();
        refused.map_or_else(|| Ok(self.changes.lock().unwrap().clone()), Err)
    }
}

#[async_trait]
impl RootExecutor for FakePlace {
    async fn open_root(&self, _: &QueryId) -> Result<SendableRecordBatchStream, ServiceError> {
        let (schema, receiver) = self
            .root
            .lock()
            .unwrap()
            .take()
            .ok_or_else(|| ServiceError::new(Code::Internal, "the test feeds no rows"))?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, UnboundedReceiverStream::new(receiver).boxed())))
    }
}

/// Connects to fake places by name.
pub(crate) struct FakePlaces(pub(crate) BTreeMap<SiteId, Arc<FakePlace>>);

impl SiteConnector for FakePlaces {
    fn connect(&self, site: &SiteId, _: &str) -> Result<Arc<dyn SiteChannel>, ServiceError> {
        Ok(Arc::clone(&self.0[site]) as Arc<dyn SiteChannel>)
    }
}
