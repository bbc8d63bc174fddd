//! What can be wrong with a configuration. Every message names the file, and the line or the key.

use std::path::PathBuf;

use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`; check that it exists and is readable")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not this configuration's TOML; the text tells the line.
    #[error("`{path}`: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's words, with the line.
        problem: String,
    },
    /// Keys that are fine by themselves do not go together.
    #[error("`{path}`: {problem}")]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// Which key, and what to do about it.
        problem: String,
    },
}
