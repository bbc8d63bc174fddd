//! Statements that are not queries.

use dynamos_planner::Placement;
use dynamos_planner::policy::Reason;
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::{agreement_bytes, sha256_hex};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use futures::StreamExt;

use super::fixture::{Answer, Fixture, batch, columns};
use crate::decision::{statement_hash, statement_without_literals};
use crate::frontend::{Engine, Outcome, StatementKind};
use crate::query::Refusal;
use crate::registry::tests::{agreement, key};

async fn set(sql: &str) -> Result<(String, Option<String>), ServiceError> {
    match Fixture::new().run(sql).await? {
        Outcome::Set { name, value } => Ok((name, value)),
        _ => panic!("`{sql}` sets"),
    }
}

#[tokio::test]
async fn settings_are_checked_when_they_are_set() {
    for (sql, name, value) in [
        ("SET dynamos.purpose = statistics", "purpose", Some("statistics")),
        ("SET dynamos.purpose = 'DUO:0000042'", "purpose", Some("DUO:0000042")),
        ("SET dynamos.placement TO compute_to_data", "placement", Some("compute_to_data")),
        ("SET dynamos.agreement = a", "agreement", Some("a")),
        ("RESET dynamos.purpose", "purpose", None),
    ] {
        assert_eq!(set(sql).await.unwrap(), (name.to_owned(), value.map(str::to_owned)), "{sql}");
    }
    let error = set("SET dynamos.placement = anywhere").await.unwrap_err();
    assert_eq!((error.code, error.message.contains("data_to_compute")), (Code::InvalidArgument, true));
    for (sql, code, hint) in [
        ("SET dynamos.purpose = education", Code::InvalidArgument, "`statistics`, `research`"),
        ("SET dynamos.agreement = b", Code::UnknownName, "`a`"),
        ("SET dynamos.colour = red", Code::UnknownName, "`dynamos.purpose`"),
    ] {
        let error = set(sql).await.unwrap_err();
        assert_eq!((error.code, error.hint.unwrap_or_default().contains(hint)), (code, true), "{sql}");
    }
}

#[tokio::test]
async fn an_option_is_refused_where_set_refuses_it() {
    let federation = Fixture::new();
    let caller = federation.caller("analyst");
    let mut refused = Vec::new();
    for (name, value) in [
        ("purpose", "statistics"),
        ("purpose", "DUO:0000042"),
        ("purpose", "education"),
        ("placement", "data_to_compute"),
        ("placement", "anywhere"),
        ("agreement", "a"),
        ("agreement", "b"),
        ("schema", "anything"),
        ("colour", "red"),
    ] {
        let set = federation.run(&format!("SET dynamos.{name} = '{value}'")).await.map(|_| ());
        let option = federation.engine.check_option(&caller, name, value);
        assert_eq!(option, set, "{name} = {value}");
        refused.extend(option.err().map(|_| (name, value)));
    }
    let expected = [("purpose", "education"), ("placement", "anywhere"), ("agreement", "b"), ("colour", "red")];
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn an_agreement_that_is_gone_is_not_replaced_by_another() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    let mut caller = federation.caller("analyst");
    caller.settings.options.insert("agreement".into(), "a".into());
    federation.engine.run(&caller, "SELECT 1", vec![]).await.unwrap();
    federation.registry.update_agreements(&SiteId::new("uva"), &[agreement("b", 1, 1)]).unwrap();
    federation.revoke_agreement();
    federation.planner.asked.lock().unwrap().clear();
    for sql in ["SELECT 1", "EXPLAIN SELECT 1", "EXPLAIN POLICY SELECT 1", "EXPLAIN ANALYZE SELECT 1"] {
        let error = federation.engine.run(&caller, sql, vec![]).await.err().unwrap();
        assert_eq!((error.code, error.message.as_str()), (Code::UnknownName, "there is no agreement `a`"), "{sql}");
        assert_eq!(error.hint.as_deref(), Some("there are `b`"), "{sql}");
    }
    assert!(federation.planner.asked.lock().unwrap().is_empty(), "under no other");
    let codes = federation.records().into_iter().filter(|record| record["code"] == "UNKNOWN_NAME");
    assert_eq!(codes.count(), 2, "those that would have run are on record");
    caller.settings.options.remove("agreement");
    assert!(federation.engine.run(&caller, "EXPLAIN SELECT 1", vec![]).await.is_ok());
}

#[tokio::test]
async fn settings_of_the_session_reach_the_planner_and_are_checked_again() {
    let federation = Fixture::new();
    let _feed = federation.root.feed(columns());
    let mut caller = federation.caller("analyst");
    let options = &mut caller.settings.options;
    options.insert("placement".into(), "data_to_compute".into());
    options.insert("schema".into(), "wages".into());
    federation.engine.run(&caller, "SELECT 1", vec![]).await.unwrap();
    let asked = federation.planner.asked.lock().unwrap()[0].clone();
    assert_eq!((asked.placement, asked.purpose.as_deref()), (Placement::DataToCompute, Some("statistics")));
    assert_eq!((asked.default_schema.as_deref(), asked.requester.user.as_str()), (Some("wages"), "a@uva.nl"));
    for (name, value) in [("purpose", "education"), ("placement", "anywhere")] {
        let mut caller = federation.caller("analyst");
        caller.settings.options.insert(name.into(), value.into());
        let error = federation.engine.run(&caller, "SELECT 1", vec![]).await.err().unwrap();
        assert_eq!(error.code, Code::InvalidArgument);
    }
    let refused: Vec<_> =
        federation.records().into_iter().filter(|record| record["code"] == "INVALID_ARGUMENT").collect();
    let purposes: Vec<_> = refused.iter().map(|record| record["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["education", "statistics"], "that, too, is on record");
}

/// What uva and the question itself have against it.
fn refusal() -> Refusal {
    let reason = |steward: Option<&str>, text: &str| Reason { steward: steward.map(SiteId::new), text: text.into() };
    Refusal {
        reason: "no clause".into(),
        reasons: vec![
            reason(Some("uva"), "agreement `a`, clause 1: no key"),
            reason(Some("uva"), "agreement `a`, clause 1: no column"),
            reason(None, "no place may do this"),
        ],
        hint: Some("look elsewhere".into()),
    }
}

#[tokio::test]
async fn explanations_are_lines_of_text() {
    let federation = Fixture::new();
    assert_eq!(federation.text("EXPLAIN SELECT 1").await.unwrap(), ["fragments f0", "fragments f1"]);
    let policy = federation.text("EXPLAIN POLICY SELECT 1").await.unwrap();
    let report = [
        "Allowed for a@uva.nl of uva, for the purpose statistics.",
        "By agreement: a of uva, epoch 3.",
        "",
        "uva: partials (sums and counts of groups) leave; its rows stay",
        "  uva → surf (provider): partials of r0",
        "",
        "The requester gets: n",
    ];
    assert_eq!(policy, report, "the report and not the plan");
    *federation.planner.answer.lock().unwrap() = Answer::Deny(refusal());
    let policy = federation.text("EXPLAIN POLICY SELECT 1").await.unwrap();
    let report = [
        "Refused for a@uva.nl of uva, for the purpose statistics.",
        "",
        "the question itself",
        "  no place may do this",
        "",
        "uva: by agreement a, epoch 3",
        "  agreement `a`, clause 1: no key",
        "    clause 1: RELEASE count OF * FROM personen MINIMUM 10 DISTINCT unieknr",
        "  agreement `a`, clause 1: no column",
        "",
        "SHOW PERMISSIONS lists what you may ask for this purpose.",
    ];
    assert_eq!(policy, report);
    assert_eq!(federation.text("EXPLAIN SELECT 1").await.unwrap_err().code, Code::Denied);
    assert_eq!(federation.decisions().lines().count(), 2, "every denial is written down");
    assert!(federation.place("uva").permits.lock().unwrap().is_empty(), "nothing ran");
}

#[tokio::test]
async fn e5_a_refusal_tells_the_nearest_query_that_is_allowed() {
    let federation = Fixture::new();
    *federation.planner.nearest.lock().unwrap() = Some("SELECT 'x'".to_owned());
    *federation.planner.answer.lock().unwrap() = Answer::Deny(refusal());
    let told = Some("nearest allowed query: SELECT 'x'".to_owned());
    for sql in ["SELECT 1", "EXPLAIN SELECT 1"] {
        let error = federation.text(sql).await.unwrap_err();
        assert_eq!((error.code, error.message.as_str(), &error.hint), (Code::Denied, "no clause", &told), "{sql}");
    }
    let policy = federation.text("EXPLAIN POLICY SELECT 1").await.unwrap();
    assert_eq!(policy[policy.len() - 3..], ["", "Nearest allowed query:", "  SELECT 'x'"]);
    assert!(!federation.decisions().contains("'x'"), "a suggestion is no part of the record");
    *federation.planner.answer.lock().unwrap() = Answer::Fail(ServiceError::new(Code::SiteUnavailable, "silent"));
    assert_eq!(federation.text("SELECT 1").await.unwrap_err().hint, told);
    *federation.planner.answer.lock().unwrap() = Answer::Fail(ServiceError::new(Code::UnknownName, "no table"));
    assert_eq!(federation.text("SELECT 1").await.unwrap_err().hint, None, "what is wrong has nothing near");
}

#[tokio::test]
async fn analyze_runs_the_query_and_shows_what_was_measured() {
    let federation = Fixture::new();
    let feed = federation.root.feed(columns());
    feed.send(Ok(batch(&[42]))).unwrap();
    drop(feed);
    let report = v1::FragmentReport { fragment: 2, place: "uva".into(), rows_bucket: 1024, ..Default::default() };
    *federation.place("uva").reports.lock().unwrap() = vec![report];
    let text = federation.text("EXPLAIN ANALYZE SELECT 1").await.unwrap();
    assert_eq!(text[..3], ["fragments f0", "fragments f1", "measured"]);
    assert!(text[3].starts_with("  f2 uva  rows ≤ 1024"), "{text:?}");
    assert!(!text.join("\n").contains("42"));
}

#[tokio::test]
async fn edges_of_the_last_query_are_shown_in_buckets_to_who_asked_it() {
    let federation = Fixture::new();
    let error = federation.text("SHOW EDGES FOR LAST QUERY").await.unwrap_err();
    assert_eq!(error.code, Code::UnknownName);
    let feed = federation.root.feed(columns());
    drop(feed);
    let report = |fragment, place: &str, bytes_bucket| v1::FragmentReport {
        fragment,
        place: place.into(),
        rows_bucket: 1024,
        bytes_bucket,
        ..Default::default()
    };
    let decided = v1::FragmentReport { released: Some(false), ..report(2, "uva", 4096) };
    *federation.place("uva").reports.lock().unwrap() = vec![decided];
    *federation.place("surf").reports.lock().unwrap() = vec![report(1, "surf", 1024)];
    let (_, stream) = federation.rows().await.unwrap();
    assert!(federation.text("SHOW EDGES FOR LAST QUERY").await.is_err(), "it has not ended");
    assert!(stream.collect::<Vec<_>>().await.is_empty());
    let described =
        federation.engine.prepare(&federation.caller("analyst"), "SHOW EDGES FOR LAST QUERY").await.unwrap();
    assert_eq!((described.kind, described.schema.fields().len()), (StatementKind::Query, 7));
    let shown = federation.text("SHOW EDGES FOR LAST QUERY").await.unwrap();
    assert_eq!(
        shown,
        [
            "f0|coordinator|requester||||",
            "f1|surf|f0|coordinator|1024|1024|",
            "f2|uva|f1|surf|1024|4096|false",
            "f3|vu|f1|surf|||"
        ]
    );
}

#[tokio::test]
async fn decisions_are_shown_to_who_asked_the_newest_first() {
    let federation = Fixture::new();
    assert!(federation.text("SHOW DECISIONS").await.unwrap().is_empty());
    drop(federation.root.feed(columns()));
    let (query, stream) = federation.rows().await.unwrap();
    let running = federation.text("SHOW DECISIONS").await.unwrap();
    let statement = "SELECT n FROM wages.personen";
    let (sha256, graph) = (statement_hash(statement), sha256_hex(b"graph"));
    let version = federation.registry.snapshot().catalog.version;
    let who_and_what =
        |graph: &str| format!("a@uva.nl|uva|{}|{sha256}|{graph}|{version}", statement_without_literals(statement));
    let permitted = who_and_what(&graph);
    assert_eq!(running, [format!("2026-01-01|{query}|permitted|statistics|uva.a@3|uva.a@3 clause 1|||||{permitted}")]);
    *federation.place("uva").reports.lock().unwrap() =
        vec![v1::FragmentReport { fragment: 2, place: "uva".into(), released: Some(false), ..Default::default() }];
    assert!(stream.collect::<Vec<_>>().await.is_empty());
    *federation.planner.answer.lock().unwrap() =
        Answer::Deny(Refusal { reason: "no `x = 7`".into(), reasons: vec![], hint: None });
    federation.rows().await.err().unwrap();
    let shown = federation.text("SHOW DECISIONS").await.unwrap();
    let denied = format!("|denied|statistics|uva.a@3||no `x = ?`|DENIED|||{}", who_and_what(""));
    assert!(shown[0].ends_with(&denied), "{shown:?}");
    let finished = format!("2026-01-01|{query}|permitted|statistics|uva.a@3|uva.a@3 clause 1||FINISHED|1024|uva");
    assert_eq!(shown[1], format!("{finished}|{permitted}"));
    let mut other = federation.caller("analyst");
    let identity = crate::frontend::Identity { user: "b@uva.nl".into(), ..(*other.identity).clone() };
    other.identity = std::sync::Arc::new(identity);
    let Outcome::Rows { stream, .. } = federation.engine.run(&other, "SHOW DECISIONS", vec![]).await.unwrap() else {
        panic!("it answers with rows")
    };
    let batches: Vec<_> = stream.collect().await;
    assert!(batches.into_iter().all(|batch| batch.unwrap().num_rows() == 0));
}

#[tokio::test]
async fn agreements_are_shown_to_those_they_concern_and_to_their_steward() {
    let federation = Fixture::new();
    let text = agreement("b", 1, 1).text.replace("ANYONE", "USER 'other@vu.nl'");
    let mut private = v1::SignedAgreement { text, ..agreement("b", 1, 1) };
    private.signature = key(1).sign(&agreement_bytes(&private));
    federation.registry.update_agreements(&SiteId::new("uva"), &[private]).unwrap();
    let shown = federation.text("SHOW AGREEMENTS").await.unwrap();
    assert_eq!(shown.len(), 1);
    assert!(shown[0].starts_with("a|uva|3||") && shown[0].contains("CREATE AGREEMENT a ON SITE uva"), "{shown:?}");
    assert_eq!(federation.text("SHOW AGREEMENT a ON SITE uva").await.unwrap().len(), 1);
    for sql in ["SHOW AGREEMENT b", "SHOW AGREEMENT a ON SITE vu", "SHOW AGREEMENT nothing"] {
        assert_eq!(federation.text(sql).await.unwrap_err().code, Code::UnknownName, "{sql}");
    }
    let steward = federation.caller("steward");
    assert!(federation.engine.run(&steward, "SHOW AGREEMENT b", vec![]).await.is_ok());
}

#[tokio::test]
async fn permissions_are_the_clauses_that_hold_for_the_purpose() {
    let federation = Fixture::new();
    let shown = federation.text("SHOW PERMISSIONS").await.unwrap();
    assert_eq!(shown.len(), 1);
    assert!(shown[0].starts_with("uva.personen|a: ") && shown[0].contains("RELEASE count"), "{shown:?}");
    assert!(federation.text("SHOW PERMISSIONS FOR PURPOSE research").await.unwrap().is_empty());
    let error = federation.text("SHOW PERMISSIONS FOR PURPOSE education").await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_change_is_decided_by_the_stewards_site_and_taken_in() {
    let federation = Fixture::new();
    let mut revoked = v1::SignedAgreement { revoked: true, text: String::new(), ..agreement("a", 4, 1) };
    revoked.signature = key(1).sign(&agreement_bytes(&revoked));
    *federation.place("uva").changes.lock().unwrap() = vec![revoked];
    let sql = "REVOKE AGREEMENT a ON SITE uva";
    assert!(matches!(federation.run(sql).await, Ok(Outcome::Done { rows_affected: 0 })));
    let token = federation.caller("analyst").identity.token.clone();
    assert_eq!(*federation.place("uva").statements.lock().unwrap(), [(sql.to_owned(), token)]);
    assert!(federation.text("SHOW AGREEMENTS").await.unwrap().is_empty());

    let unknown = federation.run("REVOKE AGREEMENT a ON SITE nowhere").await.err().unwrap();
    assert_eq!(unknown.code, Code::UnknownName);
    assert_eq!(federation.run("REVOKE AGREEMENT a ON SITE surf").await.err().unwrap().code, Code::UnknownName);
    federation.lose("vu");
    assert_eq!(federation.run("REVOKE AGREEMENT a ON SITE vu").await.err().unwrap().code, Code::SiteUnavailable);
}

#[tokio::test]
async fn statements_are_described_without_being_run() {
    let federation = Fixture::new();
    let caller = federation.caller("analyst");
    let describe = async |sql: &str| federation.engine.prepare(&caller, sql).await;
    let query = describe("SELECT n FROM wages.personen WHERE n = $1").await.unwrap();
    assert_eq!((query.kind, query.schema, query.parameters.fields().len()), (StatementKind::Query, columns(), 2));
    for sql in ["SET dynamos.purpose = x", "REVOKE AGREEMENT a ON SITE uva"] {
        let prepared = describe(sql).await.unwrap();
        assert_eq!((prepared.kind, prepared.schema.fields().len()), (StatementKind::Update, 0), "{sql}");
    }
    for sql in ["SHOW AGREEMENTS", "SHOW PERMISSIONS", "SHOW DECISIONS", "EXPLAIN POLICY SELECT 1"] {
        let prepared = describe(sql).await.unwrap();
        let Ok(Outcome::Rows { schema, .. }) = federation.run(sql).await else { panic!("`{sql}` answers with rows") };
        assert_eq!((prepared.kind, prepared.schema), (StatementKind::Query, schema), "{sql}");
    }
    assert!(federation.place("uva").statements.lock().unwrap().is_empty());
    assert_eq!(describe("DROP TABLE x").await.unwrap_err().code, Code::Syntax);
}

#[tokio::test]
async fn only_tokens_of_known_organisations_are_accepted_and_errors_do_not_repeat_them() {
    let federation = Fixture::new();
    let token = federation.caller("analyst").identity.token.clone();
    let tampered = token.replace('.', ".A");
    let error = federation.engine.authenticate(&tampered).unwrap_err();
    assert_eq!((error.code, error.message.contains(&tampered)), (Code::Unauthenticated, false));
}

#[tokio::test]
async fn tables_of_a_site_stand_in_its_catalog_and_federated_ones_in_none() {
    let federation = Fixture::new();
    let tables = federation.engine.tables(&federation.caller("analyst")).unwrap();
    let catalogs: Vec<_> = tables.iter().map(|table| table.catalog.as_deref()).collect();
    assert_eq!(catalogs, [None, Some("uva"), None, None, None], "the last are the system's own");
}
