//! Which groups of a release point are released. One decision over all groups at once, because what is withheld must not
//! follow from what is released: a group is not safe by itself, but only beside the others.
//!
//! INVARIANT(no_small_difference): of a released group, the remainder, and of what is withheld under any coarser group, the
//! requester can compute, by subtracting what it may know, nobody's part or that of enough entities. It may know the part of
//! its own organisation and that of every steward which alone reaches its own minimum, and it can ask for every coarser
//! grouping of the same relation.
//!
//! ```text
//!  groups (keys; entities by value and steward) ──► minimum, sites, rest ──► complement ──► released | remainder | withheld
//! ```
//!
//! **Coarser groups.** A clause that releases groups by some keys releases those by any subset of them. So under a query by
//! `k0, k1, k2` every proper subset of these three is a grouping that the requester may ask for, the empty one (the grand
//! total) included, and each of its groups is a coarser group whose released parts may be subtracted from it. All of them
//! are kept, not only prefixes: SQL gives the order of keys no meaning. Groupings by other keys of the clause are questions
//! of their own; what several questions tell together is not decided here.
//!
//! **What is left out.** Only differences of one coarser group and groups within it are considered. Coarser groups that
//! overlap (a row total and a column total) make a system of equations, which can have a solution that no single difference
//! shows; to exclude that takes the history of a requester's questions.
//!
//! The order of groups does not matter: groups are taken by size and keys, coarser groups by their keys.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::Outcome;
use crate::function::Share;

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

/// The entities behind each released value (more precisely, each counter of [`DecisionRules::counters`]) and, within that, of
/// each steward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entities(pub Vec<Vec<Share>>);

impl Entities {
    /// Adds the entities of another group.
    fn unite(&mut self, other: &Self, rules: &DecisionRules) {
        for ((counter, one), other) in rules.counters.iter().zip(&mut self.0).zip(&other.0) {
            for (one, other) in one.iter_mut().zip(other) {
                one.unite(other, counter.minimum);
            }
        }
    }

    /// The number of a group's entities: the smallest over its values.
    fn smallest(&self) -> u64 {
        self.0.iter().map(|shares| count(shares)).min().unwrap_or(0)
    }
}

/// Entities add over stewards: no two of them have one in common, which the planner and every steward check.
fn count(shares: &[Share]) -> u64 {
    shares.iter().fold(0, |sum, share| sum.saturating_add(share.count()))
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

/// What is demanded of one number of entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRule {
    /// The minimum that holds for the group.
    pub minimum: u32,
    /// What each steward would demand if it were asked alone; at least 1.
    pub own: Vec<u32>,
}

impl DecisionRules {
    /// Whether these entities may be seen as one group.
    fn release(&self, entities: &Entities) -> bool {
        self.counters.iter().zip(&entities.0).all(|(counter, shares)| self.is_enough(counter, shares))
    }

    /// Whether what is withheld under a coarser group may be: it can be computed, so it is nobody or a group like any other.
    fn let_be_computed(&self, withheld: &Entities) -> bool {
        let mut counters = self.counters.iter().zip(&withheld.0);
        counters.all(|(counter, shares)| count(shares) == 0 || self.is_enough(counter, shares))
    }

    /// Minimum, sites and rest of one number of entities.
    fn is_enough(&self, counter: &CounterRule, shares: &[Share]) -> bool {
        let minimum = u64::from(counter.minimum);
        let sites = shares.iter().filter(|share| share.count() > 0).count();
        let rest = self.rest(counter, shares);
        // Zero is below every minimum.
        count(shares) >= minimum.max(1)
            && u32::try_from(sites).unwrap_or(u32::MAX) >= self.sites
            && (rest == 0 || rest >= minimum)
    }

    /// The entities that are left when the requester subtracts what it may know of single stewards.
    fn rest(&self, counter: &CounterRule, shares: &[Share]) -> u64 {
        let of_stewards = shares.iter().zip(&counter.own).enumerate();
        let unknown = of_stewards
            .filter(|(steward, (share, own))| Some(*steward) != self.requester && share.count() < u64::from(**own));
        unknown.fold(0, |sum, (_, (share, _))| sum.saturating_add(share.count()))
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
    if rules.outcome == Outcome::Fail && !withheld.is_empty() {
        return Err(BelowMinimum);
    }
    let withheld = Complements::of(cells, rules).protect(withheld);
    let merged = rules.outcome == Outcome::Remainder && rules.release(&united(cells, &withheld, rules));
    let fate = |index: usize| match (withheld.contains(&index), merged) {
        (false, _) => Fate::Released,
        (true, true) => Fate::Remainder,
        (true, false) => Fate::Withheld,
    };
    Ok((0..cells.len()).map(fate).collect())
}

fn positions(cells: &[Cell], which: impl Fn(&Cell) -> bool) -> BTreeSet<usize> {
    cells.iter().enumerate().filter(|(_, cell)| which(cell)).map(|(index, _)| index).collect()
}

/// The entities of several groups together.
fn united(cells: &[Cell], which: &BTreeSet<usize>, rules: &DecisionRules) -> Entities {
    let mut all = nobody(rules);
    for cell in which.iter().filter_map(|index| cells.get(*index)) {
        all.unite(&cell.entities, rules);
    }
    all
}

fn nobody(rules: &DecisionRules) -> Entities {
    Entities(vec![vec![Share::default(); rules.stewards]; rules.counters.len()])
}

/// All coarser groups, the finest first.
struct Complements<'a> {
    cells: &'a [Cell],
    rules: &'a DecisionRules,
    coarser: Vec<Coarser>,
    /// The coarser groups that each group is in.
    above: Vec<Vec<usize>>,
}

/// One coarser group.
struct Coarser {
    /// The groups in it that may still be released, the smallest last.
    released: Vec<usize>,
    /// The entities of those in it that are withheld.
    withheld: Entities,
}

impl<'a> Complements<'a> {
    fn of(cells: &'a [Cell], rules: &'a DecisionRules) -> Self {
        let keys = cells.first().map_or(0, |cell| cell.keys.len()).min(KEYS_MAX);
        // Proper subsets of the keys as bits, those of many keys first.
        let mut subsets: Vec<u32> = (0..(1_u32 << keys) - 1).collect();
        subsets.sort_by_key(|subset| (std::cmp::Reverse(subset.count_ones()), *subset));
        let mut by_size: Vec<usize> = (0..cells.len()).collect();
        by_size.sort_by_cached_key(|index| {
            std::cmp::Reverse(cells.get(*index).map(|cell| (cell.entities.smallest(), cell.keys.clone())))
        });
        let mut all = Self { cells, rules, coarser: Vec::new(), above: vec![Vec::new(); cells.len()] };
        for subset in subsets {
            let mut groups: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
            for index in &by_size {
                let Some(cell) = cells.get(*index) else { continue };
                let coarser = cell.keys.iter().enumerate().filter(|(key, _)| subset & (1_u32 << key) != 0);
                groups.entry(coarser.map(|(_, value)| *value).collect()).or_default().push(*index);
            }
            for released in groups.into_values() {
                for index in &released {
                    if let Some(above) = all.above.get_mut(*index) {
                        above.push(all.coarser.len());
                    }
                }
                all.coarser.push(Coarser { released, withheld: nobody(rules) });
            }
        }
        all
    }

    /// The groups to withhold so that what is withheld under each coarser group may be computed: these, and the smallest
    /// released ones there, until it may.
    fn protect(mut self, small: BTreeSet<usize>) -> BTreeSet<usize> {
        let mut withheld = BTreeSet::new();
        let mut due = BTreeSet::new();
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
        for at in above {
            if let Some(coarser) = self.coarser.get_mut(*at) {
                coarser.withheld.unite(&cell.entities, self.rules);
                due.insert(*at);
            }
        }
    }

    /// The smallest released group of a coarser one that must be withheld, too, if one must.
    fn next_to_withhold(&mut self, at: usize, withheld: &BTreeSet<usize>) -> Option<usize> {
        let coarser = self.coarser.get_mut(at)?;
        if self.rules.let_be_computed(&coarser.withheld) {
            return None;
        }
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
