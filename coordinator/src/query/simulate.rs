//! SIMULATE AGREEMENT: what would be decided if an agreement were in force, beside what is decided now. Nothing is changed,
//! nothing runs, and no decision is recorded. It is for the agreement's own steward, who may ask for its own tables
//! only, and learns of other stewards' agreements no more than that one of them stands in the way. Which purposes, places and
//! organisations an agreement may name, the steward's site alone knows; it says so when the agreement is made.

use std::collections::BTreeSet;
use std::sync::Arc;

use dynamos_planner::function::engine_state;
use dynamos_planner::policy::{
    Agreement, Flaw, Grantee, HeldAgreement, Requester, raw_tables, refuse_unimplemented, refuse_unresolved,
};
use dynamos_planner::sql::word_positions;
use dynamos_planner::stewards_named;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};

use super::engine::QueryEngine;
use super::planner_door::{PlanRequest, Refusal, Verdict, nearest_hint};
use super::queries::Asked;
use super::settings::requester;
use super::{show, text};
use crate::frontend::{Caller, Outcome};

/// Columns of SIMULATE AGREEMENT.
pub(super) const COLUMNS: [&str; 5] = ["query", "requester", "purpose", "now", "then"];
/// Recent queries that are planned again, the newest first.
const RECENT_MAX: usize = 50;

/// A question to decide twice.
struct Case {
    /// How the answer's row calls it.
    name: String,
    /// How the answer's row calls whoever asks.
    who: String,
    asked: Asked,
}

impl QueryEngine {
    /// Decides a query, or recent ones of this steward's tables, with and without the agreement. `statement` is the text that
    /// the agreement was read from.
    pub(super) async fn simulate(
        &self,
        caller: &Caller,
        (agreement, statement): (Agreement, &str),
        query: Option<String>,
    ) -> Result<Outcome, ServiceError> {
        if !show::is_steward_of(&requester(&caller.identity), &agreement) {
            let text = format!("only a steward of `{}` may simulate an agreement of that site", agreement.steward);
            return Err(ServiceError::new(Code::Denied, text));
        }
        refuse_unimplemented(&agreement).map_err(|refused| flawed(Code::Unsupported, statement, &refused))?;
        let base = self.request(caller)?;
        let steward = SiteId::new(&agreement.steward);
        let tables = raw_tables(&base.snapshot.catalog, &steward);
        refuse_unresolved(&agreement, &tables, &engine_state())
            .map_err(|refused| flawed(Code::InvalidArgument, statement, &refused))?;
        // Of others' agreements a suggestion would tell; of many queries it would be long in coming.
        let mut suggest = false;
        let cases = match query {
            Some(sql) => {
                let named = Self::must_name(&steward, &sql, &base)?;
                suggest = named == BTreeSet::from([steward.clone()]);
                grantees(&agreement, &sql, base.default_schema.as_ref())
            }
            None => self.recent(&steward, &base),
        };
        let mut rows = Vec::new();
        for case in cases {
            let now = asking(&base, &case.asked);
            let mut then = now.clone();
            let agreements = Arc::make_mut(&mut then.snapshot.agreements);
            let epoch = agreements.get(&steward, &agreement.name).map_or(1, |held| held.epoch + 1);
            agreements.insert(HeldAgreement::new(epoch, agreement.clone()));
            let sql = case.asked.sql.unwrap_or_default();
            let mut decided = Vec::with_capacity(2);
            for request in [&now, &then] {
                decided.push(self.verdict(&sql, request, &steward, suggest).await);
            }
            let named = [Some(case.name), Some(case.who), case.asked.purpose];
            rows.push(named.into_iter().chain(decided.into_iter().map(Some)).collect());
        }
        text::outcome(&COLUMNS, rows)
    }

    /// A query over others' tables alone would tell what their agreements say to others.
    fn must_name(steward: &SiteId, sql: &str, base: &PlanRequest) -> Result<BTreeSet<SiteId>, ServiceError> {
        let named = stewards_named(sql, &base.snapshot.catalog)
            .map_err(|error| ServiceError::new(error.code(), error.to_string()))?;
        if named.contains(steward) {
            return Ok(named);
        }
        Err(ServiceError::new(Code::InvalidArgument, format!("the query names no table of `{steward}`")))
    }

    /// Queries that named a table of this steward, the newest first.
    fn recent(&self, steward: &SiteId, base: &PlanRequest) -> Vec<Case> {
        let named = |sql: &str| stewards_named(sql, &base.snapshot.catalog).is_ok_and(|all| all.contains(steward));
        let records = self.queries.list().into_iter().rev();
        let of_steward = records.filter(|record| record.asked.sql.as_deref().is_some_and(named));
        let cases = of_steward.take(RECENT_MAX).map(|record| {
            let Requester { user, organisation, .. } = &record.asked.requester;
            Case { name: record.query.to_string(), who: format!("{user} of {organisation}"), asked: record.asked }
        });
        cases.collect()
    }

    /// The decision in words, without what other stewards' agreements say; with what could be asked instead if that is wanted.
    async fn verdict(&self, sql: &str, request: &PlanRequest, steward: &SiteId, suggest: bool) -> String {
        match self.planning.plan(sql, Vec::new(), request).await {
            Ok(Verdict::Permitted(plan)) => {
                let own = format!("{steward}: ");
                let edges = plan.verdicts().iter().filter(|edge| edge.clauses.iter().any(|one| one.starts_with(&own)));
                let edges: Vec<String> = edges
                    .map(|edge| {
                        let reader = edge.to.map_or_else(|| "requester".to_owned(), |id| id.to_string());
                        let clauses = edge.clauses.iter().filter(|one| one.starts_with(&own)).cloned();
                        format!("{} → {reader}: {} by {}", edge.from, edge.what, clauses.collect::<Vec<_>>().join(", "))
                    })
                    .collect();
                if edges.is_empty() { "permitted".to_owned() } else { format!("permitted; {}", edges.join("; ")) }
            }
            Ok(Verdict::Denied(refusal)) => {
                let nearest = if suggest { self.planning.nearest(sql, Vec::new(), request).await } else { None };
                let nearest = nearest.map(|sql| format!("; {}", nearest_hint(&sql))).unwrap_or_default();
                denied(&refusal, steward) + &nearest
            }
            // A table that no agreement shows does not exist for who asks.
            Err(error) => format!("refused: {}", error.message),
        }
    }
}

/// That an agreement is not simulated, with all that is wrong and where it stands.
fn flawed<F: Flaw>(code: Code, statement: &str, flaws: &[F]) -> ServiceError {
    let located = word_positions(statement).unwrap_or_default().locate(flaws);
    let texts: Vec<String> = located.iter().map(ToString::to_string).collect();
    ServiceError::new(code, texts.join("; "))
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

/// The query as each grantee would ask it, for each purpose that the agreement grants.
fn grantees(agreement: &Agreement, sql: &str, default_schema: Option<&String>) -> Vec<Case> {
    let mut cases = Vec::new();
    for grantee in &agreement.grantees {
        let (user, organisation, roles) = match grantee {
            Grantee::User(user) => (user.clone(), String::new(), vec![]),
            Grantee::Role { role, organisation } => {
                (String::new(), organisation.clone().unwrap_or_default(), vec![role.clone()])
            }
            Grantee::Organisation(organisation) => (String::new(), organisation.clone(), vec![]),
            Grantee::Anyone => (String::new(), String::new(), vec![]),
        };
        let requester = Requester { user, organisation, roles };
        cases.extend(agreement.purposes.iter().map(|purpose| Case {
            name: "the query".to_owned(),
            who: grantee.to_string(),
            asked: Asked {
                sql: Some(sql.to_owned()),
                requester: requester.clone(),
                purpose: Some(purpose.clone()),
                default_schema: default_schema.cloned(),
            },
        }));
    }
    cases
}

/// The same question put by somebody else, placed as the planner likes.
fn asking(base: &PlanRequest, asked: &Asked) -> PlanRequest {
    PlanRequest {
        requester: asked.requester.clone(),
        purpose: asked.purpose.clone(),
        default_schema: asked.default_schema.clone(),
        agreement: None,
        placement: dynamos_planner::Placement::default(),
        ..base.clone()
    }
}
