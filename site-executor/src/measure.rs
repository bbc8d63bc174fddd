//! What a place tells about the fragments it ran. Exact figures describe people's data, so row and byte counts leave as
//! powers of two, with everything small in one bucket; exact ones go to the own log, as numbers and operator names only.

use datafusion::physical_plan::ExecutionPlan;

/// Counts below this are not told apart.
const BUCKET_FLOOR: u64 = 1024;

/// The bucket of a count: the next power of two, at least the floor and the largest minimum in force.
pub(crate) fn bucket(count: u64, largest_minimum: u32) -> u64 {
    let floor = BUCKET_FLOOR.max(u64::from(largest_minimum).next_power_of_two());
    count.checked_next_power_of_two().unwrap_or(u64::MAX).max(floor)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_counts_look_the_same() {
        assert_eq!([0, 1, 9, 1024].map(|count| bucket(count, 10)), [1024; 4]);
        assert_eq!(bucket(1025, 10), 2048);
        assert_eq!(bucket(1, 3000), 4096);
        assert_eq!(bucket(u64::MAX, 0), u64::MAX);
    }
}
