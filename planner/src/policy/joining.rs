//! How the tables of a relation are joined: by a query, and as the FROM of a clause lists it. Inner joins are one set of
//! equalities, in whatever order they are made. A left join adds one table, which NULLs stand in for where nothing matches;
//! it commutes with what is joined to the tables before it, so it is kept apart with its own keys and direction.
//!
//! ```text
//!  a JOIN b ON a.k = b.k LEFT JOIN c ON b.j = c.j      tables a, b, c    joins a.k = b.k    filled c: b.j = c.j
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, Result, TableReference};
use datafusion::prelude::Expr;

use super::matching::{RelationShape, is_steward, ordered};
use super::view::concerns;
use super::{ColumnRef, FromRelation, JoinKey, JoinKind, TableRef};
use crate::bind::unalias;
use crate::catalog::TableName;

/// Left joins by the table that is filled up: pairs of a key of the rows that are kept, and the table's own key.
pub type Filled = BTreeMap<TableName, BTreeSet<(Column, Column)>>;

impl RelationShape {
    /// A column by its pair of table and name.
    pub(super) fn column(table: &TableName, name: &str) -> Column {
        Column::new(Some(TableReference::partial(table.schema.clone(), table.table.clone())), name)
    }

    /// Takes in what is done to other tables, which stand beside these in each row from here on.
    pub(super) fn add(&mut self, other: Self) {
        let Self { tables, joins, filled, predicates, lists, scalars } = other;
        self.tables.extend(tables);
        self.joins.extend(joins);
        self.filled.extend(filled);
        self.predicates.extend(predicates);
        self.lists.extend(lists);
        self.scalars.extend(scalars);
    }

    /// The one table with this name that the shape has.
    fn table(&self, named: &TableRef) -> Option<&TableName> {
        self.tables.keys().find(|table| concerns(Some(named), table))
    }

    /// The table that a column is of.
    pub fn table_of(&self, column: &Column) -> Option<&TableName> {
        self.tables.keys().find(|table| Self::column(table, &column.name) == *column)
    }

    /// Whether a column is of a table that NULLs may stand in for.
    pub(super) fn is_filled(&self, column: &Column) -> bool {
        self.table_of(column).is_some_and(|table| self.filled.contains_key(table))
    }

    /// Whether a column says whose a row is, and nothing of the row. That of a table that is filled up says whether
    /// something matched.
    pub(super) fn names_steward(&self, column: &Column) -> bool {
        is_steward(column) && !self.is_filled(column)
    }

    /// The columns that tell what the steward's name in a table that is filled up tells: where something matched, the keys of
    /// the table that the join compared are there, and only there.
    pub(super) fn telling_steward(&self, column: &Column) -> impl Iterator<Item = Expr> {
        let table = self.table_of(column).filter(|_| is_steward(column));
        let keys = table.and_then(|table| self.filled.get(table)).into_iter().flatten();
        keys.map(|(_, own)| Expr::Column(own.clone()))
    }

    /// All the tables' columns as one schema, to resolve a clause's expressions in.
    pub(super) fn schema(&self) -> Result<DFSchema> {
        self.tables.iter().try_fold(DFSchema::empty(), |all, (table, schema)| match self.filled.contains_key(table) {
            true => all.join(&nullable(schema)?),
            false => all.join(schema),
        })
    }

    /// The tables in words, those that are filled up behind the others.
    pub(super) fn words(&self) -> String {
        let of = |filled: bool| {
            let tables = self.tables.keys().filter(move |table| self.filled.contains_key(*table) == filled);
            tables.map(ToString::to_string).collect::<Vec<_>>()
        };
        std::iter::once(of(false).join(" ⋈ ")).chain(of(true)).collect::<Vec<_>>().join(" ⟕ ")
    }

    /// Whether a clause's relation is this one: the same tables joined on the same keys, and the same of them kept whole.
    pub fn is(&self, from: &FromRelation) -> bool {
        let Some(joined) = self.joined_as(from) else { return false };
        // A key may stand for one that inner joins make equal to it in every row.
        let keys = |of: &Self| -> Filled {
            let first = |(kept, own): &(Column, Column)| (self.first_equal(kept.clone()), own.clone());
            of.filled.iter().map(|(table, keys)| (table.clone(), keys.iter().map(first).collect())).collect()
        };
        joined.tables.len() == self.tables.len() && joined.joins == self.joins && keys(&joined) == keys(self)
    }

    /// These tables joined as a clause's FROM lists them; none if it names others, or if it is not clear what it means.
    pub(super) fn joined_as(&self, from: &FromRelation) -> Option<Self> {
        let mut joined = Self::default();
        for (index, named) in from.tables().enumerate() {
            let (table, schema) = self.tables.get_key_value(self.table(named)?)?;
            if let Some(step) = index.checked_sub(1).and_then(|step| from.joins.get(step)) {
                let left = step.kind == JoinKind::Left || !joined.filled.is_empty();
                let pair = |key| match left {
                    true => self.kept_pair(key, table, &joined),
                    false => self.pair(key, table, &joined.tables),
                };
                let pairs = step.on.iter().map(pair).collect::<Option<BTreeSet<_>>>()?;
                match step.kind {
                    JoinKind::Left => {
                        joined.filled.insert(table.clone(), pairs);
                    }
                    // Such a join would drop the rows that the left join keeps.
                    JoinKind::Inner
                        if pairs.iter().any(|(one, other)| joined.is_filled(one) || joined.is_filled(other)) =>
                    {
                        return None;
                    }
                    JoinKind::Inner => joined.joins.extend(pairs.into_iter().map(|(one, other)| ordered(one, other))),
                }
            }
            joined.tables.insert(table.clone(), schema.clone());
        }
        Some(joined)
    }

    fn pair(
        &self,
        key: &JoinKey,
        joined: &TableName,
        before: &BTreeMap<TableName, DFSchema>,
    ) -> Option<(Column, Column)> {
        match key {
            JoinKey::Same(name) => {
                let mut having = before.iter().filter(|(_, schema)| schema.has_column_with_unqualified_name(name));
                Some((Self::column(having.next()?.0, name), Self::column(joined, name)))
            }
            JoinKey::Pair { left, right } => Some((self.own_column(left)?, self.own_column(right)?)),
        }
    }

    /// A key of the tables before and the key of the table that is joined to them; none unless both are certain.
    fn kept_pair(&self, key: &JoinKey, joined: &TableName, before: &Self) -> Option<(Column, Column)> {
        if before.tables.contains_key(joined) {
            return None;
        }
        match key {
            JoinKey::Same(name) => {
                let has = |schema: &DFSchema| schema.has_column_with_unqualified_name(name);
                let having = before.tables.iter().filter(|(_, schema)| has(schema));
                let mut having = having.map(|(table, _)| Self::column(table, name));
                let kept = having.next()?;
                let same = having.all(|other| before.first_equal(other) == before.first_equal(kept.clone()));
                let own = self.tables.get(joined).is_some_and(has);
                (same && own).then(|| (kept, Self::column(joined, name)))
            }
            JoinKey::Pair { left, right } => {
                let (left, right) = (self.certain_column(left)?, self.certain_column(right)?);
                let own = |column: &Column| self.table_of(column) == Some(joined);
                let kept = |column: &Column| before.table_of(column).is_some();
                match () {
                    () if kept(&left) && own(&right) => Some((left, right)),
                    () if kept(&right) && own(&left) => Some((right, left)),
                    () => None,
                }
            }
        }
    }

    /// The column that a clause names; the first table that has it, where the clause does not say whose it is.
    pub(super) fn own_column(&self, column: &ColumnRef) -> Option<Column> {
        let table = match &column.table {
            Some(table) => self.table(table)?,
            None => self.having(&column.column).next()?,
        };
        Some(Self::column(table, &column.column))
    }

    /// The same; none if several tables have it and the clause does not say whose it is.
    fn certain_column(&self, column: &ColumnRef) -> Option<Column> {
        if column.table.is_none() && self.having(&column.column).count() > 1 {
            return None;
        }
        self.own_column(column)
    }

    fn having<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a TableName> {
        self.tables.iter().filter(|(_, schema)| schema.has_column_with_unqualified_name(name)).map(|(table, _)| table)
    }
}

/// The schema of a table that NULLs may stand in for.
fn nullable(schema: &DFSchema) -> Result<DFSchema> {
    let fields = schema
        .iter()
        .map(|(qualifier, field)| (qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(true))));
    DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())
}

/// Whether an expression is a column, or a cast of one, which is NULL where the column is.
pub(super) fn is_null_of_null(expr: &Expr) -> bool {
    match unalias(expr) {
        Expr::Column(_) => true,
        Expr::Cast(cast) => is_null_of_null(&cast.expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::ExprSchema;

    use super::*;
    use crate::policy::assemble::reference;
    use crate::policy::{Clause, ReleaseClause};
    use crate::sql::parse_agreement;

    /// Tables `a`, `b`, `c` and `d` that have these columns.
    fn tables() -> RelationShape {
        let table = |(name, columns): (&str, &[&str])| {
            let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Int64, false)).collect();
            let name = TableName::new("s", name);
            let schema = DFSchema::try_from_qualified_schema(reference(&name), &Schema::new(fields)).unwrap();
            (name, schema)
        };
        let tables: [(&str, &[&str]); 4] = [("a", &["k", "j"]), ("b", &["k", "m"]), ("c", &["m", "k"]), ("d", &["j"])];
        RelationShape { tables: tables.map(table).into(), ..RelationShape::default() }
    }

    fn from(text: &str) -> FromRelation {
        let text =
            format!("CREATE AGREEMENT g ON SITE x FOR ANYONE PURPOSE statistics AS (RELEASE ROWS (*) FROM {text})");
        match parse_agreement(&text).unwrap().clauses.remove(0).clause {
            Clause::Release(ReleaseClause { from, .. }) => from,
            other => panic!("{other:?}"),
        }
    }

    fn joined(text: &str) -> RelationShape {
        tables().joined_as(&from(text)).unwrap_or_else(|| panic!("`{text}` is not clear"))
    }

    #[test]
    fn a6_left_joins_are_the_same_in_any_order_that_means_the_same() {
        for same in [
            ["a LEFT JOIN b ON k", "s.a LEFT JOIN b ON b.k = a.k"],
            ["a JOIN d ON j LEFT JOIN b ON k", "a LEFT JOIN b ON k JOIN d ON a.j = d.j"],
            ["a LEFT JOIN b ON k LEFT JOIN c ON m", "a LEFT JOIN b ON a.k = b.k LEFT JOIN c ON c.m = b.m"],
            ["a LEFT JOIN b ON k LEFT JOIN d ON j", "a LEFT JOIN d ON j LEFT JOIN b ON k"],
            // Inner joins make keys equal in every row.
            ["a JOIN b ON k LEFT JOIN c ON k", "a JOIN b ON k LEFT JOIN c ON b.k = c.k"],
        ] {
            assert!(joined(same[0]).is(&from(same[1])) && joined(same[1]).is(&from(same[0])), "{same:?}");
        }
    }

    #[test]
    fn a6_the_kind_the_side_and_the_keys_of_a_left_join_count() {
        let all = [
            "a JOIN b ON k",
            "a LEFT JOIN b ON k",
            "b LEFT JOIN a ON k",
            "a LEFT JOIN b ON a.j = b.k",
            "a LEFT JOIN b ON k AND a.j = b.m",
            "a LEFT JOIN b ON k LEFT JOIN d ON j",
            "a LEFT JOIN b ON k JOIN d ON j",
            "a JOIN b ON k LEFT JOIN d ON j",
            "a LEFT JOIN b ON k LEFT JOIN c ON a.k = c.k",
            "a LEFT JOIN b ON k LEFT JOIN c ON b.k = c.k",
            "a LEFT JOIN b ON k LEFT JOIN c ON m",
        ];
        for (at, one) in all.iter().enumerate() {
            for (with, other) in all.iter().enumerate() {
                assert_eq!(joined(one).is(&from(other)), at == with, "{one}, {other}");
            }
        }
    }

    #[test]
    fn a6_what_is_not_clear_is_no_relation() {
        for text in [
            // Of `a` or of `b`, which is NULL where nothing matches?
            "a LEFT JOIN b ON k LEFT JOIN c ON k",
            "a LEFT JOIN b ON k LEFT JOIN c ON k = m",
            "a LEFT JOIN b ON k JOIN c ON m",
            "a LEFT JOIN b ON k JOIN c ON b.m = c.m",
            "a LEFT JOIN b ON a.k = a.j",
            "a LEFT JOIN d ON k",
            "a LEFT JOIN a ON k",
        ] {
            assert!(tables().joined_as(&from(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn c3_a_table_that_is_filled_up_may_hold_nulls_and_its_steward_tells_of_that() {
        let shape = joined("a LEFT JOIN b ON k");
        let schema = shape.schema().unwrap();
        let nullable = |table: &str| {
            let column = RelationShape::column(&TableName::new("s", table), "k");
            schema.field_from_column(&column).unwrap().is_nullable()
        };
        assert_eq!([nullable("a"), nullable("b")], [false, true]);
        let steward = |table: &str| RelationShape::column(&TableName::new("s", table), crate::catalog::STEWARD);
        assert_eq!([shape.names_steward(&steward("a")), shape.names_steward(&steward("b"))], [true, false]);
        assert_eq!(shape.words(), "s.a ⟕ s.b");
    }
}
