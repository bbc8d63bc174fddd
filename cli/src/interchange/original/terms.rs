//! What the original's JSON grants, relation by relation, in this system's words as far as it has words for it. The
//! steward's own lists bound every relation: a provider or an archetype counts only if both name it.

use dynamos_planner::policy::Archetype;

use super::model::{ArchetypeEntry, Relation, RequestType, StewardAgreement};
use crate::interchange::Report;

/// The archetypes as the original ships them, for files without an archetype file.
const KNOWN: [(&str, Archetype); 2] =
    [("computeToData", Archetype::ComputeToData), ("dataThroughTtp", Archetype::DataToCompute)];
/// What an archetype file must say of who gets the result.
pub(super) const REQUESTER: &str = "requestor";
/// The service that reads data.
pub(super) const QUERY: &str = "sql-query";
/// The service that computes averages.
pub(super) const AVERAGES: &str = "sql-algorithm";
/// The service that hides what is sensitive.
pub(super) const ANONYMIZE: &str = "sql-anonymize";

/// What one or several users may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) datasets: Vec<String>,
    pub(super) request_types: Vec<String>,
    pub(super) archetypes: Vec<Archetype>,
    pub(super) providers: Vec<String>,
}

/// The original's name of an archetype.
pub(super) fn archetype_name(archetype: Archetype) -> &'static str {
    match archetype {
        Archetype::ComputeToData => "computeToData",
        Archetype::DataToCompute => "dataThroughTtp",
    }
}

/// The original's word for who computes.
pub(super) fn provider_name(archetype: Archetype) -> &'static str {
    match archetype {
        Archetype::ComputeToData => "dataProvider",
        Archetype::DataToCompute => "other",
    }
}

/// The users of an agreement, together where their terms are the same.
pub(super) fn terms(
    agreement: &StewardAgreement,
    archetypes: Option<&[ArchetypeEntry]>,
    request_types: Option<&[RequestType]>,
    report: &mut Report,
) -> Vec<(Terms, Vec<String>)> {
    let mut all: Vec<(Terms, Vec<String>)> = Vec::new();
    for (user, relation) in &agreement.relations {
        report.carry(format!("relation `{user}` → USER '{user}'"));
        if relation.id.is_some() {
            report.leave_out(format!("the ID of relation `{user}`: agreements are known by name"));
        }
        let terms = Terms {
            datasets: relation.data_sets.clone(),
            request_types: types_of(relation, request_types, report),
            archetypes: archetypes_of(agreement, relation, archetypes, report),
            providers: providers_of(agreement, relation, report),
        };
        match all.iter_mut().find(|(other, _)| *other == terms) {
            Some((_, users)) => users.push(user.clone()),
            None => all.push((terms, vec![user.clone()])),
        }
    }
    for name in agreement.archetypes.iter().filter(|name| archetype(name, archetypes).is_none()) {
        report.leave_out(format!("archetype `{name}` of the steward: there is none like it here"));
    }
    all
}

fn types_of(relation: &Relation, known: Option<&[RequestType]>, report: &mut Report) -> Vec<String> {
    let mut types = Vec::new();
    for name in &relation.request_types {
        match known.map(|known| known.iter().find(|known| known.name == *name)) {
            Some(None) => report.leave_out(format!("request type `{name}`: it is not in the file of request types")),
            Some(Some(known)) => {
                services(known, report);
                types.push(name.clone());
            }
            None => types.push(name.clone()),
        }
    }
    types
}

/// The services that have a meaning for an agreement.
fn services(known: &RequestType, report: &mut Report) {
    let RequestType { name, required_services, optional_services } = known;
    for service in required_services.iter().chain(optional_services.keys()) {
        match service.as_str() {
            QUERY | "sql-aggregate" => {}
            AVERAGES => report.carry(format!("service `{service}` of `{name}` → avg in a RELEASE clause")),
            ANONYMIZE => report.leave_out(format!(
                "service `{service}` of `{name}`: what is masked is not the requester's choice; write MASK clauses"
            )),
            "sql-graph" => report.leave_out(format!("service `{service}` of `{name}`: clients draw their results")),
            _ => report.leave_out(format!("service `{service}` of `{name}`: there is none like it here")),
        }
    }
}

/// The functions that a request of this type computes.
pub(super) fn functions(request_type: &RequestType) -> &'static [&'static str] {
    let computes = |service: &String| service == AVERAGES;
    let averages =
        request_type.required_services.iter().any(computes) || request_type.optional_services.keys().any(computes);
    if averages { &["avg"] } else { &[] }
}

fn archetypes_of(
    agreement: &StewardAgreement,
    relation: &Relation,
    known: Option<&[ArchetypeEntry]>,
    report: &mut Report,
) -> Vec<Archetype> {
    let mut allowed = Vec::new();
    for name in &relation.allowed_archetypes {
        if !agreement.archetypes.contains(name) {
            report.leave_out(format!("archetype `{name}`: the steward's own list does not have it"));
            continue;
        }
        match archetype(name, known) {
            Some(archetype) if !allowed.contains(&archetype) => {
                report.carry(format!("archetype `{name}` → {archetype} in ARCHETYPES"));
                allowed.push(archetype);
            }
            Some(_) => {}
            None => report.leave_out(format!("archetype `{name}`: there is none like it here")),
        }
    }
    for entry in known.unwrap_or_default().iter().filter(|entry| entry.weight.is_some()) {
        report.leave_out(format!("weight of archetype `{}`: placements are chosen by cost", entry.name));
    }
    allowed.sort();
    allowed
}

fn archetype(name: &str, known: Option<&[ArchetypeEntry]>) -> Option<Archetype> {
    let Some(known) = known else { return KNOWN.iter().find(|(other, _)| *other == name).map(|(_, one)| *one) };
    let entry = known.iter().find(|entry| entry.name == name && entry.result_recipient == REQUESTER)?;
    match entry.compute_provider.as_str() {
        "dataProvider" => Some(Archetype::ComputeToData),
        "other" => Some(Archetype::DataToCompute),
        _ => None,
    }
}

fn providers_of(agreement: &StewardAgreement, relation: &Relation, report: &mut Report) -> Vec<String> {
    let mut allowed: Vec<String> = Vec::new();
    for name in &relation.allowed_compute_providers {
        if !agreement.compute_providers.contains(name) {
            report.leave_out(format!("compute provider `{name}`: the steward's own list does not have it"));
        } else if !allowed.contains(name) {
            allowed.push(name.clone());
        }
    }
    allowed
}
