//! Why a file of records cannot be used.

use std::path::PathBuf;

use thiserror::Error;

/// What is wrong with one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineProblem {
    /// Its own hash is not that of its text.
    #[error("its hash does not fit its text, so it was changed")]
    Hash,
    /// It has not the number that follows.
    #[error("it has number {found}, so lines are missing or were put in")]
    Number {
        /// The number that it has.
        found: u64,
    },
    /// It does not continue the line before it.
    #[error("it does not continue the line before it")]
    Previous,
    /// It has no form of a line.
    #[error("it is no record: {0}")]
    Form(String),
}

/// Why a file of records cannot be used.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file or its folder cannot be read or written.
    #[error("the record file `{path}` cannot be {action}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried: `opened`, `read`, `written`.
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process writes it.
    #[error("the record file `{path}` is in use; stop the other process first")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A line is not as it was written.
    #[error("line {line} of the record file `{path}`: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// A record has no JSON.
    #[error("the record cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// Nothing is written any more, because what a failed write left on the disk is unknown until the file is opened again.
    #[error("the record file `{path}` cannot be written: {reason}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// The first failure.
        reason: String,
    },
}
