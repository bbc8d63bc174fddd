//! Reading a join from Substrait, in place of the library's own reader: that one takes any equality of two columns for a pair
//! of keys, even if both are of one side, refuses an outer join without a condition, and calls the truth columns of two
//! EXISTS alike. Wire form only; what a join means is the engine's.

use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result, not_impl_err, plan_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, lit, requalify_sides_if_needed,
};
use datafusion::prelude::Expr;
use datafusion_substrait::logical_plan::consumer::SubstraitConsumer;
use datafusion_substrait::substrait::proto::JoinRel;
use datafusion_substrait::substrait::proto::join_rel;

/// The join of a message. `marks` counts the truth columns of the plan: each is called by a name of its own, or two of them
/// would not be told apart; operators above know it by its position.
pub(super) async fn read_join(
    consumer: &impl SubstraitConsumer,
    join: &JoinRel,
    marks: &AtomicUsize,
) -> Result<LogicalPlan> {
    let (Some(left), Some(right), None) = (&join.left, &join.right, &join.post_join_filter) else {
        return plan_err!("a join has two inputs and no condition on its output");
    };
    let left = LogicalPlanBuilder::from(consumer.consume_rel(left).await?);
    let right = LogicalPlanBuilder::from(consumer.consume_rel(right).await?);
    let (left, right, _) = requalify_sides_if_needed(left, right)?;
    let kind = kind(join.r#type)?;
    let condition = match &join.expression {
        Some(condition) => {
            let both = left.schema().join(right.schema())?;
            split_conjunction_owned(consumer.consume_expression(condition, &both).await?)
        }
        None => Vec::new(),
    };
    let Condition { keys, nulls, filter } = Condition::new(condition, left.schema(), right.schema());
    // Without a condition only an inner join can be built.
    let filter = match filter {
        None if keys.is_empty() && kind != JoinType::Inner => Some(lit(true)),
        other => other,
    };
    let keys: (Vec<Column>, Vec<Column>) = keys.into_iter().unzip();
    let plan = left.join_detailed(right.build()?, kind, keys, filter, nulls)?.build()?;
    if !matches!(kind, JoinType::LeftMark | JoinType::RightMark) {
        return Ok(plan);
    }
    let number = marks.fetch_add(1, Ordering::Relaxed);
    let mut columns = plan.schema().columns();
    let mark = columns.pop().map(|mark| Expr::Column(mark).alias(format!("mark${number}")));
    let columns: Vec<Expr> = columns.into_iter().map(Expr::Column).chain(mark).collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// What rows must fulfil to match.
struct Condition {
    /// Equal columns, of the left side and of the right one.
    keys: Vec<(Column, Column)>,
    /// Whether NULL keys match each other.
    nulls: NullEquality,
    /// The rest.
    filter: Option<Expr>,
}

impl Condition {
    fn new(conjuncts: Vec<Expr>, left: &DFSchema, right: &DFSchema) -> Self {
        let (mut equal, mut alike, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for conjunct in conjuncts {
            match pair(&conjunct, left, right) {
                Some((Operator::Eq, pair)) => equal.push(pair),
                Some((_, pair)) => alike.push(pair),
                None => rest.push(conjunct),
            }
        }
        let (keys, nulls) = if equal.is_empty() && !alike.is_empty() {
            (alike, NullEquality::NullEqualsNull)
        } else {
            let not_distinct =
                |(left, right)| binary_expr(Expr::Column(left), Operator::IsNotDistinctFrom, Expr::Column(right));
            rest.extend(alike.into_iter().map(not_distinct));
            (equal, NullEquality::NullEqualsNothing)
        };
        Self { keys, nulls, filter: conjunction(rest) }
    }
}

/// A column of the left side compared with one of the right side, in that order.
fn pair(conjunct: &Expr, left: &DFSchema, right: &DFSchema) -> Option<(Operator, (Column, Column))> {
    let Expr::BinaryExpr(BinaryExpr { left: one, op, right: other }) = conjunct else { return None };
    if !matches!(op, Operator::Eq | Operator::IsNotDistinctFrom) {
        return None;
    }
    let (Expr::Column(one), Expr::Column(other)) = (one.as_ref(), other.as_ref()) else { return None };
    if left.has_column(one) && right.has_column(other) {
        Some((*op, (one.clone(), other.clone())))
    } else if left.has_column(other) && right.has_column(one) {
        Some((*op, (other.clone(), one.clone())))
    } else {
        None
    }
}

fn kind(number: i32) -> Result<JoinType> {
    match join_rel::JoinType::try_from(number) {
        Ok(join_rel::JoinType::Inner) => Ok(JoinType::Inner),
        Ok(join_rel::JoinType::Left) => Ok(JoinType::Left),
        Ok(join_rel::JoinType::Right) => Ok(JoinType::Right),
        Ok(join_rel::JoinType::Outer) => Ok(JoinType::Full),
        Ok(join_rel::JoinType::LeftSemi) => Ok(JoinType::LeftSemi),
        Ok(join_rel::JoinType::LeftAnti) => Ok(JoinType::LeftAnti),
        Ok(join_rel::JoinType::LeftMark) => Ok(JoinType::LeftMark),
        Ok(join_rel::JoinType::RightSemi) => Ok(JoinType::RightSemi),
        Ok(join_rel::JoinType::RightAnti) => Ok(JoinType::RightAnti),
        Ok(join_rel::JoinType::RightMark) => Ok(JoinType::RightMark),
        Ok(other) => not_impl_err!("a join of kind {}", other.as_str_name()),
        Err(_) => plan_err!("no join is of kind {number}"),
    }
}
