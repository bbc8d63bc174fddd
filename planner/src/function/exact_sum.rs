//! Aggregates over [`ExactSum`]s: `dynamos_exact_sum` of doubles, `dynamos_united_sums` of sums that were made elsewhere, both
//! as bytes; and `dynamos_sum_of`, the double that belongs to such bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::exact::ExactSum;

/// The type of a sum that is not rounded yet.
pub const EXACT_SUM: DataType = DataType::Binary;

/// The exact sum of doubles, NULL for none; also of the different ones only, with DISTINCT.
pub fn exact_sum() -> AggregateUDF {
    AggregateUDF::from(SumExactly::of(Input::Numbers))
}

/// The exact sum of several sums.
pub fn united_sums() -> AggregateUDF {
    AggregateUDF::from(SumExactly::of(Input::Sums))
}

/// A sum rounded to a double.
pub fn sum_of() -> ScalarUDF {
    ScalarUDF::from(SumOf { signature: Signature::exact(vec![EXACT_SUM], Volatility::Immutable) })
}

/// A sum in bytes that may come from another place.
pub(super) fn decoded(bytes: &[u8]) -> Result<ExactSum> {
    match ExactSum::decode(bytes) {
        Some(sum) => Ok(sum),
        None => exec_err!("a sum is not encoded as agreed"),
    }
}

/// What is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Input {
    Numbers,
    Sums,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SumExactly {
    signature: Signature,
    input: Input,
}

impl SumExactly {
    fn of(input: Input) -> Self {
        let kind = match input {
            Input::Numbers => DataType::Float64,
            Input::Sums => EXACT_SUM,
        };
        Self { signature: Signature::exact(vec![kind], Volatility::Immutable), input }
    }
}

impl AggregateUDFImpl for SumExactly {
    fn name(&self) -> &str {
        match self.input {
            Input::Numbers => "dynamos_exact_sum",
            Input::Sums => "dynamos_united_sums",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(EXACT_SUM)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match (arguments.is_distinct, self.input) {
            (false, input) => Ok(Box::new(One { input, cell: Cell::default() })),
            (true, Input::Numbers) => Ok(Box::new(Distinct::default())),
            (true, Input::Sums) => exec_err!("sums are united as they are, not DISTINCT"),
        }
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { input: self.input, cells: Vec::new(), grown: 0 }))
    }
}

/// A sum, and whether there is anything in it.
#[derive(Clone, Debug, Default)]
struct Cell {
    sum: ExactSum,
    seen: bool,
}

/// The columns of doubles and of sums.
pub(super) fn numbers(column: &ArrayRef) -> Result<&Float64Array> {
    match column.as_primitive_opt::<Float64Type>() {
        Some(numbers) => Ok(numbers),
        None => exec_err!("an exact sum is one of doubles, not of {}", column.data_type()),
    }
}

pub(super) fn sums(column: &ArrayRef) -> Result<&BinaryArray> {
    match column.as_binary_opt::<i32>() {
        Some(sums) => Ok(sums),
        None => exec_err!("{} is no type of sums", column.data_type()),
    }
}

pub(super) fn only(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    match columns {
        [column] => Ok(column),
        _ => exec_err!("a sum has one argument"),
    }
}

/// One sum, of rows without groups.
#[derive(Debug)]
struct One {
    input: Input,
    cell: Cell,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let column = only(values)?;
        match self.input {
            Input::Numbers => {
                let numbers = numbers(column)?;
                self.cell.seen |= numbers.null_count() < numbers.len();
                if numbers.null_count() == 0 {
                    self.cell.sum.add_all(numbers.values());
                } else {
                    numbers.iter().flatten().for_each(|number| _ = self.cell.sum.add(number));
                }
                Ok(())
            }
            Input::Sums => self.merge_batch(values),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sum in sums(only(states)?)?.iter().flatten() {
            self.cell.sum.unite(&decoded(sum)?);
            self.cell.seen = true;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(self.cell.seen.then(|| self.cell.sum.encode())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + usize::from(self.cell.sum.has_grown()) * ExactSum::MORE_BYTES
    }
}

/// The sum of different doubles: zeros of both signs and NaNs may stay apart, it is the same sum.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    numbers: BTreeSet<u64>,
}

impl Distinct {
    pub(super) fn each(&self) -> impl Iterator<Item = f64> + '_ {
        self.numbers.iter().copied().map(f64::from_bits)
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.numbers.extend(numbers(only(values)?)?.iter().flatten().map(f64::to_bits));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for numbers in sums(only(states)?)?.iter().flatten() {
            self.numbers.extend(numbers.as_chunks().0.iter().map(|number| u64::from_be_bytes(*number)));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers = self.numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        Ok(vec![ScalarValue::Binary(Some(numbers))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = ExactSum::default();
        self.each().for_each(|number| _ = sum.add(number));
        Ok(ScalarValue::Binary((!self.numbers.is_empty()).then(|| sum.encode())))
    }

    fn size(&self) -> usize {
        // A tree's nodes are about two thirds full.
        size_of_val(self) + self.numbers.len() * size_of::<u64>() * 3 / 2
    }
}

/// The sums of groups.
#[derive(Debug)]
struct Groups {
    input: Input,
    cells: Vec<Cell>,
    /// How many of the sums take more memory than their own.
    grown: usize,
}

impl Groups {
    fn cells_of(&mut self, groups: usize) {
        self.cells.resize(groups, Cell::default());
    }

    fn add(&mut self, group: usize, number: f64) {
        if let Some(cell) = self.cells.get_mut(group) {
            cell.seen = true;
            self.grown += usize::from(cell.sum.add(number));
        }
    }

    fn unite(&mut self, rows: &BinaryArray, groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        for (row, (group, sum)) in groups.iter().zip(rows.iter()).enumerate() {
            if let (Some(cell), Some(sum), true) = (self.cells.get_mut(*group), sum, is_kept(filter, row)) {
                cell.seen = true;
                self.grown += usize::from(cell.sum.unite(&decoded(sum)?));
            }
        }
        Ok(())
    }

    fn emit(&mut self, emit_to: EmitTo) -> ArrayRef {
        let cells = emit_to.take_needed(&mut self.cells);
        let grown = cells.iter().filter(|cell| cell.sum.has_grown()).count();
        self.grown = self.grown.saturating_sub(grown);
        let mut sums = BinaryBuilder::with_capacity(cells.len(), cells.len().saturating_mul(18));
        for cell in cells {
            sums.append_option(cell.seen.then(|| cell.sum.encode()));
        }
        Arc::new(sums.finish())
    }
}

/// Whether a filter, if there is one, keeps a row.
pub(super) fn is_kept(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// Each number that is none of the NULLs and is kept, with its group.
pub(super) fn for_each_number(
    numbers: &Float64Array,
    groups: &[usize],
    filter: Option<&BooleanArray>,
    mut each: impl FnMut(usize, f64),
) {
    let rows = groups.iter().zip(numbers.values());
    let kept = filter.map(|filter| NullBuffer::new(filter.values() & &validity(filter)));
    match NullBuffer::union(kept.as_ref(), numbers.nulls()) {
        None => rows.for_each(|(group, number)| each(*group, *number)),
        Some(kept) => {
            let rows = rows.zip(kept.iter()).filter(|(_, kept)| *kept);
            rows.for_each(|((group, number), _)| each(*group, *number));
        }
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
        self.cells_of(total);
        let column = only(values)?;
        match self.input {
            Input::Sums => self.unite(sums(column)?, groups, filter),
            Input::Numbers => {
                for_each_number(numbers(column)?, groups, filter, |group, number| self.add(group, number));
                Ok(())
            }
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.cells_of(total);
        self.unite(sums(only(states)?)?, groups, None)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(self.emit(emit_to))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.emit(emit_to)])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = only(values)?.len();
        let mut each = Self { input: self.input, cells: Vec::new(), grown: 0 };
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.cells.capacity() * size_of::<Cell>() + self.grown * ExactSum::MORE_BYTES
    }
}

/// The rows of a filter that are not NULL.
fn validity(filter: &BooleanArray) -> arrow::buffer::BooleanBuffer {
    match filter.nulls() {
        Some(nulls) => nulls.inner().clone(),
        None => arrow::buffer::BooleanBuffer::new_set(filter.len()),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SumOf {
    signature: Signature,
}

impl ScalarUDFImpl for SumOf {
    fn name(&self) -> &str {
        "dynamos_sum_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let rounded = sums(only(&arrays)?)?.iter().map(|sum| sum.map(|sum| Ok(decoded(sum)?.value())).transpose());
        Ok(ColumnarValue::Array(Arc::new(rounded.collect::<Result<Float64Array>>()?)))
    }
}
