//! Agreements and what follows from them: the clauses as values, which agreement governs a query, the protected views,
//! the release points, and the check of every edge of a placed graph.

pub mod agreement;
pub mod check;
pub mod clause;
pub mod held;
pub mod hierarchy;
pub mod instant;
pub mod place;
pub(crate) mod print;
pub mod purpose;
pub mod relation;
pub mod release;
pub mod release_plan;
pub mod requester;
pub mod support;
pub mod view;

pub use agreement::{Agreement, Grantee, NotApplicable, NumberedClause};
pub use check::{CheckInput, EdgeVerdict, PlaceFacts, Refusal, Viewpoint, check_graph};
pub use clause::{
    Archetype, BudgetClause, BudgetLimit, Clause, ClauseRef, Comparison, FilterClause, JoinClause, JoinPartner,
    MaskClause, Obligation, ObligeClause, Period, RowsClause, ShipClause, ShipWhat, TimeUnit,
};
pub use held::{AgreementSet, HeldAgreement};
pub use hierarchy::{Hierarchy, HierarchyError};
pub use instant::UtcMillis;
pub use place::PlaceRef;
pub use relation::{ColumnRef, Columns, FromRelation, JoinKey, JoinKind, JoinStep, TableRef};
pub use release_plan::{complete_plan, conditions, merge_plan, partial_plan, ReleaseConditions};
pub use release::{
    Argument, Decimal, DistinctInput, Minimum, MinimumScope, Outcome, ReleaseClause, ReleaseWhat, ReleasedAggregates,
    ReleasedFunction,
};
pub use requester::Requester;
pub use support::{Unimplemented, refuse_unimplemented};
pub use view::{ProtectedView, protected_view};
