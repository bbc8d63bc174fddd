//! The rows of several partitions one after the other, in batches of one size: what a protected view gives, so that neither
//! the order of its rows nor where they are cut tells of hidden ones. Several partitions are computed ahead at the same time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{StreamExt, stream};

use crate::apart::apart;
use crate::recut::Recut;
use crate::source::PIECE_BATCHES;

/// The plan of a view with its partitions, which are pieces of its tables in order, put one behind the other: above the
/// scans and what filters and changes their rows, which is done to many pieces at once, and below all else.
pub(super) fn in_order(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let ordered = plan.transform_up(|node| {
        if let Some(any_order) = node.downcast_ref::<CoalescePartitionsExec>() {
            return Ok(Transformed::yes(InOrderExec::over(any_order.input())));
        }
        if node.children().len() < 2 {
            return Ok(Transformed::no(node));
        }
        let inputs = node.children().into_iter().map(InOrderExec::over).collect();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(node.replace_children(inputs, options)?))
    })?;
    Ok(InOrderExec::over(&ordered.data))
}

/// One partition of all.
#[derive(Debug)]
pub(crate) struct InOrderExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl InOrderExec {
    /// The operator over an input; the input itself if it is such an operator.
    pub(super) fn over(input: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        if input.is::<Self>() {
            return Arc::clone(input);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            input.properties().emission_type,
            input.properties().boundedness,
        );
        Arc::new(Self { input: Arc::clone(input), properties: Arc::new(properties) })
    }
}

impl DisplayAs for InOrderExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("InOrderExec")
    }
}

impl ExecutionPlan for InOrderExec {
    fn name(&self) -> &str {
        "InOrderExec"
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
            Err(_) => internal_err!("rows are put in order from one input"),
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
            return internal_err!("rows in order have one partition");
        }
        let schema = self.input.schema();
        let rows = Rows {
            partitions: self.input.output_partitioning().partition_count(),
            next: 0,
            ahead: context.session_config().target_partitions().max(1),
            begun: VecDeque::new(),
            cut: Recut::new(SchemaRef::clone(&schema)),
            input: Arc::clone(&self.input),
            context,
        };
        let batches = stream::try_unfold(rows, |mut rows| async move {
            let batch = rows.batch().await?;
            Ok(batch.map(|batch| (batch, rows)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// The partitions from the one that is being read on.
struct Rows {
    input: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    partitions: usize,
    /// The first that has not begun.
    next: usize,
    /// So many are computed at the same time.
    ahead: usize,
    /// Those that have begun, the one that is read in front.
    begun: VecDeque<SendableRecordBatchStream>,
    cut: Recut,
}

impl Rows {
    async fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(full) = self.cut.next()? {
                return Ok(Some(full));
            }
            self.begin()?;
            let Some(first) = self.begun.front_mut() else { return self.cut.finish() };
            match first.next().await {
                Some(batch) => self.cut.push(batch?)?,
                None => _ = self.begun.pop_front(),
            }
        }
    }

    /// Begins partitions up to those that are computed ahead. One that waits holds at most [`PIECE_BATCHES`], which is all
    /// of a piece of a table in memory; of a longer one the rest is computed when its turn comes.
    fn begin(&mut self) -> Result<()> {
        while self.next < self.partitions && self.begun.len() < self.ahead {
            let context = Arc::clone(&self.context);
            let begun = if self.ahead == 1 || self.partitions == 1 {
                self.input.execute(self.next, context)?
            } else {
                apart(&self.input, self.next, context, PIECE_BATCHES)
            };
            self.begun.push_back(begun);
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::SessionConfig;
    use dynamos_planner::function::engine_state_with;

    use super::*;

    /// Whole numbers in order, in batches of these sizes, dealt to partitions as `ends` says after which batches they end.
    async fn given(sizes: &[usize], ends: &[usize], threads: usize, columns: Option<Vec<usize>>) -> Vec<RecordBatch> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let (mut partitions, mut first) = (vec![Vec::new()], 0);
        for (index, rows) in sizes.iter().enumerate() {
            let numbers: Int64Array = (first..first + *rows as i64).collect::<Vec<_>>().into();
            first += *rows as i64;
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(numbers)]).unwrap();
            partitions.last_mut().unwrap().push(batch);
            if ends.contains(&index) {
                partitions.push(Vec::new());
            }
        }
        let source: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(&partitions, schema, columns).unwrap();
        let state = engine_state_with(SessionConfig::new().with_target_partitions(threads), Arc::default());
        collect(InOrderExec::over(&source), state.task_ctx()).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn e3_rows_of_all_partitions_come_in_order_and_in_batches_of_one_size() {
        let sizes = [5000, 1, 8192, 0, 30_000, 7, 7, 20_000, 3];
        let total = sizes.iter().sum::<usize>();
        for threads in [1, 2, 5] {
            for ends in [vec![], vec![0], vec![0, 0, 3, 4], (0..9).collect()] {
                let batches = given(&sizes, &ends, threads, None).await;
                let lengths: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
                let (last, full) = lengths.split_last().unwrap();
                assert!(full.iter().all(|rows| *rows == 8192) && *last == total % 8192, "{lengths:?}");
                let numbers = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
                assert!(numbers.copied().eq(0..total as i64), "{threads} threads, ends {ends:?}");
                let bare = given(&sizes, &ends, threads, Some(vec![])).await;
                assert_eq!(bare.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), lengths);
            }
        }
        assert_eq!(given(&[], &[], 2, None).await.len(), 0);
    }
}
