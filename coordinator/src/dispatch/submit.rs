//! Handing a permitted query to all its places at once. One that cannot take it ends the query everywhere: there is no
//! partial result.
//!
//! INVARIANT(cancel_on_drop): from the first submission on, the query has a [`Participants`] value; when that is
//! dropped before the end, every place is told to stop, whatever the reason.

use std::sync::Arc;
use std::time::Duration;

use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::sign::SigningKey;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use super::channel::SiteChannel;
use super::channels::Channels;
use super::permit::permit_for;
use crate::background::Background;
use crate::query::PermittedPlan;
use crate::registry::Snapshot;

/// No place may hold up a submission longer; above the channel's own limit, below the five seconds that are promised.
const SUBMIT_MAX: Duration = Duration::from_millis(4500);
/// Longest wait for a place's report.
const REPORT_MAX: Duration = Duration::from_millis(2500);

/// The places that take part in a query.
pub(crate) struct Participants {
    query: QueryId,
    places: Vec<(SiteId, Arc<dyn SiteChannel>)>,
    background: Background,
    ended: bool,
}

impl Participants {
    /// The places, in order of name.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &SiteId> {
        self.places.iter().map(|(site, _)| site)
    }

    /// What the places tell of their fragments. A place that does not answer is left out: that its data were complete
    /// is known from the end of its exchange.
    pub(crate) async fn reports(&self) -> Vec<v1::FragmentReport> {
        let ask = self.places.iter().map(|(site, channel)| async move {
            match timeout(REPORT_MAX, channel.report(&self.query)).await {
                Ok(Ok(reports)) => reports,
                Ok(Err(error)) => {
                    tracing::info!(site_id = %site, code = %error.code, "no report");
                    Vec::new()
                }
                Err(_) => Vec::new(),
            }
        });
        join_all(ask).await.into_iter().flatten().collect()
    }

    /// The query came to its end; nobody needs to be told to stop.
    pub(crate) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Participants {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (query, places) = (self.query.clone(), std::mem::take(&mut self.places));
        self.background.spawn(async move {
            join_all(places.iter().map(|(_, channel)| channel.cancel(&query))).await;
        });
    }
}

/// Submits to every place of the plan in parallel. The first failure is the answer; it names the place.
#[tracing::instrument(name = "dispatch", skip_all)]
pub(crate) async fn dispatch(
    plan: &dyn PermittedPlan,
    token: &str,
    snapshot: &Snapshot,
    key: &SigningKey,
    channels: &Channels,
    background: &Background,
) -> Result<Participants, ServiceError> {
    let graph = plan.graph();
    let signature = key.sign(plan.graph_bytes());
    let mut permits = Vec::new();
    let mut places = Vec::new();
    for site in graph.places() {
        if !snapshot.is_up(&site) {
            let text = format!("site `{site}` is down");
            return Err(ServiceError::new(Code::SiteUnavailable, text).with_hint("try again when the site is back"));
        }
        permits.push(permit_for(&site, plan, &signature, token, snapshot)?);
        places.push((site.clone(), channels.to(&site, &snapshot.catalog)?));
    }
    let participants =
        Participants { query: graph.query.clone(), places, background: background.clone(), ended: false };
    let mut submissions: FuturesUnordered<_> = participants
        .places
        .iter()
        .zip(permits)
        .map(|((site, channel), permit)| submit(site, channel, permit))
        .collect();
    while let Some(answer) = submissions.next().await {
        answer?;
    }
    drop(submissions);
    Ok(participants)
}

async fn submit(site: &SiteId, channel: &Arc<dyn SiteChannel>, permit: v1::Permit) -> Result<(), ServiceError> {
    let error = match timeout(SUBMIT_MAX, channel.submit(permit)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => ServiceError::new(Code::SiteUnavailable, format!("site `{site}` did not answer in time"))
            .with_hint("try again when the site is back"),
    };
    tracing::warn!(site_id = %site, code = %error.code, "submission failed");
    let named = error.message.contains(&format!("`{site}`"));
    Err(if named { error } else { ServiceError { message: format!("site `{site}`: {}", error.message), ..error } })
}
