//! What a steward writes down of the edges that it allows, with the check in use: a coordinator can ask only in a way that
//! leaves this trace.

use serde_json::{Value, json};

use super::fixture::{Base, steward, submit_everywhere};
use crate::testing::Federation;

/// The edges in the record of the query's permit at a place.
fn edges(federation: &Federation, place: &str, query: &str) -> Value {
    let mut records = federation.records(place).into_iter();
    let permit = records.find(|record| record["event"] == "permit" && record["query_id"] == query);
    permit.unwrap_or_else(|| panic!("{place} has no permit of {query}"))["edges"].take()
}

fn cite(steward: &str, clause: u32) -> String {
    format!("{steward}: agreement `a` epoch 1, clause {clause}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_edge_that_carries_a_stewards_data_is_on_record_in_words() {
    let federation = Federation::start_checked(&steward).await;
    for (base, stewards, what, clause, released_by) in [
        (
            Base::Partials,
            ["uva", "vu"].as_slice(),
            "partials of r0 over rows of uva.wages.persons (grade, id, salary)",
            2,
            1,
        ),
        (Base::Rows, ["uva"].as_slice(), "rows of uva.wages.persons (grade, id, salary)", 4, 1),
        (Base::Hashes, ["uva", "vu"].as_slice(), "rows of uva.wages.links (hash(bsn), kind)", 15, 14),
    ] {
        let query = format!("{base:?}");
        let graph = base.graph(&federation, &query);
        submit_everywhere(&federation, graph.clone()).await;
        let edges = edges(&federation, "uva", &query);
        let edges = edges.as_array().unwrap();
        let of = |from: &str| {
            let mut found = edges.iter().filter(|edge| edge["from"] == from);
            let edge = found.next().unwrap_or_else(|| panic!("{base:?}: {from}: {edges:?}"));
            assert!(found.next().is_none(), "{base:?}: {from}: {edges:?}");
            edge
        };
        let leaves = json!({
            "from": "f2", "from_place": "uva", "to": "f1", "to_place": "surf",
            "what": what, "clauses": [cite("uva", clause)],
        });
        assert_eq!(of("f2"), &leaves, "{base:?}");
        // What others make of it and pass on is the steward's data, too.
        for (from, place, to, to_place) in
            [("f1", "surf", json!("f0"), json!("coordinator")), ("f0", "coordinator", Value::Null, Value::Null)]
        {
            let edge = of(from);
            let way = ["from_place", "to", "to_place", "what"].map(|name| edge[name].clone());
            assert_eq!(way, [json!(place), to, to_place, json!("released groups of r0")], "{base:?}");
            let clauses = edge["clauses"].as_array().unwrap();
            assert!(stewards.iter().all(|one| clauses.contains(&json!(cite(one, released_by)))), "{base:?}: {edge}");
        }
        // Of another steward's rows it says nothing.
        assert_eq!(edges.len(), 3, "{base:?}: {edges:?}");
    }
    let graph = Base::JoinedRows.graph(&federation, "joined");
    submit_everywhere(&federation, graph).await;
    let edges = edges(&federation, "uva", "joined");
    let what = edges[1]["what"].as_str().unwrap();
    assert!(what.starts_with("released rows of uva.wages.contracts ⋈ wages.persons ("), "{edges}");
    assert_eq!(edges[1]["to_place"], "coordinator");
}
