//! A bound plan: the query's logical plan with every name resolved against one catalog version, types coerced. Nothing
//! about policy is decided here, except that a table which is not visible looks like one that does not exist.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, ParamValues, Result, ScalarValue, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::resolve::resolve_table_references;

use super::names::{Names, VisibleTables};

/// A query with its names resolved.
#[derive(Clone, Debug)]
pub struct BoundPlan {
    plan: LogicalPlan,
    output: DFSchemaRef,
}

impl BoundPlan {
    /// The plan; leaves are `schema.table` (federated) and `site.schema.table`.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// Names and types of the answer's columns, in order.
    pub fn output(&self) -> &DFSchemaRef {
        &self.output
    }
}

/// A query parsed once, with the tables it names.
#[derive(Debug)]
pub struct ParsedQuery {
    statement: Statement,
    /// The names of tables in it, without those of its own WITH parts.
    pub tables: Vec<TableReference>,
}

/// Parses exactly one statement.
pub fn parse(sql: &str) -> Result<ParsedQuery> {
    let mut statements = DFParser::parse_sql(sql)?;
    let (Some(statement), true) = (statements.pop_front(), statements.is_empty()) else {
        return Err(DataFusionError::Plan("write exactly one statement".into()));
    };
    let (tables, _) = resolve_table_references(&statement, true)?;
    Ok(ParsedQuery { statement, tables })
}

/// Binds a query over the tables that are visible. `parameters` are the values of `$1…`; with fewer values than
/// placeholders the placeholders stay, which is enough to describe the query.
pub fn bind(
    query: &ParsedQuery,
    parameters: &[ScalarValue],
    tables: &VisibleTables,
    state: &SessionState,
) -> Result<BoundPlan> {
    let names = Names { tables, state };
    let plan = SqlToRel::new(&names).statement_to_plan(query.statement.clone())?;
    let plan =
        if parameters.is_empty() { plan } else { plan.with_param_values(ParamValues::from(parameters.to_vec()))? };
    let asked = Arc::clone(plan.schema());
    let plan = super::analyze(plan, state)?;
    let output = named(&asked, plan.schema())?;
    Ok(BoundPlan { plan, output })
}

/// The names as they were asked for, with the types that coercion gave: the branches of a UNION agree on theirs only then.
fn named(asked: &DFSchema, coerced: &DFSchema) -> Result<DFSchemaRef> {
    let fields = asked.iter().zip(coerced.fields()).map(|((qualifier, asked), coerced)| {
        let field = Field::new(asked.name(), coerced.data_type().clone(), coerced.is_nullable());
        (qualifier.cloned(), Arc::new(field.with_metadata(asked.metadata().clone())))
    });
    Ok(Arc::new(DFSchema::new_with_metadata(fields.collect(), asked.metadata().clone())?))
}

/// The types of a plan's placeholders, in order of number; none where it is not known.
pub fn parameter_types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>> {
    let mut numbered: Vec<(usize, Option<DataType>)> = plan
        .get_parameter_types()?
        .into_iter()
        .filter_map(|(name, kind)| Some((name.strip_prefix('$')?.parse().ok()?, kind)))
        .collect();
    numbered.sort_by_key(|(number, _)| *number);
    Ok(numbered.into_iter().map(|(_, kind)| kind).collect())
}
