//! One fragment's plan as Substrait and back. What comes in is bounded and restricted: named tables only, no files, no
//! statements, no extension relations.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, RwLock};

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan, LogicalPlanBuilder, TableScanBuilder};
use datafusion::prelude::Expr;
use datafusion_substrait::extensions::Extensions;
use datafusion_substrait::logical_plan::consumer::{
    SubstraitConsumer, from_read_rel, from_substrait_named_struct, from_substrait_plan_with_consumer,
};
use datafusion_substrait::logical_plan::producer::to_substrait_plan;
use datafusion_substrait::substrait::proto::read_rel::ReadType;
use datafusion_substrait::substrait::proto::{JoinRel, Plan, ReadRel};
use futures::FutureExt;
use prost::Message;
use thiserror::Error;

use super::join::read_join;
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
    let encode = |error: DataFusionError| WireError::Encode(error.strip_backtrace());
    let plan = plan.clone().transform_up(readable).map_err(encode)?.data;
    let substrait = to_substrait_plan(&plan, state).map_err(encode)?;
    let bytes = substrait.encode_to_vec();
    if bytes.len() > PLAN_BYTES_MAX {
        return Err(WireError::TooLarge(format!("{} bytes, at most {PLAN_BYTES_MAX}", bytes.len())));
    }
    Ok(bytes)
}

/// Operators in the form that is read back as it was written: an empty relation, which loses the qualifiers of its columns,
/// calls each by another name.
fn readable(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    match plan {
        LogicalPlan::EmptyRelation(empty) if !empty.schema.fields().is_empty() => {
            Ok(Transformed::yes(numbered(&empty)?))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// An empty relation with numbered columns, under a projection that gives them their names.
fn numbered(empty: &EmptyRelation) -> Result<LogicalPlan, DataFusionError> {
    let named = empty.schema.iter().enumerate();
    let (fields, columns): (Vec<_>, Vec<_>) = named
        .map(|(index, (qualifier, field))| {
            let name = format!("c{index}");
            let value = Expr::Column(Column::from_name(&name)).alias_qualified(qualifier.cloned(), field.name());
            (Field::new(name, field.data_type().clone(), true), value)
        })
        .unzip();
    let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
    let relation = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: empty.produce_one_row, schema });
    LogicalPlanBuilder::from(relation).project(columns)?.build()
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
    let consumer = Consumer {
        extensions: &extensions,
        state,
        declared: RwLock::default(),
        outer: RwLock::default(),
        marks: AtomicUsize::new(0),
    };
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
    marks: AtomicUsize,
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

    async fn consume_join(&self, join: &JoinRel) -> datafusion::common::Result<LogicalPlan> {
        read_join(self, join, &self.marks).await
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::common::JoinType;
    use datafusion::logical_expr::Join;

    use super::*;
    use crate::function::engine_state;
    use crate::wire::Leaf;

    fn table(name: &str) -> LogicalPlan {
        let schema = Arc::new(Schema::new(vec![Field::new("num", DataType::Int64, true)]));
        let leaf = Leaf::Table { site: "uva".into(), schema: "s".into(), table: name.into(), clause: None };
        let source = provider_as_source(LeafTable::new(schema));
        LogicalPlan::TableScan(TableScanBuilder::new(leaf.to_reference(), source).build().unwrap())
    }

    fn there_and_back(plan: &LogicalPlan) -> LogicalPlan {
        let state = engine_state();
        decode_plan(&encode_plan(plan, &state).unwrap(), &state).unwrap()
    }

    fn join(kind: JoinType, left: LogicalPlan, filter: Option<Expr>) -> LogicalPlan {
        let nothing = datafusion::common::NullEquality::NullEqualsNothing;
        let on = datafusion::common::JoinConstraint::On;
        Join::try_new(Arc::new(left), Arc::new(table("u")), vec![], filter, kind, on, nothing, false)
            .map(LogicalPlan::Join)
            .unwrap()
    }

    #[test]
    fn outer_and_semi_joins_without_a_condition_are_read_back() {
        for kind in [JoinType::Left, JoinType::Right, JoinType::Full, JoinType::LeftSemi, JoinType::LeftAnti] {
            let read = there_and_back(&join(kind, table("t"), None));
            assert!(read.display_indent().to_string().contains(&format!("{kind} Join")), "{}", read.display_indent());
        }
    }

    #[test]
    fn an_equality_of_one_sides_columns_is_no_pair_of_keys() {
        let num = |table: &str| Expr::Column(Column::new(Some(TableReference::full("uva", "s", table)), "num"));
        let own = num("t").eq(num("t"));
        let read = there_and_back(&join(JoinType::Left, table("t"), Some(own.and(num("u").eq(num("t"))))));
        let LogicalPlan::Join(read) = read else { panic!("{}", read.display_indent()) };
        assert_eq!(read.on, [(num("t"), num("u"))]);
        assert_eq!(read.filter.unwrap().to_string(), "uva.s.t.num = uva.s.t.num");
    }

    #[test]
    fn two_truth_columns_stay_apart() {
        let twice = join(JoinType::LeftMark, table("t"), None);
        let columns = twice.schema().columns();
        let renamed =
            columns.into_iter().enumerate().map(|(index, column)| Expr::Column(column).alias(format!("x{index}")));
        let renamed = LogicalPlanBuilder::from(twice).project(renamed.collect::<Vec<_>>()).unwrap().build().unwrap();
        let read = there_and_back(&join(JoinType::LeftMark, renamed, None));
        assert_eq!(read.schema().fields().len(), 3, "{}", read.display_indent());
    }

    #[test]
    fn columns_of_an_empty_relation_stay_apart() {
        let both = table("t").schema().join(table("u").schema()).unwrap();
        let empty = EmptyRelation { produce_one_row: false, schema: Arc::new(both) };
        let columns = [("t", "x"), ("u", "y")].map(|(table, name)| {
            let reference = TableReference::full("uva", "s", table);
            Expr::Column(Column::new(Some(reference), "num")).alias(name)
        });
        let plan = LogicalPlanBuilder::from(LogicalPlan::EmptyRelation(empty)).project(columns).unwrap().build();
        let read = there_and_back(&plan.unwrap());
        assert_eq!(read.schema().field_names(), ["x", "y"]);
    }
}
