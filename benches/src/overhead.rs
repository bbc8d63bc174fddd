//! What the federation costs over one engine: the 22 TPC-H queries, both over the same Parquet files, alternating.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use dynamos_cli::federation::{Client, Federation, Layout, Processes, query, ready};
use dynamos_tests::tpch::{QUERIES, Split, TABLES, USER, compare, design, generate, sql};

use crate::figures::{Times, say};

/// Runs the measurement.
pub async fn run(factor: f64, rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let design = {
        let rows = generate(factor)?;
        design(root, &rows, Split::Whole)?
    };
    let layout = Layout::write(root, &design, 0)?;
    let federation = Federation::start(&layout, Processes::One).await?;
    let one = one_engine(root).await?;
    let mut client = ready(&layout, layout.user(USER)?, "auto", "SELECT * FROM customer, lineitem, region").await?;
    say(&format!(
        "overhead: TPC-H at factor {factor}, whole tables at three sites, against one engine; {rounds} rounds"
    ))?;
    let mut totals = Totals::default();
    for number in QUERIES {
        let text = sql(number, factor)?;
        let measured = measure(&mut client, &one, &text, rounds).await?;
        say(&format!(
            "  query {number:>2}: {} against {}: {:.2}; planning {:.1} ms",
            measured.federated.show(),
            measured.one.show(),
            measured.federated.median_ms() / measured.one.median_ms(),
            measured.planning.median_ms()
        ))?;
        totals.add(&measured);
    }
    say(&format!(
        "  all: {:.0} ms against {:.0} ms: {:.2} (goal 1.10); of the difference, planning and permits are {:.0} ms",
        totals.federated,
        totals.one,
        totals.federated / totals.one,
        totals.planning
    ))?;
    federation.stop().await
}

/// Sums of medians, milliseconds.
#[derive(Debug, Default)]
struct Totals {
    federated: f64,
    one: f64,
    planning: f64,
}

impl Totals {
    fn add(&mut self, measured: &Measured) {
        self.federated += measured.federated.median_ms();
        self.one += measured.one.median_ms();
        self.planning += measured.planning.median_ms();
    }
}

#[derive(Debug, Default)]
struct Measured {
    federated: Times,
    one: Times,
    planning: Times,
}

/// One round first to warm both, then alternating which comes first.
async fn measure(client: &mut Client, one: &SessionContext, text: &str, rounds: usize) -> anyhow::Result<Measured> {
    let (_, answer) = federated(client, text).await?;
    let (_, truth) = local(one, text).await?;
    compare(&answer, &truth)?;
    let mut measured = Measured::default();
    for round in 0..rounds {
        if round % 2 == 0 {
            measured.federated.push(federated(client, text).await?.0);
            measured.one.push(local(one, text).await?.0);
        } else {
            measured.one.push(local(one, text).await?.0);
            measured.federated.push(federated(client, text).await?.0);
        }
        measured.planning.push(federated(client, &format!("EXPLAIN {text}")).await?.0);
    }
    Ok(measured)
}

async fn federated(client: &mut Client, text: &str) -> anyhow::Result<(Duration, Vec<RecordBatch>)> {
    let began = Instant::now();
    let rows = query(client, text).await?;
    Ok((began.elapsed(), rows))
}

async fn local(one: &SessionContext, text: &str) -> anyhow::Result<(Duration, Vec<RecordBatch>)> {
    let began = Instant::now();
    let rows = one.sql(text).await?.collect().await?;
    Ok((began.elapsed(), rows))
}

/// One engine over all sites' files, with as many partitions as there are cores.
async fn one_engine(root: &Path) -> anyhow::Result<SessionContext> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
    for table in TABLES {
        for site in ["a", "b", "c"] {
            let file = root.join(site).join(format!("{table}.parquet"));
            if file.exists() {
                let path = file.display().to_string();
                context.register_parquet(table, path, ParquetReadOptions::default()).await?;
            }
        }
    }
    Ok(context)
}
