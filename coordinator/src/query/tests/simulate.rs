//! SIMULATE AGREEMENT: who examines the text, and who is taken to ask what, when and how.

use datafusion::common::ScalarValue;
use dynamos_planner::Placement;
use dynamos_planner::policy::Reason;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use futures::StreamExt;

use super::fixture::{Answer, Fixture, columns};
use crate::frontend::{Caller, Engine, Outcome};
use crate::query::Refusal;
use crate::registry::tests::signed;

/// Takes from everybody what agreement `a` grants for statistics, and grants something later.
const TEXT: &str = "SIMULATE AGREEMENT a ON SITE uva FOR ORGANISATION vu PURPOSE research VALID FROM '2100-01-01' AS (\
                    RELEASE count OF * FROM personen MINIMUM 10 DISTINCT unieknr)";
const QUERY: &str = "SELECT n FROM uva.wages.personen";
const BOTH: &str = "SELECT n FROM uva.wages.personen, vu.wages.salaries";

async fn simulated(federation: &Fixture, about: &str) -> Result<Vec<String>, ServiceError> {
    federation.text_for(&federation.caller("steward"), &format!("{TEXT} FOR {about}")).await
}

/// Runs a query to its end; gives its id.
async fn asked(federation: &Fixture, caller: &Caller, sql: &str, parameters: Vec<ScalarValue>) -> String {
    drop(federation.root.feed(columns()));
    let Outcome::Rows { query_id, stream, .. } = federation.engine.run(caller, sql, parameters).await.unwrap() else {
        panic!("`{sql}` answers with rows")
    };
    assert!(stream.collect::<Vec<_>>().await.is_empty());
    federation.planner.asked.lock().unwrap().clear();
    federation.planner.parameters.lock().unwrap().clear();
    query_id
}

#[tokio::test]
async fn the_stewards_site_examines_the_text_and_its_refusal_is_the_answer() {
    let federation = Fixture::new();
    let steward = federation.caller("steward");
    let refused = ServiceError::new(Code::InvalidArgument, "line 1, column 9: clause 2: it was clause 3");
    *federation.place("uva").refuses.lock().unwrap() = Some(refused.clone());
    assert_eq!(simulated(&federation, QUERY).await.unwrap_err(), refused);
    let statements = federation.place("uva").statements.lock().unwrap().clone();
    assert_eq!(statements, [(format!("{TEXT} FOR {QUERY}"), steward.identity.token.clone())]);
    assert!(federation.planner.asked.lock().unwrap().is_empty(), "what is not put in force is not simulated");
    // Nobody else's text gets so far.
    let analyst = federation.text(&format!("{TEXT} FOR {QUERY}")).await.unwrap_err();
    assert_eq!((analyst.code, federation.place("uva").statements.lock().unwrap().len()), (Code::Denied, 1));
    federation.lose("uva");
    assert_eq!(simulated(&federation, QUERY).await.unwrap_err().code, Code::SiteUnavailable);
}

#[tokio::test]
async fn who_would_lose_something_is_simulated_as_well_and_what_begins_later_as_of_then() {
    let federation = Fixture::new();
    let rows = simulated(&federation, QUERY).await.unwrap();
    let both = |grantee: &str, purpose: &str, person: &str| {
        format!("the query|{grantee}|{purpose}|permitted|permitted|2100-01-01|{person}|{QUERY}")
    };
    assert_eq!(
        rows,
        [
            both("ORGANISATION vu", "research", "anybody of vu, no role (made up)"),
            both("ANYONE", "statistics", "anybody of uva, no role (made up)"),
        ]
    );
    let asked = federation.planner.asked.lock().unwrap().clone();
    let seen: Vec<_> = asked
        .iter()
        .map(|request| {
            let held = request.snapshot.agreements.get(&SiteId::new("uva"), "a").unwrap();
            (request.now.to_string(), held.epoch, request.requester.organisation.as_str())
        })
        .collect();
    let at = |moment: &str, epoch: u64, organisation: &'static str| (moment.to_owned(), epoch, organisation);
    assert_eq!(
        seen,
        [at("2026-01-01", 3, "vu"), at("2100-01-01", 4, "vu"), at("2026-01-01", 3, "uva"), at("2100-01-01", 4, "uva")]
    );
    // What holds already is simulated as of now.
    let past = TEXT.replace("2100", "2000");
    let rows = federation.text_for(&federation.caller("steward"), &format!("{past} FOR {QUERY}")).await.unwrap();
    assert!(rows.iter().all(|row| row.contains("|2026-01-01|")), "{rows:?}");
    assert_eq!(federation.registry.snapshot().epoch(&SiteId::new("uva"), "a"), Some(3), "nothing has changed");
}

#[tokio::test]
async fn a_recent_query_is_asked_again_as_it_was_asked() {
    let federation = Fixture::new();
    let mut caller = federation.caller("analyst");
    for (name, value) in [("agreement", "a"), ("placement", "compute_to_data"), ("schema", "wages")] {
        caller.settings.options.insert(name.into(), value.into());
    }
    let sql = format!("{QUERY} WHERE n = $1 AND name = 'Jansen'");
    let query = asked(&federation, &caller, &sql, vec![ScalarValue::from(7_i64)]).await;
    let still =
        format!("{} FOR RECENT QUERIES", TEXT.replace("ORGANISATION vu PURPOSE research", "ANYONE PURPOSE statistics"));
    let rows = federation.text_for(&federation.caller("steward"), &still).await.unwrap();
    let row = |then: &str| {
        format!(
            "{query}|a@uva.nl of uva|statistics|permitted|{then}|2100-01-01|a@uva.nl of uva, role analyst (has asked)|\
             select n from uva . wages . personen where n = ? and name = ?"
        )
    };
    assert_eq!(rows, [row("permitted")]);
    let requests = federation.planner.asked.lock().unwrap().clone();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!((request.agreement.as_deref(), request.placement), (Some("a"), Placement::ComputeToData));
        assert_eq!(
            (request.default_schema.as_deref(), request.requester.roles),
            (Some("wages"), vec!["analyst".into()])
        );
    }
    assert_eq!(*federation.planner.parameters.lock().unwrap(), vec![vec![ScalarValue::from(7_i64)]; 2]);
    // The agreement that it named would no longer be one with who asked.
    assert_eq!(
        simulated(&federation, "RECENT QUERIES").await.unwrap(),
        [row("refused: it cannot be planned (UNKNOWN_NAME)")]
    );
    // Who has asked stands for a grantee.
    let rows = simulated(&federation, QUERY).await.unwrap();
    assert!(
        rows[1].contains("|ANYONE|") && rows[1].contains("|a@uva.nl of uva, role analyst (has asked)|"),
        "{rows:?}"
    );
}

#[tokio::test]
async fn of_a_question_that_others_have_a_part_in_only_a_fixed_text_is_told() {
    let federation = Fixture::new();
    let steward = federation.caller("steward");
    let told = "denied: another steward does not allow it, or shows this person nothing of the kind";
    for answer in [
        Answer::Fail(ServiceError::new(Code::UnknownName, "no field `m`; valid fields are `secret`")),
        Answer::Deny(Refusal {
            reason: "no".into(),
            reasons: vec![
                Reason { steward: None, text: "`secret` is not allowed".into() },
                Reason { steward: Some(SiteId::new("vu")), text: "clause 1 lists no `secret`".into() },
            ],
            hint: None,
        }),
    ] {
        *federation.planner.answer.lock().unwrap() = answer;
        let rows = simulated(&federation, BOTH).await.unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            assert!(row.contains(&format!("|{told}|{told}|")) && !row.contains("secret"), "{row}");
        }
    }
    // Others' tables alone are none of its business, with or without their schema.
    for sql in ["SELECT n FROM vu.wages.salaries", "SELECT n FROM salaries", "SELECT 1"] {
        let error = federation.text_for(&steward, &format!("{TEXT} FOR {sql}")).await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (Code::InvalidArgument, "the query names no table of `uva`"));
    }
}

#[tokio::test]
async fn a_question_about_own_tables_is_decided_by_own_agreements() {
    let federation = Fixture::new();
    let text = "CREATE AGREEMENT b ON SITE vu FOR ANYONE PURPOSE statistics AS (RELEASE ROWS (n) FROM salaries)";
    let text = dynamos_planner::sql::parse_agreement(text).unwrap().to_string();
    let theirs = v1::SignedAgreement {
        steward: "vu".into(),
        name: "b".into(),
        epoch: 1,
        text,
        purposes: 1,
        ..Default::default()
    };
    federation.registry.update_agreements(&SiteId::new("vu"), &[signed(theirs, 2)]).unwrap();
    for (sql, stewards) in [("SELECT n FROM personen", vec!["uva"]), (QUERY, vec!["uva"]), (BOTH, vec!["uva", "vu"])] {
        federation.planner.asked.lock().unwrap().clear();
        simulated(&federation, sql).await.unwrap();
        let asked = federation.planner.asked.lock().unwrap().clone();
        assert!(!asked.is_empty(), "{sql}");
        for request in asked {
            let known: Vec<_> = request.snapshot.agreements.all().map(|held| held.agreement.steward.as_str()).collect();
            assert_eq!(known, stewards, "{sql}");
        }
    }
}

#[tokio::test]
async fn of_a_question_that_is_too_large_nothing_is_kept() {
    let federation = Fixture::new();
    let sql = format!("{QUERY} WHERE name = $1");
    let value = ScalarValue::from("x".repeat(20_000));
    asked(&federation, &federation.caller("analyst"), &sql, vec![value]).await;
    let record = federation.engine.queries().list().remove(0);
    assert_eq!((record.asked.sql, record.asked.parameters), (None, vec![]));
    assert!(simulated(&federation, "RECENT QUERIES").await.unwrap().is_empty());
}
