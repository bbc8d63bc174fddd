//! SHARED entity keys of two domains: equal values are different people, and unlike those of LOCAL keys no column says whose
//! they are. So two such keys are not compared at all.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan};

use super::origin::{origin, uncast};

/// Fails where keys of two domains are compared.
pub(super) fn check_domains(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let inputs = node.inputs();
        if let LogicalPlan::Join(join) = node {
            for (one, other) in &join.on {
                check(one, other, &inputs)?;
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part
                    && op.negate().is_some()
                {
                    check(left, right, &inputs)?;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn check(one: &Expr, other: &Expr, inputs: &[&LogicalPlan]) -> Result<()> {
    match (domain(one, inputs), domain(other, inputs)) {
        (Some(one), Some(other)) if one != other => {
            let (first, second) = if one < other { (one, other) } else { (other, one) };
            plan_err!(
                "equal entity keys of the domains `{first}` and `{second}` are different people; they cannot be compared"
            )
        }
        _ => Ok(()),
    }
}

/// The domain that an expression is a key of.
fn domain(expr: &Expr, inputs: &[&LogicalPlan]) -> Option<String> {
    let Expr::Column(column) = uncast(expr) else { return None };
    let from = inputs.iter().find_map(|input| origin(input, column))?;
    from.table.shared.filter(|(key, _)| *key == from.column).map(|(_, domain)| domain)
}
