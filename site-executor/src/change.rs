//! A change of an agreement, and what it does to the queries that run under it. Their steward decides for each whether it may
//! go on; what may not is halted here at once and recalled from every other place. A change is acknowledged only when that is
//! done, and is on record.

use std::sync::Arc;
use std::time::Duration;

use dynamos_planner::policy::{UtcMillis, reads_the_same, under_version};
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::SignedAgreement;
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use crate::admission::PermitContext;
use crate::lease::LEASE;
use crate::ledger::{AgreementChange, Recording};
use crate::place::Place;
use crate::query::{Query, Term, ended};

/// A change that is in force.
pub(crate) struct Changed {
    pub(crate) signed: SignedAgreement,
    /// The queries that were halted.
    pub(crate) halted: Vec<Arc<Query>>,
    /// Whether it is on record.
    pub(crate) recorded: Result<(), ServiceError>,
}

/// Carries out CREATE, ALTER or REVOKE of one of this steward's own agreements and records it, or that it was refused. It
/// blocks the thread.
///
/// # Errors
///
/// Why it was refused.
pub(crate) fn change_own(place: &Place, statement: &str, token: &str) -> Result<Changed, ServiceError> {
    let now_ms = place.clock.now_ms();
    let mut record = AgreementChange::asked(statement, UtcMillis(now_ms));
    let refused = |record: AgreementChange, error: ServiceError| {
        place.ledger.refused_change(record.refused(&error));
        error
    };
    let claims = match place.admission.claims(token, now_ms) {
        Ok(claims) => claims,
        Err(error) => return Err(refused(record, error)),
    };
    record = record.by(&claims);
    let mut book = place.book();
    match book.change(statement, &claims) {
        Ok(signed) => {
            // As long as the book is held nothing is admitted under the new version, so its record comes first.
            let recording = place.ledger.changed(record.made(&signed));
            drop(book);
            Ok(in_force(place, signed, recording))
        }
        Err(error) => {
            drop(book);
            Err(refused(record, error))
        }
    }
}

/// Takes in a signed revocation that somebody brought; none if it is not new. One of this steward's own agreements is
/// recorded, or that it was refused. It blocks the thread.
///
/// # Errors
///
/// Why it was refused.
pub(crate) fn revoke(place: &Place, revocation: SignedAgreement) -> Result<Option<Changed>, ServiceError> {
    let mut book = place.book();
    let taken = book.revoke(&revocation);
    if revocation.steward != place.name.as_str() {
        drop(book);
        let halted = |taken: bool| taken.then(|| halt_changed(place, &revocation));
        return Ok(taken.map(halted)?.map(|halted| Changed { signed: revocation, halted, recorded: Ok(()) }));
    }
    let record = AgreementChange::brought(&revocation, UtcMillis(place.clock.now_ms()));
    match taken {
        Ok(true) => {
            let record = record.made(&revocation);
            let signer = book.public_key();
            let recording = place.ledger.changed(match &signer {
                Some(key) => record.signed_by(key),
                None => record,
            });
            drop(book);
            Ok(Some(in_force(place, revocation, recording)))
        }
        Ok(false) => Ok(None),
        Err(error) => {
            drop(book);
            place.ledger.refused_change(record.refused(&error));
            Err(error)
        }
    }
}

/// Halts what may not go on, then waits for the record.
fn in_force(place: &Place, signed: SignedAgreement, recording: Recording) -> Changed {
    let halted = halt_changed(place, &signed);
    place.agreements_changed.notify_one();
    let recorded = place.ledger.written(recording).map_err(|error| {
        let (name, epoch) = (&signed.name, signed.epoch);
        let done = if signed.revoked { "is revoked" } else { "is in force" };
        ServiceError::new(error.code, format!("agreement `{name}` {done} in epoch {epoch}, but {}", error.message))
    });
    Changed { signed, halted, recorded }
}

/// Halts the queries here that may not go on under the new version of an agreement; gives them. Another steward's query that
/// is only under an older version goes on: whether it may is for that steward to say, who renews the leases.
pub(crate) fn halt_changed(place: &Place, changed: &SignedAgreement) -> Vec<Arc<Query>> {
    let steward = SiteId::new(&changed.steward);
    let own = steward == place.name;
    let resting = place.queries.alive().into_iter().filter(|query| query.rests_on(&steward, &changed.name));
    let mut halted = Vec::new();
    for query in resting {
        if !changed.revoked && (!own || goes_on(place, &query)) {
            set_end(place, &query);
            continue;
        }
        place.queries.halt(&query, no_longer(changed));
        halted.push(query);
    }
    place.grants.recall();
    if !halted.is_empty() {
        let (agreement, epoch, queries) = (&changed.name, changed.epoch, halted.len());
        tracing::info!(%steward, agreement, epoch, queries, "queries halted by a change");
    }
    halted
}

/// Waits until nothing of these queries leaves this place any more and no other place holds anything of them, or its lease
/// is over; at most [`LEASE`].
pub(crate) async fn settled(place: &Place, halted: &[Arc<Query>]) {
    let began = Instant::now();
    let gone = timeout(LEASE, join_all(halted.iter().map(|query| query.halt.gone())));
    let (gone, (), ()) = tokio::join!(gone, place.grants.over(halted), place.grants.earlier_over());
    let (queries, waited_ms, silent) = (halted.len(), began.elapsed().as_millis(), gone.is_ok());
    tracing::info!(queries, waited_ms, silent, "change acknowledged");
}

/// Sets the instant at which the agreement of this steward ends for a query, as the agreement says now and by the clock as
/// it is now.
pub(crate) fn set_end(place: &Place, query: &Query) {
    let Some(governing) = query.graph.governing.get(&place.name) else { return };
    let held = place.book().held();
    let until = held.get(&place.name, &governing.agreement).and_then(|held| held.agreement.valid_until);
    let term = until.map(|UtcMillis(until_ms)| {
        let left_ms = u64::try_from(until_ms.saturating_sub(place.clock.now_ms())).unwrap_or_default();
        let until = Instant::now() + Duration::from_millis(left_ms.min(FAR_MS));
        Term { until: Some(until), after: ended(&place.name, &governing.agreement) }
    });
    query.halt.set_term(&place.name, term);
}

/// Later than any query lives (milliseconds); instants cannot be as far away as agreements can.
const FAR_MS: u64 = 24 * 60 * 60 * 1000;

/// Whether this steward's own agreement, as it is held now, allows a running query just what it was granted.
fn goes_on(place: &Place, query: &Query) -> bool {
    let Some(governing) = query.graph.governing.get(&place.name) else { return false };
    let held = place.book().held();
    let name = &governing.agreement;
    let (Some(before), Some(after)) = (query.agreements.get(&place.name, name), held.get(&place.name, name)) else {
        return false;
    };
    if !reads_the_same(&query.graph, &query.edges, &place.name, before, after) {
        return false;
    }
    let graph = under_version(&query.graph, &place.name, name, after.epoch);
    let mut agreements = query.agreements.as_ref().clone();
    agreements.insert(after.clone());
    let context = PermitContext {
        agreements: &agreements,
        state: &place.reading,
        tables: &place.tables,
        now_ms: place.clock.now_ms(),
    };
    place.admission.allows(&graph, query.requester.as_ref(), &context)
}

fn no_longer(changed: &SignedAgreement) -> ServiceError {
    let (name, steward) = (&changed.name, &changed.steward);
    let what = if changed.revoked { "was revoked" } else { "changed" };
    ServiceError::new(Code::StaleBasis, format!("agreement `{name}` of `{steward}` {what} while the query ran"))
        .with_hint("run the query again")
}
