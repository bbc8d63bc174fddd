//! The original's JSON in and out: what a profile must say, what bounds what, and what is told of the rest.

use dynamos_planner::policy::Agreement;
use dynamos_planner::sql::parse_agreement;

use super::*;
use crate::interchange::{InterchangeError, Report};

const AGREEMENTS: &str = r#"[
  { "name": "NORTH",
    "relations": { "ann@west.example": {
      "ID": "1", "requestTypes": ["sqlDataRequest", "otherRequest"], "dataSets": ["scales"],
      "allowedArchetypes": ["computeToData", "dataThroughTtp", "selfService"], "allowedComputeProviders": ["HUB", "ELSE"] } },
    "computeProviders": ["HUB"], "archetypes": ["computeToData", "dataThroughTtp", "selfService"] },
  { "name": "EMPTY", "relations": {} }
]"#;
const PROFILE: &str = r#"
[places]
NORTH = "north"
HUB = "hub"

[datasets.scales]
agreement = "pay"
purposes = ["statistics"]
valid_from = "2026-01-01"
valid_until = "unlimited"
tables = { People = "work.people", Jobs = "work.jobs" }

[datasets.scales.requests]
sqlDataRequest = [
  "groups: RELEASE avg, sum OF scale BY sex FROM work.people JOIN work.jobs ON id MINIMUM 10 DISTINCT people.id",
  "SHIP PARTIALS OF groups",
  "SHIP ROWS (people.id, sex, scale) FROM work.people JOIN work.jobs ON id",
  "FILTER ON sex COMPARE WITH LITERALS",
]
"#;
const EXPECTED: &str = "CREATE AGREEMENT pay ON SITE north
  FOR USER 'ann@west.example'
  PURPOSE statistics
  VALID FROM '2026-01-01'
AS (
  groups: RELEASE avg, sum OF scale BY sex FROM work.people JOIN work.jobs ON id MINIMUM 10 DISTINCT people.id,
  SHIP PARTIALS OF groups TO hub,
  SHIP ROWS (people.id, sex, scale) FROM work.people JOIN work.jobs ON id TO hub,
  FILTER ON sex COMPARE WITH LITERALS,
  ARCHETYPES compute_to_data, data_to_compute
)";
const DATASETS: &str = r#"[{ "name": "scales", "type": "csv", "delimiter": ";", "tables": ["People", "Jobs"],
  "sensitive_columns": { "Jobs": [""] } }]"#;
const ARCHETYPES: &str = r#"[
  { "name": "computeToData", "computeProvider": "dataProvider", "resultRecipient": "requestor", "weight": 100 },
  { "name": "dataThroughTtp", "computeProvider": "other", "resultRecipient": "requestor", "weight": 200 } ]"#;
const REQUEST_TYPES: &str = r#"[
  { "name": "sqlDataRequest", "requiredServices": ["sql-query", "sql-algorithm"],
    "optionalServices": { "sql-anonymize": "anonymize", "sql-graph": "graph" } },
  { "name": "otherRequest", "requiredServices": [], "optionalServices": {} } ]"#;

fn profile(text: &str) -> Profile {
    dynamos_proto::settings::parse(text).unwrap()
}

fn imported(agreements: &str, profile: Option<&Profile>) -> Result<(Vec<Agreement>, Report), InterchangeError> {
    let agreements = read_json(agreements).unwrap();
    import(&Import {
        agreements: &agreements,
        steward: "NORTH",
        datasets: Some(&read_json(DATASETS).unwrap()),
        archetypes: Some(&read_json(ARCHETYPES).unwrap()),
        request_types: Some(&read_json(REQUEST_TYPES).unwrap()),
        enforced: None,
        profile,
    })
}

fn refusal(agreements: &str, profile_text: &str) -> String {
    imported(agreements, Some(&profile(profile_text))).unwrap_err().to_string()
}

#[test]
fn json_and_profile_together_are_an_agreement_and_the_report_tells_the_rest() {
    let (agreements, report) = imported(AGREEMENTS, Some(&profile(PROFILE))).unwrap();
    assert_eq!(agreements.iter().map(ToString::to_string).collect::<Vec<_>>(), [EXPECTED]);
    for line in ["relation `ann@west.example` → USER 'ann@west.example'", "compute provider `HUB` → hub in SHIP … TO"]
    {
        assert!(report.carried.iter().any(|one| one == line), "{line}: {report}");
    }
    for part in ["purposes of `pay`: statistics", "validity of `pay`", "MINIMUM 10", "function sum, which no service"] {
        assert!(report.supplied.iter().any(|one| one.contains(part)), "{part}: {report}");
    }
    for part in [
        "the ID of relation",
        "compute provider `ELSE`",
        "archetype `selfService`",
        "request type `otherRequest`",
        "weight of archetype `dataThroughTtp`",
        "service `sql-anonymize`",
        "service `sql-graph`",
        "type and delimiter of data set `scales`",
    ] {
        assert!(report.left_out.iter().any(|one| one.contains(part)), "{part}: {report}");
    }
}

#[test]
fn without_a_profile_nothing_is_granted_and_the_refusal_says_what_it_must_say() {
    let refusal = imported(AGREEMENTS, None).unwrap_err().to_string();
    for part in [
        "[places] \"NORTH\"",
        "[places] \"HUB\"",
        "[datasets.\"scales\"] agreement, purposes, valid_from, valid_until and tables",
        "[datasets.\"scales\".requests] \"sqlDataRequest\" or \"otherRequest\" = the clauses",
    ] {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    let half = PROFILE.replace("HUB =", "OTHER =").replace("sqlDataRequest", "anotherRequest");
    let refusal = self::refusal(AGREEMENTS, &half);
    assert!(refusal.contains("[places] \"HUB\"") && refusal.contains("the clauses"), "{refusal}");
    assert!(!refusal.contains("valid_from"), "{refusal}");
}

#[test]
fn a_profile_is_read_strictly() {
    let read = |text: &str| dynamos_proto::settings::parse::<Profile>(text).unwrap_err();
    assert!(read(&PROFILE.replace("purposes =", "purpose =")).contains("unknown field `purpose`"));
    assert!(read(&PROFILE.replace("valid_until = \"unlimited\"\n", "")).contains("missing field `valid_until`"));
    for (from, to, expected) in [
        ("\"2026-01-01\"", "\"soon\"", "`soon` is no moment"),
        ("SHIP PARTIALS OF groups", "SHIP PARTIALS OF groups TO hub", "SHIP clauses stand without TO"),
        ("sex COMPARE WITH LITERALS", "sex COMPARE WITH LITERALS, MASK sex AS 'x'", "write one clause in each"),
        ("Jobs = \"work.jobs\"", "Jobs = \"work.other\"", "a clause is about `work.jobs`"),
        ("Jobs = \"work.jobs\"", "Other = \"work.jobs\"", "data set `scales` has no table `Other`"),
        ("MINIMUM 10", "MINIMUM ten", "expected a number of at least 1"),
        ("purposes = [\"statistics\"]", "purposes = []", "cannot be written"),
    ] {
        assert!(PROFILE.contains(from), "{from}");
        let refusal = refusal(AGREEMENTS, &PROFILE.replace(from, to));
        assert!(refusal.contains(expected), "{to}: {refusal}");
    }
}

#[test]
fn the_stewards_own_lists_bound_every_relation() {
    let no_rows = AGREEMENTS
        .replace("\"archetypes\": [\"computeToData\", \"dataThroughTtp\"", "\"archetypes\": [\"computeToData\"");
    let (agreements, _) = imported(&no_rows, Some(&profile(PROFILE))).unwrap();
    assert!(agreements[0].to_string().ends_with("ARCHETYPES compute_to_data\n)"), "{}", agreements[0]);
    let nobody = AGREEMENTS.replace("\"computeProviders\": [\"HUB\"]", "\"computeProviders\": []");
    let (agreements, report) = imported(&nobody, Some(&profile(PROFILE))).unwrap();
    assert!(!agreements[0].to_string().contains("SHIP"), "{}", agreements[0]);
    assert!(report.left_out.iter().any(|line| line.contains("SHIP clauses of the profile")), "{report}");
    let nothing = AGREEMENTS.replace("\"archetypes\": [\"computeToData\", \"dataThroughTtp\", ", "\"archetypes\": [");
    assert!(refusal(&nothing, PROFILE).contains("no archetype that there is here"));
}

#[test]
fn users_with_other_terms_get_an_agreement_of_their_own() {
    let ben = r#""relations": { "ben@west.example": { "requestTypes": ["sqlDataRequest"], "dataSets": ["scales"],
      "allowedArchetypes": ["computeToData"], "allowedComputeProviders": ["HUB"] },
      "cas@west.example": { "requestTypes": ["sqlDataRequest"], "dataSets": ["scales"],
      "allowedArchetypes": ["computeToData"], "allowedComputeProviders": ["HUB"] }, "#;
    let three = AGREEMENTS.replacen(r#""relations": { "#, ben, 1);
    let (agreements, _) = imported(&three, Some(&profile(PROFILE))).unwrap();
    let heads: Vec<String> = agreements.iter().map(|one| one.to_string().lines().take(2).collect()).collect();
    assert_eq!(
        heads,
        [
            "CREATE AGREEMENT pay ON SITE north  FOR USER 'ann@west.example'",
            "CREATE AGREEMENT pay_2 ON SITE north  FOR USER 'ben@west.example', USER 'cas@west.example'",
        ]
    );
}

#[test]
fn a_sensitive_column_is_not_granted_unmasked() {
    let agreements = read_json(AGREEMENTS).unwrap();
    let sensitive = read_json(&DATASETS.replace("[\"\"]", "[\"Scale\"]")).unwrap();
    let with = |profile: &Profile| {
        let datasets: Option<&[Dataset]> = Some(&sensitive);
        let input = Import {
            agreements: &agreements,
            steward: "NORTH",
            datasets,
            archetypes: None,
            request_types: None,
            enforced: None,
            profile: Some(profile),
        };
        import(&input).map(|(agreements, _)| agreements.len()).map_err(|error| error.to_string())
    };
    let refused = with(&profile(PROFILE)).unwrap_err();
    assert!(refused.contains("calls column `Scale` sensitive"), "{refused}");
    let masked = |mask: &str| with(&profile(&PROFILE.replace("\"FILTER", &format!("\"{mask}\", \"FILTER"))));
    // One without a table hides every column of this name.
    for mask in ["MASK jobs.scale AS NULL", "MASK work.jobs.scale AS scale > 9", "MASK scale AS NULL"] {
        assert_eq!(masked(mask), Ok(1), "{mask}");
    }
    // Another table's column, and what is shown as it is.
    for mask in [
        "MASK people.scale AS NULL",
        "MASK other.jobs.scale AS NULL",
        "MASK jobs.scale AS scale",
        "MASK jobs.scale AS (jobs.Scale)",
        "MASK jobs.other AS scale",
    ] {
        assert!(masked(mask).unwrap_err().contains("calls column `Scale` sensitive"), "{mask}");
    }
}

#[test]
fn the_profile_that_the_code_shows_is_one() {
    let page = include_str!("profile.rs");
    let lines = page.lines().filter_map(|line| line.strip_prefix("//!"));
    let shown: Vec<&str> =
        lines.skip_while(|line| *line != " ```toml").skip(1).take_while(|line| *line != " ```").collect();
    let profile = profile(&shown.join("\n"));
    assert_eq!(profile.datasets["wageGap"].requests["sqlDataRequest"].len(), 3);
}

#[test]
fn strange_files_are_refused() {
    for (text, expected) in [
        (AGREEMENTS.replace("\"ID\"", "\"onlyOnMondays\""), "unknown field `onlyOnMondays`"),
        (AGREEMENTS.replace("[\"scales\"]", "\"scales\""), "expected a sequence"),
        ("{".to_owned(), "EOF"),
    ] {
        let error = read_json::<StewardAgreement>(&text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let agreements = read_json(AGREEMENTS).unwrap();
    let of = |steward| {
        let input = Import {
            agreements: &agreements,
            steward,
            datasets: None,
            archetypes: None,
            request_types: None,
            enforced: None,
            profile: None,
        };
        import(&input).unwrap_err().to_string()
    };
    assert!(of("SOUTH").contains("the file has `NORTH`, `EMPTY`"));
    assert!(of("EMPTY").contains("`EMPTY` has no relations"));
}

#[test]
fn export_uses_the_names_of_a_profile_and_gives_it_back() {
    let agreement = parse_agreement(EXPECTED).unwrap();
    let names = profile(PROFILE);
    let Exported { agreements, profile, report, .. } = export(&[agreement], Some(&names)).unwrap();
    let text = serde_json::to_string(&agreements).unwrap();
    assert_eq!(
        text,
        "[{\"name\":\"NORTH\",\"relations\":{\"ann@west.example\":{\"requestTypes\":[\"sqlDataRequest\"],\
         \"dataSets\":[\"scales\"],\"allowedArchetypes\":[\"computeToData\",\"dataThroughTtp\"],\
         \"allowedComputeProviders\":[\"HUB\"]}},\"computeProviders\":[\"HUB\"],\
         \"archetypes\":[\"computeToData\",\"dataThroughTtp\"]}]"
    );
    let again: Profile = dynamos_proto::settings::parse(&profile.text().unwrap()).unwrap();
    assert_eq!((&again.places, &again.datasets["scales"].tables), (&names.places, &names.datasets["scales"].tables));
    assert!(report.left_out.iter().any(|line| line.contains("MINIMUM 10")), "{report}");
    let (imported, _) = imported(&text, Some(&again)).unwrap();
    assert_eq!(imported[0].to_string(), EXPECTED);
}

#[test]
fn export_says_less_where_the_original_has_no_words() {
    let text = EXPECTED
        .replace("FOR USER 'ann@west.example'", "FOR ROLE analyst OF west, USER 'ann@west.example'")
        .replace("OF groups TO hub", "OF groups TO hub, COORDINATOR, other");
    let exported = export(&[parse_agreement(&text).unwrap()], None).unwrap();
    let [steward] = exported.agreements.as_slice() else { panic!("{:?}", exported.agreements) };
    assert_eq!(steward.compute_providers, ["hub"]);
    assert_eq!(steward.relations.keys().collect::<Vec<_>>(), ["ann@west.example"]);
    for part in ["ROLE analyst OF west", "TO COORDINATOR", "TO other"] {
        assert!(exported.report.left_out.iter().any(|one| one.contains(part)), "{part}: {}", exported.report);
    }
    // One user cannot have two lists of archetypes.
    let other = EXPECTED.replace("pay", "more").replace("compute_to_data, data_to_compute", "compute_to_data");
    let both = [parse_agreement(EXPECTED).unwrap(), parse_agreement(&other).unwrap()];
    assert!(export(&both, None).unwrap_err().to_string().contains("the original has one list a user"));
}

#[test]
fn what_a_steward_demands_of_every_request_is_kept_or_nothing_is_granted() {
    let agreements = read_json(AGREEMENTS).unwrap();
    let with = |enforced: &str, profile: &Profile| {
        let enforced: Vec<EnforcedServices> = read_json(enforced).unwrap();
        let input = Import {
            agreements: &agreements,
            steward: "NORTH",
            datasets: None,
            archetypes: None,
            request_types: None,
            enforced: Some(&enforced),
            profile: Some(profile),
        };
        import(&input).map(|(_, report)| report.carried.join("\n")).map_err(|error| error.to_string())
    };
    let anonymize = r#"{ "data_steward": "NORTH", "types": { "sqlDataRequest": ["sql-anonymize"] } }"#;
    let refused = with(anonymize, &profile(PROFILE)).unwrap_err();
    assert!(refused.contains("`NORTH` demands `sql-anonymize` of `sqlDataRequest`; write MASK"), "{refused}");
    let shown = profile(&PROFILE.replace("\"FILTER", "\"MASK people.born AS born\", \"FILTER"));
    assert_eq!(with(anonymize, &shown).unwrap_err(), refused, "it hides nothing");
    let masked = profile(&PROFILE.replace("\"FILTER", "\"MASK people.born AS date_trunc('year', born)\", \"FILTER"));
    assert!(with(anonymize, &masked).unwrap().contains("the profile's MASK clauses"));
    let other = with(&anonymize.replace("sql-anonymize", "sql-blur"), &masked).unwrap_err();
    assert!(other.contains("demands service `sql-blur`"), "{other}");
    // Another steward's demands are its own.
    assert!(with(&anonymize.replace("NORTH", "SOUTH"), &profile(PROFILE)).is_ok());
}

/// The files as an import reads them.
fn again(exported: &Exported, profile: &Profile) -> Vec<String> {
    let json = |text: serde_json::Result<String>| text.unwrap();
    let input = Import {
        agreements: &read_json(&json(serde_json::to_string(&exported.agreements))).unwrap(),
        steward: "NORTH",
        datasets: Some(&read_json(&json(serde_json::to_string(&exported.datasets))).unwrap()),
        archetypes: Some(&read_json(&json(serde_json::to_string(&exported.archetypes))).unwrap()),
        request_types: Some(&read_json(&json(serde_json::to_string(&exported.request_types))).unwrap()),
        enforced: Some(&read_json(&json(serde_json::to_string(&exported.enforced))).unwrap()),
        profile: Some(profile),
    };
    import(&input).unwrap().0.iter().map(ToString::to_string).collect()
}

#[test]
fn export_writes_the_other_files_as_far_as_the_profile_tells_them() {
    let names = profile(PROFILE);
    let (agreements, _) = imported(AGREEMENTS, Some(&names)).unwrap();
    let exported = export(&agreements, Some(&names)).unwrap();
    // What was read, without what there is no word for here.
    let mut datasets: Vec<Dataset> = read_json(DATASETS).unwrap();
    for dataset in &mut datasets {
        (dataset.format, dataset.delimiter) = (None, None);
        dataset.tables.sort();
        dataset.sensitive_columns.clear();
    }
    let mut archetypes: Vec<ArchetypeEntry> = read_json(ARCHETYPES).unwrap();
    archetypes.iter_mut().for_each(|archetype| archetype.weight = None);
    let mut request_types: Vec<RequestType> = read_json(REQUEST_TYPES).unwrap();
    request_types.retain(|one| one.name == "sqlDataRequest");
    request_types.iter_mut().for_each(|one| one.optional_services.clear());
    assert_eq!(exported.datasets, datasets);
    assert_eq!(exported.archetypes, archetypes);
    assert_eq!(exported.request_types, request_types);
    assert!(exported.enforced.is_empty(), "{:?}", exported.enforced);
    for part in ["type and delimiter of data set `scales`", "weight of archetype `dataThroughTtp`", "function sum of"] {
        assert!(exported.report.left_out.iter().any(|one| one.contains(part)), "{part}: {}", exported.report);
    }
    assert_eq!(again(&exported, &exported.profile), [EXPECTED]);
}

#[test]
fn export_keeps_the_types_of_request_of_a_profile() {
    let two = PROFILE
        .replace("  \"SHIP ROWS", "]\notherRequest = [\n  \"SHIP ROWS")
        .replace("COMPARE WITH LITERALS\"", "COMPARE WITH LITERALS\", \"ARCHETYPES\"");
    let names = profile(&two);
    assert_eq!(names.datasets["scales"].requests.len(), 2);
    let (agreements, _) = imported(AGREEMENTS, Some(&names)).unwrap();
    assert_eq!(agreements[0].to_string(), EXPECTED);
    let exported = export(&agreements, Some(&names)).unwrap();
    let relation = exported.agreements[0].relations.values().next().unwrap();
    assert_eq!(relation.request_types, ["sqlDataRequest", "otherRequest"]);
    let known: Vec<(&str, usize)> =
        exported.request_types.iter().map(|one| (one.name.as_str(), one.required_services.len())).collect();
    assert_eq!(known, [("sqlDataRequest", 2), ("otherRequest", 1)]);
    // Where the clauses of a type begin does not depend on which types come before it.
    let mut numbered = names.datasets.clone();
    let requests = &mut numbered.get_mut("scales").unwrap().requests;
    for (name, number) in [("sqlDataRequest", 1), ("otherRequest", 3)] {
        let first = &mut requests.get_mut(name).unwrap()[0];
        *first = format!("{number}: {first}");
    }
    assert_eq!(exported.profile.datasets, numbered);
    assert_eq!(again(&exported, &exported.profile), [EXPECTED]);
    let mut turned = exported.agreements.clone();
    turned[0].relations.values_mut().for_each(|relation| relation.request_types.reverse());
    let refused = refusal(&serde_json::to_string(&turned).unwrap(), &exported.profile.text().unwrap());
    assert!(refused.contains("clause number 1 does not exceed"), "{refused}");
    // Clauses that would change their order are all of one type.
    let mut mixed = agreements[0].clone();
    mixed.clauses.swap(1, 3);
    for (clause, number) in mixed.clauses.iter_mut().zip(1..) {
        clause.number = number;
    }
    let exported = export(&[mixed.clone()], Some(&names)).unwrap();
    assert_eq!(exported.profile.datasets["scales"].requests.keys().collect::<Vec<_>>(), ["sqlDataRequest"]);
    assert_eq!(again(&exported, &exported.profile), [mixed.to_string()]);
}

#[test]
fn what_is_masked_is_exported_as_sensitive_and_as_a_demand() {
    let masked = PROFILE.replace("\"FILTER", "\"MASK people.born AS NULL\", \"FILTER");
    let names = profile(&masked);
    let (agreements, _) = imported(AGREEMENTS, Some(&names)).unwrap();
    let exported = export(&agreements, Some(&names)).unwrap();
    assert_eq!(exported.datasets[0].sensitive_columns, [("People".to_owned(), vec!["born".to_owned()])].into());
    let demanded = r#"{ "data_steward": "NORTH", "types": { "sqlDataRequest": ["sql-anonymize"] } }"#;
    assert_eq!(exported.enforced, read_json::<EnforcedServices>(demanded).unwrap());
    assert_eq!(again(&exported, &exported.profile), [agreements[0].to_string()]);
    // A demand would be one of the steward's other agreement, too.
    let mut plain = parse_agreement(EXPECTED).unwrap();
    plain.name = "more".to_owned();
    let both = export(&[agreements[0].clone(), plain], Some(&names)).unwrap();
    assert!(both.enforced.is_empty(), "{:?}", both.enforced);
    let told = "not every agreement of `NORTH` masks something";
    assert!(both.report.left_out.iter().any(|one| one.contains(told)), "{}", both.report);
    // A column of one of several tables is nobody's.
    let open = masked.replace("people.born AS", "born AS");
    let exported = export(&imported(AGREEMENTS, Some(&profile(&open))).unwrap().0, Some(&profile(&open))).unwrap();
    assert!(exported.datasets[0].sensitive_columns.is_empty(), "{:?}", exported.datasets);
    assert!(exported.report.left_out.iter().any(|one| one.contains("MASK born")), "{}", exported.report);
}
