//! What an edge carries, for reports: whose rows, of which tables, chosen by which conditions, or the groups of which release
//! point. Nothing is decided by it; the clauses beside it are found in [`super::check`].

use datafusion::prelude::Expr;
use dynamos_proto::ids::{ReleaseId, SiteId};

/// What an edge carries of one steward's rows, or of one release point.
#[derive(Clone, Debug, PartialEq)]
pub enum Carried {
    /// Protected rows.
    Rows(CarriedRows),
    /// Partials for a release point, made of protected rows.
    Partials(ReleaseId, CarriedRows),
    /// Rows that a RELEASE ROWS clause released at the scan, or something that was made of them.
    Released(CarriedRows),
    /// The groups of a release point, or something that was made of them.
    Groups(ReleaseId),
}

/// Rows of one steward.
#[derive(Clone, Debug, PartialEq)]
pub struct CarriedRows {
    /// Whose.
    pub steward: SiteId,
    /// Their tables, as they are joined.
    pub relation: String,
    /// The conditions that chose them, over the tables' columns.
    pub conditions: Vec<Expr>,
    /// The columns by which lists chose them.
    pub listed: Vec<String>,
}
