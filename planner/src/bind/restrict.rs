//! Which stewards a query over federated tables is about: a predicate on the column `steward` that only some stewards can
//! fulfil takes the others out while binding, so that they need not agree, answer or even be up.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, Result, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, LogicalPlan, Operator, TableScan, TableScanBuilder};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::origin::unalias;
use crate::catalog::STEWARD;
use crate::wire::LeafTable;

/// The plan with every federated scan restricted to the stewards that the predicates above it leave.
pub fn restrict_stewards(plan: LogicalPlan) -> Result<LogicalPlan> {
    let restricted = plan.transform_down(|node| {
        let LogicalPlan::Filter(mut filter) = node else { return Ok(Transformed::no(node)) };
        let mut input = filter.input.as_ref().clone();
        let mut changed = false;
        for conjunct in split_conjunction(&filter.predicate) {
            if let Some((column, allowed)) = allowed_stewards(conjunct) {
                let (next, restricted) = restrict(input, &column, &allowed)?;
                input = next;
                changed |= restricted;
            }
        }
        if !changed {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        filter.input = std::sync::Arc::new(input);
        Ok(Transformed::yes(LogicalPlan::Filter(filter)))
    })?;
    through_joins(restricted.data)
}

/// A join on the steward itself restricts a side to the stewards of the other, unless rows of it that match nothing are kept.
fn through_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up(|node| {
        let LogicalPlan::Join(mut join) = node else { return Ok(Transformed::no(node)) };
        let (keeps_left, keeps_right) = keeps_unmatched(join.join_type);
        let mut changed = false;
        for (left, right) in join.on.clone() {
            let (Expr::Column(left), Expr::Column(right)) = (unalias(&left), unalias(&right)) else { continue };
            let (Some(of_left), Some(of_right)) = (stewards_of(&join.left, left), stewards_of(&join.right, right))
            else {
                continue;
            };
            if !keeps_left {
                let (next, restricted) = restrict(join.left.as_ref().clone(), left, &of_right)?;
                join.left = std::sync::Arc::new(next);
                changed |= restricted;
            }
            if !keeps_right {
                let (next, restricted) = restrict(join.right.as_ref().clone(), right, &of_left)?;
                join.right = std::sync::Arc::new(next);
                changed |= restricted;
            }
        }
        let node = LogicalPlan::Join(join);
        Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
    })?;
    Ok(plan.data)
}

/// Whether rows of the left and of the right side that match nothing have a part in the join's rows.
fn keeps_unmatched(kind: JoinType) -> (bool, bool) {
    match kind {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => (false, false),
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => (true, false),
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => (false, true),
        JoinType::Full => (true, true),
    }
}

/// Whether a condition on a column of the left and of the right side may be put to that side's rows before the join.
fn takes_conditions(kind: JoinType) -> (bool, bool) {
    match kind {
        JoinType::Inner => (true, true),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => (true, false),
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => (false, true),
        JoinType::Full => (false, false),
    }
}

fn stewards_of(plan: &LogicalPlan, column: &Column) -> Option<BTreeSet<SiteId>> {
    let origin = super::origin(plan, column)?;
    (origin.table.site.is_none() && origin.column == STEWARD).then_some(origin.table.stewards)
}

/// The column and the values that a conjunct `column = literal` or `column IN (literals)` allows.
fn allowed_stewards(conjunct: &Expr) -> Option<(Column, BTreeSet<SiteId>)> {
    match unalias(conjunct) {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), literal) | (literal, Expr::Column(column)) => {
                Some((column.clone(), BTreeSet::from([site(literal)?])))
            }
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((one, mut sites), (other, more)) = (allowed_stewards(left)?, allowed_stewards(right)?);
            sites.extend(more);
            (one == other).then_some((one, sites))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let Expr::Column(column) = expr.as_ref() else { return None };
            let sites = list.iter().map(site).collect::<Option<_>>()?;
            Some((column.clone(), sites))
        }
        _ => None,
    }
}

fn site(literal: &Expr) -> Option<SiteId> {
    match literal {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => Some(SiteId::new(text)),
        _ => None,
    }
}

/// Restricts the federated scan whose `steward` column `column` is; no change if it is something else.
fn restrict(plan: LogicalPlan, column: &Column, allowed: &BTreeSet<SiteId>) -> Result<(LogicalPlan, bool)> {
    if stewards_of(&plan, column).is_none() {
        return Ok((plan, false));
    }
    match plan {
        LogicalPlan::TableScan(scan) => restrict_scan(&scan, allowed),
        LogicalPlan::Projection(ref projection) => {
            let index = projection.schema.index_of_column(column)?;
            let Some(Expr::Column(inner)) = projection.expr.get(index).map(unalias) else { return Ok((plan, false)) };
            into_input(&plan, inner, allowed, (true, true))
        }
        LogicalPlan::SubqueryAlias(ref alias) => {
            let (qualifier, field) = alias.input.schema().qualified_field(alias.schema.index_of_column(column)?);
            let inner = Column::new(qualifier.cloned(), field.name());
            into_input(&plan, &inner, allowed, (true, true))
        }
        LogicalPlan::Filter(_) => into_input(&plan, column, allowed, (true, true)),
        LogicalPlan::Join(ref join) => into_input(&plan, column, allowed, takes_conditions(join.join_type)),
        other => Ok((other, false)),
    }
}

/// Restricts the inputs that have the column, of two only those that may be.
fn into_input(
    plan: &LogicalPlan,
    column: &Column,
    allowed: &BTreeSet<SiteId>,
    may: (bool, bool),
) -> Result<(LogicalPlan, bool)> {
    let mut changed = false;
    let mut sides = [may.0, may.1].into_iter();
    let rewritten = plan.clone().map_children(|input| {
        if !sides.next().unwrap_or(false) || input.schema().index_of_column(column).is_err() {
            return Ok(Transformed::no(input));
        }
        let (next, restricted) = restrict(input, column, allowed)?;
        changed |= restricted;
        Ok(if restricted { Transformed::yes(next) } else { Transformed::no(next) })
    })?;
    Ok((rewritten.data, changed))
}

fn restrict_scan(scan: &TableScan, allowed: &BTreeSet<SiteId>) -> Result<(LogicalPlan, bool)> {
    let Some(mut table) = LeafTable::bound_to(scan) else {
        return Ok((LogicalPlan::TableScan(scan.clone()), false));
    };
    let before = table.stewards.len();
    table.stewards = table.stewards.intersection(allowed).cloned().collect();
    if table.stewards.len() == before {
        return Ok((LogicalPlan::TableScan(scan.clone()), false));
    }
    let source = provider_as_source(LeafTable::visible(table));
    let restricted = TableScanBuilder::new(scan.table_name.clone(), source)
        .with_projection(scan.projection.clone())
        .with_filters(scan.filters.clone())
        .with_fetch(scan.fetch)
        .build()?;
    Ok((LogicalPlan::TableScan(restricted), true))
}

/// All stewards whose rows a plan reads.
pub fn stewards_in(plan: &LogicalPlan) -> Result<BTreeSet<SiteId>> {
    let mut stewards = BTreeSet::new();
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = LeafTable::bound_to(scan)
        {
            stewards.extend(table.stewards);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(stewards)
}
