//! What the RELEASE clauses that hold for a requester offer about the relation of a question, in words that can be compared
//! with the question's. This is a reading for the search only: whether a suggestion is allowed is decided by the planner.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::ast::Expr;

use super::question::conjuncts;
use super::scope::Scope;
use crate::catalog::TableName;
use crate::policy::{
    Agreement, Argument, Clause, Columns, DistinctInput, JoinKind, ReleaseClause, ReleaseWhat, ReleasedAggregates,
};

/// What one RELEASE clause, or several stewards' together, let a question have.
#[derive(Clone, Debug)]
pub(super) enum Offer {
    /// Rows of single tables.
    Rows(BTreeMap<TableName, RowColumns>),
    /// Groups of the whole relation.
    Groups(Groups),
}

/// Columns of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RowColumns {
    /// All of them.
    All,
    /// These.
    Listed(BTreeSet<String>),
}

/// What groups may show.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    /// Functions, and whether equal arguments count once.
    pub(super) functions: BTreeSet<(String, bool)>,
    /// Arguments of any of them.
    pub(super) arguments: BTreeSet<String>,
    /// Whether rows may be counted.
    pub(super) star: bool,
    /// Grouping expressions, with the clause's own words.
    pub(super) by: BTreeMap<String, Expr>,
    /// Conditions that must be stated, with the clause's own words.
    pub(super) conditions: BTreeMap<String, Expr>,
    /// What conditions may touch.
    pub(super) filter: BTreeSet<String>,
    /// Whether the clause's relation has left joins, so that a question's stay as they are.
    pub(super) left: bool,
    /// The clause's tables, to read its words in.
    pub(super) scope: Scope,
}

impl RowColumns {
    fn both(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, columns) | (columns, Self::All) => columns.clone(),
            (Self::Listed(one), Self::Listed(other)) => Self::Listed(one.intersection(other).cloned().collect()),
        }
    }
}

impl Groups {
    /// The tables that it is about.
    fn tables(&self) -> BTreeSet<&TableName> {
        self.scope.tables().map(|table| &table.name).collect()
    }

    /// What both offer. Stewards of different tables each answer for their own columns.
    fn both(mut self, other: &Self) -> Self {
        if self.tables() != other.tables() {
            self.functions.extend(other.functions.clone());
            self.arguments.extend(other.arguments.clone());
            self.star |= other.star;
            self.by.extend(other.by.clone());
            self.conditions.extend(other.conditions.clone());
            self.filter.extend(other.filter.clone());
            self.left |= other.left;
            self.scope.factors.extend(other.scope.factors.clone());
            return self;
        }
        self.functions.retain(|function| other.functions.contains(function));
        self.arguments.retain(|argument| other.arguments.contains(argument));
        self.star &= other.star;
        self.by.retain(|key, _| other.by.contains_key(key));
        self.conditions.extend(other.conditions.clone());
        self.filter.retain(|column| other.filter.contains(column));
        self
    }
}

/// What several stewards' offers have in common; none if they are of different kinds.
pub(super) fn common(offers: &[Offer]) -> Option<Offer> {
    let (first, rest) = offers.split_first()?;
    rest.iter().try_fold(first.clone(), |one, other| match (one, other) {
        (Offer::Groups(one), Offer::Groups(other)) => Some(Offer::Groups(one.both(other))),
        (Offer::Rows(one), Offer::Rows(other)) => {
            let mut all = one;
            for (table, columns) in other {
                let both = all.get(table).map_or_else(|| columns.clone(), |have| have.both(columns));
                all.insert(table.clone(), both);
            }
            Some(Offer::Rows(all))
        }
        _ => None,
    })
}

/// The offers of one agreement about the relation of a question: of rows all together, of groups one for each clause.
pub(super) fn offers(agreement: &Agreement, scope: &Scope) -> Vec<Offer> {
    let mut offers = Vec::new();
    let mut rows: BTreeMap<TableName, RowColumns> = BTreeMap::new();
    for numbered in &agreement.clauses {
        let Clause::Release(release) = &numbered.clause else { continue };
        let Some(of_clause) = scope.of_clause(&release.from) else { continue };
        match &release.what {
            ReleaseWhat::Rows(columns) => {
                let mut tables = of_clause.tables();
                let (Some(table), None) = (tables.next(), tables.next()) else {
                    offers.extend(joined_rows(columns, scope, &of_clause));
                    continue;
                };
                let columns = match columns {
                    Columns::All => RowColumns::All,
                    Columns::Listed(listed) => {
                        RowColumns::Listed(listed.iter().map(|column| of_clause.text(column)).collect())
                    }
                };
                // One clause must list all that is asked of a table: the wider one is tried.
                let wider = match (rows.get(&table.name), &columns) {
                    (Some(RowColumns::All), _) => false,
                    (Some(RowColumns::Listed(have)), RowColumns::Listed(more)) => more.len() > have.len(),
                    _ => true,
                };
                if wider {
                    rows.insert(table.name.clone(), columns);
                }
            }
            ReleaseWhat::Aggregates(released) => {
                let names = |scope: &Scope| scope.tables().map(|table| table.name.clone()).collect::<BTreeSet<_>>();
                // Others' tables may stand beside the clause's own.
                let joins = agreement.clauses.iter().any(|one| matches!(one.clause, Clause::Join(_)));
                if names(&of_clause) == names(scope) || joins {
                    offers.push(Offer::Groups(groups(agreement, release, released, scope, of_clause)));
                }
            }
        }
    }
    if !rows.is_empty() {
        offers.push(Offer::Rows(rows));
    }
    offers
}

/// The rows of a clause's join, where it is of the tables of a question.
fn joined_rows(columns: &Columns, scope: &Scope, of_clause: &Scope) -> Option<Offer> {
    let names = |scope: &Scope| scope.tables().map(|table| table.name.clone()).collect::<BTreeSet<_>>();
    let columns = match columns {
        Columns::All => RowColumns::All,
        Columns::Listed(listed) => RowColumns::Listed(listed.iter().map(|column| of_clause.text(column)).collect()),
    };
    let tables = names(of_clause);
    (tables == names(scope)).then(|| Offer::Rows(tables.into_iter().map(|table| (table, columns.clone())).collect()))
}

fn groups(
    agreement: &Agreement,
    release: &ReleaseClause,
    released: &ReleasedAggregates,
    scope: &Scope,
    of_clause: Scope,
) -> Groups {
    let filters = agreement.clauses.iter().filter_map(|numbered| match &numbered.clause {
        Clause::Filter(filter) => Some(&filter.columns),
        _ => None,
    });
    let conditions: Vec<Expr> = release.filter.iter().flat_map(conjuncts).collect();
    let arguments = released.arguments.iter().filter_map(|argument| match argument {
        Argument::Expr(expr) => Some(of_clause.text(expr)),
        Argument::Star => None,
    });
    Groups {
        functions: released
            .functions
            .iter()
            .map(|function| (function.name.clone(), function.distinct == DistinctInput::Distinct))
            .collect(),
        arguments: arguments.collect(),
        star: released.arguments.contains(&Argument::Star),
        by: released.by.iter().map(|key| (of_clause.text(key), key.clone())).collect(),
        conditions: conditions.into_iter().map(|one| (of_clause.text(&one), one)).collect(),
        filter: filters.flatten().map(|column| scope.text(column)).collect(),
        left: release.from.joins.iter().any(|step| step.kind == JoinKind::Left),
        scope: of_clause,
    }
}
