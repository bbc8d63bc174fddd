//! The records of a place. They name who asked for what under which agreements, and which clauses allow it; never a value,
//! never a token, and of the query no more than the hash of its graph.

use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::policy::{EdgeVerdict, Requester, UtcMillis};
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::sign::sha256_hex;
use dynamos_proto::v1::ExchangeTicket;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::budgets::Charge;
use crate::admission::Reason;

/// Names that a permit claims are cut to this length (bytes), so that no permit makes a long record.
const NAME_BYTES_MAX: usize = 256;
/// Length of a graph's hash.
const HASH_BYTES: usize = 32;
/// So many agreements of a graph are named in a record.
const AGREEMENTS_MAX: usize = 64;

/// What stands in a line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Entry {
    Permit(Permit),
    Refusal(Refusal),
    Return(Return),
    Erased(Erased),
}

/// A query that the place takes part in.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Permit {
    pub(super) at: Moment,
    #[serde(flatten)]
    pub(super) subject: Subject,
    /// The clauses beside each edge that carries something of this place.
    pub(super) edges: Vec<Edge>,
    /// The clauses that demand something of this place. A record is what AUDIT demands; under a RETENTION of 0 another one
    /// follows when nothing is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) obligations: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) erase: bool,
    /// What it costs; none where no agreement of this place governs it.
    pub(super) charge: Option<Charge>,
}

/// A permit that was not admitted.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) at: Moment,
    #[serde(flatten)]
    pub(super) subject: Subject,
    pub(super) code: String,
    pub(super) reason: Reason,
}

/// A charge that was given back, because no place had begun.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Return {
    pub(super) at: Moment,
    pub(super) query_id: String,
    pub(super) charge: Charge,
}

/// Nothing of a query is left at the place: no row in memory, no file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Erased {
    pub(super) at: Moment,
    pub(super) query_id: String,
}

/// An edge of a graph and what allows it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Edge {
    from: String,
    /// None for the requester.
    to: Option<String>,
    clauses: Vec<String>,
}

/// What is known of a permit or a fetch, as far as it could be read and verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Subject {
    graph_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    /// As the requester's organisation signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    requester: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organisation: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    agreements: Vec<AgreementBasis>,
    /// The place that asked for rows, as its certificate says; none where it was a permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    reader: Option<String>,
}

/// An agreement in one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AgreementBasis {
    steward: String,
    agreement: String,
    epoch: u64,
}

impl Subject {
    /// A permit of which nothing is known but its graph's bytes.
    pub(crate) fn of(graph: &[u8]) -> Self {
        Self { graph_sha256: sha256_hex(graph), ..Self::default() }
    }

    /// A fetch by this place.
    pub(crate) fn fetch(ticket: &ExchangeTicket, reader: &SiteId) -> Self {
        let digits = ticket.graph_hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}"));
        Self {
            graph_sha256: digits.collect(),
            query_id: Some(cut(&ticket.query_id)),
            reader: Some(cut(reader.as_str())),
            ..Self::default()
        }
    }

    /// What the graph says, which the coordinator signed.
    pub(crate) fn read(&mut self, graph: &FragmentGraph) {
        self.query_id = Some(cut(graph.query.as_str()));
        self.attempt = Some(graph.attempt);
        self.purpose = Some(cut(&graph.purpose));
        let governing = graph.governing.iter().take(AGREEMENTS_MAX).map(|(steward, one)| AgreementBasis {
            steward: cut(steward.as_str()),
            agreement: cut(&one.agreement),
            epoch: one.epoch,
        });
        self.agreements = governing.collect();
    }

    /// Who asks, as an organisation signed.
    pub(crate) fn verified(&mut self, requester: &Requester) {
        self.requester = Some(cut(&requester.user));
        self.organisation = Some(cut(&requester.organisation));
    }

    pub(super) fn query(&self) -> Option<QueryId> {
        self.query_id.as_deref().map(QueryId::from)
    }
}

impl Edge {
    pub(super) fn all(verdicts: &[EdgeVerdict]) -> Vec<Self> {
        let edges = verdicts.iter().map(|verdict| Self {
            from: verdict.from.to_string(),
            to: verdict.to.map(|reader| reader.to_string()),
            clauses: verdict.clauses.clone(),
        });
        edges.collect()
    }
}

fn cut(name: &str) -> String {
    name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default().to_owned()
}

/// A moment, written as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) UtcMillis);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        UtcMillis::parse(&text).map(Self).ok_or_else(|| serde::de::Error::custom("a moment is expected"))
    }
}
