//! What the answers must be: one plain engine over the union of all stewards' rows, with its own default rules.
//!
//! A key that is local to its steward is the text `steward/value` here, so that plain SQL compares it as the federation must.
//! Where a query means the value alone it says `entity_value(key)`, a function that only this engine has.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::catalog::MemoryCatalogProvider;
use datafusion::common::DataFusionError;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::{SessionConfig, SessionContext};
use dynamos_cli::federation::Layout;
use dynamos_site::SiteConfig;

use super::schema::{TABLES, Table};

/// The engine.
pub struct Oracle {
    context: SessionContext,
}

impl Oracle {
    /// Reads every steward's files.
    pub async fn open(layout: &Layout) -> Self {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        context.register_udf(entity_value());
        context.sql("CREATE SCHEMA gen").await.unwrap();
        for steward in &layout.stewards {
            context.register_catalog(steward.as_str(), Arc::new(MemoryCatalogProvider::new()));
            context.sql(&format!("CREATE SCHEMA {steward}.gen")).await.unwrap();
            let config = SiteConfig::load(&layout.site_config(steward)).unwrap();
            for table in &config.tables {
                let opened = dynamos_site::source::open(&table.source, &layout.root).await.unwrap();
                context.register_table(format!("{steward}_{}", table.source.table), opened.provider).unwrap();
            }
        }
        let oracle = Self { context };
        for table in TABLES {
            let parts: Vec<String> = table.parts.iter().map(|(steward, _)| oracle.part(table, steward)).collect();
            for ((steward, _), part) in table.parts.iter().zip(&parts) {
                oracle.keep(&format!("{steward}.gen.{}", table.name), part).await;
            }
            let parts = table.parts.iter().zip(parts);
            let parts =
                parts.map(|((steward, _), part)| part.replacen(" FROM", &format!(", '{steward}' AS steward FROM"), 1));
            oracle.keep(&format!("gen.{}", table.name), &parts.collect::<Vec<_>>().join(" UNION ALL ")).await;
        }
        oracle
    }

    /// One steward's rows.
    fn part(&self, table: &Table, steward: &str) -> String {
        let columns = table.columns.iter().map(|column| match table.entity {
            Some(key) if key == column.name => format!("'{steward}/' || CAST({key} AS VARCHAR) AS {key}"),
            _ => column.name.to_owned(),
        });
        format!("SELECT {} FROM {steward}_{}", columns.collect::<Vec<_>>().join(", "), table.name)
    }

    async fn keep(&self, name: &str, sql: &str) {
        let rows = self.context.sql(sql).await.unwrap();
        let schema = Arc::new(rows.schema().as_arrow().clone());
        let table = MemTable::try_new(schema, vec![rows.collect().await.unwrap()]).unwrap();
        self.context.register_table(name, Arc::new(table)).unwrap();
    }

    /// The rows of a query.
    pub async fn answer(&self, sql: &str) -> Result<Vec<RecordBatch>, DataFusionError> {
        self.context.sql(sql).await?.collect().await
    }
}

/// The value in `steward/value`.
fn entity_value() -> datafusion::logical_expr::ScalarUDF {
    let values = |arguments: &[ColumnarValue]| -> Result<ColumnarValue, DataFusionError> {
        let keys: Vec<ArrayRef> = ColumnarValue::values_to_arrays(arguments)?;
        let keys = cast(keys.first().unwrap(), &DataType::Utf8)?;
        let values = keys.as_string::<i32>().iter().map(|key| key?.split_once('/')?.1.parse::<i64>().ok());
        let values: Int64Array = values.collect();
        assert_eq!(values.null_count(), keys.null_count(), "a key without a value");
        Ok(ColumnarValue::Array(Arc::new(values)))
    };
    create_udf("entity_value", vec![DataType::Utf8], DataType::Int64, Volatility::Immutable, Arc::new(values))
}
