//! The last step: an independent check puts the clause beside every edge of the placed graph, as it will arrive at the
//! sites. Only what passes is a [`PermittedQuery`], and only that can be dispatched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use dynamos_proto::ids::SiteId;

use crate::bind::BoundPlan;
use crate::candidate::{Candidates, Placement};
use crate::catalog::{Entity, EntityScope};
use crate::cost::Cost;
use crate::fragment::FragmentGraph;
use crate::plan::{PlanError, Planned, PlanningInput};
use crate::policy::{CheckInput, CompliantPlan, Denial, EdgeVerdict, PlaceFacts, Reason, Viewpoint, check_graph};
use crate::wire::{WireError, decode_graph, encode_graph};

/// A placed query that was checked edge by edge.
#[derive(Debug)]
pub struct PermittedQuery {
    graph: FragmentGraph,
    bytes: Vec<u8>,
    schema: SchemaRef,
    path: QueryPath,
    verdicts: Vec<EdgeVerdict>,
    candidates: Vec<CandidateSummary>,
    placement: Placement,
}

/// The forms that the query had before it was placed, for EXPLAIN only: nothing that runs is made from them any more.
#[derive(Clone, Debug)]
pub struct QueryPath {
    /// Names resolved.
    pub bound: BoundPlan,
    /// Without sugar, every leaf with the stewards that are left.
    pub normal: LogicalPlan,
    /// Cut at its release points.
    pub compliant: CompliantPlan,
    /// The released part as it was placed.
    pub optimized: LogicalPlan,
}

/// A candidate as EXPLAIN shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateSummary {
    /// Its family.
    pub family: Placement,
    /// What its cheapest plan takes; none if no plan of the family is legal.
    pub cost: Option<Cost>,
}

impl PermittedQuery {
    /// The graph, as the sites will read it.
    pub fn graph(&self) -> &FragmentGraph {
        &self.graph
    }

    /// The graph's canonical bytes, to be signed.
    pub fn graph_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The answer's columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What the query was on the way here.
    pub fn path(&self) -> &QueryPath {
        &self.path
    }

    /// The clause beside every edge.
    pub fn verdicts(&self) -> &[EdgeVerdict] {
        &self.verdicts
    }

    /// What was compared.
    pub fn candidates(&self) -> &[CandidateSummary] {
        &self.candidates
    }

    /// The family that was asked for.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Agreements of other stewards that a place needs to build its release points: steward and name.
    pub fn agreements_for(&self, place: &SiteId) -> Vec<(SiteId, String)> {
        let mut needed = BTreeSet::new();
        for (steward, governing) in &self.graph.governing {
            if steward != place {
                needed.insert((steward.clone(), governing.agreement.clone()));
            }
        }
        needed.into_iter().collect()
    }
}

/// Encodes the graph, reads it back as a site will, and checks that.
pub(crate) fn permit(
    graph: FragmentGraph,
    schema: SchemaRef,
    path: QueryPath,
    candidates: &[Candidates],
    input: &PlanningInput<'_>,
    state: &SessionState,
) -> Result<Planned, PlanError> {
    let bytes = encode_graph(&graph, state)?;
    let read = decode_graph(&bytes, state)?;
    same_schemas(&graph, &read)?;
    let places: BTreeMap<SiteId, PlaceFacts> = input
        .catalog
        .sites
        .iter()
        .map(|(name, site)| (name.clone(), PlaceFacts { roles: site.roles.clone(), regions: site.regions.clone() }))
        .collect();
    let check = CheckInput {
        viewpoint: Viewpoint::Planner,
        agreements: input.agreements,
        requester: Some(input.requester),
        places: &places,
        now: input.now,
        purposes: input.purposes,
        counts_add: &|steward, name, column| {
            input.catalog.table(steward, name).is_some_and(|table| {
                let own = |entity: &Entity| entity.column == column && entity.scope == EntityScope::Local;
                table.colocated.contains_key(column) || table.entity.as_ref().is_some_and(own)
            })
        },
        key_domain: &|steward, name, column| input.catalog.key_domain(steward, name, column),
        federated: &|steward, name| {
            let table = input.catalog.federated.get(name)?;
            table.stewards.contains(steward).then(|| table.stewards.clone())
        },
        state,
    };
    let verdicts = match check_graph(&read, &check) {
        Ok(verdicts) => verdicts,
        Err(refusal) => {
            let text = format!("the check of the placed plan refused it: {refusal}");
            return Ok(Planned::Denied(Denial { reasons: vec![Reason { steward: None, text }] }));
        }
    };
    let candidates = candidates
        .iter()
        .map(|candidate| CandidateSummary {
            family: candidate.family,
            cost: candidate.best.as_ref().map(|best| best.cost),
        })
        .collect();
    let placement = input.placement;
    Ok(Planned::Permitted(Box::new(PermittedQuery {
        graph: read,
        bytes,
        schema,
        path,
        verdicts,
        candidates,
        placement,
    })))
}

/// What cannot cross unchanged is an error that names the column.
fn same_schemas(sent: &FragmentGraph, read: &FragmentGraph) -> Result<(), WireError> {
    for (sent, read) in sent.fragments.iter().zip(&read.fragments) {
        for (one, other) in sent.plan.schema().fields().iter().zip(read.plan.schema().fields()) {
            if one.data_type() != other.data_type() {
                return Err(WireError::Encode(format!(
                    "column `{}` of fragment {} would change its type from {} to {}",
                    one.name(),
                    sent.id,
                    one.data_type(),
                    other.data_type()
                )));
            }
        }
    }
    Ok(())
}
