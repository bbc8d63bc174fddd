//! [`LeaseHolder`]: the leases of this place, asked for and renewed at each steward over a connection of its own, where no
//! rows stand in the way. That a lease has run out is not noticed here but by the query itself, see
//! [`Halt`](crate::query::Term); here it is only not renewed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use dynamos_proto::v1::peer_client::PeerClient;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, Identity};
use tonic::{Status, Streaming};

use super::{Key, LEASE, RENEW};
use crate::exchange::{PeerChannels, endpoint_error};
use crate::query::{Query, Term, ended, unreachable};

/// A steward that has not answered within this time is not there.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Waiting time before a broken connection is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// A connection over which nothing is held is kept for the next query for so long.
const LINGER: Duration = Duration::from_secs(30);
/// Requests that wait to be sent; while there are so many no more are made, as none of them would arrive in time.
const REQUESTS_WAITING: usize = 4;

/// Asks stewards for leases.
pub(crate) struct LeaseHolder {
    place: SiteId,
    channels: PeerChannels,
    stewards: Mutex<Stewards>,
    /// A thread of its own: a lease must not run out because much else is going on. Only empty while being dropped.
    runtime: Option<Runtime>,
    thread: Handle,
}

impl Drop for LeaseHolder {
    fn drop(&mut self) {
        // Waiting for the thread would block whoever drops this.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Default)]
struct Stewards {
    asked: BTreeMap<(SiteId, String), mpsc::UnboundedSender<Arc<Query>>>,
    /// Ends with the place.
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for LeaseHolder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "LeaseHolder({})", self.place)
    }
}

impl LeaseHolder {
    /// Holds nothing yet, and shows this certificate to whom it asks.
    pub(crate) fn new(place: &SiteId, identity: Identity, authority: Certificate) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("leases").enable_all().build()?;
        let thread = runtime.handle().clone();
        let channels = {
            let _there = thread.enter();
            PeerChannels::new(identity, authority)
        };
        Ok(Self { place: place.clone(), channels, stewards: Mutex::default(), runtime: Some(runtime), thread })
    }

    /// Waits until every steward whose data come here for a query lets them; from then on its leases are renewed as long
    /// as something of the query is left here.
    ///
    /// # Errors
    ///
    /// The reason why a steward does not, or `SITE_UNAVAILABLE` if it does not answer.
    pub(crate) async fn hold(&self, query: &Arc<Query>) -> Result<(), ServiceError> {
        if query.ask_once() {
            for steward in query.halt.stewards().into_iter().filter(|steward| *steward != self.place) {
                let Some(uri) = query.graph.endpoints.get(&steward) else {
                    let text = format!("the graph does not say where `{steward}` is");
                    return Err(ServiceError::new(Code::Internal, text));
                };
                self.ask(&steward, uri, query)?;
            }
        }
        match timeout(ANSWER_WITHIN, query.halt.allowed()).await {
            Ok(allowed) => allowed,
            Err(_) => {
                let silent = query.halt.waiting().iter().map(|site| format!("`{site}`")).collect::<Vec<_>>().join(", ");
                Err(ServiceError::new(Code::SiteUnavailable, format!("site {silent} does not answer")))
            }
        }
    }

    fn ask(&self, steward: &SiteId, uri: &str, query: &Arc<Query>) -> Result<(), ServiceError> {
        let channel = self.channels.to(steward, uri).map_err(|error| endpoint_error(steward, &error))?;
        let mut stewards = self.stewards.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (steward.clone(), uri.to_owned());
        let known = stewards.asked.get(&key).is_some_and(|asks| asks.send(Arc::clone(query)).is_ok());
        if !known {
            let (asks, receiver) = mpsc::unbounded_channel();
            // Its receiver is here.
            asks.send(Arc::clone(query)).unwrap_or_default();
            let holding = Holding {
                steward: steward.clone(),
                place: self.place.clone(),
                channel,
                asks: receiver,
                held: BTreeMap::new(),
                dropping: BTreeSet::new(),
                gone: FuturesUnordered::new(),
            };
            while stewards.tasks.try_join_next().is_some() {}
            stewards.tasks.spawn_on(holding.run(), &self.thread);
            stewards.asked.insert(key, asks);
        }
        Ok(())
    }
}

/// What is held of one steward.
struct Holding {
    steward: SiteId,
    place: SiteId,
    channel: Channel,
    asks: mpsc::UnboundedReceiver<Arc<Query>>,
    /// Goes when nothing else here has the query any more.
    held: BTreeMap<Key, Weak<Query>>,
    dropping: BTreeSet<Key>,
    gone: FuturesUnordered<BoxFuture<'static, Key>>,
}

/// A connection to the steward.
struct Link {
    requests: mpsc::Sender<v1::HoldRequest>,
    replies: Streaming<v1::HoldReply>,
    /// When each request was sent that was not answered yet.
    sent: VecDeque<(u64, Instant)>,
    number: u64,
}

impl Holding {
    /// Runs until the place is gone.
    async fn run(mut self) {
        loop {
            self.forget();
            if self.held.is_empty() && self.dropping.is_empty() {
                let Some(query) = self.asks.recv().await else { return };
                self.take(&query);
            }
            if let Err(status) = self.over_a_link().await {
                tracing::warn!(steward = %self.steward, %status, "no leases are renewed");
                self.give_up_waiting();
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Renews leases over one connection until it breaks, or nothing was held for a while.
    async fn over_a_link(&mut self) -> Result<(), Status> {
        let mut link = open(self.channel.clone()).await?;
        let mut ticks = interval(RENEW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut used = Instant::now();
        loop {
            tokio::select! {
                query = self.asks.recv() => {
                    let Some(query) = query else { return Ok(()) };
                    self.take(&query);
                    self.send(&mut link);
                }
                reply = link.replies.message() => match reply? {
                    Some(reply) => self.hear(&mut link, &reply),
                    None => return Err(Status::unavailable("the steward's site ended the connection")),
                },
                Some(key) = self.gone.next() => {
                    self.dropping.remove(&key);
                    self.send(&mut link);
                }
                _ = ticks.tick() => {
                    let held = !self.held.is_empty();
                    self.forget();
                    if held || !self.dropping.is_empty() {
                        used = Instant::now();
                        self.send(&mut link);
                    } else if used.elapsed() > LINGER {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn take(&mut self, query: &Arc<Query>) {
        self.held.insert(Key::of(query), Arc::downgrade(query));
    }

    /// Lets go of queries that have ended here, and no longer asks for halted ones.
    fn forget(&mut self) {
        let now = Instant::now();
        let halted = |query: &Weak<Query>| query.upgrade().filter(|query| query.halt.reason(now).is_some());
        let halted: Vec<Arc<Query>> = self.held.values().filter_map(halted).collect();
        halted.into_iter().for_each(|query| self.drop_when_gone(query));
        let ended = |query: &Query| query.stop.is_cancelled() && query.halt.is_idle();
        self.held.retain(|_, query| query.upgrade().is_some_and(|query| !ended(&query)));
    }

    fn drop_when_gone(&mut self, query: Arc<Query>) {
        let key = Key::of(&query);
        self.held.remove(&key);
        self.dropping.insert(key.clone());
        self.gone.push(Box::pin(async move {
            query.halt.gone().await;
            key
        }));
    }

    /// Without a connection nobody needs to wait for a first lease.
    fn give_up_waiting(&mut self) {
        while let Ok(query) = self.asks.try_recv() {
            self.take(&query);
        }
        for query in self.held.values().filter_map(Weak::upgrade) {
            if query.halt.until(&self.steward).is_none() {
                let text = format!("site `{}` cannot be reached", self.steward);
                query.halt.halt(ServiceError::new(Code::SiteUnavailable, text));
            }
        }
    }

    fn send(&self, link: &mut Link) {
        let Ok(slot) = link.requests.try_reserve() else { return };
        link.number += 1;
        let messages = |keys: &mut dyn Iterator<Item = &Key>| keys.map(Key::message).collect();
        let request = v1::HoldRequest {
            number: link.number,
            held: messages(&mut self.held.keys()),
            dropping: messages(&mut self.dropping.iter()),
        };
        link.sent.push_back((link.number, Instant::now()));
        slot.send(request);
    }

    fn hear(&mut self, link: &mut Link, reply: &v1::HoldReply) {
        let mut sent = None;
        while let Some((number, at)) = link.sent.front().copied().filter(|(number, _)| *number <= reply.number) {
            sent = (number == reply.number).then_some(at);
            link.sent.pop_front();
        }
        if let Some(sent) = sent {
            reply.leases.iter().for_each(|lease| self.extend(lease, sent));
        }
        for recall in &reply.recalls {
            let Some(query) = self.query(recall.query.as_ref()) else { continue };
            let code = Code::from_text(&recall.code).unwrap_or(Code::SiteUnavailable);
            tracing::info!(query_id = %query.graph.query, steward = %self.steward, %code, "recalled");
            query.halt.halt(ServiceError::new(code, recall.message.clone()).with_hint("run the query again"));
        }
        if !reply.recalls.is_empty() {
            self.forget();
            self.send(link);
        }
    }

    fn extend(&self, lease: &v1::Lease, sent: Instant) {
        let Some(query) = self.query(lease.query.as_ref()) else { return };
        let until = sent + LEASE.min(Duration::from_millis(u64::from(lease.lease_ms)));
        let named = query.graph.governing.get(&self.steward);
        let after = match named.filter(|_| lease.last) {
            Some(governing) => ended(&self.steward, &governing.agreement),
            None => unreachable(&self.steward, &self.place),
        };
        query.halt.set_term(&self.steward, Some(Term { until: Some(until), after }));
    }

    fn query(&self, named: Option<&v1::HeldQuery>) -> Option<Arc<Query>> {
        self.held.get(&Key::from(named?))?.upgrade()
    }
}

/// A new connection to a steward's site.
async fn open(channel: Channel) -> Result<Link, Status> {
    let (requests, outgoing) = mpsc::channel(REQUESTS_WAITING);
    let mut client = PeerClient::new(channel);
    let opening = client.hold(ReceiverStream::new(outgoing));
    let late = |_| Status::deadline_exceeded("the steward's site does not answer");
    let replies = timeout(ANSWER_WITHIN, opening).await.map_err(late)??.into_inner();
    Ok(Link { requests, replies, sent: VecDeque::new(), number: 0 })
}
