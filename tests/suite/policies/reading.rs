//! A plain reading of policies about rows: a query may be answered if every column that a plain engine reads for it is
//! released by each steward that holds the table. It shares nothing with the planner but the text of the clauses.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use super::set::{PolicySet, holders};

/// The columns of each table that a query reads.
pub(super) async fn columns_read(engine: &SessionContext, sql: &str) -> BTreeMap<String, BTreeSet<String>> {
    let plan = engine.sql(sql).await.unwrap().into_optimized_plan().unwrap();
    let mut read: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let columns = read.entry(scan.table_name.table().to_owned()).or_default();
            columns.extend(scan.projected_schema.fields().iter().map(|field| field.name().clone()));
            columns
                .extend(scan.filters.iter().flat_map(|filter| filter.column_refs()).map(|column| column.name.clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    read
}

/// Whether a policy about rows lets these columns be read.
pub(super) fn allows(set: &PolicySet, read: &BTreeMap<String, BTreeSet<String>>) -> bool {
    read.iter().all(|(table, columns)| {
        holders(table).iter().all(|steward| {
            let Some(agreement) = set.agreement(steward) else { return false };
            let from = format!(") FROM tpch.{table}");
            let mut lists = agreement.split("RELEASE ROWS (").skip(1).filter_map(|rest| {
                let (list, rest) = rest.split_at(rest.find(") FROM")?);
                let named = rest.strip_prefix(from.as_str())?;
                (!named.starts_with(|next: char| next.is_alphanumeric())).then_some(list)
            });
            lists.any(|list| {
                list == "*" || columns.iter().all(|column| list.split(',').any(|listed| listed.trim() == column))
            })
        })
    })
}
