//! Which stewards a query over federated tables is about: a predicate on the column `steward` alone is decided for each
//! steward while binding, and those that do not fulfil it are taken out, so that they need not agree, answer or even be up.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, LogicalPlan, Operator, TableScan, TableScanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
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
            if let Some((column, allowed)) = allowed_stewards(conjunct, &input) {
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

/// The one column that a conjunct is about, and the stewards that fulfil it, if the column says whose rows these are.
fn allowed_stewards(conjunct: &Expr, input: &LogicalPlan) -> Option<(Column, BTreeSet<SiteId>)> {
    let column = conjunct.column_refs().into_iter().next()?;
    let mut allowed = BTreeSet::new();
    for steward in stewards_of(input, column)? {
        // A condition that is about anything else as well says nothing about whole stewards.
        if fulfils(&steward, conjunct, &|one| one == column)? {
            allowed.insert(steward);
        }
    }
    // One that no steward fulfils leaves no row. Only where stewards are named it is more likely a wrong name.
    (!allowed.is_empty() || names_values(conjunct)).then(|| (column.clone(), allowed))
}

/// Whether a condition says which values there may be.
fn names_values(condition: &Expr) -> bool {
    match unalias(condition) {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Eq, .. }) | Expr::InList(InList { negated: false, .. }) => true,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => names_values(left) && names_values(right),
        _ => false,
    }
}

/// Whether a steward's rows fulfil a condition, whatever else is in them. None if that depends on more than `is_steward`
/// columns, which hold the steward's name.
pub fn fulfils(steward: &SiteId, condition: &Expr, is_steward: &dyn Fn(&Column) -> bool) -> Option<bool> {
    let name = ScalarValue::Utf8(Some(steward.to_string()));
    let named = condition.clone().transform_up(|node| match &node {
        Expr::Column(column) if is_steward(column) => Ok(Transformed::yes(Expr::Literal(name.clone(), None))),
        _ => Ok(Transformed::no(node)),
    });
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let coerced = simplifier.coerce(named.ok()?.data, &DFSchema::empty()).ok()?;
    match simplifier.simplify(coerced).ok()? {
        Expr::Literal(ScalarValue::Boolean(fulfilled), _) => Some(fulfilled.unwrap_or(false)),
        Expr::Literal(ScalarValue::Null, _) => Some(false),
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

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn b4_a_condition_on_the_steward_is_decided_for_each_steward() {
        let steward = || col(STEWARD);
        let allowed = |condition: &Expr| {
            let of = |name: &&&str| fulfils(&SiteId::new(**name), condition, &|one| one.name == STEWARD);
            let known = ["amc", "uva", "vu"].iter().map(|name| of(&name)).collect::<Option<Vec<bool>>>()?;
            Some(["amc", "uva", "vu"].into_iter().zip(known).filter_map(|(name, is)| is.then_some(name)).collect())
        };
        let cases: [(Expr, Option<Vec<&str>>); 9] = [
            (steward().eq(lit("vu")), Some(vec!["vu"])),
            (lit("vu").not_eq(steward()), Some(vec!["amc", "uva"])),
            (steward().in_list(vec![lit("vu"), lit("x")], false), Some(vec!["vu"])),
            (steward().in_list(vec![lit("vu"), lit("x")], true), Some(vec!["amc", "uva"])),
            (steward().in_list(vec![lit("vu"), lit(ScalarValue::Utf8(None))], true), Some(vec![])),
            (steward().gt(lit("b")), Some(vec!["uva", "vu"])),
            (steward().like(lit("u%")), Some(vec!["uva"])),
            (steward().eq(lit("vu")).or(col("x").gt(lit(1))), None),
            (steward().eq(lit("vu")).or(steward().is_null().is_not_true()), Some(vec!["amc", "uva", "vu"])),
        ];
        for (condition, expected) in cases {
            assert_eq!(allowed(&condition), expected, "{condition}");
        }
    }
}
