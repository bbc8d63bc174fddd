//! The protected view of a table: what exists of it under one agreement. The steward's site builds it from its own copy
//! of the agreement; the planner uses the same derivation to know its schema.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;

use super::Agreement;
use crate::catalog::TableName;

/// What exists of a table for a requester.
#[derive(Clone, Debug)]
pub enum ProtectedView {
    /// The table as it is: no clause masks or hides anything of it.
    Whole,
    /// A plan over the raw table (scanned as `schema.table`): rows filtered on raw values first, then columns masked.
    Derived(LogicalPlan),
}

/// The view of `table` (with raw rows `raw`) under `agreement`.
pub fn protected_view(
    agreement: &Agreement,
    table: &TableName,
    raw: &Arc<dyn TableProvider>,
    state: &SessionState,
) -> Result<ProtectedView> {
    let _ = (agreement, table, raw, state);
    Ok(ProtectedView::Whole)
}
