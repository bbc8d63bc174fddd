//! Which groups of several grouping sets are released, decided together: whoever has the answer may add and subtract groups of
//! all its sets.
//!
//! INVARIANT(no_small_block): the rows can be cut into blocks such that every released group of every set, and every remainder,
//! is made of whole blocks, and each block is a group that may be seen. Whatever set of rows can be computed from the answer, by
//! any additions and subtractions, is then made of whole blocks, too: a sum that treats two rows of one block differently cannot
//! be written with groups that do not.
//!
//! Each set is decided as it would be alone ([`mod@super::decide`]), the coarse ones first, and beside the coarser groups that any
//! question has, it is held to the blocks that the sets before it made: what it withholds of a block is nobody or enough, and a
//! group that lies in several blocks takes nobody or enough from each. Its released groups cut the blocks anew.
//!
//! ```text
//!  ()    ┌───────────────────────────────┐      one block
//!  (a)   │   a0   │   a1 a2 withheld      │      two
//!  (a,b) │a0b0│a0b1│ a1b0│ a1b1 a2b0       │      four: of a1 and a2 together enough are withheld
//! ```
//!
//! **What it costs.** Sets of which neither has all keys of the other cut across each other. A group of the later one with a
//! small part in a block of the earlier one is withheld, although it would be released if it were asked for alone; sets with
//! fewer keys, and with earlier keys, come first. **What is left out** is what several questions tell together, as for any.

use std::collections::{BTreeMap, BTreeSet};

use super::Outcome;
use super::decide::{BelowMinimum, Cell, Complements, DecisionRules, Entities, Fate, nobody, positions};
use crate::fragment::KeySet;

/// A group of one of several grouping sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCell {
    /// Its grouping set.
    pub set: KeySet,
    /// The group, with a rank for every key; those at keys that the set lacks have no meaning.
    pub cell: Cell,
}

/// What becomes of each group, in their order. The groups by all keys are among them, whether or not the query asks for that
/// set; a group of a set that it does not ask for is not released. A set that is asked for twice has its groups twice.
pub fn decide_sets(
    cells: &[SetCell],
    keys: usize,
    asked: &[KeySet],
    rules: &DecisionRules,
) -> Result<Vec<Fate>, BelowMinimum> {
    let asked: BTreeSet<KeySet> = asked.iter().copied().collect();
    if rules.counters.is_empty() {
        let fate = |one: &SetCell| if asked.contains(&one.set) { Fate::Released } else { Fate::Withheld };
        return Ok(cells.iter().map(fate).collect());
    }
    let mut groups: BTreeMap<KeySet, BTreeMap<Vec<u32>, &Cell>> = BTreeMap::new();
    for one in cells {
        groups.entry(one.set).or_default().entry(one.set.of(&one.cell.keys)).or_insert(&one.cell);
    }
    let mut blocks = Blocks::of(groups.get(&KeySet::all(keys)).into_iter().flatten().map(|(_, cell)| *cell).collect());
    let mut fates: BTreeMap<KeySet, BTreeMap<Vec<u32>, Fate>> = BTreeMap::new();
    let mut in_order: Vec<KeySet> = asked.into_iter().collect();
    in_order.sort_by_key(|set| (set.len(), set.keys().collect::<Vec<_>>()));
    for set in in_order {
        let of_set = groups.remove(&set).unwrap_or_default();
        let cell = |(keys, cell): (&Vec<u32>, &&Cell)| Cell { keys: keys.clone(), entities: cell.entities.clone() };
        let own: Vec<Cell> = of_set.iter().map(cell).collect();
        let of_own = blocks.decide(set, &own, rules)?;
        fates.insert(set, of_set.into_keys().zip(of_own).collect());
    }
    let fate = |one: &SetCell| fates.get(&one.set).and_then(|of_set| of_set.get(&one.set.of(&one.cell.keys)).copied());
    Ok(cells.iter().map(|one| fate(one).unwrap_or(Fate::Withheld)).collect())
}

/// The finest groups, and the block that each is in.
struct Blocks<'a> {
    finest: Vec<&'a Cell>,
    block_of: Vec<usize>,
}

/// What a group has of each block, or a block of each group.
type Parts = BTreeMap<usize, Entities>;

impl<'a> Blocks<'a> {
    /// One block of all.
    fn of(finest: Vec<&'a Cell>) -> Self {
        Self { block_of: vec![0; finest.len()], finest }
    }

    /// What becomes of the groups of one set, which have the keys of that set, in order of these. The blocks are cut by those
    /// that are released.
    fn decide(&mut self, set: KeySet, own: &[Cell], rules: &DecisionRules) -> Result<Vec<Fate>, BelowMinimum> {
        let group_of = self.groups(set, own);
        let crossing = self.crossing(&group_of, own.len(), rules);
        let mut small = positions(own, |cell| !rules.release(&cell.entities));
        let unknown = |index: &usize| crossing.get(*index).is_none_or(|parts| parts.in_blocks == 0);
        small.extend((0..own.len()).filter(unknown));
        small.extend(crossing.iter().enumerate().filter(|(_, parts)| parts.are_small).map(|(index, _)| index));
        let mut by_block: BTreeMap<usize, BTreeMap<usize, Option<Entities>>> = BTreeMap::new();
        for (block, group) in self.block_of.iter().zip(&group_of) {
            if let Some((group, parts)) = group.and_then(|group| Some((group, crossing.get(group)?))) {
                by_block.entry(*block).or_default().entry(group).or_insert_with(|| parts.parts.get(block).cloned());
            }
        }
        let complements = Complements::of(own, rules);
        let complements =
            by_block.into_values().fold(complements, |all, parts| all.beside(parts.into_iter().collect()));
        let withheld = complements.protect(small);
        if rules.outcome == Outcome::Fail && !withheld.is_empty() {
            return Err(BelowMinimum);
        }
        self.cut(&group_of, &withheld);
        let merged = rules.outcome == Outcome::Remainder && rules.merges(own, &withheld);
        let fate = |index: usize| match (withheld.contains(&index), merged) {
            (false, _) => Fate::Released,
            (true, true) => Fate::Remainder,
            (true, false) => Fate::Withheld,
        };
        Ok((0..own.len()).map(fate).collect())
    }

    /// The group of a set that each of the finest groups is in.
    fn groups(&self, set: KeySet, own: &[Cell]) -> Vec<Option<usize>> {
        let by_keys: BTreeMap<&[u32], usize> =
            own.iter().enumerate().map(|(index, cell)| (cell.keys.as_slice(), index)).collect();
        self.finest.iter().map(|cell| by_keys.get(set.of(&cell.keys).as_slice()).copied()).collect()
    }

    /// For each of so many groups, how it lies in the blocks.
    fn crossing(&self, group_of: &[Option<usize>], groups: usize, rules: &DecisionRules) -> Vec<Crossing> {
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        let mut members: Vec<BTreeMap<usize, Vec<usize>>> = vec![BTreeMap::new(); groups];
        for (index, (block, group)) in self.block_of.iter().zip(group_of).enumerate() {
            *sizes.entry(*block).or_default() += 1;
            if let Some(of_group) = group.and_then(|group| members.get_mut(group)) {
                of_group.entry(*block).or_default().push(index);
            }
        }
        let crossing = |blocks: BTreeMap<usize, Vec<usize>>| {
            let in_blocks = blocks.len();
            // In one block it is a part as it is.
            if in_blocks < 2 {
                return Crossing { in_blocks, parts: Parts::new(), are_small: false };
            }
            let whole = |block: &usize, members: &[usize]| sizes.get(block) == Some(&members.len());
            let mut parts = Parts::new();
            let mut are_small = false;
            for (block, members) in &blocks {
                let mut part = nobody(rules);
                for cell in members.iter().filter_map(|index| self.finest.get(*index)) {
                    part.unite(&cell.entities, rules);
                }
                are_small |= !whole(block, members) && !rules.let_be_computed(&part);
                parts.insert(*block, part);
            }
            Crossing { in_blocks, parts, are_small }
        };
        members.into_iter().map(crossing).collect()
    }

    /// Each released group is a block of what it had of a block; what is withheld of a block is one, too.
    fn cut(&mut self, group_of: &[Option<usize>], withheld: &BTreeSet<usize>) {
        let mut numbers: BTreeMap<(usize, Option<usize>), usize> = BTreeMap::new();
        for (block, group) in self.block_of.iter_mut().zip(group_of) {
            let next = numbers.len();
            *block = *numbers.entry((*block, group.filter(|group| !withheld.contains(group)))).or_insert(next);
        }
    }
}

/// How a group lies in the blocks.
struct Crossing {
    /// In so many it has rows.
    in_blocks: usize,
    /// What it has of each, where these are several.
    parts: Parts,
    /// Whether one of these parts is too small to be seen.
    are_small: bool,
}

#[cfg(test)]
#[path = "decide_sets_tests.rs"]
mod tests;
