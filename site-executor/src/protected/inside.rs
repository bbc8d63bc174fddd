//! The physical plan of what stands behind a barrier. It becomes a part of the plan above, whose rules see it once more.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

/// Plans what is behind a barrier. Its joins get no filters that are found while they run: the rules of the plan above may
/// still turn a join round, and the engine turns none that has such a filter. They are put in there, when all is planned.
pub(super) async fn plan_inside(state: &dyn Session, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(state) = state.as_any().downcast_ref::<SessionState>() else {
        return state.create_physical_plan(plan).await;
    };
    let mut inside = state.clone();
    inside.config_mut().options_mut().optimizer.enable_join_dynamic_filter_pushdown = false;
    inside.create_physical_plan(plan).await
}
