//! What the federation consists of, as one immutable snapshot: places, their tables with coarse statistics, and the
//! federated tables over them. Which of it a requester may see is decided by agreements, not here.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use dynamos_proto::ids::SiteId;

use crate::function::KeyDomain;

/// A snapshot of the federation.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Rises with every change.
    pub version: u64,
    /// The places, by name; the coordinator is one of them.
    pub sites: BTreeMap<SiteId, Site>,
    /// Tables that are the union of several stewards' tables.
    pub federated: BTreeMap<TableName, FederatedTable>,
}

/// `schema.table`, as a steward or the federation names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema name.
    pub schema: String,
    /// Table name.
    pub table: String,
}

impl TableName {
    /// The name made of these two parts.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.schema, self.table)
    }
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SiteKind {
    /// Owns tables.
    Steward,
    /// Computes on what stewards let go there.
    Provider,
    /// Plans and relays; trusted with released rows only.
    Coordinator,
}

/// A place and what it publishes.
#[derive(Clone, Debug)]
pub struct Site {
    /// What it is for.
    pub kind: SiteKind,
    /// Role names that `ROLE …` in a SHIP clause matches.
    pub roles: BTreeSet<String>,
    /// Region names that `REGION …` matches, the widest last.
    pub regions: BTreeSet<String>,
    /// Where it listens, as a URI.
    pub uri: String,
    /// Whether it answers now.
    pub availability: Availability,
    /// Its tables.
    pub tables: BTreeMap<TableName, Table>,
}

/// Whether a place can be planned with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It answers.
    Up,
    /// It was there and does not answer.
    Down,
}

/// Columns that are keys whose values lie together: by column the key's name. No value of a key, NULL apart, stands at two
/// stewards, whichever tables and columns it is in.
pub type Colocated = BTreeMap<String, String>;

/// A steward's table as it is published.
#[derive(Clone, Debug)]
pub struct Table {
    /// Column names and types.
    pub schema: SchemaRef,
    /// Coarse statistics.
    pub statistics: TableStatistics,
    /// The entity that its rows describe.
    pub entity: Option<Entity>,
    /// By column the key whose values lie together.
    pub colocated: Colocated,
}

/// The entity key of a relation that describes people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// The key column.
    pub column: String,
    /// Across which places equal values mean the same entity.
    pub scope: EntityScope,
}

/// Where equal entity keys mean the same entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityScope {
    /// Within one steward only.
    Local,
    /// Across the stewards that declare this domain.
    Shared(String),
}

/// Published statistics of a table.
#[derive(Clone, Debug, Default)]
pub struct TableStatistics {
    /// Number of rows.
    pub rows: u64,
    /// By column name; absent where nothing is published.
    pub columns: BTreeMap<String, ColumnStatistics>,
}

/// Published statistics of a column.
#[derive(Clone, Debug, Default)]
pub struct ColumnStatistics {
    /// Number of distinct values.
    pub distinct: Option<u64>,
    /// Number of NULLs.
    pub nulls: Option<u64>,
    /// Lower bound.
    pub min: Option<ScalarValue>,
    /// Upper bound.
    pub max: Option<ScalarValue>,
}

/// The union of several stewards' tables of one name.
#[derive(Clone, Debug)]
pub struct FederatedTable {
    /// The stewards whose tables it unites; fixed and published.
    pub stewards: BTreeSet<SiteId>,
}

/// The column of a federated table that says whose row it is.
pub const STEWARD: &str = "steward";

impl Catalog {
    /// A steward's table.
    pub fn table(&self, site: &SiteId, name: &TableName) -> Option<&Table> {
        self.sites.get(site)?.tables.get(name)
    }

    /// Within what the values of a steward's column mean the same entity; none if it is no entity key.
    pub fn key_domain(&self, site: &SiteId, name: &TableName, column: &str) -> Option<KeyDomain> {
        let entity = self.table(site, name)?.entity.as_ref().filter(|entity| entity.column == column)?;
        Some(match &entity.scope {
            EntityScope::Local => KeyDomain::Local(site.clone()),
            EntityScope::Shared(domain) => KeyDomain::Shared(domain.clone()),
        })
    }
}
