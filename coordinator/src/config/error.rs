//! What can be wrong with a configuration. Every message names the file, and the line or the key.

use std::path::PathBuf;

use dynamos_proto::settings::SettingsError;
use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not this configuration's TOML.
    #[error(transparent)]
    File(#[from] SettingsError),
    /// Keys that are fine by themselves do not go together.
    #[error("`{path}`: {problem}")]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// Which key, and what to do about it.
        problem: String,
    },
}
