//! Results as text or bytes, batch by batch: one [`Renderer`] per result, whatever the format.
//!
//! Values are written as the engine prints them: decimals with their scale, dates and times in ISO 8601.

use std::io::Write;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::ValueEnum;

use super::csv::CsvRenderer;
use super::error::ShellError;
use super::table::TableRenderer;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    #[default]
    Table,
    /// RFC 4180 with a header; NULL is an empty field, an empty string is `""`
    Csv,
    /// One JSON object per line (NDJSON); NULL is `null`, decimals are numbers
    Json,
    /// An Arrow IPC stream
    Arrow,
}

/// One result being written.
pub(super) enum Renderer {
    /// A statement without a result, where people are told that it worked.
    Done,
    /// A statement without a result, where programs read the output.
    Nothing,
    /// Aligned columns.
    Table(TableRenderer),
    /// Comma-separated values.
    Csv(CsvRenderer),
    /// JSON lines.
    Json,
    /// IPC stream; the writer's buffer is drained after every batch.
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Renderer {
    /// Begins a result with these columns.
    pub(super) fn new(format: Format, schema: &SchemaRef) -> Result<Self, ShellError> {
        Ok(match (format, schema.fields().is_empty()) {
            (Format::Table, true) => Self::Done,
            (Format::Csv | Format::Json | Format::Arrow, true) => Self::Nothing,
            (Format::Table, false) => Self::Table(TableRenderer::new(schema)),
            (Format::Csv, false) => Self::Csv(CsvRenderer::new(schema)),
            (Format::Json, false) => Self::Json,
            (Format::Arrow, false) => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        })
    }

    /// Writes a batch, or keeps it until column widths are known.
    pub(super) fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), ShellError> {
        match self {
            Self::Done | Self::Nothing => Ok(()),
            Self::Table(table) => table.write(batch, out),
            Self::Csv(csv) => csv.write(batch, out),
            Self::Json => {
                let mut lines = Vec::new();
                let builder = WriterBuilder::new().with_explicit_nulls(true);
                builder.build::<_, LineDelimited>(&mut lines).write(batch)?;
                Ok(out.write_all(&lines)?)
            }
            Self::Arrow(writer) => {
                writer.write(batch)?;
                drain(writer, out)
            }
        }
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> Result<(), ShellError> {
        match self {
            Self::Done => writeln!(out, "OK")?,
            Self::Nothing | Self::Json => {}
            Self::Table(table) => table.finish(out)?,
            Self::Csv(csv) => csv.finish(out)?,
            Self::Arrow(writer) => {
                writer.finish()?;
                drain(writer, out)?;
            }
        }
        Ok(())
    }
}

fn drain(writer: &mut StreamWriter<Vec<u8>>, out: &mut dyn Write) -> Result<(), ShellError> {
    let bytes = std::mem::take(writer.get_mut());
    Ok(out.write_all(&bytes)?)
}

/// The values of a batch as text, row by row; NULL is `None`.
pub(super) fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ArrowError> {
    let options = FormatOptions::new().with_display_error(false);
    let columns = batch
        .columns()
        .iter()
        .map(|column| Ok((ArrayFormatter::try_new(column.as_ref(), &options)?, column.logical_nulls())))
        .collect::<Result<Vec<_>, ArrowError>>()?;
    let cell = |row: usize| {
        columns
            .iter()
            .map(|(formatter, nulls)| match nulls {
                Some(nulls) if nulls.is_null(row) => Ok(None),
                Some(_) | None => formatter.value(row).try_to_string().map(Some),
            })
            .collect()
    };
    (0..batch.num_rows()).map(cell).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, NullArray};
    use arrow::array::{DictionaryArray, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Int32Type, Schema};
    use arrow::ipc::reader::StreamReader;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    fn sample() -> RecordBatch {
        let amounts = Decimal128Array::from(vec![Some(1250), None, Some(-5)]).with_precision_and_scale(10, 2).unwrap();
        let times = TimestampMicrosecondArray::from(vec![Some(1_500_000), None, Some(0)]).with_timezone("UTC");
        batch(vec![
            ("name", Arc::new(StringArray::from(vec![Some("Zoë"), Some(""), None]))),
            ("amount", Arc::new(amounts)),
            ("day", Arc::new(Date32Array::from(vec![Some(19_723), None, Some(0)]))),
            ("at", Arc::new(times)),
            ("ok", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ])
    }

    pub(in super::super) fn render(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let mut out = Vec::new();
        let mut renderer = Renderer::new(format, &schema).unwrap();
        for batch in batches {
            renderer.write(batch, &mut out).unwrap();
        }
        renderer.finish(&mut out).unwrap();
        out
    }

    fn text(format: Format, batches: &[RecordBatch]) -> String {
        String::from_utf8(render(format, batches)).unwrap()
    }

    #[test]
    fn table_aligns_numbers_right_and_shows_null_as_nothing() {
        let expected = " name | amount |    day     |            at            |  ok
------+--------+------------+--------------------------+-------
 Zoë  |  12.50 | 2024-01-01 | 1970-01-01T00:00:01.500Z | true
      |        |            |                          | false
      |  -0.05 | 1970-01-01 | 1970-01-01T00:00:00Z     |
(3 rows)
";
        assert_eq!(text(Format::Table, &[sample()]), expected);
    }

    #[test]
    fn csv_tells_null_from_the_empty_string() {
        let expected = "name,amount,day,at,ok\r\n\
            Zoë,12.50,2024-01-01,1970-01-01T00:00:01.500Z,true\r\n\
            \"\",,,,false\r\n\
            ,-0.05,1970-01-01,1970-01-01T00:00:00Z,\r\n";
        assert_eq!(text(Format::Csv, &[sample()]), expected);
    }

    #[test]
    fn json_writes_one_object_per_line_with_explicit_nulls() {
        let expected = r#"{"name":"Zoë","amount":12.50,"day":"2024-01-01","at":"1970-01-01T00:00:01.500Z","ok":true}
{"name":"","amount":null,"day":null,"at":null,"ok":false}
{"name":null,"amount":-0.05,"day":"1970-01-01","at":"1970-01-01T00:00:00Z","ok":null}
"#;
        assert_eq!(text(Format::Json, &[sample()]), expected);
    }

    #[test]
    fn arrow_round_trips_every_batch() {
        let batches = [sample(), sample().slice(1, 1)];
        let bytes = render(Format::Arrow, &batches);
        let read: Vec<_> = StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, batches);
    }

    #[test]
    fn empty_results_keep_their_header() {
        let none = [sample().slice(0, 0)];
        assert!(text(Format::Table, &none).ends_with("(0 rows)\n"));
        assert_eq!(text(Format::Csv, &none), "name,amount,day,at,ok\r\n");
        assert_eq!(text(Format::Json, &none), "");
        let bytes = render(Format::Arrow, &none);
        assert_eq!(StreamReader::try_new(bytes.as_slice(), None).unwrap().schema(), none[0].schema());
    }

    #[test]
    fn statements_without_a_result_say_ok_to_people_only() {
        assert_eq!(text(Format::Table, &[]), "OK\n");
        for format in [Format::Csv, Format::Json, Format::Arrow] {
            assert_eq!(render(format, &[]), b"");
        }
    }

    #[test]
    fn nulls_without_a_null_bitmap_are_nulls() {
        let words: DictionaryArray<Int32Type> = vec![Some("a"), None].into_iter().collect();
        let odd = batch(vec![("none", Arc::new(NullArray::new(2))), ("word", Arc::new(words))]);
        assert_eq!(cells(&odd).unwrap(), [[None, Some("a".to_owned())], [None, None]]);
    }

    #[test]
    fn numbers_keep_their_digits() {
        let wide = Decimal128Array::from(vec![12_345_678_901_234_567_890_123_456_789_i128]);
        let numbers = batch(vec![
            ("wide", Arc::new(wide.with_precision_and_scale(38, 9).unwrap())),
            ("whole", Arc::new(Int64Array::from(vec![i64::MIN]))),
            ("float", Arc::new(Float64Array::from(vec![0.1]))),
        ]);
        assert_eq!(
            text(Format::Csv, &[numbers]),
            "wide,whole,float\r\n12345678901234567890.123456789,-9223372036854775808,0.1\r\n"
        );
    }
}
