//! [`Refused`]: why a permit was not admitted, as others are told and as the place records it.

use dynamos_proto::status::{Code, ServiceError};
use serde::{Deserialize, Serialize};

/// The class of a reason. It stands in the ledger in place of the reason's text, which quotes the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The permit is not signed by the coordinator, or too large to be looked at.
    Signature,
    /// The graph cannot be read.
    Graph,
    /// An agreement that came with the permit is not signed by its steward, or cannot be kept.
    ForeignAgreement,
    /// The permit has expired, or its times cannot be right.
    Time,
    /// Nothing of the query is for this place.
    Part,
    /// Nobody known vouches for the requester.
    Token,
    /// The requester's organisation does not vouch for the purpose.
    Purpose,
    /// An agreement is not held in the version that the graph names.
    Version,
    /// An edge or a release point is not allowed.
    Edge,
    /// The permit was used before, or may have been.
    Replay,
    /// The agreement's budget is spent.
    Budget,
    /// The place does enough already.
    Busy,
    /// The place cannot plan its part.
    Plan,
    /// A place asked for rows that are not for it, under another graph, or twice.
    Fetch,
    /// The place cannot record what it does.
    Record,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    /// What the coordinator is told.
    pub(crate) error: ServiceError,
}

impl Refused {
    pub(crate) fn new(reason: Reason, code: Code, message: impl Into<String>) -> Self {
        Self { reason, error: ServiceError::new(code, message) }
    }
}

/// Gives an error the class of its reason.
pub(crate) trait Because<T> {
    fn because(self, reason: Reason) -> Result<T, Refused>;
}

impl<T> Because<T> for Result<T, ServiceError> {
    fn because(self, reason: Reason) -> Result<T, Refused> {
        self.map_err(|error| Refused { reason, error })
    }
}
