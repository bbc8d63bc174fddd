//! Aggregates in two steps over released rows: partial states where the rows are, merged elsewhere. `avg` becomes a sum
//! and a count; what cannot be merged from states of constant size is not split. Sums of doubles are not rounded before they
//! are merged, so that the answer has the same bits as without these steps.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, EmptyRelation, ExprSchemable, LogicalPlan, Projection, cast};
use datafusion::prelude::Expr;

use crate::bind::unalias;
use crate::function::{EXACT_SUM, average_of, exact_sum, sum_of, united_sums};

/// The three operators that do what one aggregate does.
#[derive(Clone, Debug)]
pub struct SplitAggregate {
    /// Makes states of rows.
    pub partial: LogicalPlan,
    /// Merges states; its input has the partial's columns.
    pub merge: LogicalPlan,
    /// Makes values of states under the aggregate's own column names; its input has the merge's columns.
    pub finish: LogicalPlan,
}

/// An operator's input that stands only for its columns.
pub fn stub(schema: &DFSchemaRef) -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::clone(schema) })
}

/// The aggregate in two steps; none if one of its functions cannot be split, or if it groups by sets.
pub fn split(aggregate: &Aggregate, state: &SessionState) -> Result<Option<SplitAggregate>> {
    if aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        return Ok(None);
    }
    let keys = aggregate.group_expr.len();
    let mut states = Vec::new();
    let mut merges = Vec::new();
    let mut values = Vec::new();
    for (index, value) in aggregate.aggr_expr.iter().enumerate() {
        let Expr::AggregateFunction(call) = unalias(value) else { return Ok(None) };
        let Some(parts) = parts_of(call, aggregate.input.schema())? else { return Ok(None) };
        let mut names = Vec::new();
        for (part, (function, merge, argument)) in parts.into_iter().enumerate() {
            let name = format!("s{index}_{part}");
            states.push(apply(state, &function, argument, call)?.alias(name.clone()));
            merges.push((merge, name.clone()));
            names.push(name);
        }
        values.push((call.func.name().to_owned(), names));
    }
    let partial = Aggregate::try_new(Arc::clone(&aggregate.input), aggregate.group_expr.clone(), states)?;
    let partial_schema = Arc::clone(&partial.schema);
    let key_columns: Vec<Column> = partial_schema.columns().into_iter().take(keys).collect();
    let merge_exprs = merges.into_iter().map(|(function, name)| {
        let call = call_over(state, &function, Expr::Column(Column::from_name(&name)))?;
        Ok(call.alias(name))
    });
    let merge = Aggregate::try_new(
        Arc::new(stub(&partial_schema)),
        key_columns.iter().cloned().map(Expr::Column).collect(),
        merge_exprs.collect::<Result<Vec<_>>>()?,
    )?;
    let finish = finish(aggregate, &partial_schema, &merge.schema, &values)?;
    Ok(Some(SplitAggregate { partial: LogicalPlan::Aggregate(partial), merge: LogicalPlan::Aggregate(merge), finish }))
}

fn finish(
    aggregate: &Aggregate,
    partial: &DFSchemaRef,
    merged: &DFSchemaRef,
    values: &[(String, Vec<String>)],
) -> Result<LogicalPlan> {
    let wanted = aggregate.schema.columns();
    let keys = aggregate.group_expr.len();
    let mut output = Vec::new();
    for (have, want) in merged.columns().into_iter().take(keys).zip(&wanted) {
        output.push(Expr::Column(have).alias_qualified(want.relation.clone(), want.name.clone()));
    }
    for ((function, states), (want, field)) in
        values.iter().zip(wanted.iter().zip(aggregate.schema.fields()).skip(keys))
    {
        // A sum of sums is wider than the sum over all rows; it is brought back to that type.
        let state = |name: &String| -> Result<Expr> {
            let kind = partial.field_with_unqualified_name(name)?.data_type().clone();
            Ok(cast(Expr::Column(Column::from_name(name)), kind))
        };
        let exact = |name: &String| {
            let kind = partial.field_with_unqualified_name(name).map(|field| field.data_type());
            kind.is_ok_and(|kind| *kind == EXACT_SUM)
        };
        let unrounded = states.first().is_some_and(exact);
        let states = states.iter().map(state).collect::<Result<Vec<_>>>()?;
        let value = match (function.as_str(), states.as_slice()) {
            ("avg", [_, _]) => average_of().call(states),
            ("sum", [_]) if unrounded => sum_of().call(states),
            (_, [only]) => cast(only.clone(), field.data_type().clone()),
            _ => return datafusion::common::plan_err!("`{function}` has other states than it was split into"),
        };
        output.push(value.alias_qualified(want.relation.clone(), want.name.clone()));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(output, Arc::new(stub(merged)))?))
}

type Part = (String, String, Expr);

/// State function, merge function and argument of each state.
fn parts_of(call: &AggregateFunction, input: &DFSchema) -> Result<Option<Vec<Part>>> {
    let params = &call.params;
    if !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Ok(None);
    }
    let [argument] = params.args.as_slice() else { return Ok(None) };
    let argument = argument.clone();
    let part = |state: &str, merge: &str, argument: &Expr| (state.to_owned(), merge.to_owned(), argument.clone());
    let same = |function: &str| Some(vec![part(function, function, &argument)]);
    let sum = |summand: &Expr| -> Result<Part> {
        Ok(match summand.get_type(input)? {
            DataType::Float64 => part(exact_sum().name(), united_sums().name(), summand),
            _ => part("sum", "sum", summand),
        })
    };
    let count = part("count", "sum", &argument);
    Ok(match (call.func.name(), params.distinct) {
        ("sum", false) => Some(vec![sum(&argument)?]),
        ("count", false) => Some(vec![count]),
        (function @ ("min" | "max" | "bool_and" | "bool_or"), _) => same(function),
        ("avg", false) => {
            let summand = match argument.get_type(input)? {
                DataType::Decimal128(..) => argument.clone(),
                kind if kind.is_numeric() => cast(argument.clone(), DataType::Float64),
                _ => return Ok(None),
            };
            Some(vec![sum(&summand)?, count])
        }
        _ => None,
    })
}

fn apply(state: &SessionState, function: &str, argument: Expr, call: &AggregateFunction) -> Result<Expr> {
    let mut made = call_over(state, function, argument)?;
    if let Expr::AggregateFunction(made) = &mut made {
        made.params.filter = call.params.filter.clone();
    }
    Ok(made)
}

fn call_over(state: &SessionState, function: &str, argument: Expr) -> Result<Expr> {
    let Some(known) = state.aggregate_functions().get(function) else {
        return datafusion::common::plan_err!("no aggregate function `{function}`");
    };
    let call = AggregateFunction::new_udf(Arc::clone(known), vec![argument], false, None, vec![], None);
    Ok(Expr::AggregateFunction(call))
}
