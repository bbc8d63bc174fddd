//! The policy rewrite: finds the release point on every way from a protected table to the answer, the lowest one that a
//! RELEASE clause covers, and cuts the plan there. What is above works on released data; what is below becomes a
//! [`ProtectedPart`] that only the places which the agreements name may run. A query with no such cut is denied, with all
//! reasons.
//!
//! ```text
//!  Sort                                  Sort
//!   Aggregate(geslacht; avg(salschal))    Scan($release.r0)       r0 = keys geslacht; avg(salschal); entity unieknr
//!    Join(unieknr)                 →                                    over personen ⋈ aanstellingen
//!     Scan(personen)  Scan(aanstellingen)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, DFSchemaRef, DataFusionError, JoinType, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Aggregate, Join, LogicalPlan, LogicalPlanBuilder, TableScan, TableScanBuilder};
use datafusion::prelude::Expr;
use dynamos_proto::ids::{ReleaseId, SiteId};

use super::govern::Governing;
use super::matching::{Asked, is_steward, ordered, split};
use super::point_rules::PointRules;
use super::release_plan::key_name;
use super::{MinimumScope, RelationShape};
use crate::bind::{VisibleTable, canonical, unalias};
use crate::catalog::{FederatedTable, TableName};
use crate::fragment::{AgreementRef, EntityColumn, ReleaseClauseRef, ReleaseShape, ReleasedAggregate};
use crate::wire::{Leaf, LeafTable};

/// A plan whose protected parts are cut out at release points.
#[derive(Clone, Debug)]
pub struct CompliantPlan {
    plan: LogicalPlan,
    output: DFSchemaRef,
    parts: Vec<ProtectedPart>,
    governing: BTreeMap<SiteId, AgreementRef>,
}

/// Choices of clauses that are tried, at most.
const CHOICES_MAX: usize = 64;

impl CompliantPlan {
    /// Every other choice of clauses that cover the release points, up to a limit. Another clause may let partials or rows go
    /// where the first one does not.
    pub fn other_choices(&self) -> Vec<ClauseChoice> {
        let mut choices = vec![ClauseChoice::new()];
        for part in &self.parts {
            for clause in
                part.clauses.iter().filter(|clause| part.others.iter().any(|(steward, _)| *steward == clause.steward))
            {
                let own = part.others.iter().filter(|(steward, _)| *steward == clause.steward).map(|(_, other)| *other);
                let options: Vec<u32> = std::iter::once(clause.clause).chain(own).collect();
                let longer = choices.iter().flat_map(|choice| {
                    options.iter().map(|option| {
                        let mut choice = choice.clone();
                        choice.insert((part.id.0, clause.steward.clone()), *option);
                        choice
                    })
                });
                choices = longer.take(CHOICES_MAX).collect();
            }
        }
        // The first is the one that this plan has.
        choices.split_off(1)
    }

    /// The released part; leaves are tables whose rows are released, and `$release.rN`.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// Names and types of the answer's columns, in order.
    pub fn output(&self) -> &DFSchemaRef {
        &self.output
    }

    /// The protected parts, by number of their release points.
    pub fn parts(&self) -> &[ProtectedPart] {
        &self.parts
    }

    /// The agreement that governs the query at each steward whose data it needs.
    pub fn governing(&self) -> &BTreeMap<SiteId, AgreementRef> {
        &self.governing
    }
}

/// What lies below one release point.
#[derive(Clone, Debug)]
pub struct ProtectedPart {
    /// Its number.
    pub id: ReleaseId,
    /// The clause of each steward.
    pub clauses: Vec<ReleaseClauseRef>,
    /// Further clauses that cover it, too.
    pub others: Vec<(SiteId, u32)>,
    /// Keys, aggregates and entities over the input's columns.
    pub shape: ReleaseShape,
    /// The rows that are aggregated: a projection over predicates over joins over the stewards' tables.
    pub input: LogicalPlan,
    /// What the input does, written over the tables' columns.
    pub relation: RelationShape,
    /// The stewards whose rows it reads.
    pub stewards: BTreeSet<SiteId>,
    /// Who decides which groups are released.
    pub scope: MinimumScope,
}

impl ProtectedPart {
    /// What the input gives, written over the tables' columns.
    pub fn outputs(&self) -> &[Expr] {
        match &self.input {
            LogicalPlan::Projection(projection) => &projection.expr,
            _ => &[],
        }
    }
}

/// One reason of a denial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Whose agreement it is about; none if it is about the query.
    pub steward: Option<SiteId>,
    /// What is not allowed.
    pub text: String,
}

/// A query that the agreements do not allow: a value, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// All reasons, each once.
    pub reasons: Vec<Reason>,
}

impl Denial {
    /// What the requester can do.
    pub fn hint(&self) -> Option<String> {
        Some("SHOW PERMISSIONS lists what you may ask for this purpose".into())
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the agreements do not allow this query: ")?;
        for (index, reason) in self.reasons.iter().enumerate() {
            if index > 0 {
                out.write_str("; ")?;
            }
            match &reason.steward {
                Some(steward) => write!(out, "{steward}: {}", reason.text)?,
                None => out.write_str(&reason.text)?,
            }
        }
        Ok(())
    }
}

/// Why a plan was not made compliant.
#[derive(Debug)]
pub enum Stop {
    /// The agreements do not allow it.
    Denied(Denial),
    /// The plan could not be worked on.
    Failed(DataFusionError),
}

impl From<DataFusionError> for Stop {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
    }
}

/// The clause that is to cover a release point, by number of the point and steward; where none is named, the first that does.
pub type ClauseChoice = BTreeMap<(u32, SiteId), u32>;

/// Cuts a plan in normal form at its release points.
pub fn comply(
    plan: LogicalPlan,
    output: DFSchemaRef,
    governing: &Governing<'_>,
    federated: &BTreeMap<TableName, FederatedTable>,
    choice: &ClauseChoice,
    state: &SessionState,
) -> Result<CompliantPlan, Stop> {
    let mut walk =
        Walk { governing, federated, state, choice, parts: Vec::new(), used: BTreeSet::new(), protecting: false };
    let plan = match walk.visit(plan)? {
        Relation::Released(plan) => plan,
        Relation::Protected(rows) => return Err(denied(rows.why)),
    };
    let governing = walk
        .used
        .iter()
        .filter_map(|steward| {
            let held = governing.get(steward)?;
            let agreement = AgreementRef { agreement: held.agreement.name.clone(), epoch: held.epoch };
            Some((steward.clone(), agreement))
        })
        .collect();
    Ok(CompliantPlan { plan, output, parts: walk.parts, governing })
}

/// A relation on the way up.
enum Relation {
    Released(LogicalPlan),
    Protected(Box<Rows>),
}

/// Protected rows: scans, inner joins and predicates, so far.
struct Rows {
    /// The plan as the query has it, to resolve columns in.
    plan: LogicalPlan,
    scans: Vec<VisibleTable>,
    relation: RelationShape,
    /// Equalities of stewards that LOCAL keys brought.
    steward_joins: BTreeSet<(Column, Column)>,
    /// Why they are not released where they are.
    why: Vec<Reason>,
}

struct Walk<'a> {
    governing: &'a Governing<'a>,
    federated: &'a BTreeMap<TableName, FederatedTable>,
    state: &'a SessionState,
    choice: &'a ClauseChoice,
    parts: Vec<ProtectedPart>,
    used: BTreeSet<SiteId>,
    /// Whether rows that are released count as protected ones, to be released with others by an aggregate.
    protecting: bool,
}

impl Walk<'_> {
    fn visit(&mut self, plan: LogicalPlan) -> Result<Relation, Stop> {
        if let LogicalPlan::TableScan(scan) = &plan {
            return self.scan(scan);
        }
        let mut released = Vec::new();
        let mut protected = Vec::new();
        for input in plan.inputs() {
            match self.visit(input.clone())? {
                Relation::Released(plan) => released.push(plan),
                Relation::Protected(rows) => protected.push(rows),
            }
        }
        if protected.is_empty() {
            return Ok(Relation::Released(plan.with_new_exprs(plan.expressions(), released)?));
        }
        match (&plan, protected.as_mut_slice(), released.is_empty()) {
            (LogicalPlan::Join(join), [_, _], true) => {
                let (Some(right), Some(left)) = (protected.pop(), protected.pop()) else {
                    return Err(refuse("a join has two inputs", Vec::new()));
                };
                self.join(&plan, join, *left, *right)
            }
            // A clause may release the join as a whole: then the released side stands below its release point, too.
            (LogicalPlan::Join(join), [_], _)
                if join.join_type == JoinType::Inner && !self.protecting && plain(join)? =>
            {
                self.protecting = true;
                let joined = self.visit(plan);
                self.protecting = false;
                joined
            }
            (LogicalPlan::Join(_), _, _) => {
                let why = protected.into_iter().flat_map(|rows| rows.why).collect();
                Err(refuse("protected rows cannot be joined with released rows in this release", why))
            }
            (LogicalPlan::Filter(filter), [rows], _) => {
                let predicate = canonical(&rows.plan, &filter.predicate)?;
                rows.relation.predicates.extend(split(&predicate));
                rows.plan = plan.clone();
                Ok(Relation::Protected(protected.remove(0)))
            }
            (LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_), [rows], _) => {
                rows.plan = plan.clone();
                Ok(Relation::Protected(protected.remove(0)))
            }
            (LogicalPlan::Aggregate(aggregate), [_], _) => self.release(aggregate, *protected.remove(0)),
            (other, _, _) => {
                let why = protected.into_iter().flat_map(|rows| rows.why).collect();
                Err(refuse(&format!("`{}` may not work on protected rows", operator(other)), why))
            }
        }
    }

    /// Rows of a table are released at once if every steward's governing agreement has a RELEASE ROWS that covers them.
    fn scan(&mut self, scan: &TableScan) -> Result<Relation, Stop> {
        let plan = LogicalPlan::TableScan(scan.clone());
        let Some(table) = LeafTable::bound_to(scan) else { return Ok(Relation::Released(plan)) };
        if table.stewards.is_empty() {
            return Err(refuse(
                &format!("no steward of `{}` is left by the condition on `steward`", table.name),
                vec![],
            ));
        }
        let reference = TableReference::partial(table.name.schema.clone(), table.name.table.clone());
        let schema = DFSchema::try_from_qualified_schema(reference.clone(), &table.schema)?;
        let columns: Vec<Expr> = scan
            .projected_schema
            .fields()
            .iter()
            .map(|field| Expr::Column(Column::new(Some(reference.clone()), field.name())))
            .collect();
        let relation =
            RelationShape { tables: BTreeMap::from([(table.name.clone(), schema)]), ..RelationShape::default() };
        let mut why = Vec::new();
        for steward in &table.stewards {
            self.used.insert(steward.clone());
            let Some(held) = self.governing.get(steward) else {
                why.push(Reason { steward: Some(steward.clone()), text: "no agreement allows you this table".into() });
                continue;
            };
            if let Err(reasons) = relation.released_rows(&held.agreement, &columns, self.state) {
                let texts = if reasons.is_empty() {
                    vec![format!("agreement `{}` has no RELEASE ROWS", held.agreement.name)]
                } else {
                    reasons
                };
                why.extend(texts.into_iter().map(|text| Reason { steward: Some(steward.clone()), text }));
            }
        }
        if why.is_empty() && !self.protecting {
            return Ok(Relation::Released(plan));
        }
        let scans = vec![table];
        Ok(Relation::Protected(Box::new(Rows { plan, scans, relation, steward_joins: BTreeSet::new(), why })))
    }

    fn join(&self, plan: &LogicalPlan, join: &Join, left: Rows, right: Rows) -> Result<Relation, Stop> {
        let why: Vec<Reason> = left.why.iter().chain(&right.why).cloned().collect();
        if join.join_type != JoinType::Inner {
            return Err(refuse(&format!("a {} join may not work on protected rows", join.join_type), why));
        }
        let stewards = |rows: &Rows| rows.scans.first().map(|scan| scan.stewards.clone());
        if stewards(&left) != stewards(&right) {
            return Err(refuse("protected rows of different stewards cannot be joined in this release", why));
        }
        if left.relation.tables.keys().any(|table| right.relation.tables.contains_key(table)) {
            return Err(refuse("a table with protected rows can be in a query's relation only once", why));
        }
        let mut rows = left;
        for (one, other) in &join.on {
            let (one, other) = (canonical(&rows.plan, one)?, canonical(&right.plan, other)?);
            match (one, other) {
                (Expr::Column(one), Expr::Column(other)) if is_steward(&one) && is_steward(&other) => {
                    rows.steward_joins.insert(ordered(one, other));
                }
                (Expr::Column(one), Expr::Column(other)) => {
                    rows.relation.joins.insert(ordered(one, other));
                }
                (one, other) => rows.relation.predicates.push(one.eq(other)),
            }
        }
        rows.relation.tables.extend(right.relation.tables);
        rows.relation.joins.extend(right.relation.joins);
        rows.relation.predicates.extend(right.relation.predicates);
        rows.steward_joins.extend(right.steward_joins);
        rows.scans.extend(right.scans);
        rows.plan = plan.clone();
        rows.why = why;
        if let Some(filter) = &join.filter {
            rows.relation.predicates.extend(split(&canonical(&rows.plan, filter)?));
        }
        Ok(Relation::Protected(Box::new(rows)))
    }

    /// An aggregate over protected rows is a release point if a clause of every steward covers it.
    fn release(&mut self, aggregate: &Aggregate, rows: Rows) -> Result<Relation, Stop> {
        let keys = aggregate.group_expr.iter().map(|key| match key {
            Expr::GroupingSet(_) => {
                Err(refuse("grouping sets over protected rows are not available", rows.why.clone()))
            }
            key => Ok(canonical(&rows.plan, key)?),
        });
        let keys = keys.collect::<Result<Vec<_>, Stop>>()?;
        let asked = aggregate.aggr_expr.iter().map(|value| asked(value, &rows)).collect::<Result<Vec<_>, Stop>>()?;
        let stewards = rows.scans.first().map(|scan| scan.stewards.clone()).unwrap_or_default();
        let id = ReleaseId(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        let (mut clauses, mut others) = (Vec::new(), Vec::new());
        let mut why = Vec::new();
        for steward in &stewards {
            let Some(held) = self.governing.get(steward) else {
                why.push(Reason { steward: Some(steward.clone()), text: "no agreement allows you this table".into() });
                continue;
            };
            let matched = asked.iter().map(|value| value.bare(&rows.relation)).collect::<Vec<_>>();
            let chosen = self.choice.get(&(id.0, steward.clone())).copied();
            match rows.relation.released_aggregates(&held.agreement, &keys, &matched, chosen, self.state) {
                Ok(clause) => {
                    let agreement = AgreementRef { agreement: held.agreement.name.clone(), epoch: held.epoch };
                    clauses.push(ReleaseClauseRef { steward: steward.clone(), agreement, clause });
                    let also = held.agreement.clauses.iter().map(|numbered| numbered.number).filter(|other| {
                        let only = Some(*other);
                        *other > clause
                            && chosen.is_none()
                            && rows
                                .relation
                                .released_aggregates(&held.agreement, &keys, &matched, only, self.state)
                                .is_ok()
                    });
                    others.extend(also.map(|other| (steward.clone(), other)));
                }
                Err(reasons) => {
                    why.extend(reasons.into_iter().map(|text| Reason { steward: Some(steward.clone()), text }));
                }
            }
        }
        if !why.is_empty() {
            why.extend(rows.why);
            return Err(denied(why));
        }
        let rules =
            PointRules { governing: self.governing, federated: self.federated, clauses: &clauses, state: self.state };
        let scope = rules.scope(&rows.scans);
        if let Some(text) = rules.undecidable(&keys, &asked) {
            return Err(refuse(&text, rows.why));
        }
        if scope == MinimumScope::PerSite && stewards.len() > 1 {
            let why = rules.not_released_by_each(&rows.relation, &keys, &asked);
            if !why.is_empty() {
                return Err(denied(why.into_iter().chain(rows.why).collect()));
            }
        }
        let entities = entities(&rules, &rows, scope)?;
        let id = ReleaseId(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        let (shape, input) = assemble(&keys, &asked, &entities, &rows)?;
        self.parts.push(ProtectedPart { id, clauses, others, shape, input, relation: rows.relation, stewards, scope });
        Ok(Relation::Released(release_leaf(id, aggregate, keys.len())?))
    }
}

/// The entity key columns that the clauses' minimums count.
fn entities(rules: &PointRules<'_>, rows: &Rows, scope: MinimumScope) -> Result<Vec<Column>, Stop> {
    let together = scope == MinimumScope::Federation && rules.clauses.len() > 1;
    let mut entities: Vec<Column> = Vec::new();
    for released in rules.released() {
        for minimum in &released.minimums {
            let name = &minimum.entity.column;
            let holder = rows.scans.iter().find(|scan| {
                let named = super::view::concerns(minimum.entity.table.as_ref(), &scan.name);
                named && scan.schema.column_with_name(name).is_some()
            });
            let Some(table) = holder else {
                return Err(refuse(&format!("the minimum counts `{name}`, which is not in the relation"), vec![]));
            };
            if together && table.local.as_ref() != Some(name) && !table.colocated.contains_key(name) {
                let text = format!("the minimum counts `{name}`, which may be the same at several stewards");
                return Err(refuse(&text, vec![]));
            }
            let reference = TableReference::partial(table.name.schema.clone(), table.name.table.clone());
            let column = Column::new(Some(reference), name);
            if !entities.iter().any(|have| have.name == column.name) {
                entities.push(column);
            }
        }
    }
    Ok(entities)
}

/// An aggregate of the query over the tables' columns.
fn asked(value: &Expr, rows: &Rows) -> Result<Asked, Stop> {
    let Expr::AggregateFunction(call) = unalias(value) else {
        return Err(refuse("an aggregate over protected rows must be one function", rows.why.clone()));
    };
    let name = call.func.name().to_owned();
    if !call.params.order_by.is_empty() || call.params.null_treatment.is_some() {
        return Err(refuse(&format!("`{name}` over protected rows takes no ORDER BY"), rows.why.clone()));
    }
    let argument = match call.params.args.as_slice() {
        [] => None,
        [Expr::Literal(value, _)] if name == "count" && !value.is_null() && !call.params.distinct => None,
        [argument] => Some(canonical(&rows.plan, argument)?),
        _ => return Err(refuse(&format!("`{name}` over protected rows takes one argument"), rows.why.clone())),
    };
    let filter = call.params.filter.as_ref().map(|filter| canonical(&rows.plan, filter)).transpose()?;
    Ok(Asked { function: name, distinct: call.params.distinct, argument, filter })
}

impl Asked {
    /// The functions whose values a steward sends so that this one can be merged: itself, but for an average.
    pub(crate) fn states(&self) -> Vec<Self> {
        match self.function.as_str() {
            "avg" => ["sum", "count"].map(|function| Self { function: function.to_owned(), ..self.clone() }).into(),
            _ => vec![self.clone()],
        }
    }

    /// The same aggregate without a widening of its argument's number type that the engine put in itself.
    pub(crate) fn bare(&self, relation: &RelationShape) -> Self {
        let mut bare = self.clone();
        bare.argument = bare.argument.map(|argument| relation.without_widening(&argument));
        bare
    }
}

/// The input of a release point and the places of keys, arguments, filters and entities among its columns.
fn assemble(
    keys: &[Expr],
    asked: &[Asked],
    entities: &[Column],
    rows: &Rows,
) -> Result<(ReleaseShape, LogicalPlan), Stop> {
    let mut columns: Vec<Expr> = keys.to_vec();
    let mut place = |expr: &Expr| {
        let at = columns.iter().skip(keys.len()).position(|have| have == expr).map(|index| index + keys.len());
        at.unwrap_or_else(|| {
            columns.push(expr.clone());
            columns.len() - 1
        })
    };
    let aggregates = asked
        .iter()
        .map(|value| ReleasedAggregate {
            function: value.function.clone(),
            distinct: value.distinct,
            argument: value.argument.as_ref().map(&mut place),
            filter: value.filter.as_ref().map(&mut place),
        })
        .collect();
    let entities = entities
        .iter()
        .map(|key| EntityColumn { name: key.name.clone(), column: place(&Expr::Column(key.clone())) })
        .collect();
    let shape = ReleaseShape { keys: keys.len(), aggregates, entities };
    let named = columns.into_iter().enumerate().map(|(index, expr)| expr.alias(format!("c{index}")));
    let input = relation_plan(rows)?.project(named.collect::<Vec<_>>())?.build()?;
    Ok((shape, input))
}

/// Scans, joins and predicates written anew from what the query does, in the one form that crosses the wire.
fn relation_plan(rows: &Rows) -> Result<LogicalPlanBuilder, Stop> {
    let mut waiting: Vec<&VisibleTable> = rows.scans.iter().collect();
    let mut plan: Option<LogicalPlanBuilder> = None;
    let pairs: Vec<&(Column, Column)> = rows.relation.joins.iter().chain(&rows.steward_joins).collect();
    while !waiting.is_empty() {
        let connected = |table: &&VisibleTable, have: &LogicalPlanBuilder| {
            let of_table = reference(&table.name);
            pairs.iter().any(|(one, other)| {
                let here = |column: &Column| column.relation.as_ref() == Some(&of_table);
                let there = |column: &Column| have.schema().index_of_column(column).is_ok();
                !is_steward(one) && ((here(one) && there(other)) || (here(other) && there(one)))
            })
        };
        let next = match &plan {
            None => 0,
            Some(have) => waiting.iter().position(|table| connected(table, have)).unwrap_or(0),
        };
        let table = waiting.remove(next);
        let scan = scan_of(table)?;
        plan = Some(match plan {
            None => scan,
            Some(have) => {
                let right = scan.build()?;
                let of_right = |column: &Column| right.schema().index_of_column(column).is_ok();
                let of_left = |column: &Column| have.schema().index_of_column(column).is_ok();
                let mut on = (Vec::new(), Vec::new());
                for (one, other) in &pairs {
                    let pair = if of_left(one) && of_right(other) {
                        Some((one, other))
                    } else if of_left(other) && of_right(one) {
                        Some((other, one))
                    } else {
                        None
                    };
                    if let Some((left, right)) = pair {
                        on.0.push(left.clone());
                        on.1.push(right.clone());
                    }
                }
                have.join(right, JoinType::Inner, on, None)?
            }
        });
    }
    let mut plan = plan.ok_or_else(|| refuse("a relation needs a table", Vec::new()))?;
    if let Some(predicate) = datafusion::logical_expr::utils::conjunction(rows.relation.predicates.clone()) {
        plan = plan.filter(predicate)?;
    }
    Ok(plan)
}

fn reference(table: &TableName) -> TableReference {
    TableReference::partial(table.schema.clone(), table.table.clone())
}

/// A scan whose columns are called `schema.table.column`, of whichever steward or federated table.
fn scan_of(table: &VisibleTable) -> Result<LogicalPlanBuilder, Stop> {
    let source = provider_as_source(LeafTable::visible(table.clone()));
    let scan = TableScanBuilder::new(reference(&table.name), source).build()?;
    Ok(LogicalPlanBuilder::from(LogicalPlan::TableScan(scan)))
}

/// The released relation as the rest of the plan sees it: a scan of `$release.rN` under the aggregate's own column names.
fn release_leaf(id: ReleaseId, aggregate: &Aggregate, keys: usize) -> Result<LogicalPlan, Stop> {
    let fields = aggregate.schema.fields().iter().enumerate().map(|(index, field)| {
        let name = index.checked_sub(keys).map_or_else(|| key_name(index), |value| format!("v{value}"));
        Field::new(name, field.data_type().clone(), true)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reference = Leaf::Release(id).to_reference();
    let scan = TableScanBuilder::new(reference, provider_as_source(LeafTable::new(schema))).build()?;
    let wanted = aggregate.schema.columns();
    let columns = scan.projected_schema.columns().into_iter().zip(wanted);
    let renamed =
        columns.map(|(have, want)| Expr::from(have).alias_qualified(want.relation.clone(), want.name.clone()));
    let renamed: Vec<Expr> = renamed.collect();
    Ok(LogicalPlanBuilder::from(LogicalPlan::TableScan(scan)).project(renamed)?.build()?)
}

/// Whether a join is made of nothing but what may stand below a release point.
fn plain(join: &Join) -> Result<bool, Stop> {
    let other = |node: &LogicalPlan| match node {
        LogicalPlan::TableScan(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_) => false,
        LogicalPlan::Join(join) => join.join_type != JoinType::Inner,
        _ => true,
    };
    let inputs = [&join.left, &join.right];
    for input in inputs {
        if input.exists(|node| Ok(other(node)))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn operator(plan: &LogicalPlan) -> String {
    let text = plan.display().to_string();
    text.split([':', '(', ' ']).next().unwrap_or_default().to_owned()
}

fn denied(mut reasons: Vec<Reason>) -> Stop {
    let mut seen = BTreeSet::new();
    reasons.retain(|reason| seen.insert(reason.clone()));
    Stop::Denied(Denial { reasons })
}

fn refuse(text: &str, mut why: Vec<Reason>) -> Stop {
    why.insert(0, Reason { steward: None, text: text.to_owned() });
    denied(why)
}
