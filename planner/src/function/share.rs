//! One steward's entities in one cell: what a release decision needs to know of them and no more. Fewer entities than the
//! minimum are named by keyed hashes, so that cells can be united; of more only the number is kept. What leaves a steward
//! never holds as many hashes as the minimum has entities.

use datafusion::common::{Result, exec_err};

/// A keyed hash of an entity.
pub type EntityHash = [u8; HASH_BYTES];

/// Bytes of a hash.
pub const HASH_BYTES: usize = 16;
/// Bytes of a number; no multiple of [`HASH_BYTES`], which is how the two are told apart.
const NUMBER_BYTES: usize = 8;
/// Stands behind hashes where there are rows without a key.
pub(super) const UNKEYED: u8 = 1;

/// The entities of one steward in one cell, or in several united.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// Fewer than the minimum.
    Few {
        /// In order, each once.
        entities: Vec<EntityHash>,
        /// Whether there are rows without a key as well. They count for nobody, and yet somebody's they are.
        unkeyed: bool,
    },
    /// So many, at least the minimum. Of a single cell it is the exact number; of several united no more than the largest
    /// is known, which is all that a minimum asks for.
    Many(u64),
}

impl Default for Share {
    fn default() -> Self {
        Self::Few { entities: Vec::new(), unkeyed: false }
    }
}

impl Share {
    /// The share of these entities; they may repeat.
    pub fn of(mut entities: Vec<EntityHash>, minimum: u32) -> Self {
        entities.sort_unstable();
        entities.dedup();
        match u64::try_from(entities.len()).unwrap_or(u64::MAX) {
            few if few < u64::from(minimum) => Self::Few { entities, unkeyed: false },
            many => Self::Many(many),
        }
    }

    /// How many entities there are; for a union that is not of few, a lower bound.
    pub fn count(&self) -> u64 {
        match self {
            Self::Few { entities, .. } => u64::try_from(entities.len()).unwrap_or(u64::MAX),
            Self::Many(number) => *number,
        }
    }

    /// The same with rows that have no key.
    pub fn and_unkeyed(mut self) -> Self {
        if let Self::Few { unkeyed, .. } = &mut self {
            *unkeyed = true;
        }
        self
    }

    /// Whether there are no rows at all.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Few { entities, unkeyed: false } if entities.is_empty())
    }

    /// Adds the entities of another cell of the same steward.
    pub fn unite(&mut self, other: &Self, minimum: u32) {
        *self = match (std::mem::take(self), other) {
            (Self::Few { mut entities, unkeyed }, Self::Few { entities: more, unkeyed: also }) => {
                entities.extend_from_slice(more);
                let united = Self::of(entities, minimum);
                if unkeyed || *also { united.and_unkeyed() } else { united }
            }
            (one, other) => Self::Many(one.count().max(other.count())),
        };
    }

    /// The share as bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Few { entities, unkeyed: false } => entities.concat(),
            Self::Few { entities, unkeyed: true } => [entities.as_flattened(), &[UNKEYED]].concat(),
            Self::Many(number) => number.to_be_bytes().to_vec(),
        }
    }

    /// The share in these bytes. Another place made them, so they are believed only if they can be of this minimum.
    pub fn decode(bytes: &[u8], minimum: u32) -> Result<Self> {
        if let Ok(number) = <[u8; NUMBER_BYTES]>::try_from(bytes) {
            let number = u64::from_be_bytes(number);
            if number < u64::from(minimum) {
                return exec_err!("a number of entities is below the minimum that it must reach");
            }
            return Ok(Self::Many(number));
        }
        let (entities, rest) = bytes.as_chunks::<HASH_BYTES>();
        let ordered = entities.windows(2).all(|pair| matches!(pair, [one, next] if one < next));
        let few = u64::try_from(entities.len()).is_ok_and(|few| few < u64::from(minimum));
        let unkeyed = match rest {
            [] => false,
            [UNKEYED] => true,
            _ => return exec_err!("the entities of a cell are not encoded as agreed"),
        };
        if !ordered || !few {
            return exec_err!("the entities of a cell are not encoded as agreed");
        }
        Ok(Self::Few { entities: entities.to_vec(), unkeyed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(value: u8) -> EntityHash {
        [value; HASH_BYTES]
    }

    fn share(values: &[u8]) -> Share {
        Share::of(values.iter().map(|value| hash(*value)).collect(), 3)
    }

    #[test]
    fn b3_hashes_are_kept_only_below_the_minimum() {
        assert_eq!(share(&[2, 1, 2]), Share::Few { entities: vec![hash(1), hash(2)], unkeyed: false });
        assert_eq!(share(&[1, 2, 3]), Share::Many(3));
        assert_eq!(share(&[]).count(), 0);
    }

    #[test]
    fn b3_a_union_counts_an_entity_once_while_there_are_few() {
        let mut united = share(&[1, 2]);
        united.unite(&share(&[2]), 3);
        assert_eq!(united.count(), 2);
        united.unite(&share(&[4, 5, 6, 7]), 3);
        assert_eq!(united, Share::Many(4));
        united.unite(&share(&[1]), 3);
        assert_eq!(united, Share::Many(4));
        let mut united = share(&[1, 2]);
        united.unite(&share(&[3]), 3);
        assert_eq!(united, Share::Many(3));
    }

    #[test]
    fn b1_rows_without_a_key_count_for_nobody_and_are_not_nobody_s() {
        let unkeyed = share(&[]).and_unkeyed();
        assert_eq!((unkeyed.count(), unkeyed.is_nobody(), share(&[]).is_nobody()), (0, false, true));
        let mut united = share(&[]);
        united.unite(&unkeyed, 3);
        assert!(!united.is_nobody());
        united.unite(&share(&[1]), 3);
        assert_eq!(united, share(&[1]).and_unkeyed());
    }

    #[test]
    fn b3_bytes_are_believed_only_as_agreed() {
        let unkeyed = [share(&[]).and_unkeyed(), share(&[9, 1]).and_unkeyed()];
        for share in [share(&[]), share(&[1]), share(&[9, 1]), share(&[1, 2, 3, 4])].into_iter().chain(unkeyed) {
            assert_eq!(Share::decode(&share.encode(), 3).unwrap(), share);
        }
        for wrong in [
            vec![0; 7],
            2_u64.to_be_bytes().to_vec(),
            [hash(2), hash(1)].concat(),
            [hash(1), hash(1)].concat(),
            [hash(1), hash(2), hash(3)].concat(),
            vec![0; 24],
            vec![2],
        ] {
            assert!(Share::decode(&wrong, 3).is_err(), "{wrong:?}");
        }
    }
}
