//! DataFusion's analyzer and optimizer as plain functions, without hidden inputs.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule};
use datafusion::prelude::Expr;
use datafusion::sql::sqlparser::ast;

/// The plan with types coerced and functions resolved.
pub fn analyze(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})
}

/// The plan after these rules. The present, for `now()`, is the planner's input and was put in while binding.
pub fn optimize(
    plan: LogicalPlan,
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
    state: &SessionState,
) -> Result<LogicalPlan> {
    let context = OptimizerContext::new_with_config_options(Arc::clone(state.config_options()))
        .without_query_execution_start_time()
        .with_max_passes(3);
    if let Some(taken) = last_generated(&plan)? {
        context.alias_generator().update_min_id(taken);
    }
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})
}

/// The highest number in a name such as `__common_expr_7`. Rules give such names and count from one in every run, so that the
/// second run over a plan would call two columns alike.
fn last_generated(plan: &LogicalPlan) -> Result<Option<usize>> {
    let number = |name: &str| name.strip_prefix("__")?.rsplit_once('_')?.1.parse::<usize>().ok();
    let mut last = None;
    plan.apply_with_subqueries(|node| {
        for (qualifier, field) in node.schema().iter() {
            let qualifier = qualifier.and_then(|qualifier| number(qualifier.table()));
            last = last.max(number(field.name())).max(qualifier);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(last)
}

/// A clause's expression over a relation's columns.
pub fn scalar_expr(expr: &ast::Expr, schema: &DFSchema, state: &SessionState) -> Result<Expr> {
    state.create_logical_expr_from_sql_expr(ast::ExprWithAlias { expr: expr.clone(), alias: None }, schema)
}

/// An expression over a relation's columns as the normal form writes it: types coerced, constants folded.
pub fn coerce(expr: Expr, schema: &DFSchema, state: &SessionState) -> Result<Expr> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .build();
    let simplifier = ExprSimplifier::new(context);
    let coerced = simplifier.coerce(expr, schema)?;
    simplifier.simplify(coerced)
}
