//! The physical plan of what stands behind a barrier.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use super::in_order::in_order;

/// Plans a protected view. Its rows come in the order that the steward's tables and the clauses give them, in batches of one
/// size: nothing is dealt out or raced for before hidden rows are gone, and which side of a join is gathered first, the joins
/// themselves say and not the number of hidden rows. The tables are scanned in pieces, many at the same time.
pub(super) async fn plan_view(state: &dyn Session, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let planned = plan_with(state, plan, |options| {
        options.execution.target_partitions = 1;
        options.optimizer.join_reordering = false;
        // It would wait for pieces that have not begun.
        options.optimizer.enable_join_dynamic_filter_pushdown = false;
    });
    in_order(planned.await?)
}

/// Plans the groups of a release point, which become a part of the plan above. Their joins get no filters that are found while
/// they run: the rules of the plan above may still turn a join round, and the engine turns none that has such a filter. They
/// are put in there, when all is planned.
pub(super) async fn plan_groups(state: &dyn Session, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    plan_with(state, plan, |options| options.optimizer.enable_join_dynamic_filter_pushdown = false).await
}

async fn plan_with(
    state: &dyn Session,
    plan: &LogicalPlan,
    change: impl FnOnce(&mut ConfigOptions),
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(state) = state.as_any().downcast_ref::<SessionState>() else {
        return datafusion::common::internal_err!("a place plans in a state of its own");
    };
    let mut inside = state.clone();
    change(inside.config_mut().options_mut());
    inside.create_physical_plan(plan).await
}
