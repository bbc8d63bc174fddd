//! The edges of the graph while they run. The reader pulls: it opens the stream at the place that has the rows, and
//! HTTP/2 keeps the sender from running ahead. Rows of an edge within one place never leave the process.

mod channels;
mod client;
mod hash_key;
mod table;

pub(crate) use channels::PeerChannels;
pub(crate) use client::endpoint_error;
pub(crate) use hash_key::hash_keys;
pub(crate) use table::exchange_table;
