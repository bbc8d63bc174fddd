//! Semi-join reduction: before the rows of one side of a join move, the other side's keys go there and only the rows that
//! match one of them travel on. A candidate like every other: taken where the keys may go there and it is cheaper.
//!
//! ```text
//!  A@x ⋈ B@y at z:   keys(A) → y,   B ⋉ keys(A) at y → z,   A → z,   ⋈ at z
//! ```
//!
//! Bernstein and Chiu, "Using Semi-Joins to Solve Relational Queries", J. ACM 28 (1981).

use std::sync::Arc;

use datafusion::common::{JoinConstraint, JoinType, Result};
use datafusion::logical_expr::{Join, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::prelude::Expr;

use super::alternative::Alternatives;
use super::enumerate::{Enumeration, common};
use super::estimate;
use super::join_order::Joined;
use crate::bind::unalias;
use crate::wire::Leaf;

/// A reduction is tried only if it is expected to leave at most this share of the rows.
const WORTH: f64 = 0.5;

impl Enumeration<'_> {
    /// Ways to have `side` without rows that match nothing of `other`; none if that cannot be or is not worth while. `on`
    /// are the join's equalities, `side`'s column first.
    pub(super) fn reduced(&self, side: &Joined, other: &Joined, on: &[(Expr, Expr)]) -> Result<Option<Alternatives>> {
        let bare = |expr: &Expr| matches!(unalias(expr), Expr::Column(_));
        if !self.works_spread() || on.is_empty() || !on.iter().all(|(one, two)| bare(one) && bare(two)) {
            return Ok(None);
        }
        if !self.left_after(side, other.ways.rows, on, &other.ways).is_some_and(|rows| rows <= side.ways.rows * WORTH) {
            return Ok(None);
        }
        if !cheap_twice(&other.plan) {
            return Ok(None);
        }
        let keys = on.iter().map(|(_, key)| key.clone()).collect::<Vec<_>>();
        let keys = LogicalPlanBuilder::from(Arc::clone(&other.plan)).aggregate(keys, Vec::<Expr>::new())?.build()?;
        let keys = crate::bind::optimize(keys, vec![Arc::new(OptimizeProjections::new())], self.state)?;
        let known = self.inner(&keys)?;
        let Some(rows) = self.left_after(side, known.rows, on, &known) else { return Ok(None) };
        // The keys build: DataFusion's left side.
        let join = Join::try_new(
            Arc::new(keys),
            Arc::clone(&side.plan),
            on.iter().map(|(one, key)| (key.clone(), one.clone())).collect(),
            None,
            JoinType::RightSemi,
            JoinConstraint::On,
            datafusion::common::NullEquality::NullEqualsNothing,
            false,
        )?;
        let semi = LogicalPlan::Join(join);
        let places = common([&side.ways.places, &known.places]);
        let mut ways = Alternatives::new(places, Arc::clone(semi.schema()), rows, side.ways.columns.clone());
        for (at, way) in &side.ways.by_distribution {
            if let Some(keys) = known.to(at, self.knowledge) {
                ways.offer(self.node(&semi, &[&keys, way], at.clone(), rows, ways.width));
            }
        }
        Ok(Some(ways))
    }

    /// Rows of `side` that match one of so many keys.
    fn left_after(&self, side: &Joined, keys: f64, on: &[(Expr, Expr)], other: &Alternatives) -> Option<f64> {
        let mut columns = side.ways.columns.clone();
        columns.extend(other.columns.iter().map(|(column, known)| (column.clone(), *known)));
        let matched = estimate::join_rows(side.ways.rows, keys, on, None, &columns);
        matched.is_finite().then_some(matched.min(side.ways.rows))
    }
}

/// Whether a plan may be computed once more for its keys: a chain of row-by-row operators over one table whose rows are
/// released. A release point is computed once only.
fn cheap_twice(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => Leaf::from_reference(&scan.table_name).is_none(),
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().into_iter().all(cheap_twice)
        }
        _ => false,
    }
}
