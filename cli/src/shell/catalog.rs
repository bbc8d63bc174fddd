//! What `\d NAME` shows: the columns of a table, from the metadata that Flight SQL sends with it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow_flight::IpcMessage;
use arrow_flight::sql::CommandGetTables;

use super::error::ShellError;

/// Field metadata that names the SQL type.
const TYPE_NAME_KEY: &str = "ARROW:FLIGHT:SQL:TYPE_NAME";

/// A table's name as typed: one to three parts, unquoted ones folded to lower case as SQL does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    catalog: Option<String>,
    schema: Option<String>,
    table: String,
}

impl TableName {
    /// Reads `table`, `schema.table` or `catalog.schema.table`.
    pub(super) fn parse(text: &str) -> Result<Self, ShellError> {
        let bad = || ShellError::Usage(format!("`{text}` is not a table's name: write `catalog.schema.table`"));
        let mut parts = name_parts(text).ok_or_else(bad)?;
        let table = parts.pop().ok_or_else(bad)?;
        let schema = parts.pop();
        let catalog = parts.pop();
        if parts.is_empty() { Ok(Self { catalog, schema, table }) } else { Err(bad()) }
    }

    /// The request that finds at least this table. Names go into patterns, where `_` fits any character, so that the
    /// answer may hold more: [`Self::names`] decides.
    pub(super) fn request(&self) -> CommandGetTables {
        let pattern = |name: &String| name.replace('\\', "\\\\");
        CommandGetTables {
            catalog: self.catalog.clone(),
            db_schema_filter_pattern: self.schema.as_ref().map(pattern),
            table_name_filter_pattern: Some(pattern(&self.table)),
            table_types: Vec::new(),
            include_schema: true,
        }
    }

    /// Whether this is the entry's name.
    pub(super) fn names(&self, entry: &TableEntry) -> bool {
        let fits = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
        fits(&self.catalog, &entry.catalog) && fits(&self.schema, &entry.schema) && self.table == entry.table
    }
}

fn name_parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let part;
        (part, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (name, rest) = quoted.split_once('"')?;
                (name.to_owned(), rest)
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let (name, rest) = rest.split_at_checked(end)?;
                (name.to_lowercase(), rest)
            }
        };
        if part.is_empty() || part.contains('"') {
            return None;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None => return rest.is_empty().then_some(parts),
        }
    }
}

/// A table as the server lists it.
#[derive(Clone, Debug)]
pub(super) struct TableEntry {
    catalog: Option<String>,
    schema: Option<String>,
    table: String,
    kind: String,
    columns: Schema,
}

impl TableEntry {
    /// The entries of an answer to `CommandGetTables` with schemas.
    pub(super) fn read(batch: &RecordBatch) -> Result<Vec<Self>, ShellError> {
        let text = |name: &str| -> Result<StringArray, ShellError> {
            Ok(cast(column(batch, name)?, &DataType::Utf8)?.as_string::<i32>().clone())
        };
        let (catalogs, schemas) = (text("catalog_name")?, text("db_schema_name")?);
        let (tables, kinds) = (text("table_name")?, text("table_type")?);
        let bytes = cast(column(batch, "table_schema")?, &DataType::Binary)?;
        let encoded = bytes.as_binary::<i32>();
        let at = |array: &StringArray, row: usize| (!array.is_null(row)).then(|| array.value(row).to_owned());
        (0..batch.num_rows())
            .map(|row| {
                Ok(Self {
                    catalog: at(&catalogs, row),
                    schema: at(&schemas, row),
                    table: tables.value(row).to_owned(),
                    kind: kinds.value(row).to_owned(),
                    columns: Schema::try_from(IpcMessage(encoded.value(row).to_vec().into()))?,
                })
            })
            .collect()
    }

    /// The heading above its columns.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.kind, self.full_name())
    }

    /// Its columns as a result of their own: name, type and whether NULL is allowed, with the table's name before them
    /// where no heading can say it.
    pub(super) fn describe(&self, with: TableColumn) -> Result<RecordBatch, ArrowError> {
        let fields = self.columns.fields();
        let names = StringArray::from_iter_values(fields.iter().map(|field| field.name()));
        let types = StringArray::from_iter_values(fields.iter().map(|field| type_name(field)));
        let nullable = BooleanArray::from_iter(fields.iter().map(|field| Some(field.is_nullable())));
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![("column", Arc::new(names)), ("type", Arc::new(types)), ("nullable", Arc::new(nullable))];
        match with {
            TableColumn::Hidden => {}
            TableColumn::Shown => {
                let table = StringArray::from_iter_values(fields.iter().map(|_| self.full_name()));
                columns.insert(0, ("table", Arc::new(table)));
            }
        }
        RecordBatch::try_from_iter(columns)
    }

    fn full_name(&self) -> String {
        let parts = [self.catalog.as_deref(), self.schema.as_deref(), Some(self.table.as_str())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(".")
    }
}

/// Whether a description repeats the table's name in every row.
#[derive(Clone, Copy, Debug)]
pub(super) enum TableColumn {
    /// A heading says it.
    Hidden,
    /// Programs read the rows.
    Shown,
}

fn type_name(field: &Field) -> String {
    field.metadata().get(TYPE_NAME_KEY).cloned().unwrap_or_else(|| field.data_type().to_string())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array, ShellError> {
    let found = batch.column_by_name(name).map(AsRef::as_ref);
    found.ok_or_else(|| ShellError::Protocol(format!("its list of tables has no column `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, Option<String>, String) {
        let name = TableName::parse(text).unwrap();
        (name.catalog, name.schema, name.table)
    }

    #[test]
    fn names_have_up_to_three_parts_and_fold_unless_quoted() {
        assert_eq!(parts("Personen"), (None, None, "personen".into()));
        assert_eq!(parts("UvA.wages.\"Odd.Name\""), (Some("uva".into()), Some("wages".into()), "Odd.Name".into()));
        for bad in ["", ".", "a.", "a..b", "a.b.c.d", "\"open", "\"a\"b", "a\"b"] {
            assert!(TableName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_underscore_stands_for_itself() {
        let entry = |table: &str| TableEntry {
            catalog: Some("uva".into()),
            schema: None,
            table: table.into(),
            kind: "TABLE".into(),
            columns: Schema::empty(),
        };
        let name = TableName::parse("a_b").unwrap();
        assert!(name.names(&entry("a_b")));
        assert!(!name.names(&entry("axb")));
        assert!(!TableName::parse("vu.x.a_b").unwrap().names(&entry("a_b")));
    }
}
