//! The TPC-H rows, from the same generator that the Rust ports of `dbgen` use.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tpchgen::generators as rows;
use tpchgen_arrow as tables;

/// The tables' names.
pub const TABLES: [&str; 8] = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

/// A table's rows.
#[derive(Clone, Debug)]
pub struct TableRows {
    /// Name.
    pub name: &'static str,
    /// Columns.
    pub schema: SchemaRef,
    /// Rows.
    pub batches: Vec<RecordBatch>,
}

/// All eight tables; at factor 1 `lineitem` has six million rows.
pub fn generate(factor: f64) -> anyhow::Result<Vec<TableRows>> {
    Ok(vec![
        collect("region", tables::RegionArrow::new(rows::RegionGenerator::new(factor, 1, 1)))?,
        collect("nation", tables::NationArrow::new(rows::NationGenerator::new(factor, 1, 1)))?,
        collect("supplier", tables::SupplierArrow::new(rows::SupplierGenerator::new(factor, 1, 1)))?,
        collect("customer", tables::CustomerArrow::new(rows::CustomerGenerator::new(factor, 1, 1)))?,
        collect("part", tables::PartArrow::new(rows::PartGenerator::new(factor, 1, 1)))?,
        collect("partsupp", tables::PartSuppArrow::new(rows::PartSuppGenerator::new(factor, 1, 1)))?,
        collect("orders", tables::OrderArrow::new(rows::OrderGenerator::new(factor, 1, 1)))?,
        collect("lineitem", tables::LineItemArrow::new(rows::LineItemGenerator::new(factor, 1, 1)))?,
    ])
}

fn collect<E: std::error::Error + Send + Sync + 'static>(
    name: &'static str,
    rows: impl Iterator<Item = Result<RecordBatch, E>>,
) -> anyhow::Result<TableRows> {
    let batches = rows.collect::<Result<Vec<_>, _>>()?;
    let schema =
        batches.first().map(RecordBatch::schema).unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty()));
    Ok(TableRows { name, schema, batches })
}
