//! Requests as SQL: the samples of the original's documentation, and what is refused.

use super::*;
use crate::interchange::Profile;

const JOINED: &str =
    "SELECT p.Geslacht, s.Salschal FROM Personen p JOIN Aanstellingen s ON p.Unieknr = s.Unieknr LIMIT 100";

fn request(query: &str, options: &str) -> Request {
    let text = format!(
        r#"{{ "type": "sqlDataRequest", "user": {{ "id": "1", "userName": "ann@uva.example" }},
             "dataProviders": ["VU", "UVA"],
             "data_request": {{ "type": "sqlDataRequest", "query": "{query}", "algorithm": "average",
                                "options": {options}, "requestMetadata": {{}} }} }}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn names<'a>(profile: Option<&'a Profile>, schema: Option<&'a str>) -> Names<'a> {
    Names { profile, schema, group_by: "Geslacht", average_of: "Salschal" }
}

fn sql(query: &str, options: &str) -> Vec<String> {
    translate(&request(query, options), &names(None, Some("wages"))).unwrap().queries
}

fn refusal(query: &str) -> String {
    translate(&request(query, "{}"), &names(None, Some("wages"))).unwrap_err().to_string()
}

#[test]
fn aggregate_is_the_federated_table_of_the_named_providers() {
    let translated = translate(
        &request(JOINED, r#"{ "aggregate": true, "graph": true, "anonymize": true }"#),
        &names(None, Some("wages")),
    );
    let Statements { queries, notes } = translated.unwrap();
    assert_eq!(
        queries,
        ["SELECT p.Geslacht AS geslacht, avg(s.Salschal) AS average FROM wages.personen p JOIN wages.aanstellingen s \
          ON p.Unieknr = s.Unieknr WHERE p.steward IN ('vu', 'uva') AND s.steward IN ('vu', 'uva') \
          GROUP BY p.Geslacht ORDER BY geslacht"]
    );
    for word in ["graph", "anonymize", "LIMIT"] {
        assert!(notes.iter().any(|note| note.starts_with(word)), "{word}: {notes:?}");
    }
}

#[test]
fn otherwise_every_provider_is_asked_alone() {
    let queries = sql(&JOINED.replace(" LIMIT 100", " WHERE p.Geslacht = 'M' OR s.Salschal > 3"), "{}");
    let one = |site: &str| {
        format!(
            "SELECT '{site}' AS provider, p.Geslacht AS geslacht, avg(s.Salschal) AS average FROM {site}.wages.personen p \
             JOIN {site}.wages.aanstellingen s ON p.Unieknr = s.Unieknr WHERE (p.Geslacht = 'M' OR s.Salschal > 3) \
             GROUP BY p.Geslacht ORDER BY geslacht"
        )
    };
    assert_eq!(queries, [one("vu"), one("uva")]);
}

#[test]
fn distinct_rows_stay_distinct_and_aliases_are_followed() {
    let query = "SELECT DISTINCT p.Unieknr, p.Geslacht, s.Salschal as Salary FROM Personen p \
                 JOIN Aanstellingen s ON p.Unieknr = s.Unieknr LIMIT 30000";
    assert_eq!(
        sql(query, "{}")[0],
        "SELECT 'vu' AS provider, Geslacht AS geslacht, avg(Salary) AS average FROM (SELECT DISTINCT p.Unieknr, \
         p.Geslacht, s.Salschal AS Salary FROM vu.wages.personen p JOIN vu.wages.aanstellingen s ON p.Unieknr = s.Unieknr) \
         AS rows GROUP BY Geslacht ORDER BY geslacht"
    );
    let all = sql("SELECT * FROM Personen p JOIN Aanstellingen s ON p.Unieknr = s.Unieknr", "{}");
    assert!(all[0].contains("geslacht AS geslacht, avg(salschal) AS average FROM vu.wages"), "{all:?}");
}

#[test]
fn a_profile_names_places_and_tables() {
    let profile: Profile = dynamos_proto::settings::parse(
        "[places]\nVU = \"vrije\"\n[datasets.w]\nagreement = \"w\"\npurposes = []\nvalid_from = \"unlimited\"\n\
         valid_until = \"unlimited\"\nrequests = {}\ntables = { Personen = \"hr.people\", Aanstellingen = \"hr.jobs\" }",
    )
    .unwrap();
    let queries = translate(&request(JOINED, "{}"), &names(Some(&profile), None)).unwrap().queries;
    assert!(queries[0].contains("FROM vrije.hr.people p JOIN vrije.hr.jobs s"), "{queries:?}");
    assert!(queries[1].contains("FROM uva.hr.people p"), "{queries:?}");
}

#[test]
fn refuses_by_name_what_would_be_lost() {
    for (query, clause) in [
        ("SELECT * FROM Personen QUALIFY row_number() OVER (PARTITION BY Geslacht) = 1", "and QUALIFY would be lost"),
        ("SELECT * FROM Personen |> WHERE Salschal > 3", "and a pipe operator (`|>`) would be lost"),
        ("SELECT * FROM Personen ORDER BY Salschal LIMIT 3", "and ORDER BY would be lost"),
        ("SELECT * FROM Personen LIMIT 3 OFFSET 3", "and OFFSET or LIMIT BY would be lost"),
        ("SELECT DISTINCT ON (Geslacht) Geslacht, Salschal FROM Personen", "and DISTINCT ON would be lost"),
        ("SELECT * REPLACE (Salschal * 2 AS Salschal) FROM Personen", "and what stands behind `*` would be lost"),
        ("SELECT Geslacht, Salschal INTO other FROM Personen", "and INTO would be lost"),
        ("SELECT Geslacht, Salschal FROM Personen GROUP BY Geslacht, Salschal", "and GROUP BY would be lost"),
        ("WITH a AS (SELECT 1) SELECT * FROM Personen", "and WITH would be lost"),
    ] {
        let refusal = refusal(query);
        assert!(refusal.contains(clause), "{query}: {refusal}");
        assert!(refusal.contains("write the question as SQL instead"), "{query}: {refusal}");
    }
}

#[test]
fn refuses_a_query_inside_the_query() {
    for condition in [
        "Salschal > (SELECT avg(Salschal) FROM Aanstellingen)",
        "Unieknr IN (SELECT Unieknr FROM Aanstellingen)",
        "NOT EXISTS (SELECT 1 FROM Aanstellingen)",
    ] {
        let refusal = refusal(&format!("SELECT Geslacht, Salschal FROM Personen WHERE {condition}"));
        assert!(refusal.contains("another query inside it; write the question as SQL instead"), "{refusal}");
    }
    let joined = "SELECT * FROM Personen p JOIN Aanstellingen s ON p.a = (SELECT max(a) FROM Aanstellingen)";
    assert!(refusal(joined).contains("another query inside it"));
}

#[test]
fn refuses_what_has_no_meaning_here() {
    for (query, expected) in [
        ("SELECT * FROM Personen p JOIN Aanstellingen s LIMIT 1000", "has no condition; write ON"),
        ("SELECT * FROM Personen p LEFT JOIN Aanstellingen s ON p.a = s.a", "another join than an inner one"),
        ("SELECT * FROM Personen, Aanstellingen", "must join its tables with JOIN"),
        ("SELECT Geslacht FROM Personen", "does not select `Salschal`"),
        ("SELECT Geslacht, avg(Salschal) FROM Personen GROUP BY 1", "must be a SELECT of rows"),
        ("SELECT * FROM (SELECT 1) t", "reads more than tables"),
        ("SELECT * FROM Personen; DROP TABLE Personen", "not one SELECT"),
        ("DELETE FROM Personen", "not one SELECT"),
        ("SELEC", "is not SQL"),
    ] {
        let refusal = refusal(query);
        assert!(refusal.contains(expected), "{query}: {refusal}");
    }
    let without = translate(&request(JOINED, "{}"), &names(None, None)).unwrap_err().to_string();
    assert!(without.contains("`Personen` has no schema; give `--schema`"), "{without}");
    let mut other = request(JOINED, "{}");
    other.kind = "genericRequest".to_owned();
    assert!(translate(&other, &names(None, Some("wages"))).unwrap_err().to_string().contains("asks for no data"));
    for (from, to) in [("average", "median"), ("graph", "exact"), ("\"user\"", "\"onBehalfOf\"")] {
        let text = r#"{ "type": "sqlDataRequest", "user": "ann", "dataProviders": [], "data_request": { "query": "",
            "algorithm": "average", "options": { "graph": true } } }"#;
        assert!(serde_json::from_str::<Request>(text).is_ok());
        assert!(serde_json::from_str::<Request>(&text.replace(from, to)).is_err(), "{to}");
    }
}
