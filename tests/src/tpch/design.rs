//! Three stewards `a`, `b`, `c` and a provider `p`, the tables among them, and agreements that keep nothing back.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use anyhow::Context;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use datafusion::parquet::arrow::ArrowWriter;
use dynamos_cli::federation::{Design, FederatedTable, Person, Provider, Steward};

use super::data::TableRows;

/// Who asks.
pub const USER: &str = "analyst@a";
/// Joins keep one side in memory: at factor 1 that is more than a site gives a query by default.
const LIMITS: &str = "memory_per_query = \"4GiB\"";
const STEWARDS: [&str; 3] = ["a", "b", "c"];

/// How tables are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Every table is whole at one steward.
    Whole,
    /// Customers with all their orders are spread over the three, by customer, and a customer's key means somebody at one
    /// steward only; the other tables are whole.
    Customers,
}

impl Split {
    /// Whether a table has parts at all three.
    fn parts(self, table: &str) -> bool {
        self == Self::Customers && matches!(table, "customer" | "orders" | "lineitem")
    }

    fn home(table: &str) -> &'static str {
        match table {
            "customer" | "orders" => "a",
            "lineitem" | "partsupp" => "b",
            _ => "c",
        }
    }
}

/// Writes the rows as Parquet files into `root` and says what the federation around them is.
pub fn design(root: &Path, rows: &[TableRows], split: Split) -> anyhow::Result<Design> {
    let customers = if split == Split::Customers { customers_of_orders(rows)? } else { HashMap::new() };
    let mut stewards = Vec::new();
    for (position, name) in STEWARDS.into_iter().enumerate() {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder)?;
        let mut tables = String::new();
        let mut clauses = Vec::new();
        for table in rows {
            let file = folder.join(format!("{}.parquet", table.name));
            if split.parts(table.name) {
                let part = |batch: &RecordBatch| part_of(table.name, batch, position, &customers);
                write(&file, table, &table.batches.iter().map(part).collect::<anyhow::Result<Vec<_>>>()?)?;
            } else if Split::home(table.name) == name {
                write(&file, table, &table.batches)?;
            } else {
                continue;
            }
            write!(
                tables,
                "\n[[tables]]\nschema = \"tpch\"\ntable = \"{0}\"\npath = \"{0}.parquet\"\nformat = \"parquet\"\n{1}",
                table.name,
                keys(split, table.name)
            )?;
            clauses.push(format!("RELEASE ROWS (*) FROM tpch.{}", table.name));
            clauses.push(format!("SHIP ROWS (*) FROM tpch.{} TO ANY", table.name));
        }
        let agreement = format!(
            "CREATE AGREEMENT open ON SITE {name} FOR ROLE analyst PURPOSE statistics AS (\n  {}\n);\n",
            clauses.join(",\n  ")
        );
        // A steward of none of the tables has nothing to agree to.
        let agreements = if clauses.is_empty() { Vec::new() } else { vec![agreement] };
        stewards.push(Steward { name: name.to_owned(), tables, agreements });
    }
    let federated = rows.iter().filter(|table| split.parts(table.name)).map(|table| FederatedTable {
        schema: "tpch".into(),
        table: table.name.into(),
        stewards: STEWARDS.map(str::to_owned).to_vec(),
    });
    Ok(Design {
        stewards,
        providers: vec![Provider { name: "p".into() }],
        federated: federated.collect(),
        people: vec![Person {
            user: USER.into(),
            organisation: "a".into(),
            role: "analyst".into(),
            purpose: "statistics".into(),
        }],
        site_limits: LIMITS.into(),
    })
}

/// What stewards say of the keys of a table in parts.
fn keys(split: Split, table: &str) -> &'static str {
    match table {
        _ if !split.parts(table) => "",
        "customer" => "entity = \"c_custkey\"\n",
        "orders" => "entity = \"o_custkey\"\ncolocated_on = { o_orderkey = \"orderkey\" }\n",
        _ => "colocated_on = { l_orderkey = \"orderkey\" }\n",
    }
}

/// The customer of each order.
fn customers_of_orders(rows: &[TableRows]) -> anyhow::Result<HashMap<i64, i64>> {
    let orders = rows.iter().find(|table| table.name == "orders").context("there are no orders")?;
    let mut customers = HashMap::new();
    for batch in &orders.batches {
        let orders = integers(batch, "o_orderkey")?;
        customers.extend(orders.into_iter().zip(integers(batch, "o_custkey")?));
    }
    Ok(customers)
}

fn integers(batch: &RecordBatch, column: &str) -> anyhow::Result<Vec<i64>> {
    let column = batch.column_by_name(column).with_context(|| format!("there is no column `{column}`"))?;
    let numbers = column.as_primitive_opt::<Int64Type>().context("a key is not a number")?;
    Ok(numbers.values().to_vec())
}

/// The rows that one steward holds.
fn part_of(
    table: &str,
    batch: &RecordBatch,
    position: usize,
    orders: &HashMap<i64, i64>,
) -> anyhow::Result<RecordBatch> {
    let customers = match table {
        "customer" => integers(batch, "c_custkey")?,
        "orders" => integers(batch, "o_custkey")?,
        _ => {
            integers(batch, "l_orderkey")?.iter().map(|order| orders.get(order).copied().unwrap_or_default()).collect()
        }
    };
    let here: BooleanArray =
        customers.iter().map(|customer| Some(usize::try_from(customer % 3).ok() == Some(position))).collect();
    debug_assert!(here.null_count() == 0);
    Ok(filter_record_batch(batch, &here)?)
}

fn write(path: &Path, table: &TableRows, batches: &[RecordBatch]) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, table.schema.clone(), None)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(())
}
