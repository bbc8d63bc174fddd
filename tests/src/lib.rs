//! What tests and measurements share: the TPC-H federation. The tests themselves are in `suite/`.

pub mod tpch;
