//! How much one query, and all queries together, may take at a place.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::byte_size::ByteSize;

/// Limits of a place. Each is enforced; reaching one is an error of the query, never of the process.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory that the operators of one query may hold; beyond it they spill to disk where they can.
    pub memory_per_query: ByteSize,
    /// No query runs longer here than this, whatever its graph says.
    #[serde(deserialize_with = "duration")]
    pub query_deadline: Duration,
    /// Fragments that may be accepted and unfinished at once; further queries are refused and may be tried again.
    pub concurrent_fragments: usize,
    /// Threads of the engine, and partitions that it plans for.
    pub target_partitions: usize,
    /// Rows that one fragment may send.
    pub output_rows: u64,
    /// Bytes of rows that one fragment may send.
    pub output_bytes: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_per_query: ByteSize(512 << 20),
            query_deadline: Duration::from_secs(60),
            concurrent_fragments: 256,
            target_partitions: std::thread::available_parallelism().map(usize::from).unwrap_or(1),
            output_rows: 100_000_000,
            output_bytes: ByteSize(16 << 30),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no duration, write one such as `60s`")))
}
