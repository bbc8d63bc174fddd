//! The stable status codes of the system. Every public error maps to one code; clients and other sites act on the code,
//! people read the message. Codes never change meaning and are never reused.

use std::fmt;

use thiserror::Error;
use tonic::Status;
use tonic::metadata::MetadataValue;

/// Metadata key that carries the stable code beside gRPC's own.
pub const CODE_KEY: &str = "dynamos-code";
/// Metadata key that carries what the caller can do about it.
pub const HINT_KEY: &str = "dynamos-hint-bin";

/// What went wrong, as a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The SQL or DDL text cannot be understood.
    Syntax,
    /// A name does not exist, or may not be known to exist.
    UnknownName,
    /// The statement is understood but not something this system does.
    Unsupported,
    /// The agreements do not allow it.
    Denied,
    /// A site refused a fragment that its agreements do not allow.
    SiteRefused,
    /// Nobody is logged in, or the token is wrong or expired.
    Unauthenticated,
    /// A value in a request is malformed.
    InvalidArgument,
    /// An expression failed on data, or a source could not be read; the text stays at the site.
    DataError,
    /// A site that the query needs is down.
    SiteUnavailable,
    /// The plan was made under agreements or a catalog that have changed since.
    StaleBasis,
    /// The time limit has passed.
    DeadlineExceeded,
    /// The memory, size or row limit was reached.
    ResourceExhausted,
    /// An agreement's budget for the requester's organisation is spent; the message says until when.
    BudgetSpent,
    /// The caller cancelled it.
    Cancelled,
    /// Something that must not happen did.
    Internal,
}

impl Code {
    const ALL: [Self; 15] = [
        Self::Syntax,
        Self::UnknownName,
        Self::Unsupported,
        Self::Denied,
        Self::SiteRefused,
        Self::Unauthenticated,
        Self::InvalidArgument,
        Self::DataError,
        Self::SiteUnavailable,
        Self::StaleBasis,
        Self::DeadlineExceeded,
        Self::ResourceExhausted,
        Self::BudgetSpent,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The stable text of the code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "SYNTAX",
            Self::UnknownName => "UNKNOWN_NAME",
            Self::Unsupported => "UNSUPPORTED",
            Self::Denied => "DENIED",
            Self::SiteRefused => "SITE_REFUSED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DataError => "DATA_ERROR",
            Self::SiteUnavailable => "SITE_UNAVAILABLE",
            Self::StaleBasis => "STALE_BASIS",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::BudgetSpent => "BUDGET_SPENT",
            Self::Cancelled => "CANCELLED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The code with this stable text.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// Whether the same request may succeed later without being changed.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::SiteUnavailable | Self::StaleBasis | Self::DeadlineExceeded | Self::ResourceExhausted)
    }

    fn grpc(self) -> tonic::Code {
        match self {
            Self::Syntax | Self::InvalidArgument => tonic::Code::InvalidArgument,
            Self::UnknownName => tonic::Code::NotFound,
            Self::Unsupported => tonic::Code::Unimplemented,
            Self::Denied | Self::SiteRefused => tonic::Code::PermissionDenied,
            Self::Unauthenticated => tonic::Code::Unauthenticated,
            Self::DataError => tonic::Code::FailedPrecondition,
            Self::SiteUnavailable => tonic::Code::Unavailable,
            Self::StaleBasis => tonic::Code::Aborted,
            Self::DeadlineExceeded => tonic::Code::DeadlineExceeded,
            Self::ResourceExhausted | Self::BudgetSpent => tonic::Code::ResourceExhausted,
            Self::Cancelled => tonic::Code::Cancelled,
            Self::Internal => tonic::Code::Internal,
        }
    }

    fn from_grpc(code: tonic::Code) -> Self {
        Self::ALL.into_iter().find(|known| known.grpc() == code).unwrap_or(Self::Internal)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// An error as it crosses a boundary: code, text and, where there is one, what to do about it.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{message}")]
pub struct ServiceError {
    /// The stable code.
    pub code: Code,
    /// What happened, for a person. Never holds a data value.
    pub message: String,
    /// What the caller can do about it.
    pub hint: Option<String>,
}

impl ServiceError {
    /// An error with a code and a text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same error with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error that a peer sent; codes of foreign peers are mapped from gRPC's.
    pub fn from_status(status: &Status) -> Self {
        let named = status.metadata().get(CODE_KEY).and_then(|text| text.to_str().ok());
        let code = Code::ALL.into_iter().find(|code| named == Some(code.as_str()));
        let hint = status.metadata().get_bin(HINT_KEY).and_then(|bytes| bytes.to_bytes().ok());
        let hint = hint.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let text = status.message();
        // The advice is in the text, too, for clients that show nothing else.
        let bare = hint.as_ref().and_then(|hint| text.strip_suffix(&appended(hint)));
        Self {
            code: code.unwrap_or_else(|| Code::from_grpc(status.code())),
            message: bare.unwrap_or(text).to_owned(),
            hint,
        }
    }
}

/// Advice as it stands behind the text that it belongs to.
fn appended(hint: &str) -> String {
    format!(" ({hint})")
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let text = match &error.hint {
            Some(hint) => error.message.clone() + &appended(hint),
            None => error.message.clone(),
        };
        let mut status = Status::new(error.code.grpc(), text);
        status.metadata_mut().insert(CODE_KEY, MetadataValue::from_static(error.code.as_str()));
        if let Some(hint) = &error.hint {
            status.metadata_mut().insert_bin(HINT_KEY, MetadataValue::from_bytes(hint.as_bytes()));
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_same_after_any_number_of_places() {
        let plain = ServiceError::new(Code::Denied, "raw rows stay at `vu`");
        for error in [plain.clone(), plain.with_hint("aggregate them")] {
            let mut passed = error.clone();
            for _ in 0..3 {
                let status = Status::from(passed);
                let told = error.hint.iter().all(|hint| status.message().matches(hint.as_str()).count() == 1);
                assert!(told, "{}", status.message());
                passed = ServiceError::from_status(&status);
            }
            assert_eq!(passed, error);
        }
    }

    #[test]
    fn every_code_survives_the_wire() {
        for code in Code::ALL {
            let status = Status::from(ServiceError::new(code, "text"));
            assert_eq!(ServiceError::from_status(&status).code, code);
        }
    }
}
