//! What a place has admitted and refused, durably, and what of its agreements' budgets is spent; at a steward also what was
//! given, and every version of its agreements. The record of a permit is on the disk before any row of its query leaves, that
//! of what was given before the reader learns that there is no more; a restart finds the budgets as they were.

mod agreement_change;
mod budgets;
mod entry;
mod store;

#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod tests;

pub(crate) use agreement_change::AgreementChange;
pub(crate) use budgets::{Charge, Demand};
pub(crate) use entry::{Edge, Given, Subject};
pub(crate) use store::{Ledger, Recording};
