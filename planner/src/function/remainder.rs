//! `dynamos.is_remainder()`: whether a group is the remainder of those that were withheld, and not one whose keys are NULL. It
//! stands among the aggregates of a query; a release point gives its value, and nothing else can.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, Signature, Volatility};

/// The name of the function.
pub const IS_REMAINDER: &str = "dynamos.is_remainder";

/// The function, as far as names are resolved.
pub(super) fn is_remainder() -> AggregateUDF {
    AggregateUDF::from(IsRemainder { signature: Signature::nullary(Volatility::Volatile) })
}

/// Whether it is asked for somewhere in a plan.
pub fn asks_for_remainder(plan: &LogicalPlan) -> Result<bool> {
    let mut asked = false;
    let named = |expr: &Expr| match expr {
        Expr::AggregateFunction(call) => call.func.name() == IS_REMAINDER,
        Expr::WindowFunction(call) => call.fun.name() == IS_REMAINDER,
        _ => false,
    };
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            asked |= expr.exists(|part| Ok(named(part)))?;
            Ok(if asked { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(asked)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IsRemainder {
    signature: Signature,
}

impl AggregateUDFImpl for IsRemainder {
    fn name(&self) -> &str {
        IS_REMAINDER
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        plan_err!("`{IS_REMAINDER}()` has a value in release points only")
    }
}
