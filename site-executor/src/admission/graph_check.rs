//! The seam between admission and the check of a graph's edges. Outside of this crate's own tests there is one
//! implementation, and no configuration selects another.

use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::policy::{CheckInput, EdgeVerdict, Refusal, check_graph};

/// Finds a graph allowed, edge by edge, or refuses it.
pub(crate) trait GraphCheck: std::fmt::Debug + Send + Sync {
    fn check(&self, graph: &FragmentGraph, input: &CheckInput<'_>) -> Result<Vec<EdgeVerdict>, Refusal>;
}

/// The check by the agreements that the place holds.
#[derive(Debug)]
pub(crate) struct AgreementCheck;

impl GraphCheck for AgreementCheck {
    fn check(&self, graph: &FragmentGraph, input: &CheckInput<'_>) -> Result<Vec<EdgeVerdict>, Refusal> {
        check_graph(graph, input)
    }
}
