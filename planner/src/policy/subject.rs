//! Which of a steward's tables a ROWS or MASK clause is about, and what it makes of them. One reading serves the check of a
//! new agreement, which names what is wrong, and the views, which must not exist while a clause that limits them is about
//! nothing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::{DFSchema, DataFusionError, Result, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::ExprSchemable;
use datafusion::prelude::Expr;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::ast::{Ident, Visit, Visitor};

use super::view::{RawTable, concerns};
use super::{Agreement, Clause, ColumnRef, MaskClause, RowsClause, TableRef};
use crate::bind::scalar_expr;
use crate::catalog::TableName;

/// A steward's own tables, by name.
pub type RawTables = BTreeMap<TableName, RawTable>;

/// Columns that are listed in an error; of a table with more only their number is said.
const LISTED_MAX: usize = 12;

/// The columns that an expression names, as written.
pub(super) fn columns_named(expr: &ast::Expr) -> Vec<ColumnRef> {
    struct Names(Vec<ColumnRef>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            let parts = match expr {
                ast::Expr::Identifier(name) => std::slice::from_ref(name),
                ast::Expr::CompoundIdentifier(names) => names.as_slice(),
                _ => return ControlFlow::Continue(()),
            };
            let mut parts = parts.iter().rev().map(meant);
            if let Some(column) = parts.next() {
                let table = parts.next().map(|table| TableRef { schema: parts.next(), table });
                self.0.push(ColumnRef { table, column });
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    let walked = expr.visit(&mut names);
    debug_assert!(walked.is_continue(), "the visitor does not stop");
    names.0
}

/// An identifier as SQL means it.
fn meant(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// Whether a table has the column that is named.
pub(super) fn has(column: &ColumnRef, table: &TableName, schema: &Schema) -> bool {
    concerns(column.table.as_ref(), table) && schema.column_with_name(&column.column).is_some()
}

/// What columns there are instead of one that there is not.
pub(super) fn offered<'a>(columns: impl Iterator<Item = &'a str>) -> String {
    let columns: Vec<String> = columns.map(|column| format!("`{column}`")).collect();
    match columns.len() {
        0 => "there are no columns".to_owned(),
        few if few <= LISTED_MAX => format!("there is {}", columns.join(", ")),
        many => format!("there are {many} others"),
    }
}

/// Whether a ROWS clause is about a table: it names the table, or none, and the table has all columns of the condition.
pub(super) fn rows_concern(rows: &RowsClause, table: &TableName, raw: &RawTable) -> bool {
    match &rows.table {
        Some(named) => concerns(Some(named), table),
        None => {
            let schema = raw.provider.schema();
            columns_named(&rows.condition).iter().all(|column| has(column, table, &schema))
        }
    }
}

/// Whether a MASK clause is about a table: it names the table, or none, and the table has the column.
pub(super) fn mask_concerns(mask: &MaskClause, table: &TableName, raw: &RawTable) -> bool {
    match &mask.column.table {
        Some(named) => concerns(Some(named), table),
        None => raw.provider.schema().column_with_name(&mask.column.column).is_some(),
    }
}

/// The condition of a ROWS clause over a table that it is about; else what is wrong with it.
pub(super) fn row_condition(
    rows: &RowsClause,
    table: &TableName,
    raw: &RawTable,
    state: &SessionState,
) -> Result<Expr, String> {
    let schema = raw_schema(table, raw)?;
    own_columns(&rows.condition, table, raw)?;
    let condition = scalar_expr(&rows.condition, &schema, state).map_err(|error| said(&rows.condition, &error))?;
    must_be_condition(&rows.condition, &condition, &schema, state)?;
    Ok(condition)
}

/// The place of a masked column in a table that the clause is about, and what is seen there; else what is wrong with it.
pub(super) fn mask_value(
    mask: &MaskClause,
    table: &TableName,
    raw: &RawTable,
    state: &SessionState,
) -> Result<(usize, Expr), String> {
    let columns = raw.provider.schema();
    let schema = raw_schema(table, raw)?;
    let name = &mask.column.column;
    let Some((index, field)) = columns.fields().find(name) else { return Err(no_column(name, table, &columns)) };
    own_columns(&mask.value, table, raw)?;
    let engine = |error: DataFusionError| said(&mask.value, &error);
    let value = scalar_expr(&mask.value, &schema, state).map_err(engine)?;
    crate::bind::coerce(value.clone(), &schema, state).map_err(engine)?;
    let unchanged = matches!(&value, Expr::Column(column) if column.name == *name);
    if raw.entity.as_ref().is_some_and(|entity| entity.column == *name) && !unchanged {
        return Err(format!(
            "the entity key `{name}` of `{table}` may not be masked; leave it out of what is released"
        ));
    }
    // A mask of NULL keeps the column's type.
    let value = if value.get_type(&schema).map_err(engine)?.is_null() {
        value.cast_to(field.data_type(), &schema).map_err(engine)?
    } else {
        value
    };
    Ok((index, value))
}

/// The number of a ROWS or MASK clause that is about none of the tables, if there is one: nobody knows what it should hide.
pub(super) fn about_nothing(agreement: &Agreement, tables: &RawTables) -> Option<u32> {
    let about_nothing = |clause: &Clause| match clause {
        Clause::Rows(rows) => !tables.iter().any(|(name, raw)| rows_concern(rows, name, raw)),
        Clause::Mask(mask) => !tables.iter().any(|(name, raw)| mask_concerns(mask, name, raw)),
        Clause::Release(_)
        | Clause::Ship(_)
        | Clause::Filter(_)
        | Clause::Join(_)
        | Clause::Budget(_)
        | Clause::Archetypes(_)
        | Clause::Oblige(_) => false,
    };
    agreement.clauses.iter().find(|numbered| about_nothing(&numbered.clause)).map(|numbered| numbered.number)
}

/// A condition is true, false or unknown; a number is none.
pub(super) fn must_be_condition(
    written: &ast::Expr,
    condition: &Expr,
    schema: &DFSchema,
    state: &SessionState,
) -> Result<(), String> {
    let coerced = crate::bind::coerce(condition.clone(), schema, state).map_err(|error| said(written, &error))?;
    match coerced.get_type(schema).map_err(|error| said(written, &error))? {
        DataType::Boolean | DataType::Null => Ok(()),
        other => Err(format!("`{written}` is no condition but of type {other}")),
    }
}

/// What the engine says of an expression of a clause. It has seen names and types, not a row.
pub(super) fn said(written: &ast::Expr, error: &DataFusionError) -> String {
    format!("`{written}` has no meaning there: {}", error.strip_backtrace())
}

fn own_columns(expr: &ast::Expr, table: &TableName, raw: &RawTable) -> Result<(), String> {
    let schema = raw.provider.schema();
    match columns_named(expr).iter().find(|column| !has(column, table, &schema)) {
        Some(column) => Err(no_column(&column.to_string(), table, &schema)),
        None => Ok(()),
    }
}

fn no_column(name: &str, table: &TableName, schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| field.name().as_str());
    format!("`{table}` has no column `{name}`; {}", offered(columns))
}

fn raw_schema(table: &TableName, raw: &RawTable) -> Result<DFSchema, String> {
    let reference = TableReference::partial(table.schema.clone(), table.table.clone());
    DFSchema::try_from_qualified_schema(reference, &raw.provider.schema()).map_err(|error| error.strip_backtrace())
}
