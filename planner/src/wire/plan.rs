//! One fragment's plan as Substrait and back. What comes in is bounded and restricted: named tables only, no files, no
//! statements, no extension relations.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{LogicalPlan, TableScanBuilder};
use datafusion_substrait::extensions::Extensions;
use datafusion_substrait::logical_plan::consumer::{
    SubstraitConsumer, from_read_rel, from_substrait_named_struct, from_substrait_plan_with_consumer,
};
use datafusion_substrait::logical_plan::producer::to_substrait_plan;
use datafusion_substrait::substrait::proto::read_rel::ReadType;
use datafusion_substrait::substrait::proto::{Plan, ReadRel};
use futures::FutureExt;
use prost::Message;
use thiserror::Error;

use super::leaf::LeafTable;

/// A fragment's plan may be this large on the wire (bytes).
pub const PLAN_BYTES_MAX: usize = 1024 * 1024;
/// A fragment's plan may have this many operators.
pub const PLAN_NODES_MAX: usize = 2_000;

/// Why a plan cannot cross, or may not.
#[derive(Debug, Error)]
pub enum WireError {
    /// The plan has no Substrait form.
    #[error("the plan cannot be sent to a site: {0}")]
    Encode(String),
    /// The bytes are no plan this version accepts.
    #[error("the plan cannot be read: {0}")]
    Decode(String),
    /// Too large or too deep.
    #[error("the plan exceeds a limit: {0}")]
    TooLarge(String),
    /// The graph's message is malformed.
    #[error("the graph is malformed: {0}")]
    Graph(String),
}

/// The plan as Substrait bytes.
pub fn encode_plan(plan: &LogicalPlan, state: &SessionState) -> Result<Vec<u8>, WireError> {
    let substrait = to_substrait_plan(plan, state).map_err(|error| WireError::Encode(error.strip_backtrace()))?;
    let bytes = substrait.encode_to_vec();
    if bytes.len() > PLAN_BYTES_MAX {
        return Err(WireError::TooLarge(format!("{} bytes, at most {PLAN_BYTES_MAX}", bytes.len())));
    }
    Ok(bytes)
}

/// The plan in these bytes. Its leaves are [`LeafTable`]s with the schemas that the bytes declare; who runs the plan puts
/// tables in their place with [`bind_leaves`].
pub fn decode_plan(bytes: &[u8], state: &SessionState) -> Result<LogicalPlan, WireError> {
    if bytes.len() > PLAN_BYTES_MAX {
        return Err(WireError::TooLarge(format!("{} bytes, at most {PLAN_BYTES_MAX}", bytes.len())));
    }
    let decode = |error: DataFusionError| WireError::Decode(error.strip_backtrace());
    let message = Plan::decode(bytes).map_err(|error| WireError::Decode(error.to_string()))?;
    let extensions = Extensions::try_from(&message.extensions).map_err(decode)?;
    let consumer = Consumer { extensions: &extensions, state, declared: RwLock::default(), outer: RwLock::default() };
    let plan = from_substrait_plan_with_consumer(&consumer, &message)
        .now_or_never()
        .ok_or_else(|| WireError::Decode("reading the plan would have to wait".into()))?
        .map_err(decode)?;
    restrict(&plan)?;
    Ok(plan)
}

/// Refuses operators that no fragment may hold.
fn restrict(plan: &LogicalPlan) -> Result<(), WireError> {
    let mut nodes = 0;
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        nodes += 1;
        let fine = match node {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Distinct(_) => true,
            LogicalPlan::Repartition(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::RecursiveQuery(_) => false,
        };
        if !fine {
            refused = Some(node.display().to_string());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(|error| WireError::Decode(error.strip_backtrace()))?;
    match refused {
        Some(operator) => Err(WireError::Decode(format!("`{operator}` is not accepted in a fragment"))),
        None if nodes > PLAN_NODES_MAX => Err(WireError::TooLarge(format!("{nodes} operators"))),
        None => Ok(()),
    }
}

/// The plan with each leaf scanning the table that `resolve` gives for it. Fails if a leaf has no table, or one of
/// another schema than the plan was made for.
pub fn bind_leaves(
    plan: LogicalPlan,
    resolve: &dyn Fn(&TableReference) -> Option<Arc<dyn TableProvider>>,
) -> Result<LogicalPlan, WireError> {
    let bound = plan.transform_up(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
        let Some(table) = resolve(&scan.table_name) else {
            return plan_err!("no table `{}` here", scan.table_name);
        };
        if !same_columns(&table.schema(), &scan.source.schema()) {
            return plan_err!("`{}` has another schema here than the plan was made for", scan.table_name);
        }
        let rebound = TableScanBuilder::new(scan.table_name.clone(), provider_as_source(table))
            .with_projection(scan.projection.clone())
            .with_filters(scan.filters.clone())
            .with_fetch(scan.fetch)
            .build()?;
        Ok(Transformed::yes(LogicalPlan::TableScan(rebound)))
    });
    bound.map(|bound| bound.data).map_err(|error| WireError::Decode(error.strip_backtrace()))
}

fn same_columns(one: &Schema, other: &Schema) -> bool {
    let mut pairs = one.fields().iter().zip(other.fields());
    one.fields().len() == other.fields().len()
        && pairs.all(|(one, other)| one.name() == other.name() && one.data_type() == other.data_type())
}

struct Consumer<'a> {
    extensions: &'a Extensions,
    state: &'a SessionState,
    declared: RwLock<BTreeMap<TableReference, SchemaRef>>,
    outer: RwLock<Vec<Arc<DFSchema>>>,
}

#[async_trait::async_trait]
impl SubstraitConsumer for Consumer<'_> {
    async fn resolve_table_ref(
        &self,
        table: &TableReference,
    ) -> datafusion::common::Result<Option<Arc<dyn TableProvider>>> {
        let Ok(declared) = self.declared.read() else { return Ok(None) };
        Ok(declared.get(table).map(|schema| LeafTable::new(Arc::clone(schema)) as Arc<dyn TableProvider>))
    }

    async fn consume_read(&self, read: &ReadRel) -> datafusion::common::Result<LogicalPlan> {
        if let (Some(ReadType::NamedTable(named)), Some(columns)) = (&read.read_type, &read.base_schema) {
            let reference = match named.names.as_slice() {
                [schema, table] => TableReference::partial(schema.clone(), table.clone()),
                [site, schema, table] => TableReference::full(site.clone(), schema.clone(), table.clone()),
                _ => return plan_err!("a leaf is named by two or three parts"),
            };
            let schema = Arc::clone(from_substrait_named_struct(self, columns)?.inner());
            if let Ok(mut declared) = self.declared.write() {
                declared.insert(reference, schema);
            }
        } else if !matches!(read.read_type, Some(ReadType::VirtualTable(_))) {
            return plan_err!("only named tables and literal rows can be read");
        }
        from_read_rel(self, read).await
    }

    fn get_extensions(&self) -> &Extensions {
        self.extensions
    }

    fn get_function_registry(&self) -> &impl FunctionRegistry {
        self.state
    }

    fn push_outer_schema(&self, schema: Arc<DFSchema>) {
        if let Ok(mut outer) = self.outer.write() {
            outer.push(schema);
        }
    }

    fn pop_outer_schema(&self) {
        if let Ok(mut outer) = self.outer.write() {
            outer.pop();
        }
    }

    fn get_outer_schema(&self, steps_out: usize) -> Option<Arc<DFSchema>> {
        let outer = self.outer.read().ok()?;
        outer.len().checked_sub(steps_out).and_then(|index| outer.get(index).cloned())
    }
}
