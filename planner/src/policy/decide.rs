//! Which groups of a release point are released. One decision over all groups at once, because what is withheld must not
//! follow from what is released: a group is not safe by itself, but only beside the others.
//!
//! INVARIANT(no_small_difference): of a released group, the remainder, all of these under any coarser group together, and of what
//! is withheld there, the requester can compute, by subtracting what it may know, nobody's part or that of enough entities. It may know the part of
//! its own organisation and that of every steward which would alone release it, and it can ask for every coarser grouping of
//! the same relation. Nor can it by subtracting values of one group that have different FILTERs. Where a clause demands
//! DOMINANCE, none of these is a sum of which one entity has more than its portion.
//!
//! ```text
//!  groups (keys; entities, and what they add up to, by value and steward)
//!     ──► minimum, sites, dominance, rest ──► complement ──► released | remainder | withheld
//! ```
//!
//! **Coarser groups.** A clause that releases groups by some keys releases those by any subset of them. So under a query by
//! `k0, k1, k2` every proper subset of these three is a grouping that the requester may ask for, the empty one (the grand
//! total) included, and each of its groups is a coarser group whose released parts may be subtracted from it. All of them
//! are kept, not only prefixes: SQL gives the order of keys no meaning. Groupings by other keys of the clause are questions
//! of their own; what several questions tell together is not decided here.
//!
//! **What is left out.** Only sums and differences of one coarser group and groups within it are considered. A steward that is asked
//! alone withholds groups of its own, and what it releases beside its total tells what it has in these; groups that are no
//! coarser one can be added up as well, and are as open as what any two questions tell. Coarser groups that
//! overlap (a row total and a column total) make a system of equations, which can have a solution that no single difference
//! shows; to exclude that takes the history of a requester's questions. Grouping sets of one question are decided together,
//! in [`mod@super::decide_sets`], so that no such system has a solution in one answer.
//!
//! The order of groups does not matter: groups are taken by size and keys, coarser groups by their keys.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::Outcome;
use crate::function::{Magnitudes, Portion, Share};

/// More grouping keys than this have too many subsets: each group has 2^keys − 1 coarser ones.
pub const KEYS_MAX: usize = 8;

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its keys, each by the rank that the value has among all groups' values of this key.
    pub keys: Vec<u32>,
    /// Whose rows are in it.
    pub entities: Entities,
}

/// The entities behind each released value, more precisely of each counter of [`DecisionRules::counters`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entities(pub Vec<Vec<Part>>);

/// One steward's part in a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its entities.
    pub share: Share,
    /// What they add up to, where a rule asks for it; nothing elsewhere.
    pub magnitudes: Option<Box<Magnitudes>>,
}

impl Part {
    /// The part of these entities, where nobody asks what they add up to.
    pub fn of(share: Share) -> Self {
        Self { share, magnitudes: None }
    }
}

impl Entities {
    /// Adds the entities of another group.
    pub(super) fn unite(&mut self, other: &Self, rules: &DecisionRules) {
        for ((counter, one), other) in rules.counters.iter().zip(&mut self.0).zip(&other.0) {
            for (one, other) in one.iter_mut().zip(other) {
                one.share.unite(&other.share, counter.minimum);
                if let Some(magnitudes) = &other.magnitudes {
                    one.magnitudes.get_or_insert_default().unite(magnitudes);
                }
            }
        }
    }

    /// Whether a steward has rows behind a counter.
    fn has(&self, counter: usize, steward: usize) -> bool {
        let part = self.0.get(counter).and_then(|parts| parts.get(steward));
        part.is_some_and(|part| !part.share.is_nobody())
    }

    /// The number of a group's entities: the smallest over its values.
    fn smallest(&self, rules: &DecisionRules) -> u64 {
        let values = rules.counters.iter().zip(&self.0).filter(|(counter, _)| counter.behind == Behind::Value);
        values.map(|(_, parts)| count(parts)).min().unwrap_or(0)
    }
}

/// Entities add over stewards: no two of them have one in common, which the planner and every steward check.
fn count(parts: &[Part]) -> u64 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.share.count()))
}

/// Whether there are no rows, not even of entities without a key.
fn is_nobody<'a>(parts: impl IntoIterator<Item = &'a Part>) -> bool {
    parts.into_iter().all(|part| part.share.is_nobody())
}

fn magnitudes<'a>(parts: impl IntoIterator<Item = &'a Part>) -> impl Iterator<Item = &'a Magnitudes> {
    parts.into_iter().filter_map(|part| part.magnitudes.as_deref())
}

/// What is demanded of every group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRules {
    /// What is demanded of each number of entities.
    pub counters: Vec<CounterRule>,
    /// How many stewards' shares there are for each counter.
    pub stewards: usize,
    /// So many stewards must have an entity in the group.
    pub sites: u32,
    /// The steward that is the requester's own organisation, if one is.
    pub requester: Option<usize>,
    /// What happens to a group that is not released.
    pub outcome: Outcome,
}

/// What it is that entities are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// A released value.
    Value,
    /// What can be computed of a group by subtracting values of it that have different FILTERs. It may be nobody.
    Difference,
}

/// What is demanded of one number of entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRule {
    /// What they are behind.
    pub behind: Behind,
    /// The minimum that holds for the group.
    pub minimum: u32,
    /// What each steward would demand if it were asked alone; at least 1.
    pub own: Vec<u32>,
    /// What is demanded of what they add up to, where a sum or an average is released.
    pub dominance: Option<DominanceRule>,
    /// What each steward would demand if it were asked alone for such values in the way that demands least; as above if this is
    /// empty.
    pub lax: Vec<Lax>,
}

/// The least that a steward demands of its own part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lax {
    /// So many entities.
    pub least: u32,
    /// No entity has more of a sum.
    pub portion: Option<Portion>,
}

/// No entity, and of several stewards none, has more than a portion of a sum, signs left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DominanceRule {
    /// The portion that holds for the group.
    pub portion: Portion,
    /// What each steward would demand if it were asked alone, if it would.
    pub own: Vec<Option<Portion>>,
    /// So many stewards' rows stand one below the other in the sum. Those whose rows are only joined to them have no part.
    pub sites: usize,
}

impl DominanceRule {
    /// Whether an entity may have too much of these parts together.
    fn refuses_entities<'a>(&self, parts: impl IntoIterator<Item = &'a Part>) -> bool {
        Magnitudes::together(magnitudes(parts)).may_have_dominant_entity(self.portion)
    }

    /// Whether one of several stewards has too much of the whole.
    fn refuses_stewards(&self, parts: &[Part]) -> bool {
        let all = Magnitudes::together(magnitudes(parts));
        self.sites > 1 && magnitudes(parts).any(|one| one.dominates(self.portion, &all))
    }
}

impl DecisionRules {
    /// Whether these entities may be seen as one group.
    pub(super) fn release(&self, entities: &Entities) -> bool {
        let mut counters = self.counters.iter().zip(&entities.0);
        counters.all(|(counter, parts)| {
            (counter.behind == Behind::Difference && is_nobody(parts)) || self.is_enough(counter, parts)
        })
    }

    /// Whether what is withheld under a coarser group may be: it can be computed, so it is nobody or a group like any other.
    pub(super) fn let_be_computed(&self, withheld: &Entities) -> bool {
        let mut counters = self.counters.iter().zip(&withheld.0);
        counters.all(|(counter, parts)| is_nobody(parts) || self.is_enough(counter, parts))
    }

    /// Whether groups that are withheld may be seen as the remainder. With it everything can be added up.
    pub(super) fn merges(&self, cells: &[Cell], withheld: &BTreeSet<usize>) -> bool {
        let all = || united(cells, &(0..cells.len()).collect(), self);
        self.release(&united(cells, withheld, self)) && (self.stewards < 2 || self.left_of_sum(&all()).is_none())
    }

    /// Which stewards' parts of which counters would be left, too few of them, if released groups were added up; nothing if that may
    /// be. Each group is enough, so they are; but a steward whose part of each is not known may be known for what they have in
    /// all, and so the others' rest is smaller.
    fn left_of_sum(&self, released: &Entities) -> Option<Vec<(usize, usize)>> {
        let counters = self.counters.iter().zip(&released.0).enumerate();
        let failing = counters.filter(|(_, (counter, parts))| !self.leaves_enough(counter, parts));
        let left = failing.flat_map(|(at, (counter, parts))| {
            let stewards = parts.iter().enumerate();
            let unknown = stewards.filter(|(steward, part)| counter.alone(*steward, part) != Alone::Released);
            unknown.map(move |(steward, _)| (at, steward))
        });
        let left: Vec<(usize, usize)> = left.filter(|(_, steward)| Some(*steward) != self.requester).collect();
        (!left.is_empty()).then_some(left)
    }

    /// Minimum, sites, dominance and rest of one number of entities.
    fn is_enough(&self, counter: &CounterRule, parts: &[Part]) -> bool {
        let sites = parts.iter().filter(|part| part.share.count() > 0).count();
        let dominated = |rule: &DominanceRule| rule.refuses_entities(parts) || rule.refuses_stewards(parts);
        // Zero is below every minimum.
        count(parts) >= u64::from(counter.minimum).max(1)
            && u32::try_from(sites).unwrap_or(u32::MAX) >= self.sites
            && !counter.dominance.as_ref().is_some_and(dominated)
            && self.leaves_enough(counter, parts)
    }

    /// Whether nobody or enough are left when the requester subtracts what it may know of single stewards. Of several groups
    /// together it may be open whether a steward would release its part; then enough are left either way. More stewards
    /// left are more entities, and nobody's share is larger, so each of these is looked at by itself.
    fn leaves_enough(&self, counter: &CounterRule, parts: &[Part]) -> bool {
        let stewards = parts.iter().enumerate();
        let others = stewards.filter(|(at, part)| !part.share.is_nobody() && Some(*at) != self.requester);
        let others = others.map(|(at, part)| (counter.alone(at, part), part));
        let (unknown, open): (Vec<_>, Vec<_>) =
            others.filter(|(alone, _)| *alone != Alone::Released).partition(|(alone, _)| *alone == Alone::Withheld);
        let enough = |rest: Vec<&Part>| {
            let count = rest.iter().fold(0_u64, |sum, part| sum.saturating_add(part.share.count()));
            let dominated = |rule: &DominanceRule| rule.refuses_entities(rest.iter().copied());
            is_nobody(rest.iter().copied())
                || (count >= u64::from(counter.minimum) && !counter.dominance.as_ref().is_some_and(dominated))
        };
        let unknown: Vec<&Part> = unknown.into_iter().map(|(_, part)| part).collect();
        let mut open = open.into_iter().map(|(_, part)| part);
        open.all(|part| enough(unknown.iter().copied().chain([part]).collect())) && enough(unknown)
    }
}

/// What a steward would do with its part of a value if it were asked alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alone {
    Released,
    Withheld,
    /// One of the two.
    Open,
}

impl CounterRule {
    fn alone(&self, steward: usize, part: &Part) -> Alone {
        let portion = self.dominance.as_ref().and_then(|rule| *rule.own.get(steward)?);
        let own = self.own.get(steward).copied().unwrap_or(u32::MAX);
        let covering = Alone::under(own, portion, part);
        match self.lax.get(steward) {
            // It is released if it is asked for in the one way, and not if in the other.
            Some(lax) if Alone::under(lax.least, lax.portion, part) != covering => Alone::Open,
            _ => covering,
        }
    }
}

impl Alone {
    fn under(least: u32, portion: Option<Portion>, part: &Part) -> Self {
        if part.share.count() < u64::from(least) {
            return Self::Withheld;
        }
        match portion.zip(part.magnitudes.as_ref()) {
            Some((portion, of)) if of.has_dominant_entity(portion) => Self::Withheld,
            Some((portion, of)) if of.may_have_dominant_entity(portion) => Self::Open,
            Some(_) | None => Self::Released,
        }
    }
}

/// What becomes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is released.
    Released,
    /// It is merged with the others of this fate in one group, which is released.
    Remainder,
    /// It is not released.
    Withheld,
}

/// A group may not be released, and the clause says that this fails the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a group is below the agreed minimum")]
pub struct BelowMinimum;

/// What becomes of each group, in their order.
pub fn decide(cells: &[Cell], rules: &DecisionRules) -> Result<Vec<Fate>, BelowMinimum> {
    if rules.counters.is_empty() {
        return Ok(vec![Fate::Released; cells.len()]);
    }
    let withheld: BTreeSet<usize> = positions(cells, |cell| !rules.release(&cell.entities));
    let withheld = Complements::of(cells, rules).protect(withheld);
    if rules.outcome == Outcome::Fail && !withheld.is_empty() {
        return Err(BelowMinimum);
    }
    let merged = rules.outcome == Outcome::Remainder && rules.merges(cells, &withheld);
    let fate = |index: usize| match (withheld.contains(&index), merged) {
        (false, _) => Fate::Released,
        (true, true) => Fate::Remainder,
        (true, false) => Fate::Withheld,
    };
    Ok((0..cells.len()).map(fate).collect())
}

pub(super) fn positions(cells: &[Cell], which: impl Fn(&Cell) -> bool) -> BTreeSet<usize> {
    cells.iter().enumerate().filter(|(_, cell)| which(cell)).map(|(index, _)| index).collect()
}

/// The entities of several groups together.
pub(super) fn united(cells: &[Cell], which: &BTreeSet<usize>, rules: &DecisionRules) -> Entities {
    let mut all = nobody(rules);
    for cell in which.iter().filter_map(|index| cells.get(*index)) {
        all.unite(&cell.entities, rules);
    }
    all
}

pub(super) fn nobody(rules: &DecisionRules) -> Entities {
    Entities(vec![vec![Part::default(); rules.stewards]; rules.counters.len()])
}

/// All coarser groups, the finest first.
pub(super) struct Complements<'a> {
    cells: &'a [Cell],
    rules: &'a DecisionRules,
    coarser: Vec<Coarser>,
    /// The coarser groups that each group is in.
    above: Vec<Vec<Above>>,
    /// The place of each group among all by size, the largest first.
    size_rank: Vec<usize>,
}

/// A coarser group that a group is in, with all of it or with a part.
struct Above {
    at: usize,
    part: Option<Entities>,
}

/// One coarser group.
struct Coarser {
    /// The groups in it that may still be released, the smallest last.
    released: Vec<usize>,
    /// The entities of those in it that are withheld.
    withheld: Entities,
}

impl<'a> Complements<'a> {
    pub(super) fn of(cells: &'a [Cell], rules: &'a DecisionRules) -> Self {
        let keys = cells.first().map_or(0, |cell| cell.keys.len()).min(KEYS_MAX);
        // Proper subsets of the keys as bits, those of many keys first.
        let mut subsets: Vec<u32> = (0..(1_u32 << keys) - 1).collect();
        subsets.sort_by_key(|subset| (std::cmp::Reverse(subset.count_ones()), *subset));
        let mut by_size: Vec<usize> = (0..cells.len()).collect();
        by_size.sort_by_cached_key(|index| {
            std::cmp::Reverse(cells.get(*index).map(|cell| (cell.entities.smallest(rules), cell.keys.clone())))
        });
        let above = std::iter::repeat_with(Vec::new).take(cells.len()).collect();
        let mut size_rank = vec![0; cells.len()];
        for (rank, index) in by_size.iter().enumerate() {
            if let Some(slot) = size_rank.get_mut(*index) {
                *slot = rank;
            }
        }
        let mut all = Self { cells, rules, coarser: Vec::new(), above, size_rank };
        for subset in subsets {
            let mut groups: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
            for index in &by_size {
                let Some(cell) = cells.get(*index) else { continue };
                let coarser = cell.keys.iter().enumerate().filter(|(key, _)| subset & (1_u32 << key) != 0);
                groups.entry(coarser.map(|(_, value)| *value).collect()).or_default().push(*index);
            }
            for released in groups.into_values() {
                all.push(released.into_iter().map(|index| (index, None)).collect());
            }
        }
        all
    }

    /// The same with one more coarser group, of these groups or parts of them.
    pub(super) fn beside(mut self, mut parts: Vec<(usize, Option<Entities>)>) -> Self {
        parts.sort_by_key(|(index, _)| self.size_rank.get(*index).copied());
        self.push(parts);
        self
    }

    /// One more coarser group, of these by size.
    fn push(&mut self, parts: Vec<(usize, Option<Entities>)>) {
        let released = parts.iter().map(|(index, _)| *index).collect();
        for (index, part) in parts {
            if let Some(above) = self.above.get_mut(index) {
                above.push(Above { at: self.coarser.len(), part });
            }
        }
        self.coarser.push(Coarser { released, withheld: nobody(self.rules) });
    }

    /// The groups to withhold so that what is withheld under each coarser group may be computed, and what is released there may
    /// be added up: these, and the smallest released ones there, until it may.
    pub(super) fn protect(mut self, small: BTreeSet<usize>) -> BTreeSet<usize> {
        let mut withheld = BTreeSet::new();
        // Of one steward nobody knows a part.
        let mut due: BTreeSet<usize> = (0..self.coarser.len()).filter(|_| self.rules.stewards > 1).collect();
        for index in small {
            self.withhold(index, &mut withheld, &mut due);
        }
        while let Some(at) = due.pop_first() {
            while let Some(index) = self.next_to_withhold(at, &withheld) {
                self.withhold(index, &mut withheld, &mut due);
            }
        }
        withheld
    }

    fn withhold(&mut self, index: usize, withheld: &mut BTreeSet<usize>, due: &mut BTreeSet<usize>) {
        withheld.insert(index);
        let (Some(cell), Some(above)) = (self.cells.get(index), self.above.get(index)) else { return };
        for Above { at, part } in above {
            if let Some(coarser) = self.coarser.get_mut(*at) {
                coarser.withheld.unite(part.as_ref().unwrap_or(&cell.entities), self.rules);
                due.insert(*at);
            }
        }
    }

    /// The entities of the groups that are released of a coarser one.
    fn released(&self, at: usize, coarser: &Coarser, withheld: &BTreeSet<usize>) -> Entities {
        let mut all = nobody(self.rules);
        for index in coarser.released.iter().filter(|index| !withheld.contains(index)) {
            let (Some(cell), Some(above)) = (self.cells.get(*index), self.above.get(*index)) else { continue };
            let part = above.iter().find(|above| above.at == at).and_then(|above| above.part.as_ref());
            all.unite(part.unwrap_or(&cell.entities), self.rules);
        }
        all
    }

    /// The smallest released group of a coarser one that must be withheld, too, if one must. Where it is only that they may not be
    /// added up, it is the smallest with somebody of a steward whose part would be left: without others as much is left.
    fn next_to_withhold(&mut self, at: usize, withheld: &BTreeSet<usize>) -> Option<usize> {
        let coarser = self.coarser.get(at)?;
        if self.rules.let_be_computed(&coarser.withheld) {
            if self.rules.stewards < 2 {
                return None;
            }
            let left = self.rules.left_of_sum(&self.released(at, coarser, withheld))?;
            let is_left = |index: &&usize| {
                let parts = |cell: &Cell| left.iter().any(|(counter, steward)| cell.entities.has(*counter, *steward));
                !withheld.contains(index) && self.cells.get(**index).is_some_and(parts)
            };
            if let Some(index) = coarser.released.iter().rev().find(is_left) {
                return Some(*index);
            }
        }
        let coarser = self.coarser.get_mut(at)?;
        while let Some(index) = coarser.released.pop() {
            if !withheld.contains(&index) {
                return Some(index);
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
