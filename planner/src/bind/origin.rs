//! Where a column comes from: through projections, aliases, filters and joins down to the table that holds it.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, JoinType, Result, TableReference};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::prelude::Expr;

use super::names::VisibleTable;
use crate::wire::LeafTable;

/// A column of a bound table.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The table.
    pub table: VisibleTable,
    /// The column's name there.
    pub column: String,
}

/// The bound table's column that an output column of `plan` is, unchanged; none if it is computed, aggregated or comes
/// from something that is no bound table.
pub fn origin(plan: &LogicalPlan, column: &Column) -> Option<Origin> {
    trace(plan, column, Padding::Allowed)
}

/// The same, but none if the column is of the side of an outer join that NULLs stand in for where nothing matches: what
/// holds for the table's values does not hold for those.
pub fn unpadded_origin(plan: &LogicalPlan, column: &Column) -> Option<Origin> {
    trace(plan, column, Padding::Refused)
}

/// Whether a column may have passed the side of an outer join that is filled up with NULLs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Allowed,
    Refused,
}

fn trace(plan: &LogicalPlan, column: &Column, padding: Padding) -> Option<Origin> {
    let index = plan.schema().index_of_column(column).ok()?;
    trace_at(plan, index, padding)
}

fn trace_at(plan: &LogicalPlan, index: usize, padding: Padding) -> Option<Origin> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = LeafTable::bound_to(scan)?;
            Some(Origin { table, column: scan.projected_schema.field(index).name().clone() })
        }
        LogicalPlan::Projection(projection) => match unalias(projection.expr.get(index)?) {
            Expr::Column(column) => trace(&projection.input, column, padding),
            _ => None,
        },
        LogicalPlan::Aggregate(aggregate) => match unalias(aggregate.group_expr.get(index)?) {
            Expr::Column(column) => trace(&aggregate.input, column, padding),
            _ => None,
        },
        LogicalPlan::SubqueryAlias(alias) => trace_at(&alias.input, index, padding),
        LogicalPlan::Filter(filter) => trace_at(&filter.input, index, padding),
        LogicalPlan::Sort(sort) => trace_at(&sort.input, index, padding),
        LogicalPlan::Limit(limit) => trace_at(&limit.input, index, padding),
        LogicalPlan::Window(window) => {
            let inputs = window.input.schema().fields().len();
            if index < inputs { trace_at(&window.input, index, padding) } else { None }
        }
        LogicalPlan::Join(join) => {
            let (qualifier, field) = join.schema.qualified_field(index);
            let column = Column::new(qualifier.cloned(), field.name());
            let from_left = join.left.schema().index_of_column(&column).is_ok();
            let padded = match join.join_type {
                JoinType::Left => !from_left,
                JoinType::Right => from_left,
                JoinType::Full => true,
                _ => false,
            };
            if padded && padding == Padding::Refused {
                return None;
            }
            trace(if from_left { &join.left } else { &join.right }, &column, padding)
        }
        _ => None,
    }
}

/// The expression without the name it is given.
pub fn unalias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unalias(&alias.expr),
        other => other,
    }
}

/// The expression without its name and without casts: what comparisons reconcile the types of is the same key.
pub(super) fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => uncast(&alias.expr),
        Expr::Cast(cast) => uncast(&cast.expr),
        Expr::TryCast(cast) => uncast(&cast.expr),
        other => other,
    }
}

/// An expression over `plan`'s output written over the columns of the tables below, each named `schema.table.column`
/// whether the table is one steward's or a federated one. Fails where the plan computes something that cannot be written
/// so, such as an aggregate.
pub fn canonical(plan: &LogicalPlan, expr: &Expr) -> Result<Expr> {
    let written = unalias(expr).clone().transform_up(|node| match node {
        Expr::Column(column) => Ok(Transformed::yes(definition(plan, &column)?)),
        Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(written.data)
}

fn definition(plan: &LogicalPlan, column: &Column) -> Result<Expr> {
    match plan {
        LogicalPlan::TableScan(scan) => scanned(scan, column),
        LogicalPlan::Projection(projection) => {
            let index = projection.schema.index_of_column(column)?;
            match projection.expr.get(index) {
                Some(expr) => canonical(&projection.input, expr),
                None => Err(unknown(column)),
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let index = alias.schema.index_of_column(column)?;
            let (qualifier, field) = alias.input.schema().qualified_field(index);
            definition(&alias.input, &Column::new(qualifier.cloned(), field.name()))
        }
        LogicalPlan::Filter(filter) => definition(&filter.input, column),
        LogicalPlan::Join(join) => {
            if join.left.schema().index_of_column(column).is_ok() {
                definition(&join.left, column)
            } else {
                definition(&join.right, column)
            }
        }
        _ => Err(unknown(column)),
    }
}

fn scanned(scan: &TableScan, column: &Column) -> Result<Expr> {
    let name = match &scan.table_name {
        TableReference::Full { schema, table, .. } | TableReference::Partial { schema, table } => {
            TableReference::partial(schema.clone(), table.clone())
        }
        TableReference::Bare { .. } => match LeafTable::bound_to(scan) {
            Some(bound) => TableReference::partial(bound.name.schema, bound.name.table),
            None => return Err(unknown(column)),
        },
    };
    Ok(Expr::Column(Column::new(Some(name), column.name.clone())))
}

fn unknown(column: &Column) -> DataFusionError {
    DataFusionError::Plan(format!("`{}` is computed, not a column of a table", column.name))
}
