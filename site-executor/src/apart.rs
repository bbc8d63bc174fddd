//! A partition that is computed on a task of its own, a few batches ahead of whoever reads it.

use std::sync::Arc;

use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use futures::StreamExt;

/// The rows of a partition, of which at most so many batches wait. The task ends with the stream.
pub(crate) fn apart(
    input: &Arc<dyn ExecutionPlan>,
    partition: usize,
    context: Arc<TaskContext>,
    waiting: usize,
) -> SendableRecordBatchStream {
    let mut apart = RecordBatchReceiverStream::builder(input.schema(), waiting);
    let (input, sender) = (Arc::clone(input), apart.tx());
    apart.spawn(async move {
        let mut rows = input.execute(partition, context)?;
        while let Some(batch) = rows.next().await {
            let failed = batch.is_err();
            if sender.send(batch).await.is_err() || failed {
                break;
            }
        }
        Ok(())
    });
    apart.build()
}
