//! The edits that bring a question under an offer: whatever the offer does not cover is weakened or left out, in every way
//! there is. What cannot be brought under it has no way.

use std::collections::BTreeMap;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

use super::group::Role;
use super::offer::{Groups, Offer, RowColumns};
use super::question::{Question, call, calls};
use crate::catalog::{STEWARD, TableName};

/// Questions that one offer leads to, at most.
const WAYS_MAX: usize = 256;

/// The questions under an offer that edits of this one lead to, in no order.
pub(super) fn ways(question: &Question, offer: &Offer, state: &SessionState) -> Vec<Question> {
    match offer {
        Offer::Rows(tables) => to_rows(question, tables, state).into_iter().collect(),
        Offer::Groups(groups) => to_groups(question, groups, state),
    }
}

/// Only columns of rows that are released: all else is left out.
fn to_rows(question: &Question, tables: &BTreeMap<TableName, RowColumns>, state: &SessionState) -> Option<Question> {
    let mut allowed = std::collections::BTreeSet::new();
    for table in question.scope.tables() {
        let of_table = tables.get(&table.name)?;
        for field in table.schema.fields() {
            let text = format!("{}.{}", table.name, field.name());
            let listed = match of_table {
                RowColumns::All => true,
                RowColumns::Listed(columns) => columns.contains(&text),
            };
            if listed || field.name() == STEWARD {
                allowed.insert(text);
            }
        }
    }
    let scope = question.scope.clone();
    let covered = |expr: &Expr| scope.columns(expr).is_none_or(|columns| columns.is_subset(&allowed));
    let mut next = question.clone();
    while let Some(index) = next.keys.iter().position(|key| !covered(key)) {
        next = next.with_coarser_key(index, None, state)?;
    }
    while let Some(index) = next.items.iter().position(|item| !covered(&item.expr)) {
        next = next.without_item(index)?;
    }
    while let Some(index) = next.order.iter().position(|one| !covered(&one.expr)) {
        next = next.without_order(index)?;
    }
    Some(next)
}

/// Groups of what a clause releases.
fn to_groups(question: &Question, groups: &Groups, state: &SessionState) -> Vec<Question> {
    let Some(start) = prepared(question, groups, state) else { return Vec::new() };
    let grouped = if start.grouped { vec![start] } else { as_groups(&start, groups, state) };
    let ways = stages(grouped, |question| next_condition(question, groups));
    let ways = stages(ways, |question| next_key(question, groups, state));
    let ways = stages(ways, |question| next_value(question, groups, state));
    let ways = stages(ways, |question| next_order(question, groups, state));
    let covered = |question: &Question| question.having.iter().all(|one| values_listed(question, one, groups, state));
    ways.into_iter().filter(covered).collect()
}

/// One step of a stage: nothing more to do, or what can be done next.
enum Step {
    Done,
    Ways(Vec<Question>),
}

/// All ends of a stage.
fn stages(start: Vec<Question>, step: impl Fn(&Question) -> Step) -> Vec<Question> {
    let (mut open, mut done) = (start, Vec::new());
    let mut made = open.len();
    while let Some(question) = open.pop() {
        match step(&question) {
            Step::Done => done.push(question),
            Step::Ways(more) => {
                let room = WAYS_MAX.saturating_sub(made);
                made += more.len();
                open.extend(more.into_iter().take(room));
            }
        }
    }
    done
}

/// With inner joins where the clause has no others, and with the conditions that it wants stated.
fn prepared(question: &Question, groups: &Groups, state: &SessionState) -> Option<Question> {
    let inner = question.has_outer_join() && !groups.left;
    let mut next = if inner { question.with_inner_joins(state)? } else { question.clone() };
    let stated: Vec<String> = next.conditions.iter().map(|one| next.scope.text(one)).collect();
    for (text, condition) in &groups.conditions {
        if !stated.contains(text) {
            next = next.with_condition(condition, &groups.scope)?;
        }
    }
    Some(next)
}

/// The groupings of rows: each item in each role that the clause has for it.
fn as_groups(question: &Question, groups: &Groups, state: &SessionState) -> Vec<Question> {
    let mut choices: Vec<Vec<Role>> = vec![Vec::new()];
    for item in &question.items {
        let text = question.scope.text(&item.expr);
        let roles = if groups.by.contains_key(&text) || is_steward(question, &item.expr) {
            vec![Role::Key]
        } else {
            let argument = groups.arguments.contains(&text);
            let single = groups.functions.iter().filter(|(_, distinct)| argument && !distinct);
            let values = single.map(|(name, _)| Role::Value(name.clone()));
            let count = (groups.star && groups.functions.contains(&("count".to_owned(), false))).then_some(Role::Count);
            coarser(question, &item.expr, groups)
                .into_iter()
                .map(|key| Role::Coarser(Box::new(key)))
                .chain(values)
                .chain(count)
                .chain([Role::Nothing])
                .collect()
        };
        let longer = choices.iter().flat_map(|choice| {
            roles.iter().map(move |role| choice.iter().cloned().chain([role.clone()]).collect::<Vec<_>>())
        });
        choices = longer.take(WAYS_MAX).collect();
    }
    debug_assert!(calls_none(question, state), "rows have no aggregates");
    choices.iter().filter_map(|roles| question.as_groups(roles)).collect()
}

fn calls_none(question: &Question, state: &SessionState) -> bool {
    question.items.iter().all(|item| calls(&item.expr, state).is_empty())
}

/// The clause's groupings that are functions of this column and not the column itself.
fn coarser(question: &Question, column: &Expr, groups: &Groups) -> Vec<Expr> {
    let Some(name) = question.scope.column_text(column) else { return Vec::new() };
    let words = BTreeMap::from([(name, column.clone())]);
    let functions = groups.by.values().filter(|key| groups.scope.column(key).is_none());
    functions.filter_map(|key| groups.scope.rewritten(key, &words)).collect()
}

/// A condition that neither FILTER nor the clause itself allows goes above the groups.
fn next_condition(question: &Question, groups: &Groups) -> Step {
    let scope = &question.scope;
    let covered = |condition: &Expr| {
        let filtered = || {
            scope.columns(condition).is_none_or(|columns| {
                columns.iter().all(|column| groups.filter.contains(column) || column.ends_with(&format!(".{STEWARD}")))
            })
        };
        groups.conditions.contains_key(&scope.text(condition)) || is_join(question, condition) || filtered()
    };
    if !question.grouped {
        return Step::Done;
    }
    match question.conditions.iter().position(|condition| !covered(condition)) {
        None => Step::Done,
        Some(index) => Step::Ways(question.with_condition_above(index).into_iter().collect()),
    }
}

fn is_join(question: &Question, condition: &Expr) -> bool {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition else { return false };
    match (question.scope.column(left), question.scope.column(right)) {
        (Some((one, _)), Some((other, _))) => one != other,
        _ => false,
    }
}

fn is_steward(question: &Question, expr: &Expr) -> bool {
    question.scope.column(expr).is_some_and(|(_, name)| name == STEWARD)
}

fn next_key(question: &Question, groups: &Groups, state: &SessionState) -> Step {
    let covered = |key: &Expr| {
        groups.by.contains_key(&question.scope.text(key))
            || is_steward(question, key)
            || question.scope.columns(key).is_some_and(|columns| columns.is_empty())
    };
    // Grouping sets are coarser groupings by keys of one clause.
    let all_covered = |key: &Expr| match key {
        Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => sets.iter().flatten().all(covered),
        key => covered(key),
    };
    let Some(index) = question.keys.iter().position(|key| !all_covered(key)) else { return Step::Done };
    let functions = question.keys.get(index).map(|key| coarser(question, key, groups)).unwrap_or_default();
    let options = functions.into_iter().map(Some).chain([None]);
    Step::Ways(options.filter_map(|option| question.with_coarser_key(index, option, state)).collect())
}

fn next_value(question: &Question, groups: &Groups, state: &SessionState) -> Step {
    let covered =
        |expr: &Expr| question.is_key(&question.scope.text(expr)) || values_listed(question, expr, groups, state);
    let Some(index) = question.items.iter().position(|item| !covered(&item.expr)) else { return Step::Done };
    let weaker = groups.functions.iter().filter(|(_, distinct)| !distinct);
    let weaker = weaker.filter_map(|(name, _)| {
        let next = question.with_weaker_function(index, name, state)?;
        let listed = next.items.get(index).and_then(|item| call(&item.expr, state)).is_some();
        listed.then_some(next)
    });
    Step::Ways(weaker.chain(question.without_item(index)).collect())
}

fn next_order(question: &Question, groups: &Groups, state: &SessionState) -> Step {
    let covered =
        |expr: &Expr| question.is_key(&question.scope.text(expr)) || values_listed(question, expr, groups, state);
    match question.order.iter().position(|one| !covered(&one.expr)) {
        None => Step::Done,
        Some(index) => Step::Ways(question.without_order(index).into_iter().collect()),
    }
}

/// Whether the clause lists every aggregate in an expression.
fn values_listed(question: &Question, expr: &Expr, groups: &Groups, state: &SessionState) -> bool {
    calls(expr, state).iter().all(|call| {
        let function = groups.functions.contains(&(call.name.clone(), call.distinct));
        let argument = match &call.argument {
            None => groups.star,
            Some(Expr::Value(_)) => groups.star,
            Some(argument) => groups.arguments.contains(&question.scope.text(argument)),
        };
        function && argument
    })
}
