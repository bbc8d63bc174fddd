//! What a place has admitted and refused, durably, and what of its agreements' budgets is spent. The record of a permit is
//! on the disk before any row of its query leaves; a restart finds the budgets as they were.

mod budgets;
mod entry;
mod store;

#[cfg(test)]
mod tests;

pub(crate) use budgets::{Charge, Demand};
pub(crate) use entry::Subject;
pub(crate) use store::Ledger;
