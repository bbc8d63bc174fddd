//! How a steward's files become tables: CSV of every kind stewards keep, and Parquet in one file, a folder or hive
//! partitions.
//!
//! This is the lowest step on a query's path: a scan inside a site reads what [`open`] returns. Nothing here knows an
//! agreement or a requester; the protected views above it decide which rows and columns leave the site, so a
//! [`SourceTable`] is never handed to a requester as it is.
//!
//! ```text
//! TableConfig ─► files ─┬─► csv:     header ─► layout (declared or inferred) ─► batches ─► MemTable
//!                       └─► parquet: footers ─► one schema ─► ListingTable (pruning and push-down)
//! ```
//!
//! Each is there twice: as the engine cuts it for its threads, and in pieces in the order of its rows, for views that hide some.

mod batches;
mod column_builder;
mod column_type;
mod config;
mod csv_files;
#[cfg(test)]
mod csv_tests;
mod date_format;
mod encoding;
mod error;
mod files;
mod inference;
mod layout;
mod open;
mod parquet_files;
mod parquet_statistics;
#[cfg(test)]
mod parquet_tests;
mod pieces;
mod records;
mod statistics;

pub use column_type::ColumnType;
pub use config::{
    ColumnConfig, ColumnNames, ExtraColumns, Header, NullValues, Nullability, Quote, TableConfig, TableFormat,
};
pub use date_format::DateFormat;
pub use encoding::Encoding;
pub use error::{FolderProblem, HeaderProblem, RowProblem, SourceError};
pub use open::{SourceTable, open};
pub(crate) use pieces::PIECE_BATCHES;
pub use statistics::{ColumnStatistics, TableStatistics};
