//! Agreements → the original's other files: data sets, archetypes, types of request, and services that stewards demand. They
//! tell what a profile tells of them and nothing more; what this system decides in another way, such as how files are
//! written and which archetype is better, is reported as left out.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::ast::{Expr, Ident};
use dynamos_planner::policy::{Agreement, Archetype, Clause, MaskClause, ReleaseWhat};

use super::model::{ArchetypeEntry, Dataset, EnforcedServices, RequestType};
use super::profile::{DatasetTerms, Profile};
use super::terms::{ANONYMIZE, AVERAGES, QUERY, REQUESTER, archetype_name, provider_name};
use crate::interchange::Report;

/// What an agreement became in the original's words.
#[derive(Clone, Debug)]
pub(super) struct Said<'a> {
    pub(super) agreement: &'a Agreement,
    pub(super) steward: String,
    pub(super) dataset: String,
    pub(super) archetypes: Vec<Archetype>,
    /// The type of request of each clause.
    pub(super) types: Vec<String>,
    /// The types that its relations have.
    pub(super) relation_types: Vec<String>,
}

impl Said<'_> {
    /// Its masks that hide something.
    fn masks(&self) -> impl Iterator<Item = &MaskClause> {
        self.agreement.clauses.iter().filter_map(|numbered| match &numbered.clause {
            Clause::Mask(mask) => Some(mask).filter(|mask| hides(mask)),
            _ => None,
        })
    }
}

/// The data sets: their tables by the names of the profile, and what is masked as sensitive.
pub(super) fn datasets(all: &[Said<'_>], profile: &Profile, report: &mut Report) -> Vec<Dataset> {
    let mut datasets = Vec::new();
    for (name, terms) in &profile.datasets {
        let tables: Vec<String> = terms.tables.keys().cloned().collect();
        report.carry(format!("tables of `{name}` → {} of data set `{name}`", tables.join(", ")));
        report.leave_out(format!("type and delimiter of data set `{name}`: they stand in the site's configuration"));
        let mut sensitive: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for mask in all.iter().filter(|said| said.dataset == *name).flat_map(|said| said.masks()) {
            match table_of(mask, terms) {
                Some(table) => {
                    report.carry(format!("MASK {} → sensitive column of `{table}`", mask.column));
                    sensitive.entry(table.clone()).or_default().insert(mask.column.column.clone());
                }
                None => report.leave_out(format!("MASK {}: the data set has not one table with it", mask.column)),
            }
        }
        let sensitive_columns =
            sensitive.into_iter().map(|(table, columns)| (table, columns.into_iter().collect())).collect();
        datasets.push(Dataset { name: name.clone(), format: None, delimiter: None, tables, sensitive_columns });
    }
    datasets
}

/// The original's name of the table that a mask is about; none if it may be about several.
fn table_of<'a>(mask: &MaskClause, terms: &'a DatasetTerms) -> Option<&'a String> {
    let mut tables = terms.tables.iter().filter(|(_, ours)| is_about(mask, ours)).map(|(theirs, _)| theirs);
    tables.next().filter(|_| tables.next().is_none())
}

/// Whether a mask is about a table, if that has its column: a site reads one without a table as about every such table.
pub(super) fn is_about(mask: &MaskClause, ours: &str) -> bool {
    mask.column
        .table
        .as_ref()
        .is_none_or(|named| named.to_string() == ours || (named.schema.is_none() && last_part(ours) == named.table))
}

/// Whether a mask shows something else than the column itself.
pub(super) fn hides(mask: &MaskClause) -> bool {
    !is_column(&mask.value, &mask.column.column)
}

fn is_column(value: &Expr, column: &str) -> bool {
    let named = |ident: &Ident| match ident.quote_style {
        Some(_) => ident.value == column,
        None => ident.value.to_lowercase() == column,
    };
    match value {
        Expr::Nested(inner) => is_column(inner, column),
        Expr::Identifier(ident) => named(ident),
        Expr::CompoundIdentifier(path) => path.last().is_some_and(named),
        _ => false,
    }
}

fn last_part(table: &str) -> &str {
    table.rsplit('.').next().unwrap_or(table).trim_matches('"')
}

/// The archetypes that some agreement allows.
pub(super) fn archetypes(all: &[Said<'_>], report: &mut Report) -> Vec<ArchetypeEntry> {
    let allowed: BTreeSet<Archetype> = all.iter().flat_map(|said| said.archetypes.iter().copied()).collect();
    let entries = allowed.into_iter().map(|archetype| {
        let name = archetype_name(archetype).to_owned();
        report.leave_out(format!("weight of archetype `{name}`: placements are chosen by cost"));
        let (compute_provider, result_recipient) = (provider_name(archetype).to_owned(), REQUESTER.to_owned());
        ArchetypeEntry { name, compute_provider, result_recipient, weight: None }
    });
    entries.collect()
}

/// The types of request that relations name, with the services that compute what their clauses release.
pub(super) fn request_types(all: &[Said<'_>], report: &mut Report) -> Vec<RequestType> {
    let mut types: Vec<RequestType> = Vec::new();
    for name in all.iter().flat_map(|said| &said.relation_types) {
        if types.iter().any(|known| known.name == *name) {
            continue;
        }
        let mut required_services = vec![QUERY.to_owned()];
        let functions: BTreeSet<&str> = all.iter().flat_map(|said| functions(said, name)).collect();
        for function in functions {
            if function == "avg" {
                report.carry(format!("avg in a RELEASE clause → service `{AVERAGES}` of `{name}`"));
                required_services.push(AVERAGES.to_owned());
            } else {
                report.leave_out(format!("function {function} of `{name}`: no service of the original computes it"));
            }
        }
        types.push(RequestType { name: name.clone(), required_services, optional_services: BTreeMap::new() });
    }
    types
}

/// The functions that the clauses of a type release.
fn functions<'a>(said: &'a Said<'_>, request_type: &str) -> Vec<&'a str> {
    let of_type = said.agreement.clauses.iter().zip(&said.types).filter(|(_, own)| *own == request_type);
    let mut functions = Vec::new();
    for (numbered, _) in of_type {
        if let Clause::Release(release) = &numbered.clause
            && let ReleaseWhat::Aggregates(aggregates) = &release.what
        {
            functions.extend(aggregates.functions.iter().map(|function| function.name.as_str()));
        }
    }
    functions
}

/// What stewards demand of every request: to hide what is masked, of the types of which all their agreements mask something.
pub(super) fn enforced(all: &[Said<'_>], report: &mut Report) -> Vec<EnforcedServices> {
    let mut demands: Vec<EnforcedServices> = Vec::new();
    for said in all {
        if said.masks().next().is_none() || demands.iter().any(|known| known.data_steward == said.steward) {
            continue;
        }
        let own = || all.iter().filter(|other| other.steward == said.steward);
        let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in own().flat_map(|other| &other.relation_types) {
            let mut asked = own().filter(|other| other.relation_types.contains(name));
            if asked.all(|other| other.masks().next().is_some()) {
                report
                    .carry(format!("MASK clauses → service `{ANONYMIZE}`, demanded of `{name}` by `{}`", said.steward));
                types.insert(name.clone(), vec![ANONYMIZE.to_owned()]);
            } else {
                report.leave_out(format!(
                    "service `{ANONYMIZE}` of `{name}`: not every agreement of `{}` masks something",
                    said.steward
                ));
            }
        }
        if !types.is_empty() {
            demands.push(EnforcedServices { data_steward: said.steward.clone(), types });
        }
    }
    demands
}
