//! Statistics of a Parquet table: rows, NULLs and bounds from the footers, distinct values from a sample.
//!
//! The sample is taken at even distances and is the same each time, so that nothing downstream changes without cause.
//! Rows that lie together are often alike; runs are short for that reason, and the estimate is still only an estimate.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};

use super::parquet_files::{ParquetFile, ParquetFiles, plain_type};
use super::statistics::{Bounds, ColumnStatistics, Frequencies, TableStatistics};

/// Rows to sample; a table of at most this many is read whole.
const SAMPLE_ROWS: u64 = 65_536;
/// Rows read together.
const RUN_ROWS: u64 = 64;

impl TableStatistics {
    /// Statistics of Parquet files; the bounds may be wider than the values, as writers shorten long texts.
    pub(crate) fn of_parquet(table: &ParquetFiles) -> Result<Self> {
        let rows = table.files.iter().map(ParquetFile::rows).sum();
        let mut statistics = TableStatistics { rows, columns: Default::default() };
        for field in table.file_schema.fields() {
            statistics.columns.insert(field.name().clone(), footer_statistics(table, field)?);
        }
        for (index, (name, column_type)) in table.partition_columns.iter().enumerate() {
            let column = partition_statistics(table, index, &column_type.data_type())?;
            statistics.columns.insert(name.clone(), column);
        }
        add_distinct(table, &mut statistics)?;
        Ok(statistics)
    }
}

impl ParquetFile {
    fn rows(&self) -> u64 {
        self.metadata.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).sum()
    }
}

/// NULLs and bounds of one column; unknown if any footer leaves them out.
fn footer_statistics(table: &ParquetFiles, field: &Field) -> Result<ColumnStatistics> {
    if field.data_type().is_nested() {
        return Ok(ColumnStatistics::default());
    }
    let mut bounds = Bounds::new(field.data_type())?;
    let mut bounded = true;
    let mut nulls = Some(0_u64);
    for file in &table.files {
        let metadata = file.metadata.metadata();
        let descriptor = metadata.file_metadata().schema_descr();
        let converter = StatisticsConverter::try_new(field.name(), file.metadata.schema(), descriptor)?
            .with_missing_null_counts_as_zero(false);
        let groups = metadata.row_groups();
        let lows = cast(&converter.row_group_mins(groups)?, field.data_type())?;
        let highs = cast(&converter.row_group_maxes(groups)?, field.data_type())?;
        let null_counts = converter.row_group_null_counts(groups)?;
        for (index, group) in groups.iter().enumerate() {
            let group_nulls = null_counts.is_valid(index).then(|| null_counts.value(index));
            nulls = nulls.zip(group_nulls).map(|(sum, more)| sum + more);
            let only_nulls = group_nulls.is_some_and(|count| i64::try_from(count) == Ok(group.num_rows()));
            bounded &= only_nulls || (lows.is_valid(index) && highs.is_valid(index));
        }
        bounds.update(&lows, &highs)?;
    }
    let (min, max) = if bounded { bounds.finish()? } else { (None, None) };
    Ok(ColumnStatistics { distinct: None, nulls, min, max })
}

/// Exact statistics of a column that folder names spell.
fn partition_statistics(table: &ParquetFiles, index: usize, data_type: &DataType) -> Result<ColumnStatistics> {
    let filled = table.files.iter().filter(|file| file.rows() > 0);
    let texts: StringArray = filled.map(|file| file.partition_values.get(index).map(String::as_str)).collect();
    let texts: ArrayRef = Arc::new(texts);
    let values = cast(&texts, data_type)?;
    let mut bounds = Bounds::new(data_type)?;
    bounds.update(&values, &values)?;
    let (min, max) = bounds.finish()?;
    let mut frequencies = Frequencies::new(data_type)?;
    frequencies.update(&values)?;
    Ok(ColumnStatistics { distinct: Some(frequencies.distinct()), nulls: Some(0), min, max })
}

/// Fills in the distinct values of the columns inside the files.
fn add_distinct(table: &ParquetFiles, statistics: &mut TableStatistics) -> Result<()> {
    let mut samples = Vec::new();
    for field in table.file_schema.fields() {
        let supported = !field.data_type().is_nested() && Frequencies::supports(field.data_type());
        samples.push(if supported { Some(Frequencies::new(field.data_type())?) } else { None });
    }
    let mut first_row = 0;
    for file in &table.files {
        let rows = file.rows();
        let ranges = sample_ranges(first_row, rows, statistics.rows);
        first_row += rows;
        let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), usize::try_from(rows).unwrap_or(0));
        let opened = File::open(&file.path).map_err(DataFusionError::from)?;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(opened, file.metadata.clone())
            .with_row_selection(selection)
            .build()?;
        for batch in reader {
            let batch = batch?;
            for (array, sample) in batch.columns().iter().zip(&mut samples) {
                if let Some(frequencies) = sample {
                    frequencies.update(&cast(array, &plain_type(array.data_type()))?)?;
                }
            }
        }
    }
    for (field, sample) in table.file_schema.fields().iter().zip(samples) {
        if let (Some(frequencies), Some(column)) = (sample, statistics.columns.get_mut(field.name())) {
            let values = statistics.rows.saturating_sub(column.nulls.unwrap_or(0));
            column.distinct = Some(frequencies.estimate_distinct(values));
        }
    }
    Ok(())
}

/// The rows to sample of a file whose rows are `first_row..first_row + rows` of `total`, counted within the file.
fn sample_ranges(first_row: u64, rows: u64, total: u64) -> Vec<Range<usize>> {
    let to_range = |start: u64, end: u64| {
        // A file's rows fit in memory addresses, or its reader would not work at all.
        usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX)
    };
    if total <= SAMPLE_ROWS {
        return vec![to_range(0, rows)];
    }
    let stride = total.div_ceil(SAMPLE_ROWS / RUN_ROWS);
    let mut ranges = Vec::new();
    let mut start = (first_row / stride) * stride;
    while start < first_row + rows {
        let from = start.max(first_row);
        let to = (start + RUN_ROWS).min(first_row + rows);
        if from < to {
            ranges.push(to_range(from - first_row, to - first_row));
        }
        start += stride;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_are_sampled_whole_and_large_ones_evenly() {
        assert_eq!(sample_ranges(10, 50, 1000), vec![0..50]);
        let total = 10_000_000;
        let files = [(0, 3_000_001), (3_000_001, 33), (3_000_034, total - 3_000_034)];
        let mut sampled = 0;
        for (first_row, rows) in files {
            for range in sample_ranges(first_row, rows, total) {
                assert!(range.start < range.end && range.end as u64 <= rows);
                sampled += range.len() as u64;
            }
        }
        assert!(sampled.abs_diff(SAMPLE_ROWS) <= RUN_ROWS, "{sampled}");
    }
}
