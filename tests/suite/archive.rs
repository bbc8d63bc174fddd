//! A federation for tests that need a query to be still running: two archives release rows, and far more of them than all
//! the buffers between a site and a client can hold. So a client that has read one batch and reads no further knows that
//! every site is in the middle of its part, without any waiting.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::parquet::arrow::ArrowWriter;
use dynamos_cli::federation::{Design, FederatedTable, Person, Provider, Steward};

/// The archives.
pub const ARCHIVES: [&str; 2] = ["leiden", "utrecht"];
/// Who may read them.
pub const READER: &str = "reader@leiden.nl";
/// Rows of one archive. With [`LINE_BYTES`] it sends 64 MiB; on the way, a stream window of 8 MiB and a few batches of at
/// most as much find room.
pub const LINES: usize = 65_536;
/// The width of a row.
const LINE_BYTES: usize = 1024;

/// All rows of both.
pub const EVERYTHING: &str = "SELECT number, line FROM archive.lines";
/// A question with a short answer.
pub const SUMS: &str = "SELECT steward, count(*), sum(number) FROM archive.lines GROUP BY steward ORDER BY steward";

/// The answer to [`SUMS`].
pub fn sums() -> Vec<Vec<String>> {
    let sum = LINES * (LINES - 1) / 2;
    ARCHIVES.map(|name| vec![name.to_owned(), LINES.to_string(), sum.to_string()]).to_vec()
}

/// Writes the archives into `root`.
pub fn archive(root: &Path) -> Design {
    let steward = |name: &str| {
        write_lines(&root.join(name));
        Steward { name: name.into(), tables: TABLE.into(), agreements: vec![AGREEMENT.replace("{steward}", name)] }
    };
    Design {
        stewards: ARCHIVES.map(steward).to_vec(),
        providers: vec![Provider { name: "surf".into() }],
        federated: vec![FederatedTable {
            schema: "archive".into(),
            table: "lines".into(),
            stewards: ARCHIVES.map(str::to_owned).to_vec(),
        }],
        people: vec![Person {
            user: READER.into(),
            organisation: "leiden".into(),
            role: "reader".into(),
            purpose: "statistics".into(),
        }],
        site_limits: String::new(),
    }
}

fn write_lines(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let numbers: ArrayRef = Arc::new((0..).take(LINES).collect::<Int64Array>());
    // The file is small all the same: one line is stored once.
    let lines: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(LINE_BYTES); LINES]));
    let rows = RecordBatch::try_from_iter([("number", numbers), ("line", lines)]).unwrap();
    let file = File::create(folder.join("lines.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

const TABLE: &str = r#"
[[tables]]
schema = "archive"
table = "lines"
path = "lines.parquet"
format = "parquet"
"#;

const AGREEMENT: &str = "\
CREATE AGREEMENT open_lines ON SITE {steward}
  FOR ROLE reader
  PURPOSE statistics
AS (
  RELEASE ROWS (*) FROM archive.lines
);
";
