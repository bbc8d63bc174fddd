//! The `\` commands: what the user types at the start of a line instead of SQL.

use arrow::array::RecordBatch;
use arrow_flight::sql::CommandGetTables;
use clap::ValueEnum;

use super::Format;
use super::catalog::{TableColumn, TableEntry, TableName};
use super::client::Ask;
use super::error::ShellError;
use super::render::Renderer;
use super::session::{Session, Timing};

const HELP: &str = "\
\\d             list tables
\\d NAME        columns of a table: `table`, `schema.table` or `catalog.schema.table`
\\l             list catalogs: the sites and the federation
\\agreements    agreements that you may see (SHOW AGREEMENTS)
\\purpose P     state the purpose of the queries that follow; without P, show it
\\format F      table, csv, json or arrow; without F, show it
\\timing        switch on or off how long each statement took
\\?             this help
\\q             leave
Statements end with `;`. Ctrl-C cancels the running statement, a second Ctrl-C leaves.
";

/// A `\` command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    /// `\d`
    Tables,
    /// `\d NAME`
    Describe(TableName),
    /// `\l`
    Catalogs,
    /// `\agreements`
    Agreements,
    /// `\purpose P`
    StatePurpose(String),
    /// `\purpose`
    ShowPurpose,
    /// `\format F`
    SetFormat(Format),
    /// `\format`
    ShowFormat,
    /// `\timing on`, `\timing off`
    SetTiming(Timing),
    /// `\timing`
    ToggleTiming,
    /// `\?`
    Help,
    /// `\q`
    Quit,
}

/// Whether the shell goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Read the next line.
    Continue,
    /// Leave.
    Quit,
}

impl Meta {
    /// Reads a line that begins with `\`.
    pub(super) fn parse(line: &str) -> Result<Self, ShellError> {
        let line = line.trim().trim_end_matches(';').trim_end();
        let (command, argument) = match line.split_once(char::is_whitespace) {
            Some((command, argument)) => (command, Some(argument.trim())),
            None => (line, None),
        };
        let meta = match (command, argument) {
            ("\\d", None) => Self::Tables,
            ("\\d", Some(name)) => Self::Describe(TableName::parse(name)?),
            ("\\l", None) => Self::Catalogs,
            ("\\agreements", None) => Self::Agreements,
            ("\\purpose", None) => Self::ShowPurpose,
            ("\\purpose", Some(purpose)) => Self::StatePurpose(unquote(purpose).to_owned()),
            ("\\format", None) => Self::ShowFormat,
            ("\\format", Some(name)) => Self::SetFormat(Format::from_str(name, true).map_err(|_| {
                ShellError::Usage(format!("`{name}` is not a format: choose table, csv, json or arrow"))
            })?),
            ("\\timing", None) => Self::ToggleTiming,
            ("\\timing", Some("on")) => Self::SetTiming(Timing::On),
            ("\\timing", Some("off")) => Self::SetTiming(Timing::Off),
            ("\\?" | "\\h" | "\\help", None) => Self::Help,
            ("\\q" | "\\quit", None) => Self::Quit,
            _ => return Err(ShellError::Usage(format!("there is no command `{line}`: see `\\?`"))),
        };
        Ok(meta)
    }

    /// Does it.
    pub(super) async fn execute(self, session: &mut Session<'_>) -> Result<Flow, ShellError> {
        match self {
            Self::Tables => session.show(Ask::Tables(all_tables())).await?,
            Self::Describe(name) => describe(session, &name).await?,
            Self::Catalogs => session.show(Ask::Catalogs).await?,
            Self::Agreements => session.show(Ask::Statement("SHOW AGREEMENTS".to_owned())).await?,
            Self::StatePurpose(purpose) => {
                session.state_purpose(&purpose).await?;
                writeln!(session.console.err, "purpose is `{purpose}`")?;
            }
            Self::ShowPurpose => match &session.purpose {
                Some(purpose) => writeln!(session.console.err, "purpose is `{purpose}`")?,
                None => writeln!(session.console.err, "no purpose is stated in this shell")?,
            },
            Self::SetFormat(format) => session.format = format,
            Self::ShowFormat => {
                let value = session.format.to_possible_value();
                writeln!(
                    session.console.err,
                    "format is {}",
                    value.as_ref().map_or("unnamed", |value| value.get_name())
                )?;
            }
            Self::SetTiming(timing) => set_timing(session, timing)?,
            Self::ToggleTiming => set_timing(session, session.timing.other())?,
            Self::Help => session.console.err.write_all(HELP.as_bytes())?,
            Self::Quit => return Ok(Flow::Quit),
        }
        Ok(Flow::Continue)
    }
}

fn set_timing(session: &mut Session<'_>, timing: Timing) -> Result<(), ShellError> {
    session.timing = timing;
    let word = match timing {
        Timing::On => "on",
        Timing::Off => "off",
    };
    Ok(writeln!(session.console.err, "timing is {word}")?)
}

fn all_tables() -> CommandGetTables {
    CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: None,
        table_name_filter_pattern: None,
        table_types: Vec::new(),
        include_schema: false,
    }
}

/// The words of an argument that may stand in single quotes, as in SQL.
fn unquote(text: &str) -> &str {
    text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(text)
}

async fn describe(session: &mut Session<'_>, name: &TableName) -> Result<(), ShellError> {
    session.check_format()?;
    let mut entries = Vec::new();
    for batch in session.collect(Ask::Tables(name.request())).await? {
        entries.extend(TableEntry::read(&batch)?.into_iter().filter(|entry| name.names(entry)));
    }
    if entries.is_empty() {
        return Err(ShellError::Usage(
            "there is no such table, or you may not know of it: `\\d` lists tables".to_owned(),
        ));
    }
    if session.format == Format::Table {
        for entry in &entries {
            writeln!(session.console.out, "{}", entry.title())?;
            session.print(&[entry.describe(TableColumn::Hidden)?])?;
        }
        return Ok(());
    }
    let batches = entries.iter().map(|entry| entry.describe(TableColumn::Shown)).collect::<Result<Vec<_>, _>>()?;
    session.print(&batches)
}

impl Session<'_> {
    /// Prints batches that the shell made itself.
    fn print(&mut self, batches: &[RecordBatch]) -> Result<(), ShellError> {
        let Some(first) = batches.first() else { return Ok(()) };
        let mut renderer = Renderer::new(self.format, &first.schema())?;
        batches.iter().try_for_each(|batch| renderer.write(batch, self.console.out))?;
        renderer.finish(self.console.out)?;
        Ok(self.console.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_command() {
        let parse = |line: &str| Meta::parse(line).unwrap();
        assert_eq!(parse("\\d"), Meta::Tables);
        assert_eq!(
            parse("  \\d  uva.wages.personen ; "),
            Meta::Describe(TableName::parse("uva.wages.personen").unwrap())
        );
        assert_eq!(parse("\\l"), Meta::Catalogs);
        assert_eq!(parse("\\agreements"), Meta::Agreements);
        assert_eq!(parse("\\purpose wage gap"), Meta::StatePurpose("wage gap".into()));
        assert_eq!(parse("\\purpose 'study'"), Meta::StatePurpose("study".into()));
        assert_eq!(parse("\\purpose"), Meta::ShowPurpose);
        assert_eq!(parse("\\format JSON"), Meta::SetFormat(Format::Json));
        assert_eq!(parse("\\format"), Meta::ShowFormat);
        assert_eq!(parse("\\timing"), Meta::ToggleTiming);
        assert_eq!(parse("\\timing off"), Meta::SetTiming(Timing::Off));
        assert_eq!(parse("\\?"), Meta::Help);
        assert_eq!(parse("\\q"), Meta::Quit);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(Meta::parse("\\frobnicate now").unwrap_err().to_string().contains("`\\frobnicate now`"));
        assert!(Meta::parse("\\format xml").unwrap_err().to_string().contains("choose table, csv, json or arrow"));
        assert!(Meta::parse("\\l extra").is_err());
    }
}
