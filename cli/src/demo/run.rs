//! Runs the demo: writes the federation, starts it, asks the sample questions, tells how to connect, and stays up.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use arrow::util::pretty::pretty_format_batches;

use super::args::DemoArgs;
use super::questions::questions;
use super::scene::scene;
use super::truth::{Truth, compare, rows};
use crate::federation::{Federation, Layout, Processes, query, ready, write_secret};
use crate::role::stop_signal;

/// Runs `dynamos demo`.
pub async fn run(arguments: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    let temporary = tempfile::tempdir().context("no temporary folder can be made")?;
    let root = arguments.dir.clone().unwrap_or_else(|| temporary.path().join("dynamos-demo"));
    writeln!(out, "Writing a federation to {}", root.display())?;
    let layout = Layout::write(&root, &scene(&root, arguments.data.as_deref())?, arguments.port)?;
    let processes = if arguments.processes { Processes::Each } else { Processes::One };
    let federation = Federation::start(&layout, processes).await?;
    let asked = ask_all(&layout, &mut out).await;
    let right = match asked {
        Ok(right) => right,
        Err(error) => {
            federation.stop().await?;
            return Err(error);
        }
    };
    if let Some(path) = &arguments.info {
        write_secret(path, &serde_json::to_string_pretty(&layout.info())?)?;
    }
    if !arguments.once {
        how_to_connect(&layout, arguments.info.as_deref(), &mut out)?;
        stop_signal().await?;
        writeln!(out, "Stopping")?;
    }
    federation.stop().await?;
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks every question; true if every answer is right.
async fn ask_all(layout: &Layout, out: &mut impl Write) -> anyhow::Result<bool> {
    let truth = Truth::open(layout).await?;
    let mut right = true;
    for question in questions() {
        let user = layout.user(question.user)?;
        let mut client = ready(layout, user, question.placement, question.sql).await?;
        writeln!(out, "\n## {} ({}, {})\n{}", question.title, question.user, question.placement, question.sql)?;
        let began = Instant::now();
        let batches = query(&mut client, question.sql).await.with_context(|| question.title)?;
        let took = began.elapsed();
        writeln!(out, "{}", pretty_format_batches(&batches)?)?;
        match compare(&rows(&batches)?, &truth.answer(question.truth).await?) {
            Ok(()) => writeln!(out, "right, in {:.0} ms", took.as_secs_f64() * 1000.0)?,
            Err(error) => {
                right = false;
                writeln!(out, "WRONG: {error}")?;
            }
        }
        let edges = query(&mut client, "SHOW EDGES FOR LAST QUERY").await?;
        writeln!(out, "what went over each edge, at most (sites report sizes in powers of two only)")?;
        writeln!(out, "{}", pretty_format_batches(&edges)?)?;
        for form in ["EXPLAIN POLICY", "EXPLAIN"] {
            let text = query(&mut client, &format!("{form} {}", question.sql)).await?;
            writeln!(out, "{form}")?;
            for line in rows(&text)?.into_iter().flatten() {
                writeln!(out, "  {line}")?;
            }
        }
    }
    Ok(right)
}

fn how_to_connect(layout: &Layout, info: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "\nThe federation is up. SQL clients connect to {}", layout.uri())?;
    writeln!(out, "  certificate authority  {}", layout.ca_file().display())?;
    for user in &layout.users {
        writeln!(out, "  user {:<20} purpose {:<12} token {}", user.user, user.purposes.join(","), user.token)?;
    }
    if let Some(info) = info {
        writeln!(out, "  dynamos sql --info {} --user analyst@uva.nl --purpose statistics", info.display())?;
    }
    writeln!(out, "Ctrl-C stops it.")?;
    out.flush()?;
    Ok(())
}
