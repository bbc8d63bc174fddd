//! Results as aligned columns, in the manner of psql, for people to read.
//!
//! Widths come from the first rows, which are held back for it; later rows stream with those widths and merely stand out
//! if they are wider. Control characters in values are escaped, so that data cannot steer the terminal.

use std::fmt::Write as _;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use unicode_width::UnicodeWidthStr;

use super::error::ShellError;
use super::render::cells;

/// Rows held back to measure columns. When it is full they are printed and the rest streams.
const MEASURED_ROWS: usize = 10_000;

/// Writes one result as a table.
pub(super) struct TableRenderer {
    columns: Vec<Column>,
    phase: Phase,
    rows: u64,
}

enum Phase {
    Measuring(Vec<Vec<String>>),
    Streaming,
}

struct Column {
    name: String,
    align: Align,
    width: usize,
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
    Centre,
}

impl Column {
    fn new(field: &Field) -> Self {
        let name = printable(field.name());
        let align = if field.data_type().is_numeric() { Align::Right } else { Align::Left };
        Self { width: name.width(), name, align }
    }
}

impl TableRenderer {
    /// Begins a result with these columns.
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|field| Column::new(field)).collect();
        Self { columns, phase: Phase::Measuring(Vec::new()), rows: 0 }
    }

    /// Takes a batch; prints it once widths are known.
    pub(super) fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), ShellError> {
        for row in cells(batch)? {
            self.rows += 1;
            let row: Vec<String> = row.iter().map(|cell| printable(cell.as_deref().unwrap_or_default())).collect();
            match &mut self.phase {
                Phase::Streaming => write_row(&self.columns, &row, out)?,
                Phase::Measuring(held) => {
                    for (column, cell) in self.columns.iter_mut().zip(&row) {
                        column.width = column.width.max(cell.width());
                    }
                    held.push(row);
                    if held.len() >= MEASURED_ROWS {
                        self.release(out)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Prints what was held back, and the count.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> Result<(), ShellError> {
        self.release(out)?;
        let word = if self.rows == 1 { "row" } else { "rows" };
        Ok(writeln!(out, "({} {word})", self.rows)?)
    }

    fn release(&mut self, out: &mut dyn Write) -> Result<(), ShellError> {
        let Phase::Measuring(held) = std::mem::replace(&mut self.phase, Phase::Streaming) else { return Ok(()) };
        let names = self.columns.iter().map(|column| (column.name.as_str(), Align::Centre, column.width));
        write_line(names, out)?;
        let rules: Vec<String> = self.columns.iter().map(|column| "-".repeat(column.width + 2)).collect();
        writeln!(out, "{}", rules.join("+"))?;
        held.iter().try_for_each(|row| write_row(&self.columns, row, out))
    }
}

fn write_row(columns: &[Column], row: &[String], out: &mut dyn Write) -> Result<(), ShellError> {
    write_line(columns.iter().zip(row).map(|(column, cell)| (cell.as_str(), column.align, column.width)), out)
}

fn write_line<'a>(cells: impl Iterator<Item = (&'a str, Align, usize)>, out: &mut dyn Write) -> Result<(), ShellError> {
    let mut line = String::new();
    for (position, (text, align, width)) in cells.enumerate() {
        line.push_str(if position > 0 { " | " } else { " " });
        let room = width.saturating_sub(text.width());
        let left = match align {
            Align::Left => 0,
            Align::Right => room,
            Align::Centre => room / 2,
        };
        line.extend(std::iter::repeat_n(' ', left));
        line.push_str(text);
        line.extend(std::iter::repeat_n(' ', room - left));
    }
    Ok(writeln!(out, "{}", line.trim_end())?)
}

/// The text with control characters escaped, as `\n` or `\u{1b}`.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::super::Format;
    use super::super::render::tests::render;
    use super::*;

    fn show(columns: Vec<(&str, ArrayRef)>) -> String {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        String::from_utf8(render(Format::Table, &[batch])).unwrap()
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let names = Arc::new(StringArray::from(vec!["東京", "Łódź", "e\u{301}"])) as ArrayRef;
        let counts = Arc::new(Int64Array::from(vec![1, 22, 333])) as ArrayRef;
        let expected = " city |  n
------+-----
 東京 |   1
 Łódź |  22
 e\u{301}    | 333
(3 rows)
";
        assert_eq!(show(vec![("city", names), ("n", counts)]), expected);
    }

    #[test]
    fn data_cannot_steer_the_terminal() {
        let shown = show(vec![("x", Arc::new(StringArray::from(vec!["a\n\u{1b}[2Jb"])))]);
        assert!(shown.contains(r"a\n\u{1b}[2Jb"), "{shown}");
        assert!(shown.ends_with("(1 row)\n"));
    }

    #[test]
    fn rows_beyond_the_measured_ones_stream_with_the_same_widths() {
        let mut values = vec!["ab".to_owned(); MEASURED_ROWS];
        let schema =
            Arc::new(arrow::datatypes::Schema::new(vec![Field::new("v", arrow::datatypes::DataType::Utf8, false)]));
        let batch = |values: &[String]| {
            let array = StringArray::from_iter_values(values);
            RecordBatch::try_new(schema.clone(), vec![Arc::new(array)]).unwrap()
        };
        let mut table = TableRenderer::new(&schema);
        let mut out = Vec::new();
        let last = values.pop().unwrap();
        table.write(&batch(&values), &mut out).unwrap();
        assert!(out.is_empty(), "held back to measure");
        table.write(&batch(&[last, "much wider".to_owned()]), &mut out).unwrap();
        let text = String::from_utf8(out.clone()).unwrap();
        assert!(text.starts_with(" v\n----\n ab\n") && text.ends_with(" ab\n much wider\n"));
        assert_eq!(text.lines().count(), MEASURED_ROWS + 3);
        table.finish(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().ends_with("(10001 rows)\n"));
    }
}
