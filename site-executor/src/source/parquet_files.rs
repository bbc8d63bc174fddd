//! Parquet files as one table: their footers checked against each other, then DataFusion's own scan.
//!
//! The scan lists the folder anew for each query, so files that arrive later are read too, but only opening the table
//! again checks them: until then a later file that lacks a column reads as NULL there. Column names stay as the files
//! have them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::config::TableParquetOptions;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use super::column_type::ColumnType;
use super::config::TableConfig;
use super::error::SourceError;
use super::files::{TableFiles, read_error};

/// The files of a table with their footers and the schema they share.
pub(crate) struct ParquetFiles {
    pub(crate) files: Vec<ParquetFile>,
    /// The columns inside the files; text is plain `Utf8`.
    pub(crate) file_schema: SchemaRef,
    /// The columns that partition folders spell, with their types.
    pub(crate) partition_columns: Vec<(String, ColumnType)>,
}

/// One file and its footer.
pub(crate) struct ParquetFile {
    pub(crate) path: PathBuf,
    pub(crate) partition_values: Vec<String>,
    pub(crate) metadata: ArrowReaderMetadata,
}

impl ParquetFiles {
    /// Reads every footer.
    pub(crate) fn read(config: &TableConfig, found: &TableFiles) -> Result<Self, SourceError> {
        config.validate()?;
        let mut files: Vec<ParquetFile> = Vec::with_capacity(found.files.len());
        let mut fields: Vec<Field> = Vec::new();
        for data_file in &found.files {
            let path = data_file.path.clone();
            let file = File::open(&path).map_err(|source| read_error(&path, source))?;
            let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
                .map_err(|source| SourceError::Parquet { file: path.clone(), source })?;
            let own: Vec<Field> = metadata.schema().fields().iter().map(|field| plain_field(field)).collect();
            match files.first() {
                None => fields = own,
                Some(first) => merge(&mut fields, &own).map_err(|difference| SourceError::SchemaMismatch {
                    file: path.clone(),
                    first: first.path.clone(),
                    difference,
                })?,
            }
            files.push(ParquetFile { path, partition_values: data_file.partition_values.clone(), metadata });
        }
        let partition_columns = partition_columns(config, found, &fields)?;
        Ok(ParquetFiles { files, file_schema: Arc::new(Schema::new(fields)), partition_columns })
    }

    /// The table's schema: the columns inside the files, then the partition columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        let partitions = self.partition_columns.iter().map(|(name, column_type)| {
            let field = Field::new(name, column_type.data_type(), false);
            Arc::new(field)
        });
        Arc::new(Schema::new(self.file_schema.fields().iter().cloned().chain(partitions).collect::<Vec<_>>()))
    }

    /// A table that prunes by partitions and footers, and filters while it decodes.
    pub(crate) fn provider(&self, config: &TableConfig, root: &Path) -> Result<Arc<dyn TableProvider>, SourceError> {
        let engine_error = |source| SourceError::Engine { table: config.name(), source };
        let mut options = TableParquetOptions::default();
        options.global.pushdown_filters = true;
        options.global.schema_force_view_types = false;
        let partition_columns: Vec<(String, DataType)> =
            self.partition_columns.iter().map(|(name, column_type)| (name.clone(), column_type.data_type())).collect();
        let listing = ListingOptions::new(Arc::new(ParquetFormat::new().with_options(options)))
            .with_file_extension(if root.is_dir() { ".parquet" } else { "" })
            .with_table_partition_cols(partition_columns);
        let url = table_url(config, root)?;
        let table = ListingTableConfig::new(url).with_listing_options(listing).with_schema(self.file_schema.clone());
        Ok(Arc::new(ListingTable::try_new(table).map_err(engine_error)?))
    }
}

/// The absolute location of the table; the engine knows a folder by the slash at its end.
fn table_url(config: &TableConfig, root: &Path) -> Result<ListingTableUrl, SourceError> {
    let absolute = std::path::absolute(root).map_err(|source| read_error(root, source))?;
    let text = match absolute.to_str() {
        Some(text) if !text.contains(['*', '?', '[']) => text,
        _ => return Err(config.problem("the path of a parquet table must be UTF-8 without `*`, `?` and `[`")),
    };
    let slash = if root.is_dir() && !text.ends_with('/') { "/" } else { "" };
    ListingTableUrl::parse(format!("{text}{slash}"))
        .map_err(|source| SourceError::Engine { table: config.name(), source })
}

/// Keys of partition folders with their types: as declared, or else inferred.
fn partition_columns(
    config: &TableConfig,
    found: &TableFiles,
    fields: &[Field],
) -> Result<Vec<(String, ColumnType)>, SourceError> {
    let declared = config.columns.as_deref().unwrap_or_default();
    if let Some(column) = declared.iter().find(|column| !found.partition_keys.contains(&column.name)) {
        let problem = "is no partition column, parquet files bring the types of their own columns";
        return Err(config.problem(format!("column `{}` {problem}", column.name)));
    }
    let mut columns = Vec::with_capacity(found.partition_keys.len());
    for (key, inferred) in found.partition_keys.iter().zip(found.partition_types()) {
        if fields.iter().any(|field| field.name() == key) {
            return Err(
                config.problem(format!("column `{key}` is both in the files and in the names of their folders"))
            );
        }
        let chosen = declared.iter().find(|column| column.name == *key);
        let column_type = chosen.map(|column| column.column_type).unwrap_or(inferred);
        if column_type != inferred && !matches!(column_type, ColumnType::Text | ColumnType::Integer) {
            return Err(config.problem(format!("partition column `{key}` is a {inferred}, not a {column_type}")));
        }
        if column_type == ColumnType::Integer && !found.all_values(key, |value| value.parse::<i32>().is_ok()) {
            return Err(config.problem(format!("partition column `{key}` has values that are no integer")));
        }
        columns.push((key.clone(), column_type));
    }
    Ok(columns)
}

/// The field with text and bytes in their plain forms and without the writer's own metadata.
fn plain_field(field: &Field) -> Field {
    Field::new(field.name(), plain_type(field.data_type()), field.is_nullable())
}

/// Texts may be written as views, dictionaries or with large offsets; the table has one type for all of them.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        other => other.clone(),
    }
}

/// Checks that `other` has the same columns; a column is nullable if it is in any file.
fn merge(fields: &mut [Field], other: &[Field]) -> Result<(), String> {
    if fields.len() != other.len() {
        return Err(format!("{} columns and {}", other.len(), fields.len()));
    }
    for (field, own) in fields.iter_mut().zip(other) {
        if field.name() != own.name() {
            return Err(format!("column `{}` stands where the other has `{}`", own.name(), field.name()));
        }
        if field.data_type() != own.data_type() {
            return Err(format!("column `{}` is {} and {}", field.name(), own.data_type(), field.data_type()));
        }
        let nullable = field.is_nullable() || own.is_nullable();
        field.set_nullable(nullable);
    }
    Ok(())
}
