//! Whether an agreement means something at its steward: every table that a clause names exists there, every column exists in
//! the relation of its clause, every expression has a type. A clause about nothing would not show: one that grants would
//! grant nothing, and one that hides would hide nothing. Asked when an agreement is made, read from a file or simulated.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::{DFSchema, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::ExprSchemable;
use datafusion::prelude::Expr;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::ast::Visit;
use thiserror::Error;

use super::assemble::reference;
use super::hashing::listed_hash;
use super::subject::{
    NamedColumn, RawTables, columns_named, has, mask_concerns, mask_value, must_be_condition, must_have_values,
    offered, row_condition, rows_concern, said,
};
use super::support::CallsHash;
use super::total::Extent;
use super::view::{ProtectedView, concerns, protected_view};
use super::word::{Flaw, NameKind, Problem, Word};
use super::{
    Agreement, Argument, Clause, ColumnRef, Columns, FilterClause, FromRelation, JoinClause, JoinKey, MaskClause,
    ReleaseClause, ReleaseWhat, ReleasedAggregates, RowsClause, ShipWhat, TableRef,
};
use crate::bind::{coerce, scalar_expr};
use crate::catalog::TableName;
use crate::function::KeyKind;

/// One thing that an agreement names and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{problem}", in_clause(.clause))]
pub struct Unresolved {
    /// The number of the clause; none for what stands before the clauses.
    pub clause: Option<u32>,
    /// The word that names it.
    pub word: Option<Word>,
    /// What is wrong, and what there is instead where that is short.
    pub problem: String,
}

fn in_clause(number: &Option<u32>) -> String {
    number.map(|number| format!("clause {number}: ")).unwrap_or_default()
}

impl Unresolved {
    fn of_clause(number: u32, problem: Problem) -> Self {
        Self { clause: Some(number), word: problem.word, problem: problem.text }
    }
}

impl Flaw for Unresolved {
    fn clause(&self) -> Option<u32> {
        self.clause
    }

    fn word(&self) -> Option<Word> {
        self.word.clone()
    }
}

/// Refuses an agreement with clauses that are not about these tables, all those of its steward, and says what is wrong with
/// each.
pub fn refuse_unresolved(
    agreement: &Agreement,
    tables: &RawTables,
    state: &SessionState,
) -> Result<(), Vec<Unresolved>> {
    let mut refused = Vec::new();
    let mut masked = BTreeSet::new();
    for numbered in &agreement.clauses {
        let found = match &numbered.clause {
            Clause::Rows(rows) => check_rows(rows, tables, state),
            Clause::Mask(mask) => check_mask(mask, tables, &mut masked, state),
            _ => Ok(()),
        };
        refused.extend(found.err().map(|problem| Unresolved::of_clause(numbered.number, problem)));
    }
    let seen = seen(agreement, tables, state);
    let relations = relations(agreement, &seen);
    for numbered in &agreement.clauses {
        let mut problems = Vec::new();
        match &numbered.clause {
            Clause::Release(release) => check_release(release, &seen, state, &mut problems),
            Clause::Ship(ship) => {
                if let ShipWhat::Rows { columns, from, filter } = &ship.what {
                    let keys = Some(tables);
                    check_rows_of((columns, keys), from, filter.as_ref(), &seen, state, &mut problems);
                }
            }
            Clause::Filter(filter) => check_filter(filter, &relations, state, &mut problems),
            Clause::Join(join) => problems.extend(check_join(join, &relations).err()),
            Clause::Mask(_) | Clause::Rows(_) | Clause::Budget(_) | Clause::Archetypes(_) | Clause::Oblige(_) => {}
        }
        refused.extend(problems.into_iter().map(|problem| Unresolved::of_clause(numbered.number, problem)));
    }
    refused.sort_by_key(|one| one.clause);
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

fn check_rows(rows: &RowsClause, tables: &RawTables, state: &SessionState) -> Result<(), Problem> {
    let about: Vec<&TableName> = match &rows.table {
        Some(named) => vec![table_named(named, tables.keys()).map_err(about_table(named))?],
        None => tables.iter().filter(|(name, raw)| rows_concern(rows, name, raw)).map(|(name, _)| name).collect(),
    };
    let what = format!("the condition `{}`", rows.condition);
    let word = || Word::of(&rows.condition);
    let table = only(&about, &what, "ROWS ON").map_err(|text| Problem::new(word(), text))?;
    let missing = || Problem::new(word(), no_table(&table.to_string(), tables.keys()));
    let raw = tables.get(table).ok_or_else(missing)?;
    row_condition(rows, table, raw, state).map(|_| ())
}

fn check_mask(
    mask: &MaskClause,
    tables: &RawTables,
    masked: &mut BTreeSet<(TableName, usize)>,
    state: &SessionState,
) -> Result<(), Problem> {
    let problem = |text: String| Problem::new(Word::name(NameKind::Column, &mask.column), text);
    let about: Vec<&TableName> = match &mask.column.table {
        Some(named) => vec![table_named(named, tables.keys()).map_err(problem)?],
        None => tables.iter().filter(|(name, raw)| mask_concerns(mask, name, raw)).map(|(name, _)| name).collect(),
    };
    let what = format!("the column `{}`", mask.column.column);
    let table = only(&about, &what, "MASK").map_err(problem)?;
    let raw = tables.get(table).ok_or_else(|| problem(no_table(&table.to_string(), tables.keys())))?;
    let (index, _) = mask_value(mask, table, raw, state)?;
    if masked.insert((table.clone(), index)) {
        return Ok(());
    }
    Err(problem(format!("column `{}` of `{table}` is masked twice; remove one", mask.column.column)))
}

/// The one table that a clause without the name of a table is about.
fn only<'a>(about: &[&'a TableName], what: &str, keyword: &str) -> Result<&'a TableName, String> {
    match about {
        [table] => Ok(table),
        [] => Err(format!("{what} is about no table here; check the names, and write `{keyword}` with the table's")),
        many => {
            let many: Vec<String> = many.iter().map(|table| format!("`{table}`")).collect();
            Err(format!("{what} may be about {}; write `{keyword}` with the table's name", many.join(" or ")))
        }
    }
}

/// The one table that a clause names.
fn table_named<'a>(
    named: &TableRef,
    tables: impl Iterator<Item = &'a TableName> + Clone,
) -> Result<&'a TableName, String> {
    let found: Vec<&TableName> = tables.clone().filter(|table| concerns(Some(named), table)).collect();
    match found.as_slice() {
        [table] => Ok(table),
        [] => Err(no_table(&named.to_string(), tables)),
        many => {
            let many: Vec<String> = many.iter().map(|table| format!("`{table}`")).collect();
            Err(format!("`{named}` may be {}; write its schema, too", many.join(" or ")))
        }
    }
}

/// That something is wrong with a table that is named.
fn about_table(named: &TableRef) -> impl Fn(String) -> Problem {
    move |text| Problem::new(Word::name(NameKind::Table, named), text)
}

fn no_table<'a>(named: &str, tables: impl Iterator<Item = &'a TableName>) -> String {
    let names: Vec<String> = tables.map(ToString::to_string).collect();
    match names.as_slice() {
        [] => format!("there is no table `{named}`: this steward has none"),
        names => format!("there is no table `{named}`; {}", offered(names.iter().map(String::as_str))),
    }
}

/// Each table with the columns that its view has: clauses speak of what is seen. Of a table whose view is refused for itself
/// the columns that it has.
fn seen(agreement: &Agreement, tables: &RawTables, state: &SessionState) -> BTreeMap<TableName, DFSchema> {
    let columns = tables.iter().filter_map(|(name, raw)| {
        let reference = TableReference::partial(name.schema.clone(), name.table.clone());
        let schema = match protected_view(agreement, name, tables, state) {
            Ok(ProtectedView::Derived(plan)) => plan.schema().inner().as_ref().clone(),
            Ok(ProtectedView::Whole) | Err(_) => raw.provider.schema().as_ref().clone(),
        };
        Some((name.clone(), DFSchema::try_from_qualified_schema(reference, &schema).ok()?))
    });
    columns.collect()
}

/// The relations that RELEASE and SHIP clauses are about, without those that are refused for themselves; every table where an
/// agreement has none.
fn relations(agreement: &Agreement, seen: &BTreeMap<TableName, DFSchema>) -> Vec<Relation> {
    let mut froms: Vec<FromRelation> = Vec::new();
    for numbered in &agreement.clauses {
        match &numbered.clause {
            Clause::Release(release) => froms.push(release.from.clone()),
            Clause::Ship(ship) => {
                if let ShipWhat::Rows { from, .. } = &ship.what {
                    froms.push(from.clone());
                }
            }
            _ => {}
        }
    }
    if froms.is_empty() {
        froms.extend(seen.keys().map(|name| {
            let first = TableRef { schema: Some(name.schema.clone()), table: name.table.clone() };
            FromRelation { first, joins: Vec::new() }
        }));
    }
    let mut distinct: Vec<FromRelation> = Vec::new();
    for from in froms {
        if !distinct.contains(&from) {
            distinct.push(from);
        }
    }
    distinct.iter().filter_map(|from| Relation::of(from, seen).ok()).collect()
}

/// The tables of a FROM, with the columns that are seen of them.
struct Relation {
    tables: Vec<(TableName, DFSchema)>,
    all: DFSchema,
}

impl Relation {
    fn of(from: &FromRelation, seen: &BTreeMap<TableName, DFSchema>) -> Result<Self, Problem> {
        let mut relation = Self { tables: Vec::new(), all: DFSchema::empty() };
        for (index, named) in from.tables().enumerate() {
            let problem = about_table(named);
            let name = table_named(named, seen.keys()).map_err(&problem)?;
            let schema = seen.get(name).ok_or_else(|| problem(no_table(&named.to_string(), seen.keys())))?;
            if relation.tables.iter().any(|(other, _)| other == name) {
                return Err(problem(format!("`{named}` stands in its FROM twice")));
            }
            let before = relation.tables.len();
            relation.tables.push((name.clone(), schema.clone()));
            relation.all = relation.all.join(schema).map_err(|error| problem(error.strip_backtrace()))?;
            let Some(step) = index.checked_sub(1).and_then(|step| from.joins.get(step)) else { continue };
            for key in &step.on {
                relation.check_key(key, before)?;
            }
        }
        Ok(relation)
    }

    /// A key by which the last table is joined with the `before` tables left of it.
    fn check_key(&self, key: &JoinKey, before: usize) -> Result<(), Problem> {
        match key {
            JoinKey::Same(name) => {
                let column = ColumnRef { table: None, column: name.clone() };
                let (left, joined) = self.tables.split_at_checked(before).unwrap_or_default();
                let has_key = |tables: &[(TableName, DFSchema)]| {
                    tables.iter().any(|(table, schema)| has(&column, table, schema.as_arrow()))
                };
                match (has_key(left), has_key(joined)) {
                    (true, true) => must_be_alike((&column, left), (&column, joined)),
                    (false, _) => Err(about_column(&column, self.no_column(&column, left))),
                    (true, false) => Err(about_column(&column, self.no_column(&column, joined))),
                }
            }
            JoinKey::Pair { left, right } => {
                self.must_have(left).and_then(|()| self.must_have(right))?;
                must_be_alike((left, self.tables.as_slice()), (right, self.tables.as_slice()))
            }
        }
    }

    fn having(&self, column: &ColumnRef) -> Vec<&TableName> {
        let having = self.tables.iter().filter(|(table, schema)| has(column, table, schema.as_arrow()));
        having.map(|(table, _)| table).collect()
    }

    /// A key, which the joins may make one column of several tables.
    fn must_have(&self, column: &ColumnRef) -> Result<(), Problem> {
        if !self.having(column).is_empty() {
            return Ok(());
        }
        Err(about_column(column, self.no_column(column, &self.tables)))
    }

    fn no_column(&self, column: &ColumnRef, among: &[(TableName, DFSchema)]) -> String {
        let tables: Vec<String> = among.iter().map(|(table, _)| format!("`{table}`")).collect();
        let columns = among.iter().flat_map(|(_, schema)| schema.fields()).map(|field| field.name().as_str());
        format!("`{column}` is no column of {}; {}", tables.join(" and "), offered(columns))
    }

    /// What is in `hash(…)`: an entity key of one of the tables, of a type whose values can be hashed.
    fn key(&self, written: &ast::Expr, tables: &RawTables, state: &SessionState) -> Result<(), Problem> {
        let problem = |text: String| Problem::new(Word::of(written), text);
        let Expr::Column(column) = self.expression(written, state)? else {
            return Err(problem(format!("`hash({written})` is not of a column")));
        };
        let table = self.tables.iter().find(|(table, _)| column.relation.as_ref() == Some(&reference(table)));
        let entity = table.and_then(|(table, _)| tables.get(table)?.entity.as_ref());
        if entity.is_none_or(|entity| entity.column != column.name) {
            return Err(problem(format!(
                "`{written}` is no entity key, so `hash({written})` cannot be shipped; list the column itself"
            )));
        }
        match Expr::Column(column).get_type(&self.all) {
            Ok(kind) if KeyKind::of(&kind).is_some() => Ok(()),
            Ok(kind) => {
                Err(problem(format!("`{written}` has type {kind}; only whole numbers and texts can be hashed")))
            }
            Err(error) => Err(problem(error.strip_backtrace())),
        }
    }

    fn expression(&self, written: &ast::Expr, state: &SessionState) -> Result<Expr, Problem> {
        if written.visit(&mut CallsHash).is_break() {
            let text = format!("`{written}` is something that only a list of `SHIP ROWS` can have");
            return Err(Problem::new(Word::of(written), text));
        }
        for NamedColumn { column, word } in columns_named(written) {
            match self.having(&column).as_slice() {
                [_] => {}
                [] => return Err(Problem::new(word, self.no_column(&column, &self.tables))),
                many => {
                    let many: Vec<String> = many.iter().map(|table| format!("`{table}.{}`", column.column)).collect();
                    return Err(Problem::new(word, format!("`{column}` is ambiguous; write {}", many.join(" or "))));
                }
            }
        }
        let resolved = scalar_expr(written, &self.all, state).and_then(|expr| coerce(expr, &self.all, state));
        let resolved = resolved.map_err(|error| said(written, &error, state))?;
        must_have_values(written, &resolved, Extent::Wide, &self.all, state)?;
        Ok(resolved)
    }

    fn condition(&self, written: &ast::Expr, state: &SessionState) -> Result<(), Problem> {
        must_be_condition(written, &self.expression(written, state)?, &self.all, state)
    }
}

/// Keys are of one type: a question matches a clause where it joins bare columns, and the engine would cast one of two types,
/// which fails on some values besides. Each is of the first of these tables that has it.
fn must_be_alike<'a>(
    one: (&'a ColumnRef, &'a [(TableName, DFSchema)]),
    other: (&'a ColumnRef, &'a [(TableName, DFSchema)]),
) -> Result<(), Problem> {
    let kind = |(column, tables): (&ColumnRef, &'a [(TableName, DFSchema)])| {
        let (_, schema) = tables.iter().find(|(table, schema)| has(column, table, schema.as_arrow()))?;
        schema.as_arrow().field_with_name(&column.column).ok().map(|field| field.data_type())
    };
    match kind(one).zip(kind(other)) {
        Some((left, right)) if left != right => {
            let (first, second) = (one.0, other.0);
            let text = format!(
                "the key `{first}` is of type {left} and `{second}` of type {right}; to compare them one would be cast, and no \
                 question that does so matches a clause; give the tables' columns one type"
            );
            Err(about_column(first, text))
        }
        _ => Ok(()),
    }
}

fn about_column(column: &ColumnRef, text: String) -> Problem {
    Problem::new(Word::name(NameKind::Column, column), text)
}

fn check_release(
    release: &ReleaseClause,
    seen: &BTreeMap<TableName, DFSchema>,
    state: &SessionState,
    problems: &mut Vec<Problem>,
) {
    let aggregates = match &release.what {
        ReleaseWhat::Rows(columns) => {
            let columns = (columns, None);
            return check_rows_of(columns, &release.from, release.filter.as_ref(), seen, state, problems);
        }
        ReleaseWhat::Aggregates(aggregates) => aggregates,
    };
    match Relation::of(&release.from, seen) {
        Ok(relation) => {
            check_aggregates(aggregates, &relation, state, problems);
            problems.extend(release.filter.as_ref().and_then(|filter| relation.condition(filter, state).err()));
        }
        Err(problem) => problems.push(problem),
    }
}

fn check_aggregates(
    aggregates: &ReleasedAggregates,
    relation: &Relation,
    state: &SessionState,
    problems: &mut Vec<Problem>,
) {
    let unknown = |name: &String| !state.aggregate_functions().contains_key(name);
    let functions = aggregates.functions.iter().map(|function| &function.name).filter(|name| unknown(name));
    problems.extend(functions.map(|name| {
        Problem::new(Word::name(NameKind::Function, name), format!("there is no aggregate function `{name}`"))
    }));
    let arguments = aggregates.arguments.iter().filter_map(|argument| match argument {
        Argument::Expr(expr) => Some(expr),
        Argument::Star => None,
    });
    problems.extend(arguments.chain(&aggregates.by).filter_map(|expr| relation.expression(expr, state).err()));
    problems.extend(aggregates.minimums.iter().filter_map(|minimum| relation.must_have(&minimum.entity).err()));
}

/// Columns of rows. Where tables are given, keys of these may be listed as hashes.
fn check_rows_of(
    (columns, keys): (&Columns, Option<&RawTables>),
    from: &FromRelation,
    filter: Option<&ast::Expr>,
    seen: &BTreeMap<TableName, DFSchema>,
    state: &SessionState,
    problems: &mut Vec<Problem>,
) {
    let relation = match Relation::of(from, seen) {
        Ok(relation) => relation,
        Err(problem) => return problems.push(problem),
    };
    if let Columns::Listed(listed) = columns {
        let check = |expr: &ast::Expr| match (listed_hash(expr), keys) {
            (Some(key), Some(tables)) => relation.key(key, tables, state),
            _ => relation.expression(expr, state).map(|_| ()),
        };
        problems.extend(listed.iter().filter_map(|expr| check(expr).err()));
    }
    problems.extend(filter.and_then(|filter| relation.condition(filter, state).err()));
}

fn check_filter(filter: &FilterClause, relations: &[Relation], state: &SessionState, problems: &mut Vec<Problem>) {
    for expr in &filter.columns {
        problems.extend(in_one_of(relations, |relation| relation.expression(expr, state).map(|_| ())).err());
    }
}

fn check_join(join: &JoinClause, relations: &[Relation]) -> Result<(), Problem> {
    in_one_of(relations, |relation| join.keys.iter().try_for_each(|key| relation.must_have(key)))
}

/// FILTER and JOIN are about whichever relation a question is about: one must do.
fn in_one_of(relations: &[Relation], check: impl Fn(&Relation) -> Result<(), Problem>) -> Result<(), Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for relation in relations {
        match check(relation) {
            Ok(()) => return Ok(()),
            Err(problem) if problems.contains(&problem) => {}
            Err(problem) => problems.push(problem),
        }
    }
    // Where there is no relation at all, the clauses that should have one are refused.
    let Some(first) = problems.first() else { return Ok(()) };
    let texts: Vec<&str> = problems.iter().map(|problem| problem.text.as_str()).collect();
    Err(Problem::new(first.word.clone(), texts.join(", and ")))
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
