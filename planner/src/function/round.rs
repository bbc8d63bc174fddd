//! `dynamos_round_to(value)`: the nearest multiple of a step, half away from zero, in the value's own type. Where the type
//! cannot hold every multiple of the step (2.5 among whole numbers), the step is the smallest multiple of it that the type
//! can hold, so that what is given is a multiple of the step all the same. Where the nearest multiple is beyond the
//! type's last number, it is the one before.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Float64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// A step above 0: `units` / 10^`scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Its digits.
    pub units: i128,
    /// How many of them stand after the point; at most 32.
    pub scale: u32,
}

impl Step {
    /// The smallest multiple of the step that a number with `scale` digits after the point can be, in units of its last
    /// digit.
    fn at(self, scale: i8) -> Option<i128> {
        let more = i64::from(scale) - i64::from(self.scale);
        let places = u32::try_from(more.unsigned_abs()).ok()?;
        if more >= 0 {
            // Of a step above all numbers only the multiple 0 fits, however large the step is.
            return Some(self.units.saturating_mul(10_i128.saturating_pow(places)));
        }
        self.units.checked_div(divisor(self.units, 10_i128.checked_pow(places)?))
    }
}

/// The greatest common divisor of two numbers above 0.
fn divisor(one: i128, other: i128) -> i128 {
    let (mut one, mut other) = (one, other);
    while other != 0 {
        (one, other) = (other, one.checked_rem(other).unwrap_or(0));
    }
    one
}

/// The function as a value that can be called in a plan.
pub fn rounded_to(step: Step) -> ScalarUDF {
    ScalarUDF::from(RoundTo { signature: Signature::any(1, Volatility::Immutable), step })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RoundTo {
    signature: Signature,
    step: Step,
}

impl ScalarUDFImpl for RoundTo {
    fn name(&self) -> &str {
        "dynamos_round_to"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [kind] if kind.is_numeric() && !matches!(kind, DataType::Decimal256(..)) => Ok(kind.clone()),
            other => plan_err!("`ROUND TO` is not available for {other:?}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [values] = arrays.as_slice() else { return exec_err!("`dynamos_round_to` takes one argument") };
        Ok(ColumnarValue::Array(self.rounded(values)?))
    }
}

impl RoundTo {
    fn rounded(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let kind = values.data_type();
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let rounded: ArrayRef = if kind.is_floating() {
            let values = cast_with_options(values, &DataType::Float64, &options)?;
            let (values, greatest) = (values.as_primitive::<Float64Type>(), greatest(kind));
            let rounded = values.iter().map(|value| value.map(|value| self.float(value, greatest)));
            Arc::new(rounded.collect::<Float64Array>())
        } else {
            let scale = match kind {
                DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
                    *scale
                }
                _ => 0,
            };
            let limits = limits(kind);
            let wide = DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale);
            let values = cast_with_options(values, &wide, &options)?;
            let values = values
                .as_primitive::<Decimal128Type>()
                .iter()
                .map(|value| value.map(|value| self.units(value, scale, &limits)).transpose());
            let rounded = values.collect::<Result<Decimal128Array>>()?;
            Arc::new(rounded.with_precision_and_scale(DECIMAL128_MAX_PRECISION, scale)?)
        };
        Ok(cast_with_options(&rounded, kind, &options)?)
    }

    /// The nearest multiple up to `greatest`. A number of which there is none, such as an infinite one, stays as it is.
    fn float(&self, value: f64, greatest: f64) -> f64 {
        let (units, power) = (self.step.units as f64, 10_f64.powi(i32::try_from(self.step.scale).unwrap_or(i32::MAX)));
        let steps = value * power / units;
        // No sign on a zero.
        let multiples = [steps.round(), steps.trunc()].map(|steps| steps * units / power + 0.0);
        multiples.into_iter().find(|multiple| multiple.abs() <= greatest).unwrap_or(value)
    }

    /// The nearest multiple, or the one towards zero where the nearest is beyond the limits.
    fn units(&self, value: i128, scale: i8, limits: &RangeInclusive<i128>) -> Result<i128> {
        let rounded = self.step.at(scale).and_then(|step| {
            let over = value.checked_rem(step)?;
            let below = value.checked_sub(over)?;
            if over.checked_abs()? < step.checked_sub(over.checked_abs()?)? {
                return Some(below);
            }
            let away = step.checked_mul(over.signum()).and_then(|step| below.checked_add(step));
            Some(away.filter(|away| limits.contains(away)).unwrap_or(below))
        });
        match rounded {
            Some(rounded) => Ok(rounded),
            None => exec_err!("a number is too large to be rounded"),
        }
    }
}

/// The greatest number of a type of floats.
fn greatest(kind: &DataType) -> f64 {
    match kind {
        DataType::Float16 => 65_504.0,
        DataType::Float32 => f64::from(f32::MAX),
        _ => f64::MAX,
    }
}

/// The least and the greatest number of any other type, in units of its last digit.
fn limits(kind: &DataType) -> RangeInclusive<i128> {
    match kind {
        DataType::Int8 => i128::from(i8::MIN)..=i128::from(i8::MAX),
        DataType::Int16 => i128::from(i16::MIN)..=i128::from(i16::MAX),
        DataType::Int32 => i128::from(i32::MIN)..=i128::from(i32::MAX),
        DataType::Int64 => i128::from(i64::MIN)..=i128::from(i64::MAX),
        DataType::UInt8 => 0..=i128::from(u8::MAX),
        DataType::UInt16 => 0..=i128::from(u16::MAX),
        DataType::UInt32 => 0..=i128::from(u32::MAX),
        DataType::UInt64 => 0..=i128::from(u64::MAX),
        DataType::Decimal32(precision, _) | DataType::Decimal64(precision, _) | DataType::Decimal128(precision, _) => {
            let greatest = 10_i128.saturating_pow(u32::from(*precision)).saturating_sub(1);
            -greatest..=greatest
        }
        _ => i128::MIN..=i128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Float32Array, Int8Array, Int64Array, UInt64Array};
    use arrow::datatypes::{Float32Type, Int8Type, Int64Type, UInt64Type};

    use super::*;

    fn rounded(units: i128, scale: u32, values: ArrayRef) -> ArrayRef {
        let kind = values.data_type().clone();
        let signature = Signature::any(1, Volatility::Immutable);
        let found = RoundTo { signature, step: Step { units, scale } }.rounded(&values).unwrap();
        assert_eq!(*found.data_type(), kind);
        found
    }

    fn whole(units: i128, scale: u32, values: &[i64]) -> Vec<i64> {
        let found = rounded(units, scale, Arc::new(Int64Array::from(values.to_vec())));
        found.as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn b8_round_is_to_the_nearest_multiple_half_away_from_zero() {
        assert_eq!(whole(5, 0, &[0, 2, 3, 7, 8, -2, -3, 12]), [0, 0, 5, 5, 10, 0, -5, 10]);
        assert_eq!(whole(10, 0, &[4, 5, 14, 15, -5, -15, -4]), [0, 10, 10, 20, -10, -20, 0]);
        assert_eq!(whole(1, 0, &[7]), [7]);
    }

    #[test]
    fn b8_round_keeps_the_type_and_gives_multiples_in_it() {
        // Multiples of 2.5 and of 0.3 that are whole.
        assert_eq!(whole(25, 1, &[2, 3, 7, 8]), [0, 5, 5, 10]);
        assert_eq!(whole(3, 1, &[1, 2, 4]), [0, 3, 3]);
        assert_eq!(whole(5, 1, &[1, 2]), [1, 2]);
        let unsigned = rounded(10, 0, Arc::new(UInt64Array::from(vec![Some(u64::MAX - 6), None])));
        assert_eq!(unsigned.as_primitive::<UInt64Type>().value(0), u64::MAX - 5);
        assert!(unsigned.is_null(1));
        let decimals = Decimal128Array::from(vec![125, -125, 124, 10]).with_precision_and_scale(5, 2).unwrap();
        let found = rounded(5, 1, Arc::new(decimals));
        assert_eq!(found.as_primitive::<Decimal128Type>().values().to_vec(), [150, -150, 100, 0]);
        // A step finer than the type's last digit.
        let decimals = Decimal128Array::from(vec![1, 2, 5]).with_precision_and_scale(5, 1).unwrap();
        let found = rounded(25, 2, Arc::new(decimals));
        assert_eq!(found.as_primitive::<Decimal128Type>().values().to_vec(), [0, 0, 5]);
        let floats = rounded(5, 1, Arc::new(Float64Array::from(vec![1.25, -1.25, 1.24, -0.1, f64::INFINITY])));
        let floats = floats.as_primitive::<Float64Type>().values().to_vec();
        assert_eq!(floats, [1.5, -1.5, 1.0, 0.0, f64::INFINITY]);
        assert!(floats[3].is_sign_positive());
    }

    #[test]
    fn b8_what_would_not_fit_its_type_is_the_multiple_before() {
        let small = rounded(10, 0, Arc::new(Int8Array::from(vec![127, -128, 124, -126, 115])));
        assert_eq!(small.as_primitive::<Int8Type>().values().to_vec(), [120, -120, 120, -120, 120]);
        let small = rounded(200, 0, Arc::new(Int8Array::from(vec![-128, 127, 50])));
        assert_eq!(small.as_primitive::<Int8Type>().values().to_vec(), [0, 0, 0]);
        let unsigned = rounded(10, 0, Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX - 6])));
        assert_eq!(unsigned.as_primitive::<UInt64Type>().values().to_vec(), [u64::MAX - 5, u64::MAX - 5]);
        let large = rounded(10, 0, Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN])));
        assert_eq!(large.as_primitive::<Int64Type>().values().to_vec(), [i64::MAX - 7, i64::MIN + 8]);
        // 99.99, to 5; and the widest numbers that there are.
        let decimals = Decimal128Array::from(vec![9999, -9999, 9750, 9749]).with_precision_and_scale(4, 2).unwrap();
        let found = rounded(5, 0, Arc::new(decimals));
        assert_eq!(found.as_primitive::<Decimal128Type>().values().to_vec(), [9500, -9500, 9500, 9500]);
        let greatest = 10_i128.pow(38) - 1;
        let decimals = Decimal128Array::from(vec![greatest, -greatest]).with_precision_and_scale(38, 0).unwrap();
        let step = 9 * 10_i128.pow(37);
        let found = rounded(step, 0, Arc::new(decimals.clone()));
        assert_eq!(found.as_primitive::<Decimal128Type>().values().to_vec(), [step, -step]);
        // A step above all numbers of the type, and of any.
        for places in [30, 38] {
            let decimals = decimals.clone().with_precision_and_scale(38, places).unwrap();
            let found = rounded(10_i128.pow(20), 0, Arc::new(decimals));
            assert_eq!(found.as_primitive::<Decimal128Type>().values().to_vec(), [0, 0], "{places}");
        }
        let floats = rounded(step, 0, Arc::new(Float32Array::from(vec![f32::MAX, f32::MIN, 1.0])));
        let floats = floats.as_primitive::<Float32Type>().values().to_vec();
        assert_eq!(floats, [2.7e38, -2.7e38, 0.0]);
        let floats = rounded(5, 0, Arc::new(Float64Array::from(vec![f64::MAX, f64::NEG_INFINITY, f64::NAN])));
        let floats = floats.as_primitive::<Float64Type>().values().to_vec();
        assert!(floats[0].is_finite() && floats[1] == f64::NEG_INFINITY && floats[2].is_nan(), "{floats:?}");
    }
}
