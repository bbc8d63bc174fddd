//! The rows of several partitions in one, a batch of each in turn: always the same rows in the same order, where each
//! partition gives always the same. The partitions are computed at the same time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{StreamExt, stream};

use crate::apart::apart;

/// Batches of a partition that wait for its turn; when they are there the partition waits, too.
const WAITING_BATCHES: usize = 2;

/// One partition of all.
#[derive(Debug)]
pub(super) struct InTurnExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl InTurnExec {
    pub(super) fn over(input: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let mut known: EquivalenceProperties = input.equivalence_properties().clone();
        known.clear_orderings();
        known.clear_per_partition_constants();
        let properties = PlanProperties::new(
            known,
            Partitioning::UnknownPartitioning(1),
            input.properties().emission_type,
            input.properties().boundedness,
        );
        Arc::new(Self { input: Arc::clone(input), properties: Arc::new(properties) })
    }
}

impl DisplayAs for InTurnExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("InTurnExec")
    }
}

impl ExecutionPlan for InTurnExec {
    fn name(&self) -> &str {
        "InTurnExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Self::over(&input)),
            Err(_) => internal_err!("partitions that take turns are those of one input"),
        }
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("partitions that take turns are one");
        }
        let partitions = (0..self.input.output_partitioning().partition_count())
            .map(|partition| apart(&self.input, partition, Arc::clone(&context), WAITING_BATCHES));
        let batches = stream::try_unfold(partitions.collect::<VecDeque<_>>(), |mut partitions| async move {
            Ok(next(&mut partitions).await?.map(|batch| (batch, partitions)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), batches)))
    }
}

/// The next batch of the partition in front, which then waits for all others.
async fn next(partitions: &mut VecDeque<SendableRecordBatchStream>) -> Result<Option<RecordBatch>> {
    while let Some(mut first) = partitions.pop_front() {
        if let Some(batch) = first.next().await {
            partitions.push_back(first);
            return batch.map(Some);
        }
    }
    Ok(None)
}
