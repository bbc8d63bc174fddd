//! Bytes between places: what each site's own log says that its fragments sent.

use std::sync::{Arc, Mutex, PoisonError};

use dynamos_cli::demo::{questions, scene};
use dynamos_cli::federation::{Federation, Layout, Processes, query, ready};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::figures::say;

/// The payload of a plan that computes beside the data stays below this, bytes.
const GOAL_BYTES: u64 = 4096;

/// Collects what fragments sent, from the sites' log events.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<Edge>>>);

#[derive(Clone, Debug, Default)]
struct Edge {
    query: String,
    fragment: String,
    rows: u64,
    bytes: u64,
    ended: bool,
}

impl Visit for Edge {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "rows" => self.rows = value,
            "bytes" => self.bytes = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "query_id" => self.query = text,
            "fragment_id" => self.fragment = text,
            "message" => self.ended = text == "fragment ended",
            _ => {}
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Sent {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut edge = Edge::default();
        event.record(&mut edge);
        if edge.ended {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(edge);
        }
    }
}

/// Runs the measurement.
pub async fn run() -> anyhow::Result<()> {
    let sent = Sent::default();
    // In a run of everything the second measurement finds the first one's subscriber; only this one reads events.
    tracing_subscriber::registry().with(sent.clone()).try_init()?;
    let folder = tempfile::tempdir()?;
    let layout = Layout::write(folder.path(), &scene(folder.path(), None)?, 0)?;
    let federation = Federation::start(&layout, Processes::One).await?;
    for question in questions() {
        let mut client = ready(&layout, layout.user(question.user)?, question.placement, question.sql).await?;
        sent.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        query(&mut client, question.sql).await?;
        let mut edges = std::mem::take(&mut *sent.0.lock().unwrap_or_else(PoisonError::into_inner));
        edges.sort_by(|one, other| one.fragment.cmp(&other.fragment));
        say(&format!("payload: {} ({})", question.title, question.placement))?;
        let mut between = 0;
        for edge in &edges {
            // Fragment 0 is what the requester gets.
            let reader = if edge.fragment == "f0" { "requester" } else { "a place" };
            between += if edge.fragment == "f0" { 0 } else { edge.bytes };
            say(&format!("  {} to {reader}: {} rows, {} bytes", edge.fragment, edge.rows, edge.bytes))?;
        }
        let goal =
            if question.placement == "compute_to_data" { format!(", goal < {GOAL_BYTES}") } else { String::new() };
        say(&format!("  between places: {between} bytes{goal}"))?;
        // Unlike times, bytes are the same on every machine.
        anyhow::ensure!(goal.is_empty() || between < GOAL_BYTES, "the payload is {between} bytes{goal}");
    }
    federation.stop().await
}
