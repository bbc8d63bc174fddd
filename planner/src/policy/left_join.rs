//! Left joins of protected rows, as the rewrite takes them: one table of the same stewards is joined by keys and nothing else,
//! and NULLs stand in for it where nothing matches. What a query computes or asks of that table before the join would be
//! another question than the same above it, so it may only stand above.

use std::collections::BTreeSet;

use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::assemble::Rows;
use super::denial::{Reason, Stop, refuse};
use super::joining::is_null_of_null;
use super::matching::is_steward;
use crate::bind::{VisibleTable, canonical};

/// The rows of a left join, or of a right join, which is the same from the other side.
pub(super) fn filled_up(plan: &LogicalPlan, join: &Join, left: Rows, right: Rows) -> Result<Rows, Stop> {
    let why: Vec<Reason> = left.why.iter().chain(&right.why).cloned().collect();
    let stop = |text: &str| refuse(&format!("a {} join of protected rows {text}", join.join_type), why.clone());
    if join.filter.is_some() {
        return Err(stop("is made by equal columns and no other condition"));
    }
    let at_home = at_home(join, &left, &right)?;
    let on_left = join.on.iter().map(|(one, _)| canonical(&left.plan, one)).collect::<Result<Vec<_>, _>>()?;
    let on_right = join.on.iter().map(|(_, other)| canonical(&right.plan, other)).collect::<Result<Vec<_>, _>>()?;
    let joined = plan.with_new_exprs(plan.expressions(), vec![left.plan.clone(), right.plan.clone()])?;
    let (mut rows, filled, kept, own) = match join.join_type {
        JoinType::Right => (right, left, on_right, on_left),
        _ => (left, right, on_left, on_right),
    };
    let alone = filled.relation.joins.is_empty() && filled.relation.filled.is_empty();
    let ([table], true) = (filled.scans.as_slice(), alone) else {
        return Err(stop("fills up one table, not several that are joined"));
    };
    if !(filled.relation.predicates.is_empty() && filled.lists.is_empty()) {
        return Err(stop("takes no condition on the table that it fills up before it; ask for it above the join"));
    }
    if rows.scans.iter().any(|scan| scan.stewards != table.stewards) {
        return Err(stop("is one of the same stewards' tables"));
    }
    if !at_home {
        return Err(stop("of several stewards has keys that are equal at one steward only: LOCAL or colocated ones"));
    }
    for column in filled.plan.schema().columns() {
        let given = canonical(&filled.plan, &Expr::Column(column))?;
        if !is_null_of_null(&given) {
            return Err(stop(&format!("fills up a table's columns, and `{given}` is computed before it")));
        }
    }
    let mut keys: BTreeSet<(Column, Column)> = BTreeSet::new();
    for pair in kept.into_iter().zip(own) {
        match pair {
            // Equal by themselves, since each steward joins its own tables.
            (Expr::Column(kept), Expr::Column(own)) if is_steward(&kept) && is_steward(&own) => {}
            (Expr::Column(kept), Expr::Column(own)) if !is_steward(&kept) && !is_steward(&own) => {
                keys.insert((kept, own));
            }
            (kept, own) => return Err(stop(&format!("is made by equal columns, not `{kept}` = `{own}`"))),
        }
    }
    if keys.is_empty() {
        return Err(stop("needs a key"));
    }
    rows.relation.filled.insert(table.name.clone(), keys);
    rows.relation.tables.extend(filled.relation.tables);
    rows.scans.extend(filled.scans);
    rows.plan = joined;
    rows.why = why;
    Ok(rows)
}

/// Whether rows that match in a join are always of one steward, so that the stewards' own joins are all of it: the join
/// compares stewards, or keys of which no two stewards have one in common. Rows of different stewards meet somewhere else.
pub(super) fn at_home(join: &Join, left: &Rows, right: &Rows) -> Result<bool, Stop> {
    let stewards = |rows: &Rows| -> BTreeSet<BTreeSet<SiteId>> {
        let several = rows.scans.iter().filter(|scan| scan.stewards.len() > 1);
        several.map(|scan| scan.stewards.clone()).collect()
    };
    let mut apart: BTreeSet<BTreeSet<SiteId>> = stewards(left).intersection(&stewards(right)).cloned().collect();
    for (one, other) in &join.on {
        let (Expr::Column(one), Expr::Column(other)) = (canonical(&left.plan, one)?, canonical(&right.plan, other)?)
        else {
            continue;
        };
        let (Some(of_one), Some(of_other)) = (left.scan_of(&one), right.scan_of(&other)) else { continue };
        let domain = |scan: &VisibleTable, column: &Column| scan.colocated.get(&column.name).cloned();
        let colocated = domain(of_one, &one).is_some_and(|key| domain(of_other, &other) == Some(key));
        if of_one.stewards == of_other.stewards && (colocated || (is_steward(&one) && is_steward(&other))) {
            apart.remove(&of_one.stewards);
        }
    }
    Ok(apart.is_empty())
}
