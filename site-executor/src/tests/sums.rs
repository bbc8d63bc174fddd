//! Sums and averages of doubles as a place computes them, on several threads, whatever a plan does with them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use dynamos_planner::function::{ExactSum, engine_state_with};

const ROWS: usize = 30_000;

fn number(row: usize) -> f64 {
    [0.1, 1e16, -1e16, 1.0 / 3.0, 1e-9][row % 5] * (1 + row % 11) as f64
}

/// A table `t(k, x)` of these rows, cut and dealt out in one way or another.
fn context(order: impl Iterator<Item = usize>, batch: usize, partitions: usize) -> SessionContext {
    let state =
        engine_state_with(SessionConfig::new().with_target_partitions(3).with_batch_size(batch), Arc::default());
    let context = SessionContext::new_with_state(state);
    let order: Vec<usize> = order.collect();
    let batches: Vec<RecordBatch> = order
        .chunks(batch)
        .map(|rows| {
            let keys: ArrayRef = Arc::new(rows.iter().map(|row| Some((row % 7) as i64)).collect::<Int64Array>());
            let numbers: ArrayRef = Arc::new(rows.iter().map(|row| Some(number(*row))).collect::<Float64Array>());
            RecordBatch::try_from_iter([("k", keys), ("x", numbers)]).unwrap()
        })
        .collect();
    let schema = batches[0].schema();
    let mut dealt = vec![Vec::new(); partitions];
    for (index, batch) in batches.into_iter().enumerate() {
        dealt[index % partitions].push(batch);
    }
    context.register_table("t", Arc::new(MemTable::try_new(schema, dealt).unwrap())).unwrap();
    context
}

async fn bits(context: &SessionContext, sql: &str) -> Vec<Vec<u64>> {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let bits = batch.columns().iter().filter_map(|column| column.as_primitive_opt::<Float64Type>());
            rows.push(bits.map(|column| column.value(row).to_bits()).collect());
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e3_no_cut_and_no_thread_changes_a_bit_of_a_sum() {
    let questions = [
        "SELECT sum(x), avg(x), sum(x) FILTER (WHERE x < 1), avg(x + 0.1), sum(x + 0.1) FROM t",
        "SELECT k, sum(x), avg(x), sum(DISTINCT x), avg(DISTINCT x) FROM t GROUP BY k ORDER BY k",
        "SELECT x, sum(x), avg(x) FROM t GROUP BY x, k ORDER BY x, k",
        "SELECT DISTINCT k, sum(x) OVER (PARTITION BY k), avg(x) OVER (ORDER BY k) FROM t ORDER BY k",
        "SELECT k, sum(s), avg(s) FROM (SELECT k, sum(x) AS s FROM t GROUP BY k, x) GROUP BY k ORDER BY k",
    ];
    let mut before: Option<Vec<Vec<Vec<u64>>>> = None;
    let backwards = || (0..ROWS).rev();
    let ways = [
        context(0..ROWS, 8192, 1),
        context(0..ROWS, 1000, 3),
        context(backwards(), 8191, 2),
        context((0..ROWS).step_by(2).chain((1..ROWS).step_by(2)), 77, 4),
    ];
    for way in &ways {
        let mut answers = Vec::new();
        for sql in questions {
            answers.push(bits(way, sql).await);
        }
        assert!(answers.iter().all(|answer| answer.iter().flatten().count() > 4));
        assert!(before.as_ref().is_none_or(|before| *before == answers));
        before = Some(answers);
    }
    let mut sum = ExactSum::default();
    (0..ROWS).for_each(|row| _ = sum.add(number(row)));
    let naive: f64 = (0..ROWS).map(number).sum();
    assert_eq!(before.unwrap()[0][0][..2], [sum.value().to_bits(), sum.average(ROWS as u64).to_bits()]);
    assert_ne!(sum.value(), naive);
}
