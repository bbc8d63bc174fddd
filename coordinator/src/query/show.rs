//! SHOW AGREEMENTS, SHOW AGREEMENT, SHOW PERMISSIONS, SHOW EDGES and SHOW DECISIONS. An agreement is shown to those whom it concerns and to its
//! steward; to others it does not exist.

use std::collections::BTreeSet;

use dynamos_planner::policy::{Agreement, Clause, HeldAgreement, Purposes, Requester, ShipWhat, TableRef, UtcMillis};
use dynamos_proto::status::{Code, ServiceError};

use super::queries::QueryRecord;
use super::text;
use crate::decision::Shown;
use crate::frontend::Outcome;
use crate::registry::Snapshot;

/// Columns of SHOW AGREEMENTS and SHOW AGREEMENT.
pub(super) const AGREEMENT_COLUMNS: [&str; 6] = ["name", "steward", "epoch", "valid_from", "valid_until", "text"];
/// Columns of SHOW PERMISSIONS.
pub(super) const PERMISSION_COLUMNS: [&str; 2] = ["table", "clause"];
/// Columns of SHOW EDGES. Counts are the buckets that sites report, never exact. Where each steward decides about its own groups,
/// the last says whether this one released any.
pub(super) const EDGE_COLUMNS: [&str; 7] =
    ["fragment", "place", "reader", "reader_place", "rows_at_most", "bytes_at_most", "released"];
/// Columns of SHOW DECISIONS: what stands in the log about a decision and the end of its query.
pub(super) const DECISION_COLUMNS: [&str; 16] = [
    "at",
    "query",
    "verdict",
    "purpose",
    "agreements",
    "clauses",
    "reason",
    "outcome",
    "rows_at_most",
    "released_nothing",
    "requester",
    "organisation",
    "statement",
    "statement_sha256",
    "graph_sha256",
    "catalog_version",
];
/// The role that speaks for an organisation as the steward of its data.
const STEWARD_ROLE: &str = "steward";

/// Whether one of the agreement's grantees is this requester.
pub(super) fn concerns(agreement: &Agreement, requester: &Requester) -> bool {
    agreement.grantees.iter().any(|grantee| grantee.matches(requester))
}

/// Whether the requester acts as the agreement's steward.
pub(super) fn is_steward_of(requester: &Requester, agreement: &Agreement) -> bool {
    requester.organisation == agreement.steward && requester.roles.iter().any(|role| role == STEWARD_ROLE)
}

/// The agreements that the requester may see.
pub(super) fn visible_agreements<'a>(
    snapshot: &'a Snapshot,
    requester: &'a Requester,
) -> impl Iterator<Item = &'a HeldAgreement> {
    let seen =
        |held: &&HeldAgreement| concerns(&held.agreement, requester) || is_steward_of(requester, &held.agreement);
    snapshot.agreements.all().filter(seen)
}

/// The agreements that the requester may see; only those of a name, and of a steward, where one is given.
pub(super) fn agreements(
    snapshot: &Snapshot,
    requester: &Requester,
    wanted: Option<(&str, Option<&str>)>,
) -> Result<Outcome, ServiceError> {
    let visible = visible_agreements(snapshot, requester);
    let chosen = visible.filter(|HeldAgreement { agreement, .. }| {
        wanted.is_none_or(|(name, steward)| {
            agreement.name == name && steward.is_none_or(|steward| agreement.steward == steward)
        })
    });
    let rows: Vec<_> = chosen.map(agreement_row).collect();
    match wanted {
        Some((name, _)) if rows.is_empty() => {
            Err(ServiceError::new(Code::UnknownName, format!("there is no agreement `{name}` that concerns you"))
                .with_hint("`SHOW AGREEMENTS` lists those that do"))
        }
        _ => text::outcome(&AGREEMENT_COLUMNS, rows),
    }
}

fn agreement_row(held: &HeldAgreement) -> Vec<Option<String>> {
    let agreement = &held.agreement;
    vec![
        Some(agreement.name.clone()),
        Some(agreement.steward.clone()),
        Some(held.epoch.to_string()),
        agreement.valid_from.map(|moment| moment.to_string()),
        agreement.valid_until.map(|moment| moment.to_string()),
        Some(agreement.to_string()),
    ]
}

/// The clauses that hold for the requester and purpose now, by table. Clauses about no table of their own stand under
/// every table of their agreement.
pub(super) fn permissions(
    snapshot: &Snapshot,
    requester: &Requester,
    purpose: &str,
    now: UtcMillis,
    purposes: &Purposes,
) -> Result<Outcome, ServiceError> {
    let mut rows = BTreeSet::new();
    for held in snapshot.agreements.all() {
        let agreement = &held.agreement;
        if held.applies_to(requester, purpose, now, purposes).is_err() {
            continue;
        }
        let all: BTreeSet<&TableRef> = agreement.clauses.iter().flat_map(|one| tables_of(&one.clause)).collect();
        for numbered in &agreement.clauses {
            let own: BTreeSet<&TableRef> = tables_of(&numbered.clause).into_iter().collect();
            for table in if own.is_empty() { &all } else { &own } {
                let table = format!("{}.{table}", agreement.steward);
                rows.insert((table, agreement.name.clone(), numbered.number, numbered.to_string()));
            }
        }
    }
    let rows =
        rows.into_iter().map(|(table, agreement, _, clause)| vec![Some(table), Some(format!("{agreement}: {clause}"))]);
    text::outcome(&PERMISSION_COLUMNS, rows.collect())
}

/// What was measured on the edges of a query that has ended; NULL where a place did not report.
pub(super) fn edges(query: Option<QueryRecord>) -> Result<Outcome, ServiceError> {
    let Some(QueryRecord { edges, reports, .. }) = query else {
        return Err(ServiceError::new(Code::UnknownName, "no query of yours has ended lately")
            .with_hint("run a query to its last row first"));
    };
    let rows = edges.into_iter().map(|edge| {
        let report =
            reports.iter().find(|report| report.fragment == edge.from.0 && report.place == edge.place.as_str());
        let (reader, reader_place) = match &edge.to {
            Some((fragment, place)) => (fragment.to_string(), Some(place.to_string())),
            None => ("requester".to_owned(), None),
        };
        vec![
            Some(edge.from.to_string()),
            Some(edge.place.to_string()),
            Some(reader),
            reader_place,
            report.map(|report| report.rows_bucket.to_string()),
            report.map(|report| report.bytes_bucket.to_string()),
            report.and_then(|report| report.released).map(|released| released.to_string()),
        ]
    });
    text::outcome(&EDGE_COLUMNS, rows.collect())
}

/// What was decided about queries, in the order given.
pub(super) fn decisions(shown: Vec<Shown>) -> Result<Outcome, ServiceError> {
    let rows = shown.into_iter().map(|shown| {
        let (agreements, released_nothing) = (agreements_of(&shown), released_nothing(&shown));
        let Shown { decision, end } = shown;
        vec![
            Some(decision.at),
            Some(decision.query_id),
            Some(decision.verdict.as_str().to_owned()),
            decision.purpose,
            Some(agreements),
            Some(decision.clauses.join("; ")),
            decision.reason,
            end.as_ref().map(|end| end.outcome.clone()).or(decision.code),
            end.map(|end| end.rows_at_most.to_string()),
            released_nothing,
            Some(decision.requester),
            Some(decision.organisation),
            Some(decision.statement).filter(|text| !text.is_empty()),
            Some(decision.statement_sha256),
            decision.graph_sha256,
            Some(decision.catalog_version.to_string()),
        ]
    });
    text::outcome(&DECISION_COLUMNS, rows.collect())
}

/// The agreements that a decision rests on, with their versions.
pub(super) fn agreements_of(shown: &Shown) -> String {
    let agreements = shown.decision.agreements.iter();
    let agreements = agreements.map(|one| format!("{}.{}@{}", one.steward, one.agreement, one.epoch));
    agreements.collect::<Vec<_>>().join(", ")
}

/// The stewards of whom nothing is in the answer, where each decided about its own groups; none before the end, or where all
/// released something.
pub(super) fn released_nothing(shown: &Shown) -> Option<String> {
    let stewards = &shown.end.as_ref()?.released_nothing;
    (!stewards.is_empty()).then(|| stewards.join(", "))
}

/// The tables that a clause names.
pub(super) fn tables_of(clause: &Clause) -> Vec<&TableRef> {
    match clause {
        Clause::Release(release) => release.from.tables().collect(),
        Clause::Ship(ship) => match &ship.what {
            ShipWhat::Rows { from, .. } => from.tables().collect(),
            ShipWhat::Partials { .. } => Vec::new(),
        },
        Clause::Mask(mask) => mask.column.table.iter().collect(),
        Clause::Rows(rows) => rows.table.iter().collect(),
        Clause::Filter(_) | Clause::Join(_) | Clause::Budget(_) | Clause::Archetypes(_) | Clause::Oblige(_) => {
            Vec::new()
        }
    }
}
