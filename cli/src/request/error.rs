//! Why a request is not asked, or not answered.

use std::io::{self, Write};
use std::path::PathBuf;

use dynamos_proto::settings::SettingsError;
use thiserror::Error;

use crate::shell::ShellError;

/// Why a request is not answered.
#[derive(Debug, Error)]
pub enum RequestError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] SettingsError),
    /// The file is not a request.
    #[error("`{}` is no request: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the JSON parser says.
        problem: String,
    },
    /// The request has no meaning in SQL of this system.
    #[error("the request cannot be asked: {0}")]
    Untranslatable(String),
    /// The server refused it, or cannot be reached.
    #[error(transparent)]
    Shell(Box<ShellFailure>),
    /// Some of several questions were refused; why, was said of each.
    #[error("{unanswered} of {asked} questions were not answered")]
    Unanswered {
        /// How many.
        unanswered: usize,
        /// Of how many.
        asked: usize,
    },
    /// Output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// What the shell reported, kept as it is.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ShellFailure(pub(super) ShellError);

impl RequestError {
    /// Writes the error as the shell writes its own.
    ///
    /// # Errors
    ///
    /// When `err` cannot be written.
    pub fn report(&self, err: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Shell(failure) => failure.0.report(err),
            Self::File(SettingsError::Unreadable { source, .. }) => writeln!(err, "error: {self}: {source}"),
            Self::Output(source) => writeln!(err, "error: {self}: {source}"),
            Self::File(SettingsError::Malformed { .. })
            | Self::Malformed { .. }
            | Self::Untranslatable(_)
            | Self::Unanswered { .. } => writeln!(err, "error: {self}"),
        }
    }
}
