//! Aggregates that give the entities of a cell as a [`Share`]: `dynamos_entities` over the fingerprints of rows, and
//! `dynamos_united_entities` over shares that were made elsewhere. Inside one place the first keeps every entity, to count
//! exactly; the share that it gives is bounded by the minimum. Hashes are keyed: whoever receives them cannot find out whose
//! they are, and with another query's they have nothing in common.

use std::mem::size_of_val;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use dynamos_proto::sign::HashKey;

use super::fingerprint::FINGERPRINT;
use super::share::{EntityHash, HASH_BYTES, Share, UNKEYED};

/// Distinct entities are sought again when there are this many, or twice as many as the last time.
const UNSORTED_MIN: usize = 64;

/// The share of rows, by their fingerprints.
pub fn entities(minimum: u32, key: &HashKey) -> AggregateUDF {
    let signature = Signature::exact(vec![FINGERPRINT], Volatility::Immutable);
    AggregateUDF::from(Entities { signature, minimum, key: key.clone() })
}

/// The share of several shares of one steward together.
pub fn united_entities(minimum: u32) -> AggregateUDF {
    let signature = Signature::exact(vec![DataType::Binary], Volatility::Immutable);
    AggregateUDF::from(United { signature, minimum })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Entities {
    signature: Signature,
    minimum: u32,
    key: HashKey,
}

impl AggregateUDFImpl for Entities {
    fn name(&self) -> &str {
        "dynamos_entities"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(EntitySet {
            minimum: self.minimum,
            key: self.key.clone(),
            found: Vec::new(),
            distinct: 0,
            unkeyed: false,
        }))
    }
}

/// Fingerprints; the first `distinct` of them are in order and each there once.
#[derive(Debug)]
struct EntitySet {
    minimum: u32,
    key: HashKey,
    found: Vec<EntityHash>,
    distinct: usize,
    /// Whether there are rows without a key.
    unkeyed: bool,
}

impl EntitySet {
    fn add(&mut self, entity: EntityHash) {
        self.found.push(entity);
        if self.found.len() >= UNSORTED_MIN.max(self.distinct.saturating_mul(2)) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if self.distinct < self.found.len() {
            self.found.sort_unstable();
            self.found.dedup();
            self.distinct = self.found.len();
        }
    }
}

impl Accumulator for EntitySet {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [rows] = values else { return exec_err!("`dynamos_entities` takes one argument") };
        let rows = rows.as_fixed_size_binary();
        self.unkeyed |= rows.null_count() > 0;
        for entity in rows.iter().flatten() {
            match EntityHash::try_from(entity) {
                Ok(entity) => self.add(entity),
                Err(_) => return exec_err!("a fingerprint has {HASH_BYTES} bytes"),
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [states] = states else { return exec_err!("`dynamos_entities` has one state") };
        for state in states.as_binary::<i32>().iter().flatten() {
            let (entities, rest) = state.as_chunks::<HASH_BYTES>();
            self.unkeyed |= !rest.is_empty();
            for entity in entities {
                self.add(*entity);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.settle();
        let unkeyed: &[u8] = if self.unkeyed { &[UNKEYED] } else { &[] };
        Ok(vec![ScalarValue::Binary(Some([self.found.as_flattened(), unkeyed].concat()))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.settle();
        let few = u32::try_from(self.found.len()).is_ok_and(|few| few < self.minimum);
        let share = if few {
            Share::of(self.found.iter().map(|entity| self.key.hash(entity)).collect(), self.minimum)
        } else {
            Share::Many(u64::try_from(self.found.len()).unwrap_or(u64::MAX))
        };
        let share = if self.unkeyed { share.and_unkeyed() } else { share };
        Ok(ScalarValue::Binary(Some(share.encode())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.found.capacity() * HASH_BYTES
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct United {
    signature: Signature,
    minimum: u32,
}

impl AggregateUDFImpl for United {
    fn name(&self) -> &str {
        "dynamos_united_entities"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(UnitedShare { minimum: self.minimum, share: Share::default() }))
    }
}

#[derive(Debug)]
struct UnitedShare {
    minimum: u32,
    share: Share,
}

impl Accumulator for UnitedShare {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [shares] = values else { return exec_err!("`dynamos_united_entities` takes one argument") };
        for share in shares.as_binary::<i32>().iter().flatten() {
            self.share.unite(&Share::decode(share, self.minimum)?, self.minimum);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(Some(self.share.encode())))
    }

    fn size(&self) -> usize {
        let hashes = match &self.share {
            Share::Few { entities, .. } => entities.capacity() * HASH_BYTES,
            Share::Many(_) => 0,
        };
        size_of_val(self) + hashes
    }
}

/// The shares in a column that one of these aggregates gave.
pub fn shares(column: &ArrayRef, minimum: u32) -> Result<Vec<Share>> {
    let Some(column) = column.as_binary_opt::<i32>() else { return exec_err!("a column of entities has another type") };
    column
        .iter()
        .map(|share| share.map_or_else(|| Ok(Share::default()), |share| Share::decode(share, minimum)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, FixedSizeBinaryArray};

    use super::*;

    fn set(minimum: u32, seed: u8) -> EntitySet {
        EntitySet { minimum, key: HashKey::from_bytes([seed; 32]), found: Vec::new(), distinct: 0, unkeyed: false }
    }

    fn rows(values: impl IntoIterator<Item = u16>) -> Vec<ArrayRef> {
        let values = values.into_iter().map(|value| {
            let mut bytes = [0; HASH_BYTES];
            bytes[..2].copy_from_slice(&value.to_be_bytes());
            Some(bytes)
        });
        vec![Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap())]
    }

    fn given(accumulator: &mut dyn Accumulator) -> Vec<u8> {
        match accumulator.evaluate().unwrap() {
            ScalarValue::Binary(Some(bytes)) => bytes,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn b3_never_more_than_n_minus_1_hashes_leave() {
        for people in [0_u16, 1, 4, 5, 6, 500] {
            let mut some = set(5, 1);
            // Each of them with three rows.
            some.update_batch(&rows((0..people * 3).map(|row| row % people.max(1)))).unwrap();
            let bytes = given(&mut some);
            let share = Share::decode(&bytes, 5).unwrap();
            assert_eq!(share.count(), u64::from(people));
            assert!(bytes.len() <= 4 * HASH_BYTES, "{people}");
            assert_eq!(matches!(share, Share::Many(_)), people >= 5);
        }
    }

    #[test]
    fn b3_hashes_say_nothing_under_another_key() {
        let [mut one, mut other, mut again] = [set(5, 1), set(5, 2), set(5, 1)];
        for some in [&mut one, &mut other, &mut again] {
            some.update_batch(&rows([1, 2])).unwrap();
        }
        let (one, other, again) = (given(&mut one), given(&mut other), given(&mut again));
        assert_eq!(one, again);
        assert!(one.as_chunks::<HASH_BYTES>().0.iter().all(|hash| !other.windows(HASH_BYTES).any(|some| some == hash)));
        assert!(!format!("{:?}", entities(5, &HashKey::from_bytes([9; 32]))).contains('9'));
    }

    #[test]
    fn threads_of_one_place_count_exactly() {
        let (mut one, mut other) = (set(3, 1), set(3, 1));
        one.update_batch(&rows(0..300)).unwrap();
        other.update_batch(&rows(200..450)).unwrap();
        let states = other.state().unwrap().into_iter().map(|state| state.to_array().unwrap()).collect::<Vec<_>>();
        one.merge_batch(&states).unwrap();
        assert_eq!(Share::decode(&given(&mut one), 3).unwrap(), Share::Many(450));
    }

    #[test]
    fn b1_rows_without_a_key_are_not_nobody_s_whoever_counts_them() {
        let unkeyed: Vec<ArrayRef> = vec![Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size([None::<[u8; 16]>].into_iter(), 16).unwrap(),
        )];
        let (mut one, mut other) = (set(3, 1), set(3, 1));
        one.update_batch(&unkeyed).unwrap();
        let states = one.state().unwrap().into_iter().map(|state| state.to_array().unwrap()).collect::<Vec<_>>();
        other.merge_batch(&states).unwrap();
        for mut set in [one, other] {
            let share = Share::decode(&given(&mut set), 3).unwrap();
            assert_eq!((share.count(), share.is_nobody()), (0, false));
        }
    }

    #[test]
    fn a_forged_share_is_an_error() {
        let mut united = UnitedShare { minimum: 3, share: Share::default() };
        let forged: Vec<ArrayRef> = vec![Arc::new(BinaryArray::from(vec![1_u64.to_be_bytes().as_slice()]))];
        assert!(united.update_batch(&forged).is_err());
    }
}
