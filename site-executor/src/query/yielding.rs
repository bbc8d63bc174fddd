//! Makes long computations stop when they are told to. The engine's operators give way when a scan has given them enough
//! rows; a join can go on for minutes over rows it has read already, and neither a deadline nor a cancellation would reach
//! it. So points at which the task gives way are put around every operator of several inputs.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

/// A task that has run for this long lets others run.
const TURN: Duration = Duration::from_millis(10);
/// A join without keys compares a batch with all rows of its other side in one go, so its batches are small.
const NESTED_LOOP_ROWS: usize = 128;

/// The plan with such points around each operator of several inputs.
pub(crate) fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|node| {
        if node.children().len() < 2 {
            return Ok(Transformed::no(node));
        }
        let rows_max = if node.is::<NestedLoopJoinExec>() { NESTED_LOOP_ROWS } else { usize::MAX };
        let inputs = node.children().into_iter().map(|input| YieldExec::around(Arc::clone(input), rows_max));
        let inputs = inputs.collect();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(YieldExec::around(node.replace_children(inputs, options)?, usize::MAX)))
    });
    Ok(wrapped?.data)
}

/// Passes rows on, in batches of at most `rows_max`, and gives way now and then.
#[derive(Debug)]
pub(super) struct YieldExec {
    input: Arc<dyn ExecutionPlan>,
    rows_max: usize,
}

impl YieldExec {
    fn around(input: Arc<dyn ExecutionPlan>, rows_max: usize) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, rows_max })
    }
}

impl DisplayAs for YieldExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("YieldExec")
    }
}

impl ExecutionPlan for YieldExec {
    fn name(&self) -> &str {
        "YieldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Self::around(input, self.rows_max)),
            Err(_) => internal_err!("a yield point has one input"),
        }
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(YieldStream { input, rows_max: self.rows_max, waiting: None, turn_began: Instant::now() }))
    }
}

struct YieldStream {
    input: SendableRecordBatchStream,
    rows_max: usize,
    /// What is left of a batch that was too large.
    waiting: Option<RecordBatch>,
    turn_began: Instant,
}

impl Stream for YieldStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.turn_began.elapsed() >= TURN {
            self.turn_began = Instant::now();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match self.waiting.take() {
            Some(batch) => batch,
            None => match self.input.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(batch))) => batch,
                other => return other,
            },
        };
        if batch.num_rows() <= self.rows_max {
            return Poll::Ready(Some(Ok(batch)));
        }
        self.waiting = Some(batch.slice(self.rows_max, batch.num_rows() - self.rows_max));
        Poll::Ready(Some(Ok(batch.slice(0, self.rows_max))))
    }
}

impl RecordBatchStream for YieldStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
