//! All sample agreements of the project through other formats and back: what a format can say comes back as it was.

use std::path::{Path, PathBuf};

use dynamos_cli::demo::scene;
use dynamos_cli::interchange::{
    ArchetypeEntry, Dataset, EnforcedServices, Import, Profile, RequestType, StewardAgreement, export, export_odrl,
    import, import_odrl, read_agreements, read_json,
};
use dynamos_planner::policy::{Agreement, Archetype, Clause, Grantee, NumberedClause, PlaceRef};
use dynamos_planner::sql::parse_agreement;

/// The demo's agreements, those of the golden plans, and the examples of the page for stewards.
fn samples() -> Vec<Agreement> {
    let folder = tempfile::tempdir().unwrap();
    let demo = scene(folder.path(), None).unwrap();
    let texts = demo.stewards.iter().flat_map(|steward| steward.agreements.clone());
    let mut all: Vec<Agreement> =
        texts.map(|text| parse_agreement(&text).unwrap_or_else(|error| panic!("{error}: {text}"))).collect();
    for file in golden() {
        all.extend(read_agreements(&file).unwrap());
    }
    assert!(all.len() >= 14, "{} agreements", all.len());
    all.extend(crate::agreements_page::agreements());
    all
}

fn golden() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for federation in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/federation")).unwrap() {
        for file in std::fs::read_dir(federation.unwrap().path().join("agreements")).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    files
}

/// What the original's JSON can say of an agreement, with users in place of other grantees, none of whom it knows.
fn expressible(agreement: &Agreement) -> Agreement {
    let mut said = agreement.clone();
    said.grantees = ["ann@uva.example", "o'hara@vu.example"].map(|user| Grantee::User(user.to_owned())).to_vec();
    let sites = |clause: &NumberedClause| match &clause.clause {
        Clause::Ship(ship) => ship.to.iter().any(|place| matches!(place, PlaceRef::Site(_))),
        _ => true,
    };
    said.clauses.retain(sites);
    for clause in &mut said.clauses {
        if let Clause::Ship(ship) = &mut clause.clause {
            ship.to.retain(|place| matches!(place, PlaceRef::Site(_)));
        }
    }
    // It has one list of places for all that an agreement ships.
    let lists: Vec<Vec<PlaceRef>> = said.clauses.iter().filter_map(shipped_to).collect();
    let everywhere = |place: &PlaceRef| lists.iter().all(|list| list.contains(place));
    for clause in &mut said.clauses {
        if let Clause::Ship(ship) = &mut clause.clause
            && ship.to.iter().any(everywhere)
        {
            ship.to.retain(everywhere);
        }
    }
    // Without ARCHETYPES both are allowed; the import writes them out.
    if !said.clauses.iter().any(|clause| matches!(clause.clause, Clause::Archetypes(_))) {
        let number = said.clauses.last().unwrap().number + 1;
        let clause = Clause::Archetypes(vec![Archetype::ComputeToData, Archetype::DataToCompute]);
        said.clauses.push(NumberedClause { number, name: None, clause });
    }
    said
}

/// Where a clause lets something go, if it ships.
fn shipped_to(clause: &NumberedClause) -> Option<Vec<PlaceRef>> {
    match &clause.clause {
        Clause::Ship(ship) => Some(ship.to.clone()),
        _ => None,
    }
}

#[test]
fn sample_agreements_survive_the_originals_json_and_a_profile() {
    for sample in samples() {
        let said = expressible(&sample);
        let exported = export(std::slice::from_ref(&said), None).unwrap();
        let json = serde_json::to_string(&exported.agreements).unwrap();
        let profile = dynamos_proto::settings::parse(&exported.profile.text().unwrap()).unwrap();
        let (again, _) = import(&Import {
            agreements: &read_json(&json).unwrap(),
            steward: &said.steward,
            datasets: None,
            archetypes: None,
            request_types: None,
            enforced: None,
            profile: Some(&profile),
        })
        .unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(again.iter().map(ToString::to_string).collect::<Vec<_>>(), [said.to_string()]);
        // What it cannot say is told.
        let left_out = export(std::slice::from_ref(&sample), None).unwrap().report.left_out;
        for grantee in sample.grantees.iter().filter(|grantee| !matches!(grantee, Grantee::User(_))) {
            assert!(left_out.iter().any(|line| line.contains(&grantee.to_string())), "{grantee}: {left_out:?}");
        }
    }
}

#[test]
fn sample_agreements_survive_odrl() {
    for sample in samples() {
        let mut said = sample.clone();
        said.clauses.retain(|clause| !matches!(clause.clause, Clause::Join(_)));
        let exported = export_odrl(std::slice::from_ref(&sample));
        let granting =
            |clause: &NumberedClause| matches!(clause.clause, Clause::Release(_) | Clause::Ship(_) | Clause::Filter(_));
        if !said.clauses.iter().any(granting) {
            let error = exported.unwrap_err().to_string();
            assert!(error.contains("grants nothing that ODRL has a word for"), "{error}: {sample}");
            continue;
        }
        let (document, report) = exported.unwrap();
        // As a file would hold it.
        let document = serde_json::from_str(&document.to_string()).unwrap();
        let (again, _) = import_odrl(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
        assert_eq!(again.iter().map(ToString::to_string).collect::<Vec<_>>(), [said.to_string()]);
        let joins = sample.clauses.len() - said.clauses.len();
        assert_eq!(report.left_out.iter().filter(|line| line.contains("JOIN")).count(), joins, "{report}");
    }
}

/// What a steward adds to the original's sample files.
const PROFILE: &str = r#"
[places]
VU = "vu"
UVA = "uva"
SURF = "surf"

[datasets.wageGap]
agreement = "wage_gap"
purposes = ["statistics"]
valid_from = "2026-01-01"
valid_until = "unlimited"
tables = { Personen = "wages.personen", Aanstellingen = "wages.aanstellingen" }

[datasets.wageGap.requests]
sqlDataRequest = [
  "groups: RELEASE avg OF salschal BY geslacht FROM wages.personen JOIN wages.aanstellingen ON unieknr MINIMUM 10 DISTINCT personen.unieknr",
  "SHIP PARTIALS OF groups",
  "MASK personen.gebdat AS NULL",
  "ARCHETYPES",
]
"#;

/// A file of the original's own samples; none, and a word about it, where the machine does not have them.
fn original_sample(name: &str) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/dynamos-config");
    let text = std::fs::read_to_string(folder.join(name));
    if text.is_err() {
        println!("the original's sample `{name}` is not on this machine");
    }
    text.ok()
}

/// What can be said here of the agreement of a steward: no IDs, no types of request without clauses, no providers and
/// archetypes that no relation has.
fn sayable(steward: &StewardAgreement, profile: &Profile) -> StewardAgreement {
    let mut said = steward.clone();
    for relation in said.relations.values_mut() {
        relation.id = None;
        relation.request_types.retain(|name| profile.datasets["wageGap"].requests.contains_key(name));
    }
    let relations = || steward.relations.values();
    said.compute_providers
        .retain(|provider| relations().any(|relation| relation.allowed_compute_providers.contains(provider)));
    said.archetypes.retain(|archetype| relations().any(|relation| relation.allowed_archetypes.contains(archetype)));
    said
}

#[test]
fn the_originals_samples_come_back_as_far_as_they_can_be_said() {
    let names =
        ["agreements.json", "datasets.json", "archetype.json", "requestType.json", "optional_microservices.json"];
    let Some(texts) = names.into_iter().map(original_sample).collect::<Option<Vec<_>>>() else { return };
    let [agreements, datasets, archetypes, request_types, enforced] = texts.as_slice() else { unreachable!() };
    let agreements: Vec<StewardAgreement> = read_json(agreements).unwrap();
    let datasets: Vec<Dataset> = read_json(datasets).unwrap();
    let archetypes: Vec<ArchetypeEntry> = read_json(archetypes).unwrap();
    let request_types: Vec<RequestType> = read_json(request_types).unwrap();
    let enforced: Vec<EnforcedServices> = read_json(enforced).unwrap();
    let profile: Profile = dynamos_proto::settings::parse(PROFILE).unwrap();
    let of = |steward: &str, stewards: &[StewardAgreement]| {
        let input = Import {
            agreements: stewards,
            steward,
            datasets: Some(&datasets),
            archetypes: Some(&archetypes),
            request_types: Some(&request_types),
            enforced: Some(&enforced),
            profile: Some(&profile),
        };
        import(&input).unwrap_or_else(|error| panic!("{steward}: {error}")).0
    };
    let mut stewards = 0;
    for steward in agreements.iter().filter(|one| !one.relations.is_empty()) {
        stewards += 1;
        let imported = of(&steward.name, &agreements);
        let exported = export(&imported, Some(&profile)).unwrap();
        assert_eq!(exported.agreements, [sayable(steward, &profile)]);
        assert_eq!(exported.profile.datasets, profile.datasets);
        let mut tables = datasets[0].clone();
        (tables.format, tables.delimiter) = (None, None);
        // The profile masks a column, and the samples name none.
        tables.sensitive_columns = [("Personen".to_owned(), vec!["gebdat".to_owned()])].into();
        assert_eq!(exported.datasets, [tables]);
        let unweighted = archetypes.iter().map(|one| ArchetypeEntry { weight: None, ..one.clone() });
        assert_eq!(exported.archetypes, unweighted.collect::<Vec<_>>());
        let asked = request_types.iter().filter(|one| profile.datasets["wageGap"].requests.contains_key(&one.name));
        let asked = asked.map(|one| RequestType { optional_services: Default::default(), ..one.clone() });
        assert_eq!(exported.request_types, asked.collect::<Vec<_>>());
        if enforced.iter().any(|one| one.data_steward == steward.name) {
            let own: Vec<_> = enforced.iter().filter(|one| one.data_steward == steward.name).cloned().collect();
            assert_eq!(exported.enforced, own);
        }
        assert_eq!(of(&steward.name, &exported.agreements), imported, "read again");
        for part in ["type and delimiter", "weight of archetype"] {
            assert!(exported.report.left_out.iter().any(|one| one.contains(part)), "{part}: {}", exported.report);
        }
    }
    assert!(stewards >= 2, "{stewards} stewards");
}
