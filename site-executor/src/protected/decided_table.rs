//! The decided groups of a release point as a table: its plan of groups, and the decision on top. Only the release point's
//! own plan reads it, from behind the barrier of a [`super::ProtectedTable`].

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlanProperties, PhysicalExpr};
use dynamos_planner::policy::GroupDecision;

use super::decision::DecisionExec;
use super::inside::plan_groups;

/// Groups and the decision over them.
#[derive(Debug)]
pub(crate) struct DecidedTable {
    groups: LogicalPlan,
    decision: GroupDecision,
    schema: SchemaRef,
}

impl DecidedTable {
    /// A scan of the decided groups.
    pub(crate) fn scan(groups: LogicalPlan, decision: GroupDecision) -> Result<LogicalPlan> {
        let schema = decision.schema(groups.schema().as_arrow());
        let table: Arc<dyn TableProvider> = Arc::new(Self { groups, decision, schema });
        LogicalPlanBuilder::scan("decided", provider_as_source(table), None)?.build()
    }
}

#[async_trait]
impl TableProvider for DecidedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// Neither predicates nor limits go below: the decision needs all groups.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut groups = plan_groups(state, &self.groups).await?;
        if groups.output_partitioning().partition_count() > 1 {
            groups = Arc::new(CoalescePartitionsExec::new(groups));
        }
        let decided: Arc<dyn ExecutionPlan> = Arc::new(DecisionExec::new(groups, self.decision.clone()));
        let Some(projection) = projection else { return Ok(decided) };
        let columns = projection.iter().map(|index| {
            let name = self.schema.field(*index).name();
            (Arc::new(Column::new(name, *index)) as Arc<dyn PhysicalExpr>, name.clone())
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), decided)?))
    }
}
