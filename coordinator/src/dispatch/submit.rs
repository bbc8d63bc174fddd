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
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;
use tracing::Instrument;

use super::channel::{Begun, SiteChannel};
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
    attempt: u32,
    places: Vec<Participant>,
    background: Background,
    begun: Begun,
    ended: bool,
}

struct Participant {
    site: SiteId,
    channel: Arc<dyn SiteChannel>,
    submission: Submission,
}

/// The handing over of a permit, and its answer for everybody who waits for it.
type Submission = Shared<BoxFuture<'static, Result<(), ServiceError>>>;

impl Participants {
    /// The places, in order of name.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &SiteId> {
        self.places.iter().map(|place| &place.site)
    }

    /// From now on places may run. To be said before the first row is asked for.
    pub(crate) fn begin(&mut self) {
        self.begun = Begun::Somewhere;
    }

    /// What the places tell of their fragments. A place that does not answer is left out: that its data were complete
    /// is known from the end of its exchange.
    pub(crate) async fn reports(&self) -> Vec<v1::FragmentReport> {
        let ask = self.places.iter().map(|Participant { site, channel, .. }| async move {
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
    /// Each place is told when it has answered the submission: a place that is told before it has accepted the query would
    /// keep it, and its charge.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        for Participant { channel, submission, .. } in std::mem::take(&mut self.places) {
            let (query, attempt, begun) = (self.query.clone(), self.attempt, self.begun);
            self.background.spawn(async move {
                let _answered = submission.await;
                channel.cancel(&query, attempt, begun).await;
            });
        }
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
    let mut places = Vec::new();
    for site in graph.places() {
        if !snapshot.is_up(&site) {
            let text = format!("site `{site}` is down");
            return Err(ServiceError::new(Code::SiteUnavailable, text).with_hint("try again when the site is back"));
        }
        let permit = permit_for(&site, plan, &signature, token, snapshot)?;
        let channel = channels.to(&site, &snapshot.catalog)?;
        let submission = submit(site.clone(), Arc::clone(&channel), permit).in_current_span().boxed().shared();
        places.push(Participant { site, channel, submission });
    }
    let (query, attempt) = (graph.query.clone(), graph.attempt);
    let participants =
        Participants { query, attempt, places, background: background.clone(), begun: Begun::Nowhere, ended: false };
    let mut answers: FuturesUnordered<_> = participants.places.iter().map(|place| place.submission.clone()).collect();
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(participants)
}

async fn submit(site: SiteId, channel: Arc<dyn SiteChannel>, permit: v1::Permit) -> Result<(), ServiceError> {
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
