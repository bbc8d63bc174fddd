//! Where a column comes from: through projections, aliases, filters and joins down to the table that holds it.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, Result, TableReference};
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
    let index = plan.schema().index_of_column(column).ok()?;
    origin_at(plan, index)
}

/// The same for the output column at an index.
pub fn origin_at(plan: &LogicalPlan, index: usize) -> Option<Origin> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = LeafTable::bound_to(scan)?;
            Some(Origin { table, column: scan.projected_schema.field(index).name().clone() })
        }
        LogicalPlan::Projection(projection) => match unalias(projection.expr.get(index)?) {
            Expr::Column(column) => origin(&projection.input, column),
            _ => None,
        },
        LogicalPlan::Aggregate(aggregate) => match unalias(aggregate.group_expr.get(index)?) {
            Expr::Column(column) => origin(&aggregate.input, column),
            _ => None,
        },
        LogicalPlan::SubqueryAlias(alias) => origin_at(&alias.input, index),
        LogicalPlan::Filter(filter) => origin_at(&filter.input, index),
        LogicalPlan::Sort(sort) => origin_at(&sort.input, index),
        LogicalPlan::Limit(limit) => origin_at(&limit.input, index),
        LogicalPlan::Window(window) => {
            let inputs = window.input.schema().fields().len();
            if index < inputs { origin_at(&window.input, index) } else { None }
        }
        LogicalPlan::Join(join) => {
            let (qualifier, field) = join.schema.qualified_field(index);
            let column = Column::new(qualifier.cloned(), field.name());
            let from_left = join.left.schema().index_of_column(&column).is_ok();
            if from_left { origin(&join.left, &column) } else { origin(&join.right, &column) }
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
