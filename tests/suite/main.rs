//! Tests of the whole system: SQL over a federation in one process and real sockets, and the order of the code itself.

#![expect(clippy::print_stdout, reason = "tests say what they do with real data")]

mod federation;
mod tidy;
mod wages;
