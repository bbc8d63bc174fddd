//! What holds of a steward's data besides the edges: the views that act before anything leaves, and the clauses that bind
//! the use.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use dynamos_proto::ids::SiteId;

use super::edges::Edges;
use super::lines::listed;
use crate::candidate::place_matches;
use crate::catalog::TableName;
use crate::fragment::ReleaseInput;
use crate::policy::{
    Acts, Agreement, Clause, ClauseRef, HeldAgreement, NumberedClause, ObligeClause, PlaceRef, TableRef, raw_tables,
    release_points, view_clauses,
};
use crate::wire::Leaf;

impl Edges<'_> {
    /// The ROWS and MASK clauses that act on what is read of a steward's tables.
    pub(super) fn views(&self, steward: &SiteId, held: &HeldAgreement) -> Vec<String> {
        let read = self.tables_read(steward, &held.agreement);
        let acting = view_clauses(&held.agreement, &read, &raw_tables(self.policy.catalog, steward));
        let shown = acting.into_iter().map(|(numbered, acts)| match acts {
            Acts::Itself => clause(numbered),
            Acts::ThroughItsPeople => {
                let read: Vec<String> = read.iter().map(ToString::to_string).collect();
                format!("{}; hides the same people in {}", clause(numbered), listed(&read))
            }
        });
        shown.collect()
    }

    /// The clauses that bind the use: ARCHETYPES, BUDGET and OBLIGE.
    pub(super) fn bound(&self, steward: &SiteId, held: &HeldAgreement) -> Vec<String> {
        let clauses = held.agreement.clauses.iter();
        let bound = clauses.filter_map(|numbered| match &numbered.clause {
            Clause::Archetypes(_) => Some(clause(numbered)),
            Clause::Budget(_) => {
                let counts = release_points(self.graph, self.verdicts, steward);
                Some(format!("{}, counted by {steward}; this question counts for {counts}", clause(numbered)))
            }
            Clause::Oblige(oblige) => {
                let places = self.obliged(oblige);
                (!places.is_empty()).then(|| format!("{}; binds {}", clause(numbered), listed(&places)))
            }
            Clause::Release(_)
            | Clause::Ship(_)
            | Clause::Filter(_)
            | Clause::Join(_)
            | Clause::Mask(_)
            | Clause::Rows(_) => None,
        });
        bound.collect()
    }

    /// The places of the query that an OBLIGE clause is about.
    fn obliged(&self, oblige: &ObligeClause) -> Vec<String> {
        let none = BTreeSet::new();
        let meant = |place: &&SiteId| {
            let site = self.policy.catalog.sites.get(*place);
            let (roles, regions) = site.map_or((&none, &none), |site| (&site.roles, &site.regions));
            let at = |at: &PlaceRef| place_matches(std::slice::from_ref(at), place, roles, regions);
            oblige.at.as_ref().is_none_or(at)
        };
        let places = self.graph.places();
        places.iter().filter(meant).map(|place| self.place(place)).collect()
    }

    /// The tables of a steward that the query scans.
    fn tables_read(&self, steward: &SiteId, agreement: &Agreement) -> BTreeSet<TableName> {
        let rows = self.graph.releases.iter().filter_map(|point| match &point.input {
            ReleaseInput::Complete(rows) => Some(rows),
            ReleaseInput::Merge(_) => None,
        });
        let mut read = BTreeSet::new();
        for plan in self.graph.fragments.iter().map(|fragment| &fragment.plan).chain(rows) {
            let walked = plan.apply_with_subqueries(|node| {
                if let LogicalPlan::TableScan(scan) = node
                    && let Some(Leaf::Table { site, schema, table, clause }) = Leaf::from_reference(&scan.table_name)
                    && site == *steward
                {
                    read.extend(clause.into_iter().flat_map(|clause| joined_tables(agreement, clause, &schema)));
                    read.insert(TableName::new(schema, table));
                }
                Ok(TreeNodeRecursion::Continue)
            });
            debug_assert!(walked.is_ok(), "the walk itself does not fail");
        }
        read
    }
}

/// A clause with its number, in its canonical text.
pub(super) fn clause(numbered: &NumberedClause) -> String {
    format!("clause {}: {numbered}", numbered.number)
}

/// The tables of a RELEASE ROWS clause that is a leaf of a plan.
fn joined_tables(agreement: &Agreement, clause: u32, schema: &str) -> Vec<TableName> {
    match agreement.clause(&ClauseRef::Number(clause)).map(|numbered| &numbered.clause) {
        Some(Clause::Release(release)) => {
            let schema_of = |table: &TableRef| table.schema.clone().unwrap_or_else(|| schema.to_owned());
            release.from.tables().map(|table| TableName::new(schema_of(table), table.table.clone())).collect()
        }
        _ => Vec::new(),
    }
}
