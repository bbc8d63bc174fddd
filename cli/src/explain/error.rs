//! Why a query is not explained. A denial is told as EXPLAIN POLICY reports it, any other refusal as `dynamos sql` would tell
//! it of the same query; a file that cannot be used is named.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use dynamos_planner::sql::Position;
use dynamos_proto::settings::SettingsError;
use dynamos_proto::status::{Code, ServiceError};
use thiserror::Error;

use crate::shell::ShellError;

/// Why a query is not explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The agreements do not allow the query: the report on it.
    #[error("the agreements do not allow this query")]
    Denied(String),
    /// The query is wrong in itself, or cannot be answered now: what the coordinator would answer.
    #[error("{0}")]
    Refused(ServiceError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] SettingsError),
    /// A file says something that it cannot say.
    #[error("`{}`: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// Agreements in a file are not such as a site would put in force.
    #[error("{}", lines(.0))]
    Agreements(Vec<Flawed>),
    /// A parameter is not of the type that the query takes.
    #[error("parameter `${number}`: {problem}")]
    Parameter {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// A place that does not answer is none of the catalog's.
    #[error("`{0}` is no place of the catalog, so it cannot be down")]
    Down(String),
    /// The purposes that come with this release cannot be used.
    #[error("the hierarchy of purposes is broken")]
    Purposes(#[from] dynamos_planner::policy::HierarchyError),
}

/// What is wrong in a file, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Flawed {
    /// The file.
    pub path: PathBuf,
    /// The line and column.
    pub position: Position,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, position, problem } = self;
        write!(f, "`{}:{}:{}`: {problem}", path.display(), position.line, position.column)
    }
}

fn lines(flaws: &[Flawed]) -> String {
    flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ExplainError {
    pub(super) fn content(path: impl Into<PathBuf>, problem: impl ToString) -> Self {
        Self::Content { path: path.into(), problem: problem.to_string() }
    }

    /// Writes the error as the shell writes its own.
    ///
    /// # Errors
    ///
    /// When `err` cannot be written.
    pub fn report(self, err: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Denied(ref report) => write!(err, "error: {}: {self}\n{report}", Code::Denied.as_str()),
            Self::Refused(refusal) => ShellError::Server(refusal).report(err),
            Self::File(SettingsError::Unreadable { ref source, .. }) => writeln!(err, "error: {self}: {source}"),
            Self::Agreements(flaws) => flaws.iter().try_for_each(|flaw| writeln!(err, "error: {flaw}")),
            Self::Purposes(ref source) => writeln!(err, "error: {self}: {source}"),
            Self::File(SettingsError::Malformed { .. })
            | Self::Content { .. }
            | Self::Parameter { .. }
            | Self::Down(_) => writeln!(err, "error: {self}"),
        }
    }
}
