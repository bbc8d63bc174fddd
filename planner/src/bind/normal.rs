//! The normal form in which agreements are matched: DataFusion's rules that remove sugar, by name and in a fixed order.
//! Nothing that moves a predicate, splits an aggregate or makes an inner join of a left one runs here; optimisation proper comes
//! later, on each side of a release point by itself.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinConstraint, JoinType};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr_rewriter::normalize_cols;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, DistinctOn, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection, binary_expr,
};
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
use datafusion::prelude::Expr;

use super::origin::unalias;

/// The plan in normal form.
pub fn normalize(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
    ];
    if !has_wide_keys(&plan)? {
        rules.push(Arc::new(EliminateCrossJoin::new()));
    }
    rules.push(Arc::new(OptimizeProjections::new()));
    let plan = super::optimize(first_rows(selected_lists(plan)?, state)?, rules, state)?;
    portable_joins(plan)
}

/// DISTINCT ON as an aggregate. The rule finds `first_value` where the session has it, and nowhere else. What the rows are
/// distinct on stays a column of the groups, so that a key among them is still one.
fn first_rows(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Distinct(Distinct::On(distinct)) => {
            let keys = selected_keys(&distinct)?;
            let node = LogicalPlan::Distinct(Distinct::On(distinct));
            let first = ReplaceDistinctWithAggregate::new().rewrite(node, state)?;
            Ok(Transformed::yes(with_keys(first.data, &keys)?))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

/// For each selected expression the place among the ON expressions, if it is one of them.
fn selected_keys(distinct: &DistinctOn) -> Result<Vec<Option<usize>>> {
    let keys = normalize_cols(distinct.on_expr.clone(), distinct.input.as_ref())?;
    let selected = normalize_cols(distinct.select_expr.clone(), distinct.input.as_ref())?;
    let place = |one: &Expr| keys.iter().position(|key| unalias(key) == unalias(one));
    Ok(selected.iter().map(place).collect())
}

/// The projection of first values with the groups' own columns in place of those that are keys.
fn with_keys(plan: LogicalPlan, keys: &[Option<usize>]) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = plan else { return Ok(plan) };
    let groups = projection.input.schema().columns();
    let own = |(first, key): (Expr, &Option<usize>)| match key.and_then(|key| groups.get(key)) {
        Some(group) => {
            let (qualifier, name) = first.qualified_name();
            Expr::from(group.clone()).alias_qualified(qualifier, name)
        }
        None => first,
    };
    let exprs = projection.expr.into_iter().zip(keys).map(own).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, projection.input)?))
}

/// `x IN (VALUES …)` as `x IN (SELECT … FROM (VALUES …))`, which is what the rules take.
fn selected_lists(plan: LogicalPlan) -> Result<LogicalPlan> {
    let select = |expr: Expr| match expr {
        Expr::InSubquery(mut list) if matches!(*list.subquery.subquery, LogicalPlan::Values(_)) => {
            let values = LogicalPlanBuilder::from(Arc::unwrap_or_clone(list.subquery.subquery));
            let columns: Vec<Expr> = values.schema().columns().into_iter().map(Expr::from).collect();
            list.subquery.subquery = Arc::new(values.project(columns)?.build()?);
            Ok(Transformed::yes(Expr::InSubquery(list)))
        }
        other => Ok(Transformed::no(other)),
    };
    let plan = plan.transform_up_with_subqueries(|node| node.map_expressions(|expr| expr.transform_up(select)))?;
    Ok(plan.data)
}

/// Whether an inner join or a filter compares by an equality with a side of several columns, such as `a.x + b.y = c.z`. `EliminateCrossJoin`
/// reorders joins and drops such a condition where it no longer has a relation on each side.
fn has_wide_keys(plan: &LogicalPlan) -> Result<bool> {
    let wide = |expr: &Expr| expr.column_refs().len() > 1;
    let compares = |condition: &Expr| {
        split_conjunction(condition).into_iter().any(|part| match part {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => wide(left) || wide(right),
            _ => false,
        })
    };
    plan.exists(|node| {
        Ok(match node {
            // It may become a condition of the joins below.
            LogicalPlan::Filter(filter) => compares(&filter.predicate),
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
                join.filter.as_ref().is_some_and(compares)
                    || join.on.iter().any(|(left, right)| wide(left) || wide(right))
            }
            _ => false,
        })
    })
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::optimizer::push_down_filter::PushDownFilter;
    use dynamos_proto::ids::SiteId;

    use super::*;
    use crate::bind::local::tests::tables;
    use crate::bind::{VisibleTable, VisibleTables, bind, parse};
    use crate::catalog::{Colocated, TableName};
    use crate::function::engine_state;

    /// A table of one steward, with numbers and times.
    fn measured() -> VisibleTables {
        let columns = [
            ("x", DataType::Float64),
            ("price", DataType::Decimal128(9, 2)),
            ("born", DataType::Date32),
            ("seen", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ];
        let fields: Vec<Field> = columns.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
        let table = VisibleTable {
            site: Some(SiteId::new("uva")),
            name: TableName::new("s", "measured"),
            stewards: BTreeSet::from([SiteId::new("uva")]),
            local: None,
            shared: None,
            colocated: Colocated::new(),
            schema: Arc::new(Schema::new(fields)),
            within: BTreeMap::new(),
            joined: Vec::new(),
        };
        VisibleTables::new([table], None)
    }

    #[test]
    fn c3_a_function_of_a_column_is_compared_as_it_is_written() {
        let state = engine_state();
        for (condition, call) in [
            ("date_part('year', born) = 1990", "date_part("),
            ("EXTRACT(YEAR FROM born) > 1990", "date_part("),
            ("datepart('year', born) <> 1990", "date_part("),
            ("date_part('year', seen) IN (1990, 1991)", "date_part("),
            ("1990 >= EXTRACT(YEAR FROM seen)", "date_part("),
            ("floor(x) = 3", "floor("),
            ("floor(x) IS DISTINCT FROM 3", "floor("),
            ("3 < floor(price)", "floor("),
        ] {
            let sql = format!("SELECT x FROM uva.s.measured WHERE {condition}");
            let bound = bind(&parse(&sql).unwrap(), &[], &measured(), &state).unwrap();
            let normal = normalize(bound.plan().clone(), &state).unwrap();
            // So it is sent, too.
            let sent = crate::bind::optimize(normal.clone(), state.optimizers().to_vec(), &state).unwrap();
            for plan in [normal, sent] {
                let text = plan.display_indent().to_string();
                assert!(text.contains(call) && !text.contains("YEAR"), "{condition}: {text}");
            }
        }
    }

    #[test]
    fn a1_a_left_join_stays_one_under_a_condition_that_no_null_fulfils() {
        let state = engine_state();
        let sql = "SELECT p.n FROM uva.s.people p LEFT JOIN uva.s.visits v ON p.k = v.k WHERE v.n > 3";
        let bound = bind(&parse(sql).unwrap(), &[], &tables(), &state).unwrap();
        let normal = normalize(bound.plan().clone(), &state).unwrap();
        let pushed: Vec<Arc<dyn OptimizerRule + Send + Sync>> =
            vec![Arc::new(PushDownFilter::new()), Arc::new(OptimizeProjections::new())];
        for plan in [normal.clone(), crate::bind::optimize(normal, pushed, &state).unwrap()] {
            let text = plan.display_indent().to_string();
            assert!(text.contains("Left Join") && text.contains("v.n > Int64(3)"), "{text}");
        }
    }

    #[test]
    fn what_rows_are_distinct_on_is_the_groups_own_column() {
        let state = engine_state();
        let sql = "SELECT DISTINCT ON (p.k, n + 1) k AS a, n, n + 1 AS b FROM s.people p ORDER BY p.k, n + 1, n";
        let bound = bind(&parse(sql).unwrap(), &[], &tables(), &state).unwrap();
        let text = normalize(bound.plan().clone(), &state).unwrap().display_indent().to_string();
        assert!(text.contains("first_value(p.n)") && text.contains("p.k AS a"), "{text}");
        assert!(!text.contains("first_value(p.k") && !text.contains("first_value(p.n +"), "{text}");
    }

    #[test]
    fn no_condition_over_three_relations_is_lost() {
        let state = engine_state();
        for sql in [
            "SELECT a.n FROM s.people c JOIN (s.people a CROSS JOIN s.visits b) ON a.n + b.n = c.n",
            "SELECT a.n FROM s.people a, s.visits b, s.people c WHERE a.n + b.n = c.n",
        ] {
            let bound = bind(&parse(sql).unwrap(), &[], &tables(), &state).unwrap();
            let plan = normalize(bound.plan().clone(), &state).unwrap();
            assert!(plan.display_indent().to_string().contains("a.n + b.n"), "{sql}: {}", plan.display_indent());
            let plan = crate::bind::optimize(plan, state.optimizers().to_vec(), &state).unwrap();
            assert!(plan.display_indent().to_string().contains("a.n + b.n"), "{sql}: {}", plan.display_indent());
        }
    }
}
