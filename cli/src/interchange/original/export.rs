//! Agreements → the original's JSON, and the profile with all that it cannot say; its other files are made in `files`. Reading both back gives the same
//! agreements as far as the JSON can carry them: it knows single users only, one list of providers for a user, and
//! sites as providers. Where it would have to say more than the agreement does, it says less.

use std::collections::BTreeMap;

use dynamos_planner::policy::{Agreement, Archetype, Clause, Grantee, NumberedClause, PlaceRef, ShipWhat, TableRef};

use super::files::{self, Said};
use super::import::completed;
use super::model::{ArchetypeEntry, Dataset, EnforcedServices, Relation, RequestType, StewardAgreement};
use super::profile::{DatasetTerms, Profile, moment_text};
use super::terms::archetype_name;
use crate::interchange::{InterchangeError, Report, pieces};

/// The one request type of the original that asks for data; for clauses of which a profile says no other.
const REQUEST_TYPE: &str = "sqlDataRequest";
const BOTH: [Archetype; 2] = [Archetype::ComputeToData, Archetype::DataToCompute];

/// What an export writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The original's agreements, one a steward.
    pub agreements: Vec<StewardAgreement>,
    /// The data sets that they name.
    pub datasets: Vec<Dataset>,
    /// The archetypes that they name.
    pub archetypes: Vec<ArchetypeEntry>,
    /// The types of request that they name.
    pub request_types: Vec<RequestType>,
    /// The services that stewards demand of every request.
    pub enforced: Vec<EnforcedServices>,
    /// What they cannot say.
    pub profile: Profile,
    /// What became of everything.
    pub report: Report,
}

/// Writes agreements as the original's JSON. `names` is a profile whose names of places, data sets, tables and types of request
/// are used.
///
/// # Errors
///
/// When two agreements would have to be one: of one user with different terms, or of one name with different clauses.
pub fn export(agreements: &[Agreement], names: Option<&Profile>) -> Result<Exported, InterchangeError> {
    let (profile, report) = (Profile::default(), Report::default());
    let mut export = Export { names, stewards: Vec::new(), said: Vec::new(), profile, report };
    agreements.iter().try_for_each(|agreement| export.add(agreement))?;
    let Export { stewards, said, profile, mut report, .. } = export;
    Ok(Exported {
        agreements: stewards,
        datasets: files::datasets(&said, &profile, &mut report),
        archetypes: files::archetypes(&said, &mut report),
        request_types: files::request_types(&said, &mut report),
        enforced: files::enforced(&said, &mut report),
        profile,
        report,
    })
}

struct Export<'a> {
    names: Option<&'a Profile>,
    stewards: Vec<StewardAgreement>,
    /// What became of each agreement.
    said: Vec<Said<'a>>,
    profile: Profile,
    report: Report,
}

impl<'a> Export<'a> {
    fn add(&mut self, agreement: &'a Agreement) -> Result<(), InterchangeError> {
        let steward = self.place(&agreement.steward);
        let dataset = self.dataset_name(&agreement.name);
        self.report.carry(format!("SITE {} → steward `{steward}`", agreement.steward));
        let providers = providers(agreement, &mut self.report);
        let allowed = archetypes(agreement);
        let archetypes: Vec<String> = allowed.iter().map(|one| archetype_name(*one).to_owned()).collect();
        self.report.carry(format!("ARCHETYPES of `{}` → {}", agreement.name, archetypes.join(", ")));
        let types = types_of(agreement, self.names.and_then(|names| names.datasets.get(&dataset)));
        let terms = self.terms(agreement, &dataset, &providers, &types);
        let relation_types = relation_types(&types, &terms);
        self.said.push(Said {
            agreement,
            steward: steward.clone(),
            dataset: dataset.clone(),
            archetypes: allowed,
            types,
            relation_types: relation_types.clone(),
        });
        self.report.carry(format!("`{}` → data set `{dataset}`", agreement.name));
        match self.profile.datasets.get(&dataset) {
            Some(other) if *other != terms => {
                return Err(InterchangeError::Export(format!(
                    "two stewards have different agreements `{}`; export them from files of their own",
                    agreement.name
                )));
            }
            Some(_) => {}
            None => {
                self.profile.datasets.insert(dataset.clone(), terms);
            }
        }
        let providers: Vec<String> = providers.iter().map(|provider| self.place(provider)).collect();
        let relation = Relation {
            id: None,
            request_types: relation_types,
            data_sets: vec![dataset],
            allowed_archetypes: archetypes,
            allowed_compute_providers: providers,
        };
        self.relate(agreement, &steward, &relation)
    }

    /// Adds the relation for every user of the agreement.
    fn relate(&mut self, agreement: &Agreement, steward: &str, relation: &Relation) -> Result<(), InterchangeError> {
        let index = self.stewards.iter().position(|other| other.name == steward).unwrap_or_else(|| {
            let (name, relations) = (steward.to_owned(), BTreeMap::new());
            self.stewards.push(StewardAgreement { name, relations, compute_providers: vec![], archetypes: vec![] });
            self.stewards.len() - 1
        });
        let Some(whole) = self.stewards.get_mut(index) else { return Ok(()) };
        extend(&mut whole.compute_providers, &relation.allowed_compute_providers);
        extend(&mut whole.archetypes, &relation.allowed_archetypes);
        for grantee in &agreement.grantees {
            let Grantee::User(user) = grantee else {
                self.report.leave_out(format!("`{}` for {grantee}: relations are of single users", agreement.name));
                continue;
            };
            self.report.carry(format!("USER '{user}' → relation `{user}`"));
            let Some(known) = whole.relations.get_mut(user) else {
                whole.relations.insert(user.clone(), relation.clone());
                continue;
            };
            if known.allowed_archetypes != relation.allowed_archetypes
                || known.allowed_compute_providers != relation.allowed_compute_providers
            {
                return Err(InterchangeError::Export(format!(
                    "user `{user}` has other archetypes or providers in `{}` than in an agreement before it, and the \
                     original has one list a user; export them from files of their own",
                    agreement.name
                )));
            }
            extend(&mut known.request_types, &relation.request_types);
            extend(&mut known.data_sets, &relation.data_sets);
        }
        Ok(())
    }

    /// The profile's part for an agreement.
    fn terms(&mut self, agreement: &Agreement, dataset: &str, providers: &[String], types: &[String]) -> DatasetTerms {
        let named = self.names.and_then(|names| names.datasets.get(dataset));
        let their_name = |ours: &str| {
            named.and_then(|named| {
                named.tables.iter().find(|(_, table)| *table == ours).map(|(theirs, _)| theirs.clone())
            })
        };
        let ours: Vec<String> = tables(agreement).into_iter().map(ToString::to_string).collect();
        let tables = ours.into_iter().map(|ours| (their_name(&ours).unwrap_or_else(|| ours.clone()), ours)).collect();
        let mut requests: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // The number that a clause would have without one. Where there are several types, what stands before the first clause of
        // one depends on the relation that is read.
        let several = types.windows(2).any(|pair| pair.first() != pair.last());
        let mut next: BTreeMap<&String, u32> = BTreeMap::new();
        for (clause, request_type) in agreement.clauses.iter().zip(types) {
            let Some(text) = text(clause, providers) else { continue };
            let unwritten = next.get(request_type).copied().or((!several).then_some(1));
            let number = if unwritten == Some(clause.number) { String::new() } else { format!("{}: ", clause.number) };
            next.insert(request_type, clause.number.saturating_add(1));
            if !matches!(clause.clause, Clause::Archetypes(_)) {
                self.report.leave_out(format!("`{}`: {text} (in the profile)", agreement.name));
            }
            requests.entry(request_type.clone()).or_default().push(format!("{number}{text}"));
        }
        if requests.is_empty() {
            requests.insert(REQUEST_TYPE.to_owned(), Vec::new());
        }
        let (valid_from, valid_until) = (moment_text(agreement.valid_from), moment_text(agreement.valid_until));
        self.report.leave_out(format!(
            "`{}`: purposes {}; valid from {valid_from} until {valid_until} (in the profile)",
            agreement.name,
            agreement.purposes.join(", ")
        ));
        DatasetTerms {
            agreement: agreement.name.clone(),
            purposes: agreement.purposes.clone(),
            valid_from,
            valid_until,
            tables,
            requests,
        }
    }

    /// The original's name of a site.
    fn place(&mut self, site: &str) -> String {
        let places = self.names.map(|names| &names.places);
        let name =
            places.and_then(|places| places.iter().find(|(_, ours)| *ours == site).map(|(name, _)| name.clone()));
        let name = name.unwrap_or_else(|| site.to_owned());
        self.profile.places.insert(name.clone(), site.to_owned());
        name
    }

    fn dataset_name(&self, agreement: &str) -> String {
        let datasets = self.names.map(|names| &names.datasets);
        let name =
            datasets.and_then(|all| all.iter().find(|(_, one)| one.agreement == agreement).map(|(name, _)| name));
        name.cloned().unwrap_or_else(|| agreement.to_owned())
    }
}

/// Adds what is not there yet.
fn extend(list: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
}

/// The archetypes that all clauses allow.
fn archetypes(agreement: &Agreement) -> Vec<Archetype> {
    let mut allowed = BOTH.to_vec();
    for clause in &agreement.clauses {
        if let Clause::Archetypes(own) = &clause.clause {
            allowed.retain(|archetype| own.contains(archetype));
        }
    }
    allowed
}

/// The sites that a SHIP clause names.
fn sites(clause: &NumberedClause) -> Option<Vec<&str>> {
    let Clause::Ship(ship) = &clause.clause else { return None };
    Some(ship.to.iter().filter_map(site_name).collect())
}

fn site_name(place: &PlaceRef) -> Option<&str> {
    match place {
        PlaceRef::Site(name) => Some(name.as_str()),
        PlaceRef::Role(_) | PlaceRef::Region(_) | PlaceRef::Coordinator | PlaceRef::Any => None,
    }
}

/// The sites that every SHIP clause names which names one: the original has one list for all of them.
fn providers(agreement: &Agreement, report: &mut Report) -> Vec<String> {
    let all: Vec<Vec<&str>> = agreement.clauses.iter().filter_map(sites).filter(|sites| !sites.is_empty()).collect();
    let mut common: Vec<String> = all.first().into_iter().flatten().map(|site| (*site).to_owned()).collect();
    common.retain(|site| all.iter().all(|sites| sites.contains(&site.as_str())));
    for site in &common {
        report.carry(format!("TO {site} of `{}` → allowedComputeProviders", agreement.name));
    }
    for clause in &agreement.clauses {
        let Clause::Ship(ship) = &clause.clause else { continue };
        for place in &ship.to {
            if !matches!(place, PlaceRef::Site(site) if common.contains(site)) {
                report.leave_out(format!(
                    "`{}`: TO {place} of clause {}: the original has one list of sites for all clauses",
                    agreement.name, clause.number
                ));
            }
        }
    }
    common
}

/// A clause as the profile has it: without what the JSON says. `None` for a SHIP clause without a target in the JSON.
fn text(clause: &NumberedClause, providers: &[String]) -> Option<String> {
    match &clause.clause {
        Clause::Ship(_) if providers.is_empty() || sites(clause).is_none_or(|sites| sites.is_empty()) => None,
        _ => Some(open_text(clause)),
    }
}

/// A clause without targets and names of archetypes.
fn open_text(clause: &NumberedClause) -> String {
    match &clause.clause {
        Clause::Ship(ship) => {
            let mut open = ship.clone();
            open.to.clear();
            let open = NumberedClause { clause: Clause::Ship(open), ..clause.clone() }.to_string();
            open.strip_suffix(" TO ").unwrap_or(&open).to_owned()
        }
        Clause::Archetypes(_) => {
            let text = clause.to_string();
            text.rsplit_once("ARCHETYPES").map_or("ARCHETYPES".to_owned(), |(label, _)| format!("{label}ARCHETYPES"))
        }
        _ => clause.to_string(),
    }
}

/// The type of request of each clause: the one under which a profile has it, else that of the clause before it. An import puts
/// the clauses of the types behind one another; if that would change their order, all are of one type.
fn types_of(agreement: &Agreement, named: Option<&DatasetTerms>) -> Vec<String> {
    let requests = named.map(|named| named.requests.iter()).into_iter().flatten();
    let known: Vec<(&String, Vec<String>)> = requests
        .map(|(name, texts)| {
            let texts: Vec<String> = texts.iter().map(|text| completed(text)).collect();
            (name, pieces::clauses(&texts).unwrap_or_default().iter().map(open_text).collect())
        })
        .collect();
    let only = match known.as_slice() {
        [(name, _)] => (*name).clone(),
        _ => REQUEST_TYPE.to_owned(),
    };
    let found: Vec<Option<&String>> = agreement
        .clauses
        .iter()
        .map(|clause| {
            let text = open_text(clause);
            known.iter().find(|(_, texts)| texts.contains(&text)).map(|(name, _)| *name)
        })
        .collect();
    let mut current = found.iter().flatten().next().map_or(only.clone(), |name| (*name).clone());
    let mut types = Vec::new();
    for name in found {
        if let Some(name) = name {
            current.clone_from(name);
        }
        types.push(current.clone());
    }
    let mut runs = types.clone();
    runs.dedup();
    let distinct = runs.iter().enumerate().all(|(index, name)| !runs.iter().skip(index + 1).any(|other| other == name));
    if distinct { types } else { vec![only; agreement.clauses.len()] }
}

/// The types of request of an agreement's relations: those with clauses, in the order of the clauses.
fn relation_types(types: &[String], terms: &DatasetTerms) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    extend(&mut named, types);
    named.retain(|name| terms.requests.contains_key(name));
    extend(&mut named, &terms.requests.keys().cloned().collect::<Vec<_>>());
    named
}

/// Every table that a clause is about, in the order of the text.
fn tables(agreement: &Agreement) -> Vec<&TableRef> {
    let mut tables = Vec::new();
    for clause in &agreement.clauses {
        let own: Vec<&TableRef> = match &clause.clause {
            Clause::Release(release) => release.from.tables().collect(),
            Clause::Ship(ship) => match &ship.what {
                ShipWhat::Rows { from, .. } => from.tables().collect(),
                ShipWhat::Partials { .. } => Vec::new(),
            },
            _ => Vec::new(),
        };
        tables.extend(own.into_iter().filter(|table| !tables.contains(table)).collect::<Vec<_>>());
    }
    tables
}
