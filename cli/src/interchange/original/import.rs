//! The original's JSON and a profile → agreements: one for each data set and each set of users with the same terms. The
//! JSON says who, which tables, which archetypes and which providers; the profile says everything else. Where the JSON
//! needs something that the profile does not say, the import is refused and all that is missing is listed.

use std::collections::BTreeMap;

use dynamos_planner::policy::{
    Agreement, Archetype, Clause, Columns, FromRelation, Grantee, NumberedClause, PlaceRef, ReleaseWhat, ShipWhat,
};

use super::files::{hides, is_about};
use super::model::{ArchetypeEntry, Dataset, EnforcedServices, RequestType, StewardAgreement};
use super::profile::{DatasetTerms, Profile, moment};
use super::terms::{ANONYMIZE, AVERAGES, QUERY, Terms, functions, terms};
use crate::interchange::{InterchangeError, Report, pieces, texts};

/// What an import reads.
#[derive(Clone, Copy, Debug)]
pub struct Import<'a> {
    /// The agreements of the file.
    pub agreements: &'a [StewardAgreement],
    /// Whose agreement is wanted, by its name in the file.
    pub steward: &'a str,
    /// The file of data sets, if there is one.
    pub datasets: Option<&'a [Dataset]>,
    /// The file of archetypes, if there is one.
    pub archetypes: Option<&'a [ArchetypeEntry]>,
    /// The file of request types, if there is one.
    pub request_types: Option<&'a [RequestType]>,
    /// The file of services that stewards demand, if there is one.
    pub enforced: Option<&'a [EnforcedServices]>,
    /// The profile, if there is one.
    pub profile: Option<&'a Profile>,
}

/// Makes agreements of what the files say.
///
/// # Errors
///
/// When the steward is not there, grants nothing, or the profile does not say what is needed, or contradicts the files.
pub fn import(input: &Import<'_>) -> Result<(Vec<Agreement>, Report), InterchangeError> {
    let mut report = Report::default();
    let theirs = steward(input)?;
    let all = terms(theirs, input.archetypes, input.request_types, &mut report);
    if all.is_empty() {
        return Err(InterchangeError::Nothing(format!("the agreement of `{}` has no relations", theirs.name)));
    }
    let missing = missing(input, &all);
    let profile = match input.profile {
        Some(profile) if missing.is_empty() => profile,
        _ => return Err(InterchangeError::NeedsProfile { missing }),
    };
    check_names(profile)?;
    let mut agreements: Vec<Agreement> = Vec::new();
    let mut made: BTreeMap<&str, u32> = BTreeMap::new();
    for (terms, users) in &all {
        for name in &terms.datasets {
            let Some(dataset) = profile.datasets.get(name) else { continue };
            check_tables(name, dataset, input.datasets, &mut report)?;
            let mut agreement = agreement(input, profile, (name, dataset), (terms, users), &mut report)?;
            let groups = made.entry(name.as_str()).or_insert(0_u32);
            *groups += 1;
            if *groups > 1 {
                agreement.name = format!("{}_{groups}", agreement.name);
            }
            if agreements.iter().any(|other| other.name == agreement.name) {
                return Err(InterchangeError::Profile(format!("two agreements would be named `{}`", agreement.name)));
            }
            agreements.push(pieces::checked(agreement).map_err(InterchangeError::Profile)?);
        }
    }
    if agreements.is_empty() {
        return Err(InterchangeError::Nothing(format!("no relation of `{}` names a data set", theirs.name)));
    }
    texts::note_unsupported(&agreements, &mut report);
    Ok((agreements, report))
}

fn steward<'a>(input: &Import<'a>) -> Result<&'a StewardAgreement, InterchangeError> {
    input.agreements.iter().find(|agreement| agreement.name == input.steward).ok_or_else(|| {
        let known: Vec<String> = input.agreements.iter().map(|agreement| format!("`{}`", agreement.name)).collect();
        InterchangeError::NoSuchSteward { steward: input.steward.to_owned(), known: known.join(", ") }
    })
}

/// What the profile must say and does not.
fn missing(input: &Import<'_>, all: &[(Terms, Vec<String>)]) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    let mut need = |line: String| {
        if !missing.contains(&line) {
            missing.push(line);
        }
    };
    let places = std::iter::once(input.steward);
    for place in places.chain(all.iter().flat_map(|(terms, _)| terms.providers.iter().map(String::as_str))) {
        if !input.profile.is_some_and(|profile| profile.places.contains_key(place)) {
            need(format!("[places] {place:?} = the name of that site in this federation"));
        }
    }
    for (terms, _) in all {
        for name in &terms.datasets {
            let types = terms.request_types.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(" or ");
            let clauses = format!(
                "[datasets.{name:?}.requests] {types} = the clauses: functions, columns, groupings and minimums"
            );
            match input.profile.and_then(|profile| profile.datasets.get(name)) {
                Some(dataset) if terms.request_types.iter().any(|one| dataset.requests.contains_key(one)) => {}
                Some(_) => need(clauses),
                None => {
                    need(format!("[datasets.{name:?}] agreement, purposes, valid_from, valid_until and tables"));
                    need(clauses);
                }
            }
        }
    }
    missing
}

/// Two data sets of one agreement's name would be two agreements of one name.
fn check_names(profile: &Profile) -> Result<(), InterchangeError> {
    let mut names: Vec<&str> = profile.datasets.values().map(|dataset| dataset.agreement.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
        Some(name) => Err(InterchangeError::Profile(format!("agreement `{name}` is named by two data sets"))),
        None => Ok(()),
    }
}

/// The tables of a profile are those of the file of data sets, where there is one.
fn check_tables(
    name: &str,
    dataset: &DatasetTerms,
    known: Option<&[Dataset]>,
    report: &mut Report,
) -> Result<(), InterchangeError> {
    let tables = dataset.tables.iter().map(|(theirs, ours)| format!("{theirs} → {ours}")).collect::<Vec<_>>();
    report.carry(format!("data set `{name}` → tables {}", tables.join(", ")));
    let Some(known) = known else { return Ok(()) };
    let Some(known) = known.iter().find(|known| known.name == name) else {
        return Err(InterchangeError::Nothing(format!("data set `{name}` is not in the file of data sets")));
    };
    if let Some(other) = dataset.tables.keys().find(|table| !known.tables.contains(table)) {
        return Err(InterchangeError::Profile(format!("data set `{name}` has no table `{other}`")));
    }
    for table in known.tables.iter().filter(|table| !dataset.tables.contains_key(*table)) {
        report.leave_out(format!("table `{table}` of data set `{name}`: the profile has no table for it"));
    }
    if known.format.is_some() || known.delimiter.is_some() {
        report.leave_out(format!("type and delimiter of data set `{name}`: they stand in the site's configuration"));
    }
    Ok(())
}

fn agreement(
    input: &Import<'_>,
    profile: &Profile,
    (name, dataset): (&str, &DatasetTerms),
    (terms, users): (&Terms, &[String]),
    report: &mut Report,
) -> Result<Agreement, InterchangeError> {
    let place = |name: &String| profile.places.get(name).cloned().unwrap_or_default();
    let steward = place(&input.steward.to_owned());
    report.carry(format!("steward `{}` → SITE {steward}", input.steward));
    let providers: Vec<String> = terms.providers.iter().map(place).collect();
    for (theirs, ours) in terms.providers.iter().zip(&providers) {
        report.carry(format!("compute provider `{theirs}` → {ours} in SHIP … TO"));
    }
    let mut clauses = clauses(input, (name, dataset), terms, report)?;
    finish(&mut clauses, terms, &providers, report)?;
    check_relations(name, dataset, &clauses)?;
    check_sensitive(name, dataset, input.datasets, &clauses)?;
    check_enforced(input, terms, &clauses, report)?;
    report.supply(format!("purposes of `{}`: {}", dataset.agreement, dataset.purposes.join(", ")));
    report.supply(format!("validity of `{}`: {} to {}", dataset.agreement, dataset.valid_from, dataset.valid_until));
    Ok(Agreement {
        name: dataset.agreement.clone(),
        steward,
        grantees: users.iter().cloned().map(Grantee::User).collect(),
        purposes: dataset.purposes.clone(),
        valid_from: moment(&dataset.valid_from).map_err(InterchangeError::Profile)?,
        valid_until: moment(&dataset.valid_until).map_err(InterchangeError::Profile)?,
        clauses,
    })
}

/// The profile's clauses for the request types of a relation. SHIP clauses get their targets later.
fn clauses(
    input: &Import<'_>,
    (name, dataset): (&str, &DatasetTerms),
    terms: &Terms,
    report: &mut Report,
) -> Result<Vec<NumberedClause>, InterchangeError> {
    let mut written = Vec::new();
    for request_type in &terms.request_types {
        let Some(own) = dataset.requests.get(request_type) else {
            report.leave_out(format!("request type `{request_type}` on `{name}`: the profile has no clauses for it"));
            continue;
        };
        report.carry(format!("request type `{request_type}` → the profile's clauses for it"));
        let computes = input.request_types.and_then(|types| types.iter().find(|one| one.name == *request_type));
        for text in own {
            report.supply(text.split_whitespace().collect::<Vec<_>>().join(" "));
            written.push((text, computes.map(functions)));
        }
    }
    let texts: Vec<String> = written.iter().map(|(text, _)| completed(text)).collect();
    let clauses = pieces::clauses(&texts).map_err(|problem| {
        let targets = "SHIP clauses stand without TO and ARCHETYPES without names: the JSON has them";
        InterchangeError::Profile(format!("{problem}; {targets}"))
    })?;
    for (clause, computed) in clauses.iter().zip(written.iter().map(|(_, computed)| *computed)) {
        let (Some(computed), Clause::Release(release)) = (computed, &clause.clause) else { continue };
        let ReleaseWhat::Aggregates(aggregates) = &release.what else { continue };
        for function in aggregates.functions.iter().filter(|one| !computed.contains(&one.name.as_str())) {
            report.supply(format!("function {function}, which no service of the request type computes"));
        }
    }
    Ok(clauses)
}

/// The text of a profile's clause, with something in place of what the JSON says.
pub(super) fn completed(text: &str) -> String {
    match pieces::first_word(text).as_str() {
        "ship" => format!("{text}\n TO ANY"),
        "archetypes" => format!("{text}\n compute_to_data"),
        _ => text.to_owned(),
    }
}

/// Puts the JSON's providers and archetypes into the clauses.
fn finish(
    clauses: &mut Vec<NumberedClause>,
    terms: &Terms,
    providers: &[String],
    report: &mut Report,
) -> Result<(), InterchangeError> {
    if terms.archetypes.is_empty() {
        return Err(InterchangeError::Nothing("a relation allows no archetype that there is here".to_owned()));
    }
    if providers.is_empty() {
        clauses.retain(|clause| !matches!(clause.clause, Clause::Ship(_)));
        report.leave_out("SHIP clauses of the profile: the JSON allows no compute provider");
    }
    let mut marked = false;
    for clause in clauses.iter_mut() {
        match &mut clause.clause {
            Clause::Ship(ship) => ship.to = providers.iter().cloned().map(PlaceRef::Site).collect(),
            Clause::Archetypes(archetypes) => {
                marked = true;
                archetypes.clone_from(&terms.archetypes);
            }
            _ => {}
        }
    }
    let rows = |clause: &NumberedClause| match &clause.clause {
        Clause::Ship(ship) => matches!(ship.what, ShipWhat::Rows { .. }),
        _ => false,
    };
    if terms.archetypes.contains(&Archetype::DataToCompute) && !clauses.iter().any(rows) {
        report.leave_out("data_to_compute: allowed, but no SHIP ROWS clause says which columns may travel");
    }
    if !marked {
        let number = clauses.last().map_or(1, |clause| clause.number.saturating_add(1));
        let clause = Clause::Archetypes(terms.archetypes.clone());
        clauses.push(NumberedClause { number, name: None, clause });
    }
    Ok(())
}

/// No clause is about a table that the data set does not have.
fn check_relations(name: &str, dataset: &DatasetTerms, clauses: &[NumberedClause]) -> Result<(), InterchangeError> {
    let relations = clauses.iter().filter_map(|clause| relation(&clause.clause));
    for table in relations.flat_map(FromRelation::tables) {
        if !dataset.tables.values().any(|known| *known == table.to_string()) {
            let text = format!("a clause is about `{table}`, which is none of the tables of data set `{name}`");
            return Err(InterchangeError::Profile(text));
        }
    }
    Ok(())
}

fn relation(clause: &Clause) -> Option<&FromRelation> {
    match clause {
        Clause::Release(release) => Some(&release.from),
        Clause::Ship(ship) => match &ship.what {
            ShipWhat::Rows { from, .. } => Some(from),
            ShipWhat::Partials { .. } => None,
        },
        _ => None,
    }
}

/// A column that the data set calls sensitive is masked in its own table, or no clause that grants something names it.
fn check_sensitive(
    name: &str,
    dataset: &DatasetTerms,
    known: Option<&[Dataset]>,
    clauses: &[NumberedClause],
) -> Result<(), InterchangeError> {
    let Some(known) = known.and_then(|known| known.iter().find(|known| known.name == name)) else { return Ok(()) };
    let sensitive = known.sensitive_columns.iter().filter_map(|(table, all)| Some((dataset.tables.get(table)?, all)));
    let columns = sensitive.flat_map(|(table, all)| all.iter().map(move |column| (table, column)));
    for (table, column) in columns.filter(|(_, column)| !column.is_empty()) {
        let lower = column.to_lowercase();
        let masked = clauses.iter().any(|one| masks(&one.clause, table, &lower));
        let granted = clauses.iter().filter(|one| !matches!(one.clause, Clause::Mask(_) | Clause::Rows(_)));
        for clause in granted.filter(|_| !masked) {
            let everything = matches!(&clause.clause, Clause::Release(release)
                if matches!(release.what, ReleaseWhat::Rows(Columns::All)))
                || matches!(&clause.clause, Clause::Ship(ship)
                    if matches!(ship.what, ShipWhat::Rows { columns: Columns::All, .. }));
            if everything || names(clause, &lower) {
                return Err(InterchangeError::Profile(format!(
                    "data set `{name}` calls column `{column}` sensitive, and `{clause}` grants it; add a MASK or leave \
                     it out"
                )));
            }
        }
    }
    Ok(())
}

/// Whether a clause hides this column of a table.
fn masks(clause: &Clause, table: &str, column: &str) -> bool {
    matches!(clause, Clause::Mask(mask) if mask.column.column == column && is_about(mask, table) && hides(mask))
}

/// What the steward demands of every request is kept, or there is no agreement.
fn check_enforced(
    input: &Import<'_>,
    terms: &Terms,
    clauses: &[NumberedClause],
    report: &mut Report,
) -> Result<(), InterchangeError> {
    let own = input.enforced.unwrap_or_default().iter().filter(|one| one.data_steward == input.steward);
    let types = own.flat_map(|one| &one.types).filter(|(name, _)| terms.request_types.contains(name));
    for (request_type, service) in types.flat_map(|(name, services)| services.iter().map(move |one| (name, one))) {
        match service.as_str() {
            ANONYMIZE if clauses.iter().any(|one| matches!(&one.clause, Clause::Mask(mask) if hides(mask))) => {
                report.carry(format!("service `{service}`, demanded of `{request_type}` → the profile's MASK clauses"));
            }
            ANONYMIZE => {
                return Err(InterchangeError::Profile(format!(
                    "`{}` demands `{service}` of `{request_type}`; write MASK clauses, such as `MASK t.born AS \
                     date_trunc('year', born)`",
                    input.steward
                )));
            }
            QUERY | AVERAGES | "sql-aggregate" | "sql-graph" => {}
            _ => {
                return Err(InterchangeError::Nothing(format!(
                    "`{}` demands service `{service}` of `{request_type}`, and there is none like it here",
                    input.steward
                )));
            }
        }
    }
    Ok(())
}

/// Whether a clause's text has the column as a word of its own.
fn names(clause: &NumberedClause, column: &str) -> bool {
    let text = clause.to_string().to_lowercase();
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == column)
}
