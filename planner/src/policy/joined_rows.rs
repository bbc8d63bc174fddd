//! Rows of a join that a RELEASE ROWS clause releases. Its tables alone stay protected, so the join is made inside the
//! steward's view, by the steward, from its own copy of the clause: a fragment names the clause and sees one table, whose
//! columns are those of all the joined tables. What else a question does is about released rows.
//!
//! ```text
//!  Projection(a.x, b.y)                     Projection(t0_x AS a.x, t1_y AS b.y)
//!   Filter(a.x > 2)                   →      Filter(t0_x > 2)
//!    Join(a.k = b.k) a, b                     Scan(a ⋈ b of clause 3: t0_x, t1_y)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, TableScanBuilder, when};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::assemble::{Rows, reference};
use super::denial::{Reason, Stop};
use super::govern::Governing;
use super::hashing::HashListing;
use super::matching::{ANOTHER_RELATION, RelationShape, is_steward, named};
use super::subject::RawTables;
use super::view::view_of;
use super::within::{choices, common_conditions, needed, row_clause};
use super::{Agreement, Clause, JoinKind, ReleaseClause, ReleaseWhat};
use crate::bind::{VisibleTable, canonical, scalar_expr};
use crate::catalog::{STEWARD, TableName};
use crate::wire::{LeafTable, joined_column, joined_parts};

/// A RELEASE ROWS clause over joined tables, and these, in order of name. A table without a schema is one of the schema of
/// `first`, which is the first of them.
pub(super) fn joined_clause<'a>(
    agreement: &'a Agreement,
    clause: u32,
    first: &TableName,
) -> Option<(&'a ReleaseClause, Vec<TableName>)> {
    let release = row_clause(agreement, clause).filter(|release| !release.from.joins.is_empty())?;
    let name = |named: &super::TableRef| {
        TableName::new(named.schema.clone().unwrap_or_else(|| first.schema.clone()), named.table.clone())
    };
    let names: BTreeSet<TableName> = release.from.tables().map(name).collect();
    let each_once = names.len() == release.from.tables().count();
    (each_once && names.first() == Some(first)).then(|| (release, names.into_iter().collect()))
}

/// What the rows of a leaf with these columns are, which such a clause releases.
pub(super) fn within_join(
    agreement: &Agreement,
    clause: u32,
    first: &TableName,
    leaf: &Schema,
    state: &SessionState,
) -> Option<RelationShape> {
    let (release, names) = joined_clause(agreement, clause, first)?;
    let mut fields: BTreeMap<usize, Vec<Field>> = BTreeMap::new();
    for field in leaf.fields() {
        let Some((table, column)) = joined_parts(field.name()) else { continue };
        fields.entry(table).or_default().push(field.as_ref().clone().with_name(column));
    }
    let schema = |(index, name): (usize, &TableName)| {
        let own = Schema::new(fields.get(&index)?.clone());
        Some((name.clone(), DFSchema::try_from_qualified_schema(reference(name), &own).ok()?))
    };
    let tables = names.iter().enumerate().map(schema).collect::<Option<BTreeMap<_, _>>>()?;
    let mut relation = RelationShape { tables, ..RelationShape::default() }.joined_as(&release.from)?;
    relation.predicates = relation.own_conditions(release.filter.as_ref(), state);
    (release.filter.is_none() || !relation.predicates.is_empty()).then_some(relation)
}

/// The columns of a joined table's leaf over the tables' own; none if one of them has no such name.
pub(super) fn leaf_columns<'a>(
    relation: &RelationShape,
    names: impl IntoIterator<Item = &'a String>,
) -> Option<Vec<Expr>> {
    let whole = relation.tables.keys().find(|table| !relation.filled.contains_key(*table))?;
    let column = |name: &'a String| {
        let (table, column) = match joined_parts(name) {
            _ if name == STEWARD => (whole, STEWARD),
            Some((table, column)) => (relation.tables.keys().nth(table)?, column),
            None => return None,
        };
        Some(Expr::Column(RelationShape::column(table, column)))
    };
    names.into_iter().map(column).collect()
}

/// The plan of joined rows as one of released rows, if each steward has a clause that covers what the question needs.
pub(super) fn released_join(
    rows: &Rows,
    governing: &Governing<'_>,
    state: &SessionState,
) -> Result<Option<LogicalPlan>> {
    let tables: Vec<TableName> = rows.relation.tables.keys().cloned().collect();
    let (Some(first), Some(scan)) = (tables.first(), rows.scans.first()) else { return Ok(None) };
    if rows.scans.iter().any(|other| other.stewards != scan.stewards) {
        return Ok(None);
    }
    let clauses = |steward: &SiteId| {
        let Some(held) = governing.get(steward) else { return Vec::new() };
        let clauses = rows.relation.row_clauses(&held.agreement, state).into_iter();
        let joins = |clause| joined_clause(&held.agreement, clause, first).is_some_and(|(_, names)| names == tables);
        clauses.filter(|(clause, _)| joins(*clause)).collect()
    };
    for combination in choices(&scan.stewards, &clauses) {
        let common = common_conditions(&combination);
        let needed = all_needed(rows, &common)?;
        let listed = |exprs: &[Expr]| {
            combination.iter().all(|(steward, (clause, _))| {
                let held = governing.get(steward);
                held.is_some_and(|held| rows.relation.lists_columns(&held.agreement, *clause, exprs, state))
            })
        };
        if !listed(&needed) {
            continue;
        }
        let columns: BTreeSet<&Column> = needed.iter().flat_map(Expr::column_refs).collect();
        let words = columns.into_iter().map(|column| Ok((column.clone(), word(rows, column, &listed)?)));
        let words = words.collect::<Result<Vec<(Column, Option<Expr>)>>>()?;
        let words: Option<BTreeMap<Column, Expr>> =
            words.into_iter().map(|(column, word)| Some((column, word?))).collect();
        if let Some(words) = words {
            let within = combination.into_iter().map(|(steward, (clause, _))| (steward, clause)).collect();
            return Ok(Some(JoinedTable { rows, first, words }.plan(view(rows, within)?, &common)?));
        }
    }
    Ok(None)
}

/// Why joined rows are not released: what the clauses over their very join lack, and what their tables alone do.
pub(super) fn why_not_released(
    mut rows: Rows,
    governing: &Governing<'_>,
    state: &SessionState,
) -> Result<Vec<Reason>, Stop> {
    let mut why = Vec::new();
    if rows.scans.len() > 1 {
        let columns: BTreeSet<Column> = all_needed(&rows, &[])?.iter().flat_map(Expr::column_refs).cloned().collect();
        let columns: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
        for (steward, held) in
            governing.iter().filter(|(steward, _)| rows.scans.iter().any(|one| one.stewards.contains(steward)))
        {
            for numbered in &held.agreement.clauses {
                let Clause::Release(release) = &numbered.clause else { continue };
                let ReleaseWhat::Rows(listed) = &release.what else { continue };
                if !rows.relation.is(&release.from) {
                    continue;
                }
                let filter = release.filter.as_ref();
                let lacking =
                    rows.relation.rows_covered(listed, &release.from, filter, &columns, HashListing::Hash, state);
                let texts = named(&held.agreement, numbered, lacking.err().unwrap_or_default());
                why.extend(texts.into_iter().map(|text| Reason { steward: Some(steward.clone()), text }));
                // So it said of the tables alone.
                let another = named(&held.agreement, numbered, vec![ANOTHER_RELATION.into()]);
                rows.why.retain(|one| one.steward.as_ref() != Some(steward) || !another.contains(&one.text));
            }
        }
    }
    why.extend(rows.why);
    Ok(why)
}

/// What a question needs of joined rows beside these conditions, with what it compares with lists.
fn all_needed(rows: &Rows, conditions: &[Expr]) -> Result<Vec<Expr>> {
    let lists = rows.relation.lists.iter().flatten().cloned().map(Expr::Column);
    Ok(needed(rows, conditions)?.into_iter().chain(lists).collect())
}

/// A column as the joined table has it; none if it has no such one. It has one column for the steward, which all tables that
/// are kept whole have alike, and a table that is filled up where something matched, as a listed key of it tells.
fn word(rows: &Rows, column: &Column, listed: &dyn Fn(&[Expr]) -> bool) -> Result<Option<Expr>> {
    let Some(first) = rows.relation.tables.keys().next().map(reference) else { return Ok(None) };
    let named = |name: String| Expr::Column(Column::new(Some(first.clone()), name));
    if is_steward(column) {
        let steward = named(STEWARD.to_owned());
        if rows.relation.names_steward(column) {
            return Ok(Some(steward));
        }
        let key = rows.relation.telling_steward(column).find(|key| listed(std::slice::from_ref(key)));
        let Some(key) = key.as_ref().and_then(Expr::try_as_col) else { return Ok(None) };
        let key = word(rows, key, listed)?;
        return key.map(|key| when(key.is_not_null(), steward).end()).transpose();
    }
    let index =
        rows.relation.table_of(column).and_then(|table| rows.relation.tables.keys().position(|have| have == table));
    Ok(index.map(|index| named(joined_column(index, &column.name))))
}

/// The joined table as a question sees it.
fn view(rows: &Rows, within: BTreeMap<SiteId, u32>) -> Result<VisibleTable> {
    let joined: Vec<TableName> = rows.relation.tables.keys().cloned().collect();
    let (Some(name), Some(scan)) = (joined.first().cloned(), rows.scans.first()) else {
        return plan_err!("a join has tables");
    };
    let mut fields = Vec::new();
    for (index, table) in joined.iter().enumerate() {
        let Some(scan) = rows.scans.iter().find(|scan| scan.name == *table) else { return plan_err!("no `{table}`") };
        let filled = rows.relation.filled.contains_key(table);
        for field in scan.schema.fields().iter().filter(|field| field.name() != STEWARD) {
            let nullable = filled || field.is_nullable();
            fields.push(Field::new(joined_column(index, field.name()), field.data_type().clone(), nullable));
        }
    }
    fields.push(Field::new(STEWARD, DataType::Utf8, false));
    Ok(VisibleTable {
        site: None,
        name,
        stewards: scan.stewards.clone(),
        local: None,
        shared: None,
        colocated: BTreeMap::new(),
        schema: Arc::new(Schema::new(fields)),
        within,
        joined,
    })
}

/// A joined table in place of the rows that a question joins.
struct JoinedTable<'a> {
    rows: &'a Rows,
    first: &'a TableName,
    /// The columns of the tables over its own.
    words: BTreeMap<Column, Expr>,
}

impl JoinedTable<'_> {
    /// The plan over the table, of which it reads the columns that it needs, without the conditions that hold there.
    fn plan(&self, view: VisibleTable, held: &[Expr]) -> Result<LogicalPlan> {
        let read: BTreeSet<&Column> = self.words.values().flat_map(Expr::column_refs).collect();
        let read = |field: &Field| read.iter().any(|column| column.name == *field.name());
        let fields = view.schema.fields().iter().enumerate();
        let read = fields.filter(|(_, field)| read(field)).map(|(index, _)| index).collect();
        let source = provider_as_source(LeafTable::visible(view.clone()));
        let scan = TableScanBuilder::new(reference(self.first), source).with_projection(Some(read)).build()?;
        let mut plan = LogicalPlanBuilder::from(LogicalPlan::TableScan(scan));
        let left = self.rows.relation.predicates.iter().filter(|predicate| !held.contains(predicate));
        if let Some(predicate) = conjunction(left.map(|one| self.written(one)).collect::<Result<Vec<_>>>()?) {
            plan = plan.filter(predicate)?;
        }
        for (number, list) in self.rows.lists.iter().enumerate() {
            let mut list = list.clone();
            for (own, _) in &mut list.pairs {
                *own = self.written(own)?;
            }
            plan = list.joined(plan, number)?;
        }
        let outputs = self.rows.plan.schema().columns().into_iter().map(|column| {
            let value = canonical(&self.rows.plan, &Expr::Column(column.clone()))?;
            Ok(self.written(&value)?.alias_qualified(column.relation, column.name))
        });
        plan.project(outputs.collect::<Result<Vec<_>>>()?)?.build()
    }

    fn written(&self, expr: &Expr) -> Result<Expr> {
        let written = expr.clone().transform_up(|node| match node {
            Expr::Column(column) => match self.words.get(&column) {
                Some(word) => Ok(Transformed::yes(word.clone())),
                None => plan_err!("the joined table has no `{column}`"),
            },
            other => Ok(Transformed::no(other)),
        })?;
        Ok(written.data)
    }
}

/// The joined rows that a clause releases, as their steward's site makes them of the views of its tables: with every column
/// of these, since the condition of a clause need not be listed.
pub(super) fn joined_view(
    agreement: &Agreement,
    clause: u32,
    first: &TableName,
    tables: &RawTables,
    state: &SessionState,
) -> Result<LogicalPlan> {
    let Some((release, names)) = joined_clause(agreement, clause, first) else {
        return plan_err!("clause {clause} releases no rows of a join");
    };
    let mut views = BTreeMap::new();
    for name in &names {
        views.insert(name.clone(), view_of(agreement, name, tables, state)?.build()?);
    }
    let schemas = views.iter().map(|(name, view)| (name.clone(), view.schema().as_ref().clone()));
    let shape = RelationShape { tables: schemas.collect(), ..RelationShape::default() };
    let Some(shape) = shape.joined_as(&release.from) else {
        return plan_err!("clause {clause} joins tables by keys that they do not have");
    };
    let columns = names.iter().enumerate().flat_map(|(index, name)| {
        let fields = shape.tables.get(name).into_iter().flat_map(|schema| schema.fields().iter());
        fields.map(move |field| {
            Expr::Column(RelationShape::column(name, field.name())).alias(joined_column(index, field.name()))
        })
    });
    let columns: Vec<Expr> = columns.collect();
    let mut view = joined_as_listed(release, &shape, views)?;
    if let Some(condition) = &release.filter {
        let condition = scalar_expr(condition, view.schema(), state)?;
        view = view.filter(condition.is_true())?;
    }
    crate::bind::analyze(view.project(columns)?.build()?, state)
}

/// The tables joined in the order in which the clause lists them.
fn joined_as_listed(
    release: &ReleaseClause,
    shape: &RelationShape,
    mut views: BTreeMap<TableName, LogicalPlan>,
) -> Result<LogicalPlanBuilder> {
    let mut plan: Option<LogicalPlanBuilder> = None;
    let kinds = std::iter::once(JoinKind::Inner).chain(release.from.joins.iter().map(|step| step.kind));
    for (named, kind) in release.from.tables().zip(kinds) {
        let table = views.keys().find(|table| super::view::concerns(Some(named), table)).cloned();
        let Some((table, view)) = table.and_then(|table| views.remove_entry(&table)) else {
            return plan_err!("`{named}` stands twice in a relation");
        };
        let Some(before) = plan else {
            plan = Some(LogicalPlanBuilder::from(view));
            continue;
        };
        let there = |column: &Column| before.schema().index_of_column(column).is_ok();
        let own = |column: &Column| shape.table_of(column) == Some(&table);
        let pairs: Vec<(Column, Column)> = match kind {
            JoinKind::Left => shape.filled.get(&table).into_iter().flatten().cloned().collect(),
            JoinKind::Inner => {
                let pairs = shape.joins.iter().filter_map(|(one, other)| match () {
                    () if there(one) && own(other) => Some((one.clone(), other.clone())),
                    () if there(other) && own(one) => Some((other.clone(), one.clone())),
                    () => None,
                });
                pairs.collect()
            }
        };
        if pairs.is_empty() {
            return plan_err!("`{named}` is joined by no key of its own");
        }
        let kind = match kind {
            JoinKind::Left => JoinType::Left,
            JoinKind::Inner => JoinType::Inner,
        };
        plan = Some(before.join(view, kind, pairs.into_iter().unzip::<_, _, Vec<_>, Vec<_>>(), None)?);
    }
    match plan {
        Some(plan) => Ok(plan),
        None => plan_err!("a relation has a table"),
    }
}
