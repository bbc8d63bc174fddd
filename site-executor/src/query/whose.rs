//! Whose rows a release point aggregates, where several stewards send rows. The executing place puts the column there
//! itself, from where each row comes: what a plan says of it would be the coordinator's word.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::Expr;
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::policy::WHOSE;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::SiteId;

/// The plan with the name of each row's steward as its last column. Only a union brings rows of several stewards together,
/// and above it there are only operators that keep every row as it is or drop it.
pub(super) fn with_steward(plan: &LogicalPlan, graph: &FragmentGraph) -> Result<LogicalPlan> {
    let stewards = stewards_of(plan, graph)?;
    let mut of_all = stewards.iter();
    if let (Some(only), None) = (of_all.next(), of_all.next()) {
        let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::from).collect();
        columns.push(lit(only.as_str()).alias(WHOSE));
        return LogicalPlanBuilder::from(plan.clone()).project(columns)?.build();
    }
    let mut inputs = plan.inputs().into_iter().map(|input| with_steward(input, graph)).collect::<Result<Vec<_>>>()?;
    match (plan, inputs.len()) {
        (LogicalPlan::Union(_), _) => {
            let mut all = inputs.drain(..);
            let Some(first) = all.next() else { return plan_err!("a union of nothing") };
            all.try_fold(LogicalPlanBuilder::from(first), LogicalPlanBuilder::union)?.build()
        }
        (LogicalPlan::Projection(projection), 1) => {
            let input = inputs.remove(0);
            let Some(whose) = input.schema().columns().pop() else { return plan_err!("a plan without columns") };
            let mut columns = projection.expr.clone();
            columns.push(Expr::from(whose).alias(WHOSE));
            LogicalPlanBuilder::from(input).project(columns)?.build()
        }
        (LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_), 1) => plan.with_new_exprs(plan.expressions(), inputs),
        (other, _) => plan_err!("`{}` mixes rows of several stewards", other.display()),
    }
}

/// The stewards whose rows a plan reads, from their own tables only: a fragment that passes on others' rows is no steward.
fn stewards_of(plan: &LogicalPlan, graph: &FragmentGraph) -> Result<BTreeSet<SiteId>> {
    let mut stewards = BTreeSet::new();
    for leaf in leaves(plan)? {
        match Leaf::from_reference(&leaf) {
            Some(Leaf::Table { site, .. }) => {
                stewards.insert(site);
            }
            Some(Leaf::Exchange(id)) => {
                let Some(sender) = graph.fragment(id) else { return plan_err!("no fragment {id}") };
                for leaf in leaves(&sender.plan)? {
                    match Leaf::from_reference(&leaf) {
                        Some(Leaf::Table { site, .. }) if site == sender.place => {
                            stewards.insert(site);
                        }
                        _ => return plan_err!("fragment {id} sends more than its steward's own rows"),
                    }
                }
            }
            Some(Leaf::Release(_)) | None => return plan_err!("`{leaf}` holds no steward's rows"),
        }
    }
    Ok(stewards)
}

fn leaves(plan: &LogicalPlan) -> Result<Vec<TableReference>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found.push(scan.table_name.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
