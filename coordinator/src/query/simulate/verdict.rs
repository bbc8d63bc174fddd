//! A decision in words for one steward: what its own agreements say, and of others' only that they stand in the way.

use dynamos_proto::ids::SiteId;

use crate::query::engine::QueryEngine;
use crate::query::planner_door::{PermittedPlan, PlanRequest, Refusal, Verdict, nearest_hint};
use crate::query::queries::Asked;

impl QueryEngine {
    /// What is decided about a question, with what could be asked instead if that is wanted.
    pub(super) async fn verdict(
        &self,
        asked: &Asked,
        request: &PlanRequest,
        steward: &SiteId,
        suggest: bool,
    ) -> String {
        let sql = asked.sql.as_deref().unwrap_or_default();
        let parameters = || asked.parameters.clone();
        match self.planning.plan(sql, parameters(), request).await {
            Ok(Verdict::Permitted(plan)) => permitted(plan.as_ref(), steward),
            Ok(Verdict::Denied(refusal)) => {
                let nearest = if suggest { self.planning.nearest(sql, parameters(), request).await } else { None };
                let nearest = nearest.map(|sql| format!("; {}", nearest_hint(&sql))).unwrap_or_default();
                denied(&refusal, steward) + &nearest
            }
            // A table that no agreement shows does not exist for who asks.
            Err(error) => format!("refused: {}", error.message),
        }
    }
}

fn permitted(plan: &dyn PermittedPlan, steward: &SiteId) -> String {
    let own = format!("{steward}: ");
    let edges = plan.verdicts().iter().filter(|edge| edge.clauses.iter().any(|one| one.starts_with(&own)));
    let edges = edges.map(|edge| {
        let reader = edge.to.map_or_else(|| "requester".to_owned(), |id| id.to_string());
        let clauses = edge.clauses.iter().filter(|one| one.starts_with(&own)).cloned();
        format!("{} → {reader}: {} by {}", edge.from, edge.what, clauses.collect::<Vec<_>>().join(", "))
    });
    let edges: Vec<String> = edges.collect();
    if edges.is_empty() { "permitted".to_owned() } else { format!("permitted; {}", edges.join("; ")) }
}

fn denied(refusal: &Refusal, steward: &SiteId) -> String {
    let foreign = |other: &Option<SiteId>| other.as_ref().is_some_and(|other| other != steward);
    let own = refusal.reasons.iter().filter(|reason| !foreign(&reason.steward)).map(|reason| reason.text.clone());
    let mut texts: Vec<String> = own.collect();
    if refusal.reasons.iter().any(|reason| foreign(&reason.steward)) {
        texts.push("another steward does not allow it".to_owned());
    }
    format!("denied: {}", texts.join("; "))
}
