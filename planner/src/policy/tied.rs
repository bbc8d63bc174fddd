//! Columns that say something of each other. A condition over two columns, or a join by them, can make them equal or nearly so;
//! then values of the one are values of the other, and what tells them apart tells of people as if they were one column. Whether
//! it does is not looked into: columns that stand together in one condition are tied.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::prelude::Expr;

use super::RelationShape;
use super::joining::Filled;
use super::matching::{Asked, columns_of};
use super::seen::{averages_rows, sums_rows};

/// Which columns are tied, directly or by others between them.
#[derive(Default)]
pub(super) struct Tied(Vec<BTreeSet<Column>>);

impl Tied {
    /// By the joins and conditions of these rows, and by the FILTERs of these values.
    pub(super) fn of(relation: &RelationShape, values: &[Asked]) -> Self {
        let mut tied = Self::by(relation);
        tied.filters(values);
        tied
    }

    fn by(relation: &RelationShape) -> Self {
        let mut tied = Self::default();
        tied.rows(&relation.joins, &relation.filled, &relation.predicates);
        relation.lists.iter().for_each(|columns| tied.tie(columns.clone()));
        tied
    }

    /// By joins and conditions.
    pub(super) fn rows<'e>(
        &mut self,
        joins: &BTreeSet<(Column, Column)>,
        filled: &Filled,
        predicates: impl IntoIterator<Item = &'e Expr>,
    ) {
        for (one, other) in joins.iter().chain(filled.values().flatten()) {
            self.tie([one.clone(), other.clone()].into());
        }
        predicates.into_iter().for_each(|predicate| self.condition(predicate));
    }

    /// By the FILTERs of these values.
    pub(super) fn filters<'e>(&mut self, values: impl IntoIterator<Item = &'e Asked>) {
        values.into_iter().filter_map(|value| value.filter.as_ref()).for_each(|filter| self.condition(filter));
    }

    fn condition(&mut self, condition: &Expr) {
        for part in split_conjunction(condition) {
            self.tie(BTreeSet::from_iter(columns_of(part)));
        }
    }

    /// By a list that columns are compared with together.
    pub(super) fn tie(&mut self, mut columns: BTreeSet<Column>) {
        if columns.len() < 2 {
            return;
        }
        self.0.retain(|others| {
            let apart = columns.is_disjoint(others);
            if !apart {
                columns.extend(others.iter().cloned());
            }
            apart
        });
        self.0.push(columns);
    }

    /// The columns of an expression, and those that are tied to them.
    pub(super) fn columns(&self, expr: &Expr) -> BTreeSet<Column> {
        let mut columns = BTreeSet::from_iter(columns_of(expr));
        let tied = self.0.iter().filter(|tied| !tied.is_disjoint(&columns)).flatten().cloned();
        let tied: Vec<Column> = tied.collect();
        columns.extend(tied);
        columns
    }
}

/// Of each value, whether it tells how many rows there are by what is known. A sum does if the keys, or the conditions that it is
/// under, say something of every column of its argument, if there are any. Averages under several FILTERs do if one of these says
/// something of their column: then the average of the rows that it leaves out may be known, and with that the portion which they
/// are. `bare` are the values without widening.
pub(super) fn known(bare: &[Asked], keys: &[Expr], relation: &RelationShape) -> Vec<bool> {
    let tied = Tied::by(relation);
    let said = keys.iter().chain(&relation.predicates).flat_map(columns_of);
    let of_rows: BTreeSet<Column> = said.chain(relation.lists.iter().flatten().cloned()).collect();
    let by_filters = Tied::of(relation, bare);
    let is_known = |value: &Asked| {
        let Some(argument) = &value.argument else { return false };
        if averages_rows(&value.function, value.distinct) {
            return tells_portions(value, argument, bare, &by_filters);
        }
        if !sums_rows(&value.function, value.distinct) {
            return false;
        }
        let mut said = of_rows.clone();
        said.extend(value.filter.iter().flat_map(columns_of));
        let columns = columns_of(argument);
        let told = |column: Column| !tied.columns(&Expr::Column(column)).is_disjoint(&said);
        columns.into_iter().all(told)
    };
    bare.iter().map(is_known).collect()
}

/// Whether an average stands beside one of a column that is tied to its own and under another FILTER, and a FILTER of such ones says
/// something of it.
fn tells_portions(value: &Asked, argument: &Expr, bare: &[Asked], tied: &Tied) -> bool {
    let columns = tied.columns(argument);
    let mut alike = bare.iter().filter(|other| {
        averages_rows(&other.function, other.distinct)
            && other.argument.as_ref().is_some_and(|of| !tied.columns(of).is_disjoint(&columns))
    });
    let says = |other: &Asked| other.filter.iter().flat_map(columns_of).any(|column| columns.contains(&column));
    alike.clone().any(|other| other.filter != value.filter) && alike.any(says)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;
    use datafusion::prelude::col;

    use super::*;

    fn sum(argument: &str, filter: Option<Expr>) -> Asked {
        Asked { function: "sum".into(), distinct: false, argument: Some(col(argument)), filter }
    }

    fn names(columns: &BTreeSet<Column>) -> Vec<&str> {
        columns.iter().map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn b5_columns_of_one_condition_or_join_are_tied() {
        let relation = RelationShape {
            joins: [(Column::from_name("k"), Column::from_name("l"))].into(),
            predicates: vec![col("a").eq(col("b")), col("c").gt(lit(1)).and(col("d").gt(lit(1)))],
            lists: [[Column::from_name("e"), Column::from_name("f")].into()].into(),
            ..RelationShape::default()
        };
        let tied = Tied::of(&relation, &[sum("a", Some(col("b").gt(col("c"))))]);
        assert_eq!(names(&tied.columns(&col("a"))), ["a", "b", "c"]);
        assert_eq!(names(&tied.columns(&(col("k") + col("d")))), ["d", "k", "l"]);
        assert_eq!(names(&tied.columns(&col("f"))), ["e", "f"]);
    }

    #[test]
    fn b5_what_keys_and_conditions_say_something_of_is_known() {
        let relation = RelationShape {
            joins: [(Column::from_name("k"), Column::from_name("l"))].into(),
            predicates: vec![col("a").gt(lit(1))],
            ..RelationShape::default()
        };
        let values = ["a", "b", "k", "l", "c"].map(|name| sum(name, (name == "b").then(|| col("b").eq(lit(1)))));
        assert_eq!(known(&values, &[col("l")], &relation), [true, true, true, true, false]);
        let listed = RelationShape { lists: [[Column::from_name("c")].into()].into(), ..relation.clone() };
        assert_eq!(known(&values, &[], &listed), [true, true, false, false, true]);
        let both = Asked { argument: Some(col("a") + col("c")), ..sum("a", None) };
        let constant = Asked { argument: Some(lit(1)), ..sum("a", None) };
        let once = Asked { distinct: true, ..sum("a", None) };
        let largest = Asked { function: "max".into(), ..sum("a", None) };
        assert_eq!(known(&[both, constant, once, largest], &[], &relation), [false, true, false, false]);
        let average = |filter| Asked { function: "avg".into(), ..sum("c", filter) };
        let about = |column: &str| Some(col(column).not_eq(lit(5)));
        assert_eq!(known(&[average(None), average(about("c"))], &[], &relation), [true, true]);
        assert_eq!(known(&[average(None), average(about("e"))], &[], &relation), [false, false]);
        assert_eq!(known(&[average(about("c")), average(about("c"))], &[], &relation), [false, false]);
    }
}
