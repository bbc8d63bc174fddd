//! What a place tells about the fragments it ran: row and byte counts in buckets. Exact ones go to the own log, as numbers and
//! operator names only.

use datafusion::physical_plan::ExecutionPlan;
pub(crate) use dynamos_proto::bucket::bucket;

/// Writes what each operator did to the own log.
pub(crate) fn log_operators(plan: &dyn ExecutionPlan, depth: usize) {
    let figures = plan.metrics();
    let rows = figures.as_ref().and_then(|metrics| metrics.output_rows());
    let busy_ns = figures.as_ref().and_then(|metrics| metrics.elapsed_compute());
    tracing::debug!(depth, operator = plan.name(), rows, busy_ns, "operator finished");
    for child in plan.children() {
        log_operators(child.as_ref(), depth + 1);
    }
}
