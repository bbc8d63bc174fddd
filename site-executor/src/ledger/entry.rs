//! The records of a place. They name who asked for what under which agreements, what leaves for where and which clauses allow
//! it, in tables and columns; and how much of it a steward gave. Never a value, never a token, and of the query no more than
//! the hash of its graph.
//!
//! A file outlives many releases: fields are added and never taken away, and what an older record has not is read as missing.

use dynamos_planner::fragment::{Fragment, FragmentGraph};
use dynamos_planner::policy::{EdgeVerdict, Requester, UtcMillis};
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::sign::sha256_hex;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::ExchangeTicket;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::agreement_change::AgreementChange;
use super::budgets::Charge;
use crate::admission::Reason;

/// Names that a permit claims are cut to this length (bytes), so that no permit makes a long record.
const NAME_BYTES_MAX: usize = 256;
/// Length of a graph's hash.
const HASH_BYTES: usize = 32;
/// So many agreements of a graph are named in a record.
const AGREEMENTS_MAX: usize = 64;
/// Of what leaves over one edge so much is written down (bytes); it names no more than the steward's own tables and columns.
const WHAT_BYTES_MAX: usize = 4096;

/// What stands in a line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Entry {
    Permit(Permit),
    Refusal(Refusal),
    Return(Return),
    Given(Given),
    Erased(Erased),
    Agreement(AgreementChange),
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

/// What a fragment of a steward gave to another place, and how that ended. Exact: the file is the steward's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(super) at: Moment,
    query_id: String,
    attempt: u32,
    fragment: String,
    /// None for the requester.
    to_place: Option<String>,
    rows: u64,
    bytes: u64,
    outcome: Outcome,
    /// Of the error that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// How the rows of a fragment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// All of them were given.
    Ended,
    Failed,
    /// The query was cancelled, or its reader went before the end.
    Cancelled,
}

/// Nothing of a query is left at the place: no row in memory, no file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Erased {
    pub(super) at: Moment,
    pub(super) query_id: String,
}

/// An edge of a graph that carries something of this place's data, from here or onwards from elsewhere: what that is, and what
/// allows it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Edge {
    from: String,
    /// Where the sending fragment runs; empty in records of before it was written down.
    #[serde(default)]
    from_place: String,
    /// None for the requester.
    to: Option<String>,
    /// Where the receiving fragment runs; none for the requester, and in records of before it was written down.
    #[serde(default)]
    to_place: Option<String>,
    /// In words; empty in records of before it was written down.
    #[serde(default)]
    what: String,
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
    /// The edges of a graph that was found allowed.
    pub(crate) fn all(graph: &FragmentGraph, verdicts: &[EdgeVerdict]) -> Vec<Self> {
        let place = |id| graph.fragment(id).map(|fragment| cut(fragment.place.as_str()));
        let edges = verdicts.iter().map(|verdict| Self {
            from: verdict.from.to_string(),
            from_place: place(verdict.from).unwrap_or_default(),
            to: verdict.to.map(|reader| reader.to_string()),
            to_place: verdict.to.and_then(place),
            what: shortened(&verdict.what, WHAT_BYTES_MAX),
            clauses: verdict.clauses.clone(),
        });
        edges.collect()
    }
}

impl Given {
    /// What this fragment gave of a query's rows until they ended so; without an error, whole. `at` is the present.
    pub(crate) fn new(
        graph: &FragmentGraph,
        fragment: &Fragment,
        (rows, bytes): (u64, u64),
        ended: &Result<(), ServiceError>,
        at: UtcMillis,
    ) -> Self {
        let reader = fragment.consumer.and_then(|id| graph.fragment(id));
        let code = ended.as_ref().err().map(|error| error.code);
        Self {
            at: Moment(at),
            query_id: cut(graph.query.as_str()),
            attempt: graph.attempt,
            fragment: fragment.id.to_string(),
            to_place: reader.map(|reader| cut(reader.place.as_str())),
            rows,
            bytes,
            outcome: match code {
                None => Outcome::Ended,
                Some(Code::Cancelled) => Outcome::Cancelled,
                Some(_) => Outcome::Failed,
            },
            code: code.map(|code| code.as_str().to_owned()),
        }
    }
}

/// A name that somebody else chose, cut to a length that keeps records short.
pub(super) fn cut(name: &str) -> String {
    name.get(..name.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default().to_owned()
}

/// A text of at most about this length (bytes), which shows where it was cut.
pub(super) fn shortened(text: &str, bytes_max: usize) -> String {
    match text.get(..text.floor_char_boundary(bytes_max)) {
        Some(beginning) if beginning.len() < text.len() => format!("{beginning}…"),
        Some(_) | None => text.to_owned(),
    }
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
