//! A table cut into pieces in the order of its rows: what protected views are made of. The pieces are the partitions of a scan;
//! there are more of them than threads, so that many can be read at once and still be put one behind the other.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::MemTable;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// Batches in a piece of a table in memory.
pub(crate) const PIECE_BATCHES: usize = 16;
/// Bytes of files in a piece, about: pieces end with row groups. A row group is in one piece, however large it is.
const PIECE_BYTES: u64 = 4 << 20;
/// Files in one piece or more; if a table has more files, the pieces have several.
const FILE_PIECES_MAX: usize = 10_000;

/// A table in memory in pieces.
pub(crate) fn pieces_in_memory(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Arc<dyn TableProvider>> {
    let mut pieces: Vec<Vec<RecordBatch>> = batches.chunks(PIECE_BATCHES).map(<[_]>::to_vec).collect();
    if pieces.is_empty() {
        pieces.push(Vec::new());
    }
    Ok(Arc::new(MemTable::try_new(SchemaRef::clone(schema), pieces)?))
}

/// A table of files in pieces, in the order of the files' names.
pub(crate) fn pieces_of_files(files: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
    Arc::new(FilePieces { files })
}

#[derive(Debug)]
struct FilePieces {
    files: Arc<dyn TableProvider>,
}

#[async_trait]
impl TableProvider for FilePieces {
    fn schema(&self) -> SchemaRef {
        self.files.schema()
    }

    fn table_type(&self) -> TableType {
        self.files.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.files.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(state) = state.as_any().downcast_ref::<SessionState>() else {
            return internal_err!("a place plans in a state of its own");
        };
        let mut in_pieces = state.clone();
        in_pieces.config_mut().options_mut().execution.target_partitions = FILE_PIECES_MAX;
        let scan = self.files.scan(&in_pieces, projection, filters, limit).await?;
        let Some(files) = scan.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source) else {
            // Of no files there is nothing to scan.
            return Ok(scan);
        };
        // A thread that is done must not take over files of another piece.
        let files = files.with_preserve_order(true).unwrap_or_else(|| Arc::clone(files));
        let pieces = files.downcast_ref::<FileScanConfig>().map_or(1, pieces_of);
        let files = files.repartitioned(pieces, 0, None)?.unwrap_or(files);
        Ok(Arc::new(DataSourceExec::new(files)))
    }
}

fn pieces_of(scan: &FileScanConfig) -> usize {
    let files = scan.file_groups.iter().flat_map(|group| group.files());
    let bytes: u64 = files.map(|file| file.object_meta.size).sum();
    usize::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(FILE_PIECES_MAX).clamp(1, FILE_PIECES_MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use datafusion::physical_plan::{ExecutionPlanProperties, common};
    use dynamos_planner::function::engine_state;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::super::{SourceTable, TableConfig, open};
    use super::*;

    /// The numbers in each piece, of which the last is read first.
    async fn numbers(table: &SourceTable) -> Vec<Vec<i64>> {
        let state = engine_state();
        let scan = table.pieces.scan(&state, Some(&vec![0]), &[], None).await.unwrap();
        let mut pieces = Vec::new();
        for piece in (0..scan.output_partitioning().partition_count()).rev() {
            let rows = scan.execute(piece, state.task_ctx()).unwrap();
            let batches = common::collect(rows).await.unwrap();
            let numbers = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
            pieces.push(numbers.copied().collect());
        }
        pieces.reverse();
        pieces
    }

    #[tokio::test]
    async fn e3_pieces_of_files_are_in_the_order_of_files_and_rows() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("t");
        std::fs::create_dir(&folder).unwrap();
        for (name, numbers) in [("b", 400_000..700_000_i64), ("a", 0..399_990), ("aa", 399_990..400_000)] {
            // Nothing that a file could make smaller.
            let mixed = numbers.clone().map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()));
            let mixed: ArrayRef = Arc::new(Int64Array::from_iter_values(mixed));
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
            let batch = RecordBatch::try_from_iter([("n", numbers), ("mixed", mixed)]).unwrap();
            let properties = WriterProperties::builder().set_max_row_group_row_count(Some(30_000)).build();
            let file = File::create(folder.join(format!("{name}.parquet"))).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        }
        let table = open(&TableConfig::parquet("t", "t", "t"), root.path()).await.unwrap();
        let pieces = numbers(&table).await;
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() < 500_000), "{}", pieces.len());
        assert!(pieces.into_iter().flatten().eq(0..700_000));
    }

    #[tokio::test]
    async fn e3_pieces_in_memory_are_in_the_order_of_rows() {
        let root = tempfile::tempdir().unwrap();
        let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
        std::fs::write(root.path().join("t.csv"), format!("n\n{text}")).unwrap();
        let pieces = numbers(&open(&TableConfig::csv("t", "t", "t.csv"), root.path()).await.unwrap()).await;
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [131_072, 200_000 - 131_072]);
        assert!(pieces.into_iter().flatten().eq(0..200_000));
        std::fs::write(root.path().join("empty.csv"), "n\n").unwrap();
        let nothing = numbers(&open(&TableConfig::csv("t", "t", "empty.csv"), root.path()).await.unwrap()).await;
        assert_eq!(nothing, [Vec::<i64>::new()]);
    }
}
