//! What a site knows about the contents of a table: the raw material of the estimates it may publish.
//!
//! These numbers describe people's data exactly. They stay inside the site; what is published from them is made coarse
//! first, elsewhere.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;

/// Statistics of one table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableStatistics {
    /// Rows of the table.
    pub rows: u64,
    /// Statistics by column name.
    pub columns: BTreeMap<String, ColumnStatistics>,
}

/// Statistics of one column; `None` where the source does not tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnStatistics {
    /// Distinct values, NULL not counted; exact for CSV, estimated for large Parquet tables.
    pub distinct: Option<u64>,
    /// NULLs.
    pub nulls: Option<u64>,
    /// A lower bound of the values; the least value for CSV.
    pub min: Option<ScalarValue>,
    /// An upper bound of the values; the greatest value for CSV.
    pub max: Option<ScalarValue>,
}

impl TableStatistics {
    /// Exact statistics of rows in memory.
    pub(crate) fn of_batches(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Self> {
        let mut columns = BTreeMap::new();
        for (index, field) in schema.fields().iter().enumerate() {
            let arrays = || batches.iter().filter_map(|batch| batch.columns().get(index));
            let mut bounds = Bounds::new(field.data_type())?;
            let mut frequencies = Frequencies::new(field.data_type())?;
            for array in arrays() {
                bounds.update(array, array)?;
                frequencies.update(array)?;
            }
            let (min, max) = bounds.finish()?;
            let nulls = arrays().map(|array| array.null_count() as u64).sum();
            let statistics = ColumnStatistics { distinct: Some(frequencies.distinct()), nulls: Some(nulls), min, max };
            columns.insert(field.name().clone(), statistics);
        }
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        Ok(TableStatistics { rows, columns })
    }
}

/// The least and greatest of the values seen.
pub(crate) struct Bounds {
    min: MinAccumulator,
    max: MaxAccumulator,
}

impl Bounds {
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        Ok(Bounds { min: MinAccumulator::try_new(data_type)?, max: MaxAccumulator::try_new(data_type)? })
    }

    /// Takes in `lows` below and `highs` above; the same array twice if they are values.
    pub(crate) fn update(&mut self, lows: &ArrayRef, highs: &ArrayRef) -> Result<()> {
        self.min.update_batch(std::slice::from_ref(lows))?;
        self.max.update_batch(std::slice::from_ref(highs))
    }

    /// Least and greatest; `None` if there was no value but NULL.
    pub(crate) fn finish(mut self) -> Result<(Option<ScalarValue>, Option<ScalarValue>)> {
        let known = |value: ScalarValue| (!value.is_null()).then_some(value);
        Ok((known(self.min.evaluate()?), known(self.max.evaluate()?)))
    }
}

/// How often each value was seen, by a 64-bit hash: two values share one with a chance below 10⁻⁷ among a million.
pub(crate) struct Frequencies {
    converter: RowConverter,
    counts: HashMap<u64, u64>,
    values: u64,
}

impl Frequencies {
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Frequencies { converter, counts: HashMap::new(), values: 0 })
    }

    /// Whether values of this type can be told apart.
    pub(crate) fn supports(data_type: &DataType) -> bool {
        RowConverter::supports_fields(&[SortField::new(data_type.clone())])
    }

    pub(crate) fn update(&mut self, array: &ArrayRef) -> Result<(), DataFusionError> {
        let rows = self.converter.convert_columns(std::slice::from_ref(array))?;
        let logical_nulls = array.logical_nulls();
        for (index, row) in rows.iter().enumerate() {
            if logical_nulls.as_ref().is_some_and(|nulls| nulls.is_null(index)) {
                continue;
            }
            let mut hasher = DefaultHasher::new();
            row.as_ref().hash(&mut hasher);
            *self.counts.entry(hasher.finish()).or_default() += 1;
            self.values += 1;
        }
        Ok(())
    }

    /// Distinct values among those seen.
    pub(crate) fn distinct(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Distinct values among `total` of which those seen are a sample, by the estimator of Haas and Stokes that also
    /// PostgreSQL uses: n·d / (n − f₁ + f₁·n/N), where f₁ values were seen once.
    pub(crate) fn estimate_distinct(&self, total: u64) -> u64 {
        if self.values >= total {
            return self.distinct();
        }
        let once = self.counts.values().filter(|count| **count == 1).count() as f64;
        let (seen, distinct, total_values) = (self.values as f64, self.distinct() as f64, total as f64);
        let denominator = seen - once + once * seen / total_values;
        let estimate = if denominator > 0.0 { seen * distinct / denominator } else { distinct };
        (estimate.round() as u64).clamp(self.distinct(), total)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    #[test]
    fn statistics_of_rows_in_memory_are_exact_over_all_batches() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("code", DataType::Utf8, true),
        ]));
        let batch = |ids: Vec<Option<i64>>, codes: Vec<Option<&str>>| {
            let arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(codes))];
            RecordBatch::try_new(schema.clone(), arrays).unwrap()
        };
        let first = batch(vec![Some(3), Some(-1), None], vec![None, None, None]);
        let second = batch(vec![Some(3), Some(7)], vec![None, None]);
        let statistics = TableStatistics::of_batches(&schema, &[first, second]).unwrap();
        assert_eq!(statistics.rows, 5);
        let id = ColumnStatistics {
            distinct: Some(3),
            nulls: Some(1),
            min: Some(ScalarValue::Int64(Some(-1))),
            max: Some(ScalarValue::Int64(Some(7))),
        };
        assert_eq!(statistics.columns["id"], id);
        let code = ColumnStatistics { distinct: Some(0), nulls: Some(5), min: None, max: None };
        assert_eq!(statistics.columns["code"], code);
    }

    #[test]
    fn estimates_tell_keys_from_codes() {
        let frequencies = |values: Vec<i64>| {
            let mut frequencies = Frequencies::new(&DataType::Int64).unwrap();
            let array: ArrayRef = Arc::new(Int64Array::from(values));
            frequencies.update(&array).unwrap();
            frequencies
        };
        assert_eq!(frequencies((0..1000).collect()).estimate_distinct(50_000), 50_000);
        assert_eq!(frequencies((0..1000).map(|value| value % 10).collect()).estimate_distinct(50_000), 10);
        assert_eq!(frequencies((0..1000).collect()).estimate_distinct(1000), 1000);
    }
}
