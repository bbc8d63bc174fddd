//! What the answers must be: the same question over all files at once, in one plain engine that knows no agreements.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{SessionConfig, SessionContext};
use dynamos_site::SiteConfig;

use crate::federation::Layout;

/// One engine over all stewards' tables: `site.schema.table`, and `schema.table` with the column `steward`.
pub struct Truth {
    context: SessionContext,
}

impl Truth {
    /// Opens every steward's files.
    pub async fn open(layout: &Layout) -> anyhow::Result<Self> {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        let mut unions: Vec<(String, String, Vec<String>)> = Vec::new();
        for steward in &layout.stewards {
            let config = SiteConfig::load(&layout.site_config(steward))?;
            let catalog = Arc::new(datafusion::catalog::MemoryCatalogProvider::new());
            context.register_catalog(steward.as_str(), catalog);
            for table in &config.tables {
                let opened = dynamos_site::source::open(&table.source, &layout.root).await?;
                let (schema, name) = (&table.source.schema, &table.source.table);
                context.sql(&format!("CREATE SCHEMA IF NOT EXISTS {steward}.{schema}")).await?;
                context.register_table(format!("{steward}.{schema}.{name}"), opened.provider)?;
                let part = format!("SELECT *, '{steward}' AS steward FROM {steward}.{schema}.{name}");
                match unions.iter_mut().find(|(one, other, _)| one == schema && other == name) {
                    Some((_, _, parts)) => parts.push(part),
                    None => unions.push((schema.clone(), name.clone(), vec![part])),
                }
            }
        }
        for (schema, name, parts) in unions {
            context.sql(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
            context.sql(&format!("CREATE VIEW {schema}.{name} AS {}", parts.join(" UNION ALL "))).await?;
        }
        Ok(Self { context })
    }

    /// The answer, as rows of text.
    pub async fn answer(&self, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
        rows(&self.context.sql(sql).await?.collect().await?)
    }
}

/// Rows as text, numbers with at most nine digits after the point.
pub fn rows(batches: &[RecordBatch]) -> anyhow::Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let options = FormatOptions::default().with_null("NULL");
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| rounded(&column.value(row).to_string()));
            rows.push(cells.collect());
        }
    }
    Ok(rows)
}

fn rounded(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(number) if text.contains('.') => format!("{number:.9}"),
        _ => text.to_owned(),
    }
}

/// Whether an answer is the true one; the error shows both.
pub fn compare(answer: &[Vec<String>], truth: &[Vec<String>]) -> anyhow::Result<()> {
    anyhow::ensure!(!truth.is_empty(), "the question has no rows");
    anyhow::ensure!(answer == truth, "the answer {answer:?} is not the true one, {truth:?}");
    Ok(())
}
