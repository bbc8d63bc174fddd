//! The state of the door, shared by all calls: the engine behind it, the seal, the sessions and the running queries.
//! What it does with them is in the files named after each part of the protocol.

use std::sync::Arc;

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Any, Command};
use dynamos_proto::status::ServiceError;
use prost::Message;

use super::clock::Clock;
use super::engine::{Caller, Engine};
use super::errors::{invalid, undecodable, unsupported};
use super::prepared::BoundParameters;
use super::running::RunningQueries;
use super::seal::{Sealer, SigningKey};
use super::session::{SessionKey, Sessions};
use super::ticket::Tickets;

/// The door.
pub(super) struct Door {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) sealer: Sealer,
    pub(super) sessions: Sessions,
    pub(super) running: RunningQueries,
    pub(super) bound: BoundParameters,
}

/// One authenticated request.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) session: SessionKey,
}

impl Door {
    pub(super) fn new(engine: Arc<dyn Engine>, key: &SigningKey, clock: Arc<dyn Clock>) -> Self {
        Self {
            engine,
            sealer: Sealer::new(key),
            sessions: Sessions::new(Arc::clone(&clock)),
            running: RunningQueries::new(Arc::clone(&clock)),
            bound: BoundParameters::default(),
            clock,
        }
    }

    pub(super) fn tickets(&self) -> Tickets<'_> {
        Tickets { sealer: &self.sealer, clock: self.clock.as_ref() }
    }
}

/// The command inside a descriptor.
pub(super) fn command_of(descriptor: &FlightDescriptor) -> Result<Command, ServiceError> {
    if descriptor.r#type != i32::from(DescriptorType::Cmd) {
        return Err(invalid("only descriptors with a command are understood"));
    }
    command_in(&descriptor.cmd)
}

/// The command that an encoded `Any` holds.
pub(super) fn command_in(bytes: &[u8]) -> Result<Command, ServiceError> {
    let any = Any::decode(bytes).map_err(|error| undecodable("command", &error))?;
    match Command::try_from(any) {
        Ok(Command::Unknown(any)) => Err(invalid(format!("`{}` is not a Flight SQL command", any.type_url))),
        Ok(command) => Ok(command),
        Err(error) => Err(invalid(format!("the command cannot be decoded: {error}"))),
    }
}

/// Refuses a transaction id; SqlInfo says that there are no transactions.
pub(super) fn refuse_transaction(id: Option<&[u8]>) -> Result<(), ServiceError> {
    match id {
        Some(id) if !id.is_empty() => Err(no_transactions()),
        _ => Ok(()),
    }
}

/// The answer to everything about transactions.
pub(super) fn no_transactions() -> ServiceError {
    unsupported("transactions are not supported").with_hint("every statement commits by itself; use autocommit")
}

/// The answer to everything about Substrait.
pub(super) fn no_substrait() -> ServiceError {
    unsupported("substrait plans are not supported").with_hint("send the query as SQL text")
}
