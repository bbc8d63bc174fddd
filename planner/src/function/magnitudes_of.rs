//! Aggregates that give the [`Magnitudes`] of a cell: `dynamos_magnitudes` over the fingerprints of rows and what they add,
//! and `dynamos_united_magnitudes` over magnitudes that were made elsewhere. The first keeps a sum for each entity, inside
//! one place; what it gives is two sums.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility};

use super::exact::ExactSum;
use super::exact_sum::decoded;
use super::fingerprint::FINGERPRINT;
use super::magnitude::Magnitudes;
use super::share::{EntityHash, HASH_BYTES};

/// The magnitudes of rows: by the fingerprints of their entities and a number, which is a double or a decimal.
pub fn magnitudes() -> AggregateUDF {
    let signature = Signature::new(TypeSignature::Any(2), Volatility::Immutable);
    AggregateUDF::from(OfRows { signature })
}

/// The magnitudes of several cells of one steward together.
pub fn united_magnitudes() -> AggregateUDF {
    let signature = Signature::exact(vec![DataType::Binary], Volatility::Immutable);
    AggregateUDF::from(United { signature })
}

/// The magnitudes in a column that one of these aggregates gave.
pub fn all_magnitudes(column: &ArrayRef) -> Result<Vec<Magnitudes>> {
    let Some(column) = column.as_binary_opt::<i32>() else {
        return exec_err!("a column of magnitudes has another type");
    };
    column.iter().map(|one| one.map_or_else(|| Ok(Magnitudes::default()), Magnitudes::decode)).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfRows {
    signature: Signature,
}

impl AggregateUDFImpl for OfRows {
    fn name(&self) -> &str {
        "dynamos_magnitudes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [FINGERPRINT, DataType::Float64 | DataType::Decimal128(..)] => Ok(DataType::Binary),
            [_, kind] => datafusion::common::plan_err!("DOMINANCE cannot be held over {kind}; release numbers"),
            _ => datafusion::common::plan_err!("`dynamos_magnitudes` takes an entity and a number"),
        }
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(ByEntity::default()))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<arrow::datatypes::FieldRef>> {
        let field = |part: &str| {
            let name = format!("{}[{part}]", arguments.name);
            std::sync::Arc::new(arrow::datatypes::Field::new(name, DataType::Binary, true))
        };
        Ok(vec![field("entities"), field("sums")])
    }
}

/// Σ|x| of each entity. Rows without a key may all be of one, and are taken so.
#[derive(Debug, Default)]
struct ByEntity {
    sums: BTreeMap<Option<EntityHash>, ExactSum>,
    /// How many of the sums take more memory than their own.
    grown: usize,
}

impl ByEntity {
    fn add(&mut self, entity: Option<&[u8]>, add: impl FnOnce(&mut ExactSum) -> bool) -> Result<()> {
        let Ok(entity) = entity.map(EntityHash::try_from).transpose() else {
            return exec_err!("a fingerprint has {HASH_BYTES} bytes");
        };
        self.grown += usize::from(add(self.sums.entry(entity).or_default()));
        Ok(())
    }
}

impl Accumulator for ByEntity {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [entities, numbers] = values else { return exec_err!("`dynamos_magnitudes` takes two arguments") };
        let entities = entities.as_fixed_size_binary().iter();
        if let Some(numbers) = numbers.as_primitive_opt::<Float64Type>() {
            for (entity, number) in entities.zip(numbers) {
                let Some(number) = number else { continue };
                self.add(entity, |sum| sum.add(number.abs()))?;
            }
        } else if let Some(numbers) = numbers.as_primitive_opt::<Decimal128Type>() {
            // In units of the last digit, which is the same one for all.
            for (entity, number) in entities.zip(numbers) {
                let Some(number) = number else { continue };
                self.add(entity, |sum| sum.add_whole(number.unsigned_abs()))?;
            }
        } else {
            return exec_err!("magnitudes are those of numbers, not of {}", numbers.data_type());
        }
        Ok(())
    }

    /// Entities and sums as two texts of bytes: a mark and a hash for each entity; for each sum its length and itself.
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (mut entities, mut sums) = (Vec::new(), Vec::new());
        for (entity, sum) in &self.sums {
            entities.push(u8::from(entity.is_some()));
            entities.extend_from_slice(&entity.unwrap_or_default());
            let sum = sum.encode();
            sums.extend_from_slice(&u16::try_from(sum.len()).unwrap_or(u16::MAX).to_be_bytes());
            sums.extend_from_slice(&sum);
        }
        Ok(vec![ScalarValue::Binary(Some(entities)), ScalarValue::Binary(Some(sums))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [entities, sums] = states else { return exec_err!("`dynamos_magnitudes` has two states") };
        for (entities, sums) in entities.as_binary::<i32>().iter().zip(sums.as_binary::<i32>()) {
            let (Some(entities), Some(mut sums)) = (entities, sums) else { continue };
            for entity in entities.as_chunks::<{ 1 + HASH_BYTES }>().0 {
                let next = sums.split_at_checked(2).and_then(|(length, rest)| {
                    rest.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))
                });
                let (Some((sum, rest)), Some((marked, hash))) = (next, entity.split_first()) else {
                    return exec_err!("entities and sums are not as many");
                };
                sums = rest;
                let sum = decoded(sum)?;
                self.add((*marked == 1).then_some(hash), |all| all.unite(&sum))?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(Some(Magnitudes::of(self.sums.values()).encode())))
    }

    fn size(&self) -> usize {
        // A tree's nodes are about two thirds full.
        let entry = (size_of::<Option<EntityHash>>() + size_of::<ExactSum>()) * 3 / 2;
        size_of_val(self) + self.sums.len() * entry + self.grown * ExactSum::MORE_BYTES
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct United {
    signature: Signature,
}

impl AggregateUDFImpl for United {
    fn name(&self) -> &str {
        "dynamos_united_magnitudes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn accumulator(&self, _arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(UnitedCells::default()))
    }
}

#[derive(Debug, Default)]
struct UnitedCells {
    all: Magnitudes,
}

impl Accumulator for UnitedCells {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [cells] = values else { return exec_err!("`dynamos_united_magnitudes` takes one argument") };
        all_magnitudes(cells)?.iter().for_each(|cell| self.all.unite(cell));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(Some(self.all.encode())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + 2 * ExactSum::MORE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, FixedSizeBinaryArray, Float64Array};

    use super::super::magnitude::Portion;
    use super::*;

    fn entities(values: &[Option<u8>]) -> ArrayRef {
        let values = values.iter().map(|value| value.map(|value| [value; HASH_BYTES]));
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16).unwrap())
    }

    fn given(accumulator: &mut dyn Accumulator) -> Magnitudes {
        all_magnitudes(&accumulator.evaluate().unwrap().to_array().unwrap()).unwrap().remove(0)
    }

    const SIXTY: Portion = Portion { units: 6, whole: 10 };

    #[test]
    fn b8_dominance_counts_entities_and_not_rows_and_no_signs() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(3.0), Some(-3.0), Some(-4.0), None]));
        let mut some = ByEntity::default();
        some.update_batch(&[entities(&[Some(1), Some(1), Some(2), Some(3)]), floats]).unwrap();
        // 6 of 10.
        assert!(!given(&mut some).may_have_dominant_entity(SIXTY));
        let tiny: ArrayRef = Arc::new(Float64Array::from(vec![1e-300]));
        some.update_batch(&[entities(&[Some(1)]), tiny]).unwrap();
        assert!(given(&mut some).may_have_dominant_entity(SIXTY));
    }

    #[test]
    fn b8_dominance_takes_rows_without_a_key_for_one_entity_s() {
        let decimals = Decimal128Array::from(vec![i128::MAX / 10 * 3, 1, i128::MIN / 10 * 4, i128::MAX / 10 * 3]);
        let mut some = ByEntity::default();
        let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(38, 2).unwrap());
        some.update_batch(&[entities(&[None, Some(1), Some(2), None]), decimals]).unwrap();
        assert!(!given(&mut some).may_have_dominant_entity(SIXTY));
        assert!(given(&mut some).may_have_dominant_entity(Portion { units: 59, whole: 100 }));
    }

    #[test]
    fn b8_dominance_is_the_same_however_rows_are_cut() {
        let rows: Vec<(Option<u8>, f64)> =
            (0..200_u8).map(|row| ((row % 7 > 0).then_some(row % 5), f64::from(row) * 0.1 + 1e15)).collect();
        let batch = |rows: &[(Option<u8>, f64)]| {
            let numbers: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Float64Array>());
            [entities(&rows.iter().map(|row| row.0).collect::<Vec<_>>()), numbers]
        };
        let mut whole = ByEntity::default();
        whole.update_batch(&batch(&rows)).unwrap();
        let mut merged = ByEntity::default();
        for part in rows.chunks(33) {
            let mut some = ByEntity::default();
            some.update_batch(&batch(part)).unwrap();
            let states: Vec<ArrayRef> = some.state().unwrap().iter().map(|state| state.to_array().unwrap()).collect();
            merged.merge_batch(&states).unwrap();
        }
        assert_eq!(given(&mut merged), given(&mut whole));
        assert!(whole.evaluate().unwrap().to_array().unwrap().as_binary::<i32>().value(0).len() <= 2 + 2 * 274);
    }
}
