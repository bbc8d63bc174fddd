//! The stages of a query as spans in the logs of all places, found by the query's id.

use serde_json::Value;

use dynamos_cli::demo::rows;
use dynamos_cli::federation::query;

use crate::archive::{ARCHIVES, READER, SUMS, archive, sums};
use crate::roles::{Roles, STOP_MAX, until};

/// The paths of the spans of one query that have ended at a place, in order of their ends, each with the innermost span. Spans that
/// end outside of the one around them carry the query's id themselves.
fn ended(roles: &Roles, place: &str, id: &str) -> Vec<(String, Value)> {
    let lines = roles.lines(place).into_iter().filter(|line| line.fields["message"] == "close");
    let paths = lines.filter_map(|mut line| {
        let first = line.spans.iter().position(|span| span["query_id"] == id && span["name"] != "statement")?;
        let names: Vec<&str> = line.spans.iter().skip(first).map(|span| span["name"].as_str().unwrap()).collect();
        Some((names.join(" > "), line.spans.pop().unwrap()))
    });
    paths.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_of_a_query_is_a_span_and_one_id_finds_them_at_all_places() {
    let roles = Roles::start_logging("info,dynamos_planner=debug", archive, |_| ()).await;
    let mut client = roles.client(READER, SUMS).await;
    let before = roles.permitted().len();
    assert_eq!(rows(&query(&mut client, SUMS).await.unwrap()).unwrap(), sums());
    let id = roles.permitted()[before].clone();
    let coordinator = until("an end of the query's span", STOP_MAX, || {
        let spans = ended(&roles, "coordinator", &id);
        spans.iter().any(|(path, _)| path == "query").then_some(spans)
    })
    .await;
    let mut paths: Vec<&str> = coordinator.iter().map(|(path, _)| path.as_str()).collect();
    let planning = |path: &&str| path.contains("bind") || path.contains("cost") || path.contains("fragment");
    assert_eq!(paths.iter().copied().find(planning), Some("query > bind"), "names are resolved first: {paths:?}");
    paths.sort_unstable();
    paths.dedup();
    let all = [
        "exchange",
        "query",
        "query > bind",
        "query > dispatch",
        "query > enumerate",
        "query > enumerate > cost",
        "query > fragment",
        "query > policy_rewrite",
        "stage",
    ];
    assert_eq!(paths, all);
    let lines = roles.lines("coordinator");
    let ended_in =
        lines.iter().find(|line| line.fields["message"] == "fragment ended" && line.fields["query_id"] == id);
    let around: Vec<&str> = ended_in.unwrap().spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(around, ["flight", "statement", "query", "stage"]);
    let (_, query) = coordinator.iter().find(|(path, _)| path == "query").unwrap();
    let basis = query["basis"].as_str().unwrap();
    for (place, agreement) in ARCHIVES.map(|place| (place, format!(" {place}/"))) {
        assert!(basis.starts_with("catalog@") && basis.contains(&agreement), "{basis}");
        let spans = until("an end of the site's stage", STOP_MAX, || {
            let spans = ended(&roles, place, &id);
            spans.iter().any(|(path, _)| path == "stage").then_some(spans)
        })
        .await;
        let (_, stage) = spans.iter().find(|(path, _)| path == "stage").unwrap();
        assert_eq!((&stage["site_id"], &stage["basis"]), (&Value::from(place), &query["basis"]), "{stage}");
        assert!(stage["fragment_id"].is_string(), "{stage}");
    }
    roles.stop().await;
}
