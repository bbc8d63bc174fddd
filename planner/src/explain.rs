//! A permitted query for people: what was compared, which place runs what, and the clause beside every edge. One printer
//! serves EXPLAIN, golden files and the demo.

use std::fmt::Write;

use crate::fragment::{ReleaseInput, ReleasePoint};
use crate::permit::PermittedQuery;

/// The query's whole path after binding.
pub fn explain(query: &PermittedQuery) -> String {
    let mut text = String::from("candidates\n");
    for candidate in query.candidates() {
        let chosen = if candidate.family == query.placement() { "  chosen" } else { "" };
        let cost = match candidate.cost_ms {
            Some(cost_ms) => format!("{cost_ms:.1} ms estimated"),
            None => "no legal plan".to_owned(),
        };
        line(&mut text, 1, &format!("{:<16} {cost}{chosen}", candidate.family.as_str()));
    }
    text.push_str("fragments\n");
    for fragment in &query.graph().fragments {
        let reader = fragment.consumer.map_or_else(|| "requester".to_owned(), |id| id.to_string());
        let partial = fragment.partial_of.map(|id| format!(", as partials of {id}")).unwrap_or_default();
        line(&mut text, 1, &format!("{} at {} → {reader}{partial}", fragment.id, fragment.place));
        plan(&mut text, &fragment.plan.display_indent().to_string());
    }
    for point in &query.graph().releases {
        line(&mut text, 1, &release(point));
        if let ReleaseInput::Complete(rows) = &point.input {
            plan(&mut text, &rows.display_indent().to_string());
        }
    }
    text.push_str("edges\n");
    for verdict in query.verdicts() {
        let reader = verdict.to.map_or_else(|| "requester".to_owned(), |id| id.to_string());
        line(&mut text, 1, &format!("{} → {reader}: {}", verdict.from, verdict.what));
        for clause in &verdict.clauses {
            line(&mut text, 2, &format!("by {clause}"));
        }
    }
    text
}

fn release(point: &ReleasePoint) -> String {
    let values: Vec<String> = point
        .shape
        .aggregates
        .iter()
        .map(|value| {
            let argument = value.argument.map_or_else(|| "*".to_owned(), |index| format!("c{index}"));
            let distinct = if value.distinct { "DISTINCT " } else { "" };
            let filter = value.filter.map(|index| format!(" where c{index}")).unwrap_or_default();
            format!("{}({distinct}{argument}){filter}", value.function)
        })
        .collect();
    let keys: Vec<String> = (0..point.shape.keys).map(|index| format!("c{index}")).collect();
    let entities: Vec<String> =
        point.shape.entities.iter().map(|key| format!("{} in c{}", key.name, key.column)).collect();
    let input = match &point.input {
        ReleaseInput::Complete(_) => "rows".to_owned(),
        ReleaseInput::Merge(senders) => {
            let senders: Vec<String> = senders.iter().map(ToString::to_string).collect();
            format!("partials from {}", senders.join(", "))
        }
    };
    format!(
        "release {} in {}: {} by ({}), entities {}, of {input}",
        point.id,
        point.fragment,
        values.join(", "),
        keys.join(", "),
        entities.join(", ")
    )
}

fn plan(text: &mut String, shown: &str) {
    for shown in shown.lines() {
        line(text, 2, shown);
    }
}

fn line(text: &mut String, depth: usize, shown: &str) {
    // Writing to a string does not fail.
    let written = writeln!(text, "{:indent$}{shown}", "", indent = depth * 2);
    debug_assert!(written.is_ok(), "a string takes any text");
}
