//! Which rows the values of a release point see, as the minimums count them: those that enter a value, and those that are left
//! when values are subtracted from each other.
//!
//! ```text
//!  sum(x), sum(x) FILTER (f), sum(x) FILTER (g)   values:  x | x, f | x, g
//!                                                 parts:   f, g | f, not g | not f, g | not f, not g
//! ```
//!
//! Values that can be subtracted from each other are those of one column, also where they are computed from it and others, and
//! all that tell how many rows there are. Each sees the rows for which its conditions hold: that of its FILTER, and that its
//! argument is not NULL. Such values cut the rows of a group into parts by which of the conditions hold. Whatever is computed
//! from them by adding and subtracting is made of these parts, each taken some number of times. If each part is nobody or enough,
//! so is all that can be computed.
//!
//! How many rows there are is told by a count, by a sum beside an average or another sum of one family, by the variance of a sample
//! beside that of a population, by a sum beside the smallest and the largest value, which may be one, and by a sum of what is known:
//! of columns that keys or conditions say something of, or of none. Averages of rows and of their parts tell which portion a part
//! is. Which FILTERs they are under does not matter: of each it may be known that it keeps all. So it is told by a count of
//! different values, which may be different for everybody. Values of which each takes equal ones once are otherwise not made of
//! parts, and stand alone.

use std::collections::BTreeSet;

use super::decide::Behind;
use super::matching::Asked;
use super::release_plan::is_sum;
use super::tied::Tied;
use crate::fragment::ReleasedAggregate;

/// Values that can be subtracted from each other are under at most so many different conditions where a minimum holds; each
/// doubles the number of parts.
pub const CONDITIONS_MAX: usize = 5;

/// A condition on rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// That of a FILTER, which is in this column.
    Filter(usize),
    /// This column is not NULL.
    Present(usize),
}

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
    /// What the conditions are for them, in order.
    pub(super) conditions: Vec<(Condition, Holds)>,
    /// The column that is added up over them, if one is.
    pub(super) summed: Option<usize>,
}

impl Seen {
    /// All rows of a group, where no value is asked for.
    pub(super) fn all() -> Self {
        Self { behind: Behind::Value, conditions: Vec::new(), summed: None }
    }
}

/// The conditions of a value.
fn conditions(filter: Option<usize>, origin: Option<usize>) -> BTreeSet<Condition> {
    filter.map(Condition::Filter).into_iter().chain(origin.map(Condition::Present)).collect()
}

/// The rows that enter each value.
pub(super) fn rows_seen(values: &[&ReleasedAggregate]) -> Vec<Seen> {
    let seen = |value: &&ReleasedAggregate| Seen {
        behind: Behind::Value,
        conditions: conditions(value.filter, value.origin).into_iter().map(|one| (one, Holds::True)).collect(),
        summed: value.origin.filter(|_| is_sum(value)),
    };
    values.iter().map(seen).collect()
}

/// The parts that values cut a group into; an error says which values cannot stand side by side.
pub(super) fn differences(values: &[&ReleasedAggregate]) -> Result<Vec<Seen>, String> {
    stand_alone(values)?;
    let mut parts = Vec::new();
    for family in values.iter().filter_map(|value| value.family).collect::<BTreeSet<_>>() {
        let of_this = values.iter().filter(|value| value.family == Some(family));
        let seen = of_this.clone().map(|value| conditions(value.filter, value.origin)).collect();
        let cut = cut(&seen)?;
        let summed: BTreeSet<usize> = of_this.filter(|value| is_sum(value)).filter_map(|value| value.origin).collect();
        for column in &summed {
            let lacks_it = (Condition::Present(*column), Holds::NotTrue);
            let summed = |part: &Seen| (!part.conditions.contains(&lacks_it)).then_some(*column);
            parts.extend(cut.iter().map(|part| Seen { summed: summed(part), ..part.clone() }));
        }
        if summed.is_empty() {
            parts.extend(cut);
        }
    }
    parts.extend(cut(&counted(values))?);
    Ok(parts)
}

/// The values that are sent where an average is sent as what it is made of.
pub(super) fn as_states(values: &[ReleasedAggregate]) -> Vec<ReleasedAggregate> {
    let states = |value: &ReleasedAggregate| match value.function.as_str() {
        "avg" => ["sum", "count"].map(|name| ReleasedAggregate { function: name.to_owned(), ..value.clone() }).into(),
        _ => vec![value.clone()],
    };
    values.iter().flat_map(states).collect()
}

/// The parts of rows that are seen under these sets of conditions; none where they are all the same.
fn cut(seen: &BTreeSet<BTreeSet<Condition>>) -> Result<Vec<Seen>, String> {
    let all: BTreeSet<Condition> = seen.iter().flatten().copied().collect();
    let (common, varying): (Vec<Condition>, Vec<Condition>) =
        all.into_iter().partition(|condition| seen.iter().all(|one| one.contains(condition)));
    if varying.is_empty() {
        return Ok(Vec::new());
    }
    if varying.len() > CONDITIONS_MAX {
        return Err(format!(
            "values that can be subtracted from each other, those of one column or counts, are under at most {CONDITIONS_MAX} \
             different conditions in a release under a minimum: their FILTERs, and which columns are not NULL. Of groups that each \
             steward decides over by itself (PER SITE) an average is sent with its count. Ask for them as groups, or in several \
             questions"
        ));
    }
    let mut parts = Vec::new();
    // A set bit is a condition that does not hold.
    for unmet in 0..1_usize << varying.len() {
        let holds = |bit: usize| if unmet & (1 << bit) == 0 { Holds::True } else { Holds::NotTrue };
        let varying: Vec<(Condition, Holds)> =
            varying.iter().enumerate().map(|(bit, condition)| (*condition, holds(bit))).collect();
        let met = |condition: &Condition| !varying.contains(&(*condition, Holds::NotTrue));
        // Rows that no value sees are in no difference.
        if !seen.iter().any(|one| one.iter().all(met)) {
            continue;
        }
        let mut conditions: Vec<(Condition, Holds)> =
            common.iter().map(|condition| (*condition, Holds::True)).chain(varying.iter().copied()).collect();
        conditions.sort_unstable();
        parts.push(Seen { behind: Behind::Difference, conditions, summed: None });
    }
    Ok(parts)
}

/// The conditions under which rows are counted.
fn counted(values: &[&ReleasedAggregate]) -> BTreeSet<BTreeSet<Condition>> {
    let told = values.iter().filter(|value| {
        let family = values.iter().filter(|other| other.family == value.family);
        counts(&value.function)
            || (value.known && !value.distinct)
            || (helps_to_count(&value.function)
                && tell_count(family.map(|value| (value.function.as_str(), value.origin, value.filter))))
    });
    told.map(|value| conditions(value.filter, value.origin)).collect()
}

/// Whether a function tells by itself how many rows have a value of its column, or different ones, which may be different for
/// everybody.
pub(super) fn counts(function: &str) -> bool {
    matches!(function, "count" | "approx_distinct" | "regr_count")
}

/// Whether a function adds up a value of each row: of known values that tells how many there are.
pub(super) fn sums_rows(function: &str, distinct: bool) -> bool {
    function == "sum" && !distinct
}

fn helps_to_count(function: &str) -> bool {
    matches!(function, "sum" | "avg" | "var" | "stddev" | "var_pop" | "stddev_pop")
}

/// Whether these functions of one family, with what each is of and under which FILTER, tell together how many rows have a value of
/// it, or which portion of others they are, though none of them counts: `sum(x + 1)` is that many more than `sum(x)`, and of
/// averages the one of all is between those of the parts.
pub(super) fn tell_count<'a, A: PartialEq, F: PartialEq>(values: impl Iterator<Item = (&'a str, A, F)>) -> bool {
    let values: Vec<(&str, A, F)> = values.collect();
    let any = |names: &[&str]| values.iter().any(|(function, ..)| names.contains(function));
    let sums = || values.iter().filter(|(function, ..)| *function == "sum");
    let several_sums = sums().any(|(_, of, _)| sums().any(|(_, other, _)| other != of));
    let averages = values.iter().enumerate().filter(|(_, (function, ..))| *function == "avg");
    let averages =
        averages.filter(|(place, value)| !values.iter().take(*place).any(|earlier| earlier == *value)).count();
    // Where the smallest value is the largest, it is the average.
    let averaged = averages + usize::from(any(&["min"]) && any(&["max"]));
    several_sums
        || (averages > 0 && averaged > 2)
        || (any(&["sum"]) && averaged > 0)
        || (any(&["var", "stddev"]) && any(&["var_pop", "stddev_pop"]))
}

/// Whether some of these values tell how many rows there are.
pub(super) fn tell_counts(values: &[ReleasedAggregate]) -> bool {
    !counted(&values.iter().collect::<Vec<_>>()).is_empty()
}

/// Makes averages count: where they are of several sets of groups, or stand beside averages of other rows, they tell which portion
/// of the one the other is, and with one count how many each are.
pub(super) fn count_averages(values: &mut [ReleasedAggregate]) {
    for value in values.iter_mut().filter(|value| averages_rows(&value.function, value.distinct)) {
        value.known = true;
    }
}

/// Whether a function averages a value of each row.
pub(super) fn averages_rows(function: &str, distinct: bool) -> bool {
    function == "avg" && !distinct
}

/// Whether a function takes equal values once and is not the same with all of them.
pub(super) fn takes_once(function: &str, distinct: bool) -> bool {
    function == "approx_distinct" || (distinct && !matches!(function, "min" | "max"))
}

/// What can be subtracted from each other.
fn kind(value: &ReleasedAggregate) -> &str {
    match value.function.as_str() {
        function if counts(function) => "count",
        _ if is_sum(value) => "sum",
        function => function,
    }
}

/// A function that takes equal values once is, of two parts together, not what it is of the one and of the other. Its values stand
/// beside none of their family that can be subtracted from them, be they of other rows, of all values or computed in another way.
/// Counts under one FILTER are made of parts all the same, as if all values were different.
fn stand_alone(values: &[&ReleasedAggregate]) -> Result<(), String> {
    let once = |value: &ReleasedAggregate| takes_once(&value.function, value.distinct);
    for value in values.iter().filter(|value| once(value)) {
        let apart = |other: &ReleasedAggregate| {
            other.family == value.family
                && kind(other) == kind(value)
                && (other.filter, once(other), other.origin) != (value.filter, once(value), value.origin)
                && !(other.filter == value.filter && counts(&value.function))
        };
        if values.iter().any(|other| apart(other)) {
            return Err(format!(
                "`{}` under a minimum stands beside no value that is computed from its column with another FILTER, in another \
                 way or of all values: what one has and the other has not could be few people; ask for them in several questions",
                called(value)
            ));
        }
    }
    Ok(())
}

fn called(value: &ReleasedAggregate) -> String {
    if value.distinct { format!("{} DISTINCT", value.function) } else { value.function.clone() }
}

/// Why these values of a release point cannot be decided side by side, by so many grouping sets; none if they can.
pub(super) fn undecidable(values: &[ReleasedAggregate], sets: usize) -> Option<String> {
    let values: Vec<&ReleasedAggregate> = values.iter().collect();
    if sets > 1
        && let Some(value) = values.iter().find(|value| takes_once(&value.function, value.distinct))
    {
        return Some(format!(
            "`{}` by several grouping sets under a minimum could tell of few people, who are in several groups; ask for each \
             set by itself",
            called(value)
        ));
    }
    differences(&values).err()
}

/// Why values of one column, each written in its own way, cannot stand side by side under different FILTERs: what is left of one
/// without the other is not looked at. None if they can. The values are without widening.
pub(super) fn filtered_apart(values: &[Asked], tied: &Tied) -> Option<String> {
    let columns =
        |value: &Asked| value.argument.iter().flat_map(|argument| tied.columns(argument)).collect::<BTreeSet<_>>();
    let apart = |one: &Asked, other: &Asked| {
        one.filter != other.filter && one.argument != other.argument && !columns(one).is_disjoint(&columns(other))
    };
    let found = values.iter().find_map(|one| Some((one, values.iter().find(|other| apart(one, other))?)));
    found.and_then(|(one, other)| {
        let (one, other) = (one.argument.as_ref()?, other.argument.as_ref()?);
        Some(format!(
            "values of `{one}` and of `{other}` have a column in common, or columns of one condition, and stand under different \
             FILTERs, which is not decided together; ask for them under the same, or in several questions"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(function: &str, argument: Option<usize>, filter: Option<usize>) -> ReleasedAggregate {
        ReleasedAggregate {
            function: function.into(),
            distinct: false,
            argument,
            origin: argument,
            family: argument,
            known: false,
            filter,
        }
    }

    /// The parts as the conditions that hold and, behind a bar, that do not; `xN` is that column N is not NULL.
    fn parts(values: &[ReleasedAggregate]) -> Vec<String> {
        let values: Vec<&ReleasedAggregate> = values.iter().collect();
        let text = |part: Seen| {
            let with = |wanted| {
                let conditions = part.conditions.iter().filter(move |(_, holds)| *holds == wanted);
                let conditions = conditions.map(|(condition, _)| match condition {
                    Condition::Filter(column) => column.to_string(),
                    Condition::Present(column) => format!("x{column}"),
                });
                conditions.collect::<Vec<_>>().join(",")
            };
            format!("{}|{}", with(Holds::True), with(Holds::NotTrue))
        };
        differences(&values).unwrap().into_iter().map(text).collect()
    }

    #[test]
    fn b5_values_of_one_column_are_cut_by_their_filters() {
        let (sum, part, other) =
            (value("sum", Some(2), None), value("sum", Some(2), Some(5)), value("max", Some(2), Some(7)));
        assert_eq!(parts(std::slice::from_ref(&sum)), Vec::<String>::new());
        assert_eq!(parts(std::slice::from_ref(&part)), Vec::<String>::new());
        assert_eq!(parts(&[sum.clone(), part.clone()]), ["5,x2|", "x2|5"]);
        assert_eq!(parts(&[sum, part.clone(), other.clone()]), ["5,7,x2|", "7,x2|5", "5,x2|7", "x2|5,7"]);
        // Rows that no value sees are in no difference.
        assert_eq!(parts(&[part.clone(), other]), ["5,7,x2|", "7,x2|5", "5,x2|7"]);
        // Sums of different columns cannot be subtracted.
        assert_eq!(parts(&[part, value("sum", Some(3), None)]), Vec::<String>::new());
    }

    #[test]
    fn b5_counts_are_cut_by_what_they_count() {
        let all = value("count", None, None);
        assert_eq!(parts(&[all.clone(), value("count", Some(2), None)]), ["x2|", "|x2"]);
        assert_eq!(parts(&[all.clone(), value("avg", Some(2), None)]), Vec::<String>::new());
        // Whoever has one of them may have the other, or not.
        let both = [value("count", Some(2), None), value("count", Some(3), None)];
        assert_eq!(parts(&both), ["x2,x3|", "x3|x2", "x2|x3"]);
        // Under another FILTER, too: that nobody lacks the value may be known.
        assert_eq!(parts(&[all.clone(), value("count", Some(2), Some(5))]), ["5,x2|", "x2|5", "5|x2", "|5,x2"]);
        let under = [all.clone(), value("count", None, Some(5)), value("count", Some(2), None)];
        assert!(parts(&under).contains(&"|5,x2".to_owned()));
        assert_eq!(
            parts(&[all.clone(), value("var", Some(2), None), value("stddev", Some(2), None)]),
            Vec::<String>::new()
        );
        let told = [all, value("var_pop", Some(2), None), value("stddev", Some(2), None)];
        assert_eq!(parts(&told), ["x2|", "|x2"]);
    }

    #[test]
    fn b5_a_widened_column_is_the_column() {
        // The engine averages another column than it sums: the one widened to a double.
        let (all, sum) = (value("count", None, None), value("sum", Some(2), None));
        let average = ReleasedAggregate { origin: Some(2), family: Some(2), ..value("avg", Some(3), None) };
        assert_eq!(parts(&[all.clone(), sum.clone(), average.clone()]), ["x2|", "|x2"]);
        assert_eq!(parts(&[all, sum, value("avg", Some(3), None)]), Vec::<String>::new());
        // What they add up to over the parts, and how many these are.
        let cut = ["5,x2|", "x2|5"];
        assert_eq!(parts(&[value("sum", Some(2), Some(5)), average]), [cut, cut].concat());
    }

    #[test]
    fn b5_what_takes_equal_values_once_stands_alone() {
        let once = |function, filter| ReleasedAggregate { distinct: true, ..value(function, Some(2), filter) };
        let decided = |values: &[ReleasedAggregate]| differences(&values.iter().collect::<Vec<_>>()).is_ok();
        assert!(decided(&[once("count", None), value("count", None, None), value("sum", Some(3), Some(5))]));
        assert!(decided(&[once("count", None), once("sum", None), value("max", Some(2), None), once("min", Some(5))]));
        assert!(decided(&[once("count", None), value("avg", Some(2), Some(5)), value("median", Some(2), None)]));
        assert!(!decided(&[once("count", None), once("count", Some(5))]));
        assert!(!decided(&[once("sum", None), value("avg", Some(2), None)]));
    }

    #[test]
    fn b5_what_is_computed_from_one_column_is_cut_by_what_is_not_null() {
        let (wage, women) = (value("sum", Some(2), None), value("sum", Some(3), None));
        assert_eq!(parts(&[wage.clone(), women.clone()]), Vec::<String>::new());
        let women = ReleasedAggregate { family: Some(2), ..women };
        let cut = ["x2,x3|", "x3|x2", "x2|x3"];
        // What each of them adds up to over the part.
        // And how many they are: another sum of the column tells that.
        assert_eq!(parts(&[wage.clone(), women.clone()]), [cut, cut, cut].concat());
        let values = [&wage, &women];
        let summed: Vec<_> = differences(&values).unwrap().into_iter().map(|part| part.summed).collect();
        assert_eq!(summed, [Some(2), None, Some(2), Some(3), Some(3), None, None, None, None]);
    }

    #[test]
    fn b5_different_values_may_be_as_many_as_people() {
        let (all, people) = (value("count", None, None), value("count", Some(2), Some(5)));
        let people = ReleasedAggregate { distinct: true, ..people };
        assert_eq!(parts(&[all.clone(), people.clone()]), ["5,x2|", "x2|5", "5|x2", "|5,x2"]);
        let sum = ReleasedAggregate { function: "sum".into(), ..people };
        assert_eq!(parts(&[all.clone(), sum.clone()]), Vec::<String>::new());
        let average = ReleasedAggregate { function: "avg".into(), ..sum.clone() };
        assert_eq!(parts(&[all, sum, average]), ["5,x2|", "x2|5", "5|x2", "|5,x2"]);
    }

    #[test]
    fn b5_a_sum_of_what_is_known_counts() {
        let (women, sum) = (value("count", None, Some(5)), value("sum", Some(2), None));
        assert_eq!(parts(&[women.clone(), sum.clone()]), Vec::<String>::new());
        let known = ReleasedAggregate { known: true, ..sum };
        assert_eq!(parts(&[women.clone(), known.clone()]), ["5,x2|", "x2|5", "5|x2"]);
        // Different values of what is known are few, however many rows there are.
        assert_eq!(parts(&[women, ReleasedAggregate { distinct: true, ..known }]), Vec::<String>::new());
    }

    #[test]
    fn b5_a_sum_beside_an_average_of_one_family_counts() {
        let (women, average) = (value("count", None, Some(5)), value("avg", Some(2), None));
        let sum = |family| ReleasedAggregate { family: Some(family), ..value("sum", Some(3), None) };
        let parts_with = |family| parts(&[women.clone(), average.clone(), sum(family)]);
        assert_eq!(parts_with(3), Vec::<String>::new());
        assert!(parts_with(2).contains(&"x2,x3|5".to_owned()));
        // The one of `x + 1` and of `x`.
        let other = ReleasedAggregate { family: Some(2), ..value("sum", Some(3), None) };
        let (all, women) = (value("sum", Some(2), None), women.clone());
        assert!(parts(&[women.clone(), all.clone(), other]).contains(&"x2,x3|5".to_owned()));
        assert_eq!(parts(&[women, all.clone(), all]), Vec::<String>::new());
    }

    #[test]
    fn b5_a_sum_beside_an_average_counts_whatever_their_filters() {
        let women = value("count", None, Some(5));
        let (sum, average) = (value("sum", Some(2), None), value("avg", Some(2), Some(7)));
        assert!(parts(&[women.clone(), sum.clone(), average.clone()]).contains(&"7,x2|5".to_owned()));
        assert!(!parts(&[women.clone(), average]).contains(&"7,x2|5".to_owned()));
        // Where the smallest is the largest, it is a sum of so many of it, and the third of three averages.
        let (least, most) = (value("min", Some(2), None), value("max", Some(2), None));
        assert!(parts(&[women.clone(), sum.clone(), least.clone(), most.clone()]).contains(&"x2|5".to_owned()));
        let averages = [None, Some(7)].map(|filter| value("avg", Some(2), filter));
        let with =
            |extremes: &[ReleasedAggregate]| parts(&[&averages[..], std::slice::from_ref(&women), extremes].concat());
        assert!(with(&[least.clone(), most]).contains(&"7,x2|5".to_owned()));
        assert!(!with(std::slice::from_ref(&least)).contains(&"7,x2|5".to_owned()));
        assert_eq!(parts(&[women, sum, least]), Vec::<String>::new());
    }

    #[test]
    fn b5_averages_of_all_and_of_two_parts_tell_a_portion() {
        let women = value("count", None, Some(5));
        let [all, one, other] = [None, Some(7), Some(8)].map(|filter| value("avg", Some(2), filter));
        let three = parts(&[women.clone(), all.clone(), one.clone(), other]);
        assert!(three.contains(&"7,x2|5,8".to_owned()), "{three:?}");
        let two = [women, all, one];
        assert!(!parts(&two).contains(&"7,x2|5".to_owned()));
        // Beside averages of other groups they do.
        let mut counted = two;
        count_averages(&mut counted);
        assert!(parts(&counted).contains(&"7,x2|5".to_owned()));
    }

    #[test]
    fn b5_what_takes_equal_values_once_stands_beside_nothing_of_its_family() {
        let once = ReleasedAggregate { distinct: true, ..value("sum", Some(2), None) };
        let other = |family| ReleasedAggregate { family: Some(family), ..value("sum", Some(3), None) };
        let decided = |values: &[ReleasedAggregate]| differences(&values.iter().collect::<Vec<_>>()).is_ok();
        assert!(decided(&[once.clone(), other(3)]) && !decided(&[once, other(2)]));
        let about = |filter| value("approx_distinct", Some(2), filter);
        assert!(decided(&[about(None)]) && !decided(&[about(None), about(Some(5))]));
        // Their number may be that of the people.
        assert!(decided(&[about(None), value("count", Some(2), None)]));
        assert!(!decided(&[about(None), value("count", Some(2), Some(5))]));
        assert_eq!(parts(&[about(None), value("count", None, None)]), ["x2|", "|x2"]);
        assert!(undecidable(&[about(None)], 2).is_some());
    }

    #[test]
    fn b6_an_average_is_sent_with_its_count() {
        let values = [value("avg", Some(2), None), value("count", None, None)];
        assert_eq!(parts(&values), Vec::<String>::new());
        assert_eq!(parts(&as_states(&values)), ["x2|", "|x2"]);
    }

    #[test]
    fn too_many_conditions_are_an_error() {
        let values: Vec<ReleasedAggregate> =
            (0..=CONDITIONS_MAX).map(|filter| value("count", None, Some(filter))).collect();
        assert!(differences(&values.iter().collect::<Vec<_>>()).is_err());
    }
}
