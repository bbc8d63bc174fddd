//! The engine's sums and averages over doubles against [`ExactSum`] itself, however rows are cut.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo};

use super::engine_state;
use super::exact::ExactSum;
use crate::random::Random;

/// Doubles that no order but luck adds up to their sum.
const APART: [f64; 6] = [1e16, 0.1, -1e16, 1e300, -1e300, 3.0];

/// The function as planner and sites resolve it.
fn known(name: &str) -> AggregateUDF {
    engine_state().aggregate_functions()[name].as_ref().clone()
}

fn with_arguments<T>(
    function: &AggregateUDF,
    kind: &DataType,
    is_distinct: bool,
    make: impl FnOnce(AccumulatorArgs<'_>) -> T,
) -> T {
    let field = Arc::new(Field::new("x", kind.clone(), true));
    let schema = Schema::new(vec![Arc::clone(&field)]);
    let column: Arc<dyn datafusion::physical_plan::PhysicalExpr> =
        Arc::new(datafusion::physical_plan::expressions::Column::new("x", 0));
    make(AccumulatorArgs {
        return_field: Arc::new(Field::new("v", function.return_type(std::slice::from_ref(kind)).unwrap(), true)),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "v",
        is_distinct,
        exprs: &[column],
        expr_fields: &[field],
    })
}

fn one(name: &str, distinct: bool) -> Box<dyn Accumulator> {
    let function = known(name);
    with_arguments(&function, &DataType::Float64, distinct, |arguments| function.accumulator(arguments).unwrap())
}

fn column(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// The bits of the sum and of the average of these, none of nothing.
fn expected(values: &[f64]) -> [Option<u64>; 2] {
    let mut sum = ExactSum::default();
    values.iter().for_each(|value| _ = sum.add(*value));
    let given = [sum.value(), sum.average(values.len().max(1) as u64)];
    given.map(|value| (!values.is_empty()).then_some(value.to_bits()))
}

fn bits(values: &ArrayRef) -> Vec<Option<u64>> {
    values.as_primitive::<Float64Type>().iter().map(|value| value.map(f64::to_bits)).collect()
}

fn some_doubles(random: &mut Random, rows: usize) -> Vec<Option<f64>> {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324];
    let with_special = random.below(4) == 0;
    let value = |random: &mut Random| match random.below(20) {
        0 => None,
        1 if with_special => Some(special[random.below(special.len())]),
        _ => Some(APART[random.below(APART.len())] / (1 + random.below(9)) as f64),
    };
    (0..rows).map(|_| value(random)).collect()
}

#[test]
fn e3_sums_and_averages_of_groups_have_the_same_bits_however_rows_are_cut() {
    const GROUPS: usize = 4;
    let mut random = Random(7);
    for case in 0..300 {
        let rows = random.below(200);
        let values = some_doubles(&mut random, rows);
        let of: Vec<usize> = values.iter().map(|_| random.below(GROUPS)).collect();
        let kept: Vec<Option<bool>> =
            values.iter().map(|_| [Some(true), Some(true), Some(false), None][random.below(4)]).collect();
        let filtered = case % 2 == 0;
        for (at, name) in ["sum", "avg"].into_iter().enumerate() {
            let function = known(name);
            let groups = || {
                let make = |arguments: AccumulatorArgs<'_>| function.create_groups_accumulator(arguments).unwrap();
                with_arguments(&function, &DataType::Float64, false, make)
            };
            let mut parts = [groups(), groups(), groups()];
            let mut from = 0;
            while from < rows {
                let to = rows.min(from + 1 + random.below(50));
                let (cut, of) = (column(&values[from..to]), &of[from..to]);
                let filter = filtered.then(|| BooleanArray::from(kept[from..to].to_vec()));
                let part = &mut parts[random.below(3)];
                if random.below(3) == 0 {
                    let states = part.convert_to_state(&[cut], filter.as_ref()).unwrap();
                    part.merge_batch(&states, of, GROUPS).unwrap();
                } else {
                    part.update_batch(&[cut], of, filter.as_ref(), GROUPS).unwrap();
                }
                from = to;
            }
            let mut whole = groups();
            for mut part in parts {
                part.update_batch(&[column(&[None])], &[0], None, GROUPS).unwrap();
                let [first, rest] = [EmitTo::First(1), EmitTo::All].map(|emit| part.state(emit).unwrap());
                assert!(part.size() < 2_000);
                whole.merge_batch(&first, &[0], GROUPS).unwrap();
                whole.merge_batch(&rest, &[1, 2, 3], GROUPS).unwrap();
            }
            let truth = (0..GROUPS).map(|group| {
                let rows = (0..rows).filter(|row| of[*row] == group && (!filtered || kept[*row] == Some(true)));
                expected(&rows.filter_map(|row| values[row]).collect::<Vec<_>>())[at]
            });
            assert_eq!(bits(&whole.evaluate(EmitTo::All).unwrap()), truth.collect::<Vec<_>>(), "{name}, case {case}");
        }
    }
}

#[test]
fn e3_one_sum_and_one_average_have_the_same_bits_however_rows_are_cut() {
    let mut random = Random(8);
    for _ in 0..200 {
        let rows = random.below(60);
        let values = some_doubles(&mut random, rows);
        let plain: Vec<f64> = values.iter().flatten().copied().collect();
        for (at, name) in ["sum", "avg"].into_iter().enumerate() {
            let mut parts = [one(name, false), one(name, false)];
            for (index, chunk) in values.chunks(7).enumerate() {
                parts[index % 2].update_batch(&[column(chunk)]).unwrap();
            }
            let mut whole = one(name, false);
            for part in &mut parts {
                let state: Vec<ArrayRef> =
                    part.state().unwrap().iter().map(|state| state.to_array().unwrap()).collect();
                whole.merge_batch(&state).unwrap();
            }
            let given = whole.evaluate().unwrap().to_array().unwrap();
            assert_eq!(bits(&given), [expected(&plain)[at]], "{name} of {plain:?}");
        }
    }
}

#[test]
fn e3_a_window_that_moves_forgets_nothing_and_keeps_nothing() {
    let mut random = Random(9);
    for _ in 0..100 {
        let values = some_doubles(&mut random, 40);
        for (at, name) in ["sum", "avg"].into_iter().enumerate() {
            let function = known(name);
            let make = |arguments: AccumulatorArgs<'_>| function.create_sliding_accumulator(arguments).unwrap();
            let mut window = with_arguments(&function, &DataType::Float64, false, make);
            assert!(window.supports_retract_batch());
            for end in 1..values.len() {
                let begin = end.saturating_sub(5);
                window.update_batch(&[column(&values[end - 1..end])]).unwrap();
                if begin > 0 {
                    window.retract_batch(&[column(&values[begin - 1..begin])]).unwrap();
                }
                let inside: Vec<f64> = values[begin..end].iter().flatten().copied().collect();
                let given = window.evaluate().unwrap().to_array().unwrap();
                assert_eq!(bits(&given), [expected(&inside)[at]], "{name} of {inside:?}");
            }
        }
    }
}

#[test]
fn e3_different_values_are_added_once_each() {
    for (name, expected) in [("sum", 0.1_f64 + 0.2), ("avg", (0.1 + 0.2) / 4.0)] {
        let mut parts = [one(name, true), one(name, true)];
        parts[0].update_batch(&[column(&[Some(0.1), Some(1e300), None, Some(0.1)])]).unwrap();
        parts[1].update_batch(&[column(&[Some(0.2), Some(1e300), Some(-1e300)])]).unwrap();
        let state = parts[1].state().unwrap().remove(0).to_array().unwrap();
        parts[0].merge_batch(&[state]).unwrap();
        let given = parts[0].evaluate().unwrap().to_array().unwrap();
        assert_eq!(bits(&given), [Some(expected.to_bits())], "{name}");
    }
}

#[test]
fn sums_of_whole_numbers_are_the_engines() {
    let function = known("sum");
    let mut sum =
        with_arguments(&function, &DataType::Int64, false, |arguments| function.accumulator(arguments).unwrap());
    sum.update_batch(&[Arc::new(Int64Array::from(vec![i64::MAX, 1])) as ArrayRef]).unwrap();
    assert_eq!(sum.evaluate().unwrap().to_array().unwrap().as_primitive::<Int64Type>().value(0), i64::MIN);
    assert_eq!(known("mean"), known("avg"));
}

/// The state fields that are declared are those that come.
#[test]
fn states_have_the_types_that_are_declared() {
    for (name, distinct) in [("sum", false), ("avg", false), ("sum", true), ("avg", true)] {
        let function = known(name);
        let input = [Arc::new(Field::new("x", DataType::Float64, true))];
        let declared = function.state_fields(StateFieldsArgs {
            name,
            input_fields: &input,
            return_field: Arc::new(Field::new(name, DataType::Float64, true)),
            ordering_fields: &[],
            is_distinct: distinct,
        });
        let declared: Vec<DataType> = declared.unwrap().iter().map(|field| field.data_type().clone()).collect();
        let state = one(name, distinct).state().unwrap();
        assert_eq!(declared, state.iter().map(|value| value.data_type()).collect::<Vec<_>>(), "{name}");
    }
}
