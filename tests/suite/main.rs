//! Tests of the whole system: SQL over a federation in one process and real sockets, and the order of the code itself.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod federation;
mod generated;
mod tidy;
mod wages;
