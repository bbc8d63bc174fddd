//! Which field of a CSV record, or which partition value, becomes which column of the table.
//!
//! Made once from the first file's header and the configuration; every later file must have the same header.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::column_type::ColumnType;
use super::config::{ColumnConfig, ColumnNames, ExtraColumns, Header, Nullability, TableConfig};
use super::date_format::DateFormat;
use super::error::{HeaderProblem, SourceError};
use super::records::Record;

/// The columns of the table in order.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) columns: Vec<LayoutColumn>,
}

/// One column of the table.
#[derive(Debug)]
pub(crate) struct LayoutColumn {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) column_type: ColumnType,
    pub(crate) nullability: Nullability,
    pub(crate) format: Option<DateFormat>,
}

/// Where a column's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The field of each record at this position.
    Field(usize),
    /// The partition value of each file at this position.
    Partition(usize),
}

/// A column as the files offer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfferedColumn {
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

impl Layout {
    /// The table's schema; text is plain `Utf8`.
    pub(crate) fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| {
            Field::new(&column.name, column.column_type.data_type(), column.nullability == Nullability::Nullable)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The layout the steward declared, checked against what the files offer.
    pub(crate) fn declared(
        config: &TableConfig,
        declared: &[ColumnConfig],
        offered: &[OfferedColumn],
        partition_types: &[ColumnType],
        file: &Path,
    ) -> Result<Self, SourceError> {
        let mut taken = vec![false; offered.len()];
        let mut columns = Vec::with_capacity(declared.len());
        for (position, column) in declared.iter().enumerate() {
            let index = find(config, column, position, offered)
                .ok_or_else(|| header_error(file, HeaderProblem::Missing { column: column.name.clone() }))?;
            let (Some(offer), Some(taken)) = (offered.get(index), taken.get_mut(index)) else { continue };
            if std::mem::replace(taken, true) {
                return Err(header_error(file, HeaderProblem::Duplicate { column: column.name.clone() }));
            }
            columns.push(LayoutColumn {
                name: column.name.clone(),
                origin: offer.origin,
                column_type: column.column_type,
                nullability: column.nullability,
                format: date_format(config, column),
            });
        }
        for (offer, _) in offered.iter().zip(taken).filter(|(_, taken)| !taken) {
            match (offer.origin, config.extra_columns) {
                (Origin::Partition(index), ExtraColumns::Error) => {
                    columns.push(partition_column(offer, partition_types.get(index).copied()));
                }
                (Origin::Field(_), ExtraColumns::Error) => {
                    return Err(header_error(file, HeaderProblem::Undeclared { column: offer.name.clone() }));
                }
                (_, ExtraColumns::Ignore) => {}
            }
        }
        Ok(Layout { columns })
    }

    /// The layout of every offered column with its inferred type. Always nullable: whether NULL occurs is a fact about
    /// the data of today, and a schema should not change with it.
    pub(crate) fn inferred(offered: &[OfferedColumn], types: &[ColumnType]) -> Self {
        let columns = offered.iter().zip(types).map(|(offer, column_type)| LayoutColumn {
            name: offer.name.clone(),
            origin: offer.origin,
            column_type: *column_type,
            nullability: match offer.origin {
                Origin::Field(_) => Nullability::Nullable,
                Origin::Partition(_) => Nullability::Required,
            },
            format: None,
        });
        Layout { columns: columns.collect() }
    }
}

/// What a file with this first record offers: its fields, then the partition values.
pub(crate) fn offered_columns(
    config: &TableConfig,
    first: &Record,
    partition_keys: &[String],
    file: &Path,
) -> Result<Vec<OfferedColumn>, SourceError> {
    let mut offered: Vec<OfferedColumn> = Vec::with_capacity(first.len() + partition_keys.len());
    for (index, field) in first.fields().enumerate() {
        let name = match config.header {
            Header::Absent => format!("column_{}", index + 1),
            Header::Present => {
                let encoding = config.encoding;
                let text = encoding
                    .decode(field.bytes)
                    .ok_or_else(|| header_error(file, HeaderProblem::Encoding { encoding }))?;
                written_name(config, text.trim())
            }
        };
        if name.is_empty() {
            return Err(header_error(file, HeaderProblem::Unnamed { position: index + 1 }));
        }
        offered.push(OfferedColumn { name, origin: Origin::Field(index) });
    }
    let keys = partition_keys.iter().enumerate();
    offered.extend(
        keys.map(|(index, key)| OfferedColumn { name: written_name(config, key), origin: Origin::Partition(index) }),
    );
    for (index, column) in offered.iter().enumerate() {
        if offered.iter().take(index).any(|other| other.name == column.name) {
            return Err(header_error(file, HeaderProblem::Duplicate { column: column.name.clone() }));
        }
    }
    Ok(offered)
}

pub(crate) fn header_error(file: &Path, problem: HeaderProblem) -> SourceError {
    SourceError::Header { file: file.to_owned(), problem }
}

/// The offered column a declared one means: by name, or by position in files without header.
fn find(config: &TableConfig, column: &ColumnConfig, position: usize, offered: &[OfferedColumn]) -> Option<usize> {
    let by_name = |exact: bool| {
        offered.iter().position(|offer| {
            let named = config.header == Header::Present || matches!(offer.origin, Origin::Partition(_));
            let equal = offer.name == column.name || (!exact && offer.name.eq_ignore_ascii_case(&column.name));
            named && equal
        })
    };
    let by_position = || match config.header {
        Header::Present => None,
        Header::Absent => offered.iter().position(|offer| offer.origin == Origin::Field(position)),
    };
    by_name(true).or_else(|| by_name(false)).or_else(by_position)
}

/// The format a declared column's dates or timestamps have; `None` means ISO 8601 timestamps, or no date at all.
fn date_format(config: &TableConfig, column: &ColumnConfig) -> Option<DateFormat> {
    match column.column_type {
        ColumnType::Date => Some(column.format.clone().unwrap_or_else(|| config.date_format.clone())),
        _ => column.format.clone(),
    }
}

fn partition_column(offer: &OfferedColumn, column_type: Option<ColumnType>) -> LayoutColumn {
    LayoutColumn {
        name: offer.name.clone(),
        origin: offer.origin,
        column_type: column_type.unwrap_or(ColumnType::Text),
        nullability: Nullability::Required,
        format: None,
    }
}

fn written_name(config: &TableConfig, name: &str) -> String {
    match (&config.columns, config.column_names) {
        (None, ColumnNames::Lower) => name.to_lowercase(),
        (None, ColumnNames::AsWritten) | (Some(_), _) => name.to_owned(),
    }
}
