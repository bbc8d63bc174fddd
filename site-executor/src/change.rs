//! What a change of an agreement does to the queries that run under it. Their steward decides for each whether it may go on;
//! what may not is halted here at once and recalled from every other place. A change is acknowledged only when that is done.

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
use crate::place::Place;
use crate::query::{Query, Term, ended};

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
