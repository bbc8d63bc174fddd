//! Opening a table: from a steward's configuration to something the engine can scan.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;

use super::config::{TableConfig, TableFormat};
use super::csv_files::read_csv;
use super::error::SourceError;
use super::files::TableFiles;
use super::parquet_files::ParquetFiles;
use super::pieces::{pieces_in_memory, pieces_of_files};
use super::statistics::TableStatistics;

/// Partitions of a table in memory are at least this many, so that small machines scan in parallel too.
const PARTITIONS_MIN: usize = 2;
/// More partitions than this only split batches that are too few to share.
const PARTITIONS_MAX: usize = 16;

/// A table of a steward, ready to be scanned.
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// Its columns; text is always plain `Utf8`.
    pub schema: SchemaRef,
    /// What the engine scans. For the site's own plans only: it holds every row and column.
    pub provider: Arc<dyn TableProvider>,
    /// The same, in partitions that are pieces of the table in the order of its rows: for what hides some of them.
    pub pieces: Arc<dyn TableProvider>,
    /// What it contains, for estimates.
    pub statistics: TableStatistics,
}

/// Opens the table that `config` describes; relative paths begin at `base_dir`.
///
/// Reads files on the runtime's threads for blocking work, so it needs a tokio runtime. CSV files are read whole,
/// Parquet files only by their footers and a sample.
///
/// # Errors
///
/// [`SourceError`] names the first thing wrong with the configuration or the files; no part of a table is ever left out.
pub async fn open(config: &TableConfig, base_dir: &Path) -> Result<SourceTable, SourceError> {
    let (owned, root) = (config.clone(), base_dir.join(&config.path));
    let opened = tokio::task::spawn_blocking(move || open_blocking(&owned, &root)).await;
    opened.map_err(|_| SourceError::Interrupted { table: config.name() })?
}

fn open_blocking(config: &TableConfig, root: &Path) -> Result<SourceTable, SourceError> {
    config.validate()?;
    let engine_error = |source: DataFusionError| SourceError::Engine { table: config.name(), source };
    match config.format {
        TableFormat::Csv => {
            let rows = read_csv(config, &TableFiles::find(root, "csv")?)?;
            let schema = rows.schema;
            let statistics = TableStatistics::of_batches(&schema, &rows.batches).map_err(engine_error)?;
            let pieces = pieces_in_memory(&schema, &rows.batches).map_err(engine_error)?;
            let table = MemTable::try_new(schema.clone(), into_partitions(rows.batches)).map_err(engine_error)?;
            Ok(SourceTable { schema, provider: Arc::new(table), pieces, statistics })
        }
        TableFormat::Parquet => {
            let files = ParquetFiles::read(config, &TableFiles::find(root, "parquet")?)?;
            let statistics = TableStatistics::of_parquet(&files).map_err(engine_error)?;
            let provider = files.provider(config, root)?;
            let pieces = pieces_of_files(Arc::clone(&provider));
            Ok(SourceTable { schema: files.schema(), provider, pieces, statistics })
        }
    }
}

/// Deals batches out in turn; a single batch is halved first.
fn into_partitions(batches: Vec<RecordBatch>) -> Vec<Vec<RecordBatch>> {
    let cores = std::thread::available_parallelism().map(usize::from).unwrap_or(PARTITIONS_MIN);
    let count = cores.clamp(PARTITIONS_MIN, PARTITIONS_MAX);
    let pieces = match batches.as_slice() {
        [only] => {
            let half = only.num_rows() / 2;
            vec![only.slice(0, half), only.slice(half, only.num_rows() - half)]
        }
        _ => batches,
    };
    let mut partitions = vec![Vec::new(); count];
    for (index, batch) in pieces.into_iter().enumerate() {
        if let Some(partition) = partitions.get_mut(index % count) {
            partition.push(batch);
        }
    }
    partitions
}
