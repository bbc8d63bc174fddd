//! What a protected view shows, and what cannot get below it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use datafusion::catalog::TableProvider;
use datafusion::common::JoinType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect, displayable};
use datafusion::prelude::{SessionConfig, col, lit};
use dynamos_planner::function::{engine_state, engine_state_with};

use super::barrier::BarrierExec;
use super::leak_proof::is_leak_proof;
use super::{ProtectedTable, PushDown};

fn raw() -> Arc<dyn TableProvider> {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let codes: ArrayRef = Arc::new(StringArray::from(vec!["10", "hidden", "30"]));
    let batch = RecordBatch::try_from_iter([("id", ids), ("code", codes)]).unwrap();
    Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap())
}

/// A view that hides the row with id 2.
fn view(push_down: PushDown) -> Arc<ProtectedTable> {
    let hiding = LogicalPlanBuilder::scan("wages.persons", provider_as_source(raw()), None).unwrap();
    ProtectedTable::new(hiding.filter(col("id").not_eq(lit(2_i64))).unwrap().build().unwrap(), push_down)
}

fn filtered(push_down: PushDown, predicate: Expr) -> LogicalPlan {
    let scan = LogicalPlanBuilder::scan("uva.wages.persons", provider_as_source(view(push_down)), None).unwrap();
    scan.filter(predicate).unwrap().build().unwrap()
}

async fn planned(push_down: PushDown, predicate: Expr) -> Arc<dyn ExecutionPlan> {
    engine_state().create_physical_plan(&filtered(push_down, predicate)).await.unwrap()
}

/// The operators above and below the barrier, as text.
fn around_barrier(plan: &Arc<dyn ExecutionPlan>) -> (String, String) {
    let text = |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
    let mut below = Vec::new();
    plan.apply(|node| {
        below.extend(node.downcast_ref::<BarrierExec>().map(|barrier| text(barrier.inside())));
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    let [below] = <[String; 1]>::try_from(below).unwrap();
    (text(plan), below)
}

async fn rows(plan: Arc<dyn ExecutionPlan>) -> usize {
    let batches = collect(plan, engine_state().task_ctx()).await.unwrap();
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn hidden_rows_are_not_there() {
    assert_eq!(rows(planned(PushDown::LeakProof, lit(true)).await).await, 2);
    assert_eq!(rows(planned(PushDown::LeakProof, col("id").eq(lit(2_i64))).await).await, 0);
}

#[tokio::test]
async fn a_predicate_that_fails_on_hidden_rows_never_sees_them() {
    let number = cast(col("code"), arrow::datatypes::DataType::Int64).gt(lit(5_i64));
    let plan = planned(PushDown::LeakProof, number).await;
    let (above, below) = around_barrier(&plan);
    assert!(above.contains("CAST") && !below.contains("CAST"), "{above}{below}");
    assert_eq!(rows(plan).await, 2);
}

#[tokio::test]
async fn leak_proof_predicates_reach_the_scan_of_a_view_but_not_a_release_point() {
    let predicate = || col("code").eq(lit("30"));
    let (above, below) = around_barrier(&planned(PushDown::LeakProof, predicate()).await);
    assert!(!above.contains("code") && below.contains("code"), "{above}{below}");
    let plan = planned(PushDown::Nothing, predicate()).await;
    let (above, below) = around_barrier(&plan);
    assert!(above.contains("code") && !below.contains("30"), "{above}{below}");
    assert_eq!(rows(plan).await, 1);
}

#[tokio::test]
async fn what_a_join_finds_while_it_runs_stays_above() {
    let other = LogicalPlanBuilder::scan("other", provider_as_source(raw()), None).unwrap();
    let joined = LogicalPlanBuilder::from(filtered(PushDown::LeakProof, lit(true)))
        .join(other.build().unwrap(), datafusion::common::JoinType::Inner, (vec!["code"], vec!["code"]), None)
        .unwrap();
    let plan = engine_state().create_physical_plan(&joined.build().unwrap()).await.unwrap();
    let (above, below) = around_barrier(&plan);
    assert!(above.contains("HashJoin") && !below.is_empty() && !below.contains("DynamicFilter"), "{above}{below}");
    assert_eq!(rows(plan).await, 2);
}

#[test]
fn only_comparisons_with_literals_of_the_same_type_are_leak_proof() {
    let schema = raw().schema();
    let id = || col("id");
    for fine in [
        id().eq(lit(1_i64)),
        lit(1_i64).lt(id()),
        id().in_list(vec![lit(1_i64), lit(2_i64)], true),
        col("code").is_not_null().and(id().gt(lit(1_i64)).or(col("code").eq(lit("x")))),
        Expr::Not(Box::new(id().eq(lit(1_i64)))),
    ] {
        assert!(is_leak_proof(&fine, &schema), "{fine}");
    }
    for leaking in [
        id().eq(lit(1_i32)),
        id().eq(col("code")),
        (lit(1_i64) / id()).gt(lit(0_i64)),
        col("code").like(lit("1%")),
        cast(col("code"), arrow::datatypes::DataType::Int64).eq(lit(1_i64)),
        id().eq(lit(1_i64)).and((lit(1_i64) / id()).eq(lit(1_i64))),
        (id() + lit(1_i64)).is_null(),
        col("unknown").eq(lit(1_i64)),
    ] {
        assert!(!is_leak_proof(&leaking, &schema), "{leaking}");
    }
}

#[test]
fn nothing_is_known_above_a_barrier_of_what_is_below() {
    let empty = Arc::new(datafusion::physical_plan::empty::EmptyExec::new(raw().schema()));
    let barrier = BarrierExec::new(empty);
    assert!(barrier.properties().output_ordering().is_none());
}

/// What is seen of 20 002 numbered rows with hidden ones before these: ROWS clauses hide them, and by way of another table
/// the first two of all.
async fn seen(hidden: &[i64]) -> Vec<RecordBatch> {
    let (mut rows, mut hidden) = (Vec::new(), hidden.iter().peekable());
    for number in 0..20_002 {
        rows.extend(std::iter::from_fn(|| hidden.next_if(|at| **at <= number)).map(|_| (-1, None)));
        rows.push((number, Some(number % 3)));
    }
    let pieces = rows.chunks(5000).map(|rows| {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(number, _)| *number)));
        let shown: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|(_, shown)| *shown)));
        vec![RecordBatch::try_from_iter_with_nullable([("n", numbers, false), ("shown", shown, true)]).unwrap()]
    });
    let pieces: Vec<Vec<RecordBatch>> = pieces.collect();
    let table: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(pieces[0][0].schema(), pieces).unwrap());
    let scan = |name: &str| LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(&table)), None).unwrap();
    let others = scan("other").filter(col("n").lt(lit(2_i64))).unwrap().build().unwrap();
    let view = scan("t").filter(col("shown").is_not_null()).unwrap().build().unwrap();
    let on = (vec!["other.n"], vec!["t.n"]);
    let view = LogicalPlanBuilder::from(others).join(view, JoinType::RightAnti, on, None).unwrap();
    let table = ProtectedTable::new(view.build().unwrap(), PushDown::LeakProof);
    let rows = LogicalPlanBuilder::scan("v", provider_as_source(table), None).unwrap().build().unwrap();
    let state = engine_state_with(SessionConfig::new().with_target_partitions(4), Arc::default());
    let plan = state.create_physical_plan(&rows).await.unwrap();
    assert_eq!(plan.output_partitioning().partition_count(), 1);
    collect(plan, state.task_ctx()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e3_a_view_is_in_order_and_cut_where_its_own_rows_say() {
    let alone = seen(&[]).await;
    assert_eq!(alone.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [8192, 8192, 20_000 - 2 * 8192]);
    let numbers = alone.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
    assert!(numbers.copied().eq(2..20_002));
    for hidden in [vec![0], vec![0; 9000], vec![4999; 3], vec![17, 8192, 8193, 20_001], (0..20_000).collect()] {
        for _ in 0..3 {
            assert!(seen(&hidden).await == alone, "{} hidden rows are seen", hidden.len());
        }
    }
}
