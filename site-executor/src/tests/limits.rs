//! The limits of a place: what does not fit into memory goes on on the disk, and what reaches a limit ends by name.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{col, lit};
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::{Code, ServiceError};
use futures::StreamExt;

use super::exchange::{endless, endless_rows};
use super::logs::ended;
use super::record;
use crate::config::{ByteSize, Limits};
use crate::testing::*;

/// Rows of each steward; with their long grades some 12 MiB in memory.
const ROWS: usize = 120_000;

/// Grades are all different, and in another order than ids.
fn many() -> String {
    (0..ROWS).map(|id| format!("{id},{:0>64},{}\n", id * 7919 % ROWS, id % 7)).collect()
}

fn limited(memory: u64) -> Limits {
    Limits { memory_per_query: ByteSize(memory), target_partitions: 2, ..Limits::default() }
}

/// Questions about all rows of a steward: one that must hold them to sort, one that must hold their groups.
fn questions(site: &str) -> [(&'static str, LogicalPlan); 2] {
    let sorted = scan_persons(site).sort(vec![col("grade").sort(true, false)]).unwrap();
    let values = [count(lit(1_i64)).alias("people"), sum(col("salary")).alias("salaries")];
    let grouped = scan_persons(site).aggregate([col("grade")], values).unwrap();
    [("sorted", sorted.build().unwrap()), ("grouped", grouped.build().unwrap())]
}

/// The answer of a steward, straight to the coordinator.
async fn answer(
    federation: &Federation,
    query: &str,
    site: &str,
    plan: LogicalPlan,
) -> Result<RecordBatch, ServiceError> {
    let exchange = scan(&Leaf::Exchange(FragmentId(1)), plan.schema().inner().clone()).build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, exchange), fragment(1, site, Some(0), plan)];
    let graph = federation.graph(query, fragments, Vec::new());
    federation.submit(&graph).await;
    let mut rows = federation.coordinator.open_root(&graph.query).unwrap();
    let (schema, mut batches) = (rows.schema(), Vec::new());
    while let Some(batch) = rows.next().await {
        batches.push(batch.map_err(|error| crate::service_error(&error))?);
    }
    Ok(concat_batches(&schema, &batches).unwrap())
}

/// Bytes that the operators of a steward's fragment spilled.
fn spilled(query: &str) -> u64 {
    ended(query, 1).1.iter().filter_map(|operator| operator["spilled_bytes"].as_u64()).sum()
}

/// Waits until nothing of any query is left on the disk of uva.
async fn nothing_is_left(federation: &Federation) {
    let folder = federation.folder.path().join("uva.state/spill");
    let empty = async {
        while std::fs::read_dir(&folder).unwrap().next().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), empty).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_memory_is_answered_from_the_disk() {
    record::start();
    let federation = Federation::start_limited(&many(), limited(18 << 20)).await;
    for ((name, plan), (_, whole)) in questions("uva").into_iter().zip(questions("vu")) {
        let [small, large] = ["uva", "vu"].map(|site| format!("spill_{name}_{site}"));
        let mut answers = [
            answer(&federation, &small, "uva", plan).await.unwrap(),
            answer(&federation, &large, "vu", whole).await.unwrap(),
        ];
        if name == "grouped" {
            answers = answers.map(|groups| by_first_column(&groups));
        }
        let [from_disk, from_memory] = answers;
        assert_eq!(from_disk.num_rows(), ROWS, "{name}");
        assert_eq!(from_disk, from_memory, "{name}");
        assert!(spilled(&small) > 0, "{name} did not spill");
        assert_eq!(spilled(&large), 0, "{name}");
        nothing_is_left(&federation).await;
    }
}

fn by_first_column(batch: &RecordBatch) -> RecordBatch {
    let order = arrow::compute::sort_to_indices(batch.column(0), None, None).unwrap();
    arrow::compute::take_record_batch(batch, &order).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_the_disk_as_well_fails_by_name() {
    // In one partition: between several the engine may, once in hundreds of runs, wait for memory until the deadline.
    let limits = Limits { target_partitions: 1, ..limited(64 << 10) };
    let federation = Federation::start_limited(&many(), limits).await;
    for (name, plan) in questions("uva") {
        let error = answer(&federation, name, "uva", plan).await.unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted, "{name}: {error}");
        assert_eq!(error.message, "the query needs more memory than site `uva` gives one", "{name}");
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("`memory_per_query`")), "{name}: {error:?}");
        nothing_is_left(&federation).await;
    }
    // The site is none the worse for it, and neither are the others.
    let few =
        LogicalPlanBuilder::from(scan_persons("uva").build().unwrap()).limit(0, Some(3)).unwrap().build().unwrap();
    assert_eq!(answer(&federation, "few", "uva", few).await.unwrap().num_rows(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_ends_what_runs_longer_than_its_own_deadline() {
    let limits = Limits { query_deadline: Duration::from_millis(400), target_partitions: 2, ..Limits::default() };
    let federation = Federation::start_limited(&endless_rows(), limits).await;
    let graph = endless(&federation, "deadline");
    federation.submit(&graph).await;
    let begun = std::time::Instant::now();
    let query = std::sync::Arc::downgrade(&federation.executor("uva").place().queries.get(&graph.query).unwrap());
    let error = federation.rows(&graph).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded, "{error}");
    assert_eq!(error.message, "query `deadline` reached its deadline at site `uva`");
    assert!(error.hint.is_some(), "{error:?}");
    // The permit itself is valid for far longer.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(federation.executor("uva").report(&graph.query)[0].error_code, "DEADLINE_EXCEEDED");
    let freed = async {
        while query.upgrade().is_some() || federation.executor("uva").running() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.unwrap();
}
