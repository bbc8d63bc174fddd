//! A grouping set: which of a release point's keys its groups have. The engine numbers such sets by the keys that are
//! missing, in a column beside the keys; this is the one place that knows how.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Aggregate;

/// Keys by their positions, of at most [`KeySet::KEYS_MAX`] of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeySet(u32);

impl KeySet {
    /// A release point with grouping sets has at most so many keys.
    pub const KEYS_MAX: usize = 32;
    /// A release point has at most so many grouping sets, each of which is a release.
    pub const SETS_MAX: usize = 64;

    /// All of so many keys.
    pub fn all(keys: usize) -> Self {
        (0..keys).collect()
    }

    /// The set with these bits, the lowest for the first key; none if it has a key beyond so many.
    pub fn from_bits(bits: u32, keys: usize) -> Option<Self> {
        (bits & !Self::all(keys).0 == 0).then_some(Self(bits))
    }

    /// The keys as bits, the lowest for the first.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether it has the key at this position.
    pub fn has(self, key: usize) -> bool {
        u32::try_from(key).is_ok_and(|key| self.0.checked_shr(key).is_some_and(|bits| bits & 1 == 1))
    }

    /// The positions of its keys, rising.
    pub fn keys(self) -> impl Iterator<Item = usize> {
        (0..Self::KEYS_MAX).filter(move |key| self.has(*key))
    }

    /// How many keys it has.
    pub fn len(self) -> usize {
        self.keys().count()
    }

    /// Whether its one group is everything.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Of the values at all positions, those at its keys.
    pub fn of<T: Clone>(self, values: &[T]) -> Vec<T> {
        values.iter().enumerate().filter(|(key, _)| self.has(*key)).map(|(_, value)| value.clone()).collect()
    }

    /// The number by which the engine tells the groups of this set, at this occurrence counted from 0, from those of others.
    pub fn grouping_id(self, occurrence: usize, keys: usize) -> u64 {
        let missing = (0..keys).fold(0_u64, |bits, key| (bits << 1) | u64::from(!self.has(key)));
        let occurrence = u64::try_from(occurrence).unwrap_or(u64::MAX);
        missing | u32::try_from(keys).ok().and_then(|keys| occurrence.checked_shl(keys)).unwrap_or(0)
    }

    /// The set whose groups have such a number.
    pub fn of_grouping_id(id: u64, keys: usize) -> Self {
        let missing = |key: &usize| {
            let bit = u32::try_from(keys.saturating_sub(1 + key)).ok();
            bit.and_then(|bit| id.checked_shr(bit)).is_some_and(|bits| bits & 1 == 1)
        };
        (0..keys).filter(|key| !missing(key)).collect()
    }

    /// The type of the numbers of these sets.
    pub fn id_type(sets: &[Self], keys: usize) -> DataType {
        let times = sets.iter().map(|set| sets.iter().filter(|other| *other == set).count());
        Aggregate::grouping_id_type(keys, times.max().unwrap_or(1).saturating_sub(1))
    }
}

impl FromIterator<usize> for KeySet {
    fn from_iter<T: IntoIterator<Item = usize>>(keys: T) -> Self {
        let bit = |key| u32::try_from(key).ok().and_then(|key| 1_u32.checked_shl(key)).unwrap_or(0);
        Self(keys.into_iter().fold(0, |bits, key| bits | bit(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_bit_for_each_missing_key_the_lowest_for_the_last() {
        let set = |keys: &[usize]| keys.iter().copied().collect::<KeySet>();
        for (keys, id) in
            [(vec![0, 1, 2], 0b000), (vec![0, 1], 0b001), (vec![0], 0b011), (vec![2], 0b110), (vec![], 0b111)]
        {
            assert_eq!(set(&keys).grouping_id(0, 3), id);
            assert_eq!(set(&keys).grouping_id(2, 3), id | 0b1_0000);
            assert_eq!(KeySet::of_grouping_id(id | 0b1_0000, 3), set(&keys));
        }
        assert_eq!(KeySet::id_type(&[set(&[0]), set(&[])], 8), DataType::UInt8);
        assert_eq!(KeySet::id_type(&[set(&[0]), set(&[0])], 8), DataType::UInt16);
        assert_eq!(set(&[0, 2]).of(&["x", "y", "z"]), ["x", "z"]);
        assert_eq!(KeySet::from_bits(0b100, 2), None);
        assert_eq!(KeySet::all(32).len(), 32);
    }
}
