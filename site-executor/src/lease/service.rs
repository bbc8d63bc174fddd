//! The service that other places call: leases of this steward's data, the key of hashes that stewards share, and revocations
//! that somebody brings. Rows go over Flight, see [`crate::flight`].

use async_trait::async_trait;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use dynamos_proto::v1::peer_server::Peer;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::grants::Session;
use crate::executor::Executor;
use crate::identity::caller;

/// A place's service for other places.
#[derive(Clone, Debug)]
pub(crate) struct PeerService {
    pub(crate) executor: Executor,
    /// Cancelled when the place ends: nobody can hold anything of its data then.
    pub(crate) drained: CancellationToken,
}

#[async_trait]
impl Peer for PeerService {
    type HoldStream = BoxStream<'static, Result<v1::HoldReply, Status>>;

    async fn hold(&self, request: Request<Streaming<v1::HoldRequest>>) -> Result<Response<Self::HoldStream>, Status> {
        let holder = caller(&request)?;
        let grants = &self.executor.place().grants;
        let serving = Serving {
            executor: self.executor.clone(),
            drained: self.drained.clone(),
            session: grants.open(),
            recalls: grants.recalls(),
            requests: request.into_inner(),
            holder,
        };
        let replies = stream::unfold(serving, |mut serving| async move { Some((serving.next().await?, serving)) });
        Ok(Response::new(replies.boxed()))
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Result<Response<v1::RevokeReply>, Status> {
        let revocation = request.into_inner().revocation;
        let revocation =
            revocation.ok_or_else(|| ServiceError::new(Code::InvalidArgument, "the request holds no revocation"))?;
        self.executor.revoke(revocation).await?;
        Ok(Response::new(v1::RevokeReply {}))
    }

    async fn hash_key(&self, request: Request<v1::HashKeyRequest>) -> Result<Response<v1::HashKeyReply>, Status> {
        let caller = caller(&request)?;
        let query = request.into_inner().query;
        let query = query.ok_or_else(|| ServiceError::new(Code::InvalidArgument, "the request names no query"))?;
        match self.executor.hash_key(&query, &caller) {
            Ok(key) => Ok(Response::new(v1::HashKeyReply { key: key.bytes().to_vec() })),
            Err(error) => {
                tracing::warn!(%caller, query_id = %query.query_id, %error, "hash key refused");
                self.record_refusal(&query, &caller, &error).await;
                Err(error.into())
            }
        }
    }
}

impl PeerService {
    /// A place that was told another story, or asks for what is not for it, is put on record like one that fetches.
    async fn record_refusal(&self, query: &v1::HeldQuery, caller: &SiteId, error: &ServiceError) {
        let (query_id, graph_hash) = (query.query_id.clone(), query.graph_hash.clone());
        let ticket = v1::ExchangeTicket { query_id, graph_hash, ..v1::ExchangeTicket::default() };
        self.executor.record_refused_fetch(&ticket, caller, error).await;
    }
}

/// One holder that is served.
struct Serving {
    executor: Executor,
    drained: CancellationToken,
    session: Session,
    holder: SiteId,
    requests: Streaming<v1::HoldRequest>,
    recalls: watch::Receiver<u64>,
}

impl Serving {
    /// A place that was told another story, or asks for what is not sent to it, is put on record like one that fetches.
    async fn record_refusals(&self, reply: &v1::HoldReply) {
        for recall in &reply.recalls {
            let (Some(code @ Code::SiteRefused), Some(query)) = (Code::from_text(&recall.code), &recall.query) else {
                continue;
            };
            let (query_id, graph_hash) = (query.query_id.clone(), query.graph_hash.clone());
            let ticket = v1::ExchangeTicket { query_id, graph_hash, ..v1::ExchangeTicket::default() };
            let error = ServiceError::new(code, recall.message.clone());
            self.executor.record_refused_fetch(&ticket, &self.holder, &error).await;
        }
    }

    /// The next answer or recall; none when the holder has gone.
    async fn next(&mut self) -> Option<Result<v1::HoldReply, Status>> {
        let place = self.executor.place().clone();
        loop {
            tokio::select! {
                biased;
                () = self.drained.cancelled() => return None,
                // The sender lives as long as the place.
                _ = self.recalls.changed() => {
                    let recalls = place.grants.recalled(self.session, Instant::now());
                    if !recalls.is_empty() {
                        return Some(Ok(v1::HoldReply { recalls, ..v1::HoldReply::default() }));
                    }
                }
                request = self.requests.message() => {
                    let request = request.ok()??;
                    let who = (self.session, &self.holder);
                    let reply = place.grants.renew(who, &request, &place.queries, Instant::now());
                    if let Ok(reply) = &reply {
                        self.record_refusals(reply).await;
                    }
                    return Some(reply.map_err(Status::from));
                }
            }
        }
    }
}
