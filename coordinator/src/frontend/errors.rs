//! Short ways to say the few things that go wrong at the door itself, and the one place where an error of a running
//! result stream becomes a [`ServiceError`]. Errors of the engine pass through untouched.

use std::error::Error;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use dynamos_proto::status::{Code, ServiceError};

/// The request holds something that cannot be read.
pub(super) fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new(Code::InvalidArgument, message)
}

/// The request is understood but not something this system does.
pub(super) fn unsupported(message: impl Into<String>) -> ServiceError {
    ServiceError::new(Code::Unsupported, message)
}

/// Something that must not happen did.
pub(super) fn internal(message: impl Into<String>) -> ServiceError {
    ServiceError::new(Code::Internal, message)
}

/// The caller asked for the query to stop.
pub(crate) fn cancelled() -> ServiceError {
    ServiceError::new(Code::Cancelled, "the query was cancelled")
}

/// A message of the protocol that does not decode.
pub(super) fn undecodable(what: &str, error: &prost::DecodeError) -> ServiceError {
    invalid(format!("the {what} cannot be decoded: {error}"))
}

/// The door failed to encode something of its own making.
pub(super) fn encoding(error: &impl Error) -> ServiceError {
    internal(format!("the answer could not be encoded: {error}"))
}

/// An error from a result stream. The text of a foreign error may hold a value of the data, so only its kind goes on;
/// a [`ServiceError`] anywhere in the chain was written to be shown and goes on whole.
pub(super) fn from_stream(error: &DataFusionError) -> ServiceError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(known) = current.downcast_ref::<ServiceError>() {
            return known.clone();
        }
        cause = match current.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => Some(inner.as_ref()),
            _ => match current.downcast_ref::<ArrowError>() {
                Some(ArrowError::ExternalError(inner)) => Some(inner.as_ref()),
                _ => current.source(),
            },
        };
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            ServiceError::new(Code::ResourceExhausted, "the query needs more memory than it may use")
                .with_hint("ask for fewer rows or columns, or aggregate first")
        }
        _ => ServiceError::new(Code::DataError, "the query failed while its rows were being made")
            .with_hint("check casts and arithmetic in the query against the data's types"),
    }
}
