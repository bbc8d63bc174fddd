//! The order of inner joins across places, chosen together with their places: dynamic programming over the connected
//! subsets of the joined relations. A cross product is made only where the query itself leaves relations unconnected.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, JoinConstraint, JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Join, LogicalPlan, Projection};
use datafusion::prelude::Expr;

use super::alternative::Alternatives;
use super::enumerate::{Enumeration, common};
use super::estimate;

/// Up to so many relations every order is tried; beyond that the query's own order is kept pair by pair.
const RELATIONS_MAX: usize = 9;

/// A set of relations, one bit each.
type Subset = u32;

/// A nest of inner joins taken apart.
struct Nest {
    relations: Vec<Arc<LogicalPlan>>,
    equalities: Vec<(Expr, Expr)>,
    conditions: Vec<Expr>,
    nulls: NullEquality,
}

/// One subset's placements, with a plan that has its columns.
struct Joined {
    ways: Alternatives,
    plan: Arc<LogicalPlan>,
}

impl Enumeration<'_> {
    /// Placements of a nest of inner joins.
    pub(super) fn inner_joins(&self, plan: &LogicalPlan) -> Result<Alternatives> {
        let LogicalPlan::Join(join) = plan else { return self.inner(plan) };
        let mut nest = Nest { relations: vec![], equalities: vec![], conditions: vec![], nulls: join.null_equality };
        take_apart(plan, &mut nest);
        if nest.relations.len() > RELATIONS_MAX {
            nest = Nest { relations: vec![], equalities: vec![], conditions: vec![], nulls: join.null_equality };
            nest.relations = vec![Arc::clone(&join.left), Arc::clone(&join.right)];
            nest.add_conditions(join);
        }
        let joined = self.order(&nest)?;
        self.in_order(plan, joined)
    }

    fn order(&self, nest: &Nest) -> Result<Joined> {
        let mut best: BTreeMap<Subset, Joined> = BTreeMap::new();
        for (index, relation) in nest.relations.iter().enumerate() {
            best.insert(1 << index, Joined { ways: self.inner(relation)?, plan: Arc::clone(relation) });
        }
        let all: Subset = (1 << nest.relations.len()) - 1;
        let connected = nest.connected(all);
        let tied = |subset| nest.connected(subset) || (!connected && nest.is_whole(subset));
        self.join_subsets(all, nest, &tied, &mut best)?;
        if !best.contains_key(&all) {
            // A condition over three relations ties no two of them: `a.x + b.y = c.z`.
            self.join_subsets(all, nest, &|_| true, &mut best)?;
        }
        best.remove(&all)
            .ok_or_else(|| datafusion::common::DataFusionError::Plan("the relations cannot be joined".into()))
    }

    /// Joins every subset that is wanted and not there yet.
    fn join_subsets(
        &self,
        all: Subset,
        nest: &Nest,
        wanted: &dyn Fn(Subset) -> bool,
        best: &mut BTreeMap<Subset, Joined>,
    ) -> Result<()> {
        for subset in 1..=all {
            if best.contains_key(&subset) || !wanted(subset) {
                continue;
            }
            if let Some(joined) = self.join_subset(subset, nest, best)? {
                best.insert(subset, joined);
            }
        }
        Ok(())
    }

    /// The best ways to have a subset, over all splits in two.
    fn join_subset(&self, subset: Subset, nest: &Nest, best: &BTreeMap<Subset, Joined>) -> Result<Option<Joined>> {
        let mut result: Option<Joined> = None;
        let mut left = (subset - 1) & subset;
        while left > 0 {
            let right = subset & !left;
            if let (Some(one), Some(other)) = (best.get(&left), best.get(&right)) {
                // The smaller side builds: DataFusion's left one.
                if one.ways.rows <= other.ways.rows {
                    self.join_pair(one, other, nest, &mut result)?;
                }
            }
            left = (left - 1) & subset;
        }
        Ok(result)
    }

    fn join_pair(&self, left: &Joined, right: &Joined, nest: &Nest, result: &mut Option<Joined>) -> Result<()> {
        let Some(join) = nest.join(&left.plan, &right.plan)? else { return Ok(()) };
        let plan = LogicalPlan::Join(join.clone());
        let mut columns = left.ways.columns.clone();
        columns.extend(right.ways.columns.iter().map(|(column, known)| (column.clone(), *known)));
        let into = match result {
            Some(into) => into,
            None => {
                let rows =
                    estimate::join_rows(left.ways.rows, right.ways.rows, &join.on, join.filter.as_ref(), &columns);
                let places = common([&left.ways.places, &right.ways.places]);
                let ways = Alternatives::new(places, Arc::clone(plan.schema()), rows, columns);
                result.insert(Joined { ways, plan: Arc::new(plan.clone()) })
            }
        };
        self.offer_join(&plan, &join, &left.ways, &right.ways, &mut into.ways);
        Ok(())
    }

    /// Puts the columns back in the order that the query's own join gives.
    fn in_order(&self, plan: &LogicalPlan, joined: Joined) -> Result<Alternatives> {
        let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let project = LogicalPlan::Projection(Projection::try_new(columns, Arc::clone(&joined.plan))?);
        let mut ways = Alternatives::new(
            joined.ways.places.clone(),
            Arc::clone(plan.schema()),
            joined.ways.rows,
            joined.ways.columns.clone(),
        );
        for (at, way) in &joined.ways.by_distribution {
            let node = self.node(&project, &[way], at.clone(), ways.rows, ways.width);
            ways.offer(node);
        }
        Ok(ways)
    }
}

/// Collects the relations and conditions of nested inner joins with one meaning of NULL.
fn take_apart(plan: &LogicalPlan, nest: &mut Nest) {
    match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner && join.null_equality == nest.nulls => {
            take_apart(&join.left, nest);
            take_apart(&join.right, nest);
            nest.add_conditions(join);
        }
        // A projection of bare columns between joins only prunes.
        LogicalPlan::Projection(projection)
            if projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_)))
                && matches!(projection.input.as_ref(), LogicalPlan::Join(join) if join.join_type == JoinType::Inner && join.null_equality == nest.nulls) =>
        {
            take_apart(&projection.input, nest);
        }
        other => nest.relations.push(Arc::new(other.clone())),
    }
}

fn holds(schema: &DFSchema, expr: &Expr) -> bool {
    expr.column_refs().into_iter().all(|column: &Column| schema.index_of_column(column).is_ok())
}

impl Nest {
    fn add_conditions(&mut self, join: &Join) {
        self.equalities.extend(join.on.iter().cloned());
        self.conditions.extend(join.filter.clone().map(split_conjunction_owned).unwrap_or_default());
    }

    /// The relations that an expression's columns come from.
    fn of(&self, expr: &Expr) -> Subset {
        let mut subset = 0;
        for column in expr.column_refs() {
            for (index, relation) in self.relations.iter().enumerate() {
                if relation.schema().index_of_column(column).is_ok() {
                    subset |= 1 << index;
                }
            }
        }
        subset
    }

    /// Which relations each condition ties together.
    fn ties(&self) -> Vec<Subset> {
        let equalities = self.equalities.iter().map(|(left, right)| self.of(left) | self.of(right));
        equalities.chain(self.conditions.iter().map(|condition| self.of(condition))).collect()
    }

    /// The relations of `subset` that are tied to its first one.
    fn component(&self, subset: Subset) -> Subset {
        let ties = self.ties();
        let mut reached: Subset = 1 << subset.trailing_zeros();
        loop {
            let more = ties.iter().filter(|tie| **tie & reached != 0 && **tie & !subset == 0);
            let next = more.fold(reached, |all, tie| all | (tie & subset));
            if next == reached {
                return reached;
            }
            reached = next;
        }
    }

    fn connected(&self, subset: Subset) -> bool {
        self.component(subset) == subset
    }

    /// Whether a subset is made of whole components of the query, so that only the query's own cross products are left.
    fn is_whole(&self, subset: Subset) -> bool {
        let all: Subset = (1 << self.relations.len()) - 1;
        let mut rest = all;
        while rest != 0 {
            let component = self.component_in(rest, all);
            if component & subset != 0 && component & !subset != 0 {
                return false;
            }
            rest &= !component;
        }
        true
    }

    fn component_in(&self, rest: Subset, all: Subset) -> Subset {
        let ties = self.ties();
        let mut reached: Subset = 1 << rest.trailing_zeros();
        loop {
            let next = ties.iter().filter(|tie| **tie & reached != 0).fold(reached, |set, tie| set | (tie & all));
            if next == reached {
                return reached;
            }
            reached = next;
        }
    }

    /// The join of two sides with every condition that needs both.
    fn join(&self, left: &Arc<LogicalPlan>, right: &Arc<LogicalPlan>) -> Result<Option<Join>> {
        let (of_left, of_right) = (left.schema(), right.schema());
        let mut on = Vec::new();
        for (one, other) in &self.equalities {
            if holds(of_left, one) && holds(of_right, other) {
                on.push((one.clone(), other.clone()));
            } else if holds(of_left, other) && holds(of_right, one) {
                on.push((other.clone(), one.clone()));
            }
        }
        let both = of_left.join(of_right)?;
        let new = |expr: &Expr| holds(&both, expr) && !holds(of_left, expr) && !holds(of_right, expr);
        let mut conditions: Vec<Expr> = self.conditions.iter().filter(|condition| new(condition)).cloned().collect();
        // An equality over more relations than one on a side.
        for (one, other) in &self.equalities {
            let equal = one.clone().eq(other.clone());
            let taken = on.iter().any(|(a, b)| (a == one && b == other) || (a == other && b == one));
            if !taken && new(&equal) {
                conditions.push(equal);
            }
        }
        let join = Join::try_new(
            Arc::clone(left),
            Arc::clone(right),
            on,
            conjunction(conditions),
            JoinType::Inner,
            JoinConstraint::On,
            self.nulls,
            false,
        )?;
        Ok(Some(join))
    }
}
