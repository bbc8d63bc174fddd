//! What a join of protected rows holds, in a plan as it was read from the wire: one steward's tables joined by keys, a table
//! that a left join fills up with NULLs, rows of different stewards side by side, or rows that a list keeps or drops.

use std::collections::BTreeSet;

use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::Join;
use datafusion::prelude::Expr;

use super::RelationShape;
use super::brought::{compare, compares_values};
use super::check::Refusal;
use super::flow::{Flow, Protected};
use super::joining::is_null_of_null;
use super::lists::{ComparedList, is_list_kind};
use super::matching::{columns_of, ordered};
use super::part::Partner;
use super::whole::bare;
use crate::catalog::STEWARD;
use crate::fragment::Fragment;
use crate::function::KeyDomain;

/// What a join makes of protected rows.
pub(super) fn joined(join: &Join, mut inputs: Vec<Flow>, fragment: &Fragment) -> Result<Flow, Refusal> {
    let refuse = |reason: &str| Refusal::at(fragment.id, reason);
    let (Some(mut right_side), Some(mut left_side), true) = (inputs.pop(), inputs.pop(), inputs.is_empty()) else {
        return Err(refuse("a join has two inputs"));
    };
    // Rows that are released, and those of nobody's tables, keep or drop others. Whether another steward's are released is for
    // that one to say.
    let list = right_side.clone().settled();
    if is_list_kind(join.join_type) && list.protected.is_empty() {
        for rows in &mut left_side.protected {
            if compares_values(join) && !ComparedList::is_of(join) {
                compare(join, rows).map_err(|reason| Refusal::at(fragment.id, reason))?;
                continue;
            }
            let list = ComparedList::of(join, |expr| rows.written(expr, join.left.schema()), bare);
            let list = list.map_err(|reason| Refusal::at(fragment.id, reason))?;
            let columns = list.columns();
            if !columns.iter().all(|column| rows.relation.table_of(column).is_some()) {
                return Err(refuse("a list of the requester is compared with joined rows of several stewards"));
            }
            rows.relation.lists.insert(columns);
            rows.lists.push(list);
        }
        return Ok(left_side.kept_by(list));
    }
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right) {
        return Err(Refusal::at(fragment.id, format!("a {} join works on protected rows", join.join_type)));
    }
    if join.null_equality != NullEquality::NullEqualsNothing {
        return Err(refuse("protected rows are joined by keys that are NULL"));
    }
    let (of_left, of_right) = (left_side.stewards(), right_side.stewards());
    if of_left.is_disjoint(&of_right) && !of_left.is_empty() && !of_right.is_empty() {
        if join.join_type != JoinType::Inner {
            let text = format!("a {} join works on protected rows of several stewards", join.join_type);
            return Err(Refusal::at(fragment.id, text));
        }
        return across(join, left_side, right_side, fragment);
    }
    let (Some(right), Some(rows)) = (right_side.protected.pop(), left_side.protected.pop()) else {
        return Err(refuse("protected rows are joined with rows of others"));
    };
    let others = [&left_side, &right_side].iter().any(|side| side.is_of_stewards());
    if others || right.steward != rows.steward || !right.partners.is_empty() || !rows.partners.is_empty() {
        return Err(refuse("protected rows of the same steward are joined with those of others between"));
    }
    if right.relation.tables.keys().any(|table| rows.relation.tables.contains_key(table)) {
        return Err(refuse("a table with protected rows is joined with itself"));
    }
    let fail = |reason: String| Refusal::at(fragment.id, reason);
    let mut pairs = Vec::new();
    for (one, other) in &join.on {
        let one = rows.written(one, join.left.schema()).map_err(fail)?;
        let other = right.written(other, join.right.schema()).map_err(fail)?;
        match (one, other) {
            // Such keys are equal in no row.
            (Expr::Literal(one, _), Expr::Literal(other, _)) if one.is_null() || other.is_null() => {
                return Err(refuse("protected rows are joined by keys that are NULL"));
            }
            // The steward's own name on both sides.
            (Expr::Literal(one, _), Expr::Literal(other, _)) if one == other => {}
            pair => pairs.push(pair),
        }
    }
    let free = match (rows.is_free(), right.is_free()) {
        (true, true) => rows.free.iter().chain(&right.free).cloned().collect(),
        _ => BTreeSet::new(),
    };
    let mut rows = match join.join_type {
        JoinType::Left => filled_up(join, rows, right, pairs, Kept::Left).map_err(fail)?,
        JoinType::Right => {
            let turned = pairs.into_iter().map(|(one, other)| (other, one)).collect();
            filled_up(join, right, rows, turned, Kept::Right).map_err(fail)?
        }
        _ => matched(join, rows, right, pairs).map_err(fail)?,
    };
    rows.free = free;
    let invented = left_side.invented || right_side.invented;
    let tables = left_side.tables.union(&right_side.tables).cloned().collect();
    let kept_by = left_side.kept_by.union(&right_side.kept_by).cloned().collect();
    Ok(Flow { protected: vec![rows], kept_by, invented, tables, ..Flow::default() })
}

/// The rows of an inner join of one steward's rows.
fn matched(join: &Join, mut rows: Protected, right: Protected, pairs: Vec<(Expr, Expr)>) -> Result<Protected, String> {
    for (one, other) in pairs {
        let filled = |of: &Protected, key: &Expr| columns_of(key).iter().any(|column| of.relation.is_filled(column));
        if filled(&rows, &one) || filled(&right, &other) {
            return Err(format!("`{one}` = `{other}` joins a table that a left join fills up"));
        }
        match (one, other) {
            (Expr::Column(one), Expr::Column(other)) => {
                rows.relation.joins.insert(ordered(one, other));
            }
            (one, other) => rows.relation.predicates.push(one.eq(other)),
        }
    }
    rows.columns.extend(right.columns);
    rows.lists.extend(right.lists);
    rows.relation.add(right.relation);
    if let Some(filter) = &join.filter {
        let predicate = rows.written(filter, &join.schema)?;
        rows.restrict(&predicate)?;
    }
    Ok(rows)
}

/// Which side of a join is kept whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Left,
    Right,
}

/// The rows of a left join, or of a right one read from the other side: `table` is one table as it is, and NULLs stand in for
/// it where its key equals none of `rows`. Anything done to it before would mean something else above the join.
fn filled_up(
    join: &Join,
    mut rows: Protected,
    table: Protected,
    pairs: Vec<(Expr, Expr)>,
    kept: Kept,
) -> Result<Protected, String> {
    let kind = join.join_type;
    let of = &table.relation;
    let untouched = of.joins.is_empty() && of.filled.is_empty() && of.predicates.is_empty() && of.lists.is_empty();
    let (Some((name, schema)), 1, true) = (of.tables.first_key_value(), of.tables.len(), untouched) else {
        return Err(format!("a {kind} join fills up more than one protected table as it is"));
    };
    if join.filter.is_some() {
        return Err(format!("a {kind} join of protected rows has another condition than equal keys"));
    }
    let mut keys = BTreeSet::new();
    for pair in pairs {
        match pair {
            (Expr::Column(one), Expr::Column(own))
                if rows.relation.table_of(&one).is_some() && of.table_of(&own) == Some(name) =>
            {
                keys.insert((one, own));
            }
            (one, own) => return Err(format!("a {kind} join of protected rows compares `{one}` and `{own}`")),
        }
    }
    if keys.is_empty() {
        return Err(format!("a {kind} join of protected rows has no key"));
    }
    let steward = Expr::Column(RelationShape::column(name, STEWARD));
    let given = table.columns.iter().map(|column| match column {
        // A constant is NULL where nothing matches, so it tells of that; the steward's name is one.
        Expr::Literal(..) => Ok(steward.clone()),
        column if is_null_of_null(column) => Ok(column.clone()),
        other => Err(format!("`{other}` is computed below the {kind} join that fills it up")),
    });
    let given = given.collect::<Result<Vec<Expr>, String>>()?;
    rows.columns = match kept {
        Kept::Left => rows.columns.into_iter().chain(given).collect(),
        Kept::Right => given.into_iter().chain(rows.columns).collect(),
    };
    rows.relation.tables.insert(name.clone(), schema.clone());
    rows.relation.filled.insert(name.clone(), keys);
    Ok(rows)
}

/// Rows of different stewards joined: each steward's own part goes on, with columns of the others as ones of no table.
fn across(join: &Join, left: Flow, right: Flow, fragment: &Fragment) -> Result<Flow, Refusal> {
    let fail = |reason: String| Refusal::at(fragment.id, reason);
    let widths = (join.left.schema().fields().len(), join.right.schema().fields().len());
    let (of_left, of_right) = (left.stewards(), right.stewards());
    for (one, other) in &join.on {
        let forms = (forms(&left, one, join.left.schema()), forms(&right, other, join.right.schema()));
        if !forms.0.iter().all(|one| forms.1.iter().all(|other| one == other)) {
            return Err(fail(format!("`{one}` = `{other}` compares a hashed key with something else")));
        }
    }
    let mut both = Flow {
        kept_by: left.kept_by.union(&right.kept_by).cloned().collect(),
        invented: left.invented || right.invented,
        foreign: left.foreign.union(&right.foreign).cloned().collect(),
        tables: left.tables.union(&right.tables).cloned().collect(),
        ..Flow::default()
    };
    for mut rows in left.protected {
        let keys = own_keys(&rows, join.on.iter().map(|(one, _)| one), join.left.schema()).map_err(fail)?;
        rows.partners.push(Partner { stewards: of_right.clone(), tables: right.tables.clone(), keys });
        rows.columns.extend(others_columns(widths.0, widths.1));
        both.protected.push(rows);
    }
    for mut rows in right.protected {
        let keys = own_keys(&rows, join.on.iter().map(|(_, other)| other), join.right.schema()).map_err(fail)?;
        rows.partners.push(Partner { stewards: of_left.clone(), tables: left.tables.clone(), keys });
        rows.columns = others_columns(0, widths.0).chain(rows.columns).collect();
        both.protected.push(rows);
    }
    for rows in &mut both.protected {
        if let Some(filter) = &join.filter {
            let predicate = rows.written(filter, &join.schema).map_err(fail)?;
            rows.restrict(&predicate).map_err(fail)?;
        }
    }
    Ok(both)
}

/// In which domain, if at all, the stewards' own columns that a key is are hashed.
fn forms(side: &Flow, key: &Expr, schema: &DFSchema) -> Vec<Option<KeyDomain>> {
    let written = side.protected.iter().filter_map(|rows| {
        let written = rows.written(key, schema).ok()?;
        let own = rows.relation.is_own(&written) == Some(true);
        own.then(|| rows.relation.hashed_column(&written).map(|(domain, _)| domain))
    });
    written.collect()
}

/// The own columns that join keys are; a key made of own columns in any other way has no name in an agreement.
fn own_keys<'a>(
    rows: &Protected,
    keys: impl Iterator<Item = &'a Expr>,
    schema: &DFSchema,
) -> Result<BTreeSet<Column>, String> {
    let mut own = BTreeSet::new();
    for key in keys {
        let written = rows.written(key, schema)?;
        let written = rows.relation.hashed_column(&written).map_or(written, |(_, column)| Expr::Column(column));
        match (rows.relation.is_own(&written), written) {
            (Some(true), Expr::Column(column)) if !rows.relation.is_filled(&column) => {
                own.insert(column);
            }
            (Some(false), _) => {}
            (_, other) => return Err(format!("`{other}` is no key by which rows of several stewards are joined")),
        }
    }
    Ok(own)
}

/// Columns of other stewards, as they stand at these positions of a join.
fn others_columns(from: usize, count: usize) -> impl Iterator<Item = Expr> {
    (from..from + count).map(|index| Expr::Column(Column::new(Some("$others"), format!("c{index}"))))
}
