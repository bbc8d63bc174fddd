//! `dynamos_minimum_met(entities, n)`: true if a group's entities reach the minimum; otherwise an error, for clauses that
//! say `ELSE FAIL`. `ELSE DROP` needs no function of its own: it is a comparison.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// Begins the text of the error by which a site tells that a minimum under FAIL was not reached.
pub const MINIMUM_FAILED: &str = "a group is below the agreed minimum";

/// The function as a value that can be called in a plan. Volatile, so that no rewrite moves or repeats it.
pub fn minimum_met() -> ScalarUDF {
    let signature = Signature::exact(vec![DataType::Int64, DataType::Int64], Volatility::Volatile);
    ScalarUDF::from(MinimumMet { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MinimumMet {
    signature: Signature,
}

impl ScalarUDFImpl for MinimumMet {
    fn name(&self) -> &str {
        "dynamos_minimum_met"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [entities, minimums] = arrays.as_slice() else {
            return exec_err!("`dynamos_minimum_met` takes two arguments");
        };
        let minimums = minimums.as_primitive::<Int64Type>();
        let below = entities.as_primitive::<Int64Type>().iter().zip(minimums.iter()).any(|(have, need)| have < need);
        if below {
            return exec_err!("{MINIMUM_FAILED}");
        }
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(vec![true; entities.len()]))))
    }
}
