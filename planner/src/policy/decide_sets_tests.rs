//! Grouping sets decided together, by example, and against whoever can add, subtract and intersect all groups of an answer.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decide::{Behind, CounterRule, Part, decide};
use super::*;
use crate::function::{HASH_BYTES, Share};
use crate::random::Random;

/// A row: whose, which person, under which keys, which of the values it enters.
#[derive(Clone, Debug)]
struct Row {
    steward: usize,
    person: u16,
    keys: Vec<u32>,
    enters: Vec<bool>,
}

#[derive(Debug)]
struct World {
    rows: Vec<Row>,
    keys: usize,
    rules: DecisionRules,
}

fn set(keys: &[usize]) -> KeySet {
    keys.iter().copied().collect()
}

fn rollup(keys: usize) -> Vec<KeySet> {
    (0..=keys).map(KeySet::all).collect()
}

fn cube(keys: usize) -> Vec<KeySet> {
    (0..1_u32 << keys).map(|bits| KeySet::from_bits(bits, keys).unwrap()).collect()
}

impl World {
    /// So many people of one steward, of whom three are enough, in groups by two keys.
    fn of(groups: &[((u32, u32), u16)], outcome: Outcome) -> Self {
        let mut rows = Vec::new();
        for ((one, other), people) in groups {
            let first = u16::try_from(rows.len()).unwrap();
            let row = |person| Row { steward: 0, person, keys: vec![*one, *other], enters: vec![true] };
            rows.extend((first..first + people).map(row));
        }
        let counters =
            vec![CounterRule { behind: Behind::Value, minimum: 3, own: vec![3], dominance: None, lax: Vec::new() }];
        Self { rows, keys: 2, rules: DecisionRules { counters, stewards: 1, sites: 0, requester: None, outcome } }
    }

    fn entities(&self, rows: &[&Row]) -> Entities {
        let part = |counter: usize, steward: usize| {
            let mine = rows.iter().filter(|row| row.steward == steward && row.enters[counter]);
            let hash = |row: &&Row| {
                let mut hash = [0; HASH_BYTES];
                hash[..2].copy_from_slice(&row.person.to_be_bytes());
                hash
            };
            Part::of(Share::of(mine.map(hash).collect(), self.rules.counters[counter].minimum))
        };
        let parts = |counter| (0..self.rules.stewards).map(|steward| part(counter, steward)).collect();
        Entities((0..self.rules.counters.len()).map(parts).collect())
    }

    fn groups(&self, of: KeySet) -> BTreeMap<Vec<u32>, Vec<&Row>> {
        let mut groups: BTreeMap<Vec<u32>, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            groups.entry(of.of(&row.keys)).or_default().push(row);
        }
        groups
    }

    /// The groups of these sets and those by all keys, with a rank for every key.
    fn cells(&self, sets: &[KeySet]) -> Vec<SetCell> {
        let all = [KeySet::all(self.keys)];
        let finest = all.iter().filter(|all| !sets.contains(all));
        let mut cells = Vec::new();
        for of in sets.iter().chain(finest) {
            for (_, rows) in self.groups(*of) {
                let ranks = rows[0].keys.iter().enumerate();
                let keys = ranks.map(|(key, rank)| if of.has(key) { *rank } else { 0 }).collect();
                cells.push(SetCell { set: *of, cell: Cell { keys, entities: self.entities(&rows) } });
            }
        }
        cells
    }

    /// What becomes of each group of the sets; `None` where the query fails.
    fn decided(&self, sets: &[KeySet]) -> Option<Vec<(SetCell, Fate)>> {
        let cells = self.cells(sets);
        let fates = decide_sets(&cells, self.keys, sets, &self.rules).ok()?;
        Some(cells.into_iter().zip(fates).collect())
    }

    /// The fates of the groups of one set, in order of their keys, as letters.
    fn letters(&self, decided: &[(SetCell, Fate)], of: KeySet) -> String {
        let letter = |fate: &Fate| match fate {
            Fate::Released => 'r',
            Fate::Withheld => 'w',
            Fate::Remainder => 'm',
        };
        decided.iter().filter(|(cell, _)| cell.set == of).map(|(_, fate)| letter(fate)).collect()
    }

    /// The smallest number of people, if too few, behind a value of rows which no group of the answer tells apart: whatever is
    /// computed from the groups, be it by adding, subtracting or intersecting them, is made of such rows.
    fn isolated(&self, decided: &[(SetCell, Fate)]) -> Option<usize> {
        let seen: BTreeMap<(KeySet, Vec<u32>), Fate> =
            decided.iter().map(|(one, fate)| ((one.set, one.set.of(&one.cell.keys)), *fate)).collect();
        let sets: BTreeSet<KeySet> = decided.iter().map(|(one, _)| one.set).collect();
        let mut alike: BTreeMap<Vec<Option<Vec<u32>>>, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            let group = |of: &KeySet| {
                let keys = of.of(&row.keys);
                let released = seen.get(&(*of, keys.clone())) == Some(&Fate::Released);
                released.then_some(keys)
            };
            alike.entry(sets.iter().map(group).collect()).or_default().push(row);
        }
        // Rows that are in no group at all are not in the answer.
        let shown = alike.into_iter().filter(|(groups, _)| groups.iter().any(Option::is_some));
        let few = shown.flat_map(|(_, rows)| {
            let counters = self.rules.counters.iter().enumerate();
            counters.filter_map(move |(counter, rule)| {
                let people: BTreeSet<_> =
                    rows.iter().filter(|row| row.enters[counter]).map(|row| (row.steward, row.person)).collect();
                Some(people.len()).filter(|people| (1..rule.minimum as usize).contains(people))
            })
        });
        few.min()
    }
}

#[test]
fn b5_sets_of_one_query_do_not_tell_what_each_of_them_withholds() {
    let world = World::of(&[((1, 1), 4), ((2, 2), 2), ((3, 3), 20), ((3, 5), 3)], Outcome::Drop);
    let sets = rollup(2);
    let decided = world.decided(&sets).unwrap();
    // By the first key 2 is small, and 1 goes along. By both (3, 5) goes along as the smallest of all, which hides nothing of 1
    // and 2 from who knows that 3 is none of them; so (1, 1) does, too.
    assert_eq!(sets.iter().map(|set| world.letters(&decided, *set)).collect::<Vec<_>>(), ["r", "wwr", "wwrw"]);
    assert_eq!(world.isolated(&decided), None);
    // Each set by itself withholds enough, but everything without (3) of the one set and (1, 1) of the other is two people.
    let alone = |of: &KeySet| {
        let cells: Vec<SetCell> = world.cells(&[*of]).into_iter().filter(|cell| cell.set == *of).collect();
        let own: Vec<Cell> =
            cells.iter().map(|one| Cell { keys: of.of(&one.cell.keys), entities: one.cell.entities.clone() }).collect();
        let fates = decide(&own, &world.rules).unwrap();
        cells.into_iter().zip(fates).collect::<Vec<_>>()
    };
    let apart: Vec<_> = sets.iter().flat_map(alone).collect();
    assert_eq!(sets.iter().map(|set| world.letters(&apart, *set)).collect::<Vec<_>>(), ["r", "wwr", "rwrw"]);
    assert_eq!(world.isolated(&apart), Some(2));
}

#[test]
fn b5_sets_that_cut_across_each_other_leave_nothing_small_between() {
    // With all rows and all columns (0, 1) would be the second column without (1, 1), which is the second row without (1, 0).
    let world = World::of(&[((0, 0), 5), ((0, 1), 2), ((1, 0), 6), ((1, 1), 7)], Outcome::Drop);
    let decided = world.decided(&cube(2)).unwrap();
    let of = |keys: &[usize]| world.letters(&decided, set(keys));
    assert_eq!([of(&[]), of(&[0]), of(&[1]), of(&[0, 1])], ["r", "rr", "ww", "wwrw"]);
    assert_eq!(world.isolated(&decided), None);
    // Where every group is large enough, all are released.
    let world = World::of(&[((0, 0), 5), ((0, 1), 3), ((1, 0), 6), ((1, 1), 7)], Outcome::Fail);
    let decided = world.decided(&cube(2)).unwrap();
    assert!(decided.iter().all(|(_, fate)| *fate == Fate::Released), "{decided:?}");
}

#[test]
fn b5_groups_by_all_keys_decide_and_are_not_shown_unless_asked_for() {
    let world = World::of(&[((0, 0), 5), ((0, 1), 3), ((1, 0), 2), ((1, 1), 7)], Outcome::Drop);
    let decided = world.decided(&[set(&[0]), set(&[1])]).unwrap();
    assert_eq!(world.letters(&decided, set(&[0])), "rr");
    assert_eq!(world.letters(&decided, set(&[1])), "ww", "each has a small part in a row, or leaves one");
    assert_eq!(world.letters(&decided, set(&[0, 1])), "wwww");
    let decided = world.decided(&[set(&[0])]).unwrap();
    assert_eq!(
        (world.letters(&decided, set(&[0])), world.letters(&decided, set(&[0, 1]))),
        ("rr".into(), "wwww".into())
    );
    // Without conditions all are released that are asked for.
    let mut world = world;
    world.rules.counters.clear();
    world.rows.iter_mut().for_each(|row| row.enters.clear());
    let decided = world.decided(&[set(&[1])]).unwrap();
    assert_eq!(
        (world.letters(&decided, set(&[1])), world.letters(&decided, set(&[0, 1]))),
        ("rr".into(), "wwww".into())
    );
}

#[test]
fn b5_each_set_has_a_remainder_of_its_own() {
    let world = World::of(&[((1, 1), 4), ((2, 2), 2), ((3, 3), 20), ((3, 5), 3)], Outcome::Remainder);
    let decided = world.decided(&rollup(2)).unwrap();
    let letters: Vec<String> = rollup(2).iter().map(|set| world.letters(&decided, *set)).collect();
    assert_eq!(letters, ["r", "mmr", "mmrm"]);
    // What is withheld under FAIL fails the query, also if only the other sets are why.
    let fails =
        |groups: &[((u32, u32), u16)], sets: &[KeySet]| World::of(groups, Outcome::Fail).decided(sets).is_none();
    let crossing = [((0, 0), 5), ((0, 1), 2), ((1, 0), 6), ((1, 1), 7)];
    assert!(!fails(&crossing, &[set(&[0])]) && !fails(&crossing, &[set(&[1]), set(&[])]));
    assert!(fails(&crossing, &[set(&[0]), set(&[1])]));
}

#[test]
fn b5_a_set_that_is_asked_for_twice_has_its_groups_twice() {
    let world = World::of(&[((0, 0), 5), ((0, 1), 2), ((1, 0), 6), ((1, 1), 7)], Outcome::Drop);
    let twice = world.decided(&[set(&[0, 1]), set(&[0, 1])]).unwrap();
    let letters = world.letters(&twice, set(&[0, 1]));
    let (one, other) = letters.split_at(4);
    assert_eq!(one, other);
    assert!(one.contains('r') && one.contains('w'), "{one}");
}

fn random(seed: u64) -> (World, Vec<KeySet>) {
    let mut random = Random(seed);
    let (keys, stewards, counters) = (1 + random.below(3), 1 + random.below(2), 1 + random.below(2));
    let minimum = 2 + random.below(3);
    let counters_of = (0..counters).map(|_| CounterRule {
        behind: Behind::Value,
        minimum,
        own: vec![minimum; stewards],
        dominance: None,
        lax: Vec::new(),
    });
    let rules = DecisionRules {
        counters: counters_of.collect(),
        stewards,
        sites: 0,
        requester: None,
        outcome: if random.below(2) == 0 { Outcome::Drop } else { Outcome::Remainder },
    };
    let domain = 2 + random.below(3);
    let rows = (0..random.below(80)).map(|_| Row {
        steward: random.below(stewards),
        person: random.below(60),
        keys: (0..keys).map(|_| random.below(domain).min(random.below(domain))).collect(),
        enters: (0..counters).map(|counter| counter == 0 || random.below(3) > 0).collect(),
    });
    let rows = rows.collect();
    let sets = match random.below(3) {
        0 => rollup(keys),
        1 => cube(keys),
        _ => (0..1 + random.below(4)).map(|_| cube(keys)[random.below(1 << keys)]).collect(),
    };
    (World { rows, keys, rules }, sets)
}

#[test]
fn b5_nobody_is_isolated_by_all_groups_of_one_answer() {
    let (mut released, mut withheld, mut merged) = (0, 0, 0);
    for seed in 0..4_000 {
        let (world, sets) = random(seed);
        let decided = world.decided(&sets).unwrap();
        assert_eq!(world.isolated(&decided), None, "seed {seed}: {sets:?}, {decided:?}");
        for (one, fate) in decided.iter().filter(|(one, _)| sets.contains(&one.set)) {
            match fate {
                Fate::Released => released += 1,
                Fate::Withheld => withheld += 1,
                Fate::Remainder => merged += 1,
            }
            let of_set = one.set.of(&one.cell.keys);
            let rows = &world.groups(one.set)[&of_set];
            let few = world.rules.counters.iter().enumerate().any(|(counter, rule)| {
                let entering = rows.iter().filter(|row| row.enters[counter]);
                entering.map(|row| (row.steward, row.person)).collect::<BTreeSet<_>>().len() < rule.minimum as usize
            });
            assert!(!(few && *fate == Fate::Released), "seed {seed}: {one:?}");
        }
    }
    assert!(released > 5_000 && withheld > 1_000 && merged > 1_000, "{released} {withheld} {merged}");
}
