//! `dynamos_hash_key(domain, key)`: an entity key as 16 bytes that tell nothing of it but whether it is the same key of the
//! same domain. It is HMAC-SHA-256, cut, under a key that only stewards have and for one query only. In a plan the function
//! has no key: the site that runs it puts its own in, see [`hash_key_under`].

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::HashKey;

use super::share::HASH_BYTES;

/// The function's name.
pub const HASH_KEY: &str = "dynamos_hash_key";
/// The type of a hashed key.
const HASHED: DataType = DataType::FixedSizeBinary(16);
/// All integers fit.
const WHOLE: DataType = DataType::Decimal128(20, 0);

/// Within what equal keys mean the same entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyDomain {
    /// One steward.
    Local(SiteId),
    /// The stewards that declare this domain.
    Shared(String),
}

const LOCAL: &str = "LOCAL ";
const SHARED: &str = "SHARED ";

impl KeyDomain {
    /// The domain that a text of a plan says.
    pub fn parse(text: &str) -> Option<Self> {
        let local = text.strip_prefix(LOCAL).map(|steward| Self::Local(SiteId::new(steward)));
        local.or_else(|| text.strip_prefix(SHARED).map(|domain| Self::Shared(domain.to_owned())))
    }

    /// Whether keys of several stewards can be equal in it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

impl fmt::Display for KeyDomain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(steward) => write!(out, "{LOCAL}{steward}"),
            Self::Shared(domain) => write!(out, "{SHARED}{domain}"),
        }
    }
}

/// The kinds of keys that can be hashed. Values of one kind are equal whatever their width or layout is, and have one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Whole numbers.
    Whole,
    /// Texts.
    Text,
}

impl KeyKind {
    /// The kind of a type; none if its values cannot be hashed.
    pub fn of(kind: &DataType) -> Option<Self> {
        match kind {
            kind if kind.is_integer() => Some(Self::Whole),
            kind if kind.is_string() => Some(Self::Text),
            _ => None,
        }
    }
}

/// The keys under which a site hashes in one query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HashKeys {
    /// For keys of its own domain: nobody else ever has it.
    pub own: HashKey,
    /// For keys of shared domains: the same at all stewards that hash such keys in the query.
    pub shared: Option<HashKey>,
}

/// The function as it is resolved and sent; it cannot be run.
pub fn hash_key() -> ScalarUDF {
    with_keys(None)
}

/// The function as a site runs it.
pub fn hash_key_under(keys: &HashKeys) -> ScalarUDF {
    with_keys(Some(keys.clone()))
}

fn with_keys(keys: Option<HashKeys>) -> ScalarUDF {
    ScalarUDF::from(HashKeyOf { signature: Signature::any(2, Volatility::Immutable), keys })
}

/// The call that hashes `key`.
pub fn hash_of(domain: &KeyDomain, key: Expr) -> Expr {
    hash_key().call(vec![lit(domain.to_string()), key])
}

/// What a call hashes, and in which domain; none if the expression is no such call, or one that names no domain.
pub fn hashed(expr: &Expr) -> Option<(KeyDomain, &Expr)> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    let [Expr::Literal(domain, _), key] = args.as_slice() else { return None };
    let domain = (func.name() == HASH_KEY).then(|| domain.try_as_str()).flatten().flatten()?;
    Some((KeyDomain::parse(domain)?, key))
}

/// Whether an expression hashes something anywhere, well or not.
pub fn holds_hash(expr: &Expr) -> bool {
    expr.exists(|node| Ok(is_call(node))).unwrap_or(true)
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == HASH_KEY)
}

/// Every call in a plan, however deep.
pub fn hashes_in(plan: &LogicalPlan) -> Vec<Expr> {
    let mut found = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if is_call(part) {
                    found.push(part.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    debug_assert!(walked.is_ok(), "the visitor does not fail");
    found
}

/// The plan with these keys in every call.
pub fn under_keys(plan: LogicalPlan, keys: &HashKeys) -> Result<LogicalPlan> {
    let function = Arc::new(hash_key_under(keys));
    let keyed = |expr: Expr| {
        expr.transform_up(|part| match part {
            Expr::ScalarFunction(call) if call.func.name() == HASH_KEY => {
                let call = ScalarFunction { func: Arc::clone(&function), args: call.args };
                Ok(Transformed::yes(Expr::ScalarFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        })
    };
    Ok(plan.transform_up(|node| node.map_expressions(keyed))?.data)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HashKeyOf {
    signature: Signature,
    keys: Option<HashKeys>,
}

impl ScalarUDFImpl for HashKeyOf {
    fn name(&self) -> &str {
        HASH_KEY
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [domain, key] if domain.is_string() && KeyKind::of(key).is_some() => Ok(HASHED),
            other => plan_err!("`hash` is available for keys that are whole numbers or texts, not for {other:?}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(keys) = &self.keys else { return exec_err!("keys are hashed by their stewards' sites only") };
        let domain = match arguments.args.first() {
            Some(ColumnarValue::Scalar(domain)) => domain_of(domain),
            _ => None,
        };
        let Some(domain) = domain else { return exec_err!("`{HASH_KEY}` names no domain of keys") };
        let key = if domain.is_shared() { keys.shared.as_ref() } else { Some(&keys.own) };
        let Some(key) = key else { return exec_err!("the stewards share no key to hash under") };
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [_, values] = arrays.as_slice() else { return exec_err!("`{HASH_KEY}` takes two arguments") };
        Ok(ColumnarValue::Array(hashes(key, &domain, values)?))
    }
}

fn domain_of(value: &ScalarValue) -> Option<KeyDomain> {
    KeyDomain::parse(value.try_as_str().flatten()?)
}

/// The hash of each value; of NULL there is none.
fn hashes(key: &HashKey, domain: &KeyDomain, values: &ArrayRef) -> Result<ArrayRef> {
    let mut found = FixedSizeBinaryBuilder::with_capacity(values.len(), HASHED_BYTES);
    let mut encoding = Encoding::new(domain);
    match KeyKind::of(values.data_type()) {
        Some(KeyKind::Whole) => {
            for value in cast(values, &WHOLE)?.as_primitive::<Decimal128Type>() {
                append(&mut found, value.map(|value| key.hash(encoding.of(WHOLE_TAG, &value.to_be_bytes()))))?;
            }
        }
        Some(KeyKind::Text) => {
            for value in cast(values, &DataType::LargeUtf8)?.as_string::<i64>() {
                append(&mut found, value.map(|value| key.hash(encoding.of(TEXT_TAG, value.as_bytes()))))?;
            }
        }
        None => return exec_err!("a key of type {} cannot be hashed", values.data_type()),
    }
    Ok(Arc::new(found.finish()))
}

const HASHED_BYTES: i32 = 16;
const WHOLE_TAG: u8 = 1;
const TEXT_TAG: u8 = 2;

fn append(found: &mut FixedSizeBinaryBuilder, hash: Option<[u8; HASH_BYTES]>) -> Result<()> {
    match hash {
        Some(hash) => Ok(found.append_value(hash)?),
        None => {
            found.append_null();
            Ok(())
        }
    }
}

/// What is hashed of a key: its domain with its length before it, its kind, its value. No two pairs have one encoding.
struct Encoding {
    bytes: Vec<u8>,
    domain: usize,
}

impl Encoding {
    fn new(domain: &KeyDomain) -> Self {
        let domain = domain.to_string();
        let mut bytes = (domain.len() as u64).to_be_bytes().to_vec();
        bytes.extend_from_slice(domain.as_bytes());
        Self { domain: bytes.len(), bytes }
    }

    fn of(&mut self, kind: u8, value: &[u8]) -> &[u8] {
        self.bytes.truncate(self.domain);
        self.bytes.push(kind);
        self.bytes.extend_from_slice(value);
        &self.bytes
    }
}

#[cfg(test)]
#[path = "hash_key_tests.rs"]
mod tests;
