//! The whole path of a permitted query: its forms on the way, what was compared, which place runs what, and the clause beside
//! every edge.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use super::lines::line;
use crate::cost::Cost;
use crate::fragment::{FragmentGraph, KeySet, ReleaseInput, ReleasePoint, ReleaseShape};
use crate::permit::{PermittedQuery, QueryPath};
use crate::policy::ProtectedPart;
use crate::wire::LeafTable;

/// The query's whole path, step by step. A step that changed nothing is left out.
pub fn explain(query: &PermittedQuery) -> String {
    let mut text = String::new();
    steps(&mut text, query.path());
    text.push_str("candidates\n");
    for candidate in query.candidates() {
        let chosen = if candidate.family == query.placement() { "  chosen" } else { "" };
        let cost = match candidate.cost {
            Some(Cost { ms, network_bytes }) => {
                format!("{ms:.1} ms, {} between places, estimated", bytes(network_bytes))
            }
            None => "no legal plan".to_owned(),
        };
        line(&mut text, 1, &format!("{:<16} {cost}{chosen}", candidate.family.as_str()));
    }
    fragments(&mut text, query.graph());
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

/// The forms before placement.
fn steps(text: &mut String, path: &QueryPath) {
    let mut shown = String::new();
    let mut step = |text: &mut String, name: &str, plan: &LogicalPlan, parts: &[ProtectedPart]| {
        let now = form(plan, parts);
        if now != shown {
            text.push_str(name);
            text.push('\n');
            text.push_str(&now);
            shown = now;
        }
    };
    let parts = path.compliant.parts();
    step(text, "bound", path.bound.plan(), &[]);
    step(text, "normal form", &path.normal, &[]);
    step(text, "compliant", path.compliant.plan(), parts);
    for (number, brought) in path.compliant.brought().iter().enumerate() {
        line(text, 1, &format!("$brought.b{number} = released, of"));
        plan(text, 2, &brought.plan);
    }
    // The protected parts are not optimised here, so they would only stand there twice.
    let optimized = form(&path.optimized, &[]);
    if optimized != form(path.compliant.plan(), &[]) {
        text.push_str("optimized\n");
        text.push_str(&optimized);
    }
}

/// A plan with the stewards of its tables, and the protected parts below it.
fn form(shown: &LogicalPlan, parts: &[ProtectedPart]) -> String {
    let mut text = String::new();
    plan(&mut text, 1, shown);
    for table in tables(shown) {
        line(&mut text, 1, &table);
    }
    for part in parts {
        line(&mut text, 1, &format!("{} = {}, of", part.id, shape(&part.shape)));
        plan(&mut text, 2, &part.input);
        for table in tables(&part.input) {
            line(&mut text, 2, &table);
        }
        for clause in &part.clauses {
            let (agreement, epoch) = (&clause.agreement.agreement, clause.agreement.epoch);
            line(&mut text, 2, &format!("by {}.{agreement}, epoch {epoch}, clause {}", clause.steward, clause.clause));
        }
    }
    text
}

/// The tables that SQL was bound to, with the stewards whose rows are asked for.
fn tables(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut tables = BTreeSet::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = LeafTable::bound_to(scan)
        {
            let stewards: Vec<String> = table.stewards.iter().map(ToString::to_string).collect();
            tables.insert(format!("{} @ {}", table.title(), stewards.join(", ")));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the walk itself does not fail");
    tables
}

fn fragments(text: &mut String, graph: &FragmentGraph) {
    text.push_str("fragments\n");
    for fragment in &graph.fragments {
        let reader = fragment.consumer.map_or_else(|| "requester".to_owned(), |id| id.to_string());
        let partial = fragment.partial_of.map(|id| format!(", as partials of {id}")).unwrap_or_default();
        line(text, 1, &format!("{} at {} → {reader}{partial}", fragment.id, fragment.place));
        plan(text, 2, &fragment.plan);
    }
    for point in &graph.releases {
        line(text, 1, &release(point));
        if let ReleaseInput::Complete(rows) = &point.input {
            plan(text, 2, rows);
        }
    }
}

fn release(point: &ReleasePoint) -> String {
    let input = match &point.input {
        ReleaseInput::Complete(_) => "rows".to_owned(),
        ReleaseInput::Merge(senders) => {
            let senders: Vec<String> = senders.iter().map(ToString::to_string).collect();
            format!("partials from {}", senders.join(", "))
        }
    };
    format!("release {} in {}: {}, of {input}", point.id, point.fragment, shape(&point.shape))
}

/// What a release point computes over its input's columns.
fn shape(shape: &ReleaseShape) -> String {
    let values: Vec<String> = shape
        .aggregates
        .iter()
        .map(|value| {
            let argument = value.argument.map_or_else(|| "*".to_owned(), |index| format!("c{index}"));
            let distinct = if value.distinct { "DISTINCT " } else { "" };
            let filter = value.filter.map(|index| format!(" where c{index}")).unwrap_or_default();
            format!("{}({distinct}{argument}){filter}", value.function)
        })
        .collect();
    let columns = |keys: KeySet| keys.keys().map(|key| format!("c{key}")).collect::<Vec<_>>().join(", ");
    let keys = match shape.sets.as_slice() {
        [] => (0..shape.keys).map(|index| format!("c{index}")).collect::<Vec<_>>().join(", "),
        sets => sets.iter().map(|set| format!("({})", columns(*set))).collect::<Vec<_>>().join(", "),
    };
    let entities: Vec<String> = shape.entities.iter().map(|key| format!("{} in c{}", key.name, key.column)).collect();
    let sets = if shape.sets.is_empty() { "" } else { "grouping sets " };
    format!("{} by {sets}({keys}), entities {}", values.join(", "), entities.join(", "))
}

/// Bytes in the largest unit that gives at least one.
fn bytes(count: f64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut shown, mut unit) = (count, "B");
    for larger in units {
        if shown < 1024.0 {
            break;
        }
        (shown, unit) = (shown / 1024.0, larger);
    }
    if unit == "B" { format!("{shown:.0} B") } else { format!("{shown:.1} {unit}") }
}

fn plan(text: &mut String, depth: usize, shown: &LogicalPlan) {
    for shown in shown.display_indent().to_string().lines() {
        line(text, depth, shown);
    }
}
