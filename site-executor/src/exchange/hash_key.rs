//! Getting the key of hashes from the steward that drew it: site to site, each of which proves who it is, so that whoever
//! relays the query has no part in it.

use std::time::Duration;

use dynamos_planner::fragment::Fragment;
use dynamos_planner::function::{HashKeys, hashes_in};
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::HashKey;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use dynamos_proto::v1::peer_client::PeerClient;
use tokio::time::timeout;

use super::client::{endpoint_error, from_status};
use crate::place::Place;
use crate::query::Query;

/// A steward that has not answered within this time is not there.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What a fragment of this place hashes under; none if it hashes nothing. The shared key is asked for once in a query.
pub(crate) async fn hash_keys(
    place: &Place,
    query: &Query,
    fragment: &Fragment,
) -> Result<Option<HashKeys>, ServiceError> {
    if hashes_in(&fragment.plan).is_empty() {
        return Ok(None);
    }
    let keys = &query.hash_keys;
    let shared = match keys.drawer_for(&place.name) {
        Some(drawer) => Some(keys.shared().get_or_try_init(|| ask(place, query, drawer)).await?.clone()),
        None => None,
    };
    Ok(Some(HashKeys { own: keys.own.clone(), shared }))
}

async fn ask(place: &Place, query: &Query, drawer: &SiteId) -> Result<HashKey, ServiceError> {
    let Some(uri) = query.graph.endpoints.get(drawer) else {
        return Err(ServiceError::new(Code::Internal, format!("the graph does not say where `{drawer}` is")));
    };
    let channel = place.channels.to(drawer, uri).map_err(|error| endpoint_error(drawer, &error))?;
    let held = v1::HeldQuery { query_id: query.graph.query.to_string(), graph_hash: query.hash.clone() };
    let mut client = PeerClient::new(channel);
    let asked = timeout(ANSWER_WITHIN, client.hash_key(v1::HashKeyRequest { query: Some(held) })).await;
    let silent = |_| ServiceError::new(Code::SiteUnavailable, format!("site `{drawer}` does not answer"));
    let reply = asked.map_err(silent)?.map_err(|status| from_status(drawer, &status))?.into_inner();
    let bytes: [u8; 32] = reply.key.try_into().map_err(|_| {
        ServiceError::new(Code::Internal, format!("site `{drawer}` sent something that cannot be read"))
    })?;
    Ok(HashKey::from_bytes(bytes))
}
