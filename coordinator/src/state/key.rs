//! [`RowKey`]: by what a row is found, and its order among all rows.

use dynamos_proto::state::Row;
use dynamos_proto::state::row::Row as Kind;

/// The bytes by which a row is stored: its kind, then each name with its length before it, so that no two rows share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey(Vec<u8>);

impl RowKey {
    /// The key of a row; none if the row is empty.
    pub fn of(row: &Row) -> Option<Self> {
        Some(match row.row.as_ref()? {
            Kind::Agreement(one) => Self::agreement(&one.steward, &one.name),
            Kind::Place(one) => Self::place(&one.site),
            Kind::Organisation(one) => Self::new(3, &[one.name.as_bytes()]),
            Kind::Done(one) => Self::done(&one.request),
        })
    }

    /// The key of an agreement.
    pub fn agreement(steward: &str, name: &str) -> Self {
        Self::new(1, &[steward.as_bytes(), name.as_bytes()])
    }

    /// The key of a place.
    pub fn place(site: &str) -> Self {
        Self::new(2, &[site.as_bytes()])
    }

    /// The key of a request that was carried out.
    pub(super) fn done(request: &[u8]) -> Self {
        Self::new(4, &[request])
    }

    /// As bytes, which are in the same order.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn new(kind: u8, parts: &[&[u8]]) -> Self {
        let mut bytes = vec![kind];
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }
}
