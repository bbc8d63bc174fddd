//! One line: how a record is sealed into it, and how it is checked against the line before.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::LineProblem;
use crate::sign::sha256_hex;

/// What stands before a line's own hash; the hash is of all that stands before this.
const BEFORE_HASH: &str = r#","hash":""#;
/// What stands after it.
const AFTER_HASH: &str = r#""}"#;
/// Hexadecimal digits of a hash.
const DIGITS: usize = 64;

/// The end of a chain, to which the next line is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    /// Lines so far.
    pub(super) number: u64,
    /// The hash of the last one, in hexadecimal digits.
    pub(super) hash: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<T> {
    number: u64,
    previous: String,
    record: T,
    #[serde(rename = "hash")]
    _hash: String,
}

impl Tip {
    /// Of an empty file.
    pub(super) fn start() -> Self {
        Self { number: 0, hash: "0".repeat(DIGITS) }
    }

    /// The line that holds a record after this tip, with its line feed, and the tip after it.
    pub(super) fn seal(&self, record: &impl Serialize) -> Result<(String, Self), serde_json::Error> {
        let number = self.number + 1;
        let record = serde_json::to_string(record)?;
        let mut line = format!(r#"{{"number":{number},"previous":"{}","record":{record}"#, self.hash);
        let hash = sha256_hex(line.as_bytes());
        line.push_str(BEFORE_HASH);
        line.push_str(&hash);
        line.push_str(AFTER_HASH);
        line.push('\n');
        Ok((line, Self { number, hash }))
    }

    /// Checks the line (without its line feed) that should come after this tip; gives its record and the tip after it.
    pub(super) fn follow<T: DeserializeOwned>(&self, line: &[u8]) -> Result<(T, Self), LineProblem> {
        let text = std::str::from_utf8(line).map_err(|_| LineProblem::Hash)?;
        let sealed = text.strip_suffix(AFTER_HASH).and_then(|text| {
            let (before, hash) = text.split_at_checked(text.len().checked_sub(DIGITS)?)?;
            Some((before.strip_suffix(BEFORE_HASH)?, hash))
        });
        let (before, hash) = sealed.ok_or_else(|| LineProblem::Form("it does not end with its hash".to_owned()))?;
        if sha256_hex(before.as_bytes()) != hash {
            return Err(LineProblem::Hash);
        }
        let read: Line<T> = serde_json::from_str(text).map_err(|error| LineProblem::Form(error.to_string()))?;
        if read.number != self.number + 1 {
            return Err(LineProblem::Number { found: read.number });
        }
        if read.previous != self.hash {
            return Err(LineProblem::Previous);
        }
        Ok((read.record, Self { number: read.number, hash: hash.to_owned() }))
    }
}
