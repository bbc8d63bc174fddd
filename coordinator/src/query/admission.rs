//! [`Admission`]: how many queries run at one time, and how many wait. When both are full a query is refused at once
//! rather than kept waiting without hope.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dynamos_proto::status::{Code, ServiceError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The gate before planning.
pub(super) struct Admission {
    slots: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    queue_max: usize,
}

/// A place in the queue, left when dropped.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    pub(super) fn new(concurrent: usize, queue_max: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(concurrent)), waiting: Arc::default(), queue_max }
    }

    /// How many more may run now.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.slots.available_permits()
    }

    /// A slot to run in, given back when dropped. Waits in the queue, but not beyond the query's deadline.
    pub(super) async fn enter(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, ServiceError> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(slot);
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(Arc::clone(&self.waiting));
        if before >= self.queue_max {
            return Err(ServiceError::new(Code::ResourceExhausted, format!("{before} queries are waiting already"))
                .with_hint("wait a moment and run the query again"));
        }
        match timeout_at(deadline, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(ServiceError::new(Code::Cancelled, "the coordinator is shutting down")),
            Err(_) => {
                Err(ServiceError::new(Code::DeadlineExceeded, "the query waited for its turn until its time was up")
                    .with_hint("run it again when fewer queries run"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_freed_slot_admits() {
        let admission = Admission::new(1, 1);
        let deadline = Instant::now() + Duration::from_secs(60);
        let running = admission.enter(deadline).await.unwrap();
        let mut second = Box::pin(admission.enter(deadline));
        assert!(poll!(second.as_mut()).is_pending());
        assert_eq!(admission.enter(deadline).await.unwrap_err().code, Code::ResourceExhausted);
        drop(running);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn waiting_ends_with_the_deadline_and_leaves_the_queue() {
        let admission = Admission::new(1, 1);
        let _running = admission.enter(Instant::now()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(admission.enter(Instant::now()).await.unwrap_err().code, Code::DeadlineExceeded);
        }
    }
}
