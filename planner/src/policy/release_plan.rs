//! What a release point computes, as logical plans that the executing place builds from its *own* copy of the clauses:
//! partial aggregates with their entity counts, their merge, and the minimums on top. Nothing of it comes over the wire.
//!
//! ```text
//!  input rows:   keys | arguments | filters | entity keys
//!  partials:     k0.. | s0.. (states of the aggregates) | e0.. (entities behind each value)
//!  output:       k0.. | v0..
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::prelude::col;

use super::{AgreementSet, Clause, ClauseRef, Outcome, ReleaseWhat};
use crate::fragment::{FragmentGraph, ReleaseClauseRef, ReleaseShape, ReleasedAggregate};
use crate::function::{average_of, minimum_met};

/// The conditions of all clauses of a release point together.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseConditions {
    /// The largest minimum for each entity key, by its column name.
    pub minimums: BTreeMap<String, u32>,
    /// What happens to a group below a minimum: FAIL before DROP.
    pub outcome: Outcome,
}

/// The conditions that the clauses of a release point state, read from the executing place's own agreements. Fails if one
/// of the clauses is not held in the version that the graph names.
pub fn conditions(clauses: &[ReleaseClauseRef], agreements: &AgreementSet) -> Result<ReleaseConditions> {
    let mut minimums: BTreeMap<String, u32> = BTreeMap::new();
    let mut outcome = Outcome::Drop;
    for reference in clauses {
        let held = agreements.get(&reference.steward, &reference.agreement.agreement);
        let Some(held) = held.filter(|held| held.epoch == reference.agreement.epoch) else {
            return plan_err!("agreement `{}` of `{}` is not held", reference.agreement.agreement, reference.steward);
        };
        let clause = held.agreement.clause(&ClauseRef::Number(reference.clause)).map(|numbered| &numbered.clause);
        let Some(Clause::Release(release)) = clause else {
            return plan_err!("clause {} is no RELEASE", reference.clause);
        };
        let ReleaseWhat::Aggregates(released) = &release.what else {
            return plan_err!("clause {} releases rows, not aggregates", reference.clause);
        };
        for minimum in &released.minimums {
            let largest = minimums.entry(minimum.entity.column.clone()).or_default();
            *largest = (*largest).max(minimum.count);
        }
        if released.outcome == Outcome::Fail {
            outcome = Outcome::Fail;
        }
    }
    Ok(ReleaseConditions { minimums, outcome })
}

/// The largest minimum that stands in any of the clauses of a query's release points; 0 if there is none.
pub fn largest_minimum(graph: &FragmentGraph, agreements: &AgreementSet) -> u32 {
    let points = graph.releases.iter().filter_map(|point| conditions(&point.clauses, agreements).ok());
    points.flat_map(|point| point.minimums.into_values()).max().unwrap_or(0)
}

/// Rows of `input` aggregated to states and entity counts: what a steward sends where the states are merged.
pub fn partial_plan(
    input: LogicalPlan,
    shape: &ReleaseShape,
    conditions: &ReleaseConditions,
    state: &SessionState,
) -> Result<LogicalPlan> {
    let columns = Columns::of(&input, shape)?;
    let mut aggregates = Vec::new();
    for (index, value) in shape.aggregates.iter().enumerate() {
        for (part, function) in Split::of(value)?.states().iter().enumerate() {
            let argument = columns.argument(value)?;
            let argument = match (function, &argument) {
                (&"sum", Some(argument)) if value.function == "avg" => Some(columns.as_summand(argument)?),
                _ => argument,
            };
            let expr = call(state, function, argument, columns.filter(value)?, Distinctness::All)?;
            aggregates.push(expr.alias(format!("s{index}_{part}")));
        }
    }
    aggregates.extend(columns.entity_counts(shape, conditions, state)?);
    let aggregated = LogicalPlanBuilder::from(input).aggregate(columns.keys.clone(), aggregates)?;
    let names = aggregated.schema().columns();
    let keys =
        names.iter().take(shape.keys).enumerate().map(|(index, key)| Expr::from(key.clone()).alias(key_name(index)));
    let rest = names.iter().skip(shape.keys).map(|name| Expr::from(name.clone()));
    aggregated.project(keys.chain(rest).collect::<Vec<_>>())?.build()
}

/// Partials of several stewards merged, and the conditions applied. `partials` has the columns of [`partial_plan`].
pub fn merge_plan(
    partials: LogicalPlan,
    shape: &ReleaseShape,
    conditions: &ReleaseConditions,
    state: &SessionState,
) -> Result<LogicalPlan> {
    let keys: Vec<Expr> = (0..shape.keys).map(|index| col(key_name(index))).collect();
    let mut aggregates = Vec::new();
    let mut values = Vec::new();
    for (index, value) in shape.aggregates.iter().enumerate() {
        let split = Split::of(value)?;
        for (part, function) in split.merges().iter().enumerate() {
            let name = format!("s{index}_{part}");
            aggregates.push(call(state, function, Some(col(&name)), None, Distinctness::All)?.alias(name));
        }
        values.push(split.value(index, partials.schema())?);
    }
    let counters = counters(shape, conditions)?;
    for (index, _) in counters.iter().enumerate() {
        let name = format!("e{index}");
        aggregates.push(call(state, "sum", Some(col(&name)), None, Distinctness::All)?.alias(name));
    }
    let merged = LogicalPlanBuilder::from(partials).aggregate(keys.clone(), aggregates)?.build()?;
    apply(merged, keys, values, &counters, conditions)
}

/// Rows of `input` aggregated in one go, and the conditions applied.
pub fn complete_plan(
    input: LogicalPlan,
    shape: &ReleaseShape,
    conditions: &ReleaseConditions,
    state: &SessionState,
) -> Result<LogicalPlan> {
    let columns = Columns::of(&input, shape)?;
    let mut aggregates = Vec::new();
    for (index, value) in shape.aggregates.iter().enumerate() {
        let distinctness = if value.distinct { Distinctness::Distinct } else { Distinctness::All };
        let argument = columns.argument(value)?;
        let expr = call(state, &value.function, argument, columns.filter(value)?, distinctness)?;
        aggregates.push(expr.alias(format!("v{index}")));
    }
    aggregates.extend(columns.entity_counts(shape, conditions, state)?);
    let aggregated = LogicalPlanBuilder::from(input).aggregate(columns.keys.clone(), aggregates)?.build()?;
    let keys = aggregated.schema().columns().into_iter().take(shape.keys).map(Expr::from).collect();
    let values = (0..shape.aggregates.len()).map(|index| col(format!("v{index}"))).collect();
    apply(aggregated, keys, values, &counters(shape, conditions)?, conditions)
}

/// The minimums on top of finished groups: a keyed group below one is left out, a global aggregate becomes NULLs.
fn apply(
    groups: LogicalPlan,
    keys: Vec<Expr>,
    values: Vec<Expr>,
    counters: &[Counter],
    conditions: &ReleaseConditions,
) -> Result<LogicalPlan> {
    let mut met: Option<Expr> = None;
    for (index, counter) in counters.iter().enumerate() {
        let entities = cast(col(format!("e{index}")), DataType::Int64);
        let minimum = lit(i64::from(counter.minimum));
        let one = match conditions.outcome {
            Outcome::Fail => minimum_met().call(vec![entities, minimum]),
            Outcome::Drop => entities.gt_eq(minimum),
            Outcome::Remainder => return plan_err!("REMAINDER is not available in this release"),
        };
        met = Some(match met {
            Some(all) => all.and(one),
            None => one,
        });
    }
    let builder = LogicalPlanBuilder::from(groups);
    let keyed = !keys.is_empty();
    let builder = match &met {
        Some(met) if keyed => builder.filter(met.clone())?,
        _ => builder,
    };
    let keys = keys.into_iter().enumerate().map(|(index, key)| key.alias(key_name(index)));
    let schema = builder.schema().clone();
    let values = values.into_iter().enumerate().map(|(index, value)| {
        let value = match &met {
            Some(met) if !keyed => withheld_unless(met, value, &schema)?,
            _ => value,
        };
        Ok(value.alias(format!("v{index}")))
    });
    let output: Vec<Expr> = keys.map(Ok).chain(values).collect::<Result<_>>()?;
    builder.project(output)?.build()
}

fn withheld_unless(met: &Expr, value: Expr, schema: &DFSchema) -> Result<Expr> {
    use datafusion::logical_expr::ExprSchemable;
    let nothing = ScalarValue::try_from(&value.get_type(schema)?)?;
    when(met.clone(), value).otherwise(Expr::Literal(nothing, None))
}

/// The name of a grouping key in what a release point sends and offers.
pub fn key_name(index: usize) -> String {
    format!("k{index}")
}

/// One count of entities: those with a row that enters a value (after its FILTER and with a non-NULL argument). Values that see the same rows share a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counter {
    entity: usize,
    minimum: u32,
    argument: Option<usize>,
    filter: Option<usize>,
}

/// The counters of a release point. A minimum whose entity the graph does not name is an error, never skipped.
fn counters(shape: &ReleaseShape, conditions: &ReleaseConditions) -> Result<Vec<Counter>> {
    let mut counters = Vec::new();
    for (name, minimum) in &conditions.minimums {
        let Some(entity) = shape.entities.iter().find(|entity| entity.name == *name) else {
            return plan_err!("the release point does not count `{name}`, of which the agreement demands a minimum");
        };
        let minimum = *minimum;
        let mut add = |argument, filter| {
            let counter = Counter { entity: entity.column, minimum, argument, filter };
            if !counters.contains(&counter) {
                counters.push(counter);
            }
        };
        if shape.aggregates.is_empty() {
            add(None, None);
        }
        for value in &shape.aggregates {
            add(value.argument, value.filter);
        }
    }
    Ok(counters)
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

    fn entity_counts(
        &self,
        shape: &ReleaseShape,
        conditions: &ReleaseConditions,
        state: &SessionState,
    ) -> Result<Vec<Expr>> {
        let counted = counters(shape, conditions)?.into_iter().enumerate().map(|(index, counter)| {
            let mut selected: Option<Expr> = counter.filter.map(|filter| self.at(filter)).transpose()?;
            if let Some(argument) = counter.argument {
                let present = self.at(argument)?.is_not_null();
                selected = Some(match selected {
                    Some(filter) => filter.and(present),
                    None => present,
                });
            }
            let entity = Some(self.at(counter.entity)?);
            Ok(call(state, "count", entity, selected, Distinctness::Distinct)?.alias(format!("e{index}")))
        });
        counted.collect()
    }
}

/// How a function is computed from mergeable states of constant size.
enum Split {
    Sum,
    Count,
    Extreme(&'static str),
    Average,
}

impl Split {
    fn of(value: &ReleasedAggregate) -> Result<Self> {
        match (value.function.as_str(), value.distinct) {
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
            Self::Sum => &["sum"],
            Self::Count => &["count"],
            Self::Extreme("min") => &["min"],
            Self::Extreme(_) => &["max"],
            Self::Average => &["sum", "count"],
        }
    }

    fn merges(&self) -> &'static [&'static str] {
        match self {
            Self::Sum | Self::Count => &["sum"],
            Self::Extreme("min") => &["min"],
            Self::Extreme(_) => &["max"],
            Self::Average => &["sum", "sum"],
        }
    }

    /// The value from merged states. A sum of sums is wider than the sum over all rows would be; it is brought back to
    /// that type (an overflow there is one here).
    fn value(&self, index: usize, partials: &DFSchema) -> Result<Expr> {
        let state = |part: usize| {
            let name = format!("s{index}_{part}");
            let kind = partials.field_with_unqualified_name(&name)?.data_type().clone();
            Ok::<_, DataFusionError>(cast(col(name), kind))
        };
        Ok(match self {
            Self::Sum | Self::Count | Self::Extreme(_) => state(0)?,
            Self::Average => average_of().call(vec![state(0)?, state(1)?]),
        })
    }
}

/// Whether a released function can be computed from partial states of constant size per group.
pub fn is_mergeable(value: &ReleasedAggregate) -> bool {
    Split::of(value).is_ok()
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
