//! From a fragment of the graph to something that runs: leaves become this place's protected views, exchanges and release
//! points; partial aggregates come on top; the engine optimises and plans with its own rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::Expr;
use dynamos_planner::catalog::TableName;
use dynamos_planner::fragment::{Fragment, ReleaseInput, ReleasePoint};
use dynamos_planner::function::{HashKeys, under_keys};
use dynamos_planner::policy::{
    MinimumScope, ProtectedView, ReleaseConditions, ReleasePlan, Values, WHOSE, Whose, conditions, protected_view,
    view_within,
};
use dynamos_planner::wire::{Leaf, bind_leaves};
use dynamos_proto::ids::{FragmentId, ReleaseId};

use super::accepted::{Query, output_schema, sender_conditions};
use super::steady::{gathered, steady};
use super::whose::with_stewards;
use super::yielding::yielding;
use crate::exchange::exchange_table;
use crate::place::Place;
use crate::protected::{DecidedTable, ProtectedTable, PushDown};

/// Plans one fragment of one query at one place.
pub(super) struct FragmentPlanner<'a> {
    pub(super) place: &'a Arc<Place>,
    pub(super) query: &'a Arc<Query>,
    pub(super) fragment: &'a Fragment,
    /// What its keys are hashed under, where it hashes some.
    pub(super) hashing: Option<HashKeys>,
}

impl FragmentPlanner<'_> {
    /// The fragment as the engine runs it, with one output partition, ordered if the plan says so.
    pub(super) async fn physical(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let logical = self.logical()?;
        let physical = steady(self.query.state.create_physical_plan(&logical).await?)?;
        let declared = self.query.output(self.fragment.id);
        if !declared.is_some_and(|declared| same_types(declared, &physical.schema())) {
            return plan_err!("fragment {} gives other columns than the graph declares", self.fragment.id);
        }
        let partitions = physical.output_partitioning().partition_count();
        let whole: Arc<dyn ExecutionPlan> = match physical.output_ordering() {
            Some(order) if partitions > 1 => {
                Arc::new(SortPreservingMergeExec::new(order.clone(), Arc::clone(&physical)))
            }
            None if partitions > 1 => gathered(physical),
            Some(_) | None => physical,
        };
        yielding(whole)
    }

    fn logical(&self) -> Result<LogicalPlan> {
        let rows = self.bound(&self.fragment.plan)?;
        let rows = match &self.hashing {
            Some(keys) => under_keys(rows, keys)?,
            None => rows,
        };
        let Some(id) = self.fragment.partial_of else { return Ok(rows) };
        let point = self.point(id)?;
        let conditions = sender_conditions(point, &self.place.name, &self.query.agreements)?;
        let plans = self.plans(point, &conditions);
        match point.scope {
            MinimumScope::Federation => plans.partials(rows),
            MinimumScope::PerSite => {
                let groups = plans.groups_of_rows(rows, Values::States, &Whose::new())?;
                let decision = plans.decision(&self.query.graph.organisation, &Whose::new())?;
                plans.released_states(DecidedTable::scan(groups, decision)?)
            }
        }
    }

    fn plans<'b>(&'b self, point: &'b ReleasePoint, conditions: &'b ReleaseConditions) -> ReleasePlan<'b> {
        let (key, state) = (&self.query.entity_key, &self.query.state);
        let sends_states = self.fragment.partial_of.is_some() && point.scope == MinimumScope::PerSite;
        ReleasePlan { shape: &point.shape, conditions, sends_states, key, state }
    }

    /// The plan with this place's tables in place of its leaves.
    fn bound(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let mut tables: BTreeMap<TableReference, Arc<dyn TableProvider>> = BTreeMap::new();
        for (reference, declared) in leaves(plan)? {
            let table = match Leaf::from_reference(&reference) {
                Some(Leaf::Table { site, schema, table, clause }) if site == self.place.name => {
                    self.view(&TableName::new(schema, table), clause)?
                }
                Some(Leaf::Exchange(id)) => self.exchange(id, declared)?,
                Some(Leaf::Release(id)) => self.release(id, &declared)?,
                Some(Leaf::Table { .. }) | None => return plan_err!("`{reference}` is not at this site"),
            };
            tables.insert(reference, table);
        }
        bind_leaves(plan.clone(), &|reference| tables.get(reference).cloned())
            .map_err(|error| DataFusionError::Plan(error.to_string()))
    }

    /// What exists of an own table under the agreement that governs the query, or what a clause of it releases.
    fn view(&self, name: &TableName, clause: Option<u32>) -> Result<Arc<dyn TableProvider>> {
        let tables = self.place.tables.in_pieces();
        let governing = self.query.graph.governing.get(&self.place.name);
        let held = governing.and_then(|one| self.query.agreements.get(&self.place.name, &one.agreement));
        let Some(held) = held else { return plan_err!("no agreement governs table `{name}`") };
        if let Some(clause) = clause {
            let plan = view_within(&held.agreement, clause, name, tables, &self.query.state)?;
            return Ok(ProtectedTable::new(plan, PushDown::LeakProof));
        }
        match protected_view(&held.agreement, name, tables, &self.query.state)? {
            ProtectedView::Whole => match self.place.tables.raw().get(name) {
                Some(raw) => Ok(Arc::clone(&raw.provider)),
                None => plan_err!("no table `{name}` here"),
            },
            ProtectedView::Derived(plan) => Ok(ProtectedTable::new(plan, PushDown::LeakProof)),
        }
    }

    fn exchange(&self, producer: FragmentId, declared: SchemaRef) -> Result<Arc<dyn TableProvider>> {
        let Some(sender) = self.query.graph.fragment(producer) else { return plan_err!("no fragment {producer}") };
        if sender.consumer != Some(self.fragment.id) {
            return plan_err!("fragment {producer} is not for fragment {}", self.fragment.id);
        }
        let sent = output_schema(&self.query.graph, sender, &self.query.agreements, &self.query.state)?;
        if !same_types(&sent, &declared) {
            return plan_err!("fragment {producer} has other columns than its reader expects");
        }
        exchange_table(self.place, self.query, producer, declared)
    }

    /// A release point behind a barrier, built from this place's own agreements, under the names that its leaf declares.
    fn release(&self, id: ReleaseId, declared: &Schema) -> Result<Arc<dyn TableProvider>> {
        let point = self.point(id)?;
        if point.fragment != self.fragment.id {
            return plan_err!("{id} is not a release point of fragment {}", self.fragment.id);
        }
        let conditions = conditions(&point.clauses, &self.query.agreements)?;
        let plans = self.plans(point, &conditions);
        let decided =
            |groups, whose: &Whose| DecidedTable::scan(groups, plans.decision(&self.query.graph.organisation, whose)?);
        let released = match (&point.input, point.scope) {
            (ReleaseInput::Complete(rows), _) => {
                let (rows, whose) = match conditions.stewards.len() {
                    0 | 1 => (rows.clone(), Whose::new()),
                    _ => with_stewards(rows, &self.query.graph)?,
                };
                let groups = plans.groups_of_rows(self.bound(&rows)?, Values::Whole, &whose)?;
                plans.released(decided(groups, &whose)?, Values::Whole)?
            }
            (ReleaseInput::Merge(parts), MinimumScope::Federation) => {
                let groups = plans.groups_of_partials(self.partials(parts, &conditions)?)?;
                plans.released(decided(groups, &Whose::new())?, Values::States)?
            }
            // Every steward has decided over its own.
            (ReleaseInput::Merge(parts), MinimumScope::PerSite) => {
                plans.released(plans.merged_parts(self.partials(parts, &conditions)?)?, Values::States)?
            }
        };
        let columns = released.schema().columns();
        if columns.len() != declared.fields().len() {
            return plan_err!("{id} has other columns than its reader expects");
        }
        let schema = Arc::clone(released.schema());
        let types = schema.fields().iter().map(|field| field.data_type());
        let renamed = columns.into_iter().zip(types).zip(declared.fields()).map(|((column, found), field)| {
            let value = Expr::from(column);
            let value = if found == field.data_type() { value } else { cast(value, field.data_type().clone()) };
            value.alias(field.name())
        });
        let plan = LogicalPlanBuilder::from(released).project(renamed.collect::<Vec<_>>())?.build()?;
        Ok(ProtectedTable::new(plan, PushDown::Nothing))
    }

    /// The partials of several fragments, one after the other, each with the name of the steward that sends it.
    fn partials(&self, parts: &[FragmentId], conditions: &ReleaseConditions) -> Result<LogicalPlan> {
        let mut all: Option<LogicalPlanBuilder> = None;
        for id in parts {
            let Some(sender) = self.query.graph.fragment(*id) else { return plan_err!("no fragment {id}") };
            if sender.partial_of.is_none() {
                return plan_err!("fragment {id} sends no partials");
            }
            if !conditions.stewards.contains(&sender.place) {
                return plan_err!("no clause of `{}` is about the partials that fragment {id} sends", sender.place);
            }
            let declared = output_schema(&self.query.graph, sender, &self.query.agreements, &self.query.state)?;
            let table = self.exchange(*id, declared)?;
            let scan = LogicalPlanBuilder::scan(Leaf::Exchange(*id).to_reference(), provider_as_source(table), None)?;
            let columns = scan.schema().columns().into_iter().map(|column| {
                let name = column.name.clone();
                Expr::from(column).alias(name)
            });
            let whose = lit(sender.place.as_str()).alias(WHOSE);
            let part = scan.project(columns.chain([whose]).collect::<Vec<_>>())?;
            all = Some(match all {
                Some(before) => before.union(part.build()?)?,
                None => part,
            });
        }
        match all {
            Some(all) => all.build(),
            None => plan_err!("a release point merges at least one fragment"),
        }
    }

    fn point(&self, id: ReleaseId) -> Result<&ReleasePoint> {
        match self.query.graph.release(id) {
            Some(point) => Ok(point),
            None => plan_err!("no release point {id}"),
        }
    }
}

/// The leaves of a plan with the columns that it was made for; each once.
fn leaves(plan: &LogicalPlan) -> Result<BTreeMap<TableReference, SchemaRef>> {
    let mut found = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found.insert(scan.table_name.clone(), scan.source.schema());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

fn same_types(one: &Schema, other: &Schema) -> bool {
    let types = |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    types(one) == types(other)
}
