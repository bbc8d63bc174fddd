//! What a session may set, and what its settings mean for a query. The door keeps the settings as text and does not
//! know them; they are checked when they are set and again when a query uses them.

use std::collections::BTreeSet;

use dynamos_planner::Placement;
use dynamos_planner::policy::{Purposes, Requester};
use dynamos_proto::status::{Code, ServiceError};

use super::show::concerns;
use crate::frontend::{Identity, Outcome, SessionSettings};
use crate::registry::Snapshot;

/// The prefix of settings in SQL.
const PREFIX: &str = "dynamos.";
/// The settings, by name.
const NAMES: [&str; 4] = ["agreement", "placement", "purpose", "schema"];

/// A requester without what only the front door needs.
pub(super) fn requester(identity: &Identity) -> Requester {
    Requester {
        user: identity.user.clone(),
        organisation: identity.organisation.clone(),
        roles: identity.roles.clone(),
    }
}

/// The answer to `SET` and `RESET`.
pub(super) fn set(
    name: &str,
    value: Option<String>,
    identity: &Identity,
    purposes: &Purposes,
    snapshot: &Snapshot,
) -> Result<Outcome, ServiceError> {
    let known = name.strip_prefix(PREFIX).filter(|name| NAMES.contains(name));
    let name = known.ok_or_else(|| unknown(name))?;
    if let Some(value) = &value {
        check(name, value, identity, purposes, snapshot)?;
    }
    Ok(Outcome::Set { name: name.to_owned(), value })
}

/// Whether a session may have this value of a setting. It is asked by `SET`, and by the door for options that come without SQL.
pub(super) fn check(
    name: &str,
    value: &str,
    identity: &Identity,
    purposes: &Purposes,
    snapshot: &Snapshot,
) -> Result<(), ServiceError> {
    match name {
        "agreement" => check_agreement(value, &requester(identity), snapshot),
        "placement" => placement(Some(value)).map(|_| ()),
        "purpose" => check_purpose(value, identity, purposes),
        // Names of schemas are resolved with the statement that uses them.
        "schema" => Ok(()),
        _ => Err(unknown(&format!("{PREFIX}{name}"))),
    }
}

fn unknown(name: &str) -> ServiceError {
    let names = NAMES.map(|name| format!("`{PREFIX}{name}`")).join(", ");
    ServiceError::new(Code::UnknownName, format!("there is no setting `{name}`"))
        .with_hint(format!("the settings are {names}"))
}

/// The placement of a session.
pub(super) fn placement(text: Option<&str>) -> Result<Placement, ServiceError> {
    match text {
        None => Ok(Placement::default()),
        Some(text) => text.parse().map_err(|problem: String| ServiceError::new(Code::InvalidArgument, problem)),
    }
}

/// The purpose that a query is asked for: the session's, or the only one that the requester may declare.
pub(super) fn purpose(
    settings: &SessionSettings,
    identity: &Identity,
    purposes: &Purposes,
) -> Result<Option<String>, ServiceError> {
    match (settings.options.get("purpose"), identity.purposes.as_slice()) {
        (Some(declared), _) => check_purpose(declared, identity, purposes).map(|()| Some(declared.clone())),
        (None, [only]) => Ok(Some(only.clone())),
        (None, _) => Ok(None),
    }
}

/// A purpose may be declared if the organisation vouches for it or for one above it.
pub(super) fn check_purpose(purpose: &str, identity: &Identity, purposes: &Purposes) -> Result<(), ServiceError> {
    if identity.purposes.iter().any(|granted| purposes.covers(granted, purpose)) {
        return Ok(());
    }
    let text = format!("`{}` does not vouch for purpose `{purpose}` of `{}`", identity.organisation, identity.user);
    let hint = match identity.purposes.as_slice() {
        [] => "no purpose is in the token; ask the organisation for one that has".to_owned(),
        granted => format!("the purposes are {}", quoted(granted)),
    };
    Err(ServiceError::new(Code::InvalidArgument, text).with_hint(hint))
}

/// An agreement may be asked for by name if there is one of that name with the requester. It is checked again for each plan: one
/// that is gone by then must not be answered under another.
pub(super) fn check_agreement(name: &str, requester: &Requester, snapshot: &Snapshot) -> Result<(), ServiceError> {
    let of_requester = snapshot.agreements.all().filter(|held| concerns(&held.agreement, requester));
    let names: BTreeSet<&str> = of_requester.map(|held| held.agreement.name.as_str()).collect();
    if names.contains(name) {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let hint = if names.is_empty() { "none concerns you".to_owned() } else { format!("there are {}", quoted(&names)) };
    Err(ServiceError::new(Code::UnknownName, format!("there is no agreement `{name}`")).with_hint(hint))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
