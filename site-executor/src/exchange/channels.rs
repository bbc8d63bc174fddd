//! Connections to other places, opened when first needed and kept. Each end proves who it is by its certificate.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dynamos_proto::ids::SiteId;
use thiserror::Error;
use tokio::runtime::Handle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::identity::server_name;

/// What one stream may have on its way before its reader has taken it (bytes): at least twice bandwidth times delay.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same for a whole connection: as large as HTTP/2 allows, so that a stream whose reader waits does not stop others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection whose other end does not answer for about this long is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Why a connection cannot even be tried.
#[derive(Debug, Error)]
pub(crate) enum ChannelError {
    /// Only TLS proves who the other end is.
    #[error("`{0}` is no https address")]
    NotEncrypted(String),
    /// The address or the certificates cannot be used.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
}

/// The connections of one place.
#[derive(Debug)]
pub(crate) struct PeerChannels {
    identity: Identity,
    authority: Certificate,
    /// Where connections are served: not on the engine's threads.
    io: Handle,
    open: Mutex<BTreeMap<(SiteId, String), Channel>>,
}

impl PeerChannels {
    pub(crate) fn new(identity: Identity, authority: Certificate) -> Self {
        Self { identity, authority, io: Handle::current(), open: Mutex::default() }
    }

    /// A connection to the place `peer` at `uri`; only a place with that name in its certificate is spoken to.
    pub(crate) fn to(&self, peer: &SiteId, uri: &str) -> Result<Channel, ChannelError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (peer.clone(), uri.to_owned());
        if let Some(channel) = open.get(&key) {
            return Ok(channel.clone());
        }
        let tls = ClientTlsConfig::new()
            .ca_certificate(self.authority.clone())
            .identity(self.identity.clone())
            .domain_name(server_name(peer));
        let endpoint = Endpoint::from_shared(uri.to_owned())?;
        // Of another scheme the transport would speak in plain text, to whoever answers.
        if endpoint.uri().scheme_str() != Some("https") {
            return Err(ChannelError::NotEncrypted(uri.to_owned()));
        }
        let endpoint = endpoint
            .tls_config(tls)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let _serving = self.io.enter();
        let channel = endpoint.connect_lazy();
        open.insert(key, channel.clone());
        Ok(channel)
    }
}
