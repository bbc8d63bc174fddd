//! Cuts a placed plan at its exchanges: each piece that runs at one place becomes a fragment, each exchange a pair of a
//! producing fragment and a leaf `$exchange.fN` that reads it. Operators that run spread over stewards are written once
//! for each steward, over that steward's own tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, TableScan, TableScanBuilder, Union, lit,
};
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::prelude::Expr;
use dynamos_proto::ids::{FragmentId, ReleaseId, SiteId};
use dynamos_proto::sign::HashKey;

use super::{Fragment, ReleaseInput, ReleasePoint};
use crate::bind::{VisibleTable, VisibleTables, optimize};
use crate::candidate::{Brought, Placed, PlacedOp, ReleaseHow};
use crate::catalog::STEWARD;
use crate::function::KeyDomain;
use crate::policy::{ProtectedPart, ReleaseConditions, ReleasePlan, brought_by, brought_in};
use crate::wire::{Leaf, LeafTable, joined_column};

/// The fragments and release points of one placed plan.
#[derive(Debug)]
pub struct Cut {
    /// Fragments by number; 0 is the root.
    pub fragments: Vec<Fragment>,
    /// Release points by number.
    pub releases: Vec<ReleasePoint>,
}

/// What a steward hashes of a protected part's rows where they are shipped to a place: the domains of these keys, by position
/// among what its side gives.
pub type Hashed<'a> = dyn Fn(&ProtectedPart, &SiteId, &SiteId) -> BTreeMap<usize, KeyDomain> + 'a;

/// Cuts a placed plan whose rows end at the coordinator. `conditions` gives the conditions of a protected part's clauses,
/// `hashed` the keys that leave as hashes.
pub fn cut(
    root: &Placed,
    output: &DFSchemaRef,
    parts: &[ProtectedPart],
    conditions: &[ReleaseConditions],
    hashed: &Hashed<'_>,
    tables: &VisibleTables,
    state: &SessionState,
) -> Result<Cut> {
    let mut cutter = Cutter {
        parts,
        conditions,
        hashed,
        tables,
        state,
        key: HashKey::from_bytes([0; 32]),
        fragments: BTreeMap::new(),
        next_fragment: 1,
        next_release: 0,
        releases: BTreeMap::new(),
    };
    let here = Here { fragment: FragmentId(0), place: SiteId::coordinator() };
    let plan = cutter.build(root, &here)?;
    // The answer's columns in the order of the query.
    let columns = output.columns().into_iter().map(Expr::Column);
    let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
    let plan = cutter.finish(plan, "c")?;
    cutter.fragments.insert(
        here.fragment,
        Fragment { id: here.fragment, place: here.place, consumer: None, plan, partial_of: None },
    );
    Ok(Cut { fragments: cutter.fragments.into_values().collect(), releases: cutter.releases.into_values().collect() })
}

/// The fragment that is being written.
#[derive(Clone)]
struct Here {
    fragment: FragmentId,
    place: SiteId,
}

struct Cutter<'a> {
    parts: &'a [ProtectedPart],
    conditions: &'a [ReleaseConditions],
    hashed: &'a Hashed<'a>,
    tables: &'a VisibleTables,
    state: &'a SessionState,
    /// Nothing is ever hashed under it.
    key: HashKey,
    fragments: BTreeMap<FragmentId, Fragment>,
    next_fragment: u32,
    next_release: u32,
    releases: BTreeMap<ReleaseId, ReleasePoint>,
}

impl Cutter<'_> {
    /// The plan that gives a placed operator's rows of this place in this fragment.
    fn build(&mut self, placed: &Placed, here: &Here) -> Result<LogicalPlan> {
        match &placed.op {
            PlacedOp::Scan(LogicalPlan::TableScan(scan)) => self.scan(scan, &here.place),
            PlacedOp::Scan(other) | PlacedOp::Constant(other) => Ok(other.clone()),
            PlacedOp::Node { plan, inputs } => {
                let inputs = inputs.iter().map(|input| self.build(input, here)).collect::<Result<Vec<_>>>()?;
                rebuild(plan, inputs)
            }
            PlacedOp::Exchange(input) => self.exchange(input, here),
            PlacedOp::Release { part, how, brought } => self.release(*part, *how, brought, here),
        }
    }

    /// One steward's rows of a table, with the columns and types of the table as the query sees it.
    fn scan(&self, scan: &TableScan, place: &SiteId) -> Result<LogicalPlan> {
        let Some(table) = LeafTable::bound_to(scan) else { return plan_err!("no bound table `{}`", scan.table_name) };
        let own = self.own_schema(&table, place)?;
        let leaf = Leaf::Table {
            site: place.clone(),
            schema: table.name.schema.clone(),
            table: table.name.table.clone(),
            clause: table.within.get(place).copied(),
        };
        let reference = leaf.to_reference();
        let source = provider_as_source(LeafTable::new(own));
        let raw = TableScanBuilder::new(reference.clone(), source).build()?;
        let columns = scan.projected_schema.iter().map(|(qualifier, field)| {
            let expr = if table.site.is_none() && field.name() == STEWARD {
                lit(place.as_str())
            } else {
                let column = Expr::Column(Column::new(Some(reference.clone()), field.name()));
                column.cast_to(field.data_type(), &raw.projected_schema)?
            };
            Ok(expr.alias_qualified(qualifier.cloned(), field.name()))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        LogicalPlanBuilder::from(LogicalPlan::TableScan(raw)).project(columns)?.build()
    }

    /// The columns of a steward's leaf: those of its table, or of the tables that it joins.
    fn own_schema(&self, table: &VisibleTable, place: &SiteId) -> Result<SchemaRef> {
        if table.joined.is_empty() {
            return Ok(Arc::clone(&self.tables.of_site(place, &table.name)?.schema));
        }
        let mut fields = Vec::new();
        for (index, name) in table.joined.iter().enumerate() {
            let own = &self.tables.of_site(place, name)?.schema;
            fields.extend(own.fields().iter().map(|field| {
                Field::new(joined_column(index, field.name()), field.data_type().clone(), field.is_nullable())
            }));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Rows that other places send: one fragment for each of them, here a scan of what it gives.
    fn exchange(&mut self, input: &Placed, here: &Here) -> Result<LogicalPlan> {
        let mut received = Vec::new();
        for place in input.at.places() {
            if place == here.place {
                received.push(self.build(input, here)?);
                continue;
            }
            let there = Here { fragment: self.new_fragment(), place };
            let plan = self.build(input, &there)?;
            let columns = Arc::clone(plan.schema());
            // Below a join the engine may look columns up by name alone, so no two exchanges use the same.
            let plan = self.finish(plan, &format!("{}c", there.fragment))?;
            let leaf = exchange_leaf(there.fragment, &plan_columns(&plan))?;
            received.push(under_names(leaf, &columns)?);
            self.add(there, here, plan, None);
        }
        united(received)
    }

    fn release(&mut self, index: usize, how: ReleaseHow, brought: &Brought, here: &Here) -> Result<LogicalPlan> {
        let (Some(part), Some(conditions)) = (self.parts.get(index), self.conditions.get(index)) else {
            return plan_err!("no protected part {index}");
        };
        let id = self.new_release();
        let input = match how {
            ReleaseHow::Beside => ReleaseInput::Complete(self.protected(part, &BTreeMap::new(), brought, here)?),
            ReleaseHow::Rows => ReleaseInput::Complete(self.shipped_rows(part, brought, here)?),
            ReleaseHow::Merge => {
                let mut senders = Vec::new();
                for steward in &part.stewards {
                    let there = Here { fragment: self.new_fragment(), place: steward.clone() };
                    let plan = self.protected(part, &BTreeMap::new(), brought, &there)?;
                    // Proves here, before anything is sent, that the stewards can build it.
                    let own = ReleaseConditions { stewards: [steward.clone()].into(), ..conditions.clone() };
                    self.plan_of(part, &own).sent(plan.clone(), part.scope)?;
                    senders.push(there.fragment);
                    self.add(there, here, plan, Some(id));
                }
                ReleaseInput::Merge(senders)
            }
        };
        let offered = self.offered(part)?;
        let point = ReleasePoint {
            id,
            fragment: here.fragment,
            clauses: part.clauses.clone(),
            shape: part.shape.clone(),
            input,
            scope: part.scope,
        };
        self.releases.insert(id, point);
        let source = provider_as_source(LeafTable::new(offered));
        let scan = TableScanBuilder::new(Leaf::Release(id).to_reference(), source).build()?;
        // The enclosing plan knows it by the number that the part has.
        let known = Leaf::Release(part.id).to_reference();
        let columns = scan.projected_schema.columns().into_iter();
        let columns =
            columns.map(|column| Expr::Column(column.clone()).alias_qualified(Some(known.clone()), column.name));
        let columns: Vec<Expr> = columns.collect();
        LogicalPlanBuilder::from(LogicalPlan::TableScan(scan)).project(columns)?.build()
    }

    /// The columns that a release point offers: keys, then values.
    fn offered(&self, part: &ProtectedPart) -> Result<SchemaRef> {
        // Conditions change no type.
        let released = self.plan_of(part, &ReleaseConditions::none()).output(part.input.clone())?;
        let fields = released.fields().iter();
        let fields = fields.map(|field| Field::new(field.name(), field.data_type().clone(), true));
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    /// The plans of a protected part's release point, as far as their columns matter.
    fn plan_of<'b>(&'b self, part: &'b ProtectedPart, conditions: &'b ReleaseConditions) -> ReleasePlan<'b> {
        ReleasePlan { shape: &part.shape, conditions, sends_states: false, key: &self.key, state: self.state }
    }

    /// Rows of every steward of a protected part, sent here; those of different sides are joined here.
    fn shipped_rows(&mut self, part: &ProtectedPart, brought: &Brought, here: &Here) -> Result<LogicalPlan> {
        let mut sides = Vec::new();
        for side in &part.sides {
            let mut received = Vec::new();
            for steward in &side.stewards {
                let hashed = (self.hashed)(part, &here.place, steward);
                if *steward == here.place {
                    received.push(self.protected(part, &hashed, brought, here)?);
                    continue;
                }
                let there = Here { fragment: self.new_fragment(), place: steward.clone() };
                let plan = self.protected(part, &hashed, brought, &there)?;
                let leaf = exchange_leaf(there.fragment, &plan_columns(&plan))?;
                let columns = leaf.schema().columns().into_iter().map(|column| {
                    let name = column.name.clone();
                    Expr::Column(column).alias(name)
                });
                received.push(LogicalPlanBuilder::from(leaf).project(columns.collect::<Vec<_>>())?.build()?);
                self.add(there, here, plan, None);
            }
            sides.push(united(received)?);
        }
        part.over(sides)
    }

    /// What a protected part takes of one steward's own tables, at that steward, in normal form with unused columns pruned and
    /// some keys hashed. Released data that it reads are sent there.
    fn protected(
        &mut self,
        part: &ProtectedPart,
        hashed: &BTreeMap<usize, KeyDomain>,
        brought: &Brought,
        here: &Here,
    ) -> Result<LogicalPlan> {
        let steward = &here.place;
        let Some(side) = part.side_of(steward) else { return plan_err!("no rows of `{steward}` are in the part") };
        let input = side.input_hashed(hashed)?;
        let mut received = BTreeMap::new();
        for number in brought_in(&input) {
            let Some(placed) = brought.get(&(number, steward.clone())) else {
                return plan_err!("nothing brings released data {number} to `{steward}`");
            };
            received.insert(number, self.build(placed, here)?);
        }
        let plan = input.transform_up(|node| match node {
            LogicalPlan::TableScan(scan) => Ok(Transformed::yes(match brought_by(&scan) {
                Some(number) => match received.get(&number) {
                    Some(plan) => under_names(plan.clone(), &scan.projected_schema)?,
                    None => return plan_err!("released data {number} were not sent"),
                },
                None => self.scan(&scan, steward)?,
            })),
            other => Ok(Transformed::no(other)),
        })?;
        let plan = plan.data.recompute_schema()?;
        let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(OptimizeProjections::new())];
        optimize(plan, rules, self.state)
    }

    fn new_release(&mut self) -> ReleaseId {
        let id = ReleaseId(self.next_release);
        self.next_release += 1;
        id
    }

    fn new_fragment(&mut self) -> FragmentId {
        let id = FragmentId(self.next_fragment);
        self.next_fragment += 1;
        id
    }

    fn add(&mut self, there: Here, consumer: &Here, plan: LogicalPlan, partial_of: Option<ReleaseId>) {
        let fragment =
            Fragment { id: there.fragment, place: there.place, consumer: Some(consumer.fragment), plan, partial_of };
        self.fragments.insert(there.fragment, fragment);
    }

    /// A fragment's plan as it is sent: its columns called by number, optimised as a whole.
    fn finish(&self, plan: LogicalPlan, prefix: &str) -> Result<LogicalPlan> {
        let columns = plan.schema().columns().into_iter().enumerate();
        let columns = columns.map(|(index, column)| Expr::Column(column).alias(format!("{prefix}{index}")));
        let plan = LogicalPlanBuilder::from(plan).project(columns.collect::<Vec<_>>())?.build()?;
        let plan = crate::bind::analyze(plan, self.state)?;
        optimize(plan, self.state.optimizers().to_vec(), self.state)
    }
}

/// An operator over other inputs than it was planned with; the inputs have the same columns.
fn rebuild(plan: &LogicalPlan, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Union(_) => {
            Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs.into_iter().map(Arc::new).collect())?))
        }
        other => other.with_new_exprs(other.expressions(), inputs),
    }
}

fn united(mut received: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    match (received.pop(), received.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            // A union drops the qualifiers of its columns; they are put back. Below it no column has one, so that a rule
            // which makes a branch the only one leaves every name as it was.
            let columns = Arc::clone(last.schema());
            received.push(last);
            let branches = received.into_iter().map(|branch| Ok(Arc::new(numbered(branch)?)));
            let union = LogicalPlan::Union(Union::try_new(branches.collect::<Result<Vec<_>>>()?)?);
            under_names(union, &columns)
        }
        (None, _) => plan_err!("no place has these rows"),
    }
}

/// The plan with its columns called by number.
fn numbered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().enumerate();
    let columns: Vec<Expr> = columns.map(|(index, column)| Expr::Column(column).alias(format!("u{index}"))).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// The plan with its columns called as in `names`, in order.
fn under_names(plan: LogicalPlan, names: &DFSchema) -> Result<LogicalPlan> {
    let wanted = names.columns();
    if plan.schema().columns() == wanted {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter().zip(wanted);
    let columns =
        columns.map(|(have, want)| Expr::Column(have).alias_qualified(want.relation.clone(), want.name.clone()));
    let columns: Vec<Expr> = columns.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

fn plan_columns(plan: &LogicalPlan) -> Vec<(String, DataType)> {
    plan.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

fn exchange_leaf(id: FragmentId, columns: &[(String, DataType)]) -> Result<LogicalPlan> {
    let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(name, kind.clone(), true)).collect();
    let source = provider_as_source(LeafTable::new(Arc::new(Schema::new(fields))));
    let scan = TableScanBuilder::new(Leaf::Exchange(id).to_reference(), source).build()?;
    Ok(LogicalPlan::TableScan(scan))
}
