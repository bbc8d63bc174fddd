//! What a place does, without sockets: takes permits, gives rows, ends queries, reports. A site's services call it, and the
//! coordinator embeds one for the last fragment of each query.

use std::sync::{Arc, Weak};
use std::time::Duration;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use dynamos_planner::policy::{AgreementSet, Obliged, UtcMillis, release_points};
use dynamos_proto::ids::{FragmentId, QueryId, SiteId};
use dynamos_proto::sign::HashKey;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use futures::TryStreamExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::admission::{AgreementCheck, Because, GraphCheck, PermitContext, Reason, Refused};
use crate::change::{Changed, change_own, halt_changed, revoke, set_end, settled};
use crate::clock::{Clock, SystemClock};
use crate::config::SiteConfig;
use crate::error::SiteError;
use crate::fault;
use crate::ledger::{Demand, Edge, Subject};
use crate::place::Place;
use crate::query::{FragmentStream, Query, start};

/// How often queries whose time is over are looked for; running ones end at their deadline by themselves.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// A place that runs fragments. Clones are the same place; the last one ends it.
#[derive(Clone, Debug)]
pub struct Executor {
    place: Arc<Place>,
    _sweeper: Arc<JoinSet<()>>,
}

impl Executor {
    /// Opens a place: its tables, agreements, keys and certificates. Needs a tokio runtime, which serves its connections.
    ///
    /// # Errors
    ///
    /// [`SiteError`] names the file or table that is wrong.
    pub async fn start(config: &SiteConfig) -> Result<Self, SiteError> {
        Self::start_with(config, Box::new(AgreementCheck)).await
    }

    /// A place with another check of graphs: for tests of what comes after it.
    pub(crate) async fn start_with(config: &SiteConfig, check: Box<dyn GraphCheck>) -> Result<Self, SiteError> {
        Self::start_at(config, check, Arc::new(SystemClock)).await
    }

    /// A place with another clock, too.
    pub(crate) async fn start_at(
        config: &SiteConfig,
        check: Box<dyn GraphCheck>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SiteError> {
        let place = Place::open(config, check, clock).await?;
        let mut sweeper = JoinSet::new();
        sweeper.spawn(sweep(Arc::downgrade(&place)));
        Ok(Self { place, _sweeper: Arc::new(sweeper) })
    }

    /// The place's name.
    pub fn name(&self) -> &SiteId {
        &self.place.name
    }

    /// Checks a permit, accepts its query and records that, or the refusal. Nothing runs before its output is fetched.
    ///
    /// # Errors
    ///
    /// `SITE_REFUSED` if the permit or an edge of its graph is not allowed, `STALE_BASIS` if it rests on another version of
    /// an agreement, `UNAUTHENTICATED` or `DENIED` for the requester's token, `BUDGET_SPENT` if the agreement allows no more,
    /// `RESOURCE_EXHAUSTED` if the place is busy.
    pub async fn submit(&self, permit: v1::Permit) -> Result<(), ServiceError> {
        let place = Arc::clone(&self.place);
        let accept = move || {
            let now_ms = place.clock.now_ms();
            let mut subject = Subject::of(&permit.graph);
            accept(&place, &permit, &mut subject, now_ms).map_err(|refused| {
                place.ledger.refuse(subject, &refused, UtcMillis(now_ms));
                refused.error
            })
        };
        self.place.cpu.run(accept).await
    }

    /// The rows of fragment 0, which goes to the requester. Its errors are read with [`crate::service_error`].
    ///
    /// # Errors
    ///
    /// `SITE_UNAVAILABLE` if the query is not known here, `SITE_REFUSED` if its rows were fetched before.
    pub fn open_root(&self, query: &QueryId) -> Result<SendableRecordBatchStream, ServiceError> {
        let accepted = self.accepted(query)?;
        let root = accepted.graph.at(&self.place.name).find(|fragment| fragment.consumer.is_none());
        let root = root.ok_or_else(|| self.refused(format!("the rows of query `{query}` are not given out here")))?;
        let rows = start(&self.place, &accepted, root.id)?;
        let schema = Arc::clone(rows.schema());
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.map_err(fault::into_engine))))
    }

    /// The rows of a fragment, for the place that the graph sends them to.
    pub(crate) fn open(&self, ticket: &v1::ExchangeTicket, caller: &SiteId) -> Result<FragmentStream, ServiceError> {
        let query = QueryId::new(&ticket.query_id);
        let accepted = self.accepted(&query)?;
        if ticket.graph_hash != accepted.hash {
            return Err(self.refused(format!("query `{query}` is another one at `{caller}`")));
        }
        let id = FragmentId(ticket.fragment);
        let fragment = accepted.graph.at(&self.place.name).find(|fragment| fragment.id == id);
        let reader = fragment.and_then(|fragment| accepted.graph.fragment(fragment.consumer?));
        if reader.map(|reader| &reader.place) != Some(caller) {
            return Err(self.refused(format!("fragment {id} of query `{query}` is not for `{caller}`")));
        }
        let steward = accepted.graph.governing.contains_key(&self.place.name);
        if steward && !self.place.grants.is_held(caller, &accepted, Instant::now()) {
            return Err(self.refused(format!("`{caller}` has no lease for query `{query}`")));
        }
        start(&self.place, &accepted, id)
    }

    /// The key of hashes of a query, for another steward that shares it; this place drew it.
    pub(crate) fn hash_key(&self, asked: &v1::HeldQuery, caller: &SiteId) -> Result<HashKey, ServiceError> {
        let id = QueryId::new(&asked.query_id);
        let Some(query) = self.place.queries.find(&id, &asked.graph_hash) else {
            self.accepted(&id)?;
            return Err(self.refused(format!("query `{id}` is another one at `{caller}`")));
        };
        if let Some(reason) = query.halt.reason(Instant::now()) {
            return Err(reason);
        }
        match (query.hash_keys.drawer_for(caller), query.hash_keys.shared().get()) {
            (None, _) => Err(self.refused(format!("`{caller}` hashes no keys in query `{id}`"))),
            (Some(drawer), Some(key)) if *drawer == self.place.name => Ok(key.clone()),
            (Some(drawer), _) => Err(self.refused(format!("the key of hashes of query `{id}` is drawn by `{drawer}`"))),
        }
    }

    /// Records that a place was refused what it asked for. That a query or its place is gone is no refusal.
    pub(crate) async fn record_refused_fetch(
        &self,
        ticket: &v1::ExchangeTicket,
        reader: &SiteId,
        error: &ServiceError,
    ) {
        if error.code != Code::SiteRefused {
            return;
        }
        let (place, subject) = (Arc::clone(&self.place), Subject::fetch(ticket, reader));
        let refused = Refused { reason: Reason::Fetch, error: error.clone() };
        let record = move || {
            place.ledger.refuse(subject, &refused, UtcMillis(place.clock.now_ms()));
            Ok(())
        };
        if let Err(error) = self.place.cpu.run(record).await {
            tracing::error!(%error, "a refusal was not recorded");
        }
    }

    /// Ends a query; nothing if it is not running. Its charge is given back if nothing has begun: not here, as this place
    /// knows, and at no other, as the coordinator says.
    pub async fn cancel(&self, request: &v1::CancelRequest) {
        let query = QueryId::new(&request.query_id);
        let withdrawn = if request.not_begun { self.place.queries.withdraw(&query, request.attempt) } else { None };
        let Some(withdrawn) = withdrawn else { return self.place.queries.cancel(&query, request.attempt) };
        let Some(charge) = withdrawn.charge().cloned() else { return };
        let place = Arc::clone(&self.place);
        let give_back = move || {
            place.ledger.give_back(&query, &charge, UtcMillis(place.clock.now_ms()));
            Ok(())
        };
        if let Err(error) = self.place.cpu.run(give_back).await {
            tracing::error!(%error, "a charge was not given back");
        }
    }

    /// What may be known of the fragments that ended; of a query long gone, nothing.
    pub fn report(&self, query: &QueryId) -> Vec<v1::FragmentReport> {
        self.place.queries.reports(query)
    }

    /// How many queries are accepted and have not ended.
    pub fn running(&self) -> usize {
        self.place.queries.running()
    }

    /// Carries out CREATE, ALTER or REVOKE AGREEMENT for a steward's own user. When this returns, the queries that may not go
    /// on have given their last batch, here and wherever the steward's data had come.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED`, `DENIED`, `SYNTAX`, `UNSUPPORTED`, `UNKNOWN_NAME` or `INVALID_ARGUMENT`; then nothing changed.
    /// `INTERNAL`, with what is in force, if the change cannot be recorded.
    pub async fn change_agreement(
        &self,
        statement: String,
        token: String,
    ) -> Result<v1::SignedAgreement, ServiceError> {
        let place = Arc::clone(&self.place);
        let Changed { signed, halted, recorded } =
            self.place.cpu.run(move || change_own(&place, &statement, &token)).await?;
        settled(&self.place, &halted).await;
        recorded.map(|()| signed)
    }

    /// Whether a statement only simulates an agreement for a steward's own user; nothing changes.
    ///
    /// # Errors
    ///
    /// If CREATE or ALTER would refuse the agreement's text, as they would.
    pub async fn simulates(&self, statement: String, token: String) -> Result<bool, ServiceError> {
        let place = Arc::clone(&self.place);
        let check = move || {
            let claims = place.admission.claims(&token, place.clock.now_ms())?;
            place.book().simulates(&statement, &claims)
        };
        self.place.cpu.run(check).await
    }

    /// Takes in a steward's signed word that an agreement is over, whoever brings it; of this place's own agreements and of
    /// others'. When this returns, it is on the disk, and no query gives anything under it any more.
    ///
    /// # Errors
    ///
    /// `SITE_REFUSED` if it is no revocation or not signed by its steward, `STALE_BASIS` if a newer version is known.
    /// `INTERNAL` if it is in force and cannot be recorded.
    pub async fn revoke(&self, revocation: v1::SignedAgreement) -> Result<(), ServiceError> {
        let place = Arc::clone(&self.place);
        let Some(Changed { halted, recorded, .. }) = self.place.cpu.run(move || revoke(&place, revocation)).await?
        else {
            return Ok(());
        };
        settled(&self.place, &halted).await;
        recorded
    }

    /// What the federation is told: published tables, and the steward's own agreements as it signed them.
    pub fn publication(&self) -> (Vec<v1::Table>, Vec<v1::SignedAgreement>) {
        (self.place.tables.published(), self.place.book().signed())
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    fn accepted(&self, query: &QueryId) -> Result<Arc<Query>, ServiceError> {
        self.place.queries.get(query).ok_or_else(|| {
            if let Some(reason) = self.place.queries.halted(query) {
                return reason;
            }
            let text = format!(
                "site `{}` does not know query `{query}`; it has ended, or the site was restarted",
                self.name()
            );
            ServiceError::new(Code::SiteUnavailable, text)
        })
    }

    fn refused(&self, reason: String) -> ServiceError {
        ServiceError::new(Code::SiteRefused, format!("site `{}` refuses: {reason}", self.place.name))
    }
}

fn accept(place: &Place, permit: &v1::Permit, subject: &mut Subject, now_ms: i64) -> Result<(), Refused> {
    place.admission.verify_signature(permit)?;
    let (revoked, agreements) = {
        let mut book = place.book();
        (book.learn(&permit.agreements).because(Reason::ForeignAgreement)?, book.held())
    };
    for one in revoked {
        halt_changed(place, &one);
    }
    let context = PermitContext { agreements: &agreements, state: &place.reading, tables: &place.tables, now_ms };
    let admitted = place.admission.admit(permit, &context, subject)?;
    // The permit's own time was for acting on it; how long that may take is for this place to say.
    let deadline = Instant::now() + place.limits.query_deadline;
    let planning = |error: datafusion::common::DataFusionError| {
        tracing::warn!(%error, "permit cannot be planned");
        Refused { reason: Reason::Plan, error: fault::of_planning(&error, &place.name) }
    };
    let spill = place.spill.folder().map_err(|error| planning(error.into()))?;
    let state = place.query_state(&spill).map_err(planning)?;
    let ran_in = (state, spill);
    let query = Query::new(&place.name, admitted, Arc::clone(&agreements), ran_in, deadline).map_err(planning)?;
    let query = Arc::new(query);
    {
        // An agreement that changes while its query is on the way in must end it, too.
        let book = place.book();
        place.admission.check_epochs(&query.graph, &book.held())?;
        place.queries.add(Arc::clone(&query)).because(Reason::Busy)?;
    }
    set_end(place, &query);
    // From here on the query can be cancelled, but gives no row before its permit is recorded.
    let demand = demand(place, &query, &agreements);
    let obligations = place.admission.obligations(&query.graph, &agreements);
    let edges = Edge::all(&query.graph, &query.edges);
    match place.ledger.permit(subject.clone(), edges, &obligations, demand, UtcMillis(now_ms)) {
        Ok(charge) => {
            if obligations.iter().any(Obliged::is_retention) {
                place.oblige(&query);
            }
            query.record(charge);
            Ok(())
        }
        Err(refused) => {
            place.queries.cancel(&query.graph.query, query.graph.attempt);
            Err(refused)
        }
    }
}

/// What a query wants of this steward's own agreement; nothing if none governs it.
fn demand<'a>(place: &Place, query: &'a Query, agreements: &'a AgreementSet) -> Option<Demand<'a>> {
    let named = query.graph.governing.get(&place.name)?;
    let held = agreements.get(&place.name, &named.agreement)?;
    let organisation = query.requester.as_ref()?.organisation.as_str();
    let points = release_points(&query.graph, &query.edges, &place.name);
    Some(Demand { agreement: &held.agreement, organisation, points })
}

async fn sweep(place: Weak<Place>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(place) = place.upgrade() else { return };
        // The clock may have been set since the end of an agreement was worked out.
        place.queries.alive().iter().for_each(|query| set_end(&place, query));
        place.queries.sweep(Instant::now());
        place.grants.sweep(Instant::now());
        if !place.owes_records() {
            continue;
        }
        let erasing = Arc::clone(&place);
        let record = move || {
            erasing.record_erased();
            erasing.ledger.flush();
            Ok(())
        };
        if let Err(error) = place.cpu.run(record).await {
            tracing::error!(%error, "what is gone, or was given before, was not recorded");
        }
    }
}
