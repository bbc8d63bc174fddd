//! Reading the CSV files of a table into memory, whole and once.
//!
//! Rows stay in memory because stewards' CSV tables are small beside what their columns cost to parse on every scan.
//! Tables that do not fit belong in Parquet. Undeclared types need one pass over the files before the one that reads
//! them; a file that changes in between is found out by the second pass or read as it is then.

use std::fs;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::batches::{BatchWriter, row_error};
use super::column_type::ColumnType;
use super::config::{Header, TableConfig};
use super::error::{HeaderProblem, RowProblem, SourceError};
use super::files::{DataFile, TableFiles, read_error};
use super::inference::Inference;
use super::layout::{Layout, OfferedColumn, Origin, header_error, offered_columns};
use super::records::{BadRecord, Record, Records};

/// The rows of a CSV table.
pub(crate) struct CsvRows {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

/// Reads every row of every file.
pub(crate) fn read_csv(config: &TableConfig, files: &TableFiles) -> Result<CsvRows, SourceError> {
    let reader = CsvReader::new(config, files)?;
    let layout = match &config.columns {
        Some(declared) => {
            let partition_types = files.partition_types();
            Layout::declared(config, declared, &reader.offered, &partition_types, reader.first_path())?
        }
        None => Layout::inferred(&reader.offered, &reader.infer()?),
    };
    let mut writer = BatchWriter::new(config, &layout);
    let engine_error = |source| SourceError::Engine { table: config.name(), source };
    reader.for_each_record(|file, record| {
        writer.append(file, record)?;
        if writer.is_full() { writer.flush().map_err(|error| engine_error(error.into())) } else { Ok(()) }
    })?;
    let batches = writer.finish().map_err(|error| engine_error(error.into()))?;
    Ok(CsvRows { schema: layout.schema(), batches })
}

/// The files of a table whose first header is known.
struct CsvReader<'a> {
    config: &'a TableConfig,
    files: &'a TableFiles,
    delimiter: u8,
    quote: Option<u8>,
    /// What every file offers: fields, then partition values.
    offered: Vec<OfferedColumn>,
}

impl<'a> CsvReader<'a> {
    fn new(config: &'a TableConfig, files: &'a TableFiles) -> Result<Self, SourceError> {
        let (delimiter, quote) = config.validate()?;
        let mut reader = CsvReader { config, files, delimiter, quote, offered: Vec::new() };
        if let Some(file) = files.files.first() {
            let bytes = fs::read(&file.path).map_err(|source| read_error(&file.path, source))?;
            reader.offered = reader.offered_by(file, &mut reader.records(&bytes))?;
        }
        Ok(reader)
    }

    fn first_path(&self) -> &std::path::Path {
        self.files.files.first().map(|file| file.path.as_path()).unwrap_or(&self.config.path)
    }

    fn records<'b>(&self, bytes: &'b [u8]) -> Records<'b> {
        Records::new(self.config.encoding.strip_byte_order_mark(bytes), self.delimiter, self.quote)
    }

    /// The columns of one file by its first record.
    fn offered_by(&self, file: &DataFile, records: &mut Records<'_>) -> Result<Vec<OfferedColumn>, SourceError> {
        let mut first = Record::default();
        if !records.read(&mut first).map_err(|bad| bad_record(file, bad))? {
            return Err(header_error(&file.path, HeaderProblem::Empty));
        }
        offered_columns(self.config, &first, &self.files.partition_keys, &file.path)
    }

    /// The type of each offered column by all of its values.
    fn infer(&self) -> Result<Vec<ColumnType>, SourceError> {
        let mut inferences = vec![Inference::default(); self.offered.len()];
        self.for_each_record(|file, record| {
            for ((offer, inference), field) in self.offered.iter().zip(&mut inferences).zip(record.fields()) {
                let text = self.config.encoding.decode(field.bytes).ok_or_else(|| {
                    let column = offer.name.clone();
                    let encoding = self.config.encoding;
                    let problem = RowProblem::Encoding { column, expected: ColumnType::Text, encoding };
                    row_error(&file.path, record.line(), problem)
                })?;
                if !self.config.null_values.contains(&text) {
                    inference.observe(&text);
                }
            }
            Ok(())
        })?;
        let partition_types = self.files.partition_types();
        let types = self.offered.iter().zip(inferences).map(|(offer, inference)| match offer.origin {
            Origin::Field(_) => inference.column_type(),
            Origin::Partition(index) => partition_types.get(index).copied().unwrap_or(ColumnType::Text),
        });
        Ok(types.collect())
    }

    /// Hands every row to `each`, after checking each file's header and each row's number of fields.
    fn for_each_record(
        &self,
        mut each: impl FnMut(&DataFile, &Record) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let is_field = |offer: &&OfferedColumn| matches!(offer.origin, Origin::Field(_));
        let expected = self.offered.iter().filter(is_field).count();
        let mut record = Record::default();
        for file in &self.files.files {
            let bytes = fs::read(&file.path).map_err(|source| read_error(&file.path, source))?;
            let mut records = self.records(&bytes);
            if self.config.header == Header::Present && self.offered_by(file, &mut records)? != self.offered {
                let first = self.first_path().to_owned();
                return Err(header_error(&file.path, HeaderProblem::Differs { first }));
            }
            while records.read(&mut record).map_err(|bad| bad_record(file, bad))? {
                if record.len() != expected {
                    let problem = RowProblem::FieldCount { expected, found: record.len() };
                    return Err(row_error(&file.path, record.line(), problem));
                }
                each(file, &record)?;
            }
        }
        Ok(())
    }
}

fn bad_record(file: &DataFile, bad: BadRecord) -> SourceError {
    row_error(&file.path, bad.line, bad.problem)
}
