//! The session state that planner and sites share: DataFusion's functions and the agreed ones, no tables, no files. Its sums
//! and averages of doubles are exact, and no comparison takes a function apart before it has been checked.

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::functions::datetime::date_part;
use datafusion::functions::math::floor;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::prelude::SessionConfig;

use super::as_written::{AsTheEngine, Extraction, as_written};
use super::exact_aggregate::{exact_engine_average, exact_engine_sum};
use super::hash_key::hash_key;
use super::pushdown::physical_rules;
use super::remainder::is_remainder;
use super::{average_of, exact_sum, sum_of, united_sums};

/// What [`rules`] leaves out.
const LEFT_OUT: [&str; 2] = ["single_distinct_aggregation_to_group_by", "eliminate_cross_join"];

/// The state in which the planner resolves functions and both sides read Substrait. Both must compare calls as they are
/// written, see `as_written.rs`: the functions that a fragment calls are those of the state that read it.
pub fn engine_state() -> SessionState {
    state_with(SessionConfig::new().with_target_partitions(1), Arc::new(RuntimeEnv::default()), rules())
}

/// The same state with a site's own configuration and memory limits, to run plans that have been checked. Its functions
/// are the same, for both states' are found in one plan; its first rule makes the engine's own of them, which prune
/// files.
pub fn engine_state_with(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    let mut all: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(AsTheEngine)];
    all.extend(rules());
    state_with(config, runtime, all)
}

fn state_with(
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
    rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>,
) -> SessionState {
    // Scalar subqueries become joins, which have a place; a subquery expression would hide one.
    let config = config.set_bool("datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery", false);
    // Rules disagree on which columns may be NULL; on the wire all may.
    let config = config.set_bool("datafusion.execution.skip_physical_aggregate_schema_check", true);
    let year = Arc::new(as_written(date_part()));
    // The first planner that knows what to make of an expression is the one that does; the defaults come after these.
    let planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Extraction { date_part: Arc::clone(&year) })];
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_expr_planners(planners)
        .with_default_features()
        .with_optimizer_rules(rules)
        .with_physical_optimizer_rules(physical_rules())
        .build();
    // Registering a scalar function in a fresh state cannot fail; the name is ours.
    let previous = datafusion::execution::FunctionRegistry::register_udf(&mut state, Arc::new(average_of()));
    debug_assert!(matches!(previous, Ok(None)), "`dynamos_average` must be registered once");
    let previous = datafusion::execution::FunctionRegistry::register_udf(&mut state, Arc::new(hash_key()));
    debug_assert!(matches!(previous, Ok(None)), "`dynamos_hash_key` must be registered once");
    let previous = datafusion::execution::FunctionRegistry::register_udaf(&mut state, Arc::new(is_remainder()));
    debug_assert!(matches!(previous, Ok(None)), "`dynamos.is_remainder` must be registered once");
    let previous = datafusion::execution::FunctionRegistry::register_udf(&mut state, Arc::new(sum_of()));
    debug_assert!(matches!(previous, Ok(None)), "`dynamos_sum_of` must be registered once");
    for exact in [exact_sum(), united_sums()] {
        let previous = datafusion::execution::FunctionRegistry::register_udaf(&mut state, Arc::new(exact));
        debug_assert!(matches!(previous, Ok(None)), "exact sums must be registered once");
    }
    for written in [year, Arc::new(as_written(floor()))] {
        let previous = datafusion::execution::FunctionRegistry::register_udf(&mut state, written);
        debug_assert!(matches!(previous, Ok(Some(_))), "the engine has no `date_part` or no `floor`");
    }
    for exact in [exact_engine_sum(), exact_engine_average()] {
        let previous = datafusion::execution::FunctionRegistry::register_udaf(&mut state, Arc::new(exact));
        debug_assert!(matches!(previous, Ok(Some(_))), "the engine has no `sum` or no `avg`");
    }
    state
}

/// DataFusion's optimizer rules but for two. `single_distinct_aggregation_to_group_by` sums sums beside a DISTINCT aggregate,
/// which gives decimals of another type than the query's, so that a fragment would not give the columns it declares.
/// `eliminate_cross_join` loses conditions such as `a.x + b.y = c.z` when it reorders joins, and their order is decided by
/// the planner.
fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    Optimizer::new().rules.into_iter().filter(|rule| !LEFT_OUT.contains(&rule.name())).collect()
}
