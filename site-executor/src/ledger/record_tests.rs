//! What a steward has on record of what it gave, and of its agreements.

use arrow::datatypes::DataType;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{cast, col};
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::{FragmentId, QueryId};
use dynamos_proto::record::RecordFile;
use dynamos_proto::sign::{agreement_bytes, sha256_hex};
use dynamos_proto::status::Code;
use dynamos_proto::v1::SignedAgreement;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::Executor;
use crate::testing::*;
use crate::tests::average_by_grade;

const ROWS: &str = "1,a,100\n2,a,200\n3,b,300\n";

/// What uva makes of its rows, read at the coordinator.
fn straight(federation: &Federation, query: &str, rows: LogicalPlan) -> FragmentGraph {
    let root = scan(&Leaf::Exchange(FragmentId(1)), rows.schema().inner().clone()).build().unwrap();
    let fragments = vec![fragment(0, "coordinator", None, root), fragment(1, "uva", Some(0), rows)];
    federation.graph(query, fragments, Vec::new())
}

/// The records of this kind at uva.
fn of_kind(federation: &Federation, kind: &str) -> Vec<Value> {
    federation.all_records("uva").into_iter().filter(|record| record["event"] == kind).collect()
}

/// The one record of what uva gave in a query.
fn given(federation: &Federation, query: &QueryId) -> Value {
    let mut given = of_kind(federation, "given");
    given.retain(|record| record["query_id"] == query.as_str());
    assert_eq!(given.len(), 1, "{given:?}");
    assert!(given[0]["at"].is_string());
    given.remove(0)
}

/// Where rows went, how many, and how they ended.
fn said(given: &Value) -> [Value; 4] {
    ["to_place", "rows", "outcome", "code"].map(|name| given[name].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_is_on_record_before_the_reader_sees_the_end() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let graph = straight(&federation, "q1", scan_persons("uva").build().unwrap());
    federation.submit(&graph).await;
    let mut rows = federation.coordinator.open_root(&graph.query).unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 3);
    assert!(rows.next().await.is_none());
    let whole = given(&federation, &graph.query);
    assert_eq!(said(&whole), [json!("coordinator"), json!(3), json!("ended"), Value::Null]);
    assert_eq!((&whole["attempt"], &whole["fragment"]), (&json!(0), &json!("f1")));
    // Two numbers of eight bytes and a letter for each row, at least.
    assert!(whole["bytes"].as_u64().unwrap() >= 3 * 17, "{whole}");

    // Each steward has its own on record; a place that passes them on has none, and the steward says that it went there.
    let graph = average_by_grade(&federation, "q2", 1);
    federation.submit(&graph).await;
    federation.rows(&graph).await.unwrap();
    assert_eq!(said(&given(&federation, &graph.query))[0], json!("surf"));
    for (place, records) in [("vu", 1), ("surf", 0)] {
        let given = federation.records(place).into_iter().filter(|record| record["event"] == "given").count();
        assert_eq!(given, records, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_or_is_cancelled_is_on_record_as_such() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let number = cast(col("grade"), DataType::Int64).alias("number");
    let graph = straight(&federation, "q1", scan_persons("uva").project(vec![number]).unwrap().build().unwrap());
    federation.submit(&graph).await;
    assert_eq!(federation.rows(&graph).await.unwrap_err().code, Code::DataError);
    let failed = said(&given(&federation, &graph.query));
    assert_eq!(failed, [json!("coordinator"), json!(0), json!("failed"), json!("DATA_ERROR")]);

    // Of a revoked agreement's query nothing was given; the reader is told once that is on record.
    let graph = straight(&federation, "q2", scan_persons("uva").build().unwrap());
    federation.submit(&graph).await;
    let uva = federation.executor("uva");
    let hash = uva.place().queries.get(&graph.query).unwrap().hash.clone();
    federation.lend("uva", "coordinator", &graph.query, &hash);
    let ticket = dynamos_proto::v1::ExchangeTicket { query_id: "q2".into(), fragment: 1, graph_hash: hash };
    let mut rows = uva.open(&ticket, &"coordinator".into()).unwrap();
    uva.place().queries.halt(
        &uva.place().queries.get(&graph.query).unwrap(),
        dynamos_proto::status::ServiceError::new(Code::StaleBasis, "over"),
    );
    assert_eq!(rows.next().await.unwrap().unwrap_err().code, Code::StaleBasis);
    let halted = said(&given(&federation, &graph.query));
    assert_eq!(halted, [json!("coordinator"), json!(0), json!("failed"), json!("STALE_BASIS")]);
    assert!(rows.next().await.is_none());
    drop(rows);
    assert_eq!(of_kind(&federation, "given").len(), 2, "each has one record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_early_is_on_record_with_what_it_got() {
    const MANY: u64 = 150_000;
    // More than all connections hold by themselves.
    let many: String = (0..MANY).map(|id| format!("{id},{:g<150},1\n", "g")).collect();
    let federation = Federation::start([&many, ROWS], PLAIN).await;
    let graph = straight(&federation, "q1", scan_persons("uva").build().unwrap());
    federation.submit(&graph).await;
    let mut rows = federation.coordinator.open_root(&graph.query).unwrap();
    assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 8192);
    drop(rows);
    let recorded = async {
        // Nobody waits for this record; it is written when somebody looks after them.
        while of_kind(&federation, "given").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), recorded).await.unwrap();
    let left = given(&federation, &graph.query);
    let rows = left["rows"].as_u64().unwrap();
    assert!((8192..MANY).contains(&rows), "{left}");
    assert_eq!(left["outcome"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_end_cannot_be_recorded_do_not_end_well() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let graph = straight(&federation, "q1", scan_persons("uva").build().unwrap());
    federation.submit(&graph).await;
    federation.executor("uva").place().ledger.break_off();
    let error = federation.rows(&graph).await.unwrap_err();
    assert_eq!(error.code, Code::Internal, "{error}");
    assert!(error.message.contains("site `uva` cannot record what it did"), "{error}");
}

fn agreement(verb: &str, name: &str, minimum: u32) -> String {
    let clauses = PLAIN.replace("MINIMUM 2", &format!("MINIMUM {minimum}"));
    format!("{verb} AGREEMENT {name} ON SITE uva FOR ANYONE PURPOSE statistics AS ({clauses})")
}

/// What the record of a change says, without its moment.
fn change_of(record: &Value) -> Value {
    let mut change = record.clone();
    change.as_object_mut().unwrap().remove("at").unwrap();
    change.as_object_mut().unwrap().remove("event").unwrap();
    change
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_of_an_agreement_can_be_looked_up_with_who_made_it() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let uva = federation.executor("uva");
    for statement in [agreement("CREATE", "b", 2), agreement("ALTER", "b", 3), "REVOKE AGREEMENT b ON SITE uva".into()]
    {
        uva.change_agreement(statement, token("uva")).await.unwrap();
    }
    let records = of_kind(&federation, "agreement");
    let [found, created, altered, revoked] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&found["change"], &found["agreement"], &found["epoch"]), (&json!("found"), &json!("a"), &json!(1)));
    assert!(found["text"].as_str().unwrap().contains("MINIMUM 2") && found["requester"].is_null(), "{found}");
    for (record, change, epoch, minimum) in [(created, "create", 1, "MINIMUM 2"), (altered, "alter", 2, "MINIMUM 3")] {
        let text = record["text"].as_str().unwrap();
        assert!(text.starts_with("CREATE AGREEMENT b") && text.contains(minimum), "{record}");
        let expected = json!({
            "change": change, "agreement": "b", "epoch": epoch, "text": text, "text_sha256": sha256_hex(text.as_bytes()),
            "requester": "ann@uva.nl", "organisation": "uva",
        });
        assert_eq!(change_of(record), expected);
    }
    let expected = json!({
        "change": "revoke", "agreement": "b", "epoch": 3, "text_sha256": altered["text_sha256"],
        "requester": "ann@uva.nl", "organisation": "uva",
    });
    assert_eq!(change_of(revoked), expected);
    assert!(of_kind(&federation, "permit").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_refused_is_on_record_with_who_asked_and_why() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let uva = federation.executor("uva");
    let long =
        format!("{}, ROWS WHERE grade <> '{}'", &agreement("CREATE", "b", 2).trim_end_matches(')'), "g".repeat(20_000));
    for (statement, token, code, change, of) in [
        (agreement("CREATE", "b", 2), token("vu"), Code::Denied, json!("create"), json!("vu")),
        (agreement("CREATE", "a", 2), token("uva"), Code::InvalidArgument, json!("create"), json!("uva")),
        (agreement("ALTER", "b", 2), token("uva"), Code::UnknownName, json!("alter"), json!("uva")),
        ("REVOKE AGREEMENT b ON SITE uva".into(), token("uva"), Code::UnknownName, json!("revoke"), json!("uva")),
        (long + ")", token("vu"), Code::Denied, json!("create"), json!("vu")),
        ("CREATE AGREEMENT".into(), token("uva"), Code::Syntax, Value::Null, json!("uva")),
        (agreement("ALTER", "a", 9), "nobody".into(), Code::Unauthenticated, json!("alter"), Value::Null),
    ] {
        let before = of_kind(&federation, "agreement").len();
        let error = uva.change_agreement(statement.clone(), token).await.unwrap_err();
        assert_eq!(error.code, code, "{statement}: {error}");
        let records = of_kind(&federation, "agreement");
        assert_eq!(records.len(), before + 1, "{statement}");
        let last = &records[before];
        assert_eq!((&last["change"], &last["organisation"], &last["epoch"]), (&change, &of, &Value::Null), "{last}");
        assert_eq!((&last["code"], &last["reason"]), (&json!(code.as_str()), &json!(error.message)));
        let kept = last["text"].is_string();
        assert_eq!(kept, (change == "create" || change == "alter") && statement.len() < 16 << 10, "{last}");
        assert_eq!(last["text_sha256"].is_string(), change != "revoke", "{last}");
    }
    assert_eq!(uva.publication().1.len(), 1, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_somebody_brings_is_on_record_with_the_key_that_signed() {
    let federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let uva = federation.executor("uva");
    let held = uva.publication().1.remove(0);
    let mut good = SignedAgreement { epoch: 2, revoked: true, ..held };
    good.signature = key_of("uva").sign(&agreement_bytes(&good));
    let forged = SignedAgreement { signature: key_of("vu").sign(&agreement_bytes(&good)), ..good.clone() };
    assert_eq!(uva.revoke(forged).await.unwrap_err().code, Code::SiteRefused);
    uva.revoke(good.clone()).await.unwrap();
    uva.revoke(good).await.unwrap();
    let records = of_kind(&federation, "agreement");
    let [_, refused, revoked] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&refused["change"], &refused["code"]), (&json!("revoke"), &json!("SITE_REFUSED")));
    assert!(refused["signed_by"].is_null() && refused["epoch"].is_null(), "{refused}");
    assert_eq!((&revoked["change"], &revoked["epoch"]), (&json!("revoke"), &json!(2)));
    assert_eq!(revoked["signed_by"], key_of("uva").public().to_text());
    assert!(revoked["requester"].is_null(), "{revoked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_without_a_record_gets_one_when_the_place_begins() {
    let mut federation = Federation::start([ROWS, ROWS], PLAIN).await;
    let uva = federation.executor("uva").clone();
    uva.change_agreement(agreement("CREATE", "b", 2), token("uva")).await.unwrap();
    uva.change_agreement("REVOKE AGREEMENT b ON SITE uva".into(), token("uva")).await.unwrap();
    // It cannot be recorded, and is in force.
    uva.place().ledger.break_off();
    let error = uva.change_agreement(agreement("ALTER", "a", 3), token("uva")).await.unwrap_err();
    assert_eq!(error.code, Code::Internal);
    assert!(error.message.starts_with("agreement `a` is in force in epoch 2, but site `uva` cannot"), "{error}");
    drop(uva);
    let config = federation.steward("uva", ROWS, PLAIN);
    for _ in 0..2 {
        federation.stop("uva");
        drop(Executor::start(&config).await.unwrap());
        let records = of_kind(&federation, "agreement");
        let last = records.last().unwrap();
        let said = ["change", "agreement", "epoch"].map(|name| last[name].clone());
        assert_eq!((records.len(), said), (4, [json!("found"), json!("a"), json!(2)]), "once");
        assert!(last["text"].as_str().unwrap().contains("MINIMUM 3"), "{last}");
    }
    // A place from before agreements were on record.
    std::fs::remove_file(federation.folder.path().join("uva.state/ledger.log")).unwrap();
    drop(Executor::start(&config).await.unwrap());
    let records = of_kind(&federation, "agreement");
    let said: Vec<_> = records.iter().map(|one| (&one["change"], &one["agreement"], &one["epoch"])).collect();
    assert_eq!(said, [(&json!("found"), &json!("a"), &json!(2)), (&json!("found_revoked"), &json!("b"), &json!(2))]);
}

/// A file as releases before this one wrote it: edges are two numbers and clauses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_of_an_earlier_release_is_read_and_goes_on() {
    let budget = format!("{PLAIN}, BUDGET 1 QUERIES PER YEAR");
    let mut federation = Federation::start([ROWS, ROWS], &budget).await;
    federation.stop("uva");
    let path = federation.folder.path().join("uva.state/ledger.log");
    std::fs::remove_file(&path).unwrap();
    let at = dynamos_planner::policy::UtcMillis(now_ms()).to_string();
    let file = RecordFile::open(&path, |_: Value| ()).unwrap();
    let edge = json!({"from": "f2", "to": "f1", "clauses": ["uva: agreement `a` epoch 1, clause 1"]});
    let charge = json!({"agreement": "a", "organisation": "uva", "points": 1, "at": at});
    let permit = json!({
        "event": "permit", "at": at, "graph_sha256": "00", "query_id": "old", "attempt": 0, "purpose": "statistics",
        "requester": "ann@uva.nl", "organisation": "uva", "edges": [edge], "charge": charge,
    });
    let refusal = json!({
        "event": "refusal", "at": at, "graph_sha256": "00", "query_id": "old", "code": "SITE_REFUSED", "reason": "edge",
    });
    file.append(&permit).unwrap();
    file.append(&refusal).unwrap();
    drop(file);
    let config = federation.steward("uva", ROWS, &budget);
    let uva = Executor::start_with(&config, Box::new(AllowAll)).await.unwrap();
    let refused = uva.submit(federation.permit(&average_by_grade(&federation, "q1", 1))).await.unwrap_err();
    assert_eq!(refused.code, Code::BudgetSpent, "{refused}");
    drop(uva);
    let events: Vec<_> = federation.all_records("uva").iter().map(|one| one["event"].clone()).collect();
    assert_eq!(events, ["permit", "refusal", "agreement", "refusal"]);
}
