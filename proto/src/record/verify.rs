//! Reading a file of records from its first line to its last, each checked against the one before.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::error::RecordError;
use super::line::Tip;

/// What a verified file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Complete records.
    pub records: u64,
    /// The hash of the last one, in hexadecimal digits; zeros if there is none.
    pub hash: String,
    /// Bytes after the last complete record: the beginning of a line whose writer was killed, which nobody acted on.
    pub incomplete_bytes: u64,
}

/// Verifies a file of records without changing it.
///
/// # Errors
///
/// [`RecordError::Line`] names the first line that is not as it was written.
pub fn verify(path: &Path) -> Result<Verified, RecordError> {
    read(path, |_: IgnoredAny| ())
}

/// Verifies a file of records without changing it, and shows every record to `visit` once it has been checked, in order.
///
/// # Errors
///
/// [`RecordError::Line`] names the first line that is not as it was written, or is not what `visit` takes. Those before it
/// have been shown.
pub fn read<T: DeserializeOwned>(path: &Path, visit: impl FnMut(T)) -> Result<Verified, RecordError> {
    let failed = |source| RecordError::File { path: path.to_owned(), action: "opened", source };
    let file = File::open(path).map_err(failed)?;
    let end = walk(&file, path, visit)?;
    Ok(Verified { records: end.tip.number, hash: end.tip.hash, incomplete_bytes: end.incomplete_bytes })
}

/// Where a file's complete lines end.
pub(super) struct End {
    pub(super) tip: Tip,
    /// Length of all complete lines.
    pub(super) bytes: u64,
    pub(super) incomplete_bytes: u64,
}

/// Shows every record of a file to `visit`, in order.
pub(super) fn walk<T: DeserializeOwned>(
    file: &File,
    path: &Path,
    mut visit: impl FnMut(T),
) -> Result<End, RecordError> {
    let mut reader = BufReader::new(file);
    let mut end = End { tip: Tip::start(), bytes: 0, incomplete_bytes: 0 };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        let length = read.map_err(|source| RecordError::File { path: path.to_owned(), action: "read", source })? as u64;
        let Some(complete) = line.strip_suffix(b"\n") else {
            end.incomplete_bytes = length;
            return Ok(end);
        };
        let followed = end.tip.follow(complete);
        let (record, tip) = followed.map_err(|problem| RecordError::Line {
            path: path.to_owned(),
            line: end.tip.number + 1,
            problem,
        })?;
        visit(record);
        end.tip = tip;
        end.bytes += length;
    }
}
