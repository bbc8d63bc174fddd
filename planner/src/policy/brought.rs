//! Released data below a release point (rule A.5). Rows of a released relation keep or drop protected rows as a list does, and
//! the one row of a released aggregate is compared with columns as a literal is. In a protected part a leaf stands for them;
//! whoever runs the part is sent them from where they are released.
//!
//! ```text
//!  Filter(x > avg)                             LeftSemi(x > c0)
//!   LeftJoin()                           →       Scan(t: x)
//!    Scan(t: x)   Aggregate(avg(y) …)            Scan($brought.b0: c0)      b0 = the released aggregate
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Operator, TableScan, TableScanBuilder, lit,
};
use datafusion::prelude::Expr;

use super::flow::Protected;
use super::matching::RelationShape;
use crate::wire::LeafTable;

/// The schema of the leaves that stand for released data.
const BROUGHT: &str = "$brought";

/// The column of released data with this number, in order.
fn column(number: usize, index: usize) -> Column {
    Column::new(Some(reference(number)), format!("c{index}"))
}

fn reference(number: usize) -> TableReference {
    TableReference::partial(BROUGHT, format!("b{number}"))
}

fn number_of(reference: &TableReference) -> Option<usize> {
    match reference {
        TableReference::Partial { schema, table } if schema.as_ref() == BROUGHT => {
            table.strip_prefix('b')?.parse().ok()
        }
        _ => None,
    }
}

/// Whether a column is one of released data, which are compared with columns of tables.
pub(crate) fn is_brought(column: &Column) -> bool {
    column.relation.as_ref().is_some_and(|relation| number_of(relation).is_some())
}

/// The number of the released data that a leaf stands for.
pub fn brought_by(scan: &TableScan) -> Option<usize> {
    number_of(&scan.table_name)
}

/// The released data that a plan reads.
pub fn brought_in(plan: &LogicalPlan) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    let visited = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            numbers.extend(brought_by(scan));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor does not fail");
    numbers
}

/// The leaf that stands for released data with columns of these types.
pub(super) fn leaf<'a>(number: usize, types: impl IntoIterator<Item = &'a DataType>) -> Result<LogicalPlan> {
    let types = types.into_iter().enumerate();
    let fields: Vec<Field> = types.map(|(index, kind)| Field::new(format!("c{index}"), kind.clone(), true)).collect();
    let source = provider_as_source(LeafTable::new(Arc::new(Schema::new(fields))));
    Ok(LogicalPlan::TableScan(TableScanBuilder::new(reference(number), source).build()?))
}

/// The types of what a plan gives.
pub(super) fn types(schema: &DFSchema) -> impl Iterator<Item = &DataType> {
    schema.fields().iter().map(|field| field.data_type())
}

/// The leaf under the names that the data have in a question.
pub(super) fn named_leaf(number: usize, names: &DFSchema) -> Result<LogicalPlan> {
    let leaf = leaf(number, types(names))?;
    let columns = leaf.schema().columns().into_iter().zip(names.columns());
    let columns = columns.map(|(have, want)| Expr::Column(have).alias_qualified(want.relation, want.name));
    LogicalPlanBuilder::from(leaf).project(columns.collect::<Vec<_>>())?.build()
}

/// Whether a join puts one row beside each of its left side, whatever the data: that of an aggregate without keys.
pub(super) fn is_beside_one_row(join: &Join) -> bool {
    let beside_all = match &join.filter {
        None => true,
        Some(filter) => join.join_type == JoinType::Inner || *filter == lit(true),
    };
    let kind = matches!(join.join_type, JoinType::Inner | JoinType::Left);
    kind && beside_all && join.on.is_empty() && gives_one_row(&join.right)
}

fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => gives_one_row(&alias.input),
        LogicalPlan::Projection(projection) => gives_one_row(&projection.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

impl RelationShape {
    /// Takes released values that columns are compared with like literals. The number tells them from those it has.
    pub(super) fn bring(&mut self, number: usize, types: impl IntoIterator<Item = DataType>) {
        self.scalars.extend(types.into_iter().enumerate().map(|(index, kind)| (column(number, index), kind)));
    }

    /// The first number that no released values of these have.
    fn next_number(&self) -> usize {
        let numbers = self.scalars.keys().filter_map(|column| number_of(column.relation.as_ref()?));
        numbers.max().map_or(0, |last| last + 1)
    }

    fn numbers_in(&self, predicate: &Expr) -> BTreeSet<usize> {
        let columns = predicate.column_refs().into_iter().filter(|column| self.scalars.contains_key(*column));
        columns.filter_map(|column| number_of(column.relation.as_ref()?)).collect()
    }

    /// The predicates without released values, and the others by the numbers of these.
    pub(super) fn by_brought(&self) -> (Vec<Expr>, BTreeMap<BTreeSet<usize>, Vec<Expr>>) {
        let mut by_numbers: BTreeMap<BTreeSet<usize>, Vec<Expr>> = BTreeMap::new();
        for predicate in &self.predicates {
            by_numbers.entry(self.numbers_in(predicate)).or_default().push(predicate.clone());
        }
        (by_numbers.remove(&BTreeSet::new()).unwrap_or_default(), by_numbers)
    }

    /// The rows for which predicates over released values hold. Each value is one row, so a row passes once or not at all.
    pub(super) fn compared(
        &self,
        rows: LogicalPlanBuilder,
        numbers: &BTreeSet<usize>,
        predicates: Vec<Expr>,
    ) -> Result<LogicalPlanBuilder> {
        let mut values: Option<LogicalPlanBuilder> = None;
        for number in numbers {
            let types = (0..).map_while(|index| self.scalars.get(&column(*number, index)));
            let leaf = leaf(*number, types)?;
            values = Some(match values {
                None => LogicalPlanBuilder::from(leaf),
                Some(before) => before.cross_join(leaf)?,
            });
        }
        let Some(values) = values else { return Ok(rows) };
        // An equality of two columns would be a key, and keys are those of lists.
        let plain = |predicate| match predicate {
            Expr::BinaryExpr(BinaryExpr { op: Operator::Eq, .. }) => Expr::IsTrue(Box::new(predicate)),
            other => other,
        };
        let filter = conjunction(predicates.into_iter().map(plain));
        let join = Join::try_new(
            Arc::new(rows.build()?),
            Arc::new(values.build()?),
            vec![],
            filter,
            JoinType::LeftSemi,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok(LogicalPlanBuilder::from(LogicalPlan::Join(join)))
    }

    /// Whether a predicate compares with a released value.
    pub(super) fn reads_scalar(&self, predicate: &Expr) -> bool {
        !self.numbers_in(predicate).is_empty()
    }

    /// Whether an expression is a released value, or a cast of one.
    pub(super) fn is_scalar(&self, expr: &Expr) -> bool {
        self.scalar_type(expr).is_some()
    }

    /// The type of a released value.
    pub(super) fn scalar_type(&self, expr: &Expr) -> Option<DataType> {
        match expr {
            Expr::Column(column) => self.scalars.get(column).cloned(),
            Expr::Cast(cast) if self.is_scalar(&cast.expr) => Some(cast.field.data_type().clone()),
            _ => None,
        }
    }
}

/// Whether a semi join, as it was read from the wire, compares rows with released values: by a condition and no key, which is
/// not that of `NOT IN`.
pub(super) fn compares_values(join: &Join) -> bool {
    join.join_type == JoinType::LeftSemi && join.on.is_empty() && join.filter.is_some()
}

/// Takes what such a join asks of protected rows.
pub(super) fn compare(join: &Join, rows: &mut Protected) -> Result<(), String> {
    let Some(filter) = &join.filter else { return Ok(()) };
    let number = rows.relation.next_number();
    let values = join.right.schema();
    let replaced = filter.clone().transform_up(|node| match node {
        Expr::Column(name) if values.has_column(&name) && !join.left.schema().has_column(&name) => {
            let index = values.index_of_column(&name)?;
            Ok(Transformed::yes(Expr::Column(column(number, index))))
        }
        other => Ok(Transformed::no(other)),
    });
    let replaced = replaced.map_err(|error| error.strip_backtrace())?.data;
    rows.relation.bring(number, types(values).cloned());
    let predicate = rows.written(&replaced, join.left.schema())?;
    rows.restrict(&predicate)
}
