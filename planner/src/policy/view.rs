//! The protected view of a table: what exists of it under one agreement. The steward's site builds it from its own copy
//! of the agreement; the planner uses the same derivation to know its schema.
//!
//! ```text
//!  Projection(masks) ← [RightAnti(entities that another table's ROWS hides)] ← Filter(ROWS, on raw values) ← Scan
//! ```

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, JoinType, Result, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::Expr;

use super::joined_rows::joined_view;
use super::subject::{RawTables, about_nothing, mask_concerns, mask_value, row_condition, rows_concern};
use super::within::{conditional, row_clause};
use super::{Agreement, Clause, TableRef};
use crate::bind::scalar_expr;
use crate::catalog::TableName;

/// What exists of a table for a requester.
#[derive(Clone, Debug)]
pub enum ProtectedView {
    /// The table as it is: no clause masks or hides anything of it.
    Whole,
    /// A plan over raw tables (scanned as `schema.table`): rows filtered on raw values first, then columns masked.
    Derived(LogicalPlan),
}

/// A steward's raw table, as the derivation of a view needs it.
#[derive(Clone, Debug)]
pub struct RawTable {
    /// Its rows, or its schema alone.
    pub provider: Arc<dyn TableProvider>,
    /// The key of the entity that its rows describe.
    pub entity: Option<EntityKey>,
}

/// The key by which a table's rows describe an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityKey {
    /// The column.
    pub column: String,
    /// What it is the key of: equal keys of two tables of a steward are one entity if both have this name.
    pub name: String,
}

/// The view of `table` under `agreement`, with all tables of the steward beside it. A ROWS or MASK clause that names no table
/// applies to every table which has its columns: rather too much is hidden than too little. INVARIANT(limits_hold): where
/// one of these clauses is about no table, or cannot be applied to one that it is about, there is no view.
pub fn protected_view(
    agreement: &Agreement,
    table: &TableName,
    tables: &RawTables,
    state: &SessionState,
) -> Result<ProtectedView> {
    let Some(raw) = tables.get(table) else {
        return plan_err!("no table `{table}`");
    };
    if let Some(number) = about_nothing(agreement, tables) {
        return Err(inapplicable(agreement, number));
    }
    let mut view = scan(table, raw)?;
    let mut derived = false;
    for condition in rows_of(agreement, table, raw, state)? {
        view = view.filter(condition.is_true())?;
        derived = true;
    }
    if let Some(entity) = &raw.entity {
        for hidden in hidden_entities(agreement, table, entity, tables, state)? {
            let key = datafusion::common::Column::new(Some(HIDDEN), HIDDEN_KEY);
            let own = datafusion::common::Column::new(Some(reference(table)), &entity.column);
            let on = (vec![key], vec![own]);
            // The engine gathers the left side and passes the rows of the right one in their order.
            view = LogicalPlanBuilder::from(hidden).join(view.build()?, JoinType::RightAnti, on, None)?;
            derived = true;
        }
    }
    let masks = masks_of(agreement, table, raw, state)?;
    if !masks.iter().all(Option::is_none) {
        derived = true;
    }
    if !derived {
        return Ok(ProtectedView::Whole);
    }
    let schema = raw.provider.schema();
    let columns = schema.fields().iter().zip(masks).map(|(field, mask)| {
        let column = Expr::from(datafusion::common::Column::new(Some(reference(table)), field.name()));
        mask.unwrap_or(column).alias(field.name())
    });
    let plan = view.project(columns.collect::<Vec<_>>())?.build()?;
    Ok(ProtectedView::Derived(crate::bind::analyze(plan, state)?))
}

/// The rows that a RELEASE ROWS clause releases under a condition over masked values, or of a join of views; `table` is the
/// one table, or the first of the joined ones.
pub fn view_within(
    agreement: &Agreement,
    clause: u32,
    table: &TableName,
    tables: &RawTables,
    state: &SessionState,
) -> Result<LogicalPlan> {
    if row_clause(agreement, clause).is_some_and(|release| !release.from.joins.is_empty()) {
        return joined_view(agreement, clause, table, tables, state);
    }
    let Some(release) = conditional(agreement, clause) else {
        return plan_err!("clause {clause} releases no rows under a condition");
    };
    let view = view_of(agreement, table, tables, state)?;
    let Some(condition) = &release.filter else { return plan_err!("clause {clause} has no condition") };
    let condition = scalar_expr(condition, view.schema(), state)?;
    crate::bind::analyze(view.filter(condition.is_true())?.build()?, state)
}

/// The view of `table` as a relation that is called like it.
pub(super) fn view_of(
    agreement: &Agreement,
    table: &TableName,
    tables: &RawTables,
    state: &SessionState,
) -> Result<LogicalPlanBuilder> {
    match (protected_view(agreement, table, tables, state)?, tables.get(table)) {
        (ProtectedView::Derived(plan), _) => LogicalPlanBuilder::from(plan).alias(reference(table)),
        (ProtectedView::Whole, Some(raw)) => scan(table, raw),
        (ProtectedView::Whole, None) => plan_err!("no table `{table}`"),
    }
}

/// Qualifies the entities that a ROWS clause of another table hides.
const HIDDEN: &str = "hidden";
/// Their key, whatever the other table calls it.
const HIDDEN_KEY: &str = "key";

fn reference(table: &TableName) -> TableReference {
    TableReference::partial(table.schema.clone(), table.table.clone())
}

fn scan(table: &TableName, raw: &RawTable) -> Result<LogicalPlanBuilder> {
    LogicalPlanBuilder::scan(reference(table), provider_as_source(Arc::clone(&raw.provider)), None)
}

/// Whether a clause that names `named` is about `table`.
pub(crate) fn concerns(named: Option<&TableRef>, table: &TableName) -> bool {
    named.is_none_or(|named| {
        named.table == table.table && named.schema.as_ref().is_none_or(|schema| *schema == table.schema)
    })
}

/// Whoever asks learns that there is no view and which clause is to blame; what is wrong with it is for its steward to know,
/// whose site says so when the agreement is made or read.
fn inapplicable(agreement: &Agreement, number: u32) -> DataFusionError {
    let (name, steward) = (&agreement.name, &agreement.steward);
    let text = format!(
        "clause {number} of agreement `{name}` cannot be applied to the tables of `{steward}`, so nothing is shown under it; the steward must correct it"
    );
    DataFusionError::Plan(text)
}

/// The conditions of ROWS clauses about this table, over its raw columns.
fn rows_of(agreement: &Agreement, table: &TableName, raw: &RawTable, state: &SessionState) -> Result<Vec<Expr>> {
    let about = agreement.clauses.iter().filter_map(|numbered| match &numbered.clause {
        Clause::Rows(rows) if rows_concern(rows, table, raw) => Some((numbered.number, rows)),
        _ => None,
    });
    let condition =
        |(number, rows)| row_condition(rows, table, raw, state).map_err(|_| inapplicable(agreement, number));
    about.map(condition).collect()
}

/// For each other table with the same entity, by name, and a ROWS clause: the keys of which it hides a row.
fn hidden_entities(
    agreement: &Agreement,
    table: &TableName,
    entity: &EntityKey,
    tables: &RawTables,
    state: &SessionState,
) -> Result<Vec<LogicalPlan>> {
    let mut hidden = Vec::new();
    for (other, raw) in tables.iter().filter(|(name, _)| *name != table) {
        let Some(key) = raw.entity.as_ref().filter(|key| key.name == entity.name) else { continue };
        for condition in rows_of(agreement, other, raw, state)? {
            let plan = scan(other, raw)?
                .filter(condition.is_not_true())?
                .project(vec![
                    Expr::from(datafusion::common::Column::new(Some(reference(other)), &key.column)).alias(HIDDEN_KEY),
                ])?
                .alias(HIDDEN)?;
            hidden.push(plan.build()?);
        }
    }
    Ok(hidden)
}

/// The tables that an agreement speaks of. A name without a schema is taken to be in the schema of `beside`.
pub(crate) fn relation_tables(agreement: &Agreement, beside: &TableName) -> Vec<TableName> {
    let mut names: Vec<TableName> = Vec::new();
    let mut add = |table: &TableRef| {
        let schema = table.schema.clone().unwrap_or_else(|| beside.schema.clone());
        let name = TableName::new(schema, table.table.clone());
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for clause in &agreement.clauses {
        match &clause.clause {
            Clause::Release(release) => release.from.tables().for_each(&mut add),
            Clause::Ship(ship) => {
                if let super::ShipWhat::Rows { from, .. } = &ship.what {
                    from.tables().for_each(&mut add);
                }
            }
            Clause::Rows(rows) => rows.table.iter().for_each(&mut add),
            Clause::Filter(_)
            | Clause::Join(_)
            | Clause::Mask(_)
            | Clause::Budget(_)
            | Clause::Archetypes(_)
            | Clause::Oblige(_) => {}
        }
    }
    names
}

/// For each column of the table the expression that is seen in its place, if it is masked.
fn masks_of(
    agreement: &Agreement,
    table: &TableName,
    raw: &RawTable,
    state: &SessionState,
) -> Result<Vec<Option<Expr>>> {
    let mut masks: Vec<Option<Expr>> = vec![None; raw.provider.schema().fields().len()];
    for numbered in &agreement.clauses {
        let Clause::Mask(mask) = &numbered.clause else { continue };
        if !mask_concerns(mask, table, raw) {
            continue;
        }
        let wrong = || inapplicable(agreement, numbered.number);
        let (index, value) = mask_value(mask, table, raw, state).map_err(|_| wrong())?;
        match masks.get_mut(index) {
            Some(slot @ None) => *slot = Some(value),
            // Masked twice: which of the two is meant is not known.
            Some(Some(_)) | None => return Err(wrong()),
        }
    }
    Ok(masks)
}
