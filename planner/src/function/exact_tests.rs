//! Exact sums against whole numbers of any size, in units of the smallest double.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};
use num_bigint::BigInt;

use super::exact::ExactSum;
use super::exact_sum::{decoded, exact_sum, united_sums};
use super::magnitude::Portion;
use crate::random::Random;

impl Random {
    /// A finite double of one of several kinds: any bits, subnormal, whole, hundredths, near the largest, or far apart.
    fn double(&mut self, kind: usize) -> f64 {
        const FAR: [f64; 8] = [1.0, 1e16, 1e-16, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e300, 9_007_199_254_740_992.0];
        let bits = self.next();
        let exponent = |exponent: u64| (bits & !(0x7ff << 52)) | (exponent << 52);
        let double = match kind {
            0 => f64::from_bits(bits),
            1 => f64::from_bits(exponent(bits % 3)),
            2 => (bits % 2000) as f64 - 1000.0,
            3 => ((bits % 2_000_000) as f64 - 1e6) / 100.0,
            4 => f64::from_bits(exponent(2040 + bits % 7)),
            _ => FAR[usize::try_from(bits % 8).unwrap()] * if bits >> 63 == 1 { -1.0 } else { 1.0 },
        };
        if double.is_finite() { double } else { 0.0 }
    }

    fn doubles(&mut self) -> Vec<f64> {
        let (most, kind) = (1 + self.below(40), self.below(6));
        (0..most).map(|_| self.double(kind)).collect()
    }
}

/// A double in units of 2^-1074; infinity as 2^1024.
fn units(double: f64) -> BigInt {
    let bits = double.to_bits();
    let (exponent, mantissa) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    let magnitude = match exponent {
        0 => BigInt::from(mantissa),
        exponent => BigInt::from(mantissa | (1 << 52)) << (exponent - 1),
    };
    if double < 0.0 { -magnitude } else { magnitude }
}

/// Whether a double is the one next to `sum` / `count`, of two that are equally near the even one.
fn is_nearest(double: f64, sum: &BigInt, count: u64) -> bool {
    let distance = |double: f64| {
        let away: BigInt = sum - units(double) * count;
        if away < BigInt::ZERO { -away } else { away }
    };
    let (here, even) = (distance(double), double.to_bits() & 1 == 0);
    let farther = |other: f64| distance(other) > here || (distance(other) == here && even);
    let below = double == f64::NEG_INFINITY || farther(double.next_down());
    let above = double == f64::INFINITY || farther(double.next_up());
    let sign = *sum != BigInt::ZERO || double.to_bits() == 0;
    below && above && sign
}

fn sum_of(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    for value in values {
        sum.add(*value);
    }
    sum
}

#[test]
fn e3_sum_and_average_are_the_exact_ones_rounded_once() {
    let mut random = Random(1);
    let (mut infinite, mut naive_is_wrong) = (0, 0);
    for case in 0..20_000 {
        let values = random.doubles();
        let exact: BigInt = values.iter().map(|value| units(*value)).sum();
        let (sum, count) = (sum_of(&values), u64::try_from(values.len()).unwrap());
        assert!(is_nearest(sum.value(), &exact, 1), "case {case}: {} of {values:?}", sum.value());
        assert!(is_nearest(sum.average(count), &exact, count), "case {case}: {values:?}");
        infinite += usize::from(sum.value().is_infinite());
        naive_is_wrong += usize::from(values.iter().sum::<f64>() != sum.value());
    }
    assert!(infinite > 100 && naive_is_wrong > 1_000, "{infinite} {naive_is_wrong}");
}

#[test]
fn e3_no_order_and_no_grouping_changes_a_bit() {
    let mut random = Random(2);
    for case in 0..5_000 {
        let mut values = random.doubles();
        let bytes = sum_of(&values).encode();
        assert!(bytes.len() <= 274);
        for _ in 0..4 {
            for last in (1..values.len()).rev() {
                values.swap(last, random.below(last + 1));
            }
            let (one, other) = values.split_at(random.below(values.len() + 1));
            let mut all = ExactSum::default();
            all.add_all(one);
            let mut merged = ExactSum::decode(&all.encode()).unwrap();
            merged.unite(&ExactSum::decode(&sum_of(other).encode()).unwrap());
            assert_eq!(merged.encode(), bytes, "case {case}: {values:?}");
            let count = u64::try_from(values.len()).unwrap();
            assert_eq!(merged.value().to_bits(), sum_of(&values).value().to_bits());
            assert_eq!(merged.average(count).to_bits(), sum_of(&values).average(count).to_bits());
        }
    }
}

#[test]
fn e3_nan_infinities_zeros_and_overflow_are_defined() {
    let value = |values: &[f64]| {
        let sum = sum_of(values);
        let mut side_by_side = ExactSum::default();
        side_by_side.add_all(values);
        assert_eq!(side_by_side.encode(), sum.encode(), "{values:?}");
        assert_eq!(sum.value().to_bits(), ExactSum::decode(&sum.encode()).unwrap().value().to_bits());
        sum.value().to_bits()
    };
    let (nan, infinity) = (f64::NAN.to_bits(), f64::INFINITY.to_bits());
    let other_nan = f64::from_bits(nan | (1 << 63) | 77);
    assert_eq!(value(&[1.0, other_nan, f64::INFINITY]), nan);
    assert_eq!(value(&[f64::NEG_INFINITY, 1.0, f64::INFINITY, 2.0, 3.0]), nan);
    assert_eq!(value(&[f64::INFINITY, -1.0, f64::INFINITY, 3.0, f64::MIN]), infinity);
    assert_eq!(value(&[f64::NEG_INFINITY, f64::MAX]), f64::NEG_INFINITY.to_bits());
    // No zero has a sign, and only what is beyond all doubles at the end is infinite.
    assert_eq!(value(&[-0.0]), 0);
    assert_eq!(value(&[-1.0, 1.0, -0.0]), 0);
    assert_eq!(value(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX.to_bits());
    assert_eq!(value(&[f64::MAX, f64::MAX]), infinity);
    assert_eq!(sum_of(&[f64::MAX, f64::MAX]).average(2), f64::MAX);
    // Half of the last bit above the largest double goes to infinity, less does not.
    let half = 2f64.powi(970);
    assert_eq!(value(&[f64::MAX, half]), infinity);
    assert_eq!(value(&[f64::MAX, half, -5e-324]), f64::MAX.to_bits());
    // Half an even and half an odd last bit, and a subnormal average.
    assert_eq!(f64::from_bits(value(&[1.0, f64::EPSILON / 2.0])), 1.0);
    assert_eq!(f64::from_bits(value(&[1.0 + f64::EPSILON, f64::EPSILON / 2.0])), 1.0 + 2.0 * f64::EPSILON);
    assert_eq!(f64::from_bits(value(&[1.0, f64::EPSILON / 2.0, 5e-324])), 1.0 + f64::EPSILON);
    assert_eq!([1.0, 3.0, 5.0].map(|units| sum_of(&[units * 5e-324]).average(2)), [0.0, 1e-323, 1e-323]);
}

#[test]
fn e3_bytes_of_a_sum_are_believed_only_as_agreed() {
    for value in [0.0, 1.0, -1.0, 5e-324, -f64::MAX, f64::NAN, f64::INFINITY, 0.1] {
        let bytes = sum_of(&[value]).encode();
        assert_eq!(ExactSum::decode(&bytes).unwrap().encode(), bytes, "{value}");
    }
    let limbs = |flags: u8, first: u8, limbs: &[u64]| {
        let limbs = limbs.iter().flat_map(|limb| limb.to_be_bytes());
        [flags, first].into_iter().chain(limbs).collect::<Vec<u8>>()
    };
    for wrong in [
        vec![],
        vec![1],
        vec![16],
        vec![8, 0],
        vec![0, 3],
        limbs(0, 0, &[0]),
        limbs(0, 0, &[1, 0]),
        limbs(1, 0, &[0, 1]),
        limbs(0, 34, &[1]),
        limbs(0, 33, &[1 << 56]),
        limbs(0, 255, &[1]),
        [limbs(0, 0, &[1]), vec![0]].concat(),
    ] {
        assert!(ExactSum::decode(&wrong).is_none(), "{wrong:?}");
        assert!(decoded(&wrong).is_err());
    }
    // A sum that no rows can have is never a number.
    let huge = ExactSum::decode(&limbs(0, 33, &[(1 << 56) - 1])).unwrap();
    let mut all = ExactSum::default();
    for _ in 0..200 {
        all.unite(&huge);
    }
    assert!(all.value().is_nan());
}

#[test]
fn exceeding_a_share_is_exact() {
    let of = |units, whole| Portion { units, whole };
    let one = |value: f64| sum_of(&[value]);
    assert!(!one(0.5).exceeds(of(5, 10), &one(1.0)));
    assert!(one(0.5f64.next_up()).exceeds(of(5, 10), &one(1.0)));
    assert!(!one(0.0).exceeds(of(1, 3), &one(0.0)));
    let mut far = one(1e300);
    far.add(1e-300);
    assert!(far.exceeds(of(1, 1), &one(1e300)) && !far.exceeds(of(1, 1), &far.clone()));
    assert!(!one(f64::MAX).exceeds(of(u64::MAX, u64::MAX), &one(f64::MAX)));
    let mut whole = ExactSum::default();
    whole.add_whole(u128::MAX);
    assert!(whole.exceeds(of(1, 1), &one(3.4e38)) && !whole.exceeds(of(1, 1), &one(3.5e38)));
}

// ---- as aggregates ----

fn with_arguments<T>(aggregate: &AggregateUDF, distinct: bool, make: impl FnOnce(AccumulatorArgs<'_>) -> T) -> T {
    let kind = if aggregate.name() == "dynamos_exact_sum" { DataType::Float64 } else { DataType::Binary };
    let field = Arc::new(Field::new("x", kind, true));
    let schema = Schema::new(vec![Arc::clone(&field)]);
    let column: Arc<dyn datafusion::physical_plan::PhysicalExpr> =
        Arc::new(datafusion::physical_plan::expressions::Column::new("x", 0));
    make(AccumulatorArgs {
        return_field: Arc::new(Field::new("sum", DataType::Binary, true)),
        schema: &schema,
        ignore_nulls: false,
        order_bys: &[],
        is_reversed: false,
        name: "sum",
        is_distinct: distinct,
        exprs: &[column],
        expr_fields: &[field],
    })
}

fn groups(aggregate: &AggregateUDF) -> Box<dyn GroupsAccumulator> {
    with_arguments(aggregate, false, |arguments| aggregate.create_groups_accumulator(arguments).unwrap())
}

fn one(aggregate: &AggregateUDF, distinct: bool) -> Box<dyn Accumulator> {
    with_arguments(aggregate, distinct, |arguments| aggregate.accumulator(arguments).unwrap())
}

/// The sums as they are sent, NULL as nothing.
fn sent(sums: &ArrayRef) -> Vec<Option<Vec<u8>>> {
    sums.as_binary::<i32>().iter().map(|sum| sum.map(<[u8]>::to_vec)).collect()
}

#[test]
fn e3_groups_have_the_same_bits_however_their_rows_are_cut() {
    const GROUPS: usize = 5;
    let mut random = Random(3);
    for case in 0..400 {
        let kind = random.below(6);
        let rows: Vec<(usize, Option<f64>, Option<bool>)> = (0..random.below(300))
            .map(|_| {
                let value = (random.below(5) > 0).then(|| random.double(kind));
                (random.below(GROUPS), value, [Some(true), Some(true), Some(false), None][random.below(4)])
            })
            .collect();
        let filtered = case % 2 == 0;
        let expected: Vec<Option<Vec<u8>>> = (0..GROUPS)
            .map(|group| {
                let kept = rows.iter().filter(|row| row.0 == group && (!filtered || row.2 == Some(true)));
                let values: Vec<f64> = kept.filter_map(|row| row.1).collect();
                (!values.is_empty()).then(|| sum_of(&values).encode())
            })
            .collect();
        // Cut at random between several accumulators, some rows turned to states at once, emitted in two goes.
        let mut parts: Vec<Box<dyn GroupsAccumulator>> = (0..3).map(|_| groups(&exact_sum())).collect();
        let mut at = 0;
        while at < rows.len() {
            let end = rows.len().min(at + 1 + random.below(60));
            let cut = &rows[at..end];
            let of: Vec<usize> = cut.iter().map(|row| row.0).collect();
            let values: ArrayRef = Arc::new(cut.iter().map(|row| row.1).collect::<Float64Array>());
            let filter = filtered.then(|| cut.iter().map(|row| row.2).collect::<BooleanArray>());
            let part = &mut parts[random.below(3)];
            if random.below(3) == 0 {
                let states = part.convert_to_state(&[values], filter.as_ref()).unwrap();
                part.merge_batch(&states, &of, GROUPS).unwrap();
            } else {
                part.update_batch(&[values], &of, filter.as_ref(), GROUPS).unwrap();
            }
            at = end;
        }
        let mut all = groups(&united_sums());
        for mut part in parts {
            // An accumulator that saw nothing has no groups.
            part.update_batch(&[Arc::new(Float64Array::new_null(1))], &[0], None, GROUPS).unwrap();
            let [first, rest] = [EmitTo::First(2), EmitTo::All].map(|emit| part.state(emit).unwrap().remove(0));
            assert!(part.size() < 2_000);
            all.update_batch(&[first], &[0, 1], None, GROUPS).unwrap();
            all.update_batch(&[rest], &[2, 3, 4], None, GROUPS).unwrap();
        }
        assert_eq!(sent(&all.evaluate(EmitTo::All).unwrap()), expected, "case {case}");
    }
}

#[test]
fn e3_one_sum_has_the_same_bits_as_that_of_a_group() {
    let mut random = Random(4);
    for _ in 0..200 {
        let kind = random.below(6);
        let values: Vec<Option<f64>> =
            (0..random.below(50)).map(|_| (random.below(4) > 0).then(|| random.double(kind))).collect();
        let plain: Vec<f64> = values.iter().flatten().copied().collect();
        let mut sums = [one(&exact_sum(), false), one(&exact_sum(), false)];
        for (index, chunk) in values.chunks(7).enumerate() {
            let column: ArrayRef = Arc::new(Float64Array::from(chunk.to_vec()));
            sums[index % 2].update_batch(&[column]).unwrap();
        }
        let mut united = one(&united_sums(), false);
        for sum in &mut sums {
            let state = sum.state().unwrap().remove(0).to_array().unwrap();
            united.update_batch(&[state]).unwrap();
        }
        let expected = (!plain.is_empty()).then(|| sum_of(&plain).encode());
        assert_eq!(sent(&united.evaluate().unwrap().to_array().unwrap()), [expected]);
    }
}

#[test]
fn e3_a_sum_of_different_values_has_each_once() {
    let mut sums = [one(&exact_sum(), true), one(&exact_sum(), true)];
    let columns = [vec![Some(0.1), Some(0.2), None, Some(0.1)], vec![Some(0.2), Some(1e300), Some(-1e300)]];
    for (sum, column) in sums.iter_mut().zip(columns) {
        sum.update_batch(&[Arc::new(Float64Array::from(column)) as ArrayRef]).unwrap();
    }
    let state = sums[1].state().unwrap().remove(0).to_array().unwrap();
    sums[0].merge_batch(&[state]).unwrap();
    let expected = sum_of(&[0.1, 0.2]).encode();
    assert_eq!(sent(&sums[0].evaluate().unwrap().to_array().unwrap()), [Some(expected)]);
}

#[test]
fn a_forged_sum_fails_the_query() {
    let forged: ArrayRef = Arc::new(BinaryArray::from(vec![[9_u8, 9, 9].as_slice()]));
    assert!(one(&united_sums(), false).update_batch(&[Arc::clone(&forged)]).is_err());
    assert!(groups(&united_sums()).update_batch(&[forged], &[0], None, 1).is_err());
}
