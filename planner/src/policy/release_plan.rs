//! What a release point computes, as logical plans that the executing place builds from its *own* copy of the clauses:
//! partial aggregates with their entities, groups from partials or from rows, and what is released of decided groups. Nothing
//! of it comes over the wire. Between groups and what is released stands the decision of [`super::decided`], which is no plan.
//!
//! ```text
//!  input rows:   keys | arguments | filters | entity keys | steward, where there are several
//!  partials:     k0.. | s0_0.. (states of the values) | e0.. (entities behind each value)
//!                | m0.. (what they add up to, where DOMINANCE asks for it) | steward, where they meet
//!  groups:       k0.. | s0_0.. | e0_0.. (entities by counter and steward) | m0_0..
//!                   ──► decision ──►   remainder | k0.. | s0_0..
//!  output:       k0.. | v0..
//! ```
//!
//! Where there are grouping sets, rows are aggregated by all of them and, to decide about them, by all keys; the last of `k0..`
//! then says of which set a group is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError, Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    AggregateUDF, EmptyRelation, Expr, ExprSchemable, GroupingSet, LogicalPlan, LogicalPlanBuilder, cast, lit,
};
use datafusion::prelude::col;
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::HashKey;

use super::conditions::{EntityMinimum, ReleaseConditions};
use super::decide::{CounterRule, DecisionRules, DominanceRule, Lax};
use super::decided::{GroupDecision, REMAINDER};
use super::seen::{Condition, Holds, Seen, as_states, differences, rows_seen, undecidable};
pub use super::states::is_mergeable;
use super::states::{Columns, Split, holds_exact_sum, like, state_name};
use super::{Decimal, MinimumScope, Outcome};
use crate::fragment::{KeySet, ReleaseShape, ReleasedAggregate};
use crate::function::{
    IS_REMAINDER, Portion, Step, entities, fingerprint, magnitudes, rounded_to, sum_of, united_entities,
    united_magnitudes,
};

/// The column of rows or partials of several stewards that says whose they are. The executing place puts it there.
pub const WHOSE: &str = "dynamos_steward";

/// For columns of rows, by position, whose they are.
pub type Whose = BTreeMap<usize, Owners>;

/// Whose the values of a column are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// The name of the column that says it for each row.
    pub label: String,
    /// All whom it names. Rows of theirs stand one below the other; those that are only joined to them are others'.
    pub stewards: BTreeSet<SiteId>,
}

/// How the values of groups stand in their columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// As they are, computed in one go over rows; as states only where small groups may have to be merged.
    Whole,
    /// As states that can be merged.
    States,
}

/// Builds the plans of one release point.
#[derive(Clone, Copy)]
pub struct ReleasePlan<'a> {
    /// Keys, values and entities.
    pub shape: &'a ReleaseShape,
    /// What the clauses demand.
    pub conditions: &'a ReleaseConditions,
    /// Whether values leave as the states that they are made of, decided by this place.
    pub sends_states: bool,
    /// Under which entities are hashed: drawn by this place for this query.
    pub key: &'a HashKey,
    /// Resolves functions.
    pub state: &'a SessionState,
}

impl ReleasePlan<'_> {
    /// Rows of `input` aggregated to states and entities: what a steward sends where the states are merged.
    pub fn partials(&self, input: LogicalPlan) -> Result<LogicalPlan> {
        let columns = Columns::of(&input, self.shape);
        let mut aggregates = Vec::new();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            aggregates.extend(columns.states(index, value, Split::of(value)?, self.state)?);
        }
        let counters = self.counters()?;
        for (index, counter) in counters.iter().enumerate() {
            aggregates.push(self.entities(counter, &columns, None)?.alias(format!("e{index}")));
        }
        for (index, counter) in counters.iter().enumerate().filter(|(_, counter)| counter.is_held_to_dominance()) {
            aggregates.push(self.magnitudes(counter, &columns, None)?.alias(format!("m{index}")));
        }
        self.grouped(input, &self.grouping(&columns), aggregates, None)
    }

    /// The groups of several stewards' partials: the columns of [`ReleasePlan::partials`], and [`WHOSE`].
    pub fn groups_of_partials(&self, partials: LogicalPlan) -> Result<LogicalPlan> {
        let keys: Vec<Expr> = (0..self.shape.group_columns()).map(|index| col(key_name(index))).collect();
        let mut aggregates = Vec::new();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            aggregates.extend(Split::of(value)?.merged(index, partials.schema(), self.state)?);
        }
        let counters = self.counters()?;
        for (index, counter) in counters.iter().enumerate() {
            for (at, steward) in self.conditions.stewards.iter().enumerate() {
                let united = united_entities(counter.minimum.largest);
                let united = aggregate(united, vec![col(format!("e{index}"))], Some(is_of(WHOSE, steward)));
                aggregates.push(united.alias(format!("e{index}_{at}")));
            }
        }
        for (index, _) in counters.iter().enumerate().filter(|(_, counter)| counter.is_held_to_dominance()) {
            for (at, steward) in self.conditions.stewards.iter().enumerate() {
                let united =
                    aggregate(united_magnitudes(), vec![col(format!("m{index}"))], Some(is_of(WHOSE, steward)));
                aggregates.push(united.alias(format!("m{index}_{at}")));
            }
        }
        let states = Arc::clone(partials.schema());
        self.grouped(partials, &keys, aggregates, Some(&states))
    }

    /// The groups of rows. Where rows of several stewards are in them, `whose` names for each column that tells entities apart
    /// the column that says whose they are.
    pub fn groups_of_rows(&self, input: LogicalPlan, values: Values, whose: &Whose) -> Result<LogicalPlan> {
        let columns = Columns::of(&input, self.shape);
        let mut aggregates = Vec::new();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            let split = self.split(values, value, columns.is_exact(value))?;
            aggregates.extend(columns.states(index, value, split, self.state)?);
        }
        let several = self.conditions.stewards.len() > 1;
        let of_steward = |counter: &Counter<'_>, steward: &SiteId| match whose.get(&counter.entity) {
            Some(owners) => Ok(Some(is_of(&owners.label, steward))),
            None if several => plan_err!("whose column {} is, is not known", counter.entity),
            None => Ok(None),
        };
        let counters = self.counters()?;
        for (index, counter) in counters.iter().enumerate() {
            for (at, steward) in self.conditions.stewards.iter().enumerate() {
                let entities = self.entities(counter, &columns, of_steward(counter, steward)?)?;
                aggregates.push(entities.alias(format!("e{index}_{at}")));
            }
        }
        for (index, counter) in counters.iter().enumerate().filter(|(_, counter)| counter.portion(whose).is_some()) {
            for (at, steward) in self.conditions.stewards.iter().enumerate() {
                let magnitudes = self.magnitudes(counter, &columns, of_steward(counter, steward)?)?;
                aggregates.push(magnitudes.alias(format!("m{index}_{at}")));
            }
        }
        self.grouped(input, &self.grouping(&columns), aggregates, None)
    }

    /// What rows are grouped by: the keys, or the grouping sets, to which that of all keys belongs. It is the first, so that the
    /// keys stand in their order.
    fn grouping(&self, columns: &Columns) -> Vec<Expr> {
        if self.shape.sets.is_empty() {
            return columns.keys.clone();
        }
        let all = KeySet::all(self.shape.keys);
        let asked = self.shape.sets.iter().copied();
        let (finest, others): (Vec<KeySet>, Vec<KeySet>) = asked.partition(|set| *set == all);
        let finest = std::iter::repeat_n(all, finest.len().max(1));
        let sets = finest.chain(others).map(|set| set.of(&columns.keys)).collect();
        vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))]
    }

    /// What is decided over the groups, for a requester of this organisation: it is the steward of the same name, if there
    /// is one, and knows that steward's part. `whose` is that of the rows, where rows were grouped.
    pub fn decision(&self, organisation: &str, whose: &Whose) -> Result<GroupDecision> {
        let stewards = &self.conditions.stewards;
        let rule = |counter: Counter<'_>| {
            Ok(CounterRule {
                behind: counter.seen.behind,
                minimum: counter.minimum.largest,
                own: stewards.iter().map(|steward| self.conditions.alone(steward, counter.minimum)).collect(),
                lax: counter.lax(stewards, whose)?,
                dominance: counter.dominance(stewards, whose)?,
            })
        };
        let rules = DecisionRules {
            counters: self.counters()?.into_iter().map(rule).collect::<Result<_>>()?,
            stewards: stewards.len(),
            sites: self.conditions.sites,
            requester: stewards.iter().position(|steward| steward.as_str() == organisation),
            outcome: self.conditions.outcome,
        };
        Ok(GroupDecision { keys: self.shape.keys, sets: self.shape.sets.clone(), rules })
    }

    /// What is released of decided groups: the parts of the remainder merged, values made of states, numbers rounded.
    pub fn released(&self, decided: LogicalPlan, values: Values) -> Result<LogicalPlan> {
        let schema = Arc::clone(decided.schema());
        let plan = if self.may_have_remainder() { self.merged_parts(decided)? } else { decided };
        let mut output: Vec<Expr> = (0..self.shape.group_columns()).map(|index| col(key_name(index))).collect();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            let value = self.split(values, value, holds_exact_sum(index, &schema))?.value(index, &schema)?;
            output.push(self.rounded(value, &schema)?.alias(format!("v{index}")));
        }
        crate::bind::analyze(LogicalPlanBuilder::from(plan).project(output)?.build()?, self.state)
    }

    /// What a steward sends of its own decided groups where each steward decides by itself: what it would release if it were
    /// asked alone for every state, in the columns of decided groups.
    pub fn released_states(&self, decided: LogicalPlan) -> Result<LogicalPlan> {
        let plan = if self.may_have_remainder() { self.merged_parts(decided)? } else { decided };
        let schema = Arc::clone(plan.schema());
        let states = 1 + self.shape.group_columns();
        let sums: BTreeSet<String> = self.exact_sums(&schema).map(|index| state_name(index, 0)).collect();
        let columns = schema.columns().into_iter().enumerate().map(|(index, column)| {
            let name = column.name.clone();
            let value = Expr::from(column);
            let value = if sums.contains(&name) { sum_of().call(vec![value]) } else { value };
            let value = if index < states { value } else { self.rounded(value, &schema)? };
            Ok(value.alias(name))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        crate::bind::analyze(LogicalPlanBuilder::from(plan).project(columns)?.build()?, self.state)
    }

    /// Decided groups with those of equal keys merged: the parts of a remainder, or what several stewards released.
    pub fn merged_parts(&self, decided: LogicalPlan) -> Result<LogicalPlan> {
        let keys = std::iter::once(REMAINDER.to_owned()).chain((0..self.shape.group_columns()).map(key_name));
        let types = Arc::clone(decided.schema());
        let mut states = Vec::new();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            states.extend(Split::of(value)?.merged(index, &types, self.state)?);
        }
        let merged = LogicalPlanBuilder::from(decided).aggregate(keys.map(col).collect::<Vec<_>>(), states)?;
        let found = Arc::clone(merged.schema());
        let columns = found.columns().into_iter().map(|column| like(&types, &found, &column));
        let columns = columns.collect::<Vec<_>>();
        crate::bind::analyze(merged.project(columns)?.build()?, self.state)
    }

    /// The columns of what is released, for rows with these columns.
    pub fn output(&self, input: LogicalPlan) -> Result<SchemaRef> {
        let released = self.released(self.undecided(input, Values::Whole)?, Values::Whole)?;
        Ok(Arc::clone(released.schema().inner()))
    }

    /// The columns of what a steward sends, for rows with these columns.
    pub fn sent(&self, input: LogicalPlan, scope: MinimumScope) -> Result<SchemaRef> {
        let sent = match scope {
            MinimumScope::Federation => self.partials(input)?,
            MinimumScope::PerSite => self.released_states(self.undecided(input, Values::States)?)?,
        };
        Ok(Arc::clone(sent.schema().inner()))
    }

    /// A relation that stands for decided groups of rows with these columns.
    fn undecided(&self, input: LogicalPlan, values: Values) -> Result<LogicalPlan> {
        let groups = self.groups_of_rows(input, values, &Whose::new())?;
        let schema = self.decision("", &Whose::new())?.schema(groups.schema().as_arrow());
        let schema = Arc::new(DFSchema::try_from(schema)?);
        Ok(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema }))
    }

    /// Without keys the remainder of what is withheld would be the one group itself.
    fn may_have_remainder(&self) -> bool {
        self.conditions.outcome == Outcome::Remainder && self.shape.keys > 0 && !self.conditions.minimums.is_empty()
    }

    /// Where rows are at hand, every function is computed in one go; only a remainder needs states that can be merged, and an
    /// exact sum is one.
    fn split(&self, values: Values, value: &ReleasedAggregate, exact: bool) -> Result<Split> {
        match values {
            Values::Whole if self.may_have_remainder() => Split::of(value),
            Values::Whole if (exact && is_sum(value)) || value.function == IS_REMAINDER => {
                Split::of_function(&value.function, false)
            }
            Values::Whole => Ok(Split::Whole),
            Values::States => Split::of(value),
        }
    }

    /// The values whose first state is an exact sum.
    fn exact_sums<'a>(&'a self, states: &'a DFSchema) -> impl Iterator<Item = usize> + 'a {
        let values = self.shape.aggregates.iter().enumerate();
        let sums = values.filter(|(_, value)| is_sum(value));
        sums.map(|(index, _)| index).filter(|index| holds_exact_sum(*index, states))
    }

    /// The aggregate under its agreed names. A sum of sums is wider than the sum of all rows: columns that `types` has are
    /// brought back to the types that they have there.
    fn grouped(
        &self,
        input: LogicalPlan,
        keys: &[Expr],
        aggregates: Vec<Expr>,
        types: Option<&DFSchema>,
    ) -> Result<LogicalPlan> {
        let grouped = LogicalPlanBuilder::from(input).aggregate(keys.to_vec(), aggregates)?;
        let found = Arc::clone(grouped.schema());
        let names = found.columns();
        let keys = names.iter().take(self.shape.group_columns()).enumerate();
        let keys = keys.map(|(index, key)| Expr::from(key.clone()).alias(key_name(index)));
        let rest = names.iter().skip(self.shape.group_columns()).map(|column| match types {
            Some(types) => like(types, &found, column),
            None => Expr::from(column.clone()),
        });
        let named = keys.chain(rest).collect::<Vec<_>>();
        crate::bind::analyze(grouped.project(named)?.build()?, self.state)
    }

    /// The entities with a row that enters a value.
    fn entities(&self, counter: &Counter<'_>, columns: &Columns, of_steward: Option<Expr>) -> Result<Expr> {
        let entity = fingerprint(self.key).call(vec![columns.at(counter.entity)?]);
        let filter = counter.entering(columns, of_steward)?;
        Ok(aggregate(entities(counter.minimum.largest, self.key), vec![entity], filter))
    }

    /// What the entities add up to that have a row which enters a value.
    fn magnitudes(&self, counter: &Counter<'_>, columns: &Columns, of_steward: Option<Expr>) -> Result<Expr> {
        let Some(argument) = counter.seen.summed else { return plan_err!("a sum has an argument") };
        let entity = fingerprint(self.key).call(vec![columns.at(counter.entity)?]);
        let number = columns.at(argument)?;
        let number = match columns.type_at(argument) {
            DataType::Float16 | DataType::Float32 => cast(number, DataType::Float64),
            kind if kind.is_integer() => cast(number, DataType::Decimal128(20, 0)),
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
                cast(number, DataType::Decimal128(precision, scale))
            }
            _ => number,
        };
        Ok(aggregate(magnitudes(), vec![entity, number], counter.entering(columns, of_steward)?))
    }

    fn rounded(&self, value: Expr, schema: &DFSchema) -> Result<Expr> {
        let Some(step) = &self.conditions.round_to else { return Ok(value) };
        if !value.get_type(schema)?.is_numeric() {
            return Ok(value);
        }
        Ok(rounded_to(step_of(step)?).call(vec![value]))
    }

    /// The counters of the release point. A minimum whose entity the graph does not name is an error, never skipped.
    fn counters(&self) -> Result<Vec<Counter<'_>>> {
        let mut counters = Vec::new();
        let told = if self.sends_states { as_states(&self.shape.aggregates) } else { self.shape.aggregates.clone() };
        if !self.conditions.minimums.is_empty()
            && let Some(text) = undecidable(&told, self.shape.sets.len())
        {
            return Err(DataFusionError::Plan(text));
        }
        for (name, minimum) in &self.conditions.minimums {
            // Tables of several stewards may call different people by one name; a minimum of that name is one of each.
            let mut entities = self.shape.entities.iter().filter(|entity| entity.name == *name).peekable();
            if entities.peek().is_none() {
                return plan_err!(
                    "the release point does not count `{name}`, of which the agreement demands a minimum"
                );
            }
            for entity in entities {
                let counted = told.iter().filter(|value| value.function != IS_REMAINDER);
                let counted: Vec<&ReleasedAggregate> = counted.collect();
                let held = |value: &&ReleasedAggregate| is_sum(value) && value.distinct && minimum.portion().is_some();
                if counted.iter().any(held) {
                    return plan_err!("sums of different values cannot be held to DOMINANCE");
                }
                let mut seen = rows_seen(&counted);
                if seen.is_empty() {
                    seen.push(Seen::all());
                }
                let differences = differences(&counted).map_err(DataFusionError::Plan)?;
                for seen in seen.into_iter().chain(differences) {
                    let counter = Counter { entity: entity.column, minimum, seen };
                    match counters.iter_mut().find(|have: &&mut Counter<'_>| have.sees_the_same_as(&counter)) {
                        Some(have) => have.seen.summed = have.seen.summed.or(counter.seen.summed),
                        None => counters.push(counter),
                    }
                }
            }
        }
        if self.conditions.sites > 0 && counters.is_empty() {
            return plan_err!("stewards are counted by their entities, and no minimum says whose");
        }
        Ok(counters)
    }
}

fn step_of(step: &Decimal) -> Result<Step> {
    match step.digits() {
        Some((units, scale)) if units > 0 => Ok(Step { units, scale }),
        Some(_) | None => plan_err!("numbers cannot be rounded to multiples of `{step}`"),
    }
}

/// Whether a value is a sum, or made of one.
pub(super) fn is_sum(value: &ReleasedAggregate) -> bool {
    matches!(value.function.as_str(), "sum" | "avg")
}

fn is_of(label: &str, steward: &SiteId) -> Expr {
    col(label).eq(lit(steward.as_str()))
}

/// The name of a grouping key in what a release point sends and offers.
pub fn key_name(index: usize) -> String {
    format!("k{index}")
}

fn aggregate(function: AggregateUDF, arguments: Vec<Expr>, filter: Option<Expr>) -> Expr {
    let filter = filter.map(Box::new);
    Expr::AggregateFunction(AggregateFunction::new_udf(Arc::new(function), arguments, false, filter, vec![], None))
}

/// One count of entities: those with a row that enters a value (after its FILTER and with a non-NULL argument), or a part of
/// values that can be subtracted from each other. What sees the same rows shares a counter.
#[derive(Clone, Debug)]
struct Counter<'a> {
    entity: usize,
    minimum: &'a EntityMinimum,
    seen: Seen,
}

impl Counter<'_> {
    fn sees_the_same_as(&self, other: &Self) -> bool {
        let sums = self.seen.summed.zip(other.seen.summed);
        self.entity == other.entity
            && self.minimum == other.minimum
            && self.seen.conditions == other.seen.conditions
            && sums.is_none_or(|(one, other)| one == other)
    }

    fn is_held_to_dominance(&self) -> bool {
        self.portion(&Whose::new()).is_some()
    }

    /// The portion of a sum that one of the entities may have, by the clauses of those whose entities they are; none if none of
    /// them demands it, or none of the values is a sum.
    fn portion(&self, whose: &Whose) -> Option<&Decimal> {
        let owners = whose.get(&self.entity);
        let theirs = |steward: &SiteId| owners.is_none_or(|owners| owners.stewards.contains(steward));
        let demanded = self.minimum.dominance.iter().filter(|(steward, _)| theirs(steward));
        demanded.map(|(_, portion)| portion).min().filter(|_| self.seen.summed.is_some())
    }

    /// Which rows enter the values.
    fn entering(&self, columns: &Columns, of_steward: Option<Expr>) -> Result<Option<Expr>> {
        let condition = |(condition, holds): &(Condition, Holds)| {
            Ok(match (condition, holds) {
                (Condition::Filter(column), Holds::True) => columns.at(*column)?,
                (Condition::Filter(column), Holds::NotTrue) => columns.at(*column)?.is_not_true(),
                (Condition::Present(column), Holds::True) => columns.at(*column)?.is_not_null(),
                (Condition::Present(column), Holds::NotTrue) => columns.at(*column)?.is_null(),
            })
        };
        let conditions = self.seen.conditions.iter().map(condition).collect::<Result<Vec<_>>>()?;
        Ok(conditions.into_iter().chain(of_steward).reduce(Expr::and))
    }

    /// The least that each steward demands; in their order.
    fn lax(&self, stewards: &BTreeSet<SiteId>, whose: &Whose) -> Result<Vec<Lax>> {
        let sums = self.portion(whose).is_some();
        let lax = |steward: &SiteId| {
            let portion = self.minimum.largest_portion.get(steward).filter(|_| sums).map(portion_of).transpose()?;
            Ok(Lax { least: self.minimum.least.get(steward).copied().unwrap_or(1), portion })
        };
        stewards.iter().map(lax).collect()
    }

    /// What is demanded of sums; in the order of the stewards.
    fn dominance(&self, stewards: &BTreeSet<SiteId>, whose: &Whose) -> Result<Option<DominanceRule>> {
        let Some(portion) = self.portion(whose) else { return Ok(None) };
        let sites = whose.get(&self.entity).map_or(stewards, |owners| &owners.stewards).len();
        let own = stewards.iter().map(|steward| self.minimum.dominance.get(steward).map(portion_of).transpose());
        Ok(Some(DominanceRule { portion: portion_of(portion)?, own: own.collect::<Result<_>>()?, sites }))
    }
}

fn portion_of(number: &Decimal) -> Result<Portion> {
    match number.portion() {
        Some(portion) => Ok(portion),
        None => plan_err!("`{number}` is no portion of a sum"),
    }
}
