//! The boundary between the Flight SQL door and everything behind it. The door knows the protocol, the engine knows
//! SQL, agreements and sites; neither sees the other's types beyond these. No implementation lives here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use dynamos_proto::status::ServiceError;
use tokio_util::sync::CancellationToken;

/// Who a verified token speaks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name, as the token states it.
    pub user: String,
    /// The organisation that the user acts for.
    pub organisation: String,
    /// The roles the user holds there.
    pub roles: Vec<String>,
    /// The purposes the user may state for a query.
    pub purposes: Vec<String>,
    /// The signed token itself, to be shown to sites. Never logged.
    pub token: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Identity")
            .field("user", &self.user)
            .field("organisation", &self.organisation)
            .field("roles", &self.roles)
            .field("purposes", &self.purposes)
            .finish_non_exhaustive()
    }
}

/// What a session has been told so far: `purpose`, `placement`, `agreement`, `catalog`, `schema`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionSettings {
    /// Option name to text; an option that is not set is absent.
    pub options: BTreeMap<String, String>,
}

/// On whose behalf, and under which settings, a statement is prepared or run.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who asks.
    pub identity: Arc<Identity>,
    /// The settings of the session at the moment the statement was handed in.
    pub settings: SessionSettings,
    /// Fires when a query that runs for it is to end, whether or not anybody reads the rows.
    pub cancel: CancellationToken,
}

/// Whether a statement answers with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// It answers with rows and has no effect of its own.
    Query,
    /// It has an effect and no rows: DDL, DML, `SET`.
    Update,
}

/// What is known about a statement before it runs.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The columns of the result; zero fields for statements without a result.
    pub schema: SchemaRef,
    /// One field per parameter `$1`, `$2`, …, in order; type `Null` where the type is unknown.
    pub parameters: SchemaRef,
    /// Rows or effect.
    pub kind: StatementKind,
}

/// By steward whether it released any group of an answer, where each decides about its own. The engine tells it when the rows
/// have all been made, and never if they could not be.
#[derive(Clone, Debug, Default)]
pub struct ReleasedBy(Arc<OnceLock<BTreeMap<String, bool>>>);

impl ReleasedBy {
    /// Tells it. What was told first stands.
    pub fn tell(&self, released: BTreeMap<String, bool>) {
        self.0.get_or_init(|| released);
    }

    /// What was told; none if nothing was, or if no steward decided about its own groups.
    pub fn told(&self) -> Option<&BTreeMap<String, bool>> {
        self.0.get().filter(|released| !released.is_empty())
    }
}

/// What running a statement gave.
pub enum Outcome {
    /// Rows, still being made. Dropping the stream stops the query.
    Rows {
        /// The id under which traces and audit know the query.
        query_id: String,
        /// The columns of the stream.
        schema: SchemaRef,
        /// The rows.
        stream: SendableRecordBatchStream,
        /// Whose groups are among them; told by the end of the stream.
        released: ReleasedBy,
    },
    /// An effect; the count is -1 where it is unknown.
    Done {
        /// Rows that were changed.
        rows_affected: i64,
    },
    /// A `SET` (with a value) or `RESET` (without) for the caller's session, which the door keeps.
    Set {
        /// The option.
        name: String,
        /// Its new value, or none to forget it.
        value: Option<String>,
    },
}

/// What sort of table a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableKind {
    /// Rows that sites hold.
    Table,
    /// A named query.
    View,
    /// The system's own tables.
    SystemTable,
}

impl TableKind {
    /// Every kind, in the order of their names.
    pub const ALL: [Self; 3] = [Self::SystemTable, Self::Table, Self::View];

    /// The name that clients know the kind by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
            Self::SystemTable => "SYSTEM TABLE",
        }
    }
}

/// One table as the catalog shows it to one caller.
#[derive(Clone, Debug)]
pub struct TableInfo {
    /// The catalog, where there is one.
    pub catalog: Option<String>,
    /// The schema.
    pub schema: String,
    /// The table's own name.
    pub table: String,
    /// What it is.
    pub kind: TableKind,
    /// Its columns, only those the caller may know of.
    pub columns: SchemaRef,
}

/// What stands behind the door.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Verifies a token. The errors say that it is wrong, never why in a way that helps to forge one.
    fn authenticate(&self, token: &str) -> Result<Identity, ServiceError>;

    /// Describes a statement without running it and without any effect.
    async fn prepare(&self, caller: &Caller, sql: &str) -> Result<Prepared, ServiceError>;

    /// Runs a statement once. Parameters are `$1`, `$2`, … in `sql`.
    async fn run(&self, caller: &Caller, sql: &str, parameters: Vec<ScalarValue>) -> Result<Outcome, ServiceError>;

    /// Whether the caller's session may have this value of an option; refused where `SET` would refuse it.
    fn check_option(&self, caller: &Caller, name: &str, value: &str) -> Result<(), ServiceError>;

    /// The tables that the caller may know to exist.
    fn tables(&self, caller: &Caller) -> Result<Vec<TableInfo>, ServiceError>;
}
