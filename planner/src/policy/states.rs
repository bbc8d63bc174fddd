//! How a released value comes about: as a whole, or of states that can be merged and have a bounded size. Sums of doubles,
//! and averages of anything but decimals, always come of states, because there they are exact: the value is the same
//! wherever and in whatever order rows and states are put together.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, cast, lit};
use datafusion::prelude::col;

use super::decided::REMAINDER;
use crate::fragment::{ReleaseShape, ReleasedAggregate};
use crate::function::{EXACT_SUM, IS_REMAINDER, average_of, exact_sum, sum_of, united_sums};

/// The name of a state's column.
pub(super) fn state_name(index: usize, part: usize) -> String {
    format!("s{index}_{part}")
}

/// The input's columns by what they are for.
pub(super) struct Columns {
    all: Vec<Column>,
    types: Vec<DataType>,
    /// The grouping keys.
    pub(super) keys: Vec<Expr>,
}

impl Columns {
    pub(super) fn of(input: &LogicalPlan, shape: &ReleaseShape) -> Self {
        let all = input.schema().columns();
        let types = input.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        let keys = all.iter().take(shape.keys).cloned().map(Expr::from).collect();
        Self { all, types, keys }
    }

    pub(super) fn at(&self, index: usize) -> Result<Expr> {
        match self.all.get(index) {
            Some(column) => Ok(Expr::from(column.clone())),
            None => plan_err!("the release point names column {index}, which its input does not have"),
        }
    }

    /// The type of a column that [`Columns::at`] gives.
    pub(super) fn type_at(&self, index: usize) -> DataType {
        self.types.get(index).cloned().unwrap_or(DataType::Null)
    }

    fn argument(&self, value: &ReleasedAggregate) -> Result<Option<Expr>> {
        value.argument.map(|index| self.at(index)).transpose()
    }

    /// Whether a value is made of an exact sum of doubles.
    pub(super) fn is_exact(&self, value: &ReleasedAggregate) -> bool {
        let kind = value.argument.map(|index| self.type_at(index));
        match (value.function.as_str(), kind) {
            ("sum", Some(kind)) => kind.is_floating(),
            // The engine, too, averages integers as doubles.
            ("avg", Some(kind)) => kind.is_floating() || kind.is_integer(),
            _ => false,
        }
    }

    /// The states of a value over rows.
    pub(super) fn states(
        &self,
        index: usize,
        value: &ReleasedAggregate,
        split: Split,
        state: &SessionState,
    ) -> Result<Vec<Expr>> {
        let argument = self.argument(value)?;
        let filter = value.filter.map(|index| self.at(index)).transpose()?;
        let distinctness = if value.distinct { Distinctness::Distinct } else { Distinctness::All };
        if split == Split::Whole {
            let whole = call(state, &value.function, argument, filter, distinctness)?;
            return Ok(vec![whole.alias(state_name(index, 0))]);
        }
        let exact = self.is_exact(value);
        let parts = split.states().iter().enumerate().map(|(part, function)| {
            let argument = match (function, &argument) {
                (&"sum", Some(argument)) if exact => Some(cast(argument.clone(), DataType::Float64)),
                _ => argument.clone(),
            };
            let made = match function {
                &"sum" if exact => call_of(exact_sum(), argument, filter.clone(), distinctness),
                // Only an exact sum of different values comes of states; extremes are the same of all values.
                function => {
                    let distinctness = if exact { distinctness } else { Distinctness::All };
                    call(state, function, argument, filter.clone(), distinctness)?
                }
            };
            Ok(made.alias(state_name(index, part)))
        });
        parts.collect()
    }
}

/// How a function is computed from states: mergeable ones of constant size, or one that is the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    Whole,
    Sum,
    Count,
    Extreme(&'static str),
    Average,
    /// Whether the group is the remainder; it needs no state.
    Mark,
}

impl Split {
    /// The states that can be merged, if there are any.
    pub(super) fn of(value: &ReleasedAggregate) -> Result<Self> {
        Self::of_function(&value.function, value.distinct)
    }

    pub(super) fn of_function(function: &str, distinct: bool) -> Result<Self> {
        match (function, distinct) {
            ("sum", false) => Ok(Self::Sum),
            ("count", false) => Ok(Self::Count),
            ("avg", false) => Ok(Self::Average),
            ("min", _) => Ok(Self::Extreme("min")),
            ("max", _) => Ok(Self::Extreme("max")),
            (IS_REMAINDER, false) => Ok(Self::Mark),
            (function, _) => Err(DataFusionError::Plan(format!("`{function}` has no partial state of constant size"))),
        }
    }

    fn states(self) -> &'static [&'static str] {
        match self {
            // The function itself, whatever it is.
            Self::Whole | Self::Mark => &[],
            Self::Sum => &["sum"],
            Self::Count => &["count"],
            Self::Extreme("min") => &["min"],
            Self::Extreme(_) => &["max"],
            Self::Average => &["sum", "count"],
        }
    }

    fn merges(self) -> &'static [&'static str] {
        match self {
            Self::Whole | Self::Mark => &[],
            Self::Sum | Self::Count => &["sum"],
            Self::Extreme("min") => &["min"],
            Self::Extreme(_) => &["max"],
            Self::Average => &["sum", "sum"],
        }
    }

    /// The states of a value over states, which stand in columns of these types. A sum of doubles that were rounded when they
    /// were released is exact, too; [`like`] rounds it.
    pub(super) fn merged(self, index: usize, states: &DFSchema, state: &SessionState) -> Result<Vec<Expr>> {
        let parts = self.merges().iter().enumerate().map(|(part, function)| {
            let name = state_name(index, part);
            let kind = states.field_with_unqualified_name(&name)?.data_type();
            let argument = Some(col(&name));
            let merged = match (*function, kind) {
                ("sum", &EXACT_SUM) => call_of(united_sums(), argument, None, Distinctness::All),
                ("sum", &DataType::Float64) => call_of(exact_sum(), argument, None, Distinctness::All),
                (function, _) => call(state, function, argument, None, Distinctness::All)?,
            };
            Ok(merged.alias(name))
        });
        parts.collect()
    }

    /// The value from merged states. A sum of sums is wider than the sum over all rows would be; it is brought back to
    /// that type (an overflow there is one here).
    pub(super) fn value(self, index: usize, states: &DFSchema) -> Result<Expr> {
        let state = |part: usize| {
            let name = state_name(index, part);
            let kind = states.field_with_unqualified_name(&name)?.data_type().clone();
            Ok::<_, DataFusionError>(cast(col(name), kind))
        };
        Ok(match self {
            Self::Sum => rounded_sum(index, states)?,
            Self::Whole | Self::Count | Self::Extreme(_) => state(0)?,
            Self::Average => average_of().call(vec![state(0)?, state(1)?]),
            Self::Mark => col(REMAINDER),
        })
    }
}

/// A sum as the number that it is: rounded, if it is not yet.
pub(super) fn rounded_sum(index: usize, states: &DFSchema) -> Result<Expr> {
    let sum = col(state_name(index, 0));
    if holds_exact_sum(index, states) { Ok(sum_of().call(vec![sum])) } else { Ok(sum) }
}

/// Whether the first state of a sum or an average is an exact sum. Neither of them gives bytes otherwise.
pub(super) fn holds_exact_sum(index: usize, states: &DFSchema) -> bool {
    let state = states.field_with_unqualified_name(&state_name(index, 0));
    state.is_ok_and(|field| *field.data_type() == EXACT_SUM)
}

/// A column of `found` with the type that it has in `types`, if it is there.
pub(super) fn like(types: &DFSchema, found: &DFSchema, column: &Column) -> Expr {
    let value = Expr::from(column.clone());
    let kinds = (types.field_with_unqualified_name(&column.name), found.field_with_unqualified_name(&column.name));
    match kinds {
        (Ok(wanted), Ok(found)) => match (wanted.data_type(), found.data_type()) {
            (&DataType::Float64, &EXACT_SUM) => sum_of().call(vec![value]).alias(&column.name),
            (wanted, _) => cast(value, wanted.clone()).alias(&column.name),
        },
        _ => value,
    }
}

/// Whether a released function can be computed from partial states of constant size per group.
pub fn is_mergeable(function: &str, distinct: bool) -> bool {
    Split::of_function(function, distinct).is_ok()
}

#[derive(Clone, Copy)]
pub(super) enum Distinctness {
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
    Ok(call_of(aggregate.as_ref().clone(), argument, filter, distinctness))
}

fn call_of(aggregate: AggregateUDF, argument: Option<Expr>, filter: Option<Expr>, distinctness: Distinctness) -> Expr {
    let distinct = matches!(distinctness, Distinctness::Distinct);
    let arguments = vec![argument.unwrap_or_else(|| lit(1_i64))];
    let filter = filter.map(Box::new);
    Expr::AggregateFunction(AggregateFunction::new_udf(Arc::new(aggregate), arguments, distinct, filter, vec![], None))
}
