//! Why a steward's files cannot be opened as a table.
//!
//! These texts are for the steward's own log: they name files, lines and columns. They never hold a value from the
//! data, and nothing here is ever sent to a requester.

use std::path::PathBuf;

use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;
use thiserror::Error;

use super::column_type::ColumnType;
use super::encoding::Encoding;

/// A table that cannot be opened.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The configuration contradicts itself.
    #[error("table `{table}`: {problem}")]
    Config {
        /// `schema.table`.
        table: String,
        /// What to change.
        problem: String,
    },
    /// The operating system did not let us read a file or folder.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The folder of a table does not hold what it should.
    #[error("folder `{}`: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: FolderProblem,
    },
    /// The header of a CSV file and the configuration do not agree.
    #[error("header of `{}`: {problem}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: HeaderProblem,
    },
    /// A row of a CSV file cannot be read.
    #[error("`{}` line {line}: {problem}", file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// The line the row begins on, from 1.
        line: u64,
        /// What is wrong with it.
        problem: RowProblem,
    },
    /// A file is not readable as Parquet.
    #[error("cannot read `{}` as parquet", file.display())]
    Parquet {
        /// The file.
        file: PathBuf,
        /// The reader's reason.
        #[source]
        source: ParquetError,
    },
    /// Two files of one Parquet table have different columns.
    #[error(
        "`{}` and `{}` differ: {difference}, a table needs the same columns in every file",
        file.display(),
        first.display()
    )]
    SchemaMismatch {
        /// The file that differs.
        file: PathBuf,
        /// The first file of the table, which it is compared with.
        first: PathBuf,
        /// The first difference found.
        difference: String,
    },
    /// The engine refused the table.
    #[error("cannot build table `{table}`")]
    Engine {
        /// `schema.table`.
        table: String,
        /// The engine's reason.
        #[source]
        source: DataFusionError,
    },
    /// Opening was stopped before it was done, because the process is shutting down.
    #[error("opening table `{table}` was interrupted")]
    Interrupted {
        /// `schema.table`.
        table: String,
    },
}

impl SourceError {
    /// Whether opening the same table again may succeed without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            SourceError::Read { .. } | SourceError::Interrupted { .. } => true,
            SourceError::Config { .. }
            | SourceError::Folder { .. }
            | SourceError::Header { .. }
            | SourceError::Row { .. }
            | SourceError::Parquet { .. }
            | SourceError::SchemaMismatch { .. }
            | SourceError::Engine { .. } => false,
        }
    }
}

/// What is wrong with the folder of a table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FolderProblem {
    /// No file of the table's format.
    #[error("holds no file that ends in `.{extension}`")]
    NoFiles {
        /// The ending looked for.
        extension: &'static str,
    },
    /// A folder inside it is not a hive partition.
    #[error("folder `{name}` inside it is not a partition, name it `key=value` or move it away")]
    NotAPartition {
        /// The name of the inner folder.
        name: String,
    },
    /// Files lie at different depths or under different keys.
    #[error("`{file}` is not partitioned by `{expected}` like the files before it")]
    UnevenPartitions {
        /// The file, below the table's folder.
        file: String,
        /// The keys of the first file, as in `year/month`.
        expected: String,
    },
    /// A partition value that readers do not agree on.
    #[error("partition `{name}` needs a plain value: not empty, no `%`, no hive default")]
    PartitionValue {
        /// The name of the partition folder.
        name: String,
    },
}

/// What is wrong with the header of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderProblem {
    /// The file holds no line at all.
    #[error("the file is empty, it needs at least a header or a row")]
    Empty,
    /// The header is not text in the declared encoding.
    #[error("is not valid {encoding}, set `encoding`")]
    Encoding {
        /// The declared encoding.
        encoding: Encoding,
    },
    /// A column without name.
    #[error("column {position} has no name")]
    Unnamed {
        /// The position, from 1.
        position: usize,
    },
    /// Two columns that SQL could not tell apart.
    #[error("column `{column}` appears twice")]
    Duplicate {
        /// The name they share.
        column: String,
    },
    /// A declared column that the file does not have.
    #[error("declared column `{column}` is not in it")]
    Missing {
        /// The declared name.
        column: String,
    },
    /// A column of the file that is not declared.
    #[error("column `{column}` is not declared, add it to `columns` or set `extra_columns = \"ignore\"`")]
    Undeclared {
        /// The name in the file.
        column: String,
    },
    /// Not the header of the first file.
    #[error("differs from that of `{}`", first.display())]
    Differs {
        /// The first file of the table.
        first: PathBuf,
    },
}

/// What is wrong with a row of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowProblem {
    /// More or fewer fields than the header.
    #[error("has {found} fields where the header has {expected}")]
    FieldCount {
        /// Fields of the header.
        expected: usize,
        /// Fields of this row.
        found: usize,
    },
    /// A value that is not of the column's type.
    #[error("column `{column}` is not a valid {expected}{}", format_hint(format))]
    Unparsable {
        /// The column.
        column: String,
        /// Its type.
        expected: ColumnType,
        /// The format dates or timestamps should have, if it is declared.
        format: Option<String>,
    },
    /// NULL in a column that does not take it.
    #[error("column `{column}` is NULL but must be a {expected}, it is declared `nullable = false`")]
    UnexpectedNull {
        /// The column.
        column: String,
        /// Its type.
        expected: ColumnType,
    },
    /// Bytes that are no text in the declared encoding.
    #[error("column `{column}` must be a {expected} but is not valid {encoding}, set `encoding`")]
    Encoding {
        /// The column.
        column: String,
        /// Its type.
        expected: ColumnType,
        /// The declared encoding.
        encoding: Encoding,
    },
    /// A quote that is never closed.
    #[error("the quote that opens field {field} is never closed")]
    OpenQuote {
        /// The field, from 1.
        field: usize,
    },
    /// Text between a closing quote and the next delimiter.
    #[error("field {field} has text after its closing quote, quotes inside a field are doubled")]
    TextAfterQuote {
        /// The field, from 1.
        field: usize,
    },
    /// A row larger than a batch can hold.
    #[error("is {size_bytes} bytes long, the limit is {limit_bytes}")]
    TooLong {
        /// Its size.
        size_bytes: usize,
        /// The largest size accepted.
        limit_bytes: usize,
    },
}

fn format_hint(format: &Option<String>) -> String {
    format.as_ref().map(|format| format!(" in the format `{format}`")).unwrap_or_default()
}
