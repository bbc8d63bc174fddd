//! Fetching a fragment's output from another place.

use arrow::array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightClient, Ticket};
use dynamos_planner::fragment::Fragment;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{CODE_KEY, Code, ServiceError};
use dynamos_proto::v1::ExchangeTicket;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost::Message;
use tonic::Status;

use super::channels::ChannelError;
use crate::place::Place;
use crate::query::Query;

/// The largest message taken (bytes); senders cut theirs to far less.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Opens the stream of a fragment that another place runs.
pub(super) async fn fetch(
    place: &Place,
    query: &Query,
    producer: &Fragment,
) -> Result<BoxStream<'static, Result<RecordBatch, ServiceError>>, ServiceError> {
    let peer = producer.place.clone();
    let uri = query.graph.endpoints.get(&peer);
    let uri =
        uri.ok_or_else(|| ServiceError::new(Code::Internal, format!("the graph does not say where `{peer}` is")))?;
    let channel = place.channels.to(&peer, uri).map_err(|error| endpoint_error(&peer, &error))?;
    let inner = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let ticket = ExchangeTicket {
        query_id: query.graph.query.to_string(),
        fragment: producer.id.0,
        graph_hash: query.hash.clone(),
    };
    let rows = FlightClient::new_from_inner(inner).do_get(Ticket::new(ticket.encode_to_vec())).await;
    let mut rows = rows.map_err(|error| from_flight(&peer, &error))?;
    let mut over = false;
    let batches = stream::poll_fn(move |context| {
        if over {
            return std::task::Poll::Ready(None);
        }
        let next = futures::ready!(rows.poll_next_unpin(context));
        let next = match next {
            Some(Ok(batch)) => Some(Ok(batch)),
            Some(Err(error)) => Some(Err(from_flight(&peer, &error))),
            // A whole answer ends with trailers; without them the connection just stopped.
            None if rows.trailers().is_some() => None,
            None => Some(Err(broken(&peer))),
        };
        over = !matches!(next, Some(Ok(_)));
        std::task::Poll::Ready(next)
    });
    Ok(batches.boxed())
}

/// A connection that cannot even be tried.
pub(crate) fn endpoint_error(peer: &SiteId, error: &ChannelError) -> ServiceError {
    tracing::warn!(%peer, %error, "no connection");
    ServiceError::new(Code::SiteUnavailable, format!("site `{peer}` cannot be reached"))
}

fn broken(peer: &SiteId) -> ServiceError {
    ServiceError::new(Code::SiteUnavailable, format!("the connection to site `{peer}` broke"))
}

fn from_flight(peer: &SiteId, error: &FlightError) -> ServiceError {
    match error {
        FlightError::Tonic(status) => from_status(peer, status),
        other => {
            tracing::warn!(%peer, error = %other, "unreadable answer");
            ServiceError::new(Code::Internal, format!("site `{peer}` sent something that cannot be read"))
        }
    }
}

/// Errors that the other place named are passed on; others are the connection's.
pub(super) fn from_status(peer: &SiteId, status: &Status) -> ServiceError {
    if status.metadata().get(CODE_KEY).is_some() {
        return ServiceError::from_status(status);
    }
    tracing::warn!(%peer, %status, "connection failed");
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Cancelled => {
            broken(peer)
        }
        _ => ServiceError::from_status(status),
    }
}
