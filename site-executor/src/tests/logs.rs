//! What a place writes into its log about a fragment: of its own rows what helps its operator, of others' rows nothing.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{cast, col, lit};
use dynamos_planner::fragment::{Fragment, FragmentGraph};
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::Code;
use futures::StreamExt;

use super::record;
use crate::testing::*;

/// Stands in the rows of one test alone.
const CANARY: &str = "canary-4c1f";

/// Fails on a grade that is no number.
fn failing(rows: LogicalPlanBuilder) -> LogicalPlan {
    rows.project(vec![cast(col("grade"), DataType::Int64).alias("number")]).unwrap().build().unwrap()
}

/// What a fragment gives.
fn read(fragment: u32, plan: &LogicalPlan) -> LogicalPlanBuilder {
    scan(&Leaf::Exchange(FragmentId(fragment)), Arc::clone(plan.schema().inner()))
}

/// uva's rows, the last of which makes fragment `fails` fail: at the coordinator (0), at surf (1) or at uva itself (2).
fn through_surf(federation: &Federation, query: &str, fails: u32) -> FragmentGraph {
    let rows = scan_persons("uva").filter(col("salary").gt(lit(0_i64))).unwrap();
    let at_uva = if fails == 2 { failing(rows) } else { rows.build().unwrap() };
    let come = read(2, &at_uva);
    let at_surf = if fails == 1 { failing(come) } else { come.build().unwrap() };
    let come = read(1, &at_surf);
    let at_coordinator = if fails == 0 { failing(come) } else { come.build().unwrap() };
    let fragments: Vec<Fragment> = vec![
        fragment(0, "coordinator", None, at_coordinator),
        fragment(1, "surf", Some(0), at_surf),
        fragment(2, "uva", Some(1), at_uva),
    ];
    federation.graph(query, fragments, Vec::new())
}

/// The one line about the end of a fragment of a query, and what its operators did.
pub(super) fn ended(query: &str, fragment: u32) -> (String, Vec<serde_json::Value>) {
    let of_fragment = format!("fragment_id={} ", FragmentId(fragment));
    let mut lines = record::lines_with(&format!("query_id={query} "));
    lines.retain(|line| line.contains("fragment ended") && line.contains(&of_fragment));
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let operators = line.split_once("operators=").unwrap().1;
    let first = serde_json::Deserializer::from_str(operators).into_iter().next().unwrap();
    (line.clone(), first.unwrap_or_else(|error| panic!("{line}: {error}")))
}

/// Whether some operator gave so many rows and counted bytes and time.
fn gave(operators: &[serde_json::Value], rows: u64) -> bool {
    let counted = |operator: &serde_json::Value, what: &str| operator[what].as_u64();
    operators.iter().any(|one| {
        let busy = counted(one, "busy_us").is_some();
        one["operator"].is_string() && counted(one, "rows") == Some(rows) && counted(one, "bytes") > Some(0) && busy
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_operator_figures_are_in_the_own_log_and_only_there() {
    record::start();
    let federation = Federation::start(["1,a,100\n2,b,200\n3,c,300\n", "11,a,1\n"], PLAIN).await;
    let graph = through_surf(&federation, "figures_whole", 9);
    federation.submit(&graph).await;
    federation.rows(&graph).await.unwrap();
    for fragment in [0, 1, 2] {
        let (line, operators) = ended("figures_whole", fragment);
        assert!(line.contains("given=Whole") && line.contains("rows=3 ") && line.contains("ran_us="), "{line}");
        assert_eq!(operators[0]["depth"], 0, "{line}");
        assert!(fragment != 2 || gave(&operators, 3), "{line}");
    }
    // What others are told stays in buckets.
    let told = federation.executor("uva").report(&graph.query);
    assert!(told.iter().all(|one| one.rows_bucket >= 1024), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_fragments_that_fail_or_are_left_say_what_they_did_until_then() {
    record::start();
    let many: String = (0..60_000).map(|id| format!("{id},g,1\n")).collect();
    let federation = Federation::start([&many, "11,a,1\n"], PLAIN).await;
    let graph = through_surf(&federation, "figures_failed", 2);
    federation.submit(&graph).await;
    assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::DataError);
    let (line, operators) = ended("figures_failed", 2);
    assert!(line.contains("given=Part") && line.contains("code=\"DATA_ERROR\""), "{line}");
    assert!(!operators.is_empty(), "{line}");

    // The reader goes after its first rows: no fragment has given all of its own.
    let graph = through_surf(&federation, "figures_left", 9);
    federation.submit(&graph).await;
    let mut rows = federation.coordinator.open_root(&graph.query).unwrap();
    assert!(rows.next().await.unwrap().unwrap().num_rows() > 0);
    drop(rows);
    while federation.coordinator.report(&graph.query).is_empty() {
        tokio::task::yield_now().await;
    }
    let (line, operators) = ended("figures_left", 0);
    assert!(line.contains("given=Part") && line.contains("code=\"\""), "{line}");
    assert!(!operators.is_empty(), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_rows_are_in_no_log_but_their_stewards() {
    record::start();
    let federation = Federation::start([&format!("1,{CANARY},100\n"), "11,a,1\n"], PLAIN).await;
    for (fails, place) in [(0, "coordinator"), (1, "surf")] {
        let graph = through_surf(&federation, &format!("canary_at_{place}"), fails);
        federation.submit(&graph).await;
        assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::DataError, "{place}");
        let failed = record::lines_with(&format!("query_id=canary_at_{place}"));
        let failed: Vec<&String> = failed.iter().filter(|line| line.contains("fragment failed")).collect();
        let of_place = format!("fragment_id={} ", FragmentId(fails));
        assert!(failed.iter().any(|line| line.contains(&of_place) && line.contains("kind=\"cast\"")), "{failed:?}");
        assert_eq!(record::lines_with(CANARY), Vec::<String>::new(), "{place}");
    }
    // Its own operator is to find the row.
    let graph = through_surf(&federation, "canary_at_home", 2);
    federation.submit(&graph).await;
    assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::DataError);
    let lines = record::lines_with(CANARY);
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.contains("fragment failed") && line.contains("query_id=canary_at_home"), "{line}");
}
