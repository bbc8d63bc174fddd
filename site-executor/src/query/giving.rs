//! [`Giving`]: what a steward's fragment has given to another place so far, and the record of it in the ledger.
//!
//! INVARIANT(given_is_recorded): the reader learns how the rows ended only after the ledger says so on the disk. Of a reader
//! that goes before, the record follows with the ledger's next write, or soon without one. Only a place that falls dead on
//! the way leaves a permit without it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use dynamos_planner::fragment::Fragment;
use dynamos_planner::policy::UtcMillis;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::{Code, ServiceError};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::accepted::Query;
use crate::guard::bytes_of;
use crate::ledger::{Given, Recording};
use crate::place::Place;

/// Counts what one fragment gives.
pub(super) struct Giving {
    place: Arc<Place>,
    query: Arc<Query>,
    id: FragmentId,
    rows: u64,
    bytes: u64,
    stage: Stage,
}

enum Stage {
    Giving,
    /// The end is on its way to the disk.
    Recording(BoxFuture<'static, Result<(), ServiceError>>),
    Recorded,
}

impl Giving {
    /// None where nothing is recorded: the place gives nothing of its own, or its rows stay.
    pub(super) fn of(place: &Arc<Place>, query: &Arc<Query>, id: FragmentId) -> Option<Self> {
        let steward = query.graph.governing.contains_key(&place.name);
        let reader = query.graph.fragment(id)?.consumer.and_then(|id| query.graph.fragment(id));
        if !steward || reader.is_some_and(|reader| reader.place == place.name) {
            return None;
        }
        let (place, query) = (Arc::clone(place), Arc::clone(query));
        Some(Self { place, query, id, rows: 0, bytes: 0, stage: Stage::Giving })
    }

    /// A batch that goes to the reader.
    pub(super) fn count(&mut self, batch: &RecordBatch) {
        self.rows = self.rows.saturating_add(batch.num_rows() as u64);
        // The guard has counted these columns already, so they can be.
        self.bytes = self.bytes.saturating_add(bytes_of(batch).unwrap_or_default());
    }

    /// Ready once it is on the disk that the rows ended so.
    ///
    /// # Errors
    ///
    /// `INTERNAL` if it cannot be written.
    pub(super) fn poll_recorded(
        &mut self,
        ended: &Result<(), ServiceError>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ServiceError>> {
        loop {
            match &mut self.stage {
                Stage::Giving => {
                    let Some(recording) = self.record(ended) else { return Poll::Ready(Ok(())) };
                    let place = Arc::clone(&self.place);
                    let written = async move {
                        let ledger = Arc::clone(&place);
                        place.cpu.run(move || ledger.ledger.written(recording)).await
                    };
                    self.stage = Stage::Recording(written.boxed());
                }
                Stage::Recording(written) => {
                    let written = ready!(written.poll_unpin(context));
                    self.stage = Stage::Recorded;
                    return Poll::Ready(written);
                }
                Stage::Recorded => return Poll::Ready(Ok(())),
            }
        }
    }

    fn record(&self, ended: &Result<(), ServiceError>) -> Option<Recording> {
        let fragment: &Fragment = self.query.graph.fragment(self.id)?;
        let (given, now) = ((self.rows, self.bytes), UtcMillis(self.place.clock.now_ms()));
        Some(self.place.ledger.given(Given::new(&self.query.graph, fragment, given, ended, now)))
    }
}

impl Drop for Giving {
    /// Its reader has gone before the end, or the place ends.
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Giving) {
            return;
        }
        let gone = || ServiceError::new(Code::Cancelled, "the reader went before the end");
        let ended = Err(self.query.halt.reason(Instant::now()).unwrap_or_else(gone));
        drop(self.record(&ended));
    }
}
