//! Which tables a requester's SQL can name, and how names are looked up: `site.schema.table` for a steward's table,
//! `schema.table` for a federated one, a bare name where it is unambiguous.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, not_impl_err, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use dynamos_proto::ids::SiteId;

use crate::catalog::{Colocated, TableName};
use crate::wire::{LeafTable, joined_parts};

/// A table that the requester may know to exist.
#[derive(Clone, Debug)]
pub struct VisibleTable {
    /// Its steward; none for a federated table.
    pub site: Option<SiteId>,
    /// Its name.
    pub name: TableName,
    /// Who holds its rows: the one steward, or those of a federated table that the query is about.
    pub stewards: BTreeSet<SiteId>,
    /// The entity key column, where equal values mean one entity within a steward only.
    pub local: Option<String>,
    /// The entity key column and its domain, where equal values mean one entity at all stewards that name this domain.
    pub shared: Option<(String, String)>,
    /// By column the key whose values lie together.
    pub colocated: Colocated,
    /// The columns of its protected view; for a federated table those that all stewards have, and `steward`.
    pub schema: SchemaRef,
    /// Of each steward the RELEASE ROWS clause whose condition its rows fulfil, or whose join they are; empty if there is none.
    pub within: BTreeMap<SiteId, u32>,
    /// The tables, where the rows are those of a join that is released as a whole; empty otherwise.
    pub joined: Vec<TableName>,
}

impl VisibleTable {
    /// The table in words.
    pub fn title(&self) -> String {
        let joined: Vec<String> = self.joined.iter().map(ToString::to_string).collect();
        if joined.is_empty() { self.name.to_string() } else { joined.join(" ⋈ ") }
    }

    /// The table that a column is of, and its name there.
    pub fn base<'a>(&'a self, column: &'a str) -> (&'a TableName, &'a str) {
        let joined = joined_parts(column).and_then(|(table, column)| Some((self.joined.get(table)?, column)));
        joined.unwrap_or((&self.name, column))
    }
}

/// The tables that the requester may know to exist.
#[derive(Clone, Debug, Default)]
pub struct VisibleTables {
    tables: BTreeMap<(Option<SiteId>, TableName), VisibleTable>,
    default_schema: Option<String>,
}

impl VisibleTables {
    /// A lookup over these tables; bare names are tried in `default_schema` first.
    pub fn new(tables: impl IntoIterator<Item = VisibleTable>, default_schema: Option<&str>) -> Self {
        let tables = tables.into_iter().map(|table| ((table.site.clone(), table.name.clone()), table)).collect();
        Self { tables, default_schema: default_schema.map(str::to_owned) }
    }

    /// All of them, federated ones first.
    pub fn iter(&self) -> impl Iterator<Item = &VisibleTable> {
        self.tables.values()
    }

    /// The table that a name in SQL means.
    pub fn find(&self, reference: &TableReference) -> Result<&VisibleTable> {
        let found = match reference {
            TableReference::Full { catalog, schema, table } => {
                self.tables.get(&(Some(SiteId::new(catalog.as_ref())), TableName::new(schema.as_ref(), table.as_ref())))
            }
            TableReference::Partial { schema, table } => {
                self.tables.get(&(None, TableName::new(schema.as_ref(), table.as_ref())))
            }
            TableReference::Bare { table } => return self.find_bare(table),
        };
        match found {
            Some(table) => Ok(table),
            None => plan_err!("no table `{reference}`{}", self.suggestion(reference.table())),
        }
    }

    /// A steward's own table.
    pub fn of_site(&self, site: &SiteId, name: &TableName) -> Result<&VisibleTable> {
        match self.tables.get(&(Some(site.clone()), name.clone())) {
            Some(table) => Ok(table),
            None => plan_err!("no table `{site}.{name}`"),
        }
    }

    fn find_bare(&self, table: &str) -> Result<&VisibleTable> {
        if let Some(schema) = &self.default_schema
            && let Some(found) = self.tables.get(&(None, TableName::new(schema, table)))
        {
            return Ok(found);
        }
        let federated = || self.tables.values().filter(|known| known.site.is_none() && known.name.table == table);
        let of_sites = || self.tables.values().filter(|known| known.site.is_some() && known.name.table == table);
        let mut candidates: Vec<&VisibleTable> = federated().collect();
        if candidates.is_empty() {
            candidates = of_sites().collect();
        }
        match candidates.as_slice() {
            [only] => Ok(only),
            [] => plan_err!("no table `{table}`"),
            _ => plan_err!("`{table}` is ambiguous{}", self.suggestion(table)),
        }
    }

    fn suggestion(&self, table: &str) -> String {
        let known: Vec<String> = self
            .tables
            .values()
            .filter(|known| known.name.table == table)
            .map(|known| match &known.site {
                Some(site) => format!("`{site}.{}`", known.name),
                None => format!("`{}`", known.name),
            })
            .collect();
        if known.is_empty() { String::new() } else { format!("; write {}", known.join(" or ")) }
    }
}

/// The names and functions that SQL is bound with.
pub(super) struct Names<'a> {
    pub(super) tables: &'a VisibleTables,
    pub(super) state: &'a SessionState,
}

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let table = self.tables.find(&name)?;
        Ok(provider_as_source(LeafTable::visible(table.clone())))
    }

    /// Called for a WITH that reads itself. How often it does so only running it tells: there is no graph of fragments for that, and
    /// no bound on what could be computed from protected rows.
    fn create_cte_work_table(&self, name: &str, _schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        not_impl_err!(
            "a recursive WITH is not supported, and `{name}` reads itself; write each step as a WITH of its own that reads \
             the one before"
        )
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        None
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        // A name of several parts comes as it was written.
        let name = if name.contains('.') { &name.to_ascii_lowercase() } else { name };
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
