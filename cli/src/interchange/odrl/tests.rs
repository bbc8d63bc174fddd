//! ODRL out and in: what each clause becomes, and what a document cannot slip in.

use dynamos_planner::sql::parse_agreement;
use serde_json::{Value, json};

use super::*;

const EVERYTHING: &str = "CREATE AGREEMENT pay ON SITE \"north site\"
  FOR USER 'ann o''hara@west.example', ROLE analyst, ROLE analyst OF west, ORGANISATION east, ANYONE
  PURPOSE statistics, \"DUO:0000042\"
  VALID FROM '2026-01-01' UNTIL '2027-01-01T12:00:00Z'
AS (
  groups: RELEASE avg, count, count DISTINCT OF scale, * BY sex, year(born) FROM work.people JOIN work.jobs ON id WHERE scale > 3 \
MINIMUM 10 DISTINCT people.id MINIMUM 3 DISTINCT employer MINIMUM 2 SITES PER SITE DOMINANCE 0.5 ROUND TO 5 ELSE REMAINDER,
  RELEASE ROWS (*) FROM work.sites,
  SHIP PARTIALS OF groups TO hub, ROLE compute_provider, REGION eu, COORDINATOR,
  SHIP ROWS (people.id, lower(sex)) FROM work.people WHERE id < 9 TO ANY,
  FILTER ON sex COMPARE WITH LITERALS, COLUMNS,
  9: MASK people.born AS date_trunc('year', born),
  hidden: ROWS ON people WHERE opted_out IS NOT TRUE,
  BUDGET 200 QUERIES PER MONTH, EPSILON 4 PER YEAR,
  ARCHETYPES compute_to_data,
  OBLIGE RETENTION INTERVAL '12' HOUR AT hub,
  OBLIGE AUDIT,
  OBLIGE NOTIFICATION
)";

fn exported(text: &str) -> Value {
    export_odrl(&[parse_agreement(text).unwrap()]).unwrap().0
}

fn imported(document: &Value) -> Result<String, String> {
    let (agreements, _) = import_odrl(document).map_err(|error| error.to_string())?;
    Ok(agreements.iter().map(ToString::to_string).collect())
}

#[test]
fn every_clause_but_join_comes_back_as_it_was() {
    let agreement = parse_agreement(EVERYTHING).unwrap();
    let (document, report) = export_odrl(std::slice::from_ref(&agreement)).unwrap();
    assert_eq!(imported(&document), Ok(agreement.to_string()));
    assert!(report.left_out.is_empty(), "{report}");
    let with_join =
        EVERYTHING.replace("ARCHETYPES compute_to_data,", "ARCHETYPES compute_to_data, 77: JOIN ON id WITH hub, ");
    let (document, report) = export_odrl(&[parse_agreement(&with_join).unwrap()]).unwrap();
    assert!(imported(&document).unwrap().contains("78: OBLIGE"), "{document}");
    assert!(report.left_out.iter().any(|line| line.contains("JOIN ON id WITH hub")), "{report}");
}

#[test]
fn core_terms_and_duo_terms_stand_where_others_look_for_them() {
    let document = exported(EVERYTHING);
    assert_eq!(document["@type"], "Agreement");
    assert_eq!(document["assigner"], "urn:dynamos:site:north%20site");
    let permission = &document["permission"][0];
    assert_eq!(
        permission["target"],
        json!(["urn:dynamos:table:north%20site:work.people", "urn:dynamos:table:north%20site:work.jobs"])
    );
    let purposes = json!([{ "@id": "urn:dynamos:purpose:statistics" }, { "@id": "duo:0000042" }]);
    assert_eq!(
        permission["constraint"][0],
        json!({ "leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": purposes })
    );
    assert_eq!(permission["constraint"][1]["rightOperand"], json!({ "@value": "2026-01-01", "@type": "xsd:date" }));
    let duties: Vec<&Value> = document["obligation"].as_array().unwrap().iter().map(|duty| &duty["action"]).collect();
    assert!(duties.iter().any(|action| **action == json!("inform")), "{duties:?}");
    assert!(duties.iter().any(|action| action[0]["rdf:value"]["@id"] == "anonymize"), "{duties:?}");
}

#[test]
fn a_permission_with_anything_unknown_grants_nothing() {
    let whole = exported(EVERYTHING);
    let kept = |change: &dyn Fn(&mut Value)| {
        let mut document = whole.clone();
        change(&mut document["permission"][1]);
        let (agreements, report) = import_odrl(&document).unwrap();
        assert!(!agreements[0].to_string().contains("RELEASE ROWS (*) FROM work.sites"), "{}", agreements[0]);
        report.left_out.join("\n")
    };
    let unknown = json!({ "leftOperand": "spatial", "operator": "eq", "rightOperand": "NL" });
    assert!(kept(&|one| one["constraint"].as_array_mut().unwrap().push(unknown.clone())).contains("`spatial eq`"));
    let either = json!({ "or": [] });
    assert!(
        kept(&|one| one["constraint"].as_array_mut().unwrap().push(either.clone())).contains("`or` has no meaning")
    );
    assert!(kept(&|one| one["constraint"][0]["operator"] = json!("eq")).contains("cannot equal several values"));
    assert!(kept(&|one| one["constraint"][0]["operator"] = json!("isNoneOf")).contains("`purpose isNoneOf`"));
    assert!(kept(&|one| one["action"] = json!("use")).contains("`use` grants nothing here"));
    assert!(kept(&|one| one["duty"] = json!([])).contains("`duty` has no meaning"));
    assert!(kept(&|one| one["target"] = json!("urn:dynamos:table:other")).contains("not the tables of its relation"));
    assert!(kept(&|one| one["uid"] = json!("urn:other#2")).contains("its uid is not"));
    let modifier = json!([{ "@id": "duo:0000018" }]);
    let refused = kept(&|one| one["constraint"][0]["rightOperand"] = modifier.clone());
    assert!(refused.contains("DUO:0000018 is no purpose here (not for profit"), "{refused}");
    assert!(kept(&|one| one["constraint"] = json!([])).contains("names no purpose"));
}

#[test]
fn what_would_grant_more_if_left_out_refuses_the_document() {
    let whole = exported(EVERYTHING);
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut document = whole.clone();
        change(&mut document);
        imported(&document).unwrap_err()
    };
    assert!(refusal(&|all| all["prohibition"] = json!([{}])).contains("prohibitions"));
    assert!(refusal(&|all| all["inheritFrom"] = json!("x")).contains("`inheritFrom` of the policy has no meaning"));
    assert!(refusal(&|all| all["@context"][1]["dynamos"] = json!("urn:other:")).contains("may mean something else"));
    assert!(refusal(&|all| all["@context"] = json!(null)).contains("may mean something else"));
    assert!(refusal(&|all| all["profile"] = json!(["urn:dynamos:odrl:", "urn:other:"])).contains("its profile is not"));
    assert!(refusal(&|all| all["profile"] = json!([])).contains("its profile is not"));
    assert!(refusal(&|all| all["@type"] = json!("Offer")).contains("nobody has agreed"));
    assert!(refusal(&|all| all["obligation"][0]["action"] = json!("compensate")).contains("`compensate`"));
    assert!(refusal(&|all| all["obligation"][0]["consequence"] = json!([])).contains("`consequence`"));
    assert!(refusal(&|all| all["assigner"] = json!("urn:dynamos:site:other")).contains("the assigner"));
    assert!(refusal(&|all| all["assignee"] = json!("mailto:ann@west.example")).contains("is nobody here"));
    assert!(refusal(&|all| all["assignee"] = json!([])).contains("cannot be written"));
    // One permission for another purpose than the others would widen one of them.
    let other = json!([{ "@id": "urn:dynamos:purpose:education" }]);
    let refused = refusal(&|all| all["permission"][1]["constraint"][0]["rightOperand"] = other.clone());
    assert!(refused.contains("different purposes"), "{refused}");
}

#[test]
fn an_operand_cannot_become_more_than_it_is() {
    let whole = exported(EVERYTHING);
    for (term, smuggled) in [
        (0, json!(["avg OF * FROM work.people, RELEASE avg"])),
        (1, json!(["scale FROM work.people, RELEASE count OF *"])),
        (2, json!(["sex, born"])),
        (3, json!("work.people JOIN work.jobs ON id WHERE 1 = 1")),
        (4, json!("scale > 3 ELSE DROP, RELEASE ROWS (*) FROM work.people")),
        (5, json!("10 DISTINCT id")),
    ] {
        let mut document = whole.clone();
        document["permission"][0]["action"][0]["refinement"][term]["rightOperand"] = smuggled.clone();
        if let Ok((agreements, report)) = import_odrl(&document) {
            // The permission is left out, and what rests on it with it, or nothing is imported at all.
            panic!("{smuggled}: {}\n{report}", agreements[0]);
        }
    }
}

#[test]
fn duo_terms_are_read_in_every_usual_form() {
    let text = "CREATE AGREEMENT a ON SITE s FOR ANYONE PURPOSE \"DUO:0000042\" AS (RELEASE ROWS (*) FROM s.t)";
    for form in ["duo:0000042", "obo:DUO_0000042", "http://purl.obolibrary.org/obo/DUO_0000042", "DUO:0000042"] {
        let mut document = exported(text);
        document["permission"][0]["constraint"][0] =
            json!({ "leftOperand": { "@id": "purpose" }, "operator": "eq", "rightOperand": form });
        assert_eq!(imported(&document), Ok(parse_agreement(text).unwrap().to_string()), "{form}");
    }
    let (both, _) = export_odrl(&[
        parse_agreement(text).unwrap(),
        parse_agreement(&text.replace("AGREEMENT a", "AGREEMENT b")).unwrap(),
    ])
    .unwrap();
    assert_eq!(import_odrl(&both).unwrap().0.len(), 2);
    let mut beside = both;
    beside["prohibition"] = json!([{}]);
    assert!(import_odrl(&beside).unwrap_err().to_string().contains("`prohibition` has no meaning"));
    let unknown = exported(&text.replace("DUO:0000042", "DUO:1234567"));
    let (_, report) = import_odrl(&unknown).unwrap();
    assert!(report.left_out.iter().any(|line| line.contains("nothing is known of purpose DUO:1234567")), "{report}");
    let (_, report) = import_odrl(&exported(&text.replace("DUO:0000042", "secondary_use"))).unwrap();
    assert!(report.left_out.is_empty(), "{report}");
    assert!(imported(&json!({ "@context": unknown["@context"], "@graph": [] })).unwrap_err().contains("no policy"));
}
