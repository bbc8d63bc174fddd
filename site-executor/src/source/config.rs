//! What a steward writes about one table in the site's configuration file.
//!
//! Only the wording and its internal contradictions; whether the files agree with it is found when they are opened.

use std::path::PathBuf;

use serde::Deserialize;

use super::column_type::ColumnType;
use super::date_format::DateFormat;
use super::encoding::Encoding;
use super::error::SourceError;

/// One table of a steward: where its files are and how to read them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// The schema of the table, as in `wages`.
    pub schema: String,
    /// The name of the table, as in `personen`.
    pub table: String,
    /// A file, a folder of files, or a hive-partitioned folder; relative paths begin at the configuration's folder.
    pub path: PathBuf,
    /// What the files are.
    pub format: TableFormat,
    /// CSV: what stands between fields; one ASCII character.
    #[serde(default = "default_delimiter")]
    pub delimiter: char,
    /// CSV: how bytes stand for characters.
    #[serde(default)]
    pub encoding: Encoding,
    /// CSV: whether the first line names the columns.
    #[serde(default)]
    pub header: Header,
    /// CSV: the character around fields that hold delimiters or line ends; `""` for none.
    #[serde(default)]
    pub quote: Quote,
    /// CSV: the texts that stand for NULL.
    #[serde(default)]
    pub null_values: NullValues,
    /// CSV: how dates are written, unless their column says otherwise.
    #[serde(default)]
    pub date_format: DateFormat,
    /// CSV: how the names of a header become column names when `columns` is absent.
    #[serde(default)]
    pub column_names: ColumnNames,
    /// CSV: the columns and their types; absent means that types are inferred from the whole data. Parquet files bring
    /// their own types, there it may only give the types of partition columns.
    #[serde(default)]
    pub columns: Option<Vec<ColumnConfig>>,
    /// CSV: what to do with columns that `columns` does not name.
    #[serde(default)]
    pub extra_columns: ExtraColumns,
}

/// The format of a table's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// Delimited text.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// One declared column.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnConfig {
    /// The column's name in the table; in the header it may differ in case.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// Whether it takes NULL.
    #[serde(default, rename = "nullable")]
    pub nullability: Nullability,
    /// How its dates or timestamps are written.
    #[serde(default)]
    pub format: Option<DateFormat>,
}

/// Whether a column takes NULL; `true` or `false` in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "bool")]
pub enum Nullability {
    /// NULL is a value like any other.
    #[default]
    Nullable,
    /// NULL is an error in the file.
    Required,
}

/// Whether the first line of a CSV file names its columns; `true` or `false` in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "bool")]
pub enum Header {
    /// The first line is a header.
    #[default]
    Present,
    /// The first line is data; columns go by position.
    Absent,
}

/// The quote character of a CSV file; a text of at most one character in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Quote {
    /// Fields are never quoted.
    None,
    /// Fields may stand between two of these.
    Character(char),
}

/// The texts that stand for NULL.
///
/// A quoted field is never NULL in a text column, so that `""` can be the empty text; in every other column the quotes
/// make no difference.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct NullValues(pub Vec<String>);

/// How the names of a header become column names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnNames {
    /// In lower case, so that SQL finds them without quotes.
    #[default]
    Lower,
    /// As the file has them.
    AsWritten,
}

/// What to do with columns of a file that are not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraColumns {
    /// Refuse the file.
    #[default]
    Error,
    /// Leave them out of the table.
    Ignore,
}

impl TableConfig {
    /// A CSV table with every option at its default.
    pub fn csv(schema: impl Into<String>, table: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        TableConfig {
            schema: schema.into(),
            table: table.into(),
            path: path.into(),
            format: TableFormat::Csv,
            delimiter: default_delimiter(),
            encoding: Encoding::default(),
            header: Header::default(),
            quote: Quote::default(),
            null_values: NullValues::default(),
            date_format: DateFormat::default(),
            column_names: ColumnNames::default(),
            columns: None,
            extra_columns: ExtraColumns::default(),
        }
    }

    /// A Parquet table.
    pub fn parquet(schema: impl Into<String>, table: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        TableConfig { format: TableFormat::Parquet, ..TableConfig::csv(schema, table, path) }
    }

    /// `schema.table`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// The delimiter and the quote as bytes, once every option has been checked against the others.
    pub(crate) fn validate(&self) -> Result<(u8, Option<u8>), SourceError> {
        if self.schema.is_empty() || self.table.is_empty() {
            return Err(self.problem("`schema` and `table` must not be empty"));
        }
        let delimiter = self.ascii("delimiter", self.delimiter)?;
        let quote = match self.quote {
            Quote::None => None,
            Quote::Character(quote) => Some(self.ascii("quote", quote)?),
        };
        if quote == Some(delimiter) {
            return Err(self.problem("`delimiter` and `quote` must differ"));
        }
        self.validate_columns()?;
        let plain = TableConfig {
            columns: self.columns.clone(),
            ..TableConfig::parquet(self.schema.clone(), self.table.clone(), self.path.clone())
        };
        if self.format == TableFormat::Parquet && *self != plain {
            return Err(self.problem("options of csv files do not apply to parquet, remove them"));
        }
        Ok((delimiter, quote))
    }

    fn validate_columns(&self) -> Result<(), SourceError> {
        let columns = self.columns.as_deref().unwrap_or_default();
        if self.columns.is_some() && columns.is_empty() {
            return Err(self.problem("`columns` must not be empty, leave it out to have types inferred"));
        }
        if self.columns.is_none() && self.extra_columns == ExtraColumns::Ignore {
            return Err(self.problem("`extra_columns = \"ignore\"` needs `columns`"));
        }
        for (index, column) in columns.iter().enumerate() {
            let name = &column.name;
            if name.is_empty() || columns.iter().take(index).any(|other| other.name == *name) {
                return Err(self.problem(format!("column `{name}` needs a name of its own")));
            }
            let dated = matches!(column.column_type, ColumnType::Date | ColumnType::Timestamp);
            if column.format.is_some() && !dated {
                return Err(self.problem(format!("column `{name}` is no date or timestamp and takes no `format`")));
            }
        }
        Ok(())
    }

    pub(crate) fn problem(&self, problem: impl Into<String>) -> SourceError {
        SourceError::Config { table: self.name(), problem: problem.into() }
    }

    fn ascii(&self, option: &str, character: char) -> Result<u8, SourceError> {
        match u8::try_from(character) {
            Ok(byte) if byte.is_ascii() && !matches!(byte, b'\r' | b'\n' | 0) => Ok(byte),
            _ => Err(self.problem(format!("`{option}` must be one ASCII character and no line end"))),
        }
    }
}

impl NullValues {
    /// Whether `text` stands for NULL.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.0.iter().any(|null| null == text)
    }
}

impl Default for NullValues {
    fn default() -> Self {
        NullValues(vec![String::new()])
    }
}

impl Default for Quote {
    fn default() -> Self {
        Quote::Character('"')
    }
}

impl TryFrom<String> for Quote {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (None, _) => Ok(Quote::None),
            (Some(quote), None) => Ok(Quote::Character(quote)),
            (Some(_), Some(_)) => Err(format!("quote `{text}` must be one character, or empty for none")),
        }
    }
}

impl From<bool> for Nullability {
    fn from(nullable: bool) -> Self {
        if nullable { Nullability::Nullable } else { Nullability::Required }
    }
}

impl From<bool> for Header {
    fn from(present: bool) -> Self {
        if present { Header::Present } else { Header::Absent }
    }
}

fn default_delimiter() -> char {
    ','
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TableConfig, toml::de::Error> {
        toml::from_str(&format!("schema = \"wages\"\ntable = \"personen\"\npath = \"p\"\n{text}"))
    }

    #[test]
    fn only_the_place_and_the_format_are_required() {
        assert_eq!(parse("format = \"csv\"").unwrap(), TableConfig::csv("wages", "personen", "p"));
        assert_eq!(parse("format = \"parquet\"").unwrap(), TableConfig::parquet("wages", "personen", "p"));
    }

    #[test]
    fn reads_every_option() {
        let config = parse(
            r#"
            format = "csv"
            delimiter = ";"
            encoding = "windows-1252"
            header = false
            quote = ""
            null_values = ["", "NA"]
            date_format = "%Y%m%d"
            column_names = "as_written"
            extra_columns = "ignore"
            columns = [
              { name = "unieknr", type = "bigint", nullable = false },
              { name = "gebdat", type = "date", format = "%d-%m-%Y" },
            ]
            "#,
        )
        .unwrap();
        assert_eq!(config.validate().unwrap(), (b';', None));
        assert_eq!(config.encoding, Encoding::Windows1252);
        assert_eq!(config.header, Header::Absent);
        assert!(config.null_values.contains("NA"));
        assert_eq!(config.date_format.as_str(), "%Y%m%d");
        assert_eq!(config.column_names, ColumnNames::AsWritten);
        let columns = config.columns.unwrap();
        assert_eq!(columns[0].nullability, Nullability::Required);
        assert_eq!(columns[1].format.as_ref().unwrap().as_str(), "%d-%m-%Y");
    }

    #[test]
    fn refuses_unknown_keys_and_words() {
        for wrong in ["format = \"csv\"\nseparator = \";\"", "format = \"xls\"", "format = \"csv\"\nquote = \"''\""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let column = "format = \"csv\"\ncolumns = [{ name = \"a\", type = \"date\", nulls = true }]";
        assert!(parse(column).unwrap_err().to_string().contains("nulls"));
    }

    #[test]
    fn refuses_contradictions() {
        for wrong in [
            "format = \"csv\"\ndelimiter = \"\\\"\"",
            "format = \"csv\"\ndelimiter = \"é\"",
            "format = \"csv\"\nextra_columns = \"ignore\"",
            "format = \"csv\"\ncolumns = []",
            "format = \"csv\"\ncolumns = [{ name = \"a\", type = \"text\" }, { name = \"a\", type = \"date\" }]",
            "format = \"csv\"\ncolumns = [{ name = \"a\", type = \"text\", format = \"%Y%m%d\" }]",
            "format = \"parquet\"\ndelimiter = \";\"",
        ] {
            let error = parse(wrong).unwrap().validate().unwrap_err();
            assert!(matches!(error, SourceError::Config { .. }), "{wrong}");
            assert!(error.to_string().starts_with("table `wages.personen`: "), "{error}");
        }
    }
}
