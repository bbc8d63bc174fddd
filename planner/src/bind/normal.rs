//! The normal form in which agreements are matched: DataFusion's rules that remove sugar, by name and in a fixed order.
//! Nothing that moves a predicate or splits an aggregate runs here; optimisation proper comes later, on each side of a
//! release point by itself.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinConstraint, JoinType};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Join, LogicalPlan, Operator, binary_expr};
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;

/// The plan in normal form.
pub fn normalize(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    let plan = super::optimize(plan, rules, state)?;
    portable_joins(plan)
}

/// Joins in the one form that crosses the wire unchanged: ON instead of USING, and `NOT IN` over columns that may be NULL
/// as an anti join that says so in its condition.
fn portable_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up(|node| match node {
        LogicalPlan::Join(join) if join.null_aware => Ok(Transformed::yes(LogicalPlan::Join(null_aware(join)?))),
        LogicalPlan::Join(mut join) if join.join_constraint == JoinConstraint::Using => {
            join.join_constraint = JoinConstraint::On;
            Ok(Transformed::yes(LogicalPlan::Join(join)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

/// `x NOT IN (SELECT y …)` keeps a row only if no `x = y` is true *or unknown*.
fn null_aware(join: Join) -> Result<Join> {
    debug_assert_eq!(join.join_type, JoinType::LeftAnti, "only anti joins are null-aware");
    let mut filter = join.filter;
    for (left, right) in join.on {
        let matches = binary_expr(left.clone(), Operator::Eq, right.clone());
        let maybe = matches.or(left.is_null()).or(right.is_null());
        filter = Some(match filter {
            Some(all) => all.and(maybe),
            None => maybe,
        });
    }
    Join::try_new(join.left, join.right, vec![], filter, join.join_type, JoinConstraint::On, join.null_equality, false)
}
