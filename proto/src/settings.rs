//! What the roles' configuration files have in common: TOML, errors in one line, certificates. What a key means is said by
//! the role that reads it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why a file of settings cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file is not there or may not be read.
    #[error("cannot read `{path}`; check that it exists and is readable")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML of the wanted form.
    #[error("`{path}`: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's words, with the line.
        problem: String,
    },
}

/// The text of a file.
///
/// # Errors
///
/// [`SettingsError::Unreadable`], which names the file.
pub fn text(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })
}

/// Reads a text as the TOML that stands in `path`.
///
/// # Errors
///
/// [`SettingsError::Malformed`], which names the file and the line.
pub fn read<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, SettingsError> {
    parse(text).map_err(|problem| SettingsError::Malformed { path: path.to_owned(), problem })
}

/// Reads TOML. The error is what the parser says, with the line but without an excerpt of the text.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| format!("line {}: ", before.matches('\n').count() + 1)).unwrap_or_default();
        format!("{line}{}", error.message())
    })
}

/// `[tls]`: by which certificate a place is known to others; its URI SAN is `spiffe://dynamos/place/<name>`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Certificates of the authority that vouches for places, PEM.
    pub ca: PathBuf,
}
