//! An engine for tests: DataFusion over two small tables, three users, and a record of what was run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use dynamos_proto::status::{Code, ServiceError};
use futures::stream;
use tokio_util::sync::CancellationToken;

use crate::frontend::{Caller, Engine, Identity, Outcome, Prepared, ReleasedBy, StatementKind, TableInfo, TableKind};

/// Tokens are `token-<user>`.
const USERS: [&str; 3] = ["alice", "bob", "eve"];

pub(super) struct FakeEngine {
    context: SessionContext,
    /// The sum of all `ADD n`.
    pub(super) total: AtomicI64,
    /// Every statement that was run, with the purpose it ran under.
    pub(super) runs: Mutex<Vec<(String, Option<String>)>>,
    /// What fires when each of them is to stop.
    pub(super) cancels: Mutex<Vec<CancellationToken>>,
}

fn visits() -> RecordBatch {
    let regions = ["north", "south", "north"];
    let dictionary = regions.into_iter().collect::<DictionaryArray<Int32Type>>();
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ("region", Arc::new(dictionary) as ArrayRef),
        ("note", Arc::new(StringViewArray::from(vec![Some("a"), None, Some("c")])) as ArrayRef),
    ])
    .unwrap()
}

impl FakeEngine {
    pub(super) fn new() -> Self {
        let context = SessionContext::new();
        let batch = visits();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table("visits", Arc::new(table)).unwrap();
        Self { context, total: AtomicI64::new(0), runs: Mutex::default(), cancels: Mutex::default() }
    }

    fn check(caller: &Caller, sql: &str) -> Result<(), ServiceError> {
        if sql.contains("secret") && caller.identity.user != "alice" {
            return Err(ServiceError::new(Code::Denied, "no agreement allows it"));
        }
        Ok(())
    }
}

fn syntax(error: impl std::fmt::Display) -> ServiceError {
    ServiceError::new(Code::Syntax, error.to_string())
}

fn update(parameters: usize) -> Prepared {
    let fields = (1..=parameters).map(|number| Field::new(format!("${number}"), DataType::Int64, false));
    Prepared {
        schema: Arc::new(Schema::empty()),
        parameters: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        kind: StatementKind::Update,
    }
}

#[async_trait]
impl Engine for FakeEngine {
    fn authenticate(&self, token: &str) -> Result<Identity, ServiceError> {
        let user = token.strip_prefix("token-").filter(|user| USERS.contains(user));
        let user = user.ok_or_else(|| ServiceError::new(Code::Unauthenticated, "the token is not valid"))?;
        Ok(Identity {
            user: user.to_owned(),
            organisation: "vu".to_owned(),
            roles: Vec::new(),
            purposes: vec!["study".to_owned()],
            token: token.to_owned(),
        })
    }

    async fn prepare(&self, caller: &Caller, sql: &str) -> Result<Prepared, ServiceError> {
        Self::check(caller, sql)?;
        if sql.starts_with("ADD") {
            return Ok(update(sql.matches('$').count()));
        }
        if sql.starts_with("SET") || sql.starts_with("RESET") {
            return Ok(update(0));
        }
        if sql == "FOREVER" {
            let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
            return Ok(Prepared { schema, parameters: Arc::new(Schema::empty()), kind: StatementKind::Query });
        }
        let plan = self.context.state().create_logical_plan(sql).await.map_err(syntax)?;
        let types = plan.get_parameter_types().map_err(syntax)?.into_iter().collect::<BTreeMap<_, _>>();
        let parameters = types.into_iter().map(|(name, known)| Field::new(name, known.unwrap_or(DataType::Null), true));
        Ok(Prepared {
            schema: Arc::new(plan.schema().as_arrow().clone()),
            parameters: Arc::new(Schema::new(parameters.collect::<Vec<_>>())),
            kind: StatementKind::Query,
        })
    }

    async fn run(&self, caller: &Caller, sql: &str, parameters: Vec<ScalarValue>) -> Result<Outcome, ServiceError> {
        Self::check(caller, sql)?;
        self.runs.lock().unwrap().push((sql.to_owned(), caller.settings.options.get("purpose").cloned()));
        self.cancels.lock().unwrap().push(caller.cancel.clone());
        if let Some(amount) = sql.strip_prefix("ADD ") {
            let amounts = parameters.iter().map(|value| match value {
                ScalarValue::Int64(Some(amount)) => *amount,
                other => panic!("unexpected parameter {other:?}"),
            });
            let amount = amount.parse().unwrap_or_else(|_| amounts.sum::<i64>());
            self.total.fetch_add(amount, Ordering::SeqCst);
            return Ok(Outcome::Done { rows_affected: 1 });
        }
        if let Some(assignment) = sql.strip_prefix("SET ") {
            let (name, value) = assignment.split_once(" = ").ok_or_else(|| syntax("`SET` needs ` = `"))?;
            let value = Some(value.trim_matches('\'').to_owned());
            return Ok(Outcome::Set { name: name.to_owned(), value });
        }
        if let Some(name) = sql.strip_prefix("RESET ") {
            return Ok(Outcome::Set { name: name.to_owned(), value: None });
        }
        if sql == "FOREVER" {
            let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![1]))]).unwrap();
            let stream = stream::iter([Ok(batch)]);
            let stream = futures::StreamExt::chain(stream, stream::pending());
            let stream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), stream));
            let released = ReleasedBy::default();
            return Ok(Outcome::Rows { query_id: "forever".to_owned(), schema, stream, released });
        }
        let frame = self.context.sql(sql).await.map_err(syntax)?;
        let frame = frame.with_param_values(ParamValues::from(parameters)).map_err(syntax)?;
        let stream = frame.execute_stream().await.map_err(syntax)?;
        let released = ReleasedBy::default();
        if sql.contains("per_site") {
            released.tell([("uva".to_owned(), true), ("vu".to_owned(), false)].into());
        }
        Ok(Outcome::Rows { query_id: "query".to_owned(), schema: stream.schema(), stream, released })
    }

    fn check_option(&self, _: &Caller, name: &str, value: &str) -> Result<(), ServiceError> {
        match (name, value) {
            ("agreement", "gone") => Err(ServiceError::new(Code::UnknownName, "there is no such agreement")),
            ("placement", "nowhere") => Err(ServiceError::new(Code::InvalidArgument, "there is no such placement")),
            _ => Ok(()),
        }
    }

    fn tables(&self, caller: &Caller) -> Result<Vec<TableInfo>, ServiceError> {
        let table = |catalog: Option<&str>, schema: &str, table: &str, kind| TableInfo {
            catalog: catalog.map(str::to_owned),
            schema: schema.to_owned(),
            table: table.to_owned(),
            kind,
            columns: visits().schema(),
        };
        let mut tables = vec![
            table(Some("federation"), "hospital", "visits", TableKind::Table),
            table(Some("federation"), "hospital", "v_sits", TableKind::View),
            table(None, "system", "agreements", TableKind::SystemTable),
        ];
        if caller.identity.user == "alice" {
            tables.push(table(Some("private"), "lab", "secret", TableKind::Table));
        }
        Ok(tables)
    }
}
