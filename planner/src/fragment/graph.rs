//! The placed query as a graph of fragments: which place runs what, who receives what, where protected data becomes
//! released. This is the value that is signed, checked edge by edge and sent to every site that takes part.
//!
//! ```text
//!  f2 @uva  Partial(r0) ── partials ──┐
//!                                     ├─► f1 @surf  $release.r0 ── released ──► f0 @coordinator ──► requester
//!  f3 @vu   Partial(r0) ── partials ──┘
//! ```

use std::collections::BTreeMap;

use datafusion::logical_expr::LogicalPlan;
use dynamos_proto::ids::{FragmentId, QueryId, ReleaseId, SiteId};

use super::KeySet;
use crate::policy::MinimumScope;

/// Schema name of the leaves that read another fragment's output.
pub const EXCHANGE: &str = "$exchange";
/// Schema name of the leaves that read a release point's output.
pub const RELEASE: &str = "$release";

/// A whole placed query.
#[derive(Clone, Debug)]
pub struct FragmentGraph {
    /// The query, unique in the federation.
    pub query: QueryId,
    /// Counts re-plans of one query.
    pub attempt: u32,
    /// The purpose that the requester declared.
    pub purpose: String,
    /// The catalog version that names were resolved against.
    pub catalog_version: u64,
    /// Fragments by number; fragment 0 gives the requester's rows.
    pub fragments: Vec<Fragment>,
    /// Release points by number.
    pub releases: Vec<ReleasePoint>,
    /// Where the places listen.
    pub endpoints: BTreeMap<SiteId, String>,
    /// The one agreement of each steward that governs the query.
    pub governing: BTreeMap<SiteId, AgreementRef>,
    /// Planning time, milliseconds since 1970-01-01 UTC.
    pub planned_at_ms: i64,
    /// No site acts on the graph after this instant, milliseconds since 1970-01-01 UTC.
    pub expires_at_ms: i64,
    /// SHA-256 of the requester's token.
    pub token_hash: Vec<u8>,
    /// The requester's organisation. Stewards compare it with the token; places without the token rely on them.
    pub organisation: String,
}

impl FragmentGraph {
    /// The fragment with this number.
    pub fn fragment(&self, id: FragmentId) -> Option<&Fragment> {
        self.fragments.iter().find(|fragment| fragment.id == id)
    }

    /// The release point with this number.
    pub fn release(&self, id: ReleaseId) -> Option<&ReleasePoint> {
        self.releases.iter().find(|release| release.id == id)
    }

    /// The fragments that one place runs.
    pub fn at<'a>(&'a self, place: &'a SiteId) -> impl Iterator<Item = &'a Fragment> {
        self.fragments.iter().filter(move |fragment| &fragment.place == place)
    }

    /// Every place that runs a fragment, each once, in order of name.
    pub fn places(&self) -> Vec<SiteId> {
        let mut places: Vec<SiteId> = self.fragments.iter().map(|fragment| fragment.place.clone()).collect();
        places.sort();
        places.dedup();
        places
    }

    /// The versions that the query rests on, as spans and log lines show them: catalog, then each steward's agreement.
    pub fn basis(&self) -> String {
        let agreements =
            self.governing.iter().map(|(steward, one)| format!(" {steward}/{}@{}", one.agreement, one.epoch));
        std::iter::once(format!("catalog@{}", self.catalog_version)).chain(agreements).collect()
    }
}

/// An agreement in one of its versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgreementRef {
    /// The agreement's name at its steward.
    pub agreement: String,
    /// The version.
    pub epoch: u64,
}

/// The part of a plan that one place runs.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// Its number; 0 is the root.
    pub id: FragmentId,
    /// Who runs it.
    pub place: SiteId,
    /// Who reads its output; none for the root, whose rows go to the requester.
    pub consumer: Option<FragmentId>,
    /// What to run. Leaves: `site.schema.table`, `$exchange.fN`, `$release.rN`.
    pub plan: LogicalPlan,
    /// The release point whose partial aggregates the site makes of the plan's rows before they leave.
    pub partial_of: Option<ReleaseId>,
}

/// The one node on a path from protected rows to the requester where a RELEASE clause applies.
#[derive(Clone, Debug)]
pub struct ReleasePoint {
    /// Its number.
    pub id: ReleaseId,
    /// The fragment that reads its output, and whose place therefore executes it.
    pub fragment: FragmentId,
    /// The clause of each steward whose data is in it.
    pub clauses: Vec<ReleaseClauseRef>,
    /// What is computed over the input's columns.
    pub shape: ReleaseShape,
    /// What is aggregated.
    pub input: ReleaseInput,
    /// Who decides which groups are released: its place over all of them, or each steward over its own, before they leave.
    pub scope: MinimumScope,
}

/// The clause of one steward that covers a release point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseClauseRef {
    /// Whose clause.
    pub steward: SiteId,
    /// Of which agreement.
    pub agreement: AgreementRef,
    /// The clause's number in it.
    pub clause: u32,
}

/// Keys, aggregates and entities of a release point, all as columns of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseShape {
    /// The first so many input columns are the grouping keys.
    pub keys: usize,
    /// The grouping sets, which may repeat; empty where groups are by all keys, once.
    pub sets: Vec<KeySet>,
    /// The released values, in order.
    pub aggregates: Vec<ReleasedAggregate>,
    /// Entity key columns that minimums count.
    pub entities: Vec<EntityColumn>,
}

impl ReleaseShape {
    /// So many columns tell groups apart: the keys, and which grouping set a group is of, where there are sets.
    pub fn group_columns(&self) -> usize {
        self.keys + usize::from(!self.sets.is_empty())
    }

    /// How many releases it counts for.
    pub fn releases(&self) -> usize {
        self.sets.len().max(1)
    }
}

/// One released value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleasedAggregate {
    /// The aggregate function by its agreed name, such as `avg`.
    pub function: String,
    /// Whether equal arguments count once.
    pub distinct: bool,
    /// The input column that is its argument; none for `count(*)`.
    pub argument: Option<usize>,
    /// The argument of the first value that is of the same column, whatever number type each of them widens it to: values of one
    /// column can be subtracted from each other.
    pub origin: Option<usize>,
    /// The argument of the first value that has a column in common with it, or one that a condition ties to one of its own,
    /// directly or by others between them: values that are computed from one column can tell of each other's rows.
    pub family: Option<usize>,
    /// Whether it tells how many rows there are: a sum of what keys or conditions say something of, an average beside averages of
    /// others.
    pub known: bool,
    /// The Boolean input column that selects rows for this value.
    pub filter: Option<usize>,
}

/// An entity key among the input's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityColumn {
    /// The key's column name in the steward's table.
    pub name: String,
    /// The input column that holds it.
    pub column: usize,
}

/// What a release point aggregates.
#[derive(Clone, Debug)]
pub enum ReleaseInput {
    /// Rows, by a plan that the same place runs.
    Complete(LogicalPlan),
    /// Partial aggregates of other fragments.
    Merge(Vec<FragmentId>),
}
