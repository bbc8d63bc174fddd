//! What exact sums cost over the engine's own, for numbers that two doubles can hold together and for such that they cannot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use dynamos_planner::function::{exact_sum, sum_of};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::figures::{Times, say};

const ROWS: usize = 4_000_000;
const BATCH_ROWS: usize = 8192;

/// Runs the measurement.
pub async fn run(rounds: usize) -> anyhow::Result<()> {
    say(&format!("sums: {ROWS} doubles in memory, the engine's sum against the exact one; {rounds} rounds"))?;
    let prices = |random: &mut StdRng| f64::from(random.random_range(-100_000..1_000_000)) / 100.0;
    let wild = |random: &mut StdRng| 10f64.powi(random.random_range(-300..300)) * random.random_range(-1.0..1.0);
    for (name, context) in [("prices", context(prices)?), ("any exponent", context(wild)?)] {
        for (groups, by) in [("one sum", ""), ("64 groups", "GROUP BY few"), ("100 000 groups", "GROUP BY many")] {
            let plain = format!("SELECT sum(x) FROM t {by}");
            let exact = format!("SELECT dynamos_sum_of(dynamos_exact_sum(x)) FROM t {by}");
            let (mut engine, mut ours) = (Times::default(), Times::default());
            time(&context, &plain).await?;
            time(&context, &exact).await?;
            for round in 0..rounds {
                let (first, second) = if round % 2 == 0 { (&plain, &exact) } else { (&exact, &plain) };
                let (one, other) = (time(&context, first).await?, time(&context, second).await?);
                engine.push(if round % 2 == 0 { one } else { other });
                ours.push(if round % 2 == 0 { other } else { one });
            }
            let ratio = ours.median_ms() / engine.median_ms();
            say(&format!("  {name}, {groups}: {} against {}: {ratio:.2}", ours.show(), engine.show()))?;
        }
    }
    Ok(())
}

async fn time(context: &SessionContext, sql: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    context.sql(sql).await?.collect().await?;
    Ok(began.elapsed())
}

/// A table `t(few, many, x)` with these numbers.
fn context(number: impl Fn(&mut StdRng) -> f64) -> anyhow::Result<SessionContext> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let config = SessionConfig::new().with_target_partitions(threads).with_batch_size(BATCH_ROWS);
    let context = SessionContext::new_with_config(config);
    context.register_udaf(exact_sum());
    context.register_udf(sum_of());
    let mut random = StdRng::seed_from_u64(1);
    let mut batches = Vec::new();
    while batches.len() * BATCH_ROWS < ROWS {
        let mut column = |groups: i64| -> ArrayRef {
            Arc::new((0..BATCH_ROWS).map(|_| Some(random.random_range(0..groups))).collect::<Int64Array>())
        };
        let (few, many) = (column(64), column(100_000));
        let numbers: ArrayRef = Arc::new((0..BATCH_ROWS).map(|_| Some(number(&mut random))).collect::<Float64Array>());
        batches.push(RecordBatch::try_from_iter([("few", few), ("many", many), ("x", numbers)])?);
    }
    let Some(schema) = batches.first().map(RecordBatch::schema) else { anyhow::bail!("no rows") };
    let mut parts: Vec<Vec<RecordBatch>> = vec![Vec::new(); threads];
    for (index, batch) in batches.into_iter().enumerate() {
        if let Some(part) = parts.get_mut(index % threads) {
            part.push(batch);
        }
    }
    context.register_table("t", Arc::new(MemTable::try_new(schema, parts)?))?;
    Ok(context)
}
