//! Lists below a release point, which the requester brings or which are released: a protected row passes a semi or anti join
//! with such a list once or not at all, and no column of the list goes on (rule A.5). The agreement must let its rows be joined
//! WITH REQUESTER on the columns that are compared.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Operator};
use datafusion::prelude::Expr;

use super::brought;
use super::matching::{RelationShape, is_steward};
use super::{Agreement, Clause, JoinPartner};
use crate::bind::unalias;

/// A semi or anti join of protected rows with a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ListJoin {
    /// The compared pairs: of the rows, written over the tables' columns, and of the list.
    pub(super) pairs: Vec<(Expr, Expr)>,
    list: LogicalPlan,
    kind: JoinType,
    nulls: Nulls,
}

/// What a NULL on either side means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nulls {
    /// It equals nothing: EXISTS, NOT EXISTS, IN.
    Unequal,
    /// It may equal anything: NOT IN.
    Unknown,
}

/// The pairs by which a semi or anti join compares rows of its left side with those of its right side.
struct Compared<'a> {
    pairs: Vec<(&'a Expr, &'a Expr)>,
    nulls: Nulls,
}

/// What such a join compares; none if it is another join, or compares by anything but equality.
fn compared(join: &Join) -> Option<Compared<'_>> {
    if !is_list_kind(join.join_type) || join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
        return None;
    }
    let on: Vec<(&Expr, &Expr)> = join.on.iter().map(|(left, right)| (left, right)).collect();
    match &join.filter {
        None if !on.is_empty() => Some(Compared { pairs: on, nulls: Nulls::Unequal }),
        Some(filter) if on.is_empty() => {
            let pairs = split_conjunction(filter).into_iter().map(maybe_equal).collect::<Option<Vec<_>>>()?;
            let left = |expr: &Expr| expr.column_refs().iter().all(|column| join.left.schema().has_column(column));
            let right = |expr: &Expr| expr.column_refs().iter().all(|column| join.right.schema().has_column(column));
            let sides = pairs.iter().all(|(one, other)| left(one) && right(other));
            sides.then_some(Compared { pairs, nulls: Nulls::Unknown })
        }
        _ => None,
    }
}

/// Whether a join keeps rows of its left side as they are, or drops them.
pub(super) fn is_list_kind(kind: JoinType) -> bool {
    matches!(kind, JoinType::LeftSemi | JoinType::LeftAnti)
}

/// The two sides of `l = r OR l IS NULL OR r IS NULL`.
fn maybe_equal(expr: &Expr) -> Option<(&Expr, &Expr)> {
    let or = |expr: &'_ Expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => Some((left.clone(), right.clone())),
        _ => None,
    };
    let (both, right_null) = or(expr)?;
    let (_, left_null) = or(&both)?;
    let Expr::BinaryExpr(BinaryExpr { left, .. }) = expr else { return None };
    let Expr::BinaryExpr(BinaryExpr { left: equal, .. }) = left.as_ref() else { return None };
    let Expr::BinaryExpr(BinaryExpr { left: one, op: Operator::Eq, right: other }) = equal.as_ref() else {
        return None;
    };
    let null_of = |expr: &Expr, of: &Expr| matches!(expr, Expr::IsNull(inner) if inner.as_ref() == of);
    (null_of(&left_null, one) && null_of(&right_null, other)).then_some((one, other))
}

/// A list as a plan that was read from the wire compares rows with it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ComparedList {
    kind: JoinType,
    nulls: Nulls,
    /// The tables' columns, each with what it is compared with: an expression over the list's columns by position.
    pairs: Vec<(Column, Expr)>,
    /// What the list is made of: its operators from the outermost, each with its expressions.
    made_of: Vec<(String, Vec<Expr>)>,
    /// Whether it is sent, so that what it is made of does not say which rows it has.
    pub(super) sent: bool,
}

impl ComparedList {
    /// Whether a join compares rows with a list, by equality.
    pub(super) fn is_of(join: &Join) -> bool {
        compared(join).is_some()
    }

    /// What a join with a list compares; `written` gives an expression of the left side over the tables' columns, and `bare` one
    /// without what differs where stewards have columns of different types.
    pub(super) fn of(
        join: &Join,
        written: impl Fn(&Expr) -> Result<Expr, String>,
        bare: impl Fn(&Expr) -> Expr,
    ) -> Result<Self, String> {
        let Some(compared) = compared(join) else {
            return Err(format!("a {} join with rows of the requester compares by equality only", join.join_type));
        };
        let by_position = |expr: &Expr| {
            let placed = bare(expr).transform_up(|node| match node {
                Expr::Column(column) => {
                    let index = join.right.schema().index_of_column(&column)?;
                    Ok(Transformed::yes(Expr::Column(Column::from_name(index.to_string()))))
                }
                other => Ok(Transformed::no(other)),
            });
            placed.map(|placed| placed.data).map_err(|error| error.strip_backtrace())
        };
        let pair = |(left, right): &(&Expr, &Expr)| match written(left)? {
            Expr::Column(column) => Ok((column, by_position(right)?)),
            other => Err(format!("`{other}` is no column that can be compared with rows of the requester")),
        };
        let pairs = compared.pairs.iter().map(pair).collect::<Result<_, String>>()?;
        let mut made_of = Vec::new();
        let walked = join.right.apply_with_subqueries(|node| {
            let expressions = node.expressions().iter().map(&bare).collect();
            // The text of an operator tells its kind and what is no expression; the columns that it makes are named by each steward.
            let text = match node {
                LogicalPlan::Projection(_) => "Projection".to_owned(),
                LogicalPlan::SubqueryAlias(_) => return Ok(TreeNodeRecursion::Continue),
                LogicalPlan::Filter(_) => "Filter".to_owned(),
                LogicalPlan::Values(values) => format!("Values of {}", values.schema.fields().len()),
                other => other.display().to_string(),
            };
            made_of.push((text, expressions));
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(|error| error.strip_backtrace())?;
        Ok(Self { kind: join.join_type, nulls: compared.nulls, pairs, made_of, sent: !is_list(&join.right) })
    }

    /// The columns that are compared.
    pub(super) fn columns(&self) -> BTreeSet<Column> {
        self.pairs.iter().map(|(column, _)| column.clone()).collect()
    }
}

impl ListJoin {
    /// A join with a list; none if it is another join. `written` gives an expression of the rows over the tables' columns.
    pub(super) fn of(join: &Join, written: impl Fn(&Expr) -> datafusion::common::Result<Expr>) -> Option<Self> {
        let compared = compared(join)?;
        let pairs = compared.pairs.iter().map(|(left, right)| Ok((written(left)?, (*right).clone())));
        let pairs: datafusion::common::Result<Vec<_>> = pairs.collect();
        Some(Self {
            pairs: pairs.ok()?,
            list: join.right.as_ref().clone(),
            kind: join.join_type,
            nulls: compared.nulls,
        })
    }

    /// Takes out that rows are compared with those of the same steward, which is so where each steward compares its own; whether
    /// there is such a comparison.
    pub(super) fn take_stewards(&mut self, theirs: impl Fn(&Expr) -> bool) -> bool {
        let own = |expr: &Expr| matches!(expr, Expr::Column(column) if is_steward(column));
        let before = self.pairs.len();
        self.pairs.retain(|(left, right)| !(own(left) && theirs(right)));
        self.pairs.len() < before
    }

    /// The same with a list that the query itself does not hold: what is compared of `released`, which is a plan of the list, and
    /// from here on the released data with this number.
    pub(super) fn released(
        self,
        number: usize,
        released: LogicalPlan,
    ) -> datafusion::common::Result<(Self, LogicalPlan)> {
        let columns = self.pairs.iter().enumerate().map(|(index, (_, right))| right.clone().alias(format!("c{index}")));
        let released = LogicalPlanBuilder::from(released).project(columns.collect::<Vec<_>>())?.build()?;
        let list = brought::leaf(number, brought::types(released.schema()))?;
        let names = list.schema().columns();
        let pairs = self.pairs.into_iter().zip(names).map(|((own, _), name)| (own, Expr::Column(name))).collect();
        Ok((Self { pairs, list, ..self }, released))
    }

    /// Whether it is of released data.
    pub(super) fn is_released(&self) -> bool {
        !is_list(&self.list)
    }

    /// The rows that pass. `number` tells this list from the others of the plan.
    pub(super) fn joined(
        &self,
        rows: LogicalPlanBuilder,
        number: usize,
    ) -> datafusion::common::Result<LogicalPlanBuilder> {
        let name = |index: usize| format!("list{number}_{index}");
        let columns = self.pairs.iter().enumerate().map(|(index, (_, right))| right.clone().alias(name(index)));
        let list = LogicalPlanBuilder::from(self.list.clone()).project(columns.collect::<Vec<_>>())?.build()?;
        let pairs = self.pairs.iter().enumerate();
        let pairs = pairs.map(|(index, (left, _))| (left.clone(), Expr::Column(Column::from_name(name(index)))));
        let pairs: Vec<(Expr, Expr)> = pairs.collect();
        if self.nulls == Nulls::Unequal {
            let (left, right): (Vec<Expr>, Vec<Expr>) = pairs.into_iter().unzip();
            return rows.join_with_expr_keys(list, self.kind, (left, right), None);
        }
        let maybe = |(left, right): (Expr, Expr)| left.clone().eq(right.clone()).or(left.is_null()).or(right.is_null());
        let filter = pairs.into_iter().map(maybe).reduce(Expr::and);
        let left = rows.build()?;
        let join = Join::try_new(
            left.into(),
            list.into(),
            vec![],
            filter,
            self.kind,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok(LogicalPlanBuilder::from(LogicalPlan::Join(join)))
    }
}

/// Whether a plan is made of what stands in the query alone, and gives the same rows wherever it runs.
pub(super) fn is_list(plan: &LogicalPlan) -> bool {
    let mut own = true;
    let visited = plan.apply_with_subqueries(|node| {
        own &= match node {
            LogicalPlan::Values(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Aggregate(_) => node.expressions().iter().all(|expr| !unalias(expr).is_volatile()),
            _ => false,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    visited.is_ok() && own
}

impl RelationShape {
    /// Why rows may not be compared with lists of the requester: each comparison needs a JOIN clause with exactly its columns.
    pub(super) fn refused_lists(&self, agreement: &Agreement) -> Vec<String> {
        let refused = self.lists.iter().filter(|columns| self.listing_clause(agreement, columns).is_none());
        let name = |columns: &BTreeSet<Column>| {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            format!("no JOIN clause lets `{}` be compared with rows of the requester", names.join("`, `"))
        };
        refused.map(name).collect()
    }

    /// The JOIN clause that lets these columns be compared with rows of the requester.
    pub(super) fn listing_clause(&self, agreement: &Agreement, columns: &BTreeSet<Column>) -> Option<u32> {
        let used: BTreeSet<Column> = columns.iter().cloned().map(|column| self.first_equal(column)).collect();
        let clause = agreement.clauses.iter().find(|clause| match &clause.clause {
            Clause::Join(join) => join.with == JoinPartner::Requester && self.join_keys(join).as_ref() == Some(&used),
            _ => false,
        });
        clause.map(|clause| clause.number)
    }
}
