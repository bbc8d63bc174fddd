//! What a release point computes, as logical plans that the executing place builds from its *own* copy of the clauses:
//! partial aggregates with their entities, groups from partials or from rows, and what is released of decided groups. Nothing
//! of it comes over the wire. Between groups and what is released stands the decision of [`super::decided`], which is no plan.
//!
//! ```text
//!  input rows:   keys | arguments | filters | entity keys | steward, where there are several
//!  partials:     k0.. | s0_0.. (states of the values) | e0.. (entities behind each value) | steward, where they meet
//!  groups:       k0.. | s0_0.. | e0_0.. (entities by counter and steward)   ──► decision ──►   remainder | k0.. | s0_0..
//!  output:       k0.. | v0..
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    AggregateUDF, EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit,
};
use datafusion::prelude::col;
use dynamos_proto::sign::HashKey;

use super::conditions::ReleaseConditions;
use super::decide::{CounterRule, DecisionRules};
use super::decided::{GroupDecision, REMAINDER};
use super::{Decimal, MinimumScope, Outcome};
use crate::fragment::{ReleaseShape, ReleasedAggregate};
use crate::function::{Step, average_of, entities, fingerprint, rounded_to, united_entities};

/// The column of rows or partials of several stewards that says whose they are. The executing place puts it there.
pub const WHOSE: &str = "dynamos_steward";

/// For columns of rows, by position, the name of the column that says whose they are.
pub type Whose = BTreeMap<usize, String>;

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
    /// Under which entities are hashed: drawn by this place for this query.
    pub key: &'a HashKey,
    /// Resolves functions.
    pub state: &'a SessionState,
}

impl ReleasePlan<'_> {
    /// Rows of `input` aggregated to states and entities: what a steward sends where the states are merged.
    pub fn partials(&self, input: LogicalPlan) -> Result<LogicalPlan> {
        let columns = Columns::of(&input, self.shape)?;
        let mut aggregates = Vec::new();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            aggregates.extend(self.states(index, value, &Split::of(value)?, &columns)?);
        }
        for (index, counter) in self.counters()?.iter().enumerate() {
            aggregates.push(self.entities(counter, &columns, None)?.alias(format!("e{index}")));
        }
        self.grouped(input, &columns.keys, aggregates, None)
    }

    /// The groups of several stewards' partials: the columns of [`ReleasePlan::partials`], and [`WHOSE`].
    pub fn groups_of_partials(&self, partials: LogicalPlan) -> Result<LogicalPlan> {
        let keys: Vec<Expr> = (0..self.shape.keys).map(|index| col(key_name(index))).collect();
        let mut aggregates = Vec::new();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            aggregates.extend(self.merged(index, &Split::of(value)?)?);
        }
        for (index, counter) in self.counters()?.iter().enumerate() {
            for (at, steward) in self.conditions.stewards.iter().enumerate() {
                let share = vec![col(format!("e{index}"))];
                let of_steward = Some(Box::new(col(WHOSE).eq(lit(steward.as_str()))));
                let call = united_entities(counter.minimum.largest);
                let call = AggregateFunction::new_udf(Arc::new(call), share, false, of_steward, vec![], None);
                aggregates.push(Expr::AggregateFunction(call).alias(format!("e{index}_{at}")));
            }
        }
        let states = Arc::clone(partials.schema());
        self.grouped(partials, &keys, aggregates, Some(&states))
    }

    /// The groups of rows. Where rows of several stewards are in them, `whose` names for each column that tells entities apart
    /// the column that says whose they are.
    pub fn groups_of_rows(&self, input: LogicalPlan, values: Values, whose: &Whose) -> Result<LogicalPlan> {
        let columns = Columns::of(&input, self.shape)?;
        let mut aggregates = Vec::new();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            aggregates.extend(self.states(index, value, &self.split(values, value)?, &columns)?);
        }
        let several = self.conditions.stewards.len() > 1;
        for (index, counter) in self.counters()?.iter().enumerate() {
            for (at, steward) in self.conditions.stewards.iter().enumerate() {
                let of_steward = match whose.get(&counter.entity) {
                    Some(column) => Some(col(column).eq(lit(steward.as_str()))),
                    None if several => return plan_err!("whose column {} is, is not known", counter.entity),
                    None => None,
                };
                aggregates.push(self.entities(counter, &columns, of_steward)?.alias(format!("e{index}_{at}")));
            }
        }
        self.grouped(input, &columns.keys, aggregates, None)
    }

    /// What is decided over the groups, for a requester of this organisation: it is the steward of the same name, if there
    /// is one, and knows that steward's part.
    pub fn decision(&self, organisation: &str) -> Result<GroupDecision> {
        let stewards = &self.conditions.stewards;
        let rule = |counter: Counter<'_>| CounterRule {
            minimum: counter.minimum.largest,
            own: stewards.iter().map(|steward| self.conditions.alone(steward, counter.minimum)).collect(),
        };
        let rules = DecisionRules {
            counters: self.counters()?.into_iter().map(rule).collect(),
            stewards: stewards.len(),
            sites: self.conditions.sites,
            requester: stewards.iter().position(|steward| steward.as_str() == organisation),
            outcome: self.conditions.outcome,
        };
        Ok(GroupDecision { keys: self.shape.keys, rules })
    }

    /// What is released of decided groups: the parts of the remainder merged, values made of states, numbers rounded.
    pub fn released(&self, decided: LogicalPlan, values: Values) -> Result<LogicalPlan> {
        let schema = Arc::clone(decided.schema());
        let plan = if self.may_have_remainder() { self.merged_parts(decided)? } else { decided };
        let mut output: Vec<Expr> = (0..self.shape.keys).map(|index| col(key_name(index))).collect();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            let value = self.split(values, value)?.value(index, &schema)?;
            output.push(self.rounded(value, &schema)?.alias(format!("v{index}")));
        }
        crate::bind::analyze(LogicalPlanBuilder::from(plan).project(output)?.build()?, self.state)
    }

    /// What a steward sends of its own decided groups where each steward decides by itself: what it would release if it were
    /// asked alone for every state, in the columns of decided groups.
    pub fn released_states(&self, decided: LogicalPlan) -> Result<LogicalPlan> {
        let plan = if self.may_have_remainder() { self.merged_parts(decided)? } else { decided };
        let schema = Arc::clone(plan.schema());
        let states = 1 + self.shape.keys;
        let columns = schema.columns().into_iter().enumerate().map(|(index, column)| {
            let name = column.name.clone();
            let value = Expr::from(column);
            let value = if index < states { value } else { self.rounded(value, &schema)? };
            Ok(value.alias(name))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        crate::bind::analyze(LogicalPlanBuilder::from(plan).project(columns)?.build()?, self.state)
    }

    /// Decided groups with those of equal keys merged: the parts of a remainder, or what several stewards released.
    pub fn merged_parts(&self, decided: LogicalPlan) -> Result<LogicalPlan> {
        let keys = std::iter::once(REMAINDER.to_owned()).chain((0..self.shape.keys).map(key_name));
        let mut states = Vec::new();
        for (index, value) in self.shape.aggregates.iter().enumerate() {
            states.extend(self.merged(index, &Split::of(value)?)?);
        }
        let types = Arc::clone(decided.schema());
        let merged = LogicalPlanBuilder::from(decided).aggregate(keys.map(col).collect::<Vec<_>>(), states)?;
        let columns = merged.schema().columns().into_iter().map(|column| like(&types, &column));
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
        let schema = self.decision("")?.schema(groups.schema().as_arrow());
        let schema = Arc::new(DFSchema::try_from(schema)?);
        Ok(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema }))
    }

    /// Without keys the remainder of what is withheld would be the one group itself.
    fn may_have_remainder(&self) -> bool {
        self.conditions.outcome == Outcome::Remainder && self.shape.keys > 0 && !self.conditions.minimums.is_empty()
    }

    /// Where rows are at hand, every function is computed in one go; only a remainder needs states that can be merged.
    fn split(&self, values: Values, value: &ReleasedAggregate) -> Result<Split> {
        match values {
            Values::Whole if !self.may_have_remainder() => Ok(Split::Whole),
            Values::Whole | Values::States => Split::of(value),
        }
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
        let names = grouped.schema().columns();
        let keys = names.iter().take(keys.len()).enumerate();
        let keys = keys.map(|(index, key)| Expr::from(key.clone()).alias(key_name(index)));
        let rest = names.iter().skip(self.shape.keys).map(|column| match types {
            Some(types) => like(types, column),
            None => Expr::from(column.clone()),
        });
        let named = keys.chain(rest).collect::<Vec<_>>();
        crate::bind::analyze(grouped.project(named)?.build()?, self.state)
    }

    /// The states of a value over rows.
    fn states(&self, index: usize, value: &ReleasedAggregate, split: &Split, columns: &Columns) -> Result<Vec<Expr>> {
        let argument = columns.argument(value)?;
        let filter = columns.filter(value)?;
        if let Split::Whole = split {
            let distinctness = if value.distinct { Distinctness::Distinct } else { Distinctness::All };
            let whole = call(self.state, &value.function, argument, filter, distinctness)?;
            return Ok(vec![whole.alias(state_name(index, 0))]);
        }
        let parts = split.states().iter().enumerate().map(|(part, function)| {
            let argument = match (function, &argument) {
                (&"sum", Some(argument)) if value.function == "avg" => Some(columns.as_summand(argument)?),
                _ => argument.clone(),
            };
            let state = call(self.state, function, argument, filter.clone(), Distinctness::All)?;
            Ok(state.alias(state_name(index, part)))
        });
        parts.collect()
    }

    /// The states of a value over states.
    fn merged(&self, index: usize, split: &Split) -> Result<Vec<Expr>> {
        let parts = split.merges().iter().enumerate().map(|(part, function)| {
            let name = state_name(index, part);
            Ok(call(self.state, function, Some(col(&name)), None, Distinctness::All)?.alias(name))
        });
        parts.collect()
    }

    /// The entities with a row that enters a value.
    fn entities(&self, counter: &Counter<'_>, columns: &Columns, of_steward: Option<Expr>) -> Result<Expr> {
        let filter = counter.filter.map(|filter| columns.at(filter)).transpose()?;
        let present = counter.argument.map(|argument| Ok::<_, DataFusionError>(columns.at(argument)?.is_not_null()));
        let conditions = filter.into_iter().chain(present.transpose()?).chain(of_steward);
        let filter = conditions.reduce(Expr::and).map(Box::new);
        let entity = vec![fingerprint(self.key).call(vec![columns.at(counter.entity)?])];
        let share = Arc::new(entities(counter.minimum.largest, self.key));
        Ok(Expr::AggregateFunction(AggregateFunction::new_udf(share, entity, false, filter, vec![], None)))
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
        for (name, minimum) in &self.conditions.minimums {
            // Tables of several stewards may call different people by one name; a minimum of that name is one of each.
            let mut entities = self.shape.entities.iter().filter(|entity| entity.name == *name).peekable();
            if entities.peek().is_none() {
                return plan_err!(
                    "the release point does not count `{name}`, of which the agreement demands a minimum"
                );
            }
            for entity in entities {
                let mut add = |argument, filter| {
                    let counter = Counter { entity: entity.column, minimum, argument, filter };
                    if !counters.contains(&counter) {
                        counters.push(counter);
                    }
                };
                if self.shape.aggregates.is_empty() {
                    add(None, None);
                }
                for value in &self.shape.aggregates {
                    add(value.argument, value.filter);
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

/// The column with the type that it has there, if it is there.
fn like(types: &DFSchema, column: &Column) -> Expr {
    match types.field_with_unqualified_name(&column.name) {
        Ok(field) => cast(Expr::from(column.clone()), field.data_type().clone()).alias(&column.name),
        Err(_) => Expr::from(column.clone()),
    }
}

/// The name of a grouping key in what a release point sends and offers.
pub fn key_name(index: usize) -> String {
    format!("k{index}")
}

fn state_name(index: usize, part: usize) -> String {
    format!("s{index}_{part}")
}

/// One count of entities: those with a row that enters a value (after its FILTER and with a non-NULL argument). Values that
/// see the same rows share a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counter<'a> {
    entity: usize,
    minimum: &'a super::conditions::EntityMinimum,
    argument: Option<usize>,
    filter: Option<usize>,
}

/// The input's columns by what they are for.
struct Columns {
    all: Vec<Column>,
    types: Vec<DataType>,
    keys: Vec<Expr>,
}

impl Columns {
    fn of(input: &LogicalPlan, shape: &ReleaseShape) -> Result<Self> {
        let all = input.schema().columns();
        let types = input.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        let keys = all.iter().take(shape.keys).cloned().map(Expr::from).collect();
        Ok(Self { all, types, keys })
    }

    fn at(&self, index: usize) -> Result<Expr> {
        match self.all.get(index) {
            Some(column) => Ok(Expr::from(column.clone())),
            None => plan_err!("the release point names column {index}, which its input does not have"),
        }
    }

    fn argument(&self, value: &ReleasedAggregate) -> Result<Option<Expr>> {
        value.argument.map(|index| self.at(index)).transpose()
    }

    fn filter(&self, value: &ReleasedAggregate) -> Result<Option<Expr>> {
        value.filter.map(|index| self.at(index)).transpose()
    }

    /// `avg` sums decimals as they are and everything else as 64-bit floats.
    fn as_summand(&self, argument: &Expr) -> Result<Expr> {
        let position = self.all.iter().position(|column| Expr::from(column.clone()) == *argument);
        Ok(match position.and_then(|index| self.types.get(index)) {
            Some(DataType::Decimal128(..)) => argument.clone(),
            Some(_) => cast(argument.clone(), DataType::Float64),
            None => return plan_err!("the argument is no column of the input"),
        })
    }
}

/// How a function is computed from states: mergeable ones of constant size, or one that is the value.
enum Split {
    Whole,
    Sum,
    Count,
    Extreme(&'static str),
    Average,
}

impl Split {
    fn of(value: &ReleasedAggregate) -> Result<Self> {
        Self::of_function(&value.function, value.distinct)
    }

    fn of_function(function: &str, distinct: bool) -> Result<Self> {
        match (function, distinct) {
            ("sum", false) => Ok(Self::Sum),
            ("count", false) => Ok(Self::Count),
            ("avg", false) => Ok(Self::Average),
            ("min", _) => Ok(Self::Extreme("min")),
            ("max", _) => Ok(Self::Extreme("max")),
            (function, _) => Err(DataFusionError::Plan(format!("`{function}` has no partial state of constant size"))),
        }
    }

    fn states(&self) -> &'static [&'static str] {
        match self {
            // The function itself, whatever it is.
            Self::Whole => &[],
            Self::Sum => &["sum"],
            Self::Count => &["count"],
            Self::Extreme("min") => &["min"],
            Self::Extreme(_) => &["max"],
            Self::Average => &["sum", "count"],
        }
    }

    fn merges(&self) -> &'static [&'static str] {
        match self {
            Self::Whole => &[],
            Self::Sum | Self::Count => &["sum"],
            Self::Extreme("min") => &["min"],
            Self::Extreme(_) => &["max"],
            Self::Average => &["sum", "sum"],
        }
    }

    /// The value from merged states. A sum of sums is wider than the sum over all rows would be; it is brought back to
    /// that type (an overflow there is one here).
    fn value(&self, index: usize, states: &DFSchema) -> Result<Expr> {
        let state = |part: usize| {
            let name = state_name(index, part);
            let kind = states.field_with_unqualified_name(&name)?.data_type().clone();
            Ok::<_, DataFusionError>(cast(col(name), kind))
        };
        Ok(match self {
            Self::Whole | Self::Sum | Self::Count | Self::Extreme(_) => state(0)?,
            Self::Average => average_of().call(vec![state(0)?, state(1)?]),
        })
    }
}

/// Whether a released function can be computed from partial states of constant size per group.
pub fn is_mergeable(function: &str, distinct: bool) -> bool {
    Split::of_function(function, distinct).is_ok()
}

#[derive(Clone, Copy)]
enum Distinctness {
    All,
    Distinct,
}

fn call(
    state: &SessionState,
    function: &str,
    argument: Option<Expr>,
    filter: Option<Expr>,
    distinctness: Distinctness,
) -> Result<Expr> {
    let Some(aggregate): Option<&Arc<AggregateUDF>> = state.aggregate_functions().get(function) else {
        return plan_err!("`{function}` is no aggregate function known here");
    };
    let distinct = matches!(distinctness, Distinctness::Distinct);
    let argument = argument.unwrap_or_else(|| lit(1_i64));
    let call =
        AggregateFunction::new_udf(Arc::clone(aggregate), vec![argument], distinct, filter.map(Box::new), vec![], None);
    Ok(Expr::AggregateFunction(call))
}
