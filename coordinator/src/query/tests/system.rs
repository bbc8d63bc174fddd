//! The system's tables: SQL over them, who sees what, and what they are not.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use dynamos_proto::sign::agreement_bytes;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;
use futures::{StreamExt, TryStreamExt};

use super::fixture::{Answer, Fixture, columns};
use crate::frontend::{Caller, Engine, Outcome, TableKind};
use crate::query::Refusal;
use crate::registry::tests::{agreement, key};

async fn asked(
    federation: &Fixture,
    caller: &Caller,
    sql: &str,
    parameters: Vec<ScalarValue>,
) -> Result<Vec<String>, ServiceError> {
    let described = federation.engine.prepare(caller, sql).await?;
    let Outcome::Rows { schema, stream, .. } = federation.engine.run(caller, sql, parameters).await? else {
        panic!("`{sql}` answers with rows")
    };
    let columns = |schema: &SchemaRef| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    assert_eq!(columns(&described.schema), columns(&schema), "{sql}");
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let rows = batches.iter().flat_map(|batch| {
        (0..batch.num_rows()).map(move |row| {
            let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            cells.collect::<Vec<_>>().join("|")
        })
    });
    Ok(rows.collect())
}

async fn analyst(federation: &Fixture, sql: &str) -> Result<Vec<String>, ServiceError> {
    asked(federation, &federation.caller("analyst"), sql, vec![]).await
}

#[tokio::test]
async fn agreements_and_clauses_are_those_that_the_requester_may_see() {
    let federation = Fixture::new();
    let text = agreement("b", 1, 1).text.replace("ANYONE", "USER 'other@vu.nl'");
    let mut private = v1::SignedAgreement { text, ..agreement("b", 1, 1) };
    private.signature = key(1).sign(&agreement_bytes(&private));
    federation.registry.update_agreements(&"uva".into(), &[private]).unwrap();
    for sql in [
        "SELECT steward, name, epoch, purposes, in_force FROM dynamos.agreements",
        "SELECT a.steward, a.name, c.epoch, a.purposes, c.in_force FROM dynamos.agreements a \
         JOIN dynamos.clauses c ON a.steward = c.steward AND a.name = c.agreement",
        "WITH mine AS (SELECT * FROM dynamos.agreements WHERE valid_until IS NULL) \
         SELECT steward, name, epoch, purposes, in_force FROM mine",
    ] {
        assert_eq!(analyst(&federation, sql).await.unwrap(), ["uva|a|3|statistics|true"], "{sql}");
    }
    let sql = "SELECT number, kind, tables, text FROM dynamos.clauses";
    let clause = "1|RELEASE|personen|RELEASE count OF * FROM personen MINIMUM 10 DISTINCT unieknr";
    assert_eq!(analyst(&federation, sql).await.unwrap(), [clause]);
    // The steward sees what it has agreed to with others, and that it is not in force for itself.
    let sql = "SELECT name, in_force FROM dynamos.agreements ORDER BY name";
    let steward = federation.caller("steward");
    assert_eq!(asked(&federation, &steward, sql, vec![]).await.unwrap(), ["a|true", "b|false"]);
    let mut elsewhere = federation.caller("analyst");
    elsewhere.settings.options.insert("purpose".into(), "research".into());
    let sql = "SELECT count(*), count(*) FILTER (WHERE in_force) FROM dynamos.clauses";
    assert_eq!(asked(&federation, &elsewhere, sql, vec![]).await.unwrap(), ["1|0"]);
}

#[tokio::test]
async fn decisions_are_the_requesters_own() {
    let federation = Fixture::new();
    drop(federation.root.feed(columns()));
    let (query, stream) = federation.rows().await.unwrap();
    assert!(stream.collect::<Vec<_>>().await.is_empty());
    let refusal = Refusal { reason: "no `x = 7`".into(), reasons: vec![], hint: None };
    *federation.planner.answer.lock().unwrap() = Answer::Deny(refusal);
    federation.rows().await.err().unwrap();
    let sql = "SELECT verdict, outcome, rows_at_most, reason FROM dynamos.decisions ORDER BY verdict";
    let rows = analyst(&federation, sql).await.unwrap();
    assert_eq!(rows, ["denied|DENIED||no `x = ?`", "permitted|FINISHED|1024|"]);
    let sql = "SELECT query, at FROM dynamos.decisions WHERE outcome = $1";
    let finished = vec![ScalarValue::from("FINISHED")];
    let rows = asked(&federation, &federation.caller("analyst"), sql, finished).await.unwrap();
    assert_eq!(rows, [format!("{query}|2026-01-01T00:00:00Z")]);
    let sql = "SELECT requester, organisation, statement, length(statement_sha256), length(graph_sha256), \
               catalog_version > 0, released_nothing FROM dynamos.decisions ORDER BY verdict";
    let rows = analyst(&federation, sql).await.unwrap();
    let who_and_what = "a@uva.nl|uva|select n from wages . personen|64";
    assert_eq!(rows, [format!("{who_and_what}||true|"), format!("{who_and_what}|64|true|")]);
    let mut other = federation.caller("analyst");
    let identity = crate::frontend::Identity { user: "b@uva.nl".into(), ..(*other.identity).clone() };
    other.identity = std::sync::Arc::new(identity);
    let sql = "SELECT count(*) FROM dynamos.decisions";
    assert_eq!(asked(&federation, &other, sql, vec![]).await.unwrap(), ["0"]);
    assert_eq!(federation.decisions().lines().count(), 3, "to ask about decisions is none");
}

#[tokio::test]
async fn they_stand_alone_and_are_only_read() {
    let federation = Fixture::new();
    for (sql, code) in [
        ("SELECT * FROM dynamos.agreements, wages.personen", Code::Unsupported),
        ("SELECT * FROM wages.personen WHERE n IN (SELECT epoch FROM dynamos.agreements)", Code::Unsupported),
        ("SELECT * FROM dynamos.secrets", Code::UnknownName),
        ("SELECT secret FROM dynamos.agreements", Code::UnknownName),
        ("EXPLAIN ANALYZE SELECT * FROM dynamos.agreements", Code::Unsupported),
        ("DROP TABLE dynamos.agreements", Code::Syntax),
        ("INSERT INTO dynamos.agreements VALUES (1)", Code::Syntax),
    ] {
        let error = federation.run(sql).await.err().unwrap_or_else(|| panic!("`{sql}` runs"));
        assert_eq!(error.code, code, "{sql}: {}", error.message);
    }
    assert!(federation.planner.asked.lock().unwrap().is_empty(), "no site is concerned");
    let shown = analyst(&federation, "EXPLAIN SELECT name FROM dynamos.agreements").await.unwrap();
    assert!(shown[0] == "permitted" && shown.iter().any(|line| line.contains("dynamos.agreements")), "{shown:?}");
    let mut caller = federation.caller("analyst");
    caller.settings.options.insert("schema".into(), "dynamos".into());
    assert_eq!(asked(&federation, &caller, "SELECT name FROM agreements", vec![]).await.unwrap(), ["a"]);
}

#[tokio::test]
async fn they_are_listed_as_tables_of_the_system() {
    let federation = Fixture::new();
    let tables = federation.engine.tables(&federation.caller("analyst")).unwrap();
    let own: Vec<_> = tables.iter().filter(|table| table.kind == TableKind::SystemTable).collect();
    let names: Vec<_> = own.iter().map(|table| format!("{}.{}", table.schema, table.table)).collect();
    assert_eq!(names, ["dynamos.agreements", "dynamos.clauses", "dynamos.decisions"]);
    for table in own {
        let sql = format!("SELECT * FROM dynamos.{}", table.table);
        let prepared = federation.engine.prepare(&federation.caller("analyst"), &sql).await.unwrap();
        assert_eq!(prepared.schema, table.columns, "{sql}");
    }
}

#[tokio::test]
async fn an_endless_query_over_them_is_given_up() {
    let federation = Fixture::with_deadline(std::time::Duration::from_millis(200));
    let many = "WITH RECURSIVE n AS (SELECT epoch AS i FROM dynamos.agreements UNION ALL SELECT i + 1 FROM n) \
        SELECT count(*) FROM n";
    let code = federation.run(many).await.err().unwrap().code;
    assert!(matches!(code, Code::DeadlineExceeded | Code::ResourceExhausted), "{code}");
}
