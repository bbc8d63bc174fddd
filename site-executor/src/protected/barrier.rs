//! The operator above a protected plan. It passes batches and stops everything that the engine would push further down:
//! predicates, also those that a join finds while it runs, limits, orders and projections. What is below is planned when the
//! barrier is put above it: to the rules of the plan above a barrier is a leaf, so that they change nothing there.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};

/// Rows from below, and nothing from above.
#[derive(Debug)]
pub(crate) struct BarrierExec {
    inside: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl BarrierExec {
    pub(crate) fn new(inside: Arc<dyn ExecutionPlan>) -> Self {
        // Nothing that is known of the hidden rows (constants, orders) is told above.
        let properties = PlanProperties::new(
            EquivalenceProperties::new(inside.schema()),
            Partitioning::UnknownPartitioning(inside.output_partitioning().partition_count()),
            inside.properties().emission_type,
            inside.properties().boundedness,
        );
        Self { inside, properties: Arc::new(properties) }
    }

    /// What is below, for those who do not change it.
    pub(crate) fn inside(&self) -> &Arc<dyn ExecutionPlan> {
        &self.inside
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("BarrierExec")
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &str {
        "BarrierExec"
    }

    fn schema(&self) -> SchemaRef {
        self.inside.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("nothing is put below a barrier") }
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
        self.inside.execute(partition, context)
    }
}
