//! The naive reading: every choice of one agreement a steward, every choice of one clause a steward, every place and every
//! way of computing there is tried, and each is allowed or not by the rules of `docs/agreements.md` read literally.

use std::collections::BTreeMap;

use super::world::{
    Above, Agreement, COORDINATOR, Clause, Col, Cond, Family, From, Function, PLACES, PROVIDERS, Partner, Question,
    Scope, Source, Table, Valid, Value, What, With, World,
};

/// How a release point is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// At the one steward.
    Beside,
    /// From partials.
    Merge,
    /// From rows that were sent.
    Rows,
}

/// A legal way to answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Every row that the question touches is released; the agreement of each steward.
    Released { agreements: BTreeMap<&'static str, &'static str> },
    /// Aggregates are released at a place.
    Aggregates {
        agreements: BTreeMap<&'static str, &'static str>,
        /// The number of the clause, by steward.
        clauses: BTreeMap<&'static str, usize>,
        place: &'static str,
        how: How,
    },
}

/// The question as the rules see it, without what happens to the answer.
struct Asked {
    from: From,
    conds: Vec<Cond>,
    /// None asks for rows.
    groups: Option<(Vec<Col>, Vec<Value>)>,
    rows: Vec<Col>,
}

impl Asked {
    fn of(question: &Question) -> Self {
        let (mut groups, mut rows) = (None, Vec::new());
        match (&question.what, question.above) {
            (What::Rows(columns), Above::Nothing | Above::OrderAndLimit) => rows.clone_from(columns),
            // DISTINCT is a grouping without functions.
            (What::Rows(columns), Above::Distinct) => groups = Some((columns.clone(), Vec::new())),
            (What::Rows(columns), Above::CountOfIt) => {
                let function = Function { name: "count", distinct: false };
                groups = Some((Vec::new(), vec![Value { function, argument: Some(columns[0]), filter: None }]));
            }
            // Nobody asks for the values that are thrown away.
            (What::Groups { keys, values }, Above::CountOfIt) => {
                let values = if keys.is_empty() { values[..1].to_vec() } else { Vec::new() };
                groups = Some((keys.clone(), values));
            }
            (What::Groups { keys, values }, _) => groups = Some((keys.clone(), values.clone())),
        }
        Self { from: question.from, conds: question.conds.clone(), groups, rows }
    }

    /// Every column that is given or touched, but by this condition and by joins.
    fn columns_beside(&self, beside: Option<Cond>) -> Vec<Col> {
        let mut all = self.rows.clone();
        all.extend(self.conds.iter().filter(|cond| Some(**cond) != beside).flat_map(|cond| cond.columns()));
        if let Some((keys, values)) = &self.groups {
            all.extend(keys);
            all.extend(values.iter().flat_map(|value| value.argument));
            all.extend(values.iter().flat_map(|value| value.filter).flat_map(Cond::columns));
        }
        all
    }

    /// The same of one table, with the key that joins it.
    fn touched_beside(&self, table: Table, beside: Option<Cond>) -> Vec<Col> {
        let mut all = self.columns_beside(beside);
        if self.from.tables().len() == 2 {
            all.push(Col(table, "id"));
        }
        all.retain(|column| column.0 == table);
        all
    }
}

/// Every legal way.
pub(super) fn ways(world: &World) -> Vec<Way> {
    let asked = Asked::of(&world.question);
    let stewards = world.question.scope.stewards();
    let mut ways = Vec::new();
    for governing in choices(&stewards, &|steward| applicable(world, steward)) {
        let agreements: BTreeMap<_, _> = governing.iter().map(|(steward, one)| (*steward, one.name)).collect();
        let released = asked.from.tables().into_iter().map(|table| rows_released(&governing, table, &asked));
        let released: Vec<bool> = released.collect();
        let joined = asked.from.relation().is_some_and(|source| join_released(&governing, source, &asked));
        if released.iter().all(|one| *one) || joined {
            ways.push(Way::Released { agreements });
            continue;
        }
        let Some((keys, values)) = &asked.groups else { continue };
        // Of people with a visit the visits are a list, which has to be released; joins with what is released do not stand below a
        // release point.
        let source = match asked.from {
            From::Semi if rows_released(&governing, Table::Visits, &asked) => Source::One(Table::People),
            From::Semi => continue,
            _ => asked.from.relation().unwrap(),
        };
        let by_list = asked.from == From::Semi;
        let covering = |steward: &'static str| -> Vec<usize> {
            let held = governing[steward];
            let listed = !by_list || list_allowed(held, Col(Table::People, "id"), source);
            let indexes = (0..held.clauses.len()).filter(|_| listed);
            indexes.filter(|index| covers(held, *index, source, &asked.conds, keys, values)).collect()
        };
        for clauses in choices(&stewards, &covering) {
            if !entities(&governing, &clauses).is_empty() && !stand_together(&asked, values) {
                continue;
            }
            // None of several stewards sees what the others' rows are compared with, so each decides by itself.
            let per_site = by_list && stewards.len() > 1 && !entities(&governing, &clauses).is_empty();
            if per_site && !stewards.iter().all(|steward| states_listed(governing[steward], clauses[steward], values)) {
                continue;
            }
            for place in PLACES.into_iter().chain([COORDINATOR]) {
                // Rows tell of the list that kept them.
                let list_there = !by_list
                    || place == COORDINATOR
                    || stewards.iter().all(|steward| {
                        let held = governing[steward];
                        let id = [Col(Table::Visits, "id")];
                        *steward == place
                            || (rows_leave(held)
                                && may_be(world, steward, held.name, Source::One(Table::Visits), &id, place))
                    });
                for how in [How::Beside, How::Merge, How::Rows] {
                    let legal = match how {
                        How::Beside => stewards == [place],
                        How::Merge => {
                            values.iter().all(mergeable)
                                && stewards.iter().all(|steward| {
                                    *steward == place
                                        || (per_site && place == COORDINATOR)
                                        || partials_may(governing[steward], clauses[steward], place)
                                })
                        }
                        How::Rows if per_site || !list_there => false,
                        How::Rows => {
                            let counted = entities(&governing, &clauses);
                            let needs = Needs { source, conds: &asked.conds, keys, values, counted: &counted, by_list };
                            // A steward that hashes keys gets no hashes of others.
                            let hashed = needs.hash_choices().into_iter();
                            hashed.filter(|hashed| hashed.is_empty() || !stewards.contains(&place)).any(|hashed| {
                                let may = |steward| rows_may(governing[steward], &needs, &hashed, place);
                                stewards.iter().all(|steward| *steward == place || may(steward))
                            })
                        }
                    };
                    let own = how != How::Beside && stewards == [place];
                    if legal && !own && in_family(world.family, how, place) {
                        let numbers = clauses.iter().map(|(steward, index)| (*steward, index + 1)).collect();
                        ways.push(Way::Aggregates { agreements: agreements.clone(), clauses: numbers, place, how });
                    }
                }
            }
        }
    }
    ways
}

/// Every way to choose one of the options of each steward; none if a steward has no option.
fn choices<T: Clone>(
    stewards: &[&'static str],
    options: &dyn Fn(&'static str) -> Vec<T>,
) -> Vec<BTreeMap<&'static str, T>> {
    let mut all = vec![BTreeMap::new()];
    for steward in stewards {
        let mut longer = Vec::new();
        for choice in &all {
            for option in options(steward) {
                let mut choice = choice.clone();
                choice.insert(*steward, option);
                longer.push(choice);
            }
        }
        all = longer;
    }
    all
}

fn applicable<'a>(world: &'a World, steward: &str) -> Vec<&'a Agreement> {
    let holds = |one: &&Agreement| {
        one.steward == steward
            && one.with == With::Requester
            && one.purpose == "statistics"
            && matches!(one.valid, Valid::Always | Valid::Now)
    };
    world.agreements.iter().filter(holds).collect()
}

/// Whether each steward has a clause that releases what the question touches of a table. What only a condition touches that
/// all these clauses have, and that the question states, need not be listed.
fn rows_released(governing: &BTreeMap<&'static str, &Agreement>, table: Table, asked: &Asked) -> bool {
    // A condition of the question is applied to the rows before they are joined only if the join lets it.
    let mut stated: Vec<Cond> = asked.conds.iter().copied().filter(|cond| asked.from.filters_first(*cond)).collect();
    // One on a key holds for the key that an inner join makes equal to it.
    if asked.from == From::Join {
        stated.extend(asked.conds.iter().filter_map(|cond| cond.of_other_key()));
    }
    let stewards: Vec<&'static str> = governing.keys().copied().collect();
    let options = |steward: &'static str| -> Vec<(&Vec<Col>, Option<Cond>)> {
        let clauses = governing[steward].clauses.iter().filter_map(|clause| match clause {
            Clause::ReleaseRows { from, columns, cond } if *from == Source::One(table) => Some((columns, *cond)),
            _ => None,
        });
        clauses.filter(|(_, cond)| cond.is_none_or(|cond| stated.contains(&cond))).collect()
    };
    choices(&stewards, &options).into_iter().any(|chosen| {
        let mut conds = chosen.values().map(|(_, cond)| *cond);
        let common = conds.next().flatten().filter(|first| conds.all(|cond| cond == Some(*first)));
        let touched = asked.touched_beside(table, common);
        chosen.values().all(|(columns, _)| touched.iter().all(|column| columns.contains(column)))
    })
}

/// Whether each steward has a clause that releases what the question touches of the rows of its join. The keys that join them
/// are the clause's own; conditions are about the joined rows.
fn join_released(governing: &BTreeMap<&'static str, &Agreement>, source: Source, asked: &Asked) -> bool {
    if let Source::One(_) = source {
        return false;
    }
    let stewards: Vec<&'static str> = governing.keys().copied().collect();
    let options = |steward: &'static str| -> Vec<(&Vec<Col>, Option<Cond>)> {
        let clauses = governing[steward].clauses.iter().filter_map(|clause| match clause {
            Clause::ReleaseRows { from, columns, cond } if *from == source => Some((columns, *cond)),
            _ => None,
        });
        clauses.filter(|(_, cond)| cond.is_none_or(|cond| asked.conds.contains(&cond))).collect()
    };
    choices(&stewards, &options).into_iter().any(|chosen| {
        let mut conds = chosen.values().map(|(_, cond)| *cond);
        let common = conds.next().flatten().filter(|first| conds.all(|cond| cond == Some(*first)));
        let touched = asked.columns_beside(common);
        chosen.values().all(|(columns, _)| touched.iter().all(|column| lists(columns, *column, source)))
    })
}

/// Whether a list over a relation has a column, or the other key that an inner join makes equal to it in every row.
fn lists(columns: &[Col], column: Col, source: Source) -> bool {
    let key = source == Source::Both && column.1 == "id";
    columns.contains(&column) || (key && columns.iter().any(|one| one.1 == "id"))
}

fn covers(agreement: &Agreement, index: usize, source: Source, conds: &[Cond], keys: &[Col], values: &[Value]) -> bool {
    let Clause::Release { functions, arguments, star, by, from, cond, .. } = &agreement.clauses[index] else {
        return false;
    };
    let value_covered = |value: &Value| {
        let argument = match value.argument {
            Some(argument) => arguments.contains(&argument),
            None => *star && value.function.name == "count",
        };
        functions.contains(&value.function)
            && argument
            && value.filter.is_none_or(|filter| filter_allows(agreement, filter))
    };
    let allowed = |one: &Cond| match one {
        Cond::Listed(column) => list_allowed(agreement, *column, source),
        other => Some(*other) == *cond || filter_allows(agreement, *other),
    };
    *from == source
        && cond.is_none_or(|own| conds.contains(&own))
        && conds.iter().all(allowed)
        && keys.iter().all(|key| by.contains(key))
        && values.iter().all(value_covered)
}

fn filter_allows(agreement: &Agreement, cond: Cond) -> bool {
    let listed = |column: Col, against_columns: bool| {
        agreement.clauses.iter().any(|clause| match clause {
            Clause::Filter { columns, literals, with_columns, .. } => {
                columns.contains(&column) && if against_columns { *with_columns } else { *literals }
            }
            _ => false,
        })
    };
    match cond {
        Cond::Literal(column) | Cond::Present(column) => listed(column, false),
        Cond::Columns(one, other) => listed(one, true) && listed(other, true),
        Cond::Function(column) => agreement.clauses.iter().any(|clause| match clause {
            Clause::Filter { functions, literals: true, with_columns: false, .. } => functions.contains(&column),
            _ => false,
        }),
        Cond::Listed(_) => false,
    }
}

/// Whether the agreement lets a column be compared with a list of the requester. The join makes the keys equal, so one is as
/// good as the other.
fn list_allowed(agreement: &Agreement, column: Col, source: Source) -> bool {
    agreement.clauses.iter().any(|clause| match clause {
        Clause::Join { on, with } => {
            let key = source == Source::Both && on.1 == "id" && column.1 == "id";
            *with == Partner::Requester && (*on == column || key)
        }
        _ => false,
    })
}

/// Whether states of constant size give the value.
fn mergeable(value: &Value) -> bool {
    match value.function.name {
        "sum" | "count" | "avg" => !value.function.distinct,
        "min" | "max" => true,
        _ => false,
    }
}

/// The columns that are counted for the minimums of the chosen clauses.
fn entities(governing: &BTreeMap<&'static str, &Agreement>, clauses: &BTreeMap<&'static str, usize>) -> Vec<Col> {
    let counted = clauses.iter().filter_map(|(steward, index)| match &governing[steward].clauses[*index] {
        Clause::Release { minimum: Some((_, table)), .. } => Some(Col(*table, "id")),
        _ => None,
    });
    counted.collect()
}

fn partials_may(agreement: &Agreement, clause: usize, place: &str) -> bool {
    agreement.clauses.iter().any(|one| match one {
        Clause::Partials { of, to } => *of == clause && to.iter().any(|target| target.is(place)),
        _ => false,
    })
}

/// Whether two columns may be alike: a join compares them, a condition does, or others between them do.
fn alike(asked: &Asked, values: &[Value], one: Col, other: Col) -> bool {
    let compared = asked.conds.iter().copied().chain(values.iter().filter_map(|value| value.filter));
    let mut pairs: Vec<Vec<Col>> = compared.map(Cond::columns).filter(|columns| columns.len() == 2).collect();
    if matches!(asked.from, From::Join | From::LeftJoin) {
        pairs.push(vec![Col(Table::People, "id"), Col(Table::Visits, "id")]);
    }
    let mut reached = vec![one];
    loop {
        let next = pairs.iter().filter(|pair| pair.iter().any(|column| reached.contains(column)));
        let Some(next) = next.flatten().find(|column| !reached.contains(column)) else {
            return reached.contains(&other);
        };
        reached.push(*next);
    }
}

/// Whether no value of different ones stands beside a value that can be subtracted from it: of columns that may be alike, by the
/// same function or a sum beside an average, under another condition, of all values or of another column, but for counts under one
/// condition. Nor do values of two columns that may be alike stand under two conditions.
fn stand_together(asked: &Asked, values: &[Value]) -> bool {
    let sum = |value: &Value| matches!(value.function.name, "sum" | "avg");
    let extreme = |value: &Value| matches!(value.function.name, "min" | "max");
    let apart = |one: &Value, other: &Value| {
        let (Some(of_one), Some(of_other)) = (one.argument, other.argument) else { return false };
        let (same_filter, same_column) = (one.filter == other.filter, of_one == of_other);
        let once = one.function.distinct
            && !extreme(one)
            && (one.function.name == other.function.name || (sum(one) && sum(other)))
            && !(same_filter && one.function.name == "count")
            && !(same_filter && same_column && one.function.distinct == other.function.distinct);
        alike(asked, values, of_one, of_other) && (once || !(same_filter || same_column))
    };
    !values.iter().any(|one| values.iter().any(|other| apart(one, other)))
}

/// Whether a clause releases what several stewards would have to release by themselves of these values: sums and counts, and of
/// an average both.
fn states_listed(agreement: &Agreement, clause: usize, values: &[Value]) -> bool {
    let Clause::Release { functions, .. } = &agreement.clauses[clause] else { return false };
    let listed = |name: &'static str| functions.contains(&Function { name, distinct: false });
    let average = |value: &Value| value.function.name != "avg" || (listed("sum") && listed("count"));
    values.iter().all(|value| mergeable(value) && average(value))
}

/// Whether the question compares people's keys that `min` or `max` chose among several stewards' people, of which nothing says
/// whose they are.
pub(super) fn compares_chosen_keys(question: &Question) -> bool {
    let chosen = |value: &Value| {
        matches!(value.function.name, "min" | "max") && value.argument.is_some_and(|argument| argument.1 == "id")
    };
    let What::Groups { values, .. } = &question.what else { return false };
    question.above == Above::Distinct && values.iter().any(chosen) && !matches!(question.scope, Scope::Named(_))
}

fn rows_leave(agreement: &Agreement) -> bool {
    agreement.clauses.iter().all(|clause| match clause {
        Clause::Archetypes { data, .. } => *data,
        _ => true,
    })
}

/// What is done with rows that are sent.
struct Needs<'a> {
    source: Source,
    conds: &'a [Cond],
    keys: &'a [Col],
    values: &'a [Value],
    counted: &'a [Col],
    /// Whether a list keeps rows by the key of their people.
    by_list: bool,
}

impl Needs<'_> {
    /// Every choice of keys that are sent as hashes, none of them first. Of a hash it can be told only whether it is the same, so
    /// it is enough where people or different keys are counted.
    fn hash_choices(&self) -> Vec<Vec<Col>> {
        let bare = |key: &Col| {
            let distinct = Function { name: "count", distinct: true };
            self.keys.contains(key)
                || self.values.iter().any(|value| value.argument == Some(*key) && value.function != distinct)
        };
        let keys = self.source.tables().iter().map(|table| Col(*table, "id")).filter(|key| !bare(key));
        keys.fold(vec![Vec::new()], |choices, key| {
            let with = choices.iter().map(|choice: &Vec<Col>| [choice.as_slice(), &[key]].concat());
            choices.iter().cloned().chain(with).collect()
        })
    }
}

fn rows_may(agreement: &Agreement, needs: &Needs<'_>, hashed: &[Col], place: &str) -> bool {
    let Needs { source, conds, keys, values, counted, by_list } = *needs;
    rows_leave(agreement)
        && agreement.clauses.iter().any(|clause| {
            let Clause::ShipRows { columns, hashes, from, cond, to } = clause else { return false };
            let mut needed: Vec<Col> = keys.iter().chain(counted).copied().collect();
            needed.extend(values.iter().flat_map(|value| value.argument));
            let (as_hash, mut needed): (Vec<Col>, Vec<Col>) = needed.into_iter().partition(|one| hashed.contains(one));
            // What the clause's own condition touches need not be listed.
            let others = conds.iter().filter(|one| Some(**one) != *cond);
            needed.extend(others.clone().flat_map(|one| one.columns()));
            needed.extend(by_list.then_some(Col(Table::People, "id")));
            // A condition of a single value goes as a column of its own, and is listed nowhere.
            let filtered = values.iter().any(|value| value.filter.is_some());
            // Beside a condition of the clause only what cannot fail may run.
            let total = others.clone().all(|one| !matches!(one, Cond::Function(_)));
            *from == source
                && to.iter().any(|target| target.is(place))
                && cond.is_none_or(|own| conds.contains(&own) && total)
                && !filtered
                && needed.iter().all(|column| lists(columns, *column, *from))
                && as_hash.iter().all(|key| lists(hashes, *key, *from))
        })
}

fn in_family(family: Family, how: How, place: &str) -> bool {
    match family {
        Family::Auto => true,
        Family::ComputeToData => how != How::Rows,
        Family::DataToCompute => how == How::Rows && (PROVIDERS.contains(&place) || place == COORDINATOR),
    }
}

/// What decides a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    Permitted,
    /// A steward has no agreement with the requester for the purpose now.
    NoAgreement,
    /// Rows are asked for, or an operator works on rows, that are not released.
    Operator,
    /// No clause releases the aggregates.
    NoRelease,
    /// The aggregates may be released, and no place may compute them.
    NoPlace,
}

/// What decides a world.
pub(super) fn why(world: &World) -> Why {
    if !ways(world).is_empty() {
        return Why::Permitted;
    }
    let asked = Asked::of(&world.question);
    let stewards = world.question.scope.stewards();
    let governings = choices(&stewards, &|steward| applicable(world, steward));
    match (governings.is_empty(), &asked.groups, asked.from.relation()) {
        (true, ..) => Why::NoAgreement,
        (false, Some((keys, values)), Some(source)) => {
            let released = governings.iter().any(|governing| {
                stewards.iter().all(|steward| {
                    let held = governing[steward];
                    (0..held.clauses.len()).any(|index| covers(held, index, source, &asked.conds, keys, values))
                })
            });
            if released { Why::NoPlace } else { Why::NoRelease }
        }
        _ => Why::Operator,
    }
}

/// Whether released rows of a steward's relation may be at a place.
pub(super) fn may_be(
    world: &World,
    steward: &str,
    agreement: &str,
    relation: Source,
    read: &[Col],
    place: &str,
) -> bool {
    let held = world.agreements.iter().find(|one| one.steward == steward && one.name == agreement).unwrap();
    held.clauses.iter().any(|clause| {
        let Clause::ShipRows { columns: listed, from, cond, to, .. } = clause else { return false };
        *from == relation
            && cond.is_none_or(|own| world.question.conds.contains(&own))
            && to.iter().any(|target| target.is(place))
            && read.iter().all(|column| lists(listed, *column, relation))
    })
}
