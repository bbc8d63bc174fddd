//! Work that outlives the call that caused it: giving rows to whoever asks for them, telling sites to stop after a client has
//! gone, and computations that must not hold up a network thread. All of it is owned and waited for at shutdown.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns the tasks that are on their own.
#[derive(Clone)]
pub(crate) struct Background {
    tasks: TaskTracker,
    runtime: Handle,
    stopping: CancellationToken,
}

impl Background {
    /// A set of tasks on the current runtime. Must be called from within one.
    pub(crate) fn new() -> Self {
        Self { tasks: TaskTracker::new(), runtime: Handle::current(), stopping: CancellationToken::new() }
    }

    /// Starts a task. Works outside a runtime, too, so that `Drop` may call it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Fires when tasks that wait for somebody are to end.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Tells tasks that wait for somebody to end, and waits until every task has, but not longer than `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "background tasks are abandoned at shutdown");
        }
    }
}

/// Runs a computation on a thread that may block. None if it panicked.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let mut tasks = JoinSet::new();
    tasks.spawn_blocking(work);
    tasks.join_next().await?.ok()
}
