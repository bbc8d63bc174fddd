//! The threads that queries compute on, apart from those that serve the network: a long computation must not delay a
//! heartbeat, a cancellation or another query's rows.

use std::future::Future;

use dynamos_proto::status::{Code, ServiceError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

/// Plans are trees that the engine walks by recursion; reading and optimising one needs more than a usual stack.
const STACK_BYTES: usize = 16 << 20;

/// After so many turns of its tasks, some 10 ms each, a thread looks for what comes from outside: cancellations, and the
/// ends of deadlines. The runtime's own choice of 61 would make that more than half a second.
const TURNS_BETWEEN_EVENTS: u32 = 2;

/// A thread pool for the engine.
#[derive(Debug)]
pub(crate) struct CpuPool {
    // Only empty while being dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl CpuPool {
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("engine")
            .thread_stack_size(STACK_BYTES)
            .global_queue_interval(TURNS_BETWEEN_EVENTS)
            .event_interval(TURNS_BETWEEN_EVENTS)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    /// Starts a computation that ends, at the latest, when the returned set is dropped.
    pub(crate) fn start(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn_on(work, &self.handle);
        tasks
    }

    /// Runs a short computation to its end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let mut tasks = JoinSet::new();
        tasks.spawn_blocking_on(work, &self.handle);
        match tasks.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(ServiceError::new(Code::Internal, "a computation ended without a result")),
        }
    }
}

impl Drop for CpuPool {
    fn drop(&mut self) {
        // Waiting for the threads would block whoever drops this, often a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
