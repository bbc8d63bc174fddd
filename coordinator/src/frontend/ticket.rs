//! Tickets: everything DoGet needs to run one statement for one user, sealed and with an end. A ticket survives a
//! restart and can be redeemed at any coordinator with the same signing key.

use std::time::Duration;

use bytes::Bytes;
use dynamos_proto::status::{Code, ServiceError};
use prost::Message;
use uuid::Uuid;

use super::clock::Clock;
use super::engine::{Identity, SessionSettings};
use super::errors::{invalid, undecodable};
use super::seal::{SealUse, Sealer};
use super::wire::{TicketBody, TicketKind};

/// How long a ticket may be redeemed.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// What a ticket is about, before it is sealed.
pub(super) struct TicketContent {
    pub(super) kind: TicketKind,
    pub(super) sql: String,
    /// Bound rows, encoded.
    pub(super) parameters: Bytes,
    pub(super) settings: SessionSettings,
    /// The promised schema, encoded.
    pub(super) schema: Bytes,
}

/// Issues, checks and renews tickets.
pub(super) struct Tickets<'a> {
    pub(super) sealer: &'a Sealer,
    pub(super) clock: &'a dyn Clock,
}

impl Tickets<'_> {
    /// A ticket for this user and the time when it expires, since the Unix epoch.
    pub(super) fn issue(&self, identity: &Identity, content: TicketContent) -> (Bytes, Duration) {
        self.seal(TicketBody {
            id: Bytes::copy_from_slice(Uuid::new_v4().as_bytes()),
            kind: content.kind.into(),
            sql: content.sql,
            parameters: content.parameters,
            settings: content.settings.options,
            schema: content.schema,
            owner: self.sealer.owner(identity),
            expires_at_ms: 0,
        })
    }

    /// The same ticket with its full lifetime before it.
    pub(super) fn renew(&self, identity: &Identity, sealed: &[u8]) -> Result<(Bytes, Duration), ServiceError> {
        Ok(self.seal(self.open(identity, sealed)?))
    }

    /// The inside of a ticket that is ours, this user's and not expired.
    pub(super) fn open(&self, identity: &Identity, sealed: &[u8]) -> Result<TicketBody, ServiceError> {
        let body = TicketBody::decode(self.sealer.open(SealUse::Ticket, sealed)?)
            .map_err(|error| undecodable("ticket", &error))?;
        if body.owner != self.sealer.owner(identity) {
            return Err(ServiceError::new(Code::Denied, "the ticket was issued to another user")
                .with_hint("run the query as yourself"));
        }
        if self.clock.now() >= Duration::from_millis(body.expires_at_ms) {
            return Err(invalid("the ticket has expired").with_hint("run the query again"));
        }
        Ok(body)
    }

    fn seal(&self, mut body: TicketBody) -> (Bytes, Duration) {
        let expires_at = self.clock.now() + LIFETIME;
        body.expires_at_ms = u64::try_from(expires_at.as_millis()).unwrap_or(u64::MAX);
        (self.sealer.seal(SealUse::Ticket, &body.encode_to_vec()), expires_at)
    }
}
