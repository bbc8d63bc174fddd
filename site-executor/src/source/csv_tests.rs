//! Tests of CSV tables from file to SQL answer; the parts have their own tests beside them.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::*;

/// Writes `files` below a new folder and opens the table `t.t` at `path` with `options` (TOML).
async fn open_files(files: &[(&str, &[u8])], path: &str, options: &str) -> Result<SourceTable, SourceError> {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let file = root.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    let text = format!("schema = \"t\"\ntable = \"t\"\nformat = \"csv\"\npath = \"{path}\"\n{options}");
    open(&toml::from_str(&text).unwrap(), root.path()).await
}

async fn open_text(text: &str, options: &str) -> Result<SourceTable, SourceError> {
    open_files(&[("t.csv", text.as_bytes())], "t.csv", options).await
}

/// The rows of a query over the table, one line each, fields between `|`.
pub(super) async fn rows(table: &SourceTable, sql: &str) -> Vec<String> {
    let context = SessionContext::new();
    context.register_table("t", table.provider.clone()).unwrap();
    let batches: Vec<RecordBatch> = context.sql(sql).await.unwrap().collect().await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(1);
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|")).collect()
}

fn types(table: &SourceTable) -> Vec<(String, DataType)> {
    table.schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

fn row_problem(error: SourceError) -> (u64, RowProblem) {
    match error {
        SourceError::Row { line, problem, .. } => (line, problem),
        other => panic!("expected a bad row, got {other:?}"),
    }
}

fn header_problem(error: SourceError) -> HeaderProblem {
    match error {
        SourceError::Header { problem, .. } => problem,
        other => panic!("expected a bad header, got {other:?}"),
    }
}

#[tokio::test]
async fn the_wage_files_open_alike_whatever_ends_their_lines() {
    let lines = ["Unieknr;Geslacht;Gebdat;Nationaliteit", "2104;V;19900101;0000", "2739;M;19810101;0001"];
    for end in ["\n", "\r\n", "\r\r\n", "\r"] {
        let table = open_text(&lines.join(end), "delimiter = \";\"").await.unwrap();
        let expected = [
            ("unieknr".to_owned(), DataType::Int64),
            ("geslacht".to_owned(), DataType::Utf8),
            ("gebdat".to_owned(), DataType::Int64),
            ("nationaliteit".to_owned(), DataType::Utf8),
        ];
        assert_eq!(types(&table), expected, "{end:?}");
        assert_eq!(
            rows(&table, "SELECT * FROM t ORDER BY unieknr").await,
            ["2104|V|19900101|0000", "2739|M|19810101|0001"],
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn declared_columns_choose_type_order_and_name() {
    let options = r#"
        date_format = "%Y%m%d"
        null_values = ["", "NA"]
        columns = [
          { name = "born", type = "date" },
          { name = "id", type = "integer", nullable = false },
          { name = "seen", type = "timestamp", format = "%d/%m/%Y %H:%M" },
          { name = "score", type = "double" },
          { name = "active", type = "boolean" },
          { name = "wage", type = "decimal(8,2)" },
        ]
    "#;
    let text = "ID,Born,seen,score,active,wage\n0007,99990101,31/01/2024 09:30,1.5,yes,1234.5\n8,,NA,,NA,\n";
    let table = open_text(text, options).await.unwrap();
    assert_eq!(
        rows(&table, "SELECT * FROM t ORDER BY id").await,
        ["9999-01-01|7|2024-01-31T09:30:00|1.5|true|1234.50", "|8||||"]
    );
    assert!(!table.schema.field_with_name("id").unwrap().is_nullable());
    assert_eq!(table.schema.field_with_name("wage").unwrap().data_type(), &DataType::Decimal128(8, 2));
}

#[tokio::test]
async fn inference_looks_at_the_last_row_too() {
    let mut text = "n\n".to_owned();
    (0..20_000).for_each(|number| text.push_str(&format!("{number}\n")));
    let numbers = open_text(&text, "").await.unwrap();
    assert_eq!(types(&numbers), [("n".to_owned(), DataType::Int64)]);
    assert_eq!(rows(&numbers, "SELECT count(*), sum(n) FROM t").await, ["20000|199990000"]);
    let codes = open_text(&(text + "01\n"), "").await.unwrap();
    assert_eq!(types(&codes), [("n".to_owned(), DataType::Utf8)]);
}

#[tokio::test]
async fn statistics_are_exact() {
    let table = open_text("a,b\n1,x\n2,\n2,y\n", "").await.unwrap();
    let a = ColumnStatistics {
        distinct: Some(2),
        nulls: Some(0),
        min: Some(ScalarValue::Int64(Some(1))),
        max: Some(ScalarValue::Int64(Some(2))),
    };
    assert_eq!(table.statistics.rows, 3);
    assert_eq!(table.statistics.columns["a"], a);
    assert_eq!(table.statistics.columns["b"].nulls, Some(1));
    assert_eq!(table.statistics.columns["b"].max, Some(ScalarValue::Utf8(Some("y".to_owned()))));
}

#[tokio::test]
async fn a_quoted_text_is_never_null() {
    let table =
        open_text("a,b\n\"\",\"\"\n,1\n", "columns = [{name=\"a\",type=\"text\"},{name=\"b\",type=\"bigint\"}]");
    let found = rows(&table.await.unwrap(), "SELECT a IS NULL, b IS NULL FROM t ORDER BY 1").await;
    assert_eq!(found, ["false|true", "true|false"]);
}

#[tokio::test]
async fn bad_rows_name_line_column_and_type() {
    let columns = "columns = [{name=\"a\",type=\"integer\",nullable=false},{name=\"b\",type=\"date\"}]";
    let (column, expected) = ("a".to_owned(), ColumnType::Integer);
    let cases = [
        ("a,b\n1,2024-01-01\n\n2,2024-01-01,3\n", 4, RowProblem::FieldCount { expected: 2, found: 3 }),
        ("a,b\r1\r", 2, RowProblem::FieldCount { expected: 2, found: 1 }),
        ("a,b\r\r\n,2024-01-01", 2, RowProblem::UnexpectedNull { column: column.clone(), expected }),
        ("a,b\nsecret,", 2, RowProblem::Unparsable { column, expected, format: None }),
        (
            "a,b\n1,20240101",
            2,
            RowProblem::Unparsable {
                column: "b".to_owned(),
                expected: ColumnType::Date,
                format: Some("%Y-%m-%d".to_owned()),
            },
        ),
        ("a,b\n1,\n2,\"2024", 3, RowProblem::OpenQuote { field: 2 }),
    ];
    for (text, line, problem) in cases {
        let error = open_text(text, columns).await.unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains("t.csv") && shown.contains(&format!("line {line}")), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("20240101"), "{shown}");
        assert_eq!(row_problem(error), (line, problem), "{text:?}");
    }
}

#[tokio::test]
async fn bytes_outside_the_encoding_are_errors_and_not_question_marks() {
    let latin = b"name,age\nRen\xE9,40\n".as_slice();
    for columns in ["", "columns = [{name=\"name\",type=\"text\"},{name=\"age\",type=\"integer\"}]"] {
        let error = open_files(&[("t.csv", latin)], "t.csv", columns).await.unwrap_err();
        let (column, expected, encoding) = ("name".to_owned(), ColumnType::Text, Encoding::Utf8);
        assert_eq!(row_problem(error), (2, RowProblem::Encoding { column, expected, encoding }));
        let options = format!("encoding = \"latin1\"\n{columns}");
        let table = open_files(&[("t.csv", latin)], "t.csv", &options).await.unwrap();
        assert_eq!(rows(&table, "SELECT * FROM t").await, ["René|40"]);
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_the_first_name() {
    let table = open_text("\u{FEFF}a,b\n1,2\n", "").await.unwrap();
    assert_eq!(rows(&table, "SELECT a FROM t").await, ["1"]);
}

#[tokio::test]
async fn header_and_declaration_must_agree() {
    let one = "columns = [{name=\"a\",type=\"text\"}]";
    let missing = header_problem(open_text("b\n1\n", one).await.unwrap_err());
    assert_eq!(missing, HeaderProblem::Missing { column: "a".to_owned() });
    let undeclared = header_problem(open_text("a,b\n1,2\n", one).await.unwrap_err());
    assert_eq!(undeclared, HeaderProblem::Undeclared { column: "b".to_owned() });
    let ignored = open_text("b,a\n1,2\n", &format!("extra_columns = \"ignore\"\n{one}")).await.unwrap();
    assert_eq!(rows(&ignored, "SELECT * FROM t").await, ["2"]);
    let duplicate = header_problem(open_text("a,A\n1,2\n", "").await.unwrap_err());
    assert_eq!(duplicate, HeaderProblem::Duplicate { column: "a".to_owned() });
    assert_eq!(header_problem(open_text("\n\n", "").await.unwrap_err()), HeaderProblem::Empty);
    let unnamed = header_problem(open_text("a,\n1,2\n", "").await.unwrap_err());
    assert_eq!(unnamed, HeaderProblem::Unnamed { position: 2 });
}

#[tokio::test]
async fn names_may_stay_as_written() {
    let table = open_text("Unieknr\n1\n", "column_names = \"as_written\"").await.unwrap();
    assert_eq!(types(&table), [("Unieknr".to_owned(), DataType::Int64)]);
}

#[tokio::test]
async fn without_a_header_columns_go_by_position() {
    let table = open_text("1,x\n2,y\n", "header = false").await.unwrap();
    assert_eq!(rows(&table, "SELECT column_2 FROM t ORDER BY column_1").await, ["x", "y"]);
    let columns = "header = false\ncolumns = [{name=\"n\",type=\"text\"},{name=\"c\",type=\"text\"}]";
    let table = open_text("1,x\n", columns).await.unwrap();
    assert_eq!(rows(&table, "SELECT c, n FROM t").await, ["x|1"]);
    let three = header_problem(open_text("1,x,z\n", columns).await.unwrap_err());
    assert_eq!(three, HeaderProblem::Undeclared { column: "column_3".to_owned() });
    let one = header_problem(open_text("1\n", columns).await.unwrap_err());
    assert_eq!(one, HeaderProblem::Missing { column: "c".to_owned() });
}

#[tokio::test]
async fn a_folder_with_partitions_is_one_table() {
    let files: [(&str, &[u8]); 3] = [
        ("t/year=2023/part=01/a.csv", b"id\n1\n"),
        ("t/year=2023/part=02/a.csv", b"id\r\n2\r\n"),
        ("t/year=2024/part=01/a.csv", b"id\r3"),
    ];
    let table = open_files(&files, "t", "").await.unwrap();
    assert_eq!(
        types(&table),
        [("id".into(), DataType::Int64), ("year".into(), DataType::Int64), ("part".into(), DataType::Utf8)]
    );
    assert_eq!(rows(&table, "SELECT id, year, part FROM t ORDER BY id").await, ["1|2023|01", "2|2023|02", "3|2024|01"]);
    let columns = "columns = [{name=\"year\",type=\"text\"},{name=\"id\",type=\"bigint\"}]";
    let declared = open_files(&files, "t", columns).await.unwrap();
    assert_eq!(rows(&declared, "SELECT * FROM t ORDER BY id LIMIT 1").await, ["2023|1|01"]);
}

#[tokio::test]
async fn files_of_one_table_need_the_same_header() {
    let files: [(&str, &[u8]); 2] = [("t/a.csv", b"id,x\n1,2\n"), ("t/b.csv", b"x,id\n1,2\n")];
    let error = open_files(&files, "t", "").await.unwrap_err();
    assert!(error.to_string().contains("b.csv"), "{error}");
    assert!(matches!(header_problem(error), HeaderProblem::Differs { first } if first.ends_with("a.csv")));
}

#[tokio::test]
async fn a_table_without_rows_keeps_its_columns() {
    let table = open_text("a,b\n", "").await.unwrap();
    assert_eq!(rows(&table, "SELECT count(*) FROM t").await, ["0"]);
    assert_eq!(table.statistics.rows, 0);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named_and_worth_another_try() {
    let error = open(&TableConfig::csv("t", "t", "none.csv"), Path::new("nowhere")).await.unwrap_err();
    assert!(error.to_string().contains("none.csv"), "{error}");
    assert!(error.is_retryable());
}
