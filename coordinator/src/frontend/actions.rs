//! The actions: prepared statements, sessions, cancelling and renewing. An action's body is either the bare message or
//! the message inside an `Any`; the protocol says which for each, clients do not all agree, so both are read.

use std::time::Duration;

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, Any, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
    RenewFlightEndpointRequest, Result as ActionResult,
};
use dynamos_proto::status::{Code, ServiceError};
use prost::Message;

use super::door::{Call, Door, no_substrait, no_transactions};
use super::errors::{invalid, undecodable, unsupported};
use super::session::{CATALOG, OPTIONS};
use super::statement::{endpoint, sealed_in};
use super::wire::{
    CloseSessionResult, CloseStatus, GetSessionOptionsResult, OptionError, OptionErrorKind, OptionValue,
    PreparedResult, SessionOptionValue, SetSessionOptionsRequest, SetSessionOptionsResult,
};

/// Where the type URLs of Flight SQL messages begin.
const SQL_URL: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

/// The actions there are, with what they do.
const KNOWN: [(&str, &str); 8] = [
    ("CreatePreparedStatement", "prepares a statement; ActionCreatePreparedStatementRequest, -Result"),
    ("ClosePreparedStatement", "closes a prepared statement; ActionClosePreparedStatementRequest"),
    ("CancelQuery", "cancels a query by its flight info; ActionCancelQueryRequest, -Result"),
    ("CancelFlightInfo", "cancels a query by its flight info; CancelFlightInfoRequest, -Result"),
    ("RenewFlightEndpoint", "extends the time of a ticket; RenewFlightEndpointRequest, FlightEndpoint"),
    ("SetSessionOptions", "sets session options; SetSessionOptionsRequest, -Result"),
    ("GetSessionOptions", "gets session options; GetSessionOptionsRequest, -Result"),
    ("CloseSession", "closes the session; CloseSessionRequest, -Result"),
];

/// What ListActions answers.
pub(super) fn known_actions() -> impl Iterator<Item = ActionType> {
    KNOWN.into_iter().map(|(name, text)| ActionType { r#type: name.to_owned(), description: text.to_owned() })
}

impl Door {
    /// Does an action and returns its results.
    pub(super) async fn act(&self, call: &Call, action: &Action) -> Result<Vec<ActionResult>, ServiceError> {
        match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let request = message::<ActionCreatePreparedStatementRequest>(action)?;
                Ok(vec![prepared(&self.create_prepared(call, request).await?)])
            }
            "ClosePreparedStatement" => {
                let request = message::<ActionClosePreparedStatementRequest>(action)?;
                self.close_prepared(call, &request.prepared_statement_handle)?;
                Ok(Vec::new())
            }
            "CancelQuery" => {
                let request = message::<ActionCancelQueryRequest>(action)?;
                let info = FlightInfo::decode(request.info).map_err(|error| undecodable("flight info", &error))?;
                let result = ActionCancelQueryResult { result: self.cancel(call, &info)?.into() };
                Ok(vec![ActionResult::new(result.as_any().encode_to_vec())])
            }
            "CancelFlightInfo" => {
                let request = message::<CancelFlightInfoRequest>(action)?;
                let info = request.info.ok_or_else(|| invalid("there is no flight info to cancel"))?;
                Ok(vec![bare(&CancelFlightInfoResult::new(self.cancel(call, &info)?))])
            }
            "RenewFlightEndpoint" => self.renew(call, message(action)?),
            "SetSessionOptions" => Ok(vec![bare(&self.set_options(call, message(action)?))]),
            "GetSessionOptions" => Ok(vec![bare(&options(call))]),
            "CloseSession" => {
                self.sessions.close(&call.session);
                Ok(vec![bare(&CloseSessionResult { status: CloseStatus::Closed.into() })])
            }
            "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => Err(no_transactions()),
            "CreatePreparedSubstraitPlan" => Err(no_substrait()),
            other => Err(unsupported(format!("there is no action `{other}`")).with_hint("list the actions")),
        }
    }

    /// Cancels whatever the tickets of a flight info run, now or later.
    fn cancel(&self, call: &Call, info: &FlightInfo) -> Result<CancelStatus, ServiceError> {
        let mut status = CancelStatus::NotCancellable;
        for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
            let body = self.tickets().open(&call.caller.identity, &sealed_in(ticket)?)?;
            if body.kind() == super::wire::TicketKind::Run {
                self.running.cancel(&body.id, Duration::from_millis(body.expires_at_ms));
                status = CancelStatus::Cancelled;
            }
        }
        Ok(status)
    }

    fn renew(&self, call: &Call, request: RenewFlightEndpointRequest) -> Result<Vec<ActionResult>, ServiceError> {
        let ticket = request.endpoint.and_then(|endpoint| endpoint.ticket);
        let ticket = ticket.ok_or_else(|| invalid("there is no endpoint with a ticket to renew"))?;
        let (sealed, expires_at) = self.tickets().renew(&call.caller.identity, &sealed_in(&ticket)?)?;
        Ok(vec![bare(&endpoint(sealed, expires_at))])
    }

    /// Sets each option on its own; the answer has one error per option that was not set.
    fn set_options(&self, call: &Call, request: SetSessionOptionsRequest) -> SetSessionOptionsResult {
        let mut result = SetSessionOptionsResult::default();
        for (name, value) in request.session_options {
            if let Err(kind) = self.set_option(call, &name, value) {
                result.errors.insert(name, OptionError { value: kind.into() });
            }
        }
        result
    }

    /// Sets an option as `SET` would.
    fn set_option(&self, call: &Call, name: &str, value: SessionOptionValue) -> Result<(), OptionErrorKind> {
        let text = option_text(name, value)?;
        let checked = match &text {
            Some(text) if name != CATALOG => self.engine.check_option(&call.caller, name, text),
            Some(_) | None => Ok(()),
        };
        checked.and_then(|()| self.sessions.set(&call.session, name, text)).map_err(|error| option_error(&error))
    }
}

/// What the protocol has to say about an option that was not set: there is no room in it for the reason.
fn option_error(error: &ServiceError) -> OptionErrorKind {
    let of_value = matches!(error.code, Code::InvalidArgument | Code::UnknownName);
    if of_value { OptionErrorKind::InvalidValue } else { OptionErrorKind::Error }
}

/// An option's text, or none where the option is to be forgotten. An empty text forgets too: JDBC has no other way.
fn option_text(name: &str, value: SessionOptionValue) -> Result<Option<String>, OptionErrorKind> {
    if !OPTIONS.contains(&name) {
        return Err(OptionErrorKind::InvalidName);
    }
    match value.value {
        None => Ok(None),
        Some(OptionValue::Text(text)) if text.is_empty() => Ok(None),
        Some(OptionValue::Text(text)) => Ok(Some(text)),
        Some(_) => Err(OptionErrorKind::InvalidValue),
    }
}

fn options(call: &Call) -> GetSessionOptionsResult {
    let told = call.caller.settings.options.iter();
    let told =
        told.map(|(name, text)| (name.clone(), SessionOptionValue { value: Some(OptionValue::Text(text.clone())) }));
    GetSessionOptionsResult { session_options: told.collect() }
}

/// The request in an action's body.
fn message<M: Message + Default>(action: &Action) -> Result<M, ServiceError> {
    let any = Any::decode(action.body.clone()).ok().filter(|any| any.type_url.starts_with("type.googleapis.com/"));
    let body = any.map_or_else(|| action.body.clone(), |any| any.value);
    M::decode(body).map_err(|error| undecodable(&format!("body of action `{}`", action.r#type), &error))
}

fn bare(message: &impl Message) -> ActionResult {
    ActionResult::new(message.encode_to_vec())
}

fn prepared(result: &PreparedResult) -> ActionResult {
    let type_url = format!("{SQL_URL}ActionCreatePreparedStatementResult");
    ActionResult::new(Any { type_url, value: result.encode_to_vec().into() }.encode_to_vec())
}
