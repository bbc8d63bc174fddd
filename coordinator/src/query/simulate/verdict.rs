//! A decision in words for one steward: what its own agreements say, and of others' only that they stand in the way, in the
//! same words whatever it is that they do not allow or do not show. Of a question that somebody else asked no literal is told.

use dynamos_planner::policy::Reason;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::ServiceError;

use super::cases::{Case, Telling};
use crate::decision::without_literals;
use crate::query::engine::QueryEngine;
use crate::query::planner_door::{PermittedPlan, PlanRequest, Refusal, Verdict, nearest_hint};

/// All that is told of what is not about the steward's own tables and agreements.
const OTHERS: &str = "another steward does not allow it, or shows this person nothing of the kind";

impl QueryEngine {
    /// What is decided about a question, with what could be asked instead if that can be told.
    pub(super) async fn verdict(&self, case: &Case, request: &PlanRequest, steward: &SiteId) -> String {
        let sql = case.asked.sql.as_deref().unwrap_or_default();
        let parameters = || case.asked.parameters.clone();
        match self.planning.plan(sql, parameters(), request).await {
            Ok(Verdict::Permitted(plan)) => permitted(plan.as_ref(), steward),
            Ok(Verdict::Denied(refusal)) => {
                // Of others' agreements a suggestion would tell; of many queries it would be long in coming.
                let suggest = case.telling.own && !case.telling.recent;
                let nearest = if suggest { self.planning.nearest(sql, parameters(), request).await } else { None };
                let nearest = nearest.map(|sql| format!("; {}", nearest_hint(&sql))).unwrap_or_default();
                denied(&refusal, steward, case.telling) + &nearest
            }
            // A table that no agreement shows does not exist for who asks.
            Err(error) => unplanned(&error, case.telling),
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

fn denied(refusal: &Refusal, steward: &SiteId, telling: Telling) -> String {
    // A reason that is about the query may name what others have.
    let told = |reason: &&Reason| reason.steward.as_ref().map_or(telling.own, |of| of == steward);
    let (told, others): (Vec<&Reason>, Vec<&Reason>) = refusal.reasons.iter().partition(told);
    let text = |reason: &Reason| match telling.recent {
        true => without_literals(&reason.text),
        false => reason.text.clone(),
    };
    let mut texts: Vec<String> = told.into_iter().map(text).collect();
    if !others.is_empty() {
        texts.push(OTHERS.to_owned());
    }
    texts.dedup();
    format!("denied: {}", texts.join("; "))
}

/// What is told of a question that cannot be planned.
fn unplanned(error: &ServiceError, Telling { own, recent }: Telling) -> String {
    match (own, recent) {
        // Whether others do not have something or do not allow it is theirs to tell.
        (false, _) => format!("denied: {OTHERS}"),
        // An engine's text may hold literals in any form.
        (true, true) => format!("refused: it cannot be planned ({})", error.code),
        (true, false) => format!("refused: {}", error.message),
    }
}

#[cfg(test)]
mod tests {
    use dynamos_proto::status::Code;

    use super::*;

    const OWN: Telling = Telling { own: true, recent: false };
    const MIXED: Telling = Telling { own: false, recent: false };

    fn refusal(reasons: &[(Option<&str>, &str)]) -> Refusal {
        let reason = |(steward, text): &(Option<&str>, &str)| Reason {
            steward: steward.map(SiteId::new),
            text: (*text).to_owned(),
        };
        Refusal { reason: String::new(), reasons: reasons.iter().map(reason).collect(), hint: None }
    }

    #[test]
    fn of_others_nothing_is_told_but_that_they_stand_in_the_way() {
        let all = [
            (None, "`a.secret = b.x` is not allowed"),
            (Some("uva"), "clause 1 lists no `secret`"),
            (Some("vu"), "clause 2 lists no `x`"),
        ];
        let vu = SiteId::new("vu");
        assert_eq!(denied(&refusal(&all), &vu, MIXED), format!("denied: clause 2 lists no `x`; {OTHERS}"));
        for one in [&all[..1], &all[1..2]] {
            assert_eq!(denied(&refusal(one), &vu, MIXED), format!("denied: {OTHERS}"));
        }
        let error = ServiceError::new(Code::UnknownName, "no field `y`; valid fields are `secret`");
        for recent in [false, true] {
            assert_eq!(unplanned(&error, Telling { recent, ..MIXED }), format!("denied: {OTHERS}"));
        }
        // Of its own tables it is told all.
        assert_eq!(denied(&refusal(&all[..1]), &vu, OWN), "denied: `a.secret = b.x` is not allowed");
        assert_eq!(unplanned(&error, OWN), "refused: no field `y`; valid fields are `secret`");
    }

    #[test]
    fn of_who_asked_no_literal_is_told() {
        let recent = Telling { recent: true, ..OWN };
        let reasons = [(Some("vu"), "`name = Utf8(\"Jansen\")` is not allowed"), (None, "`id = 1234` is not allowed")];
        let told = denied(&refusal(&reasons), &SiteId::new("vu"), recent);
        assert_eq!(told, "denied: `name = Utf8(?)` is not allowed; `id = ?` is not allowed");
        let error = ServiceError::new(Code::DataError, "cannot cast Jansen");
        assert_eq!(unplanned(&error, recent), "refused: it cannot be planned (DATA_ERROR)");
    }
}
