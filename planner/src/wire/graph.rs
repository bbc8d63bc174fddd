//! The fragment graph as the message that is signed, and back.

use std::collections::BTreeMap;

use datafusion::execution::SessionState;
use dynamos_proto::ids::{FragmentId, QueryId, ReleaseId, SiteId};
use dynamos_proto::v1;
use prost::Message;

use super::plan::{WireError, decode_plan, encode_plan};
use crate::fragment::{
    AgreementRef, EntityColumn, Fragment, FragmentGraph, KeySet, ReleaseClauseRef, ReleaseInput, ReleasePoint,
    ReleaseShape, ReleasedAggregate,
};
use crate::policy::MinimumScope;

/// More fragments than this are refused.
const FRAGMENTS_MAX: usize = 512;

/// The graph's canonical bytes.
pub fn encode_graph(graph: &FragmentGraph, state: &SessionState) -> Result<Vec<u8>, WireError> {
    let message = v1::Graph {
        query_id: graph.query.to_string(),
        attempt: graph.attempt,
        purpose: graph.purpose.clone(),
        catalog_version: graph.catalog_version,
        fragments: graph.fragments.iter().map(|part| encode_fragment(part, state)).collect::<Result<_, _>>()?,
        releases: graph.releases.iter().map(|point| encode_release(point, state)).collect::<Result<_, _>>()?,
        endpoints: graph
            .endpoints
            .iter()
            .map(|(place, uri)| v1::Endpoint { place: place.to_string(), uri: uri.clone() })
            .collect(),
        planned_at_ms: graph.planned_at_ms,
        expires_at_ms: graph.expires_at_ms,
        token_hash: graph.token_hash.clone(),
        governing: graph
            .governing
            .iter()
            .map(|(steward, governing)| v1::Governing {
                steward: steward.to_string(),
                agreement: governing.agreement.clone(),
                epoch: governing.epoch,
            })
            .collect(),
        organisation: graph.organisation.clone(),
    };
    Ok(message.encode_to_vec())
}

fn encode_fragment(fragment: &Fragment, state: &SessionState) -> Result<v1::Fragment, WireError> {
    Ok(v1::Fragment {
        id: fragment.id.0,
        place: fragment.place.to_string(),
        consumer: fragment.consumer.map(|id| id.0),
        plan: encode_plan(&fragment.plan, state)?,
        partial_of: fragment.partial_of.map(|id| id.0),
    })
}

fn encode_release(point: &ReleasePoint, state: &SessionState) -> Result<v1::Release, WireError> {
    let (complete, merges) = match &point.input {
        ReleaseInput::Complete(plan) => (encode_plan(plan, state)?, Vec::new()),
        ReleaseInput::Merge(fragments) => (Vec::new(), fragments.iter().map(|id| id.0).collect()),
    };
    let index = |column: usize| u32::try_from(column).map_err(|_| WireError::TooLarge("columns".into()));
    let aggregates = point.shape.aggregates.iter().map(|value| {
        Ok(v1::Aggregate {
            function: value.function.clone(),
            distinct: value.distinct,
            argument: value.argument.map(index).transpose()?,
            filter: value.filter.map(index).transpose()?,
            origin: value.origin.map(index).transpose()?,
            family: value.family.map(index).transpose()?,
            known: value.known,
        })
    });
    let entities =
        point.shape.entities.iter().map(|key| Ok(v1::Entity { name: key.name.clone(), column: index(key.column)? }));
    Ok(v1::Release {
        id: point.id.0,
        fragment: point.fragment.0,
        clauses: point
            .clauses
            .iter()
            .map(|clause| v1::ReleaseClause {
                steward: clause.steward.to_string(),
                agreement: clause.agreement.agreement.clone(),
                epoch: clause.agreement.epoch,
                clause: clause.clause,
            })
            .collect(),
        keys: index(point.shape.keys)?,
        aggregates: aggregates.collect::<Result<_, WireError>>()?,
        entities: entities.collect::<Result<_, WireError>>()?,
        complete,
        merges,
        per_site: point.scope == MinimumScope::PerSite,
        sets: point.shape.sets.iter().map(|set| set.bits()).collect(),
    })
}

/// The graph in these bytes.
pub fn decode_graph(bytes: &[u8], state: &SessionState) -> Result<FragmentGraph, WireError> {
    let message = v1::Graph::decode(bytes).map_err(|error| WireError::Graph(error.to_string()))?;
    if message.fragments.len() > FRAGMENTS_MAX || message.releases.len() > FRAGMENTS_MAX {
        return Err(WireError::TooLarge(format!("more than {FRAGMENTS_MAX} fragments or release points")));
    }
    let fragments = message.fragments.iter().map(|part| {
        Ok(Fragment {
            id: FragmentId(part.id),
            place: SiteId::new(&part.place),
            consumer: part.consumer.map(FragmentId),
            plan: decode_plan(&part.plan, state)?,
            partial_of: part.partial_of.map(ReleaseId),
        })
    });
    let releases = message.releases.iter().map(|point| decode_release(point, state));
    Ok(FragmentGraph {
        query: QueryId::new(&message.query_id),
        attempt: message.attempt,
        purpose: message.purpose.clone(),
        catalog_version: message.catalog_version,
        fragments: fragments.collect::<Result<_, WireError>>()?,
        releases: releases.collect::<Result<_, WireError>>()?,
        endpoints: message.endpoints.iter().map(|end| (SiteId::new(&end.place), end.uri.clone())).collect(),
        governing: decode_governing(&message.governing)?,
        planned_at_ms: message.planned_at_ms,
        expires_at_ms: message.expires_at_ms,
        token_hash: message.token_hash,
        organisation: message.organisation,
    })
}

fn decode_governing(message: &[v1::Governing]) -> Result<BTreeMap<SiteId, AgreementRef>, WireError> {
    let mut governing = BTreeMap::new();
    for one in message {
        let agreement = AgreementRef { agreement: one.agreement.clone(), epoch: one.epoch };
        if governing.insert(SiteId::new(&one.steward), agreement).is_some() {
            return Err(WireError::Graph(format!("two agreements of `{}` govern the query", one.steward)));
        }
    }
    Ok(governing)
}

fn decode_release(point: &v1::Release, state: &SessionState) -> Result<ReleasePoint, WireError> {
    let input = match (point.complete.is_empty(), point.merges.is_empty()) {
        (false, true) => ReleaseInput::Complete(decode_plan(&point.complete, state)?),
        (true, false) => ReleaseInput::Merge(point.merges.iter().copied().map(FragmentId).collect()),
        (true, true) | (false, false) => {
            return Err(WireError::Graph(format!("release point r{} needs either rows or partials", point.id)));
        }
    };
    let column = |index: u32| index as usize;
    Ok(ReleasePoint {
        id: ReleaseId(point.id),
        fragment: FragmentId(point.fragment),
        clauses: point
            .clauses
            .iter()
            .map(|clause| ReleaseClauseRef {
                steward: SiteId::new(&clause.steward),
                agreement: AgreementRef { agreement: clause.agreement.clone(), epoch: clause.epoch },
                clause: clause.clause,
            })
            .collect(),
        shape: ReleaseShape {
            keys: column(point.keys),
            sets: decode_sets(point)?,
            aggregates: point
                .aggregates
                .iter()
                .map(|value| ReleasedAggregate {
                    function: value.function.clone(),
                    distinct: value.distinct,
                    argument: value.argument.map(column),
                    origin: value.origin.map(column),
                    family: value.family.map(column),
                    known: value.known,
                    filter: value.filter.map(column),
                })
                .collect(),
            entities: point
                .entities
                .iter()
                .map(|key| EntityColumn { name: key.name.clone(), column: column(key.column) })
                .collect(),
        },
        input,
        scope: if point.per_site { MinimumScope::PerSite } else { MinimumScope::Federation },
    })
}

/// The grouping sets of a release point; each is of keys that it has.
fn decode_sets(point: &v1::Release) -> Result<Vec<KeySet>, WireError> {
    let keys = point.keys as usize;
    let many = point.sets.len() > KeySet::SETS_MAX || (!point.sets.is_empty() && keys > KeySet::KEYS_MAX);
    let sets = point.sets.iter().map(|bits| KeySet::from_bits(*bits, keys)).collect::<Option<Vec<_>>>();
    match sets.filter(|_| !many) {
        Some(sets) => Ok(sets),
        None => {
            Err(WireError::Graph(format!("release point r{} has grouping sets of other keys than its own", point.id)))
        }
    }
}
