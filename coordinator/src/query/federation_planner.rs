//! [`FederationPlanner`]: the door that leads to the planner itself. It translates and decides nothing.

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::knowledge::Knowledge;
use dynamos_planner::policy::{Denial, EdgeVerdict};
use dynamos_planner::{
    PermittedQuery, PlanError, Planned, PlanningInput, describe_query, nearest_query, plan_query, visible_tables,
};
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};

use super::planner_door::{
    Description, Links, PermittedPlan, PlanRequest, PlannerDoor, Refusal, Verdict, VisibleTable,
};
use crate::registry::Snapshot;

/// The planner of `dynamos_planner`.
#[derive(Clone, Debug)]
pub struct FederationPlanner {
    knowledge: Knowledge,
}

impl FederationPlanner {
    /// A planner that assumes this of every link.
    pub fn new(links: Links) -> Self {
        Self::with_knowledge(Knowledge { default_link: links.into(), ..Knowledge::default() })
    }

    /// A planner that believes this.
    pub fn with_knowledge(knowledge: Knowledge) -> Self {
        Self { knowledge }
    }

    fn input<'a>(&'a self, request: &'a PlanRequest) -> PlanningInput<'a> {
        PlanningInput {
            catalog: &request.snapshot.catalog,
            agreements: &request.snapshot.agreements,
            purposes: &request.purposes,
            requester: &request.requester,
            purpose: request.purpose.as_deref(),
            agreement: request.agreement.as_deref(),
            placement: request.placement,
            default_schema: request.default_schema.as_deref(),
            knowledge: &self.knowledge,
            query: request.query.clone(),
            attempt: request.attempt,
            now: request.now,
            token_hash: request.token_hash.clone(),
        }
    }
}

impl PlannerDoor for FederationPlanner {
    fn plan(&self, sql: &str, parameters: &[ScalarValue], request: &PlanRequest) -> Result<Verdict, ServiceError> {
        match plan_query(sql, parameters, &self.input(request)).map_err(|error| failed(&error))? {
            Planned::Permitted(query) => Ok(Verdict::Permitted(query)),
            Planned::Denied(denial) => match unavailable(&denial, &request.snapshot) {
                Some(error) => Err(error),
                None => {
                    let (reason, hint) = (denial.to_string(), denial.hint());
                    Ok(Verdict::Denied(Refusal { reason, reasons: denial.reasons, hint }))
                }
            },
        }
    }

    fn nearest(&self, sql: &str, parameters: &[ScalarValue], request: &PlanRequest) -> Option<String> {
        nearest_query(sql, parameters, &self.input(request)).map(|nearest| nearest.sql)
    }

    fn describe(&self, sql: &str, request: &PlanRequest) -> Result<Description, ServiceError> {
        let described = describe_query(sql, &self.input(request)).map_err(|error| failed(&error))?;
        Ok(Description { schema: described.schema, parameters: described.parameters })
    }

    fn visible_tables(&self, request: &PlanRequest) -> Result<Vec<VisibleTable>, ServiceError> {
        let tables = visible_tables(&self.input(request)).map_err(|error| failed(&error))?;
        let shown =
            tables.into_iter().map(|table| VisibleTable { site: table.site, name: table.name, schema: table.schema });
        Ok(shown.collect())
    }
}

impl PermittedPlan for PermittedQuery {
    fn graph(&self) -> &FragmentGraph {
        self.graph()
    }

    fn graph_bytes(&self) -> &[u8] {
        self.graph_bytes()
    }

    fn schema(&self) -> SchemaRef {
        self.schema()
    }

    fn agreements_for(&self, site: &SiteId) -> Vec<(SiteId, String)> {
        self.agreements_for(site)
    }

    fn verdicts(&self) -> &[EdgeVerdict] {
        self.verdicts()
    }

    fn explain(&self) -> String {
        dynamos_planner::explain(self)
    }
}

/// A denial for no other reason than that stewards do not answer is not the agreements' doing and may be retried.
fn unavailable(denial: &Denial, snapshot: &Snapshot) -> Option<ServiceError> {
    let down = |site: &Option<SiteId>| site.as_ref().is_some_and(|site| !snapshot.is_up(site));
    let first = denial.reasons.first()?;
    denial
        .reasons
        .iter()
        .all(|reason| down(&reason.steward))
        .then(|| ServiceError::new(Code::SiteUnavailable, first.text.clone()))
}

fn failed(error: &PlanError) -> ServiceError {
    ServiceError::new(error.code(), error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dynamos_planner::policy::Reason;

    use super::*;

    #[test]
    fn a_steward_that_is_silent_is_unavailable_and_not_a_denial() {
        let reason =
            |steward: &str| Reason { steward: Some(SiteId::new(steward)), text: format!("`{steward}` is silent") };
        let denied = |reasons| unavailable(&Denial { reasons }, &Snapshot::default());
        let error = denied(vec![reason("vu")]).unwrap();
        assert_eq!((error.code, error.message.contains("`vu`")), (Code::SiteUnavailable, true));
        assert_eq!(denied(vec![reason("vu"), Reason { steward: None, text: "no clause".into() }]), None);
        assert_eq!(denied(vec![]), None);
    }

    #[test]
    fn links_are_configured_in_bits_and_costed_in_bytes() {
        let links = Links { bandwidth_mbit_per_s: 1000, latency: Duration::from_millis(1) };
        assert_eq!(FederationPlanner::new(links).knowledge.default_link, Knowledge::default().default_link);
    }
}
