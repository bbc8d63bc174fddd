//! A table that is a plan with a barrier on top: what a protected view, or a release point, is to the fragment above it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::barrier::BarrierExec;
use super::inside::plan_view;
use super::leak_proof::is_leak_proof;
use crate::query::yielding;

/// Which predicates may pass the barrier into the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushDown {
    /// Those that cannot tell of hidden rows: for a protected view.
    LeakProof,
    /// None: for a release point, below which another predicate would be another question.
    Nothing,
}

/// A plan behind a barrier.
#[derive(Debug)]
pub(crate) struct ProtectedTable {
    plan: LogicalPlan,
    schema: SchemaRef,
    push_down: PushDown,
}

impl ProtectedTable {
    pub(crate) fn new(plan: LogicalPlan, push_down: PushDown) -> Arc<Self> {
        let schema = Arc::clone(plan.schema().inner());
        Arc::new(Self { plan, schema, push_down })
    }

    fn passes(&self, predicate: &Expr) -> bool {
        match self.push_down {
            PushDown::LeakProof => is_leak_proof(predicate, &self.schema),
            PushDown::Nothing => false,
        }
    }
}

#[async_trait]
impl TableProvider for ProtectedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = filters.iter().map(|filter| match self.passes(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        });
        Ok(support.collect())
    }

    /// The limit is not used: how many hidden rows were skipped before it was reached would show in the time.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut view = LogicalPlanBuilder::from(self.plan.clone());
        for filter in filters {
            if !self.passes(filter) {
                return datafusion::common::internal_err!(
                    "a predicate that is not leak-proof reached a protected view"
                );
            }
            view = view.filter(filter.clone())?;
        }
        if let Some(projection) = projection {
            let fields =
                projection.iter().map(|index| Expr::Column(Column::from(self.plan.schema().qualified_field(*index))));
            view = view.project(fields.collect::<Vec<_>>())?;
        }
        let view = view.build()?;
        let inside = match self.push_down {
            PushDown::LeakProof => plan_view(state, &view).await?,
            PushDown::Nothing => state.create_physical_plan(&view).await?,
        };
        Ok(Arc::new(BarrierExec::new(yielding(inside)?)))
    }
}
