//! `dynamos_fingerprint(entity)`: an entity key of any type as 16 bytes, equal only for equal keys. Short keys are their own
//! fingerprint; of longer ones it is a keyed hash. It stays where it is made: what leaves is hashed once more, see
//! [`mod@super::entities`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryBuilder};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use dynamos_proto::sign::HashKey;

use super::share::HASH_BYTES;

/// The type of a fingerprint.
pub(super) const FINGERPRINT: DataType = DataType::FixedSizeBinary(16);

/// The function as a value that can be called in a plan.
pub fn fingerprint(key: &HashKey) -> ScalarUDF {
    ScalarUDF::from(Fingerprint { signature: Signature::any(1, Volatility::Immutable), key: key.clone() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Fingerprint {
    signature: Signature,
    key: HashKey,
}

impl ScalarUDFImpl for Fingerprint {
    fn name(&self) -> &str {
        "dynamos_fingerprint"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(FINGERPRINT)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [keys] = arrays.as_slice() else { return exec_err!("`dynamos_fingerprint` takes one argument") };
        Ok(ColumnarValue::Array(self.fingerprints(keys)?))
    }
}

impl Fingerprint {
    fn fingerprints(&self, keys: &ArrayRef) -> Result<ArrayRef> {
        let converter = RowConverter::new(vec![SortField::new(keys.data_type().clone())])?;
        let rows = converter.convert_columns(std::slice::from_ref(keys))?;
        let mut found = FixedSizeBinaryBuilder::with_capacity(keys.len(), 16);
        // A NULL inside a dictionary is a NULL, too.
        let nulls = keys.logical_nulls();
        for (index, row) in rows.iter().enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(index)) {
                found.append_null();
            } else {
                found.append_value(self.of(row.as_ref()))?;
            }
        }
        Ok(Arc::new(found.finish()))
    }

    /// The first byte tells keys of each length and hashes apart.
    fn of(&self, key: &[u8]) -> [u8; HASH_BYTES] {
        const HASHED: u8 = u8::MAX;
        let short = u8::try_from(key.len()).ok().filter(|length| usize::from(*length) < HASH_BYTES);
        let hash = self.key.hash(key);
        let (first, rest) = match short {
            Some(length) => (length, key),
            None => (HASHED, hash.as_slice()),
        };
        let mut found = [0; HASH_BYTES];
        for (to, from) in found.iter_mut().zip(std::iter::once(&first).chain(rest)) {
            *to = *from;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{AsArray, Int64Array, StringArray};

    use super::*;

    fn fingerprints(keys: ArrayRef) -> Vec<Option<Vec<u8>>> {
        let signature = Signature::any(1, Volatility::Immutable);
        let function = Fingerprint { signature, key: HashKey::from_bytes([7; 32]) };
        let found = function.fingerprints(&keys).unwrap();
        found.as_fixed_size_binary().iter().map(|one| one.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn equal_keys_and_no_others_have_one_fingerprint() {
        let numbers = fingerprints(Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(1), Some(-1)])));
        assert_eq!(numbers[0], numbers[3]);
        assert_eq!(numbers[2], None, "a NULL key counts for nobody");
        assert_eq!(numbers.iter().flatten().collect::<BTreeSet<_>>().len(), 3);
        let long = "x".repeat(40);
        let texts = ["", "a", "b", "a\0", &long, &format!("{long}y"), "0123456", "01234567", "012345678"];
        let found = fingerprints(Arc::new(StringArray::from(texts.to_vec())));
        assert_eq!(found.iter().flatten().collect::<BTreeSet<_>>().len(), texts.len());
    }
}
