//! Agreements and what follows from them: the clauses as values, which agreement governs a query, the protected views,
//! the release points, and the check of every edge of a placed graph.

mod acting;
pub mod agreement;
mod assemble;
mod brought;
pub mod budget;
pub mod carried;
pub mod change;
pub mod check;
mod check_release;
pub mod clause;
pub mod compliant;
pub mod comply;
pub mod conditions;
pub mod decide;
pub mod decide_sets;
pub mod decided;
pub mod denial;
mod failing;
mod flow;
mod flow_join;
pub mod govern;
mod grouping;
mod hashing;
pub mod held;
pub mod hierarchy;
pub mod instant;
mod joined_rows;
mod joining;
pub mod known;
mod left_join;
mod lists;
pub mod matching;
pub mod numbers;
mod oblige;
mod part;
pub mod place;
mod point_rules;
pub(crate) mod print;
pub mod purpose;
pub mod relation;
pub mod release;
pub mod release_plan;
pub mod requester;
pub mod resolve;
mod seen;
mod several;
mod sides;
mod states;
mod subject;
pub mod support;
mod tied;
mod total;
pub mod view;
mod whole;
mod within;
pub mod word;

pub(crate) use acting::{Acts, view_clauses};
pub use agreement::{Agreement, Grantee, NotApplicable, NumberedClause};
pub(crate) use brought::{brought_by, brought_in, is_brought};
pub use budget::release_points;
pub use carried::{Carried, CarriedRows};
pub use change::{reads_the_same, under_version};
pub(crate) use check::cite;
pub use check::{CheckInput, EdgeVerdict, PlaceFacts, Refusal, Viewpoint, check_graph};
pub use clause::{
    Archetype, BudgetClause, BudgetLimit, Clause, ClauseRef, Comparison, FilterClause, JoinClause, JoinPartner,
    MaskClause, Obligation, ObligeClause, Period, RowsClause, ShipClause, ShipWhat, TimeUnit,
};
pub use compliant::{BroughtPlan, ClauseChoice, CompliantPlan, ProtectedPart, Reader};
pub use comply::comply;
pub use conditions::{EntityMinimum, ReleaseConditions, conditions, largest_minimum};
pub use decide::{
    BelowMinimum, Cell, CounterRule, DecisionRules, DominanceRule, Entities, Fate, KEYS_MAX, Lax, Part, decide,
};
pub use decide_sets::{SetCell, decide_sets};
pub use decided::GroupDecision;
pub use denial::{Denial, Reason, Stop};
pub use govern::{Governing, Policy, raw_tables};
pub(crate) use hashing::SideColumns;
pub use hashing::{HashListing, sharers};
pub use held::{AgreementSet, HeldAgreement};
pub use hierarchy::{Hierarchy, HierarchyError};
pub use instant::{DAY_MS, UtcMillis, day_number};
pub use known::{KnownNames, refuse_unknown};
pub use matching::{Covered, RelationShape};
pub(crate) use matching::{in_clause, paired_key};
pub use numbers::{Renumbered, refuse_renumbered, retired};
pub use oblige::{Obliged, obligations};
pub use place::PlaceRef;
pub use purpose::Purposes;
pub use relation::{ColumnRef, Columns, FromRelation, JoinKey, JoinKind, JoinStep, TableRef};
pub use release::{
    Argument, Decimal, DistinctInput, Minimum, MinimumScope, Outcome, ReleaseClause, ReleaseWhat, ReleasedAggregates,
    ReleasedFunction,
};
pub use release_plan::{Owners, ReleasePlan, Values, WHOSE, Whose};
pub use requester::Requester;
pub use resolve::{Unresolved, refuse_unresolved};
pub use sides::Side;
pub use subject::RawTables;
pub use support::{Unimplemented, refuse_unimplemented};
pub use view::{EntityKey, ProtectedView, RawTable, protected_view, view_within};
pub(crate) use within::{releases_under_condition, within, within_columns};
pub use word::{Flaw, NameKind, Word};
