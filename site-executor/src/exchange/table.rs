//! Another fragment's output as a table of one partition. The stream is opened when its first row is wanted.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::{Code, ServiceError};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use tracing::{Instrument, Span, info_span};

use super::client;
use crate::fault;
use crate::place::Place;
use crate::query::{self, Query};

/// The output of fragment `producer` as a table with the columns that its reader declares.
pub(crate) fn exchange_table(
    place: &Arc<Place>,
    query: &Arc<Query>,
    producer: FragmentId,
    declared: SchemaRef,
) -> Result<Arc<dyn TableProvider>> {
    let read = ExchangeRead {
        place: Arc::clone(place),
        query: Arc::clone(query),
        producer,
        declared: SchemaRef::clone(&declared),
        stage: Span::current(),
    };
    Ok(Arc::new(StreamingTable::try_new(declared, vec![Arc::new(read)])?))
}

#[derive(Clone)]
struct ExchangeRead {
    place: Arc<Place>,
    query: Arc<Query>,
    producer: FragmentId,
    declared: SchemaRef,
    /// The reader's; the engine may read on other tasks.
    stage: Span,
}

impl fmt::Debug for ExchangeRead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Exchange({})", self.producer)
    }
}

impl PartitionStream for ExchangeRead {
    fn schema(&self) -> &SchemaRef {
        &self.declared
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (read, declared) = (self.clone(), SchemaRef::clone(&self.declared));
        let rows = async move { read.open().await }.try_flatten_stream();
        let checked = rows
            .and_then(move |batch| futures::future::ready(as_declared(&batch, &declared)))
            .map_err(fault::into_engine);
        Box::pin(RecordBatchStreamAdapter::new(SchemaRef::clone(&self.declared), checked))
    }
}

impl ExchangeRead {
    async fn open(
        &self,
    ) -> std::result::Result<BoxStream<'static, std::result::Result<RecordBatch, ServiceError>>, ServiceError> {
        let producer = self.query.graph.fragment(self.producer);
        let producer =
            producer.ok_or_else(|| ServiceError::new(Code::Internal, format!("no fragment {}", self.producer)))?;
        if producer.place == self.place.name {
            return Ok(query::start(&self.place, &self.query, producer.id)?.boxed());
        }
        let (query_id, reader) = (&self.query.graph.query, &self.place.name);
        let span = info_span!(
            parent: &self.stage, "exchange", %query_id, fragment_id = %producer.id, site_id = %reader, peer = %producer.place
        );
        let mut rows = client::fetch(&self.place, &self.query, producer).instrument(span.clone()).await?;
        Ok(stream::poll_fn(move |context| span.in_scope(|| rows.poll_next_unpin(context))).boxed())
    }
}

/// The batch under the declared names, if its columns have the declared types.
fn as_declared(batch: &RecordBatch, declared: &SchemaRef) -> std::result::Result<RecordBatch, ServiceError> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(SchemaRef::clone(declared), batch.columns().to_vec(), &options).map_err(|error| {
        tracing::warn!(%error, "a batch has other columns than declared");
        ServiceError::new(Code::Internal, "a site sent other columns than the graph declares")
    })
}
