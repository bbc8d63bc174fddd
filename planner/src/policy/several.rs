//! Several release points of one query (rule B.5). Each decides about its own groups and sees to it that nothing small is left
//! of them; what two of them tell together has to be safe as well, and here are the cases in which it is. All others are
//! refused: one aggregate with FILTERs or GROUPING SETS asks the same, and is decided as a whole.
//!
//! Only values of one argument can be subtracted from each other, and names of groups from nothing. So the values of each
//! argument are looked at by themselves, and those only of points that can have rows in common. They must be of the same rows,
//! under the same FILTERs at each point, and then
//!
//! - either all points group by the same keys: every group is enough, and none is a part of another;
//! - or there are two sets of keys, one within the other, and the finer one is decided only once. What the finer point
//!   withholds under any coarser group is nobody or enough, so the rows fall into blocks: each of its released groups, and what
//!   is left of a coarser group without them. Each block is enough, and whatever can be computed is made of whole blocks.
//!
//! How many rows there are, of all or of those with a value, is told by counts and by what tells one (see [`mod@super::seen`]).
//! These are looked at as if they were values of one more argument, under FILTERs and under what they count. The finer point may
//! tell more of them than the coarser one: its groups are made of the parts that they cut its rows into.
//!
//! A function that takes equal values once tells of two groups what it does not tell of their parts, so its argument is in one
//! point only.
//!
//! With three sets, a middle group that is withheld for others' sake could be pieced together from the finer ones, less the
//! coarser one. Whose rows they are makes no difference: what is left of a group without the stewards that can be asked alone is
//! nobody or enough in any case (rule B.4).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Operator};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::assemble::Rows;
use super::denial::{Stop, refuse};
use super::joining::Filled;
use super::lists::ListJoin;
use super::matching::Asked;
use super::seen::{takes_once, tell_count};
use crate::catalog::TableName;
use crate::fragment::KeySet;
use crate::function::IS_REMAINDER;

/// What one release point under a minimum tells. Compared as expressions, never as texts: a literal can have the text of a
/// condition.
pub(super) struct Told {
    tables: BTreeMap<TableName, BTreeSet<SiteId>>,
    rows: WhichRows,
    /// The values that conditions leave a column, where they name them.
    named: BTreeMap<Column, BTreeSet<String>>,
    keys: HashSet<Expr>,
    sets: Vec<KeySet>,
    values: HashSet<Asked>,
    /// The FILTERs of each argument.
    filters: Vec<(Option<Expr>, HashSet<Option<Expr>>)>,
}

/// The tables with what joins and touches them, whosever they are.
#[derive(PartialEq)]
struct WhichRows {
    tables: BTreeSet<TableName>,
    joins: BTreeSet<(Column, Column)>,
    filled: Filled,
    predicates: HashSet<Expr>,
    lists: Vec<ListJoin>,
}

impl WhichRows {
    fn of(rows: &Rows) -> Self {
        let relation = &rows.relation;
        // Which stewards are asked is no property of their rows.
        let of_rows = |predicate: &&Expr| !predicate.column_refs().into_iter().all(|name| relation.names_steward(name));
        Self {
            tables: relation.tables.keys().cloned().collect(),
            joins: relation.joins.clone(),
            filled: relation.filled.clone(),
            predicates: relation.predicates.iter().filter(of_rows).cloned().collect(),
            lists: rows.lists.clone(),
        }
    }
}

impl Told {
    pub(super) fn of(rows: &Rows, keys: &[Expr], sets: &[KeySet], asked: &[Asked]) -> Self {
        let values = asked.iter().filter(|value| value.function != IS_REMAINDER);
        let values: Vec<Asked> = values.map(|value| value.bare(&rows.relation)).collect();
        let mut filters: Vec<(Option<Expr>, HashSet<Option<Expr>>)> = Vec::new();
        for Asked { argument, filter, .. } in &values {
            match filters.iter_mut().find(|(known, _)| known == argument) {
                Some((_, filters)) => drop(filters.insert(filter.clone())),
                None => filters.push((argument.clone(), HashSet::from([filter.clone()]))),
            }
        }
        let mut tables: BTreeMap<TableName, BTreeSet<SiteId>> = BTreeMap::new();
        for scan in &rows.scans {
            tables.entry(scan.name.clone()).or_default().extend(scan.stewards.iter().cloned());
        }
        Self {
            tables,
            rows: WhichRows::of(rows),
            named: rows.relation.predicates.iter().filter_map(named).collect(),
            keys: keys.iter().cloned().collect(),
            sets: sets.to_vec(),
            values: values.into_iter().collect(),
            filters,
        }
    }

    fn filters(&self, argument: &Option<Expr>) -> Option<&HashSet<Option<Expr>>> {
        self.filters.iter().find(|(known, _)| known == argument).map(|(_, filters)| filters)
    }

    /// Whether some rows can be in both.
    fn meets(&self, other: &Self) -> bool {
        let apart = |(column, values): (&Column, &BTreeSet<String>)| {
            other.named.get(column).is_some_and(|others| values.is_disjoint(others))
        };
        let shared = |(table, stewards): (&TableName, &BTreeSet<SiteId>)| {
            other.tables.get(table).is_some_and(|others| !stewards.is_disjoint(others))
        };
        !self.named.iter().any(apart) && self.tables.iter().any(shared)
    }

    /// What it tells of an argument under a FILTER.
    fn functions(&self, argument: Option<&Expr>, filter: Option<&Expr>) -> impl Iterator<Item = &str> {
        let of = move |value: &&Asked| value.argument.as_ref() == argument && value.filter.as_ref() == filter;
        self.values.iter().filter(move |value| !value.distinct && of(value)).map(|value| value.function.as_str())
    }

    /// Which rows it helps to count beside these points: by their argument and FILTER.
    fn counted<'a>(&'a self, beside: &[&Self]) -> HashSet<(Option<&'a Expr>, Option<&'a Expr>)> {
        let values = self.values.iter().map(|value| (value.argument.as_ref(), value.filter.as_ref()));
        let told = |(argument, filter): &(Option<&Expr>, Option<&Expr>)| {
            tell_count(beside.iter().flat_map(|point| point.functions(*argument, *filter)))
        };
        values.filter(told).collect()
    }

    /// Whether it has a value of an argument that takes equal ones once.
    fn takes_once(&self, argument: &Option<Expr>) -> bool {
        let of_this = self.values.iter().filter(|value| value.argument == *argument);
        of_this.into_iter().any(|value| takes_once(&value.function, value.distinct))
    }

    fn groups_like(&self, other: &Self) -> bool {
        self.keys == other.keys && self.sets == other.sets
    }

    fn is_the_same_as(&self, other: &Self) -> bool {
        self.rows == other.rows && self.groups_like(other) && self.values == other.values
    }
}

/// The one column that a condition is about, and which values it may have, if the condition names them. Only of types whose
/// different values have different texts.
fn named(condition: &Expr) -> Option<(Column, BTreeSet<String>)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column)) => {
                Some((column.clone(), [text_of(value)?].into()))
            }
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((one, mut values), (other, more)) = (named(left)?, named(right)?);
            values.extend(more);
            (one == other).then_some((one, values))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let Expr::Column(column) = expr.as_ref() else { return None };
            let value = |one: &Expr| match one {
                Expr::Literal(value, _) => text_of(value),
                _ => None,
            };
            Some((column.clone(), list.iter().map(value).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

fn text_of(value: &ScalarValue) -> Option<String> {
    let kind = value.data_type();
    let one_text = kind.is_string() || kind.is_integer() || kind == DataType::Boolean;
    (one_text && !value.is_null()).then(|| value.to_string())
}

/// Refuses points that could tell together what none of them tells.
pub(super) fn refuse_apart(points: &[Told]) -> Result<(), Stop> {
    let mut arguments: Vec<&Option<Expr>> = Vec::new();
    for (argument, _) in points.iter().flat_map(|point| &point.filters) {
        if argument.is_some() && !arguments.contains(&argument) {
            arguments.push(argument);
        }
    }
    for argument in arguments {
        let with: Vec<&Told> = points.iter().filter(|point| point.filters(argument).is_some()).collect();
        for (one, beside) in meeting(&with) {
            for other in &beside {
                if one.rows != other.rows || one.filters(argument) != other.filters(argument) {
                    return Err(apart("of other rows, or under other FILTERs"));
                }
                if !one.is_the_same_as(other) && (one.takes_once(argument) || other.takes_once(argument)) {
                    return Err(apart("each once"));
                }
            }
            if !decided_once(&beside) {
                return Err(apart("by other keys"));
            }
        }
    }
    refuse_counts(points)
}

/// Each of these points, and those that it can have rows in common with, itself among them.
fn meeting<'a>(points: &[&'a Told]) -> Vec<(&'a Told, Vec<&'a Told>)> {
    let beside = |one: &Told| points.iter().copied().filter(|other| one.meets(other)).collect();
    points.iter().map(|one| (*one, beside(one))).collect()
}

/// Refuses points that tell together how many rows there are of a kind that none of them decides about.
fn refuse_counts(points: &[Told]) -> Result<(), Stop> {
    let all: Vec<&Told> = points.iter().collect();
    for (one, beside) in meeting(&all) {
        let counting: Vec<&Told> = beside.iter().copied().filter(|point| !point.counted(&beside).is_empty()).collect();
        if counting.iter().all(|point| point.is_the_same_as(one)) || one.counted(&beside).is_empty() {
            continue;
        }
        if counting.iter().any(|point| point.rows != one.rows) {
            return Err(apart("of other rows, or under other FILTERs"));
        }
        if !counted_by_one(&counting, &beside) {
            return Err(apart("counted with and without it, or under other FILTERs"));
        }
        if !decided_once(&counting) {
            return Err(apart("by other keys"));
        }
    }
    Ok(())
}

/// Whether the finest of these points counts all that they count, so that its groups are decided by all of that; or only the rows
/// for which all conditions hold that the others count by, and each of these decides about them, too: the rest is one part more.
fn counted_by_one(counting: &[&Told], beside: &[&Told]) -> bool {
    let size = |point: &&&Told| (point.keys.len(), point.counted(&[*point]).len());
    let Some(most) = counting.iter().max_by_key(size) else { return true };
    // What it takes several points to tell, none of them decides about.
    let alone = most.counted(&[*most]);
    if counting.iter().all(|point| point.counted(beside).is_subset(&alone)) {
        return true;
    }
    let mut kinds = alone.iter();
    let (Some((argument, filter)), None) = (kinds.next(), kinds.next()) else { return false };
    counting.iter().filter(|point| !point.groups_like(most)).all(|point| {
        let told = point.counted(&[*point]);
        let wider = |(of, under): &(Option<&Expr>, Option<&Expr>)| {
            (of.is_none() || of == argument) && (under.is_none() || under == filter)
        };
        told.contains(&(*argument, *filter)) && told.iter().all(wider) && point.counted(beside) == told
    }) && counting.iter().filter(|point| point.groups_like(most)).all(|point| point.counted(beside) == alone)
}

/// Whether the sets of keys of these points are one, or two of which one is within the other and decided only once.
fn decided_once(points: &[&Told]) -> bool {
    let Some(finest) = points.iter().max_by_key(|point| point.keys.len()) else { return true };
    let (fine, coarse): (Vec<&Told>, Vec<&Told>) = points.iter().copied().partition(|point| point.groups_like(finest));
    let once = fine.iter().all(|point| point.is_the_same_as(finest));
    match coarse.split_first() {
        None => finest.sets.is_empty() || once,
        Some((first, others)) => {
            once && others.iter().all(|other| other.groups_like(first))
                && first.keys.is_subset(&finest.keys)
                && points.iter().all(|point| point.sets.is_empty())
                // A steward's groups beside the total of all tell of the others' parts of them.
                && points.iter().all(|point| point.tables == finest.tables)
        }
    }
}

fn apart(how: &str) -> Stop {
    let text = format!(
        "two aggregates of the question give values of one column {how}, and what is left of one without the other could be \
         few people; ask for them in one aggregate, with FILTER (WHERE …) or GROUPING SETS, which is decided as a whole"
    );
    refuse(&text, Vec::new())
}
