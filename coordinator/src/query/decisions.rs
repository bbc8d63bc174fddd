//! The records of decisions about queries, one for each attempt that was planned.

use std::collections::BTreeSet;

use dynamos_planner::policy::{Requester, UtcMillis};
use dynamos_proto::sign::sha256_hex;
use dynamos_proto::status::{Code, ServiceError};
use uuid::Uuid;

use super::planner_door::{PermittedPlan, PlanRequest, Refusal};
use super::settings::requester;
use super::show::concerns;
use crate::decision::{
    AgreementBasis, DecisionRecord, Verdict as Decided, statement_hash, statement_without_literals, without_literals,
};
use crate::frontend::Caller;
use crate::registry::Snapshot;

/// The record of a denial.
pub(super) fn denial_record(sql: &str, request: &PlanRequest, refusal: &Refusal) -> DecisionRecord {
    DecisionRecord {
        code: Some(Code::Denied.as_str().to_owned()),
        agreements: concerned(&request.snapshot, &request.requester),
        reason: Some(without_literals(&refusal.reason)),
        ..record(sql, request, Decided::Denied)
    }
}

/// The record of a query that cannot be planned.
pub(super) fn failure_record(sql: &str, request: &PlanRequest, error: &ServiceError) -> DecisionRecord {
    DecisionRecord {
        code: Some(error.code.as_str().to_owned()),
        agreements: concerned(&request.snapshot, &request.requester),
        ..record(sql, request, Decided::Refused)
    }
}

/// The record of a permit.
pub(super) fn permit_record(sql: &str, request: &PlanRequest, plan: &dyn PermittedPlan) -> DecisionRecord {
    let graph = plan.graph();
    let used: BTreeSet<&String> = plan.verdicts().iter().flat_map(|verdict| &verdict.clauses).collect();
    let agreements = graph.governing.iter().map(|(steward, governing)| AgreementBasis {
        steward: steward.to_string(),
        agreement: governing.agreement.clone(),
        epoch: governing.epoch,
    });
    DecisionRecord {
        graph_sha256: Some(sha256_hex(plan.graph_bytes())),
        agreements: agreements.collect(),
        clauses: used.into_iter().cloned().collect(),
        ..record(sql, request, Decided::Permitted)
    }
}

/// The record of a query whose session asks for what the requester may not, such as a purpose.
pub(super) fn unplanned_record(
    caller: &Caller,
    sql: &str,
    error: &ServiceError,
    snapshot: &Snapshot,
    now: UtcMillis,
) -> DecisionRecord {
    let identity = &caller.identity;
    DecisionRecord {
        at: now.to_string(),
        query_id: Uuid::new_v4().to_string(),
        verdict: Decided::Refused,
        code: Some(error.code.as_str().to_owned()),
        requester: identity.user.clone(),
        organisation: identity.organisation.clone(),
        purpose: caller.settings.options.get("purpose").cloned(),
        statement: statement_without_literals(sql),
        statement_sha256: statement_hash(sql),
        graph_sha256: None,
        catalog_version: snapshot.catalog.version,
        agreements: concerned(snapshot, &requester(identity)),
        clauses: Vec::new(),
        reason: None,
    }
}

/// The agreements in force that the decision about this requester rests on.
fn concerned(snapshot: &Snapshot, requester: &Requester) -> Vec<AgreementBasis> {
    let all = snapshot.agreements.all().filter(|held| concerns(&held.agreement, requester));
    let basis = all.map(|held| AgreementBasis {
        steward: held.agreement.steward.clone(),
        agreement: held.agreement.name.clone(),
        epoch: held.epoch,
    });
    basis.collect()
}

/// What every record says.
fn record(sql: &str, request: &PlanRequest, verdict: Decided) -> DecisionRecord {
    DecisionRecord {
        at: request.now.to_string(),
        query_id: request.query.to_string(),
        verdict,
        code: None,
        requester: request.requester.user.clone(),
        organisation: request.requester.organisation.clone(),
        purpose: request.purpose.clone(),
        statement: statement_without_literals(sql),
        statement_sha256: statement_hash(sql),
        graph_sha256: None,
        catalog_version: request.snapshot.catalog.version,
        agreements: Vec::new(),
        clauses: Vec::new(),
        reason: None,
    }
}
