//! Comma-separated values by RFC 4180: header, CRLF, quotes doubled.
//!
//! Arrow's own writer is not used because it writes NULL and the empty string alike and refuses nested columns.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::error::ShellError;
use super::render::cells;

/// Writes one result as CSV.
pub(super) struct CsvRenderer {
    /// The header, until it is written.
    header: Option<SchemaRef>,
}

impl CsvRenderer {
    /// Begins a result with these columns.
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { header: Some(schema.clone()) }
    }

    /// Writes a batch.
    pub(super) fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), ShellError> {
        self.finish(out)?;
        for row in cells(batch)? {
            write_record(row.iter().map(Option::as_deref), out)?;
        }
        Ok(())
    }

    /// Writes the header if there was no batch to write it before.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> Result<(), ShellError> {
        if let Some(schema) = self.header.take() {
            let schema: &Schema = &schema;
            write_record(schema.fields().iter().map(|field| Some(field.name().as_str())), out)?;
        }
        Ok(())
    }
}

fn write_record<'a>(fields: impl Iterator<Item = Option<&'a str>>, out: &mut dyn Write) -> Result<(), ShellError> {
    for (position, field) in fields.enumerate() {
        if position > 0 {
            out.write_all(b",")?;
        }
        match field {
            None => {}
            Some(text) if text.is_empty() || text.contains([',', '"', '\r', '\n']) => {
                write!(out, "\"{}\"", text.replace('"', "\"\""))?;
            }
            Some(text) => out.write_all(text.as_bytes())?,
        }
    }
    Ok(out.write_all(b"\r\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_needs_quotes() {
        let mut out = Vec::new();
        let fields = [Some("plain"), Some("a,b"), Some("say \"hi\""), Some("two\nlines"), Some(""), None, Some("é")];
        write_record(fields.into_iter(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "plain,\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\",\"\",,é\r\n");
    }
}
