//! Messages that the door reads and writes beyond those the Arrow Flight crate generates: the session actions, the
//! answer to CreatePreparedStatement with `is_update`, and the insides of our own tickets and handles. Field numbers
//! of the first two groups are the protocol's; those of the last are private and may change with a new seal label.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

/// `arrow.flight.protocol.SessionOptionValue`; no value means the option is to be forgotten.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionOptionValue {
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    pub(super) value: Option<OptionValue>,
}

/// The types an option's value may have.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum OptionValue {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int64(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    TextList(TextList),
}

/// `arrow.flight.protocol.SessionOptionValue.StringListValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TextList {
    #[prost(string, repeated, tag = "1")]
    pub(super) values: Vec<String>,
}

/// `arrow.flight.protocol.SetSessionOptionsRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub(super) session_options: HashMap<String, SessionOptionValue>,
}

/// `arrow.flight.protocol.SetSessionOptionsResult`: one entry per option that was not set.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(super) errors: HashMap<String, OptionError>,
}

/// `arrow.flight.protocol.SetSessionOptionsResult.Error`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OptionError {
    #[prost(enumeration = "OptionErrorKind", tag = "1")]
    pub(super) value: i32,
}

/// `arrow.flight.protocol.SetSessionOptionsResult.ErrorValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum OptionErrorKind {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

/// `arrow.flight.protocol.GetSessionOptionsResult`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(super) session_options: HashMap<String, SessionOptionValue>,
}

/// `arrow.flight.protocol.CloseSessionResult`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CloseSessionResult {
    #[prost(enumeration = "CloseStatus", tag = "1")]
    pub(super) status: i32,
}

/// `arrow.flight.protocol.CloseSessionResult.Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum CloseStatus {
    Unspecified = 0,
    Closed = 1,
    Closing = 2,
    NotCloseable = 3,
}

/// `arrow.flight.protocol.sql.ActionCreatePreparedStatementResult`, with the field the crate does not know yet.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PreparedResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) prepared_statement_handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) parameter_schema: Bytes,
    #[prost(bool, optional, tag = "4")]
    pub(super) is_update: Option<bool>,
}

/// What redeeming a ticket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum TicketKind {
    /// Never issued.
    Unspecified = 0,
    /// Runs the statement and streams its rows.
    Run = 1,
    /// The statement has run; there are no rows.
    Done = 2,
}

/// The inside of a ticket.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TicketBody {
    /// Names the ticket for cancelling.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) id: Bytes,
    #[prost(enumeration = "TicketKind", tag = "2")]
    pub(super) kind: i32,
    #[prost(string, tag = "3")]
    pub(super) sql: String,
    /// Bound parameter rows as an Arrow IPC stream; empty when there are none.
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) parameters: Bytes,
    /// The session's settings when the ticket was issued.
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) settings: BTreeMap<String, String>,
    /// The schema that the FlightInfo promised, as an encapsulated IPC message.
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) schema: Bytes,
    /// Whose ticket it is.
    #[prost(bytes = "bytes", tag = "7")]
    pub(super) owner: Bytes,
    /// When it stops being good, in milliseconds since the Unix epoch.
    #[prost(uint64, tag = "8")]
    pub(super) expires_at_ms: u64,
}

/// The inside of a prepared-statement handle.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HandleBody {
    /// Names the prepared statement; stays the same when parameters are bound.
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) id: Bytes,
    #[prost(string, tag = "2")]
    pub(super) sql: String,
    /// Whether the statement has an effect instead of rows.
    #[prost(bool, tag = "3")]
    pub(super) is_update: bool,
    /// The parameters' types as an encapsulated IPC message.
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) parameter_schema: Bytes,
    /// Bound parameter rows as an Arrow IPC stream; empty when none are bound.
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) parameters: Bytes,
    /// Whose handle it is.
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) owner: Bytes,
}
