//! What a hashed key tells and what it does not.

use std::collections::BTreeSet;

use arrow::array::{Int32Array, Int64Array, LargeStringArray, StringArray, StringViewArray, UInt64Array};
use datafusion::prelude::col;

use super::*;

fn keys(byte: u8) -> HashKeys {
    HashKeys { own: HashKey::from_bytes([byte; 32]), shared: Some(HashKey::from_bytes([byte + 1; 32])) }
}

fn shared(domain: &str) -> KeyDomain {
    KeyDomain::Shared(domain.into())
}

fn hashed_values(key: u8, domain: &KeyDomain, values: ArrayRef) -> Vec<Option<Vec<u8>>> {
    let found = hashes(&HashKey::from_bytes([key; 32]), domain, &values).unwrap();
    found.as_fixed_size_binary().iter().map(|one| one.map(<[u8]>::to_vec)).collect()
}

#[test]
fn d3_equal_keys_of_one_domain_have_one_hash_whatever_their_type_is() {
    let people = shared("people");
    let narrow = hashed_values(1, &people, Arc::new(Int32Array::from(vec![Some(7), None, Some(-7)])));
    let wide = hashed_values(1, &people, Arc::new(Int64Array::from(vec![Some(7), None, Some(-7)])));
    let unsigned = hashed_values(1, &people, Arc::new(UInt64Array::from(vec![7, u64::MAX])));
    assert_eq!(narrow, wide);
    assert_eq!(unsigned[0], wide[0]);
    assert_eq!(wide[1], None, "NULL stays NULL");
    let texts = ["7", "", "é"].to_vec();
    let plain = hashed_values(1, &people, Arc::new(StringArray::from(texts.clone())));
    assert_eq!(plain, hashed_values(1, &people, Arc::new(LargeStringArray::from(texts.clone()))));
    assert_eq!(plain, hashed_values(1, &people, Arc::new(StringViewArray::from(texts))));
    assert_ne!(plain[0], wide[0], "a text is no number");
    assert!(wide.iter().flatten().all(|hash| hash.len() == 16));
}

#[test]
fn d3_keys_of_other_domains_or_queries_have_other_hashes() {
    let value = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    // Where the domain ends and the value begins is told apart, too.
    let moved = hashed_values(1, &shared("peoplex"), Arc::new(StringArray::from(vec![""])));
    let mut all: BTreeSet<_> = [
        shared("people"),
        shared("cars"),
        shared("a"),
        KeyDomain::Local("a".into()),
        KeyDomain::Local("b".into()),
        KeyDomain::Local("people".into()),
    ]
    .iter()
    .map(|domain| hashed_values(1, domain, value()).remove(0))
    .collect();
    all.extend(moved);
    all.insert(hashed_values(2, &shared("people"), value()).remove(0));
    assert_eq!(all.len(), 8);
}

#[test]
fn a_hash_is_hmac_sha_256_of_the_encoding_cut_to_128_bits() {
    let key = HashKey::from_bytes([5; 32]);
    let encoding = [&13_u64.to_be_bytes()[..], b"SHARED people", &[2], b"x"].concat();
    let found = hashed_values(5, &shared("people"), Arc::new(StringArray::from(vec!["x"])));
    assert_eq!(found, [Some(key.hash(&encoding).to_vec())]);
    let encoding = [&9_u64.to_be_bytes()[..], b"LOCAL uva", &[1], &7_i128.to_be_bytes()].concat();
    let found = hashed_values(5, &KeyDomain::Local("uva".into()), Arc::new(Int64Array::from(vec![7])));
    assert_eq!(found, [Some(key.hash(&encoding).to_vec())]);
}

#[test]
fn a_domain_is_read_as_it_is_written() {
    for domain in [shared("people"), shared("LOCAL a"), KeyDomain::Local("SHARED x".into())] {
        assert_eq!(KeyDomain::parse(&domain.to_string()), Some(domain));
    }
    assert_eq!(KeyDomain::parse("people"), None);
    let call = hash_of(&shared("people"), col("k"));
    assert_eq!(hashed(&call), Some((shared("people"), &col("k"))));
    assert_eq!(hashed(&hash_key().call(vec![lit("people"), col("k")])), None);
    assert_eq!(hashed(&hash_key().call(vec![col("d"), col("k")])), None);
    assert!(holds_hash(&hash_key().call(vec![col("d"), col("k")]).is_null()));
}

#[test]
fn only_a_site_with_keys_hashes_and_numbers_with_fractions_cannot_be() {
    let call = |function: ScalarUDF, domain: &str| {
        let number_rows = 1;
        let args = vec![
            ColumnarValue::Scalar(ScalarValue::from(domain)),
            ColumnarValue::Array(Arc::new(Int64Array::from(vec![7]))),
        ];
        let fields = [DataType::Utf8, DataType::Int64]
            .map(|kind| Arc::new(arrow::datatypes::Field::new("a", kind, true)))
            .to_vec();
        let return_field = Arc::new(arrow::datatypes::Field::new("r", HASHED, true));
        function.invoke_with_args(ScalarFunctionArgs {
            args,
            arg_fields: fields,
            number_rows,
            return_field,
            config_options: Arc::default(),
        })
    };
    assert!(call(hash_key(), "SHARED people").is_err());
    assert!(call(hash_key_under(&keys(1)), "SHARED people").is_ok());
    assert!(call(hash_key_under(&keys(1)), "people").is_err());
    let alone = HashKeys { shared: None, ..keys(1) };
    assert!(call(hash_key_under(&alone), "SHARED people").is_err());
    assert!(call(hash_key_under(&alone), "LOCAL uva").is_ok());
    for kind in [DataType::Float64, DataType::Date32, DataType::Boolean, DataType::Decimal128(10, 2)] {
        assert!(hash_key().return_type(&[DataType::Utf8, kind.clone()]).is_err(), "{kind}");
    }
}
