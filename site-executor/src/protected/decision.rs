//! The operator that decides which groups of a release point are released: it gathers all of them, within the query's
//! memory, and gives what [`GroupDecision`] makes of them, in the order of their keys. Nothing that is above can reach below it.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, Partitioning, PlanProperties,
};
use dynamos_planner::policy::GroupDecision;
use futures::StreamExt;

/// All groups from below, and those that are released.
#[derive(Debug)]
pub(crate) struct DecisionExec {
    groups: Arc<dyn ExecutionPlan>,
    decision: GroupDecision,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DecisionExec {
    pub(super) fn new(groups: Arc<dyn ExecutionPlan>, decision: GroupDecision) -> Self {
        let schema = decision.schema(&groups.schema());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { groups, decision, schema, properties: Arc::new(properties) }
    }
}

impl DisplayAs for DecisionExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("DecisionExec")
    }
}

impl ExecutionPlan for DecisionExec {
    fn name(&self) -> &str {
        "DecisionExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.groups]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([groups]) => Ok(Arc::new(Self::new(groups, self.decision.clone()))),
            Err(_) => internal_err!("a decision has one input"),
        }
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    /// The engine's default, spelled out because everything depends on it.
    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        Ok(FilterDescription::all_unsupported(&parent_filters, &self.children()))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a decision has one partition");
        }
        let mut groups = self.groups.execute(0, Arc::clone(&context))?;
        let decision = self.decision.clone();
        let decided = async move {
            let memory = MemoryConsumer::new("DecisionExec").register(context.memory_pool());
            let mut batches: Vec<RecordBatch> = Vec::new();
            while let Some(batch) = groups.next().await {
                let batch = batch?;
                // Twice at any time: as it came and among the others, then among these and in the order of keys.
                memory.try_grow(batch.get_array_memory_size().saturating_mul(2))?;
                memory.try_grow(decision.bytes(batch.num_rows()))?;
                batches.push(batch);
            }
            let all = concat_batches(&groups.schema(), &batches)?;
            drop(batches);
            decision.decided(&decision.in_key_order(&all)?)
        };
        let schema = Arc::clone(&self.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(decided))))
    }
}
