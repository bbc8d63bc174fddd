//! What the leaves of a fragment's plan can be, and a table that stands for one where only its schema matters.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, TableReference, not_impl_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, TableScan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use dynamos_proto::ids::{FragmentId, ReleaseId, SiteId};

use crate::bind::VisibleTable;
use crate::fragment::{EXCHANGE, RELEASE};

/// Between the name of a site and the number of a clause.
const CLAUSE: char = '#';

/// A leaf of a fragment's plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// A steward's table, seen through its protected view.
    Table {
        /// The steward.
        site: SiteId,
        /// Schema name.
        schema: String,
        /// Table name; of a join the first of the tables, by name.
        table: String,
        /// The RELEASE ROWS clause whose condition is part of the view, or whose join it is.
        clause: Option<u32>,
    },
    /// Another fragment's output.
    Exchange(FragmentId),
    /// A release point's output.
    Release(ReleaseId),
}

impl Leaf {
    /// The leaf that a table name in a plan stands for; none if it is none of the three forms.
    pub fn from_reference(reference: &TableReference) -> Option<Self> {
        match reference {
            TableReference::Full { catalog, schema, table } => {
                let (site, clause) = match catalog.rsplit_once(CLAUSE) {
                    Some((site, clause)) => (site, Some(clause.parse().ok()?)),
                    None => (catalog.as_ref(), None),
                };
                let (schema, table) = (schema.to_string(), table.to_string());
                Some(Self::Table { site: SiteId::new(site), schema, table, clause })
            }
            TableReference::Partial { schema, table } => match schema.as_ref() {
                EXCHANGE => Some(Self::Exchange(FragmentId(table.strip_prefix('f')?.parse().ok()?))),
                RELEASE => Some(Self::Release(ReleaseId(table.strip_prefix('r')?.parse().ok()?))),
                _ => None,
            },
            TableReference::Bare { .. } => None,
        }
    }

    /// The table name that stands for this leaf in a plan.
    pub fn to_reference(&self) -> TableReference {
        match self {
            Self::Table { site, schema, table, clause } => {
                let clause = clause.map(|clause| format!("{CLAUSE}{clause}")).unwrap_or_default();
                TableReference::full(format!("{site}{clause}"), schema.clone(), table.clone())
            }
            Self::Exchange(id) => TableReference::partial(EXCHANGE, id.to_string()),
            Self::Release(id) => TableReference::partial(RELEASE, id.to_string()),
        }
    }
}

/// What a leaf that is a join calls a column of the table with this number among the joined ones, by name.
pub fn joined_column(table: usize, column: &str) -> String {
    format!("t{table}_{column}")
}

/// The table's number and its column, of such a name.
pub fn joined_parts(name: &str) -> Option<(usize, &str)> {
    let (table, column) = name.strip_prefix('t')?.split_once('_')?;
    Some((table.parse().ok()?, column))
}

/// A table of which only the schema is known: enough to plan, not to scan.
#[derive(Debug)]
pub struct LeafTable {
    schema: SchemaRef,
    visible: Option<VisibleTable>,
}

impl LeafTable {
    /// A table with this schema.
    pub fn new(schema: SchemaRef) -> Arc<Self> {
        Arc::new(Self { schema, visible: None })
    }

    /// A table that SQL was bound to.
    pub fn visible(table: VisibleTable) -> Arc<Self> {
        Arc::new(Self { schema: Arc::clone(&table.schema), visible: Some(table) })
    }

    /// The table that a scan of a bound plan reads; none if it was not bound from SQL.
    pub fn bound_to(scan: &TableScan) -> Option<VisibleTable> {
        let provider = source_as_provider(&scan.source).ok()?;
        provider.downcast_ref::<Self>()?.visible.clone()
    }
}

#[async_trait]
impl TableProvider for LeafTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        not_impl_err!("the planner has schemas, not rows")
    }
}
