//! Splitting the bytes of a CSV file into records and fields, whatever ends its lines.
//!
//! Stewards' exports end lines with `\n`, `\r\n`, `\r\r\n` (a text file written twice through a converting layer), a
//! lone `\r`, or several of these in one file; readers that settle on one of them lose rows without a word. Here each
//! of them ends a record, and blank lines are skipped. Decoding and typing come later, field by field, so that an error
//! can name its line and column.

use super::error::RowProblem;

/// Reads the records of one file in order.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    /// The line `rest` begins on, from 1.
    line: u64,
    delimiter: u8,
    quote: Option<u8>,
}

/// One record: its fields, without quotes, and the line it begins on. Reused from record to record.
#[derive(Default)]
pub(crate) struct Record {
    line: u64,
    data: Vec<u8>,
    fields: Vec<Span>,
}

struct Span {
    start: usize,
    end: usize,
    quoting: Quoting,
}

/// Whether a field stood in quotes: a quoted text is never NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    Bare,
    Quoted,
}

/// One field of a record, still in the file's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) quoting: Quoting,
}

/// A record that cannot be split, and the line it begins on.
#[derive(Debug, PartialEq)]
pub(crate) struct BadRecord {
    pub(crate) line: u64,
    pub(crate) problem: RowProblem,
}

#[derive(PartialEq)]
enum After {
    Delimiter,
    Record,
}

impl Record {
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Bytes of all fields together.
    pub(crate) fn size_bytes(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn field(&self, index: usize) -> Option<Field<'_>> {
        let span = self.fields.get(index)?;
        Some(Field { bytes: self.data.get(span.start..span.end)?, quoting: span.quoting })
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        (0..self.len()).filter_map(|index| self.field(index))
    }

    fn finish_field(&mut self, start: usize, quoting: Quoting) {
        self.fields.push(Span { start, end: self.data.len(), quoting });
    }
}

impl<'a> Records<'a> {
    /// Splits `bytes` at `delimiter`; both it and `quote` are ASCII.
    pub(crate) fn new(bytes: &'a [u8], delimiter: u8, quote: Option<u8>) -> Self {
        Records { rest: bytes, line: 1, delimiter, quote }
    }

    /// Reads the next record into `record`; `false` at the end of the file.
    pub(crate) fn read(&mut self, record: &mut Record) -> Result<bool, BadRecord> {
        while let Some(length) = line_end_length(self.rest) {
            self.advance(length);
            self.line += 1;
        }
        record.line = self.line;
        record.data.clear();
        record.fields.clear();
        if self.rest.is_empty() {
            return Ok(false);
        }
        while self.read_field(record)? == After::Delimiter {}
        Ok(true)
    }

    /// Reads one field and the delimiter after it; a line end stays for the next [`Records::read`].
    fn read_field(&mut self, record: &mut Record) -> Result<After, BadRecord> {
        let start = record.data.len();
        if let (Some(quote), Some(first)) = (self.quote, self.rest.first())
            && *first == quote
        {
            self.read_quoted(quote, record)?;
            record.finish_field(start, Quoting::Quoted);
        } else {
            let delimiter = self.delimiter;
            let length =
                self.rest.iter().position(|byte| *byte == delimiter || is_line_end(*byte)).unwrap_or(self.rest.len());
            record.data.extend_from_slice(self.advance(length));
            record.finish_field(start, Quoting::Bare);
        }
        match self.rest.first() {
            Some(byte) if *byte == self.delimiter => {
                self.advance(1);
                Ok(After::Delimiter)
            }
            Some(byte) if !is_line_end(*byte) => {
                Err(BadRecord { line: record.line, problem: RowProblem::TextAfterQuote { field: record.len() } })
            }
            Some(_) | None => Ok(After::Record),
        }
    }

    /// Reads from an opening quote to its closing one; a doubled quote stands for itself.
    fn read_quoted(&mut self, quote: u8, record: &mut Record) -> Result<(), BadRecord> {
        let mut open = 1;
        loop {
            self.advance(open);
            let Some(length) = self.rest.iter().position(|byte| *byte == quote) else {
                let problem = RowProblem::OpenQuote { field: record.len() + 1 };
                return Err(BadRecord { line: record.line, problem });
            };
            let text = self.advance(length);
            self.line += count_line_ends(text);
            record.data.extend_from_slice(text);
            self.advance(1);
            if self.rest.first() != Some(&quote) {
                return Ok(());
            }
            record.data.push(quote);
            open = 1;
        }
    }

    fn advance(&mut self, length: usize) -> &'a [u8] {
        let (head, tail) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = tail;
        head
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Bytes of the line end that `bytes` begin with.
fn line_end_length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\r', b'\r', b'\n', ..] => Some(3),
        [b'\r', b'\n', ..] => Some(2),
        [b'\r' | b'\n', ..] => Some(1),
        _ => None,
    }
}

fn count_line_ends(text: &[u8]) -> u64 {
    let mut count = 0;
    let mut rest = text;
    while let Some(position) = rest.iter().position(|byte| is_line_end(*byte)) {
        let tail = rest.get(position..).unwrap_or_default();
        rest = tail.get(line_end_length(tail).unwrap_or(1)..).unwrap_or_default();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All records as `(line, fields)`.
    fn split(text: &str) -> Result<Vec<(u64, Vec<String>)>, BadRecord> {
        let mut records = Records::new(text.as_bytes(), b';', Some(b'"'));
        let mut record = Record::default();
        let mut all = Vec::new();
        while records.read(&mut record)? {
            let fields = record.fields().map(|field| String::from_utf8(field.bytes.to_vec()).unwrap()).collect();
            all.push((record.line(), fields));
        }
        Ok(all)
    }

    fn rows(rows: &[(u64, &[&str])]) -> Vec<(u64, Vec<String>)> {
        rows.iter().map(|(line, fields)| (*line, fields.iter().map(|field| field.to_string()).collect())).collect()
    }

    #[test]
    fn every_line_end_gives_the_same_records_and_lines() {
        let expected = rows(&[(1, &["a", "b"]), (2, &["1", "2"]), (3, &["3", ""])]);
        for end in ["\n", "\r\n", "\r\r\n", "\r"] {
            let text = ["a;b", "1;2", "3;"].join(end);
            assert_eq!(split(&text).unwrap(), expected, "{end:?} without a last line end");
            assert_eq!(split(&(text + end)).unwrap(), expected, "{end:?}");
        }
    }

    #[test]
    fn line_ends_may_be_mixed_and_blank_lines_are_counted_but_skipped() {
        let text = "\n\na;b\r1;2\r\r\n\r\n3;4\n\r";
        assert_eq!(split(text).unwrap(), rows(&[(3, &["a", "b"]), (4, &["1", "2"]), (6, &["3", "4"])]));
        assert_eq!(split("\r\r\n\n").unwrap(), rows(&[]));
    }

    #[test]
    fn quotes_keep_delimiters_line_ends_and_doubled_quotes() {
        let text = "\"a;1\";\"x\r\ny\"\r\n\"say \"\"hi\"\"\";b\"c\n";
        let expected = rows(&[(1, &["a;1", "x\r\ny"]), (3, &["say \"hi\"", "b\"c"])]);
        assert_eq!(split(text).unwrap(), expected);
    }

    #[test]
    fn an_empty_quoted_field_is_a_field() {
        let mut records = Records::new(b"\"\"\n", b';', Some(b'"'));
        let mut record = Record::default();
        assert!(records.read(&mut record).unwrap());
        assert_eq!(record.field(0), Some(Field { bytes: b"", quoting: Quoting::Quoted }));
    }

    #[test]
    fn broken_quotes_are_errors_at_the_line_they_begin_on() {
        let open = BadRecord { line: 2, problem: RowProblem::OpenQuote { field: 2 } };
        assert_eq!(split("a;b\n1;\"2\n3;4\n"), Err(open));
        let after = BadRecord { line: 2, problem: RowProblem::TextAfterQuote { field: 1 } };
        assert_eq!(split("a;b\n\"1\"x;2\n"), Err(after));
    }

    #[test]
    fn without_a_quote_character_quotes_are_text() {
        let mut records = Records::new(b"\"a\n", b';', None);
        let mut record = Record::default();
        assert!(records.read(&mut record).unwrap());
        assert_eq!(record.field(0), Some(Field { bytes: b"\"a", quoting: Quoting::Bare }));
    }
}
