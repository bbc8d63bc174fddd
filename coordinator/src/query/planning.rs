//! Planning off the network's threads, with limits on time and on how much of it happens at once. A plan that takes too
//! long is given up; its thread keeps its slot until it ends, so hopeless statements cannot pile up.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::ScalarValue;
use dynamos_proto::status::{Code, ServiceError};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::planner_door::{PlanRequest, PlannerDoor, Verdict};
use super::settings::check_agreement;
use crate::background::blocking;

/// Planning and describing at one time; more wait within their time limit.
const PARALLEL_MAX: usize = 8;

/// The planner with its limits.
#[derive(Clone)]
pub(super) struct Planning {
    door: Arc<dyn PlannerDoor>,
    slots: Arc<Semaphore>,
    time_max: Duration,
}

impl Planning {
    pub(super) fn new(door: Arc<dyn PlannerDoor>, time_max: Duration) -> Self {
        Self { door, slots: Arc::new(Semaphore::new(PARALLEL_MAX)), time_max }
    }

    /// The planner itself, for questions that take no time.
    pub(super) fn door(&self) -> &dyn PlannerDoor {
        self.door.as_ref()
    }

    /// Plans a query. The planner prefers the agreement that was named and takes another where that one does not do; one that
    /// there is not, or no longer is, is an error.
    pub(super) async fn plan(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
        request: &PlanRequest,
    ) -> Result<Verdict, ServiceError> {
        if let Some(agreement) = &request.agreement {
            check_agreement(agreement, &request.requester, &request.snapshot)?;
        }
        let (sql, request) = (sql.to_owned(), request.clone());
        self.ask(move |door| door.plan(&sql, &parameters, &request)).await
    }

    /// What could be asked instead of a query that was refused. A search that takes too long finds nothing: the refusal
    /// stands without it.
    pub(super) async fn nearest(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
        request: &PlanRequest,
    ) -> Option<String> {
        let (sql, request) = (sql.to_owned(), request.clone());
        self.ask(move |door| Ok(door.nearest(&sql, &parameters, &request))).await.ok().flatten()
    }

    /// Lets the planner do something.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn PlannerDoor) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let (door, slots) = (Arc::clone(&self.door), Arc::clone(&self.slots));
        let answer = async {
            let slot = slots.acquire_owned().await.ok()?;
            let span = tracing::Span::current();
            blocking(move || {
                let _slot = slot;
                span.in_scope(|| question(door.as_ref()))
            })
            .await
        };
        match timeout(self.time_max, answer).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(ServiceError::new(Code::Internal, "planning failed; the statement was not run")),
            Err(_) => Err(ServiceError::new(Code::DeadlineExceeded, "planning took too long")
                .with_hint("write the statement in a simpler form, or in several statements")),
        }
    }
}
