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

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, NullEquality, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Aggregate, Join, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion::prelude::Expr;
use dynamos_proto::ids::{ReleaseId, SiteId};

use super::assemble::{Assembled, Rows, asked, assemble, placed, release_leaf, values};
use super::brought::{is_beside_one_row, named_leaf};
use super::compliant::{BroughtPlan, ClauseChoice, CompliantPlan, ProtectedPart, Reader};
use super::denial::{Reason, Stop, denied, refuse};
use super::govern::Governing;
use super::grouping::Grouping;
use super::joined_rows::{released_join, why_not_released};
use super::left_join::{at_home, filled_up};
use super::lists::{ListJoin, is_list_kind};
use super::matching::{Asked, is_steward, ordered, split};
use super::point_rules::{PointRules, refuse_other_remainders};
use super::seen::{self, as_states, filtered_apart, undecidable};
use super::several::{self, Decided, Told, refuse_apart};
use super::sides::{SideShape, joined, sides_of};
use super::tied::Tied;
use super::within::released_within;
use super::{MinimumScope, RelationShape};
use crate::bind::{Origin, canonical, unalias, unpadded_origin};
use crate::catalog::{FederatedTable, STEWARD, TableName};
use crate::fragment::{AgreementRef, ReleaseClauseRef};
use crate::wire::LeafTable;

/// Cuts a plan in normal form at its release points.
pub fn comply(
    plan: LogicalPlan,
    output: DFSchemaRef,
    governing: &Governing<'_>,
    federated: &BTreeMap<TableName, FederatedTable>,
    choice: &ClauseChoice,
    state: &SessionState,
) -> Result<CompliantPlan, Stop> {
    let mut walk = Walk {
        governing,
        federated,
        state,
        choice,
        parts: Vec::new(),
        told: Vec::new(),
        telling: Vec::new(),
        brought: Vec::new(),
        used: BTreeSet::new(),
        protecting: false,
    };
    let plan = match walk.visit(plan)? {
        Relation::Released(plan) => plan,
        Relation::Protected(rows) => return Err(denied(why_not_released(*rows, governing, state)?)),
    };
    refuse_other_remainders(&plan)?;
    walk.decide_together()?;
    let governing = walk
        .used
        .iter()
        .filter_map(|steward| {
            let held = governing.get(steward)?;
            let agreement = AgreementRef { agreement: held.agreement.name.clone(), epoch: held.epoch };
            Some((steward.clone(), agreement))
        })
        .collect();
    Ok(CompliantPlan { plan, output, parts: walk.parts, brought: walk.brought, governing })
}

/// A relation on the way up.
enum Relation {
    Released(LogicalPlan),
    Protected(Box<Rows>),
}

struct Walk<'a> {
    governing: &'a Governing<'a>,
    federated: &'a BTreeMap<TableName, FederatedTable>,
    state: &'a SessionState,
    choice: &'a ClauseChoice,
    parts: Vec<ProtectedPart>,
    /// What those of the parts tell that are under a minimum.
    told: Vec<Told>,
    /// Which of the parts these are.
    telling: Vec<usize>,
    /// Released data that stand below release points.
    brought: Vec<BroughtPlan>,
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
        let mut denied = Vec::new();
        let mut first_protected = false;
        for (at, input) in plan.inputs().into_iter().enumerate() {
            match self.visit(input.clone()) {
                Ok(Relation::Released(plan)) => released.push(plan),
                Ok(Relation::Protected(rows)) => {
                    first_protected |= at == 0;
                    protected.push(rows);
                }
                // What else stands in the way of the question is told as well.
                Err(Stop::Denied(denial)) => denied.extend(denial.reasons),
                Err(failed) => return Err(failed),
            }
        }
        if !denied.is_empty() {
            return Err(super::denial::denied(denied));
        }
        if protected.is_empty() {
            return Ok(Relation::Released(plan.with_new_exprs(plan.expressions(), released)?));
        }
        match (&plan, protected.as_mut_slice(), released.is_empty()) {
            (LogicalPlan::Join(join), [_, _], true) => {
                let (Some(right), Some(left)) = (protected.pop(), protected.pop()) else {
                    return Err(refuse("a join has two inputs", Vec::new()));
                };
                let rows = self.join(&plan, join, *left, *right)?;
                self.perhaps_released(rows)
            }
            (LogicalPlan::Join(join), [_], false) if first_protected && is_list_kind(join.join_type) => {
                let rows = *protected.remove(0);
                self.listed(&plan, join, rows, released.remove(0))
            }
            (LogicalPlan::Join(join), [_], false) if first_protected && is_beside_one_row(join) => {
                let rows = *protected.remove(0);
                self.beside_one_row(&plan, join, rows, released.remove(0))
            }
            // A clause may release the join as a whole: then the released side stands below its release point, too.
            (LogicalPlan::Join(join), [_], _) if combines(join.join_type) && !self.protecting && plain(join)? => {
                self.protecting = true;
                let joined = self.visit(plan);
                self.protecting = false;
                match joined? {
                    Relation::Protected(rows) => self.perhaps_released(*rows),
                    released => Ok(released),
                }
            }
            (LogicalPlan::Join(_), _, _) => {
                let why = protected.into_iter().flat_map(|rows| rows.why).collect();
                Err(refuse("protected rows cannot be joined with released rows in this release", why))
            }
            (LogicalPlan::Filter(filter), [rows], _) => {
                let predicate = canonical(&rows.plan, &filter.predicate)?;
                rows.relation.predicates.extend(split(&predicate));
                rows.plan = over(&plan, vec![rows.plan.clone()])?;
                self.perhaps_released(*protected.remove(0))
            }
            (LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_), [rows], _) => {
                rows.plan = over(&plan, vec![rows.plan.clone()])?;
                self.perhaps_released(*protected.remove(0))
            }
            (LogicalPlan::Aggregate(aggregate), [rows], _) => match self.released_for(aggregate, rows)? {
                Some(released) => Ok(Relation::Released(plan.with_new_exprs(plan.expressions(), vec![released])?)),
                None => self.release(aggregate, *protected.remove(0)),
            },
            (other, _, _) => {
                let mut why = Vec::new();
                for rows in protected {
                    why.extend(why_not_released(*rows, self.governing, self.state)?);
                }
                Err(refuse(&format!("`{}` may not work on protected rows", operator(other)), why))
            }
        }
    }

    /// Rows of a join, or under a condition, that a RELEASE ROWS clause of every steward has are released.
    fn perhaps_released(&self, rows: Rows) -> Result<Relation, Stop> {
        let released = self.released(&rows)?;
        Ok(released.map_or_else(|| Relation::Protected(Box::new(rows)), Relation::Released))
    }

    fn released(&self, rows: &Rows) -> Result<Option<LogicalPlan>, Stop> {
        if self.protecting || rows.read_released() {
            return Ok(None);
        }
        let released = match rows.scans.len() {
            1 => released_within(rows, self.governing, self.state)?,
            _ => released_join(rows, self.governing, self.state)?,
        };
        Ok(released)
    }

    /// The same where an aggregate reads fewer columns of them than they have: no projection stands between the two.
    fn released_for(&self, aggregate: &Aggregate, rows: &Rows) -> Result<Option<LogicalPlan>, Stop> {
        let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
        let read: BTreeSet<&Column> = exprs.flat_map(Expr::column_refs).collect();
        let all = aggregate.input.schema().columns();
        let kept: Vec<Expr> = all.iter().filter(|column| read.contains(column)).cloned().map(Expr::Column).collect();
        if kept.len() == all.len() {
            return Ok(None);
        }
        let plan = LogicalPlanBuilder::from(rows.plan.clone()).project(kept)?.build()?;
        self.released(&Rows { plan, ..rows.clone() })
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
        Ok(Relation::Protected(Box::new(Rows {
            plan,
            scans,
            relation,
            steward_joins: BTreeSet::new(),
            lists: Vec::new(),
            why,
        })))
    }

    fn join(&self, plan: &LogicalPlan, join: &Join, left: Rows, right: Rows) -> Result<Rows, Stop> {
        let why: Vec<Reason> = left.why.iter().chain(&right.why).cloned().collect();
        if !combines(join.join_type) {
            return Err(refuse(&format!("a {} join may not work on protected rows", join.join_type), why));
        }
        if join.null_equality != NullEquality::NullEqualsNothing {
            return Err(refuse("protected rows are joined by keys that are not NULL", why));
        }
        // Tables of the same stewards are joined at these; those of different ones where their rows meet.
        let overlap = left.scans.iter().any(|one| {
            right.scans.iter().any(|other| one.stewards != other.stewards && !one.stewards.is_disjoint(&other.stewards))
        });
        if overlap {
            return Err(refuse(
                "protected rows of some of a federated table's stewards cannot be joined with the others'",
                why,
            ));
        }
        if left.relation.tables.keys().any(|table| right.relation.tables.contains_key(table)) {
            return Err(refuse("a table with protected rows can be in a query's relation only once", why));
        }
        if join.join_type != JoinType::Inner {
            return filled_up(plan, join, left, right);
        }
        if !at_home(join, &left, &right)? {
            let text =
                "rows of a federated table are joined within each steward: by LOCAL or colocated keys, or by `steward`";
            return Err(refuse(text, why));
        }
        let mut rows = left;
        let joined = over(plan, vec![rows.plan.clone(), right.plan.clone()])?;
        for (one, other) in &join.on {
            let (one, other) = (canonical(&rows.plan, one)?, canonical(&right.plan, other)?);
            if [(&one, &rows), (&other, &right)]
                .iter()
                .any(|(key, of)| key.column_refs().iter().any(|key| of.relation.is_filled(key)))
            {
                let text = format!("`{one}` = `{other}` joins a table that a left join fills up, which would undo it");
                return Err(refuse(&text, why));
            }
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
        rows.relation.add(right.relation);
        rows.lists.extend(right.lists);
        rows.steward_joins.extend(right.steward_joins);
        rows.scans.extend(right.scans);
        rows.plan = joined;
        rows.why = why;
        if let Some(filter) = &join.filter {
            rows.relation.predicates.extend(split(&canonical(&rows.plan, filter)?));
        }
        Ok(rows)
    }

    /// Protected rows that a list of the requester, or of released rows, keeps or drops.
    fn listed(
        &mut self,
        plan: &LogicalPlan,
        join: &Join,
        mut rows: Rows,
        released: LogicalPlan,
    ) -> Result<Relation, Stop> {
        let Some(mut list) = ListJoin::of(join, |expr| canonical(&rows.plan, expr)) else {
            let text = "protected rows are compared with a list by equality only, in IN, NOT IN or EXISTS";
            return Err(refuse(text, rows.why));
        };
        let theirs = |expr: &Expr| match unalias(expr) {
            Expr::Column(column) => {
                unpadded_origin(&join.right, column).is_some_and(|Origin { column, .. }| column == STEWARD)
            }
            _ => false,
        };
        // The steward's name is that of all tables of the row where none is filled up and all are of the same stewards.
        let one_name = rows.relation.filled.is_empty()
            && rows.scans.iter().all(|scan| rows.scans.first().is_some_and(|first| first.stewards == scan.stewards));
        let reader = if one_name && list.take_stewards(theirs) { Reader::OfItsOwn } else { Reader::OfAll };
        let columns: Result<BTreeSet<Column>, Stop> = list
            .pairs
            .iter()
            .map(|(own, _)| match rows.relation.without_widening(own) {
                Expr::Column(column) => Ok(column),
                other => {
                    let text = format!("`{other}` is no column that can be compared with rows of the requester");
                    Err(refuse(&text, rows.why.clone()))
                }
            })
            .collect();
        rows.relation.lists.insert(columns?);
        if list.is_released() {
            let plan;
            (list, plan) = list.released(self.brought.len(), released)?;
            self.brought.push(BroughtPlan { plan, reader });
        }
        rows.lists.push(list);
        rows.plan = over(plan, vec![rows.plan, join.right.as_ref().clone()])?;
        Ok(Relation::Protected(Box::new(rows)))
    }

    /// Protected rows, each beside the one row of a released aggregate, which conditions above compare it with.
    fn beside_one_row(
        &mut self,
        plan: &LogicalPlan,
        join: &Join,
        mut rows: Rows,
        released: LogicalPlan,
    ) -> Result<Relation, Stop> {
        let number = self.brought.len();
        let values = named_leaf(number, released.schema())?;
        rows.relation.bring(number, released.schema().fields().iter().map(|field| field.data_type().clone()));
        self.brought.push(BroughtPlan { plan: released, reader: Reader::OfAll });
        rows.plan = over(plan, vec![rows.plan, values])?;
        if let Some(filter) = join.filter.as_ref().filter(|_| join.join_type == JoinType::Inner) {
            rows.relation.predicates.extend(split(&canonical(&rows.plan, filter)?));
        }
        Ok(Relation::Protected(Box::new(rows)))
    }

    /// An aggregate over protected rows is a release point if a clause of every steward covers it.
    fn release(&mut self, aggregate: &Aggregate, rows: Rows) -> Result<Relation, Stop> {
        let Grouping { keys, sets } = Grouping::of(aggregate).map_err(|text| refuse(&text, rows.why.clone()))?;
        let keys =
            keys.into_iter().map(|key| canonical(&rows.plan, key)).collect::<datafusion::common::Result<Vec<_>>>()?;
        let asked = aggregate.aggr_expr.iter().map(|value| asked(value, &rows)).collect::<Result<Vec<_>, Stop>>()?;
        let sides = sides_of(&rows)?;
        let stewards: BTreeSet<SiteId> = sides.iter().flat_map(|side| side.stewards.clone()).collect();
        let matched = asked.iter().map(|value| value.bare(&rows.relation)).collect::<Vec<_>>();
        let mut covering = self.covering(&keys, &matched, &sides, &rows)?;
        let mut columns = Vec::new();
        let mut values = values(&keys, &asked, &rows.relation, &mut |expr| placed(expr, &mut columns, 0));
        let portions = sets.len() > 1 && seen::tell_counts(&values);
        if portions {
            seen::count_averages(&mut values);
        }
        let apart =
            undecidable(&values, sets.len()).or_else(|| filtered_apart(&matched, &Tied::of(&rows.relation, &matched)));
        if let Some(text) = apart.filter(|_| self.under_minimum(&covering.clauses)) {
            // Another clause may hold them to no minimum.
            covering = self.without_minimum(covering).ok_or_else(|| refuse(&text, rows.why.clone()))?;
        }
        let Covering { clauses, others } = covering;
        let rules = self.rules(&clauses);
        let conditions = rows.relation.predicates.iter().chain(filters(&asked));
        let scope = rules.scope(&rows.scans, conditions, rows.read_released());
        if scope == MinimumScope::PerSite && sides.len() > 1 {
            return Err(refuse(rules.joined_per_site(), rows.why));
        }
        if let Some(text) = rules.undecidable(&keys, &asked, scope) {
            return Err(refuse(&text, rows.why));
        }
        if scope == MinimumScope::PerSite && stewards.len() > 1 {
            let why = rules.not_released_by_each(&rows.relation, &keys, &asked);
            if !why.is_empty() {
                return Err(denied(why.into_iter().chain(rows.why).collect()));
            }
            // Each steward sends what an average is made of.
            let sent = undecidable(&as_states(&values), sets.len());
            if let Some(text) = sent.filter(|_| self.under_minimum(&clauses)) {
                return Err(refuse(&text, rows.why));
            }
        }
        let entities = entities(&rules, &sides, scope)?;
        let id = ReleaseId(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        let Assembled { mut shape, sides, output } = assemble(&keys, &asked, &entities, &rows, &sides)?;
        shape.sets = sets;
        if portions {
            seen::count_averages(&mut shape.aggregates);
        }
        if self.under_minimum(&clauses) {
            let decided = Decided { clauses: clauses.clone(), scope };
            let minimums: Vec<_> = rules.released().flat_map(|released| &released.minimums).collect();
            let is_person =
                |column: &Column| minimums.iter().any(|minimum| rows.relation.is_entity(column, &minimum.entity));
            let mut told = Told::of(&rows, &keys, &shape.sets, &asked, decided, is_person);
            if portions {
                told.count_averages();
            }
            self.told.push(told);
            self.telling.push(self.parts.len());
        }
        let released = release_leaf(id, aggregate, shape.group_columns())?;
        let input = joined(&sides, sides.iter().map(|side| side.input.clone()).collect(), &output)?;
        self.parts.push(ProtectedPart { id, clauses, others, shape, input, sides, output, stewards, scope });
        Ok(Relation::Released(released))
    }
}

impl Walk<'_> {
    /// Has the points decide about what they tell beside one another, and refuses what none of them decides about.
    fn decide_together(&mut self) -> Result<(), Stop> {
        let counted = several::count_averages(&mut self.told);
        for (place, _) in self.telling.iter().zip(counted).filter(|(_, counted)| *counted) {
            let Some(part) = self.parts.get_mut(*place) else { continue };
            seen::count_averages(&mut part.shape.aggregates);
            if let Some(text) = undecidable(&part.shape.aggregates, part.shape.sets.len()) {
                return Err(refuse(&text, Vec::new()));
            }
        }
        refuse_apart(&self.told)
    }

    /// The first clause of each steward that covers its side of a question, and those that do as well.
    fn covering(&self, keys: &[Expr], matched: &[Asked], sides: &[SideShape], rows: &Rows) -> Result<Covering, Stop> {
        let id = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let mut covering = Covering { clauses: Vec::new(), others: Vec::new() };
        let mut why = Vec::new();
        let of_sides = sides.iter().flat_map(|side| side.stewards.iter().map(move |steward| (side, steward)));
        for (side, steward) in of_sides {
            let Some(held) = self.governing.get(steward) else {
                why.push(Reason { steward: Some(steward.clone()), text: "no agreement allows you this table".into() });
                continue;
            };
            let covers = |only: Option<u32>| {
                let (agreement, partners) = (&held.agreement, &side.partners);
                side.relation.released_part(agreement, partners, keys, matched, only, self.state)
            };
            let chosen = self.choice.get(&(id, steward.clone())).copied();
            match covers(chosen) {
                Ok(clause) => {
                    let agreement = AgreementRef { agreement: held.agreement.name.clone(), epoch: held.epoch };
                    covering.clauses.push(ReleaseClauseRef { steward: steward.clone(), agreement, clause });
                    let also = held
                        .agreement
                        .clauses
                        .iter()
                        .map(|numbered| numbered.number)
                        .filter(|other| *other > clause && chosen.is_none() && covers(Some(*other)).is_ok());
                    covering.others.extend(also.map(|other| (steward.clone(), other)));
                }
                Err(reasons) => {
                    why.extend(reasons.into_iter().map(|text| Reason { steward: Some(steward.clone()), text }));
                }
            }
        }
        if why.is_empty() {
            return Ok(covering);
        }
        why.extend(rows.why.iter().cloned());
        Err(denied(why))
    }

    fn rules<'b>(&'b self, clauses: &'b [ReleaseClauseRef]) -> PointRules<'b> {
        PointRules { governing: self.governing, federated: self.federated, clauses, state: self.state }
    }

    fn under_minimum(&self, clauses: &[ReleaseClauseRef]) -> bool {
        self.rules(clauses).released().any(|released| !released.minimums.is_empty())
    }

    /// Of the clauses that cover a question those without a minimum; none if a steward has no such one.
    fn without_minimum(&self, covering: Covering) -> Option<Covering> {
        let mut less = Covering { clauses: Vec::new(), others: Vec::new() };
        for first in covering.clauses {
            let also = covering.others.iter().filter(|(steward, _)| *steward == first.steward).map(|(_, other)| *other);
            let all = std::iter::once(first.clause).chain(also);
            let of = |clause| ReleaseClauseRef { clause, ..first.clone() };
            let mut free = all.map(of).filter(|clause| !self.under_minimum(std::slice::from_ref(clause)));
            less.clauses.push(free.next()?);
            less.others.extend(free.map(|other| (other.steward, other.clause)));
        }
        Some(less)
    }
}

/// The clauses that cover a release point.
struct Covering {
    /// The first of each steward.
    clauses: Vec<ReleaseClauseRef>,
    /// Further ones.
    others: Vec<(SiteId, u32)>,
}

/// The conditions of single values.
fn filters(asked: &[Asked]) -> impl Iterator<Item = &Expr> {
    asked.iter().filter_map(|value| value.filter.as_ref())
}

/// The entity key columns that the clauses' minimums count, each of the steward's own side.
fn entities(rules: &PointRules<'_>, sides: &[SideShape], scope: MinimumScope) -> Result<Vec<Column>, Stop> {
    let mut entities: Vec<Column> = Vec::new();
    for side in sides {
        let together = scope == MinimumScope::Federation && side.stewards.len() > 1;
        let mut of_side: Vec<Column> = Vec::new();
        for minimum in side.stewards.iter().flat_map(|steward| rules.released_by(steward)).flat_map(|one| &one.minimums)
        {
            let name = &minimum.entity.column;
            let holders = side.scans.iter().filter(|scan| {
                let named = super::view::concerns(minimum.entity.table.as_ref(), &scan.name);
                named && scan.schema.column_with_name(name).is_some()
            });
            let mut holders = holders.map(|scan| (scan, RelationShape::column(&scan.name, name))).peekable();
            if holders.peek().is_none() {
                return Err(refuse(&format!("the minimum counts `{name}`, which is not in the relation"), vec![]));
            }
            let Some((table, column)) = holders.find(|(_, key)| side.relation.is_entity(key, &minimum.entity)) else {
                let text = format!("the minimum counts `{name}`, and does not say of which table");
                return Err(refuse(&text, vec![]));
            };
            if together && table.local.as_ref() != Some(name) && !table.colocated.contains_key(name) {
                let text = format!("the minimum counts `{name}`, which may be the same at several stewards");
                return Err(refuse(&text, vec![]));
            }
            let counted = |have: &Column| have.name == column.name && side.relation.is_entity(have, &minimum.entity);
            if !of_side.iter().any(counted) {
                of_side.push(column);
            }
        }
        entities.extend(of_side);
    }
    Ok(entities)
}

/// An operator over other inputs with the same columns.
fn over(plan: &LogicalPlan, inputs: Vec<LogicalPlan>) -> datafusion::common::Result<LogicalPlan> {
    plan.with_new_exprs(plan.expressions(), inputs)
}

/// Whether rows of both sides of a join stand side by side in its own, and a clause can list it.
fn combines(kind: JoinType) -> bool {
    matches!(kind, JoinType::Inner | JoinType::Left | JoinType::Right)
}

/// Whether a join is made of nothing but what may stand below a release point.
fn plain(join: &Join) -> Result<bool, Stop> {
    let other = |node: &LogicalPlan| match node {
        LogicalPlan::TableScan(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_) => false,
        LogicalPlan::Join(join) => !combines(join.join_type),
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
