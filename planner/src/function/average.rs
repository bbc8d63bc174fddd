//! `dynamos_average(sum, count)`: the average that belongs to a sum and a count. Of decimals it is what the engine's `avg`
//! gives over the same rows, of an exact sum of doubles the quotient rounded once. Averages are merged from sums and counts
//! only; an average of averages does not exist here.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Decimal128Array, Float64Array, PrimitiveArray};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::exact_sum::{EXACT_SUM, decoded};

/// The function as a value that can be called in a plan.
pub fn average_of() -> ScalarUDF {
    ScalarUDF::from(AverageOf { signature: Signature::new(TypeSignature::Any(2), Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AverageOf {
    signature: Signature,
}

impl ScalarUDFImpl for AverageOf {
    fn name(&self) -> &str {
        "dynamos_average"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Float64 | EXACT_SUM, DataType::Int64] => Ok(DataType::Float64),
            // `avg` of decimal(p, s) has type (p + 4, s + 4) and `sum` (p + 10, s).
            [DataType::Decimal128(precision, scale), DataType::Int64] => {
                let argument_precision = precision.saturating_sub(10);
                Ok(DataType::Decimal128((argument_precision + 4).min(DECIMAL128_MAX_PRECISION), (scale + 4).min(38)))
            }
            other => plan_err!("`dynamos_average` takes a sum and a count, not {other:?}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let target = arguments.return_type().clone();
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [sums, counts] = arrays.as_slice() else {
            return exec_err!("`dynamos_average` takes two arguments");
        };
        let counts = counts.as_primitive::<Int64Type>();
        let averages: ArrayRef = match (sums.data_type(), &target) {
            (DataType::Float64, _) => Arc::new(float(sums.as_primitive::<Float64Type>(), counts)),
            (&EXACT_SUM, _) => Arc::new(exact(sums.as_binary(), counts)?),
            (DataType::Decimal128(_, from), DataType::Decimal128(precision, to)) => {
                let values = decimal(sums.as_primitive::<Decimal128Type>(), counts, i32::from(*to) - i32::from(*from))?;
                Arc::new(values.with_precision_and_scale(*precision, *to)?)
            }
            (other, _) => return exec_err!("`dynamos_average` has no average for {other}"),
        };
        Ok(ColumnarValue::Array(averages))
    }
}

fn float(sums: &Float64Array, counts: &PrimitiveArray<Int64Type>) -> Float64Array {
    pairs(sums.iter(), counts).map(|pair| pair.map(|(sum, count)| sum / count as f64)).collect()
}

fn exact(sums: &BinaryArray, counts: &PrimitiveArray<Int64Type>) -> Result<Float64Array> {
    let averages = pairs(sums.iter(), counts).map(|pair| {
        let Some((sum, count)) = pair else { return Ok(None) };
        Ok(Some(decoded(sum)?.average(count.unsigned_abs())))
    });
    averages.collect()
}

fn decimal(sums: &Decimal128Array, counts: &PrimitiveArray<Int64Type>, shift: i32) -> Result<Decimal128Array> {
    let Some(factor) = u32::try_from(shift).ok().and_then(|shift| 10_i128.checked_pow(shift)) else {
        return exec_err!("`dynamos_average` cannot scale a decimal by {shift} digits");
    };
    pairs(sums.iter(), counts)
        .map(|pair| {
            let Some((sum, count)) = pair else { return Ok(None) };
            match sum.checked_mul(factor) {
                Some(scaled) => Ok(Some(scaled / i128::from(count))),
                None => exec_err!("an average overflows its decimal type"),
            }
        })
        .collect()
}

/// Sum and count side by side; none where there is nothing to average.
fn pairs<T>(
    sums: impl Iterator<Item = Option<T>>,
    counts: &PrimitiveArray<Int64Type>,
) -> impl Iterator<Item = Option<(T, i64)>> {
    sums.zip(counts.iter()).map(|(sum, count)| match (sum, count) {
        (Some(sum), Some(count)) if count > 0 => Some((sum, count)),
        (Some(_) | None, Some(_) | None) => None,
    })
}
