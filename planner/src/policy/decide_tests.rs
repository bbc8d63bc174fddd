//! The decision by example, and against an attacker who has all rows and tries every subtraction on random small tables.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::function::{ExactSum, HASH_BYTES};
use crate::random::Random;

/// A minimum of 3, at each steward, too.
fn rules(stewards: usize, outcome: Outcome) -> DecisionRules {
    let counters = vec![CounterRule {
        behind: Behind::Value,
        minimum: 3,
        own: vec![3; stewards],
        dominance: None,
        lax: Vec::new(),
    }];
    DecisionRules { counters, stewards, sites: 0, requester: None, outcome }
}

/// A group with so many people of each steward, none of whom is in another group.
fn cell(keys: &[u32], people: &[usize]) -> Cell {
    let shares = people.iter().enumerate().map(|(steward, people)| {
        let person = |number: usize| {
            let text = format!("{keys:?}/{steward}/{number}");
            let mut hash = [0; HASH_BYTES];
            let bytes = text.as_bytes();
            hash.copy_from_slice(dynamos_proto::sign::HashKey::from_bytes([1; 32]).hash(bytes).as_slice());
            hash
        };
        Part::of(Share::of((0..*people).map(person).collect(), 3))
    });
    Cell { keys: keys.to_vec(), entities: Entities(vec![shares.collect()]) }
}

/// The fates as letters: released, withheld, remainder (`m`, merged).
fn fates(cells: &[Cell], rules: &DecisionRules) -> String {
    let letter = |fate: &Fate| match fate {
        Fate::Released => 'r',
        Fate::Withheld => 'w',
        Fate::Remainder => 'm',
    };
    decide(cells, rules).unwrap().iter().map(letter).collect()
}

#[test]
fn b1_the_smallest_count_over_the_values_decides() {
    let mut both = cell(&[], &[5]);
    both.entities.0.extend(cell(&[], &[2]).entities.0);
    let mut rules = rules(1, Outcome::Drop);
    rules.counters.push(rules.counters[0].clone());
    assert_eq!(fates(&[both.clone()], &rules), "w");
    rules.counters[1] =
        CounterRule { behind: Behind::Value, minimum: 2, own: vec![2], dominance: None, lax: Vec::new() };
    assert_eq!(fates(&[both], &rules), "r");
}

#[test]
fn b1_rows_without_a_key_are_somebody_s_though_they_count_for_nobody() {
    let unkeyed = || Part::of(Share::default().and_unkeyed());
    let mut rules = rules(1, Outcome::Drop);
    rules.counters.push(CounterRule {
        behind: Behind::Difference,
        minimum: 3,
        own: vec![3],
        dominance: None,
        lax: Vec::new(),
    });
    // Everybody, and what is left without those who fulfil a condition.
    let mut group = cell(&[], &[5]);
    group.entities.0.push(vec![Part::default()]);
    assert_eq!(fates(&[group.clone()], &rules), "r");
    group.entities.0[1] = vec![unkeyed()];
    assert_eq!(fates(&[group], &rules), "w");
    // A group of none but such rows is withheld, and so the others are, or it would be what is left of all.
    rules.counters.pop();
    let mut alone = cell(&[1], &[]);
    alone.entities.0[0] = vec![unkeyed()];
    assert_eq!(fates(&[cell(&[0], &[5]), alone], &rules), "ww");
}

#[test]
fn b5_what_values_of_one_group_leave_of_each_other_is_nobody_or_enough() {
    // Everybody, and those who fulfil a condition: the others follow by subtraction.
    let people = |all: usize, fulfil: usize| {
        let mut group = cell(&[], &[all]);
        group.entities.0.extend(cell(&[], &[fulfil]).entities.0);
        group.entities.0.extend(cell(&[], &[all - fulfil]).entities.0);
        group
    };
    let mut rules = rules(1, Outcome::Drop);
    rules.counters.push(rules.counters[0].clone());
    rules.counters.push(CounterRule { behind: Behind::Difference, ..rules.counters[0].clone() });
    for (all, fulfil, fate) in [(6, 3, "r"), (5, 3, "w"), (4, 3, "w"), (3, 3, "r"), (6, 2, "w")] {
        assert_eq!(fates(&[people(all, fulfil)], &rules), fate, "{fulfil} of {all}");
    }
}

#[test]
fn b2_zero_is_below_every_minimum() {
    for minimum in [0, 1, 3] {
        let mut rules = rules(1, Outcome::Drop);
        rules.counters[0] =
            CounterRule { behind: Behind::Value, minimum, own: vec![minimum.max(1)], dominance: None, lax: Vec::new() };
        assert_eq!(fates(&[cell(&[], &[0])], &rules), "w", "{minimum}");
    }
    assert_eq!(decide(&[cell(&[], &[0])], &rules(1, Outcome::Fail)), Err(BelowMinimum));
}

#[test]
fn b4_rest_is_nobody_or_enough() {
    for (people, fate) in [
        // Both alone reach their minimum: each can be subtracted, and nobody is left.
        ([3, 3], "r"),
        // vu alone can be subtracted, and two people of uva are left.
        ([2, 3], "w"),
        ([2, 30], "w"),
        ([0, 3], "r"),
        // Neither can be subtracted.
        ([2, 2], "r"),
        ([1, 1], "w"),
    ] {
        assert_eq!(fates(&[cell(&[], &people)], &rules(2, Outcome::Drop)), fate, "{people:?}");
    }
    // Four people at two stewards that cannot be subtracted, beside one that can.
    assert_eq!(fates(&[cell(&[], &[2, 2, 9])], &rules(3, Outcome::Drop)), "r");
}

#[test]
fn b4_released_groups_added_up_have_a_rest_like_any_group() {
    // Of the second group neither part is known; of both together the first steward's is, and two people of the other are left.
    let groups = [cell(&[0], &[3, 0]), cell(&[1], &[1, 2]), cell(&[2], &[0, 0])];
    assert_eq!(fates(&groups[..1], &rules(2, Outcome::Drop)), "r");
    assert_eq!(fates(&groups[1..], &rules(2, Outcome::Drop)), "rw");
    assert_eq!(fates(&groups, &rules(2, Outcome::Drop)), "rww");
    assert_eq!(decide(&groups[..2], &rules(2, Outcome::Fail)), Err(BelowMinimum));
    // So it is in each row of a table, and of the remainder with all else.
    let table = [cell(&[0, 0], &[3, 0]), cell(&[0, 1], &[1, 2]), cell(&[1, 0], &[9, 9]), cell(&[1, 1], &[9, 9])];
    assert_eq!(fates(&table, &rules(2, Outcome::Drop)), "rwrr");
    // Only those with somebody of who is left go along, however many smaller ones there are.
    let large = [cell(&[0], &[9, 9, 0]), cell(&[1], &[7, 7, 0]), cell(&[2], &[60, 2, 2])];
    assert_eq!(fates(&large, &rules(3, Outcome::Drop)), "rrw");
    let small = [cell(&[0], &[9, 0]), cell(&[1], &[1, 1]), cell(&[2], &[0, 1])];
    assert_eq!(fates(&small[1..], &rules(2, Outcome::Remainder)), "mm");
    assert_eq!(fates(&small, &rules(2, Outcome::Remainder)), "rww");
}

#[test]
fn b4_the_requester_knows_its_own_organisation() {
    let of = |requester| DecisionRules { requester, ..rules(3, Outcome::Drop) };
    let people = cell(&[], &[2, 2, 0]);
    assert_eq!(fates(std::slice::from_ref(&people), &of(None)), "r");
    assert_eq!(fates(std::slice::from_ref(&people), &of(Some(0))), "w");
    assert_eq!(fates(&[people], &of(Some(2))), "r");
}

#[test]
fn b5_complement_takes_the_smallest_released_groups_along() {
    // Under the total one group of 2 is withheld; the smallest released one, of 4, goes along.
    let by_one_key = [cell(&[0], &[2]), cell(&[1], &[9]), cell(&[2], &[4]), cell(&[3], &[5])];
    assert_eq!(fates(&by_one_key, &rules(1, Outcome::Drop)), "wrwr");
    // Of equal ones the first by key.
    let ties = [cell(&[3], &[4]), cell(&[1], &[4]), cell(&[0], &[2]), cell(&[2], &[4])];
    assert_eq!(fates(&ties, &rules(1, Outcome::Drop)), "rwwr");
    // Two of 2 are enough together.
    let enough = [cell(&[0], &[2]), cell(&[1], &[9]), cell(&[2], &[2])];
    assert_eq!(fates(&enough, &rules(1, Outcome::Drop)), "wrw");
    // Where nothing else is there, nothing can be subtracted.
    assert_eq!(fates(&[cell(&[0], &[2])], &rules(1, Outcome::Drop)), "w");
}

#[test]
fn b5_complement_holds_under_every_coarser_group() {
    // (0, 1) is small: in its row (0, 0) goes along, in its column (1, 1) does, and the two rows are then both safe.
    let table =
        [cell(&[0, 0], &[5]), cell(&[0, 1], &[1]), cell(&[1, 0], &[6]), cell(&[1, 1], &[7]), cell(&[2, 2], &[9])];
    assert_eq!(fates(&table, &rules(1, Outcome::Drop)), "wwrwr");
}

#[test]
fn b5_what_is_withheld_has_a_rest_like_any_group() {
    // Five people are withheld, but three of them vu alone would release: two of uva would be left.
    let table = [cell(&[0], &[2, 3]), cell(&[1], &[4, 4]), cell(&[2], &[9, 9])];
    assert_eq!(fates(&table, &rules(2, Outcome::Drop)), "wwr");
}

#[test]
fn b5_remainder_is_what_is_withheld_if_it_reaches_the_minimum() {
    let cells = [cell(&[0], &[2]), cell(&[1], &[9]), cell(&[2], &[4])];
    assert_eq!(fates(&cells, &rules(1, Outcome::Remainder)), "mrm");
    assert_eq!(fates(&[cell(&[0], &[1]), cell(&[1], &[1])], &rules(1, Outcome::Remainder)), "ww");
    assert_eq!(fates(&[cell(&[0], &[1]), cell(&[1], &[2])], &rules(1, Outcome::Remainder)), "mm");
    // One person in both groups is one person.
    let one = cell(&[0], &[2]);
    let same = Cell { keys: vec![1], ..one.clone() };
    assert_eq!(fates(&[one, same], &rules(1, Outcome::Remainder)), "ww");
}

#[test]
fn b4_what_another_clause_releases_alone_may_be_subtracted() {
    let mut rules = rules(2, Outcome::Drop);
    let group = [cell(&[], &[2, 2])];
    assert_eq!(fates(&group, &rules), "r");
    let lax = |least| Lax { least, portion: None };
    for (least, fate) in [([3, 3], "r"), ([1, 3], "w"), ([3, 2], "w"), ([1, 1], "w")] {
        rules.counters[0].lax = least.map(lax).to_vec();
        assert_eq!(fates(&group, &rules), fate, "{least:?}");
    }
    assert_eq!(fates(&[cell(&[], &[3, 3])], &rules), "r");
}

#[test]
fn b7_fail_is_for_every_group_that_is_not_released() {
    assert_eq!(decide(&[cell(&[0], &[9]), cell(&[1], &[2])], &rules(1, Outcome::Fail)), Err(BelowMinimum));
    assert_eq!(decide(&[cell(&[0], &[9, 2])], &rules(2, Outcome::Fail)), Err(BelowMinimum));
    assert_eq!(fates(&[cell(&[0], &[9]), cell(&[1], &[3])], &rules(1, Outcome::Fail)), "rr");
}

#[test]
fn b8_minimum_sites_counts_stewards_with_an_entity() {
    let rules = DecisionRules {
        sites: 2,
        counters: vec![CounterRule {
            behind: Behind::Value,
            minimum: 3,
            own: vec![u32::MAX; 3],
            dominance: None,
            lax: Vec::new(),
        }],
        ..rules(3, Outcome::Drop)
    };
    for (people, fate) in [([9, 0, 0], "w"), ([9, 1, 0], "r"), ([1, 1, 1], "r"), ([1, 1, 0], "w")] {
        assert_eq!(fates(&[cell(&[], &people)], &rules), fate, "{people:?}");
    }
}

/// A group of so many people at each steward of whom everybody has 1, but the first of each, who has so much.
fn sums(keys: &[u32], people: &[(usize, f64)]) -> Cell {
    let counts: Vec<usize> = people.iter().map(|(count, _)| *count).collect();
    let mut cell = cell(keys, &counts);
    for (part, (count, first)) in cell.entities.0[0].iter_mut().zip(people) {
        let amounts = std::iter::once(*first).chain(std::iter::repeat(1.0)).take(*count);
        part.magnitudes = Some(Box::new(of_amounts(amounts)));
    }
    cell
}

fn of_amounts(amounts: impl IntoIterator<Item = f64>) -> Magnitudes {
    let sum = |amount| {
        let mut sum = ExactSum::default();
        sum.add(amount);
        sum
    };
    Magnitudes::of(&amounts.into_iter().map(sum).collect::<Vec<_>>())
}

/// A minimum of 3, and nobody has more than half; each steward by itself may demand less.
fn half(stewards: usize, outcome: Outcome) -> DecisionRules {
    let mut rules = rules(stewards, outcome);
    let half = Portion { units: 5, whole: 10 };
    rules.counters[0].dominance =
        Some(DominanceRule { portion: half, own: vec![Some(half); stewards], sites: stewards });
    rules
}

#[test]
fn b8_dominance_no_entity_has_more_than_its_portion_of_a_sum() {
    for (first, fate) in [(1.0, "r"), (3.0, "r"), (3.0f64.next_up(), "w"), (100.0, "w")] {
        assert_eq!(fates(&[sums(&[], &[(4, first)])], &half(1, Outcome::Drop)), fate, "{first}");
        let failed = decide(&[sums(&[], &[(4, first)])], &half(1, Outcome::Fail));
        assert_eq!(failed.is_err(), fate == "w", "{first}");
    }
    // Where nobody demands it, and of nothing.
    assert_eq!(fates(&[sums(&[], &[(4, 100.0)])], &rules(1, Outcome::Drop)), "r");
    assert_eq!(fates(&[sums(&[], &[(4, f64::NAN)])], &half(1, Outcome::Drop)), "w");
    let mut nothing = sums(&[], &[(4, 0.0)]);
    nothing.entities.0[0][0].magnitudes = Some(Box::default());
    assert_eq!(fates(&[nothing], &half(1, Outcome::Drop)), "r");
}

#[test]
fn b8_dominance_no_steward_has_more_than_its_portion_either() {
    for (people, fate) in [([(5, 1.0), (5, 1.0)], "r"), ([(5, 1.0), (6, 1.0)], "w"), ([(5, 2.0), (6, 1.0)], "r")] {
        assert_eq!(fates(&[sums(&[], &people)], &half(2, Outcome::Drop)), fate, "{people:?}");
    }
    // One that is asked alone has all.
    assert_eq!(fates(&[sums(&[], &[(5, 1.0)])], &half(1, Outcome::Drop)), "r");
    // With nobody at the other, one has all of what is asked of both.
    assert_eq!(fates(&[sums(&[], &[(5, 1.0), (0, 0.0)])], &half(2, Outcome::Drop)), "w");
}

#[test]
fn b8_dominance_holds_for_the_rest() {
    let mut rules = half(3, Outcome::Drop);
    let all = [(5, 6.0), (5, 1.0), (5, 1.0)];
    // The first steward would be dominated alone, so it is not known; one person has 6 of 10 of what is left.
    assert_eq!(fates(&[sums(&[], &all)], &rules), "w");
    // Is it the requester itself, nobody unknown is left.
    rules.requester = Some(0);
    assert_eq!(fates(&[sums(&[], &all)], &rules), "r");
    // Does it demand nothing, it is known.
    rules.requester = None;
    rules.counters[0].dominance.as_mut().unwrap().own[0] = None;
    assert_eq!(fates(&[sums(&[], &all)], &rules), "r");
}

#[test]
fn b8_dominance_holds_for_the_complement_and_the_remainder() {
    // One has 5 of 7. With the next smallest group it is 6 of 12 at most, if the same person is in both.
    let mut cells =
        [sums(&[0], &[(3, 5.0)]), sums(&[1], &[(9, 1.0)]), sums(&[2], &[(5, 1.0)]), sums(&[3], &[(8, 1.0)])];
    assert_eq!(fates(&cells, &half(1, Outcome::Drop)), "wrwr");
    assert_eq!(fates(&cells, &half(1, Outcome::Remainder)), "mrmr");
    // With 7 of 9 it may be 8 of 14, so that a third goes along.
    cells[0] = sums(&[0], &[(3, 7.0)]);
    assert_eq!(fates(&cells, &half(1, Outcome::Drop)), "wrww");
    // Where all together would be dominated, there is no remainder.
    assert_eq!(fates(&[sums(&[0], &[(3, 7.0)]), sums(&[1], &[(3, 1.0)])], &half(1, Outcome::Remainder)), "ww");
}

#[test]
fn b8_dominance_of_united_groups_is_open_and_then_holds_either_way() {
    // At the first steward one has 4 of 8 in each of two groups: together one person has 8 of 16, or two have 4 each. With a
    // portion of 0.3 the steward would release both together in the second case. The second steward is known, and nothing
    // is left if the first is, too; the third has two people.
    let mut rules = half(3, Outcome::Drop);
    let three = Portion { units: 3, whole: 10 };
    let rule = rules.counters[0].dominance.as_mut().unwrap();
    (rule.portion, rule.own) = (Portion { units: 9, whole: 10 }, vec![Some(three), None, None]);
    let group = |key| sums(&[key], &[(5, 4.0), (4, 1.0), (2, 1.0)]);
    let (one, mut other) = (group(0), group(1));
    other.entities.0[0][2].share = one.entities.0[0][2].share.clone();
    let mut both = one.entities.clone();
    both.unite(&other.entities, &rules);
    assert!(!rules.let_be_computed(&both), "two people are left if the first steward is known");
}

// ---- against an attacker ----

/// A row: whose, which person, under which keys, which of the values it enters, and with how much.
#[derive(Clone, Debug)]
struct Row {
    steward: usize,
    person: u8,
    keys: Vec<u32>,
    enters: Vec<bool>,
    amount: f64,
}

#[derive(Debug)]
struct World {
    rows: Vec<Row>,
    keys: usize,
    rules: DecisionRules,
}

impl World {
    fn random(seed: u64) -> Self {
        let mut random = Random(seed);
        let (keys, stewards, counters) = (1 + random.below(3), 1 + random.below(3), 1 + random.below(2));
        let domain = 2 + random.below(3);
        let minimum = 2 + random.below(3);
        let counter = |random: &mut Random| {
            let own = (0..stewards).map(|_| match random.below(4) {
                0 => 1,
                1 => minimum - 1,
                _ => minimum,
            });
            let own = own.collect();
            let tenths = |units| Portion { units, whole: 10 };
            let dominance = (random.below(4) == 0).then(|| {
                let portion = 2 + random.below(7);
                let own =
                    (0..stewards).map(|_| (random.below(3) > 0).then(|| tenths(portion + random.below(10 - portion))));
                DominanceRule { portion: tenths(portion), own: own.collect(), sites: stewards }
            });
            CounterRule { behind: Behind::Value, minimum, own, dominance, lax: Vec::new() }
        };
        let rules = DecisionRules {
            counters: (0..counters).map(|_| counter(&mut random)).collect(),
            stewards,
            sites: 0,
            requester: Some(random.below(4)).filter(|steward| *steward < stewards),
            outcome: if random.below(2) == 0 { Outcome::Drop } else { Outcome::Remainder },
        };
        let rows = (0..random.below(60)).map(|_| Row {
            steward: random.below(stewards),
            person: random.below(40),
            // Skewed, so that groups differ in size.
            keys: (0..keys).map(|_| random.below(domain).min(random.below(domain))).collect(),
            enters: (0..counters).map(|counter| counter == 0 || random.below(3) > 0).collect(),
            // Whole numbers, of both signs, some large.
            amount: [1.0, -1.0, 2.0, 5.0, -20.0, 0.0][random.below(6)],
        });
        Self { rows: rows.collect(), keys, rules }
    }

    /// The groups, in order of their keys.
    fn cells(&self) -> Vec<Cell> {
        let mut groups: BTreeMap<&[u32], Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            groups.entry(&row.keys).or_default().push(row);
        }
        let cell = |(keys, rows): (&[u32], Vec<&Row>)| {
            let part = |counter: usize, steward: usize| {
                let mine: Vec<&Row> =
                    rows.iter().copied().filter(|row| row.steward == steward && row.enters[counter]).collect();
                let people = mine.iter().map(|row| [row.person; HASH_BYTES]).collect();
                let rule = &self.rules.counters[counter];
                let magnitudes = rule.dominance.is_some().then(|| Box::new(of_amounts(amounts(&mine).into_values())));
                Part { share: Share::of(people, rule.minimum), magnitudes }
            };
            let shares = |counter| (0..self.rules.stewards).map(|steward| part(counter, steward)).collect();
            Cell { keys: keys.to_vec(), entities: Entities((0..self.rules.counters.len()).map(shares).collect()) }
        };
        groups.into_iter().map(cell).collect()
    }

    /// The people of rows that enter a value, by steward.
    fn people(&self, counter: usize, rows: &[&Row]) -> Vec<BTreeSet<u8>> {
        let of = |steward| {
            let rows = rows.iter().filter(|row| row.steward == steward && row.enters[counter]);
            rows.map(|row| row.person).collect()
        };
        (0..self.rules.stewards).map(of).collect()
    }

    /// What the people of rows that enter a value add up to, by steward.
    fn amounts(&self, counter: usize, rows: &[&Row]) -> Vec<BTreeMap<u8, f64>> {
        let of = |steward| {
            let rows = rows.iter().copied().filter(|row| row.steward == steward && row.enters[counter]);
            amounts(&rows.collect::<Vec<_>>())
        };
        (0..self.rules.stewards).map(of).collect()
    }

    /// Whether whoever knows a value over these rows learns one over too few people, or one that is mostly one person's: over all of them, or over those that
    /// are left after any of the stewards that can be subtracted are. What is left of stewards that could all be subtracted
    /// is nothing but what they themselves release.
    fn isolates(&self, rows: &[&Row]) -> Option<String> {
        for (counter, rule) in self.rules.counters.iter().enumerate() {
            let people = self.people(counter, rows);
            let amounts = self.amounts(counter, rows);
            let of = |steward: usize| amounts[steward].values().sum::<f64>();
            let largest = |steward: usize| amounts[steward].values().copied().fold(0.0, f64::max);
            let more = |amount: f64, portion: Portion, all: f64| amount * 10.0 > portion.units as f64 * all;
            let known = |steward: usize| {
                let own = rule.dominance.as_ref().and_then(|rule| rule.own[steward]);
                let dominated = own.is_some_and(|own| more(largest(steward), own, of(steward)));
                let enough = people[steward].len() >= rule.own[steward] as usize;
                Some(steward) == self.rules.requester || (enough && !dominated)
            };
            if let Some(rule) = &rule.dominance {
                let all: f64 = (0..self.rules.stewards).map(of).sum();
                for steward in 0..self.rules.stewards {
                    if more(largest(steward), rule.portion, all) {
                        return Some(format!(
                            "value {counter}: one of steward {steward} has {} of {all}",
                            largest(steward)
                        ));
                    }
                    if self.rules.stewards > 1 && more(of(steward), rule.portion, all) {
                        return Some(format!("value {counter}: steward {steward} has {} of {all}", of(steward)));
                    }
                }
            }
            let all: usize = people.iter().map(BTreeSet::len).sum();
            if all > 0 && all < rule.minimum as usize {
                return Some(format!("value {counter}: {all} people"));
            }
            for subtracted in 0..1_u32 << self.rules.stewards {
                let taken = |steward: usize| subtracted & (1 << steward) != 0;
                if (0..self.rules.stewards).any(|steward| taken(steward) && !known(steward)) {
                    continue;
                }
                let left: Vec<usize> = (0..self.rules.stewards).filter(|steward| !taken(*steward)).collect();
                let left_people: usize = left.iter().map(|steward| people[*steward].len()).sum();
                let secret = left.iter().any(|steward| !known(*steward) && !people[*steward].is_empty());
                if secret && left_people > 0 && left_people < rule.minimum as usize {
                    return Some(format!("value {counter}: {left_people} people of stewards {left:?}"));
                }
                let left_amount: f64 = left.iter().map(|steward| of(*steward)).sum();
                let secrets = left.iter().filter(|steward| !known(**steward) && !people[**steward].is_empty());
                if let Some(rule) = &rule.dominance
                    && let Some(steward) =
                        secrets.into_iter().find(|steward| more(largest(**steward), rule.portion, left_amount))
                {
                    let amount = largest(*steward);
                    return Some(format!("value {counter}: {amount} of {left_amount} of stewards {left:?}"));
                }
            }
        }
        None
    }

    /// Whether the requester can have a value over exactly these rows by asking for a coarser grouping.
    fn could_be_released(&self, rows: &[&Row]) -> bool {
        let enough = |counter: usize| self.people(counter, rows).iter().map(BTreeSet::len).sum::<usize>() > 0;
        (0..self.rules.counters.len()).all(enough) && self.isolates(rows).is_none()
    }

    /// Tries every subtraction: each released group, the remainder, and every coarser group without the released ones in it.
    fn attack(&self, fates: &BTreeMap<Vec<u32>, Fate>) -> Option<String> {
        let of_fate =
            |wanted: Fate| -> Vec<&Row> { self.rows.iter().filter(|row| fates[&row.keys] == wanted).collect() };
        for (keys, _) in fates.iter().filter(|(_, fate)| **fate == Fate::Released) {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.keys == *keys).collect();
            if !self.could_be_released(&rows) {
                return Some(format!("group {keys:?}: {:?}", self.isolates(&rows)));
            }
        }
        let remainder = of_fate(Fate::Remainder);
        if !remainder.is_empty() && !self.could_be_released(&remainder) {
            return Some(format!("the remainder: {:?}", self.isolates(&remainder)));
        }
        let all: Vec<&Row> = self.rows.iter().collect();
        if !remainder.is_empty()
            && let Some(found) = self.isolates(&all)
        {
            return Some(format!("all groups with the remainder: {found}"));
        }
        for subset in 0..(1_u32 << self.keys) - 1 {
            let coarser = |row: &Row| -> Vec<u32> {
                row.keys.iter().enumerate().filter(|(key, _)| subset & (1 << key) != 0).map(|(_, key)| *key).collect()
            };
            for group in self.rows.iter().map(coarser).collect::<BTreeSet<_>>() {
                let rows: Vec<&Row> = self.rows.iter().filter(|row| coarser(row) == group).collect();
                let rest: Vec<&Row> = rows.iter().copied().filter(|row| fates[&row.keys] != Fate::Released).collect();
                let added: Vec<&Row> = rows.iter().copied().filter(|row| fates[&row.keys] == Fate::Released).collect();
                if let Some(found) = self.isolates(&added) {
                    return Some(format!("under keys {subset:03b} = {group:?}, the released groups: {found}"));
                }
                if rest.len() < rows.len()
                    && self.could_be_released(&rows)
                    && let Some(found) = self.isolates(&rest)
                {
                    return Some(format!("under keys {subset:03b} = {group:?}, without the released groups: {found}"));
                }
            }
        }
        None
    }

    fn by_keys(&self, cells: &[Cell], fates: Vec<Fate>) -> BTreeMap<Vec<u32>, Fate> {
        cells.iter().map(|cell| cell.keys.clone()).zip(fates).collect()
    }
}

/// What people add up to, without signs.
fn amounts(rows: &[&Row]) -> BTreeMap<u8, f64> {
    let mut amounts = BTreeMap::new();
    for row in rows {
        *amounts.entry(row.person).or_default() += row.amount.abs();
    }
    amounts
}

const WORLDS: u64 = 20_000;

#[test]
fn no_small_difference_is_found_by_an_attacker_who_tries_every_subtraction() {
    let (mut released, mut withheld) = (0, 0);
    for seed in 0..WORLDS {
        let world = World::random(seed);
        let cells = world.cells();
        let fates = decide(&cells, &world.rules).unwrap();
        released += fates.iter().filter(|fate| **fate == Fate::Released).count();
        withheld += fates.iter().filter(|fate| **fate != Fate::Released).count();
        let fates = world.by_keys(&cells, fates);
        if let Some(found) = world.attack(&fates) {
            panic!("seed {seed}: {found}\n{fates:?}\n{world:#?}");
        }
    }
    // Both happen, or nothing was tried.
    assert!(released > 10_000 && withheld > 10_000, "{released} released, {withheld} withheld");
}

#[test]
fn the_attacker_finds_what_minimum_rest_dominance_or_complement_alone_leave_open() {
    let (mut without_rest, mut without_complement, mut without_dominance, mut dominated) = (0, 0, 0, 0);
    for seed in 0..2_000 {
        let world = World::random(seed);
        let cells = world.cells();
        let enough = |cell: &Cell| {
            let counters = world.rules.counters.iter().zip(&cell.entities.0);
            counters.into_iter().all(|(rule, parts)| count(parts) >= u64::from(rule.minimum))
        };
        let fate = |released: bool| if released { Fate::Released } else { Fate::Withheld };
        let by_minimum = cells.iter().map(|cell| fate(enough(cell))).collect();
        without_rest += usize::from(world.attack(&world.by_keys(&cells, by_minimum)).is_some());
        let with_rest = cells.iter().map(|cell| fate(world.rules.release(&cell.entities))).collect();
        without_complement += usize::from(world.attack(&world.by_keys(&cells, with_rest)).is_some());
        let mut rules = world.rules.clone();
        rules.counters.iter_mut().for_each(|counter| counter.dominance = None);
        let fates = decide(&cells, &rules).unwrap();
        without_dominance += usize::from(world.attack(&world.by_keys(&cells, fates)).is_some());
        // Dominance that no group and no difference but the rest violates.
        let mut rules = world.rules.clone();
        for rule in rules.counters.iter_mut().filter_map(|counter| counter.dominance.as_mut()) {
            rule.own.iter_mut().for_each(|own| *own = None);
        }
        let fates = decide(&cells, &rules).unwrap();
        dominated += usize::from(world.attack(&world.by_keys(&cells, fates)).is_some());
    }
    assert!(without_rest > without_complement && without_complement > 50, "{without_rest} {without_complement}");
    assert!(without_dominance > 50 && dominated > 0, "{without_dominance} {dominated}");
}

#[test]
fn the_order_of_groups_does_not_matter() {
    for seed in 0..2_000 {
        let world = World::random(seed);
        let cells = world.cells();
        let fates = world.by_keys(&cells, decide(&cells, &world.rules).unwrap());
        let mut random = Random(seed);
        let mut shuffled = cells.clone();
        for last in (1..shuffled.len()).rev() {
            shuffled.swap(last, random.below(last + 1));
        }
        assert_eq!(world.by_keys(&shuffled, decide(&shuffled, &world.rules).unwrap()), fates, "seed {seed}");
    }
}

#[test]
fn nothing_is_withheld_where_every_group_is_large_at_every_steward() {
    let cells: Vec<Cell> = (0..27).map(|at| cell(&[at / 9, at / 3 % 3, at % 3], &[3, 4])).collect();
    assert_eq!(fates(&cells, &rules(2, Outcome::Drop)), "r".repeat(27));
}
