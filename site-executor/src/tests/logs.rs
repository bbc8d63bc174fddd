//! What a place writes into its log about a fragment: of its own rows what helps its operator, of others' rows nothing.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{cast, col};
use dynamos_planner::fragment::{Fragment, FragmentGraph};
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::FragmentId;
use dynamos_proto::status::Code;

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
    let rows = scan_persons("uva");
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
