//! What stands between raw rows and everything that a plan can do with them: the protected view of a steward's table, and
//! the released result of a release point. Both are derived here, from this place's own agreements, and end in a barrier.

mod barrier;
mod decided_table;
mod decision;
mod in_order;
mod inside;
mod leak_proof;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use barrier::BarrierExec;
pub(crate) use decided_table::DecidedTable;
pub(crate) use decision::DecisionExec;
pub(crate) use in_order::InOrderExec;
pub(crate) use table::{ProtectedTable, PushDown};
