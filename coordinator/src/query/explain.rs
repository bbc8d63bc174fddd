//! EXPLAIN, EXPLAIN POLICY and the report of EXPLAIN ANALYZE as text. Nothing of a row is in it, and of sizes only the
//! buckets that sites report.

use std::fmt::Write;

use dynamos_planner::policy::Denial;
use dynamos_proto::v1;

use super::planner_door::{PermittedPlan, PlanRequest, Refusal};

/// The column of an explanation.
pub(super) const COLUMN: &str = "plan";

/// The report on a query that may run.
pub(super) fn permitted(plan: &dyn PermittedPlan, request: &PlanRequest) -> String {
    dynamos_planner::explain_policy(plan.graph(), plan.verdicts(), &plan.schema(), &request.policy())
}

/// The report on a query that may not run, with what could be asked instead.
pub(super) fn denied(refusal: Refusal, nearest: Option<&str>, request: &PlanRequest) -> String {
    dynamos_planner::explain_denial(&Denial { reasons: refusal.reasons }, nearest, &request.policy())
}

/// What places measured, one line a fragment.
pub(super) fn measured(reports: &[v1::FragmentReport]) -> String {
    let mut reports: Vec<&v1::FragmentReport> = reports.iter().collect();
    reports.sort_by(|a, b| (a.fragment, &a.place).cmp(&(b.fragment, &b.place)));
    let mut text = String::from("measured\n");
    for report in reports {
        let _ = writeln!(
            text,
            "  f{} {}  rows ≤ {}  bytes ≤ {}  queued {} µs  planned {} µs  ran {} µs{}",
            report.fragment,
            report.place,
            report.rows_bucket,
            report.bytes_bucket,
            report.queued_us,
            report.planned_us,
            report.ran_us,
            match report.released {
                Some(true) => "  released groups of its own",
                Some(false) => "  released nothing",
                None => "",
            }
        );
    }
    text
}
