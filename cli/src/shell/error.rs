//! Every way in which the shell can fail, and how a failure is shown to a person.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use dynamos_proto::status::ServiceError;
use thiserror::Error;
use tonic::Status;

use super::target::TargetError;

/// A failure of the shell.
#[derive(Debug, Error)]
pub(crate) enum ShellError {
    /// The arguments do not say where to connect.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No connection.
    #[error("cannot connect to `{uri}`")]
    Connect {
        /// The server.
        uri: String,
        /// What the transport says.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server answered with an error.
    #[error("{code}: {0}", code = .0.code)]
    Server(ServiceError),
    /// The server answered with something that is not Flight SQL.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// A result cannot be decoded or shown.
    #[error("cannot read the result")]
    Arrow(#[from] ArrowError),
    /// Output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// A script cannot be read.
    #[error("cannot read `{}`", path.display())]
    Script {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The line editor failed.
    #[error("cannot read from the terminal")]
    Terminal(#[from] rustyline::error::ReadlineError),
    /// A `\` command or a setting that does not exist or does not fit.
    #[error("{0}")]
    Usage(String),
    /// Ctrl-C.
    #[error("cancelled")]
    Cancelled,
}

impl ShellError {
    /// What the server says can be done about it.
    pub(super) fn hint(&self) -> Option<&str> {
        match self {
            Self::Server(error) => error.hint.as_deref(),
            _ => None,
        }
    }

    /// Whether whoever reads the output has gone, as in `dynamos sql … | head`.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Writes the error, its causes and its hint.
    pub(crate) fn report(&self, err: &mut dyn Write) -> io::Result<()> {
        if matches!(self, Self::Cancelled) {
            return writeln!(err, "cancelled");
        }
        write!(err, "error: {self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(err, ": {error}")?;
            cause = error.source();
        }
        writeln!(err)?;
        match self.hint() {
            Some(hint) => writeln!(err, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<Status> for ShellError {
    fn from(status: Status) -> Self {
        Self::Server(ServiceError::from_status(&status))
    }
}

impl From<FlightError> for ShellError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => Self::from(*status),
            FlightError::Arrow(error) => Self::Arrow(error),
            other => Self::Protocol(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use dynamos_proto::status::Code;

    use super::*;

    #[test]
    fn reports_code_message_and_hint_once_each() {
        let sent = ServiceError::new(Code::Denied, "raw rows stay at `vu`").with_hint("aggregate them");
        let mut text = Vec::new();
        ShellError::from(Status::from(sent)).report(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "error: DENIED: raw rows stay at `vu`\nhint: aggregate them\n");
    }

    #[test]
    fn reports_causes() {
        let mut text = Vec::new();
        ShellError::from(io::Error::other("disk full")).report(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "error: cannot write the output: disk full\n");
    }
}
