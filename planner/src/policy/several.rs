//! Several release points of one query (rule B.5). Each decides about its own groups and sees to it that nothing small is left
//! of them; what two of them tell together has to be safe as well, and here are the cases in which it is. All others are
//! refused: one aggregate with FILTERs or GROUPING SETS asks the same, and is decided as a whole.
//!
//! Only values of one column can be subtracted from each other, and names of groups from nothing. So the values of each
//! argument are looked at by themselves, with those of arguments that have a column in common with it, or a column that a
//! condition or a join ties to one of its own, and those only of points that can have rows in common. They must be of the same
//! rows, of the same arguments under the same FILTERs at each point, and then
//!
//! - either all points that have keys are one and the same question to the same stewards under the same clauses, so that they
//!   withhold the same groups; beside them may stand the total of these rows. What the groups leave of it is nobody or enough;
//! - or none has keys: there is one group of each, and what others' parts leave of it is nobody or enough (rule B.4).
//!
//! Two points that withhold other groups are not safe, be their keys the same or the ones within the others: a small group goes
//! with a larger one at the one point, which the other gives, and so the small one is what is left of the total, or of the
//! remainder.
//!
//! How many rows there are, of all or of those with a value, is told by counts and by what tells one (see [`mod@super::seen`]).
//! These are looked at as if they were values of one more argument, under FILTERs and under what they count. The finer point may
//! tell more of them than the total: its groups are made of the parts that they cut its rows into. Averages of groups beside the one
//! of all tell which portion each group is, and count at both points.
//!
//! A function that takes equal values once tells of two groups what it does not tell of their parts, so its argument is in one
//! point only.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Operator};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::MinimumScope;
use super::assemble::Rows;
use super::denial::{Stop, refuse};
use super::joining::Filled;
use super::lists::ListJoin;
use super::matching::{Asked, columns_of};
use super::seen::{averages_rows, counts, takes_once, tell_count};
use super::tied::{Tied, known};
use crate::catalog::TableName;
use crate::fragment::{KeySet, ReleaseClauseRef};
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
    /// The same where different people are counted as rows are.
    counting: HashSet<Asked>,
    decided: Decided,
}

/// How it is decided about the groups of a point.
#[derive(PartialEq)]
pub(super) struct Decided {
    pub(super) clauses: Vec<ReleaseClauseRef>,
    pub(super) scope: MinimumScope,
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
    pub(super) fn of(
        rows: &Rows,
        keys: &[Expr],
        sets: &[KeySet],
        asked: &[Asked],
        decided: Decided,
        is_person: impl Fn(&Column) -> bool,
    ) -> Self {
        let values = asked.iter().filter(|value| value.function != IS_REMAINDER);
        let values: Vec<Asked> = values.map(|value| value.bare(&rows.relation)).collect();
        let counting = values.iter().map(|value| as_counting(value, &is_person));
        // What tells a number of rows by what is known counts them.
        let by_known = values.iter().zip(known(&values, keys, &rows.relation));
        let by_known = by_known.filter(|(_, known)| *known).map(|(value, _)| as_count(value));
        let counting = counting.chain(by_known).collect();
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
            counting,
            values: values.into_iter().collect(),
            decided,
        }
    }

    /// Its averages of all values.
    fn averages(&self) -> impl Iterator<Item = &Asked> {
        self.values.iter().filter(|value| averages_rows(&value.function, value.distinct))
    }

    /// Takes averages for counts, too.
    pub(super) fn count_averages(&mut self) {
        let averages: Vec<Asked> = self.averages().map(as_count).collect();
        self.counting.extend(averages);
    }

    /// Its arguments, with the FILTERs that they are under.
    fn arguments(&self) -> impl Iterator<Item = (&Expr, Option<&Expr>)> {
        self.values.iter().filter_map(|value| Some((value.argument.as_ref()?, value.filter.as_ref())))
    }

    /// Those that have one of these columns.
    fn written_over(&self, columns: &BTreeSet<Column>) -> HashSet<(&Expr, Option<&Expr>)> {
        self.arguments().filter(|(argument, _)| has_one_of(argument, columns)).collect()
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

    /// What it tells under a FILTER of arguments like these.
    fn told(&self, filter: Option<&Expr>, like: impl Fn(Option<&Expr>) -> bool) -> impl Iterator<Item = &Asked> {
        self.counting.iter().filter(move |value| value.filter.as_ref() == filter && like(value.argument.as_ref()))
    }

    /// Which rows it helps to count beside these points: by their argument and FILTER.
    fn counted<'a>(&'a self, beside: &[&Self], tied: &Tied) -> HashSet<(Option<&'a Expr>, Option<&'a Expr>)> {
        let values = self.counting.iter().map(|value| (value.argument.as_ref(), value.filter.as_ref()));
        let told = |(argument, filter): &(Option<&Expr>, Option<&Expr>)| {
            let same = |other: Option<&Expr>| other == *argument;
            let columns = argument.map(|argument| tied.columns(argument)).unwrap_or_default();
            let of_family = |other: Option<&Expr>| other.is_some_and(|other| has_one_of(other, &columns));
            let family = beside.iter().flat_map(|point| &point.counting);
            let family = family.filter(|value| of_family(value.argument.as_ref()));
            beside.iter().flat_map(|point| point.told(*filter, same)).any(|value| counts(&value.function))
                || tell_count(family.map(|value| (value.function.as_str(), &value.argument, &value.filter)))
        };
        values.filter(told).collect()
    }

    /// Whether it has a value of one of these columns that takes equal ones once.
    fn takes_once(&self, columns: &BTreeSet<Column>) -> bool {
        let of_these = |value: &&Asked| value.argument.as_ref().is_some_and(|argument| has_one_of(argument, columns));
        self.values.iter().filter(of_these).any(|value| takes_once(&value.function, value.distinct))
    }

    fn groups_like(&self, other: &Self) -> bool {
        self.keys == other.keys && self.sets == other.sets
    }

    /// Whether it is the same question to the same stewards, so that it withholds the same groups.
    fn is_the_same_as(&self, other: &Self) -> bool {
        self.rows == other.rows
            && self.tables == other.tables
            && self.decided == other.decided
            && self.groups_like(other)
            && self.values == other.values
    }
}

/// A count of different people as one of rows: where each has one row, it is. What else it tells is under which conditions.
fn as_counting(value: &Asked, is_person: &impl Fn(&Column) -> bool) -> Asked {
    match &value.argument {
        Some(Expr::Column(column)) if value.distinct && value.function == "count" && is_person(column) => {
            Asked { argument: None, distinct: false, ..value.clone() }
        }
        _ => value.clone(),
    }
}

/// What tells how many rows a value is of, as a count of them.
fn as_count(value: &Asked) -> Asked {
    Asked { function: "count".to_owned(), ..value.clone() }
}

fn has_one_of(expr: &Expr, columns: &BTreeSet<Column>) -> bool {
    columns_of(expr).iter().any(|column| columns.contains(column))
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

/// Makes averages count at the points that stand beside averages of one family by other groups, where something counts at all, and
/// says which these points are: each point decides about what they tell of its groups.
pub(super) fn count_averages(points: &mut [Told]) -> Vec<bool> {
    let tied = tied(points);
    let columns = |point: &Told| -> BTreeSet<Column> {
        point.averages().filter_map(|value| value.argument.as_ref()).flat_map(|of| tied.columns(of)).collect()
    };
    let beside_others = |one: &Told| {
        let beside: Vec<&Told> = points.iter().filter(|other| one.meets(other)).collect();
        let mut others = beside.iter().filter(|other| !one.is_the_same_as(other));
        others.any(|other| !columns(one).is_disjoint(&columns(other)))
            && beside.iter().any(|point| !point.counted(&beside, &tied).is_empty())
    };
    let counted: Vec<bool> = points.iter().map(beside_others).collect();
    for (point, _) in points.iter_mut().zip(&counted).filter(|(_, counted)| **counted) {
        point.count_averages();
    }
    counted
}

/// Refuses points that could tell together what none of them tells.
pub(super) fn refuse_apart(points: &[Told]) -> Result<(), Stop> {
    let tied = &tied(points);
    // In order, so that what is said of a question is always the same.
    let arguments = points.iter().flat_map(Told::arguments).map(|(argument, _)| argument);
    let mut arguments: Vec<&Expr> = arguments.collect::<HashSet<_>>().into_iter().collect();
    arguments.sort_by_cached_key(|argument| argument.to_string());
    for argument in arguments {
        let columns = tied.columns(argument);
        let with: Vec<&Told> = points.iter().filter(|point| !point.written_over(&columns).is_empty()).collect();
        for (one, beside) in meeting(&with) {
            for other in &beside {
                if one.rows != other.rows || one.written_over(&columns) != other.written_over(&columns) {
                    return Err(apart("of other rows, under other FILTERs or written in another way"));
                }
                if !one.is_the_same_as(other) && (one.takes_once(&columns) || other.takes_once(&columns)) {
                    return Err(apart("each once"));
                }
            }
            if !decided_once(&beside) {
                return Err(apart("by other keys, of other stewards or with other values beside them"));
            }
        }
    }
    refuse_counts(points, tied)
}

/// The columns that any of these points ties: of which rows there are in both, one can say something of the other.
fn tied(points: &[Told]) -> Tied {
    let mut tied = Tied::default();
    for point in points {
        tied.rows(&point.rows.joins, &point.rows.filled, &point.rows.predicates);
        for list in &point.rows.lists {
            tied.tie(list.pairs.iter().flat_map(|(own, _)| columns_of(own)).collect());
        }
        tied.filters(&point.values);
    }
    tied
}

/// Each of these points, and those that it can have rows in common with, itself among them.
fn meeting<'a>(points: &[&'a Told]) -> Vec<(&'a Told, Vec<&'a Told>)> {
    let beside = |one: &Told| points.iter().copied().filter(|other| one.meets(other)).collect();
    points.iter().map(|one| (*one, beside(one))).collect()
}

/// Refuses points that tell together how many rows there are of a kind that none of them decides about.
fn refuse_counts(points: &[Told], tied: &Tied) -> Result<(), Stop> {
    let all: Vec<&Told> = points.iter().collect();
    for (one, beside) in meeting(&all) {
        let counts = |point: &Told| !point.counted(&beside, tied).is_empty();
        let counting: Vec<&Told> = beside.iter().copied().filter(|point| counts(point)).collect();
        if counting.iter().all(|point| point.is_the_same_as(one)) || !counts(one) {
            continue;
        }
        if counting.iter().any(|point| point.rows != one.rows) {
            return Err(apart("of other rows, or under other FILTERs"));
        }
        if !counted_by_one(&counting, &beside, tied) {
            return Err(apart("counted with and without it, or under other FILTERs"));
        }
        if !decided_once(&counting) {
            return Err(apart("by other keys, of other stewards or with other values beside them"));
        }
    }
    Ok(())
}

/// Whether the finest of these points counts all that they count, so that its groups are decided by all of that; or only the rows
/// for which all conditions hold that the others count by, and each of these decides about them, too: the rest is one part more.
fn counted_by_one(counting: &[&Told], beside: &[&Told], tied: &Tied) -> bool {
    let size = |point: &&&Told| (point.keys.len(), point.counted(&[*point], tied).len());
    let Some(most) = counting.iter().max_by_key(size) else { return true };
    // What it takes several points to tell, none of them decides about.
    let alone = most.counted(&[*most], tied);
    if counting.iter().all(|point| point.counted(beside, tied).is_subset(&alone)) {
        return true;
    }
    let mut kinds = alone.iter();
    let (Some((argument, filter)), None) = (kinds.next(), kinds.next()) else { return false };
    counting.iter().filter(|point| !point.groups_like(most)).all(|point| {
        let told = point.counted(&[*point], tied);
        let wider = |(of, under): &(Option<&Expr>, Option<&Expr>)| {
            (of.is_none() || of == argument) && (under.is_none() || under == filter)
        };
        told.contains(&(*argument, *filter)) && told.iter().all(wider) && point.counted(beside, tied) == told
    }) && counting.iter().filter(|point| point.groups_like(most)).all(|point| point.counted(beside, tied) == alone)
}

/// Whether no two of these points withhold other groups: those with keys are one question, beside which there may be its total.
fn decided_once(points: &[&Told]) -> bool {
    let (totals, groups): (Vec<&Told>, Vec<&Told>) =
        points.iter().copied().partition(|point| point.keys.is_empty() && point.sets.is_empty());
    let Some((first, others)) = groups.split_first() else { return true };
    others.iter().all(|other| other.is_the_same_as(first))
        // A steward's groups beside the total of all tell of the others' parts of them, and so do totals of other stewards.
        && totals.iter().all(|total| {
            total.tables == first.tables && total.decided.scope == first.decided.scope && first.sets.is_empty()
        })
}

fn apart(how: &str) -> Stop {
    let text = format!(
        "two aggregates of the question give values of one column {how}, and what is left of one without the other could be \
         few people; ask for them in one aggregate, with FILTER (WHERE …) or GROUPING SETS, which is decided as a whole"
    );
    refuse(&text, Vec::new())
}
