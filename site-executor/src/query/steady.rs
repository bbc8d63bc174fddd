//! Which rows a LIMIT keeps, and in which order rows come, should not be a matter of which thread is fastest: that may depend
//! on much, rows that are not in view among it. So where partitions give the same rows in the same order each time, they are
//! put together so that the whole is the same each time, too. Partitions that rows are hashed to, and those of several
//! places, are not such ones: the engine puts them together as they come.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::in_turn::InTurnExec;
use super::yielding::YieldExec;
use crate::protected::{BarrierExec, DecisionExec, InOrderExec};

/// The plan with steady partitions taking turns where the engine would take the rows that are there first.
pub(super) fn steady(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let steady = plan.transform_up(|node| {
        if let Some(as_they_come) = node.downcast_ref::<CoalescePartitionsExec>() {
            let rows = gathered(Arc::clone(as_they_come.input()));
            if !rows.is::<InTurnExec>() {
                return Ok(Transformed::no(node));
            }
            let limited: Arc<dyn ExecutionPlan> = match as_they_come.fetch() {
                Some(fetch) => Arc::new(GlobalLimitExec::new(rows, 0, Some(fetch))),
                None => rows,
            };
            return Ok(Transformed::yes(limited));
        }
        Ok(match first_rows(&node)? {
            Some(sorted) => Transformed::yes(sorted),
            None => Transformed::no(node),
        })
    });
    Ok(steady?.data)
}

/// The rows in one partition, if they are in several steady ones; else as they are.
pub(super) fn gathered(rows: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if partitions(&rows) > 1 && is_steady(&rows) { InTurnExec::over(&rows) } else { rows }
}

/// A sort of which only the first rows are asked for, in one partition. In several they would tell each other what is not
/// among the first, and of equal rows those of the slower ones would be lost.
fn first_rows(merge: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(merge) = merge.downcast_ref::<SortPreservingMergeExec>() else { return Ok(None) };
    let Some(sort) = merge.input().downcast_ref::<SortExec>() else { return Ok(None) };
    let rows = gathered(Arc::clone(sort.input()));
    if sort.fetch().is_none() || !rows.is::<InTurnExec>() {
        return Ok(None);
    }
    let sort = sort.with_fetch(merge.fetch().or(sort.fetch())).with_preserve_partitioning(false);
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::new(sort).replace_children(vec![rows], options).map(Some)
}

fn partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.output_partitioning().partition_count()
}

/// Whether each partition gives the same rows in the same order whenever it is computed, whatever other threads do. An
/// operator that is not known is not taken to be so.
fn is_steady(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let below = || plan.children().into_iter().all(is_steady);
    if let Some(barrier) = plan.downcast_ref::<BarrierExec>() {
        return is_steady(barrier.inside());
    }
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        // Threads that are done take over files of others.
        return scan.data_source().is::<MemorySourceConfig>() || partitions(plan) == 1;
    }
    if let Some(dealt) = plan.downcast_ref::<RepartitionExec>() {
        let in_turn = matches!(dealt.partitioning(), Partitioning::RoundRobinBatch(_));
        return in_turn && partitions(dealt.input()) == 1 && below();
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return (sort.fetch().is_none() || partitions(plan) == 1) && below();
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return partitions(aggregate.input()) == 1 && below();
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        // Rows that found no partner are given by the partition that is the last to end.
        let passes = matches!(
            join.join_type(),
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
        );
        let gathers = *join.partition_mode() == PartitionMode::CollectLeft;
        return gathers && (passes || partitions(join.right()) == 1) && below();
    }
    let source = plan.is::<InOrderExec>()
        || plan.is::<DecisionExec>()
        || plan.is::<StreamingTableExec>()
        || plan.is::<EmptyExec>()
        || plan.is::<PlaceholderRowExec>();
    let row_by_row = plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<YieldExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<GlobalLimitExec>();
    let in_order = plan.is::<InTurnExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<WindowAggExec>()
        || plan.is::<BoundedWindowAggExec>();
    source || ((row_by_row || in_order) && below())
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::datasource::{MemTable, provider_as_source};
    use datafusion::execution::SessionState;
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};
    use datafusion::physical_plan::{collect, displayable};
    use datafusion::prelude::{SessionConfig, col};
    use dynamos_planner::function::engine_state_with;

    use super::*;
    use crate::protected::{ProtectedTable, PushDown};

    const ROWS: i64 = 60_000;

    fn state() -> SessionState {
        engine_state_with(SessionConfig::new().with_target_partitions(3), Arc::default())
    }

    /// A view of rows 0..[`ROWS`] in that order, with hidden ones among them: each before the row of this number, in order.
    fn view(hidden: &[i64]) -> LogicalPlanBuilder {
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, false),
            Field::new("tens", DataType::Int64, false),
        ]));
        let (mut numbers, mut hidden) = (Vec::new(), hidden.iter().peekable());
        for number in 0..ROWS {
            numbers.extend(std::iter::from_fn(|| hidden.next_if(|at| **at <= number)).map(|_| -1));
            numbers.push(number);
        }
        let batches = numbers.chunks(8192).map(|numbers| {
            let columns = [numbers.to_vec(), numbers.iter().map(|number| number % 10).collect()];
            let columns = columns.map(|column| Arc::new(Int64Array::from(column)) as _);
            vec![RecordBatch::try_new(Arc::clone(&schema), columns.to_vec()).unwrap()]
        });
        let table = MemTable::try_new(Arc::clone(&schema), batches.collect()).unwrap();
        let raw = LogicalPlanBuilder::scan("t", provider_as_source(Arc::new(table)), None).unwrap();
        let view = raw.filter(col("n").gt_eq(lit(0_i64))).unwrap().build().unwrap();
        let table = ProtectedTable::new(view, PushDown::LeakProof);
        LogicalPlanBuilder::scan("v", provider_as_source(table), None).unwrap()
    }

    async fn planned(rows: LogicalPlanBuilder) -> Arc<dyn ExecutionPlan> {
        steady(state().create_physical_plan(&rows.build().unwrap()).await.unwrap()).unwrap()
    }

    async fn numbers(rows: LogicalPlanBuilder) -> Vec<i64> {
        let plan = gathered(planned(rows).await);
        assert_eq!(partitions(&plan), 1, "{}", displayable(plan.as_ref()).indent(false));
        let batches = collect(plan, state().task_ctx()).await.unwrap();
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn e3_order_and_limits_are_those_of_the_rows_in_view() {
        let sevenths = || (col("n") % lit(7_i64)).eq(lit(3_i64));
        let by_tens = || vec![col("tens").sort(false, false)];
        let mut before = None;
        for hidden in [vec![], vec![0; 20_000], vec![0], vec![9_000; 8_191], vec![1, 8_192, 30_000, 59_999]] {
            let all = numbers(view(&hidden)).await;
            assert!(all.iter().copied().eq(0..ROWS), "the order is the table's");
            let mut seen = vec![numbers(view(&hidden).limit(0, Some(3)).unwrap()).await];
            for _ in 0..3 {
                seen.push(numbers(view(&hidden).filter(sevenths()).unwrap()).await);
                seen.push(numbers(view(&hidden).filter(sevenths()).unwrap().limit(2, Some(40)).unwrap()).await);
                let sorted = view(&hidden).filter(sevenths()).unwrap().sort(by_tens()).unwrap();
                seen.push(numbers(sorted.clone()).await);
                seen.push(numbers(sorted.limit(0, Some(12)).unwrap()).await);
            }
            assert_eq!(seen[0], [0, 1, 2]);
            assert_eq!(seen[1..5], seen[5..9]);
            let lengths: Vec<usize> = seen[1..5].iter().map(Vec::len).collect();
            assert_eq!(lengths, [8571, 40, 8571, 12]);
            assert!(before.as_ref().is_none_or(|before| *before == seen), "{} hidden rows are seen", hidden.len());
            before = Some(seen);
        }
    }

    #[tokio::test]
    async fn rows_that_race_are_left_to_the_engine() {
        let grouped = view(&[]).aggregate(vec![col("n")], Vec::<datafusion::prelude::Expr>::new()).unwrap();
        let plan = planned(grouped.limit(0, Some(3)).unwrap()).await;
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert!(text.contains("Hash") && text.contains("CoalescePartitionsExec"), "{text}");
    }
}
