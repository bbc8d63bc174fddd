//! Rows that a RELEASE ROWS clause with a condition of its own releases. A question gets them by stating the condition; the
//! steward then applies it inside its view, before anything else of the question acts, and what the condition touches need
//! not be listed. What is left of the question is about released rows.
//!
//! ```text
//!  Projection(a)                          Projection(a)
//!   Filter(b = 1 AND a > 2)        →       Filter(a > 2)
//!    Scan(t: a, b)                          Scan(t where clause 3: a)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableScanBuilder};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::assemble::{Rows, reference};
use super::govern::Governing;
use super::hashing::HashListing;
use super::joined_rows::{leaf_columns, within_join};
use super::matching::{RelationShape, split};
use super::{Agreement, Clause, ClauseRef, ReleaseClause, ReleaseWhat};
use crate::bind::{VisibleTable, canonical};
use crate::catalog::TableName;
use crate::wire::LeafTable;

/// The shape of the rows that a RELEASE ROWS clause releases under a condition, or of a join, where they are read from a
/// leaf of this name with these columns.
pub fn within(
    agreement: &Agreement,
    clause: u32,
    table: &TableName,
    leaf: &Schema,
    state: &SessionState,
) -> Option<RelationShape> {
    if !row_clause(agreement, clause)?.from.joins.is_empty() {
        return within_join(agreement, clause, table, leaf, state);
    }
    let schema = DFSchema::try_from_qualified_schema(reference(table), leaf).ok()?;
    let mut relation = RelationShape { tables: BTreeMap::from([(table.clone(), schema)]), ..RelationShape::default() };
    let release = conditional(agreement, clause)?;
    relation.predicates = relation.own_conditions(release.filter.as_ref(), state);
    (relation.is(&release.from) && !relation.predicates.is_empty()).then_some(relation)
}

/// The columns of such a leaf over the tables' own; none if one of them has a name that no table gives it.
pub fn within_columns<'a>(relation: &RelationShape, names: impl IntoIterator<Item = &'a String>) -> Option<Vec<Expr>> {
    let mut tables = relation.tables.keys();
    match (tables.next(), tables.next()) {
        (Some(only), None) => {
            Some(names.into_iter().map(|name| Expr::Column(RelationShape::column(only, name))).collect())
        }
        _ => leaf_columns(relation, names),
    }
}

/// A RELEASE ROWS clause with a condition, by its number.
pub fn conditional(agreement: &Agreement, clause: u32) -> Option<&ReleaseClause> {
    row_clause(agreement, clause).filter(|release| release.filter.is_some())
}

/// Whether an agreement has such a clause.
pub fn releases_under_condition(agreement: &Agreement) -> bool {
    agreement.clauses.iter().any(|clause| conditional(agreement, clause.number).is_some())
}

pub(super) fn row_clause(agreement: &Agreement, clause: u32) -> Option<&ReleaseClause> {
    match &agreement.clause(&ClauseRef::Number(clause))?.clause {
        Clause::Release(release) => matches!(release.what, ReleaseWhat::Rows(_)).then_some(release),
        _ => None,
    }
}

/// So many choices of one clause a steward are tried, at most.
const CHOICES_MAX: usize = 256;

/// A clause that may release a steward's rows, and its conditions if it has some.
pub(super) type Choice = (u32, Vec<Expr>);

/// Every choice of one of its clauses for each steward, up to a limit; none if one has no clause.
pub(super) fn choices(
    stewards: &BTreeSet<SiteId>,
    clauses: &dyn Fn(&SiteId) -> Vec<Choice>,
) -> Vec<BTreeMap<SiteId, Choice>> {
    let mut combinations: Vec<BTreeMap<SiteId, Choice>> = vec![BTreeMap::new()];
    for steward in stewards {
        let clauses = clauses(steward);
        let longer = combinations.iter().flat_map(|combination| {
            clauses.iter().map(|choice| {
                let mut longer = combination.clone();
                longer.insert(steward.clone(), choice.clone());
                longer
            })
        });
        combinations = longer.take(CHOICES_MAX).collect();
    }
    combinations
}

/// The conditions that all the clauses have. One that only some have is one of the question elsewhere.
pub(super) fn common_conditions(combination: &BTreeMap<SiteId, Choice>) -> Vec<Expr> {
    let mut conditions = combination.values().map(|(_, conditions)| conditions.clone());
    let first = conditions.next().unwrap_or_default();
    conditions.fold(first, |all, one| all.into_iter().filter(|part| one.contains(part)).collect())
}

/// The plan of these rows as one of released rows, if for each steward a clause, with a condition that the question states
/// or without one, covers what else the question needs.
pub(super) fn released_within(
    rows: &Rows,
    governing: &Governing<'_>,
    state: &SessionState,
) -> Result<Option<LogicalPlan>> {
    // A list is compared with rows that are released before, or with protected ones.
    let ([table], []) = (rows.scans.as_slice(), rows.lists.as_slice()) else { return Ok(None) };
    let clauses = |steward: &SiteId| {
        let held = governing.get(steward);
        held.map(|held| rows.relation.row_clauses(&held.agreement, state)).unwrap_or_default()
    };
    for combination in choices(&table.stewards, &clauses) {
        if combination.values().all(|(_, conditions)| conditions.is_empty()) {
            // Such rows are released where they are scanned.
            continue;
        }
        let common = common_conditions(&combination);
        let needed = needed(rows, &common)?;
        let listed = |(steward, (number, _)): (&SiteId, &Choice)| {
            let held = governing.get(steward);
            held.is_some_and(|held| rows.relation.lists_columns(&held.agreement, *number, &needed, state))
        };
        if combination.iter().all(listed) {
            let conditional = combination.into_iter().filter(|(_, (_, conditions))| !conditions.is_empty());
            let within = conditional.map(|(steward, (number, _))| (steward, number)).collect();
            let view = VisibleTable { within, ..table.clone() };
            let columns = needed.iter().flat_map(Expr::column_refs).map(|column| column.name.clone()).collect();
            return Ok(Some(rewritten(&rows.plan, &view, &columns, &common)?));
        }
    }
    Ok(None)
}

/// The plan over the view, of which it reads these columns, without the conditions that hold there.
fn rewritten(
    plan: &LogicalPlan,
    view: &VisibleTable,
    columns: &BTreeSet<String>,
    held: &[Expr],
) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let fields = view.schema.fields().iter().enumerate();
            let read = fields.filter(|(_, field)| columns.contains(field.name())).map(|(index, _)| index).collect();
            let source = provider_as_source(LeafTable::visible(view.clone()));
            let scan = TableScanBuilder::new(scan.table_name.clone(), source).with_projection(Some(read)).build()?;
            Ok(LogicalPlan::TableScan(scan))
        }
        LogicalPlan::Filter(filter) => {
            let input = rewritten(&filter.input, view, columns, held)?;
            let mut left = Vec::new();
            for part in split(&filter.predicate) {
                if !held.contains(&canonical(&filter.input, &part)?) {
                    left.push(part);
                }
            }
            match conjunction(left) {
                Some(predicate) => LogicalPlanBuilder::from(input).filter(predicate)?.build(),
                None => Ok(input),
            }
        }
        other => {
            let inputs = other.inputs().into_iter().map(|input| rewritten(input, view, columns, held));
            other.with_new_exprs(other.expressions(), inputs.collect::<Result<Vec<_>>>()?)
        }
    }
}

/// What a question needs of rows beside these conditions: what its operators give and every other predicate, written over
/// the tables' columns.
pub(super) fn needed(rows: &Rows, conditions: &[Expr]) -> Result<Vec<Expr>> {
    let outputs = rows.plan.schema().columns().into_iter().map(|column| canonical(&rows.plan, &Expr::Column(column)));
    let outputs = outputs.collect::<Result<Vec<_>>>()?;
    let others = rows.relation.predicates.iter().filter(|predicate| !conditions.contains(predicate)).cloned();
    Ok(outputs.into_iter().chain(others).collect())
}

impl RelationShape {
    /// The RELEASE ROWS clauses over this relation: those without a condition, and those whose condition is stated.
    pub(super) fn row_clauses(&self, agreement: &Agreement, state: &SessionState) -> Vec<Choice> {
        let clauses = agreement.clauses.iter().filter_map(|numbered| {
            let release = row_clause(agreement, numbered.number)?;
            let own = self.own_conditions(release.filter.as_ref(), state);
            let stated = own.iter().all(|condition| self.predicates.contains(condition));
            let understood = release.filter.is_none() || !own.is_empty();
            (understood && stated).then_some((numbered.number, own))
        });
        clauses.collect()
    }

    /// Whether a RELEASE ROWS clause over this relation lists every column of these expressions.
    pub(super) fn lists_columns(
        &self,
        agreement: &Agreement,
        clause: u32,
        needed: &[Expr],
        state: &SessionState,
    ) -> bool {
        let Some(release) = row_clause(agreement, clause) else { return false };
        let ReleaseWhat::Rows(listed) = &release.what else { return false };
        let columns: BTreeSet<&Column> =
            needed.iter().flat_map(Expr::column_refs).filter(|column| !self.names_steward(column)).collect();
        let columns: Vec<Expr> = columns.into_iter().cloned().map(Expr::Column).collect();
        self.rows_covered(listed, &release.from, release.filter.as_ref(), &columns, HashListing::Hash, state).is_ok()
    }
}
