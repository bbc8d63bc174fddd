//! Tests of the whole system: SQL over a federation in one process and real sockets, faults of real processes,
//! and the order of the code itself.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and what it prints is shown then"
)]

mod agreement_writes;
mod agreements_page;
mod archive;
mod attack;
mod brought;
mod budgets;
mod change;
mod configuration_page;
mod employers;
mod federation;
mod generated;
mod golden;
mod grouping_sets;
mod hashes;
mod hidden_rows;
mod interchange;
mod joins;
mod ledgers;
mod load;
mod naive;
mod policies;
mod processes;
mod recording;
mod relations;
mod releases;
mod requests;
mod roles;
mod rules;
mod simulate;
mod spans;
mod sums;
mod thresholds;
mod tidy;
mod tpch;
mod wages;
