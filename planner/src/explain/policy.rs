//! The report of EXPLAIN POLICY on a query that may run: what leaves each steward, to whom, in what form, by which clause.
//! It is read by the requester, too, so of agreements it tells only what a requester may see: clauses of those that apply.

use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use dynamos_proto::ids::{FragmentId, SiteId};

use super::edges::{Edges, Kind, Line};
use super::limits::clause;
use super::lines::{line, listed, whom};
use crate::fragment::FragmentGraph;
use crate::policy::{EdgeVerdict, HeldAgreement, Policy};

/// The report on a query that was checked, whose answer has these columns.
pub fn explain_policy(graph: &FragmentGraph, verdicts: &[EdgeVerdict], answer: &Schema, policy: &Policy<'_>) -> String {
    let mut text = format!("Allowed for {}.\n", whom(policy));
    let governing = graph.governing.iter();
    let governing: Vec<String> = governing
        .map(|(steward, governing)| format!("{} of {steward}, epoch {}", governing.agreement, governing.epoch))
        .collect();
    match governing.as_slice() {
        [] => line(&mut text, 0, "No steward's data is in it."),
        governing => line(&mut text, 0, &format!("By agreement: {}.", governing.join("; "))),
    }
    let edges = Edges { graph, verdicts, policy };
    for (steward, governing) in &graph.governing {
        text.push('\n');
        let held = policy.agreements.get(steward, &governing.agreement);
        match held.filter(|held| held.epoch == governing.epoch) {
            Some(held) => of_steward(&mut text, &edges, steward, held),
            None => line(&mut text, 0, &format!("{steward}: its agreement has changed since; ask again")),
        }
    }
    text.push('\n');
    line(&mut text, 0, &format!("The requester gets: {}", answer_columns(&edges, answer)));
    text
}

/// One steward's part.
fn of_steward(text: &mut String, edges: &Edges<'_>, steward: &SiteId, held: &HeldAgreement) {
    let lines = edges.of(steward, held);
    line(text, 0, &format!("{steward}: {}", summary(&lines)));
    let (mut shown, mut before) = (BTreeSet::new(), "");
    for (edge, times) in counted(&lines) {
        let times = if times > 1 { format!(", {times} times") } else { String::new() };
        let form = if edge.form == before { "the same" } else { edge.form.as_str() };
        line(text, 1, &format!("{}{times}: {form}", edge.path));
        let (new, known): (Vec<_>, Vec<_>) = edge.clauses.iter().partition(|clause| shown.insert(clause.number));
        for new in new {
            line(text, 2, &format!("by {}", clause(new)));
        }
        let known: Vec<String> = known.into_iter().map(|clause| clause.number.to_string()).collect();
        match known.as_slice() {
            [] => {}
            [only] => line(text, 2, &format!("by clause {only}, above")),
            several => line(text, 2, &format!("by clauses {}, above", listed(several))),
        }
        before = &edge.form;
    }
    section(text, "before anything leaves", &edges.views(steward, held));
    section(text, "binding this use", &edges.bound(steward, held));
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        line(text, 1, title);
        lines.iter().for_each(|shown| line(text, 2, shown));
    }
}

/// Edges that are told alike stand there once.
fn counted<'a, 'b>(lines: &'b [Line<'a>]) -> Vec<(&'b Line<'a>, usize)> {
    let mut counted: Vec<(&Line<'a>, usize)> = Vec::new();
    for edge in lines {
        match counted.iter_mut().find(|(known, _)| *known == edge) {
            Some((_, times)) => *times += 1,
            None => counted.push((edge, 1)),
        }
    }
    counted
}

/// What leaves the steward itself, at a glance.
fn summary(lines: &[Line<'_>]) -> String {
    let kinds: BTreeSet<Kind> = lines.iter().filter(|edge| edge.leaves).map(|edge| edge.kind).collect();
    if kinds.is_empty() {
        return "nothing of its data leaves".to_owned();
    }
    if kinds == BTreeSet::from([Kind::Groups]) {
        return "its rows stay: they are computed on beside the data, and only released groups leave".to_owned();
    }
    let words = |kind: &Kind| match kind {
        Kind::Rows => "rows",
        Kind::HashedRows => "rows with hashes in place of keys",
        Kind::ReleasedRows => "released rows",
        Kind::Computed => "values computed from released rows",
        Kind::Partials => "partials (sums and counts of groups)",
        Kind::Groups => "released groups",
    };
    let stay = kinds.iter().all(|kind| matches!(kind, Kind::Computed | Kind::Partials | Kind::Groups));
    let leaving: Vec<&str> = kinds.iter().map(words).collect();
    format!("{} leave{}", listed(&leaving), if stay { "; its rows stay" } else { "" })
}

/// The answer's columns by name, and what they are where that says more.
fn answer_columns(edges: &Edges<'_>, answer: &Schema) -> String {
    let root = edges.graph.fragment(FragmentId(0));
    let given = root.map(|root| edges.words().given(&root.plan)).unwrap_or_default();
    let columns = answer.fields().iter().enumerate().map(|(index, field)| match given.words.get(index) {
        Some(word) if unqualified(&word.text) != unqualified(field.name()) => {
            format!("{} = {}", field.name(), word.text)
        }
        _ => field.name().clone(),
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// A name as a query without tables' names would have it.
fn unqualified(name: &str) -> String {
    let ends = |letter: char| !(letter.is_alphanumeric() || matches!(letter, '_' | '.'));
    name.split_inclusive(ends).map(|part| part.rsplit_once('.').map_or(part, |(_, name)| name)).collect()
}
