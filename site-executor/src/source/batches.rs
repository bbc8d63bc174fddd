//! Filling Arrow batches with the records of CSV files.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::column_builder::{ColumnBuilder, NotOfType};
use super::column_type::ColumnType;
use super::config::{NullValues, Nullability, TableConfig};
use super::encoding::Encoding;
use super::error::{RowProblem, SourceError};
use super::files::DataFile;
use super::layout::{Layout, LayoutColumn, Origin};
use super::records::{Field, Quoting, Record};

/// Rows in one batch, as elsewhere in the engine.
const BATCH_ROWS: usize = 8192;
/// A batch is closed early when its rows have this many bytes of text.
const BATCH_BYTES: usize = 64 << 20;
/// The largest row accepted. With [`BATCH_BYTES`] it keeps every array below the 2 GiB its offsets can address.
const ROW_BYTES_MAX: usize = 1 << 30;

/// Appends records and cuts them into batches.
pub(crate) struct BatchWriter<'a> {
    columns: Vec<(&'a LayoutColumn, ColumnBuilder)>,
    encoding: Encoding,
    null_values: &'a NullValues,
    schema: SchemaRef,
    rows: usize,
    bytes: usize,
    batches: Vec<RecordBatch>,
}

impl<'a> BatchWriter<'a> {
    pub(crate) fn new(config: &'a TableConfig, layout: &'a Layout) -> Self {
        let columns = layout.columns.iter().map(|column| {
            let builder = ColumnBuilder::new(column.column_type, column.format.clone());
            (column, builder)
        });
        BatchWriter {
            columns: columns.collect(),
            encoding: config.encoding,
            null_values: &config.null_values,
            schema: layout.schema(),
            rows: 0,
            bytes: 0,
            batches: Vec::new(),
        }
    }

    /// Appends one record of `file`, whose number of fields has been checked.
    pub(crate) fn append(&mut self, file: &DataFile, record: &Record) -> Result<(), SourceError> {
        let size_bytes = record.size_bytes();
        if size_bytes > ROW_BYTES_MAX {
            let problem = RowProblem::TooLong { size_bytes, limit_bytes: ROW_BYTES_MAX };
            return Err(row_error(&file.path, record.line(), problem));
        }
        for (column, builder) in &mut self.columns {
            let field = match column.origin {
                Origin::Field(index) => record.field(index),
                Origin::Partition(_) => None,
            };
            let appended = match (column.origin, field) {
                (Origin::Field(_), Some(field)) => {
                    append_field(column, builder, field, self.encoding, self.null_values)
                }
                (Origin::Partition(index), _) => {
                    let value = file.partition_values.get(index).map(String::as_str).unwrap_or_default();
                    builder.append(value).map_err(|NotOfType| unparsable(column))
                }
                (Origin::Field(index), None) => {
                    Err(RowProblem::FieldCount { expected: index + 1, found: record.len() })
                }
            };
            appended.map_err(|problem| row_error(&file.path, record.line(), problem))?;
        }
        self.rows += 1;
        self.bytes += size_bytes;
        Ok(())
    }

    /// Whether [`BatchWriter::flush`] is due.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Closes the current batch, if it has rows.
    pub(crate) fn flush(&mut self) -> Result<(), ArrowError> {
        if self.rows > 0 {
            let arrays = self.columns.iter_mut().map(|(_, builder)| builder.finish()).collect();
            self.batches.push(RecordBatch::try_new(self.schema.clone(), arrays)?);
            self.rows = 0;
            self.bytes = 0;
        }
        Ok(())
    }

    /// All batches in the order of the rows.
    pub(crate) fn finish(mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        self.flush()?;
        Ok(self.batches)
    }
}

/// Whether a field stands for NULL in a column of this type; see [`NullValues`].
fn is_null(field: Field<'_>, text: &str, column_type: ColumnType, null_values: &NullValues) -> bool {
    let may_be_null = column_type != ColumnType::Text || field.quoting == Quoting::Bare;
    may_be_null && null_values.contains(text)
}

fn append_field(
    column: &LayoutColumn,
    builder: &mut ColumnBuilder,
    field: Field<'_>,
    encoding: Encoding,
    null_values: &NullValues,
) -> Result<(), RowProblem> {
    let (name, expected) = (&column.name, column.column_type);
    let text = encoding.decode(field.bytes).ok_or_else(|| RowProblem::Encoding {
        column: name.clone(),
        expected,
        encoding,
    })?;
    if !is_null(field, &text, expected, null_values) {
        return builder.append(&text).map_err(|NotOfType| unparsable(column));
    }
    match column.nullability {
        Nullability::Nullable => builder.append_null(),
        Nullability::Required => return Err(RowProblem::UnexpectedNull { column: name.clone(), expected }),
    }
    Ok(())
}

fn unparsable(column: &LayoutColumn) -> RowProblem {
    RowProblem::Unparsable {
        column: column.name.clone(),
        expected: column.column_type,
        format: column.format.as_ref().map(|format| format.as_str().to_owned()),
    }
}

pub(crate) fn row_error(file: &Path, line: u64, problem: RowProblem) -> SourceError {
    SourceError::Row { file: file.to_owned(), line, problem }
}
