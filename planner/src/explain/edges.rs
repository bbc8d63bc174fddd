//! The edges that carry one steward's data, in words: those that leave the steward, and those on which other places pass
//! something of it on.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::logical_expr::Operator;
use datafusion::prelude::Expr;
use dynamos_proto::ids::{FragmentId, SiteId};

use super::groups::Groups;
use super::lines::listed;
use super::text::ExprText;
use super::words::{Given, Origin, Words};
use crate::catalog::SiteKind;
use crate::fragment::{Fragment, FragmentGraph};
use crate::policy::{Carried, CarriedRows, EdgeVerdict, HeldAgreement, MinimumScope, NumberedClause, Policy, cite};

/// What an edge carries, by how much of a steward's data that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Protected rows.
    Rows,
    /// Protected rows with hashes in place of keys.
    HashedRows,
    /// Rows that are released.
    ReleasedRows,
    /// What was computed from released rows.
    Computed,
    /// Partials of groups of any size.
    Partials,
    /// Groups that were decided about by all stewards together, or by this one.
    Groups,
}

/// One edge.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line<'a> {
    /// From where to where.
    pub(super) path: String,
    /// What.
    pub(super) form: String,
    /// How much that is.
    pub(super) kind: Kind,
    /// Whether it leaves the steward itself.
    pub(super) leaves: bool,
    /// The steward's clauses that allow it.
    pub(super) clauses: Vec<&'a NumberedClause>,
}

/// A checked query.
pub(super) struct Edges<'a> {
    /// The placed query.
    pub(super) graph: &'a FragmentGraph,
    /// The clause beside every edge.
    pub(super) verdicts: &'a [EdgeVerdict],
    /// Places and agreements.
    pub(super) policy: &'a Policy<'a>,
}

impl Edges<'_> {
    /// The edges with something of this steward, those farthest from the requester first.
    pub(super) fn of<'a>(&self, steward: &SiteId, held: &'a HeldAgreement) -> Vec<Line<'a>> {
        let senders: BTreeSet<FragmentId> = self
            .verdicts
            .iter()
            .filter(|verdict| self.concerns(verdict, steward))
            .map(|verdict| verdict.from)
            .collect();
        let mut senders: Vec<&Fragment> = senders.into_iter().filter_map(|id| self.graph.fragment(id)).collect();
        senders.sort_by_key(|sender| (Reverse(self.depth(sender)), sender.id));
        senders.into_iter().flat_map(|sender| self.from(sender, steward, held)).collect()
    }

    /// A place as it is told: its name, and what it is for.
    pub(super) fn place(&self, place: &SiteId) -> String {
        match self.policy.catalog.sites.get(place).map(|site| site.kind) {
            Some(SiteKind::Provider) => format!("{place} (provider)"),
            Some(SiteKind::Steward) => format!("{place} (steward)"),
            Some(SiteKind::Coordinator) | None => place.to_string(),
        }
    }

    pub(super) fn words(&self) -> Words<'_> {
        Words { graph: self.graph, agreements: self.policy.agreements }
    }

    /// What one fragment sends of this steward.
    fn from<'a>(&self, sender: &Fragment, steward: &SiteId, held: &'a HeldAgreement) -> Vec<Line<'a>> {
        let given = self.words().given(&sender.plan);
        let reader = sender.consumer.and_then(|id| self.graph.fragment(id)).map(|reader| &reader.place);
        let from = if sender.place == *steward { steward.to_string() } else { self.place(&sender.place) };
        let to = match reader {
            Some(place) if place == steward => format!("back to {steward}"),
            Some(place) => self.place(place),
            None => "requester".to_owned(),
        };
        let line = |(kind, form): (Kind, String), verdicts: &[&EdgeVerdict]| Line {
            path: format!("{from} → {to}"),
            form,
            kind,
            leaves: sender.place == *steward,
            clauses: cited(verdicts, steward, held),
        };
        let verdicts = self.verdicts.iter();
        let verdicts: Vec<&EdgeVerdict> =
            verdicts.filter(|verdict| verdict.from == sender.id && self.concerns(verdict, steward)).collect();
        let (mut lines, mut released, mut relations) = (Vec::new(), Vec::new(), BTreeSet::new());
        for &verdict in &verdicts {
            match &verdict.carried {
                Carried::Rows(rows) => lines.push(line(rows_sent(&given, rows), &[verdict])),
                Carried::Partials(id, rows) => {
                    let point = self.graph.release(*id);
                    let form = point.map(|point| self.groups().partials(point, steward, &chosen(rows)));
                    let form = form.unwrap_or_else(|| format!("partials of {id}"));
                    let own = point.is_some_and(|point| point.scope == MinimumScope::PerSite);
                    let kind = if own { Kind::Groups } else { Kind::Partials };
                    lines.push(line((kind, form), &[verdict]));
                }
                // Several tables of a steward may be in the same columns.
                Carried::Released(rows) => {
                    released.push(verdict);
                    relations.insert(rows.relation.as_str());
                }
                Carried::Groups(id) => {
                    let form = self.graph.release(*id).map(|point| self.groups().released(point, steward));
                    let form = form.unwrap_or_else(|| format!("released groups of {id}"));
                    lines.push(line((Kind::Groups, form), &[verdict]));
                }
            }
        }
        if !released.is_empty() {
            let relations: Vec<&str> = relations.into_iter().collect();
            lines.push(line(released_rows(&given, steward, &relations), &released));
        }
        lines
    }

    fn groups(&self) -> Groups<'_> {
        Groups { graph: self.graph, agreements: self.policy.agreements }
    }

    fn concerns(&self, verdict: &EdgeVerdict, steward: &SiteId) -> bool {
        match &verdict.carried {
            Carried::Rows(rows) | Carried::Partials(_, rows) | Carried::Released(rows) => rows.steward == *steward,
            Carried::Groups(id) => self
                .graph
                .release(*id)
                .is_some_and(|point| point.clauses.iter().any(|clause| clause.steward == *steward)),
        }
    }

    /// So many edges lie between a fragment and the root. Fragments of a checked graph do not read each other in a circle.
    fn depth(&self, fragment: &Fragment) -> usize {
        let above = |fragment: &&Fragment| fragment.consumer.and_then(|id| self.graph.fragment(id));
        std::iter::successors(Some(fragment), above).take(self.graph.fragments.len()).count()
    }
}

fn rows_sent(given: &Given, rows: &CarriedRows) -> (Kind, String) {
    let columns = given.texts_of(&Origin::Rows(rows.steward.clone()));
    let hashed = columns.iter().any(|column| column.starts_with("hash("));
    let (kind, keys) = if hashed { (Kind::HashedRows, ", keys as hashes") } else { (Kind::Rows, "") };
    (kind, format!("rows of {} ({}){keys}{}", rows.relation, columns.join(", "), chosen(rows)))
}

fn released_rows(given: &Given, steward: &SiteId, relations: &[&str]) -> (Kind, String) {
    let origin = Origin::Rows(steward.clone());
    let (columns, of) = (given.texts_of(&origin), listed(relations));
    match columns.as_slice() {
        [] => {
            (Kind::Computed, format!("of the released rows of {of} only how many there are or which others they match"))
        }
        columns if given.single.contains(&origin) => {
            (Kind::ReleasedRows, format!("released rows of {of} ({})", columns.join(", ")))
        }
        columns => (Kind::Computed, format!("{}, computed from released rows of {of}", listed(columns))),
    }
}

/// Which of its rows.
fn chosen(rows: &CarriedRows) -> String {
    let text = ExprText {
        column: &|column: &Column| column.name.clone(),
        // The engine casts literals and columns so that they can be compared.
        is_silent: &|_| true,
        names_steward: &|_| false,
    };
    let conditions: Vec<String> = rows.conditions.iter().map(|condition| part(&text, condition)).collect();
    let mut words = String::new();
    if !conditions.is_empty() {
        words += &format!(", where {}", conditions.join(" AND "));
    }
    if !rows.listed.is_empty() {
        words += &format!(", chosen by a list on {}", rows.listed.join(", "));
    }
    words
}

/// A condition among others.
fn part(text: &ExprText<'_>, condition: &Expr) -> String {
    match condition {
        Expr::BinaryExpr(binary) if binary.op == Operator::Or => {
            format!("({})", text.of(condition))
        }
        _ => text.of(condition),
    }
}

/// The steward's clauses that these verdicts rest on, in order of number.
fn cited<'a>(verdicts: &[&EdgeVerdict], steward: &SiteId, held: &'a HeldAgreement) -> Vec<&'a NumberedClause> {
    let cited: BTreeSet<&String> = verdicts.iter().flat_map(|verdict| &verdict.clauses).collect();
    let clauses = held.agreement.clauses.iter();
    clauses.filter(|clause| cited.contains(&cite(steward, held, clause.number))).collect()
}
