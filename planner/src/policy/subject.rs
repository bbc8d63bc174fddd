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
use datafusion::sql::sqlparser::tokenizer::Span;

use super::failing::failing_cast;
use super::total::Extent;
use super::view::{RawTable, concerns};
use super::word::{NameKind, Problem, Word};
use super::{Agreement, Clause, ColumnRef, MaskClause, RowsClause, TableRef};
use crate::bind::{coerce, scalar_expr};
use crate::catalog::TableName;

/// A steward's own tables, by name.
pub type RawTables = BTreeMap<TableName, RawTable>;

/// Columns that are listed in an error; of a table with more only their number is said.
const LISTED_MAX: usize = 12;

/// A column that an expression names.
pub(super) struct NamedColumn {
    /// As written.
    pub(super) column: ColumnRef,
    /// Where, if that is known.
    pub(super) word: Option<Word>,
}

/// The columns that an expression names.
pub(super) fn columns_named(expr: &ast::Expr) -> Vec<NamedColumn> {
    struct Names(Vec<NamedColumn>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            let parts = match expr {
                ast::Expr::Identifier(name) => std::slice::from_ref(name),
                ast::Expr::CompoundIdentifier(names) => names.as_slice(),
                _ => return ControlFlow::Continue(()),
            };
            let word = Word::at(Span::union_iter(parts.iter().map(|part| part.span)));
            let mut parts = parts.iter().rev().map(meant);
            if let Some(column) = parts.next() {
                let table = parts.next().map(|table| TableRef { schema: parts.next(), table });
                self.0.push(NamedColumn { column: ColumnRef { table, column }, word });
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
            columns_named(&rows.condition).iter().all(|named| has(&named.column, table, &schema))
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
) -> Result<Expr, Problem> {
    let schema = raw_schema(table, raw)?;
    own_columns(&rows.condition, table, raw)?;
    let condition =
        scalar_expr(&rows.condition, &schema, state).map_err(|error| said(&rows.condition, &error, state))?;
    must_be_condition(&rows.condition, &condition, &schema, state)?;
    let coerced = coerce(condition.clone(), &schema, state).map_err(|error| said(&rows.condition, &error, state))?;
    must_have_values(&rows.condition, &coerced, Extent::Wide, &schema, state)?;
    Ok(condition)
}

/// The place of a masked column in a table that the clause is about, and what is seen there; else what is wrong with it.
pub(super) fn mask_value(
    mask: &MaskClause,
    table: &TableName,
    raw: &RawTable,
    state: &SessionState,
) -> Result<(usize, Expr), Problem> {
    let columns = raw.provider.schema();
    let schema = raw_schema(table, raw)?;
    let name = &mask.column.column;
    let word = || Word::name(NameKind::Column, &mask.column);
    let Some((index, field)) = columns.fields().find(name) else {
        return Err(Problem::new(word(), no_column(name, table, &columns)));
    };
    own_columns(&mask.value, table, raw)?;
    let engine = |error: DataFusionError| said(&mask.value, &error, state);
    let value = scalar_expr(&mask.value, &schema, state).map_err(engine)?;
    let coerced = coerce(value.clone(), &schema, state).map_err(engine)?;
    must_have_values(&mask.value, &coerced, Extent::Narrow, &schema, state)?;
    let unchanged = matches!(&value, Expr::Column(column) if column.name == *name);
    if raw.entity.as_ref().is_some_and(|entity| entity.column == *name) && !unchanged {
        let text = format!("the entity key `{name}` of `{table}` may not be masked; leave it out of what is released");
        return Err(Problem::new(word(), text));
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
) -> Result<(), Problem> {
    let engine = |error: DataFusionError| said(written, &error, state);
    let coerced = coerce(condition.clone(), schema, state).map_err(engine)?;
    match coerced.get_type(schema).map_err(engine)? {
        DataType::Boolean | DataType::Null => Ok(()),
        other => Err(Problem::new(Word::of(written), format!("`{written}` is no condition but of type {other}"))),
    }
}

/// An expression that runs over hidden rows has a value for each of them. What is written in it was looked at before; this is
/// about what the engine casts in it so that types agree, or that functions take it. `coerced` is the expression with that.
pub(super) fn must_have_values(
    written: &ast::Expr,
    coerced: &Expr,
    extent: Extent,
    schema: &DFSchema,
    state: &SessionState,
) -> Result<(), Problem> {
    let Some(cast) = failing_cast(coerced, schema).map_err(|error| said(written, &error, state))? else {
        return Ok(());
    };
    let instead = cast.instead(extent);
    let text = format!("in `{written}` {cast}, and the error would tell of such a value; write {instead}");
    Err(Problem::new(Word::of(written), text))
}

/// What the engine says of an expression of a clause. It has seen names and types, not a row. It is about the first function
/// that there is not, else about the whole expression.
pub(super) fn said(written: &ast::Expr, error: &DataFusionError, state: &SessionState) -> Problem {
    let text = format!("`{written}` has no meaning there: {}", error.strip_backtrace());
    Problem::new(unknown_function(written, state).or_else(|| Word::of(written)), text)
}

/// Where the first function stands that the engine does not have.
fn unknown_function(written: &ast::Expr, state: &SessionState) -> Option<Word> {
    struct Unknown<'a>(&'a SessionState);
    impl Visitor for Unknown<'_> {
        type Break = Option<Word>;

        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Self::Break> {
            match expr {
                ast::Expr::Function(function) => {
                    let name = function.name.to_string();
                    let known = self.0.scalar_functions().contains_key(&name)
                        || self.0.aggregate_functions().contains_key(&name);
                    if known { ControlFlow::Continue(()) } else { ControlFlow::Break(Word::of(expr)) }
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    written.visit(&mut Unknown(state)).break_value().flatten()
}

fn own_columns(expr: &ast::Expr, table: &TableName, raw: &RawTable) -> Result<(), Problem> {
    let schema = raw.provider.schema();
    match columns_named(expr).into_iter().find(|named| !has(&named.column, table, &schema)) {
        Some(named) => Err(Problem::new(named.word, no_column(&named.column.to_string(), table, &schema))),
        None => Ok(()),
    }
}

fn no_column(name: &str, table: &TableName, schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| field.name().as_str());
    format!("`{table}` has no column `{name}`; {}", offered(columns))
}

fn raw_schema(table: &TableName, raw: &RawTable) -> Result<DFSchema, Problem> {
    let reference = TableReference::partial(table.schema.clone(), table.table.clone());
    DFSchema::try_from_qualified_schema(reference, &raw.provider.schema())
        .map_err(|error| Problem::new(None, error.strip_backtrace()))
}
