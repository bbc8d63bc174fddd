//! Queries over the system's tables: told from others by the tables they name, and run here, over what the requester may
//! see. An engine of its own, without any other table, does the work on a thread that may block.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::common::{DataFusionError, ParamValues, ScalarValue, TableReference};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use dynamos_planner::bind::{self, parameter_types};
use dynamos_planner::function::engine_state_with;
use dynamos_proto::status::{Code, ServiceError};
use futures::{StreamExt, stream};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::relations::{Contents, SCHEMA, rows, tables};
use crate::background::blocking;
use crate::decision::Shown;
use crate::frontend::{Outcome, ReleasedBy};
use crate::query::planner_door::{Description, PlanRequest};

/// What a query over the system's tables may hold in memory (bytes), its answer included.
const MEMORY_MAX: usize = 64 * 1024 * 1024;

/// A query that names the system's tables and no others.
#[derive(Debug)]
pub(in crate::query) struct SystemQuery {
    sql: String,
}

/// The query as one over the system's tables; none if it names none of them.
///
/// # Errors
///
/// If it names others as well, or one that there is not.
pub(in crate::query) fn system_query(
    sql: &str,
    default_schema: Option<&str>,
) -> Result<Option<SystemQuery>, ServiceError> {
    // What cannot be read is no query over these tables; whoever plans it says what is wrong.
    let Ok(parsed) = bind::parse(sql) else { return Ok(None) };
    let own = |table: &TableReference| match table {
        TableReference::Partial { schema, .. } => schema.as_ref() == SCHEMA,
        TableReference::Bare { table } => {
            default_schema == Some(SCHEMA) && tables().iter().any(|(name, _)| *name == table.as_ref())
        }
        TableReference::Full { .. } => false,
    };
    let (own, others): (Vec<_>, Vec<_>) = parsed.tables.iter().partition(|table| own(table));
    if own.is_empty() {
        return Ok(None);
    }
    if let Some(other) = others.first() {
        let text = format!("`{other}` cannot be asked for together with tables of `{SCHEMA}`");
        return Err(ServiceError::new(Code::Unsupported, text).with_hint("ask for one after the other"));
    }
    if let Some(unknown) = own.iter().find(|table| tables().iter().all(|(name, _)| *name != table.table())) {
        let names = tables().iter().map(|(name, _)| format!("`{SCHEMA}.{name}`")).collect::<Vec<_>>().join(", ");
        return Err(ServiceError::new(Code::UnknownName, format!("no table `{unknown}`"))
            .with_hint(format!("there are {names}")));
    }
    Ok(Some(SystemQuery { sql: sql.to_owned() }))
}

impl SystemQuery {
    /// What its answer and parameters look like.
    pub(in crate::query) async fn describe(&self, request: &PlanRequest) -> Result<Description, ServiceError> {
        let plan = self.plan(&context(request, Vec::new())?).await?;
        let parameters = parameter_types(&plan).map_err(|error| failed(&error))?;
        Ok(Description { schema: Arc::new(plan.schema().as_arrow().clone()), parameters })
    }

    /// Its plan, for people.
    pub(in crate::query) async fn explain(&self, request: &PlanRequest) -> Result<String, ServiceError> {
        let plan = self.plan(&context(request, Vec::new())?).await?;
        Ok(format!("permitted\n  the system's own tables, with what you may see of them\n{}", plan.display_indent()))
    }

    /// Runs it to its end within a time.
    pub(in crate::query) async fn run(
        self,
        parameters: Vec<ScalarValue>,
        request: PlanRequest,
        decisions: Vec<Shown>,
        time_max: Duration,
    ) -> Result<Outcome, ServiceError> {
        let runtime = Handle::current();
        let work = move || {
            let answered = async move {
                let answer = self.answer(parameters, &request, decisions);
                match tokio::time::timeout(time_max, answer).await {
                    Ok(answer) => answer,
                    Err(_) => Err(ServiceError::new(Code::DeadlineExceeded, "the query took too long")
                        .with_hint("ask for less at once")),
                }
            };
            runtime.block_on(answered)
        };
        let stopped = || ServiceError::new(Code::Internal, "the query over the system's tables failed");
        let (schema, batches) = blocking(work).await.ok_or_else(stopped)??;
        let batches = stream::iter(batches.into_iter().map(Ok));
        let stream = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), batches));
        Ok(Outcome::Rows { query_id: Uuid::new_v4().to_string(), schema, stream, released: ReleasedBy::default() })
    }

    async fn answer(
        &self,
        parameters: Vec<ScalarValue>,
        request: &PlanRequest,
        decisions: Vec<Shown>,
    ) -> Result<(SchemaRef, Vec<RecordBatch>), ServiceError> {
        let context = context(request, decisions)?;
        let mut plan = self.plan(&context).await?;
        if !parameters.is_empty() {
            plan = plan.with_param_values(ParamValues::from(parameters)).map_err(|error| failed(&error))?;
        }
        let frame = context.execute_logical_plan(plan).await.map_err(|error| failed(&error))?;
        let mut answer = frame.execute_stream().await.map_err(|error| failed(&error))?;
        let schema = answer.schema();
        let (mut batches, mut bytes) = (Vec::new(), 0_usize);
        while let Some(batch) = answer.next().await {
            let batch = batch.map_err(|error| failed(&error))?;
            bytes = bytes.saturating_add(batch.get_array_memory_size());
            if bytes > MEMORY_MAX {
                return Err(too_large());
            }
            batches.push(batch);
        }
        Ok((schema, batches))
    }

    async fn plan(&self, context: &SessionContext) -> Result<LogicalPlan, ServiceError> {
        let plan = context.state().create_logical_plan(&self.sql).await.map_err(|error| failed(&error))?;
        let only_reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_reads.verify_plan(&plan).map_err(|error| failed(&error))?;
        Ok(plan)
    }
}

/// An engine that has the system's tables, with this requester's rows, and nothing else.
fn context(request: &PlanRequest, decisions: Vec<Shown>) -> Result<SessionContext, ServiceError> {
    let contents = Contents { request, decisions };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(MEMORY_MAX)))
        .build_arc()
        .map_err(|error| failed(&error))?;
    let mut config = SessionConfig::new().with_target_partitions(1);
    if request.default_schema.as_deref() == Some(SCHEMA) {
        config = config.with_default_catalog_and_schema(CATALOG, SCHEMA);
    }
    let context = SessionContext::new_with_state(engine_state_with(config, runtime));
    let schema = MemorySchemaProvider::new();
    for (name, columns) in tables() {
        let batch = rows(name, &columns, &contents)?;
        let table = MemTable::try_new(columns, vec![vec![batch]]).map_err(|error| failed(&error))?;
        schema.register_table(name.to_owned(), Arc::new(table)).map_err(|error| failed(&error))?;
    }
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, Arc::new(schema)).map_err(|error| failed(&error))?;
    context.register_catalog(CATALOG, Arc::new(catalog));
    Ok(context)
}

/// The engine's default catalog, in which names of two parts are looked up.
const CATALOG: &str = "datafusion";

fn too_large() -> ServiceError {
    ServiceError::new(Code::ResourceExhausted, "the answer is too large").with_hint("ask for less at once")
}

/// The requester's own rows only can be in the text of an error.
fn failed(error: &DataFusionError) -> ServiceError {
    let code = match error.find_root() {
        DataFusionError::SQL(..) => Code::Syntax,
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => Code::UnknownName,
        DataFusionError::NotImplemented(_) => Code::Unsupported,
        DataFusionError::ResourcesExhausted(_) => return too_large(),
        DataFusionError::Internal(_) => Code::Internal,
        _ => Code::DataError,
    };
    ServiceError::new(code, error.strip_backtrace())
}
