//! What a place tells about the fragments it ran: row and byte counts in buckets. Exact ones go to the own log, as numbers and
//! operator names only.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;
pub(crate) use dynamos_proto::bucket::bucket;
use serde::Serialize;

use crate::protected::BarrierExec;

/// What one operator of a fragment did, as far as it counted; an operator that was stopped has counted until then.
#[derive(Debug, PartialEq, Serialize)]
struct OperatorFigures<'a> {
    /// How far below the fragment's output it stands.
    depth: usize,
    operator: &'a str,
    /// Rows that it gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
    /// Bytes of these rows in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// Bytes that did not fit into memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    spilled_bytes: Option<usize>,
    /// Time that it computed, on all threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    busy_us: Option<usize>,
}

/// What each operator of a fragment did so far, as a list in JSON for the own log: from the output downwards, inputs behind
/// the operator that they belong to.
pub(crate) fn operators(plan: &Arc<dyn ExecutionPlan>) -> String {
    let mut all = Vec::new();
    collect(plan, 0, &mut all);
    // Numbers and names can be written as JSON.
    serde_json::to_string(&all).unwrap_or_default()
}

fn collect<'a>(plan: &'a Arc<dyn ExecutionPlan>, depth: usize, all: &mut Vec<OperatorFigures<'a>>) {
    let metrics = plan.metrics().unwrap_or_default();
    let bytes = metrics.sum(|metric| matches!(metric.value(), MetricValue::OutputBytes(_)));
    all.push(OperatorFigures {
        depth,
        operator: plan.name(),
        rows: metrics.output_rows(),
        bytes: bytes.map(|bytes| bytes.as_usize()),
        spilled_bytes: metrics.spilled_bytes().filter(|bytes| *bytes > 0),
        busy_us: metrics.elapsed_compute().map(|busy_ns| busy_ns / 1000),
    });
    let inside = plan.downcast_ref::<BarrierExec>().map(BarrierExec::inside);
    for child in plan.children().into_iter().chain(inside) {
        collect(child, depth + 1, all);
    }
}
