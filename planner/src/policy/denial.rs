//! Why a query is not allowed: all reasons, each with whose agreement it is about. A denial is a value, not an error.

use std::collections::BTreeSet;
use std::fmt;

use datafusion::common::DataFusionError;
use dynamos_proto::ids::SiteId;

/// One reason of a denial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Whose agreement it is about; none if it is about the query.
    pub steward: Option<SiteId>,
    /// What is not allowed.
    pub text: String,
}

/// A query that the agreements do not allow: a value, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// All reasons, each once.
    pub reasons: Vec<Reason>,
}

impl Denial {
    /// What the requester can do.
    pub fn hint(&self) -> Option<String> {
        Some("SHOW PERMISSIONS lists what you may ask for this purpose".into())
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the agreements do not allow this query: ")?;
        for (index, reason) in self.reasons.iter().enumerate() {
            if index > 0 {
                out.write_str("; ")?;
            }
            match &reason.steward {
                Some(steward) => write!(out, "{steward}: {}", reason.text)?,
                None => out.write_str(&reason.text)?,
            }
        }
        Ok(())
    }
}

/// Why a plan was not made compliant.
#[derive(Debug)]
pub enum Stop {
    /// The agreements do not allow it.
    Denied(Denial),
    /// The plan could not be worked on.
    Failed(DataFusionError),
}

impl From<DataFusionError> for Stop {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
    }
}

/// The denial with each reason once.
pub(super) fn denied(mut reasons: Vec<Reason>) -> Stop {
    let mut seen = BTreeSet::new();
    reasons.retain(|reason| seen.insert(reason.clone()));
    Stop::Denied(Denial { reasons })
}

/// A denial for a reason of its own, before those that the rows had.
pub(super) fn refuse(text: &str, mut why: Vec<Reason>) -> Stop {
    why.insert(0, Reason { steward: None, text: text.to_owned() });
    denied(why)
}
