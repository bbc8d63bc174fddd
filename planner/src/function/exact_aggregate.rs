//! The engine's `sum` and `avg`, but over doubles with an [`ExactSum`]: the same bits in whatever order rows come and however
//! they are cut, so that the last digits tell of no row that was hidden among them, and under every placement. Of other types
//! they are the engine's own. They have its names, types and places in plans.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array, Float64Builder, UInt64Array,
};
use arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator, Operator,
    ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};

use super::exact::ExactSum;
use super::exact_sum::{Distinct, decoded, for_each_number, is_kept, numbers, only, sums};

/// `sum`, exact over doubles.
pub(super) fn exact_engine_sum() -> AggregateUDF {
    AggregateUDF::from(Exactly { engine: sum_udaf(), value: Value::Sum })
}

/// `avg`, exact over doubles.
pub(super) fn exact_engine_average() -> AggregateUDF {
    AggregateUDF::from(Exactly { engine: avg_udaf(), value: Value::Average })
}

/// What is made of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value {
    Sum,
    Average,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exactly {
    engine: Arc<AggregateUDF>,
    value: Value,
}

/// Of nothing but doubles do the engine's functions give doubles: it averages whole numbers as doubles, too.
fn is_exact(value: &DataType) -> bool {
    *value == DataType::Float64
}

impl AggregateUDFImpl for Exactly {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn aliases(&self) -> &[String] {
        self.engine.aliases()
    }

    fn signature(&self) -> &Signature {
        self.engine.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.engine.return_type(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match (is_exact(arguments.return_type()), arguments.is_distinct) {
            (false, _) => self.engine.accumulator(arguments),
            (true, false) => Ok(Box::new(One { value: self.value, cell: Cell::default() })),
            (true, true) => Ok(Box::new(Different { value: self.value, numbers: Distinct::default() })),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !is_exact(arguments.return_type()) {
            return self.engine.state_fields(arguments);
        }
        let field = |(name, kind)| Arc::new(Field::new(format_state_name(arguments.name, name), kind, true));
        if arguments.is_distinct {
            return Ok(vec![field(("different", DataType::Binary))]);
        }
        Ok(STATE.map(field).to_vec())
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        match is_exact(arguments.return_type()) {
            true => !arguments.is_distinct,
            false => self.engine.groups_accumulator_supported(arguments),
        }
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match is_exact(arguments.return_type()) {
            true => Ok(Box::new(Groups::of(self.value))),
            false => self.engine.create_groups_accumulator(arguments),
        }
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match is_exact(arguments.return_type()) && !arguments.is_distinct {
            true => Ok(Box::new(Sliding { value: self.value, ..Sliding::default() })),
            false => self.engine.create_sliding_accumulator(arguments),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.engine.inner().set_monotonicity(kind)
    }

    /// The engine makes `sum(x) + 0.1 * count(x)` of `sum(x + 0.1)`, which is another number.
    fn simplify_expr_op_literal(
        &self,
        call: &AggregateFunction,
        argument: &Expr,
        operator: Operator,
        literal: &Expr,
        argument_is_left: bool,
    ) -> Result<Option<Expr>> {
        let whole = matches!(literal, Expr::Literal(value, _) if !value.data_type().is_floating());
        if !whole {
            return Ok(None);
        }
        self.engine.inner().simplify_expr_op_literal(call, argument, operator, literal, argument_is_left)
    }

    fn value_from_stats(&self, arguments: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        if is_exact(arguments.return_type) { None } else { self.engine.value_from_stats(arguments) }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engine.documentation()
    }
}

/// What is known of the numbers of a group.
#[derive(Clone, Debug, Default)]
struct Cell {
    sum: ExactSum,
    count: u64,
}

impl Cell {
    /// Adds a number; gives whether more memory is taken now.
    fn add(&mut self, number: f64) -> bool {
        self.count += 1;
        self.sum.add(number)
    }

    fn given(&self, value: Value) -> Option<f64> {
        (self.count > 0).then(|| match value {
            Value::Sum => self.sum.value(),
            Value::Average => self.sum.average(self.count),
        })
    }
}

/// A cell in columns, from one thread to another: how many numbers, and their sum as two doubles, or else as bytes.
const STATE: [(&str, DataType); 4] =
    [("count", DataType::UInt64), ("high", DataType::Float64), ("low", DataType::Float64), ("wide", DataType::Binary)];

fn state_of(cells: &[Cell]) -> Vec<ArrayRef> {
    let counts: UInt64Array = cells.iter().map(|cell| Some(cell.count)).collect();
    let (mut highs, mut lows) = (Float64Builder::new(), Float64Builder::new());
    let mut wides = BinaryBuilder::new();
    for cell in cells {
        let pair = cell.sum.as_pair();
        highs.append_option(pair.map(|(high, _)| high));
        lows.append_option(pair.map(|(_, low)| low));
        wides.append_option(pair.is_none().then(|| cell.sum.encode()));
    }
    vec![Arc::new(counts), Arc::new(highs.finish()), Arc::new(lows.finish()), Arc::new(wides.finish())]
}

/// The columns of [`state_of`].
struct States<'a> {
    counts: &'a UInt64Array,
    highs: &'a Float64Array,
    lows: &'a Float64Array,
    wides: &'a BinaryArray,
}

impl<'a> States<'a> {
    fn of(columns: &'a [ArrayRef]) -> Result<Self> {
        let [counts, highs, lows, wides] = columns else { return exec_err!("a sum has four columns of states") };
        let Some(counts) = counts.as_primitive_opt::<UInt64Type>() else {
            return exec_err!("{} is no type of counts", counts.data_type());
        };
        Ok(Self { counts, highs: numbers(highs)?, lows: numbers(lows)?, wides: sums(wides)? })
    }

    /// Adds a row to a cell; gives whether more memory is taken now.
    fn unite(&self, row: usize, cell: &mut Cell) -> Result<bool> {
        cell.count += self.counts.value(row);
        if self.wides.is_valid(row) {
            return Ok(cell.sum.unite(&decoded(self.wides.value(row))?));
        }
        let (high, low) = (cell.sum.add(self.highs.value(row)), cell.sum.add(self.lows.value(row)));
        Ok(high | low)
    }
}

/// One value, of rows without groups.
#[derive(Debug)]
struct One {
    value: Value,
    cell: Cell,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let numbers = numbers(only(values)?)?;
        self.cell.count += (numbers.len() - numbers.null_count()) as u64;
        if numbers.null_count() == 0 {
            self.cell.sum.add_all(numbers.values());
        } else {
            numbers.iter().flatten().for_each(|number| _ = self.cell.sum.add(number));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = States::of(states)?;
        (0..states.counts.len()).try_for_each(|row| states.unite(row, &mut self.cell).map(|_| ()))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = state_of(std::slice::from_ref(&self.cell));
        state.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.cell.given(self.value)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + usize::from(self.cell.sum.has_grown()) * ExactSum::MORE_BYTES
    }
}

/// One value of different numbers.
#[derive(Debug)]
struct Different {
    value: Value,
    numbers: Distinct,
}

impl Accumulator for Different {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.numbers.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.numbers.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.numbers.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut cell = Cell::default();
        self.numbers.each().for_each(|number| _ = cell.add(number));
        Ok(ScalarValue::Float64(cell.given(self.value)))
    }

    fn size(&self) -> usize {
        self.numbers.size()
    }
}

/// One value of a window that moves. Numbers that cannot be taken away again are counted.
#[derive(Debug)]
struct Sliding {
    value: Value,
    finite: Cell,
    plus_infinities: u64,
    minus_infinities: u64,
    nans: u64,
}

impl Default for Sliding {
    fn default() -> Self {
        Self { value: Value::Sum, finite: Cell::default(), plus_infinities: 0, minus_infinities: 0, nans: 0 }
    }
}

impl Sliding {
    fn change(&mut self, values: &[ArrayRef], by: impl Fn(&mut u64), sign: f64) -> Result<()> {
        for number in numbers(only(values)?)?.iter().flatten() {
            let counted = match number {
                _ if number.is_nan() => &mut self.nans,
                f64::INFINITY => &mut self.plus_infinities,
                f64::NEG_INFINITY => &mut self.minus_infinities,
                _ => {
                    self.finite.sum.add(sign * number);
                    &mut self.finite.count
                }
            };
            by(counted);
        }
        Ok(())
    }

    fn given(&self) -> Option<f64> {
        match (self.nans, self.plus_infinities, self.minus_infinities) {
            (0, 0, 0) => self.finite.given(self.value),
            (0, _, 0) => Some(f64::INFINITY),
            (0, 0, _) => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }
}

impl Accumulator for Sliding {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, |count| *count += 1, 1.0)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(values, |count| *count = count.saturating_sub(1), -1.0)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        exec_err!("a window has no states")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a window has no states")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.given()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + usize::from(self.finite.sum.has_grown()) * ExactSum::MORE_BYTES
    }
}

/// The values of groups.
#[derive(Debug)]
struct Groups {
    value: Value,
    cells: Vec<Cell>,
    /// How many of the sums take more memory than their own.
    grown: usize,
}

impl Groups {
    fn of(value: Value) -> Self {
        Self { value, cells: Vec::new(), grown: 0 }
    }

    fn emit(&mut self, emit_to: EmitTo) -> Vec<Cell> {
        let cells = emit_to.take_needed(&mut self.cells);
        let grown = cells.iter().filter(|cell| cell.sum.has_grown()).count();
        self.grown = self.grown.saturating_sub(grown);
        cells
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.cells.resize(total, Cell::default());
        let (cells, grown) = (&mut self.cells, &mut self.grown);
        for_each_number(numbers(only(values)?)?, groups, filter, |group, number| {
            if let Some(cell) = cells.get_mut(group) {
                *grown += usize::from(cell.add(number));
            }
        });
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.cells.resize(total, Cell::default());
        let states = States::of(states)?;
        for (row, group) in groups.iter().enumerate() {
            if let Some(cell) = self.cells.get_mut(*group) {
                self.grown += usize::from(states.unite(row, cell)?);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let value = self.value;
        let given: Float64Array = self.emit(emit_to).iter().map(|cell| cell.given(value)).collect();
        Ok(Arc::new(given))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(state_of(&self.emit(emit_to)))
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let numbers = numbers(only(values)?)?;
        let cell = |row: usize| {
            let mut cell = Cell::default();
            if numbers.is_valid(row) && is_kept(filter, row) {
                cell.add(numbers.value(row));
            }
            cell
        };
        Ok(state_of(&(0..numbers.len()).map(cell).collect::<Vec<_>>()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.cells.capacity() * size_of::<Cell>() + self.grown * ExactSum::MORE_BYTES
    }
}
