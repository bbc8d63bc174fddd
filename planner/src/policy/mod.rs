//! Agreements as values: what a steward grants, to whom, for which purpose, and how that is written down.
//! Reading them from SQL text is [`crate::sql`]; deciding about a plan with them is not here.

pub mod agreement;
pub mod clause;
pub mod hierarchy;
pub mod instant;
pub mod place;
pub(crate) mod print;
pub mod purpose;
pub mod relation;
pub mod release;
pub mod requester;
pub mod support;

pub use agreement::{Agreement, Grantee, NotApplicable, NumberedClause};
pub use clause::{
    Archetype, BudgetClause, BudgetLimit, Clause, ClauseRef, Comparison, FilterClause, JoinClause, JoinPartner,
    MaskClause, Obligation, ObligeClause, Period, RowsClause, ShipClause, ShipWhat, TimeUnit,
};
pub use hierarchy::{Hierarchy, HierarchyError};
pub use instant::UtcMillis;
pub use place::PlaceRef;
pub use relation::{ColumnRef, Columns, FromRelation, JoinKey, JoinKind, JoinStep, TableRef};
pub use release::{
    Argument, Decimal, DistinctInput, Minimum, MinimumScope, Outcome, ReleaseClause, ReleaseWhat, ReleasedAggregates,
    ReleasedFunction,
};
pub use requester::Requester;
pub use support::{Unimplemented, refuse_unimplemented};
