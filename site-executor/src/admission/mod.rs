//! The door of a place: a permit becomes a graph that this place acts on, or is refused. Nothing is believed because the
//! coordinator says so: signature, time, replay, the requester's own token and every edge are checked here, against the
//! agreements that this place holds itself.

mod admit;
mod graph_check;
mod refusal;
mod replay;
#[cfg(test)]
mod tests;

pub(crate) use admit::{Admission, Admitted, PermitContext};
pub(crate) use graph_check::{AgreementCheck, GraphCheck};
pub(crate) use refusal::{Because, Reason, Refused};
