//! The checks of a permit, in the order in which they become more expensive.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use datafusion::execution::SessionState;
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::policy::{
    AgreementSet, CheckInput, EdgeVerdict, Obliged, PlaceFacts, Purposes, Requester, UtcMillis, Viewpoint, obligations,
    purpose,
};
use dynamos_planner::wire::decode_graph;
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::{PublicKey, sha256};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::token::{self, Claims, Issuers, SKEW_SECONDS};
use dynamos_proto::v1;

use super::graph_check::GraphCheck;
use super::refusal::{Because, Reason, Refused};
use super::replay::ReplayMemory;
use crate::catalog::SiteTables;
use crate::ledger::Subject;

/// A graph that lives longer than this is refused, so that the memory of permits stays bounded (milliseconds).
const LIFETIME_MS_MAX: i64 = 10 * 60 * 1000;
/// An encoded graph may be this large (bytes).
const GRAPH_BYTES_MAX: usize = 8 << 20;
/// A query's id may be this long (bytes): it is remembered and recorded.
const QUERY_ID_BYTES_MAX: usize = 128;
/// A query may be planned so often. All attempts have one charge, so nobody may make more of them than a mishap needs.
const ATTEMPTS_MAX: u32 = 8;

/// The door of one place.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) place: SiteId,
    pub(crate) coordinator: PublicKey,
    pub(crate) issuers: Issuers,
    pub(crate) places: BTreeMap<SiteId, PlaceFacts>,
    purposes: Purposes,
    check: Box<dyn GraphCheck>,
    seen: Mutex<ReplayMemory>,
}

/// What a permit is checked against.
pub(crate) struct PermitContext<'a> {
    /// The agreements that this place holds.
    pub(crate) agreements: &'a AgreementSet,
    /// In which functions are resolved.
    pub(crate) state: &'a SessionState,
    /// The tables of this place.
    pub(crate) tables: &'a SiteTables,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) now_ms: i64,
}

/// A graph that this place acts on.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) graph: FragmentGraph,
    /// Who asks; unknown where no token came with the permit.
    pub(crate) requester: Option<Requester>,
    /// The clauses beside every edge that carries something of this place.
    pub(crate) edges: Vec<EdgeVerdict>,
    /// SHA-256 of the graph's bytes: places that were told different stories notice by it.
    pub(crate) hash: Vec<u8>,
}

impl Admission {
    /// The door of a place that started at `started_at_ms`.
    pub(crate) fn new(
        place: SiteId,
        coordinator: PublicKey,
        issuers: Issuers,
        places: BTreeMap<SiteId, PlaceFacts>,
        check: Box<dyn GraphCheck>,
        started_at_ms: i64,
    ) -> Result<Self, String> {
        let purposes = purpose::shipped().map_err(|error| error.to_string())?;
        let seen = Mutex::new(ReplayMemory::new(started_at_ms));
        Ok(Self { place, coordinator, issuers, places, purposes, check, seen })
    }

    /// Whether the coordinator signed this permit. Everything else in it is worth reading only then.
    pub(crate) fn verify_signature(&self, permit: &v1::Permit) -> Result<(), Refused> {
        if permit.graph.len() > GRAPH_BYTES_MAX {
            return Err(self.refused(Reason::Signature, format!("the graph has more than {GRAPH_BYTES_MAX} bytes")));
        }
        self.coordinator
            .verify(&permit.graph, &permit.signature)
            .map_err(|_| self.refused(Reason::Signature, "the permit is not signed by the coordinator".to_owned()))
    }

    /// The graph of a permit, once every check has passed. What was learned of it on the way is noted in `subject`.
    pub(crate) fn admit(
        &self,
        permit: &v1::Permit,
        context: &PermitContext<'_>,
        subject: &mut Subject,
    ) -> Result<Admitted, Refused> {
        self.verify_signature(permit)?;
        let graph = decode_graph(&permit.graph, context.state)
            .map_err(|error| self.refused(Reason::Graph, error.to_string()))?;
        subject.read(&graph);
        self.check_names(&graph)?;
        self.check_time(&graph, context.now_ms).because(Reason::Time)?;
        if graph.at(&self.place).next().is_none() {
            return Err(self.refused(Reason::Part, format!("query `{}` has no part for this site", graph.query)));
        }
        let requester = self.requester(&graph, &permit.token, context.now_ms, subject)?;
        self.check_epochs(&graph, context.agreements)?;
        let edges = self.check_edges(&graph, requester.as_ref(), context)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let expires_at_ms = graph.expires_at_ms;
        seen.remember(&graph.query, graph.attempt, graph.planned_at_ms, expires_at_ms, context.now_ms)
            .because(Reason::Replay)?;
        Ok(Admitted { graph, requester, edges, hash: sha256(&permit.graph) })
    }

    fn check_names(&self, graph: &FragmentGraph) -> Result<(), Refused> {
        if graph.query.as_str().len() > QUERY_ID_BYTES_MAX {
            return Err(self.refused(Reason::Graph, "the id of the query is too long".to_owned()));
        }
        if graph.attempt >= ATTEMPTS_MAX {
            let text = format!("query `{}` was tried {ATTEMPTS_MAX} times already", graph.query);
            return Err(self.refused(Reason::Replay, text));
        }
        Ok(())
    }

    fn check_time(&self, graph: &FragmentGraph, now_ms: i64) -> Result<(), ServiceError> {
        if graph.expires_at_ms < now_ms {
            return Err(ServiceError::new(
                Code::StaleBasis,
                format!("the permit of query `{}` has expired", graph.query),
            ));
        }
        let lifetime_ms = graph.expires_at_ms.saturating_sub(graph.planned_at_ms);
        let ahead_ms = graph.planned_at_ms.saturating_sub(now_ms);
        if !(0..=LIFETIME_MS_MAX).contains(&lifetime_ms) || ahead_ms > SKEW_SECONDS * 1000 {
            let text = format!("site `{}` refuses: the times of query `{}` cannot be right", self.place, graph.query);
            return Err(ServiceError::new(Code::SiteRefused, text));
        }
        Ok(())
    }

    /// Who asks and for what, as the organisation signed. A steward whose agreement governs the query needs to know; a place
    /// that only computes does not, whatever it is besides: without a governing agreement it reads no table of its own.
    fn requester(
        &self,
        graph: &FragmentGraph,
        text: &str,
        now_ms: i64,
        subject: &mut Subject,
    ) -> Result<Option<Requester>, Refused> {
        if text.is_empty() {
            if graph.governing.contains_key(&self.place) {
                return Err(self.refused(Reason::Token, "the permit carries no token of the requester".to_owned()));
            }
            return Ok(None);
        }
        if sha256(text.as_bytes()) != graph.token_hash {
            return Err(self.refused(Reason::Token, "the token is not that of the query".to_owned()));
        }
        let claims = self.claims(text, now_ms).because(Reason::Token)?;
        let requester = Requester { user: claims.sub, organisation: claims.iss, roles: claims.roles };
        subject.verified(&requester);
        if !claims.purposes.iter().any(|granted| self.purposes.covers(granted, &graph.purpose)) {
            let vouching = &requester.organisation;
            let text = format!("`{vouching}` does not vouch for purpose `{}` of this user", graph.purpose);
            return Err(Refused::new(Reason::Purpose, Code::Denied, text));
        }
        Ok(Some(requester))
    }

    /// The claims of a token that an organisation known here signed.
    pub(crate) fn claims(&self, text: &str, now_ms: i64) -> Result<Claims, ServiceError> {
        token::verify(text, &self.issuers, now_ms.div_euclid(1000))
            .map_err(|error| ServiceError::new(Code::Unauthenticated, error.to_string()))
    }

    /// Every agreement that governs something here must be held in the very version that the plan was made under.
    pub(crate) fn check_epochs(&self, graph: &FragmentGraph, held: &AgreementSet) -> Result<(), Refused> {
        let own = graph.governing.get_key_value(&self.place);
        let clauses = graph.releases.iter().filter(|point| self.takes_part(graph, point));
        let clauses = clauses.flat_map(|point| &point.clauses).map(|clause| (&clause.steward, &clause.agreement));
        for (steward, wanted) in own.into_iter().chain(clauses) {
            let found = held.get(steward, &wanted.agreement).map(|held| held.epoch);
            if found != Some(wanted.epoch) {
                let text = format!(
                    "`{}` does not hold agreement `{}` of `{steward}` in version {}",
                    self.place, wanted.agreement, wanted.epoch
                );
                return Err(Refused::new(Reason::Version, Code::StaleBasis, text));
            }
        }
        Ok(())
    }

    /// What the agreements that govern a query demand of this place.
    pub(crate) fn obligations(&self, graph: &FragmentGraph, held: &AgreementSet) -> Vec<Obliged> {
        let none = PlaceFacts::default();
        let facts = self.places.get(&self.place).unwrap_or(&none);
        obligations(graph, held, &self.place, &facts.roles, &facts.regions)
    }

    /// Whether this place aggregates something for a release point, or all of it.
    fn takes_part(&self, graph: &FragmentGraph, point: &dynamos_planner::fragment::ReleasePoint) -> bool {
        graph.at(&self.place).any(|part| part.id == point.fragment || part.partial_of == Some(point.id))
    }

    /// Whether this place's agreements allow a graph. Nothing is said of who sent it.
    pub(crate) fn allows(
        &self,
        graph: &FragmentGraph,
        requester: Option<&Requester>,
        context: &PermitContext<'_>,
    ) -> bool {
        self.check_epochs(graph, context.agreements).is_ok() && self.check_edges(graph, requester, context).is_ok()
    }

    fn check_edges(
        &self,
        graph: &FragmentGraph,
        requester: Option<&Requester>,
        context: &PermitContext<'_>,
    ) -> Result<Vec<EdgeVerdict>, Refused> {
        let input = CheckInput {
            viewpoint: Viewpoint::Site(self.place.clone()),
            agreements: context.agreements,
            requester,
            places: &self.places,
            state: context.state,
            now: UtcMillis(context.now_ms),
            purposes: &self.purposes,
            counts_add: &|steward, table, column| *steward == self.place && context.tables.counts_add(table, column),
            key_domain: &|steward, table, column| {
                let own = *steward == self.place;
                own.then(|| context.tables.key_domain(steward, table, column)).flatten()
            },
            federated: &|steward, table| context.tables.stewards(table).filter(|_| *steward == self.place),
        };
        let refused = |refusal: dynamos_planner::policy::Refusal| self.refused(Reason::Edge, refusal.reason);
        let verdicts = self.check.check(graph, &input).map_err(refused)?;
        for verdict in &verdicts {
            tracing::info!(query_id = %graph.query, from = %verdict.from, what = %verdict.what,
                clauses = ?verdict.clauses, "edge allowed");
        }
        Ok(verdicts)
    }

    fn refused(&self, reason: Reason, text: String) -> Refused {
        Refused::new(reason, Code::SiteRefused, format!("site `{}` refuses: {text}", self.place))
    }
}
