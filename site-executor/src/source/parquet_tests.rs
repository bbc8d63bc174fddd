//! Tests of Parquet tables from file to SQL answer.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::csv_tests::rows;
use super::*;

fn write(root: &Path, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)).collect::<Vec<_>>(),
    )
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn ids(range: std::ops::Range<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(range))
}

fn config(path: &str) -> TableConfig {
    TableConfig::parquet("t", "t", path)
}

#[tokio::test]
async fn a_single_file_of_any_ending_with_every_kind_of_text_is_plain_utf8() {
    let root = tempfile::tempdir().unwrap();
    let texts = vec![Some("x"), None, Some("y")];
    let dictionary: DictionaryArray<Int32Type> = texts.clone().into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", ids(0..3)),
        ("plain", Arc::new(StringArray::from(texts.clone()))),
        ("view", Arc::new(StringViewArray::from(texts.clone()))),
        ("large", Arc::new(LargeStringArray::from(texts))),
        ("dictionary", Arc::new(dictionary)),
    ];
    write(root.path(), "data.pq", columns);
    let table = open(&config("data.pq"), root.path()).await.unwrap();
    assert_eq!(table.provider.schema(), table.schema);
    for name in ["plain", "view", "large", "dictionary"] {
        assert_eq!(table.schema.field_with_name(name).unwrap().data_type(), &DataType::Utf8, "{name}");
        let expected = ColumnStatistics {
            distinct: Some(2),
            nulls: Some(1),
            min: Some(ScalarValue::Utf8(Some("x".to_owned()))),
            max: Some(ScalarValue::Utf8(Some("y".to_owned()))),
        };
        assert_eq!(table.statistics.columns[name], expected, "{name}");
        let sql = format!("SELECT id FROM t WHERE {name} = 'y'");
        assert_eq!(rows(&table, &sql).await, ["2"], "{name}");
    }
    let context = SessionContext::new();
    let frame = context.read_table(table.provider.clone()).unwrap();
    let batches = frame.collect().await.unwrap();
    assert_eq!(batches[0].schema().field_with_name("view").unwrap().data_type(), &DataType::Utf8);
}

#[tokio::test]
async fn a_folder_is_one_table_with_statistics_over_all_files() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "t/a.parquet", vec![("id", ids(0..1000))]);
    write(root.path(), "t/b.parquet", vec![("id", ids(500..1500))]);
    fs::write(root.path().join("t/_SUCCESS"), "").unwrap();
    let table = open(&config("t"), root.path()).await.unwrap();
    assert_eq!(rows(&table, "SELECT count(*), min(id), max(id) FROM t").await, ["2000|0|1499"]);
    assert_eq!(rows(&table, "SELECT count(*) FROM t WHERE id >= 1450").await, ["50"]);
    let explain = rows(&table, "EXPLAIN SELECT id FROM t WHERE id >= 1450").await.join("\n");
    assert!(explain.contains("pruning_predicate") && !explain.contains("FilterExec"), "{explain}");
    let expected = ColumnStatistics {
        distinct: Some(1500),
        nulls: Some(0),
        min: Some(ScalarValue::Int64(Some(0))),
        max: Some(ScalarValue::Int64(Some(1499))),
    };
    assert_eq!(table.statistics.rows, 2000);
    assert_eq!(table.statistics.columns["id"], expected);
}

#[tokio::test]
async fn distinct_values_of_a_large_table_are_estimated() {
    let root = tempfile::tempdir().unwrap();
    let codes: ArrayRef = Arc::new(Int64Array::from_iter_values((0..200_000).map(|row| row % 7)));
    write(root.path(), "t.parquet", vec![("id", ids(0..200_000)), ("code", codes)]);
    let table = open(&config("t.parquet"), root.path()).await.unwrap();
    assert_eq!(table.statistics.columns["code"].distinct, Some(7));
    assert_eq!(table.statistics.columns["id"].distinct, Some(200_000));
}

#[tokio::test]
async fn partition_folders_are_columns_that_prune() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "t/year=2023/code=01/a.parquet", vec![("id", ids(0..10))]);
    write(root.path(), "t/year=2024/code=02/a.parquet", vec![("id", ids(10..15))]);
    let table = open(&config("t"), root.path()).await.unwrap();
    assert_eq!(table.provider.schema(), table.schema);
    let sql = "SELECT year, code, count(*) FROM t GROUP BY 1, 2 ORDER BY 1";
    assert_eq!(rows(&table, sql).await, ["2023|01|10", "2024|02|5"]);
    let explain = rows(&table, "EXPLAIN SELECT id FROM t WHERE year = 2024").await.join("\n");
    assert!(explain.contains("year=2024") && !explain.contains("year=2023"), "{explain}");
    assert_eq!(table.statistics.columns["year"].distinct, Some(2));
    assert_eq!(table.statistics.columns["year"].max, Some(ScalarValue::Int64(Some(2024))));
    let mut declared = config("t");
    declared.columns = toml::from_str::<TableConfig>(
        "schema=\"t\"\ntable=\"t\"\npath=\"t\"\nformat=\"parquet\"\ncolumns=[{name=\"year\",type=\"text\"}]",
    )
    .unwrap()
    .columns;
    let table = open(&declared, root.path()).await.unwrap();
    assert_eq!(rows(&table, "SELECT count(*) FROM t WHERE year = '2023'").await, ["10"]);
}

#[tokio::test]
async fn files_of_one_table_need_the_same_columns() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let others: [(Vec<(&str, ArrayRef)>, &str); 3] = [
        (vec![("id", text.clone())], "column `id` is Utf8 and Int64"),
        (vec![("nr", ids(0..1))], "column `nr` stands where the other has `id`"),
        (vec![("id", ids(0..1)), ("more", text)], "2 columns and 1"),
    ];
    for (columns, expected) in others {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "t/a.parquet", vec![("id", ids(0..1))]);
        write(root.path(), "t/b.parquet", columns);
        let error = open(&config("t"), root.path()).await.unwrap_err();
        assert!(error.to_string().contains("b.parquet"), "{error}");
        assert!(matches!(&error, SourceError::SchemaMismatch { difference, .. } if difference == expected), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_parquet_and_what_is_declared_in_vain_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("t.parquet"), "id\n1\n").unwrap();
    let error = open(&config("t.parquet"), root.path()).await.unwrap_err();
    assert!(matches!(error, SourceError::Parquet { .. }), "{error}");
    write(root.path(), "year=2024/a.parquet", vec![("id", ids(0..1))]);
    fs::remove_file(root.path().join("t.parquet")).unwrap();
    let mut declared = config(".");
    let column = |name: &str| ColumnConfig {
        name: name.to_owned(),
        column_type: ColumnType::Date,
        nullability: Nullability::Nullable,
        format: None,
    };
    for name in ["id", "year"] {
        declared.columns = Some(vec![column(name)]);
        let error = open(&declared, root.path()).await.unwrap_err();
        assert!(matches!(error, SourceError::Config { .. }), "{error}");
    }
}
