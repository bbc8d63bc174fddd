//! Which rows the values of a release point see, as the minimums count them: those that enter a value, and those that are left
//! when values with different FILTERs are subtracted from each other.
//!
//! ```text
//!  sum(x), sum(x) FILTER (f), sum(x) FILTER (g)   values:       x | x, f | x, g
//!                                                 differences:  f, g | f, not g | not f, g | not f, not g
//! ```
//!
//! Values of one argument that have different FILTERs cut the rows of a group into parts by which of the conditions hold.
//! Whatever is computed from such values by adding and subtracting is made of these parts, each taken some number of times. If
//! each part has nobody or enough entities, so has all that can be computed.
//!
//! Where `count(*)` and the count of a column stand together, their difference is the rows that lack the column's value, and is
//! nobody or enough as well. Left out: that a sum beside an average tells the count.

use std::collections::BTreeSet;

use datafusion::common::{Result, plan_err};

use super::decide::Behind;
use super::release_plan::is_sum;
use crate::fragment::ReleasedAggregate;

/// Values of one argument have at most so many different FILTERs where a minimum holds; each doubles the number of parts.
pub const FILTERS_MAX: usize = 5;

/// How a condition turns out for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    True,
    /// False or NULL.
    NotTrue,
}

/// Rows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// A value, or what subtracting some leaves.
    pub(super) behind: Behind,
    /// This column of theirs is not NULL.
    pub(super) argument: Option<usize>,
    /// This one is.
    pub(super) lacking: Option<usize>,
    /// What these conditions are for them, in order of the columns.
    pub(super) filters: Vec<(usize, Holds)>,
    /// Whether they are added up.
    pub(super) summed: bool,
}

impl Seen {
    /// All rows of a group, where no value is asked for.
    pub(super) fn all() -> Self {
        Self { behind: Behind::Value, argument: None, lacking: None, filters: Vec::new(), summed: false }
    }

    pub(super) fn same_rows_as(&self, other: &Self) -> bool {
        (self.argument, self.lacking, &self.filters) == (other.argument, other.lacking, &other.filters)
    }
}

/// The rows that enter each value.
pub(super) fn rows_seen(values: &[&ReleasedAggregate]) -> Vec<Seen> {
    let seen = |value: &&ReleasedAggregate| Seen {
        behind: Behind::Value,
        argument: value.argument,
        lacking: None,
        filters: value.filter.map(|filter| (filter, Holds::True)).into_iter().collect(),
        summed: is_sum(value),
    };
    values.iter().map(seen).collect()
}

/// The parts that values of one argument cut a group into by their FILTERs; none where they all have the same.
pub(super) fn differences(values: &[&ReleasedAggregate]) -> Result<Vec<Seen>> {
    let mut arguments: Vec<Option<usize>> = values.iter().map(|value| value.argument).collect();
    arguments.sort_unstable();
    arguments.dedup();
    let mut parts = Vec::new();
    for argument in arguments {
        let of_this = values.iter().filter(|value| value.argument == argument);
        let filters = conditions(of_this.clone().map(|value| value.filter));
        if filters.len() > FILTERS_MAX {
            return plan_err!("values of one column have more than {FILTERS_MAX} different FILTERs");
        }
        let whole = of_this.clone().any(|value| value.filter.is_none());
        if filters.len() + usize::from(whole) < 2 {
            continue;
        }
        let summed = of_this.clone().any(|value| is_sum(value));
        // A set bit is a condition that does not hold. Rows for which none holds are seen by a value without FILTER only.
        let all = 1_usize << filters.len();
        for unmet in 0..if whole { all } else { all - 1 } {
            let holds = |bit: usize| if unmet & (1 << bit) == 0 { Holds::True } else { Holds::NotTrue };
            let filters = filters.iter().enumerate().map(|(bit, filter)| (*filter, holds(bit))).collect();
            parts.push(Seen { behind: Behind::Difference, argument, lacking: None, filters, summed });
        }
    }
    parts.extend(lacking(values));
    Ok(parts)
}

/// The rows that are counted, and lack a column which is counted under the same FILTER.
fn lacking(values: &[&ReleasedAggregate]) -> impl Iterator<Item = Seen> {
    let told = |filter: Option<usize>, argument: Option<usize>| {
        let mut counts = values.iter().filter(|value| value.function == "count" && !value.distinct);
        counts.any(|value| value.filter == filter && value.argument == argument)
    };
    let counted: BTreeSet<(Option<usize>, usize)> =
        values.iter().filter_map(|value| Some((value.filter, value.argument?))).collect();
    let counted: Vec<(Option<usize>, usize)> = counted
        .into_iter()
        .filter(|(filter, argument)| told(*filter, None) && told(*filter, Some(*argument)))
        .collect();
    counted.into_iter().map(|(filter, argument)| Seen {
        behind: Behind::Difference,
        argument: None,
        lacking: Some(argument),
        filters: filter.map(|filter| (filter, Holds::True)).into_iter().collect(),
        summed: false,
    })
}

/// The different FILTERs of values, in order.
fn conditions(filters: impl Iterator<Item = Option<usize>>) -> Vec<usize> {
    let mut filters: Vec<usize> = filters.flatten().collect();
    filters.sort_unstable();
    filters.dedup();
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(function: &str, argument: Option<usize>, filter: Option<usize>) -> ReleasedAggregate {
        ReleasedAggregate { function: function.into(), distinct: false, argument, filter }
    }

    /// The parts as the conditions that hold and, behind a bar, that do not.
    fn parts(values: &[ReleasedAggregate]) -> Vec<String> {
        let values: Vec<&ReleasedAggregate> = values.iter().collect();
        let text = |part: Seen| {
            let with = |wanted| {
                let filters = part.filters.iter().filter(move |(_, holds)| *holds == wanted);
                filters.map(|(filter, _)| filter.to_string()).collect::<Vec<_>>().join(",")
            };
            format!("{}|{}", with(Holds::True), with(Holds::NotTrue))
        };
        differences(&values).unwrap().into_iter().map(text).collect()
    }

    #[test]
    fn b5_values_of_one_argument_are_cut_by_their_filters() {
        let (sum, part, other) =
            (value("sum", Some(2), None), value("avg", Some(2), Some(5)), value("sum", Some(2), Some(7)));
        assert_eq!(parts(std::slice::from_ref(&sum)), Vec::<String>::new());
        assert_eq!(parts(std::slice::from_ref(&part)), Vec::<String>::new());
        assert_eq!(parts(&[sum.clone(), part.clone()]), ["5|", "|5"]);
        assert_eq!(parts(&[sum, part.clone(), other.clone()]), ["5,7|", "7|5", "5|7", "|5,7"]);
        // Rows that no value sees are in no difference.
        assert_eq!(parts(&[part.clone(), other]), ["5,7|", "7|5", "5|7"]);
        // Sums of different columns cannot be subtracted.
        assert_eq!(parts(&[part, value("sum", Some(3), None)]), Vec::<String>::new());
    }

    #[test]
    fn b5_rows_that_lack_a_counted_value_are_counted() {
        let all = value("count", None, None);
        let lacking = |values: &[ReleasedAggregate]| {
            let parts = differences(&values.iter().collect::<Vec<_>>()).unwrap();
            parts.into_iter().map(|part| (part.lacking, part.filters)).collect::<Vec<_>>()
        };
        assert_eq!(lacking(&[all.clone(), value("count", Some(2), None)]), [(Some(2), vec![])]);
        assert_eq!(lacking(&[all.clone(), value("avg", Some(2), None)]), []);
        assert_eq!(lacking(&[value("count", Some(2), None), value("count", Some(3), None)]), []);
        let under = [value("count", None, Some(5)), value("count", Some(2), Some(5))];
        assert_eq!(lacking(&under), [(Some(2), vec![(5, Holds::True)])]);
        assert_eq!(lacking(&[all, value("count", Some(2), Some(5))]), []);
    }

    #[test]
    fn too_many_filters_are_an_error() {
        let values: Vec<ReleasedAggregate> =
            (0..=FILTERS_MAX).map(|filter| value("count", None, Some(filter))).collect();
        assert!(differences(&values.iter().collect::<Vec<_>>()).is_err());
    }
}
