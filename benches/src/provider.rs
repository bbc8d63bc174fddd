//! A question whose rows go through the compute provider, with every role as a process of its own.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use dynamos_cli::demo::{rows, scene};
use dynamos_cli::federation::{Federation, Layout, Processes, Running, query, ready};
use dynamos_cli::sample::{LineEnd, University, wage_rows, write_appointments, write_persons};

use crate::figures::{Times, say};

/// Persons at each university: together they have about 250 000 joined rows.
const PERSONS: usize = 12_200;
const QUESTION: &str = "SELECT p.geslacht, avg(a.salschal), count(*) FROM wages.personen p \
    JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY p.geslacht ORDER BY p.geslacht";

/// Runs the measurement.
pub async fn run(rounds: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let joined = write_wages(folder.path())?;
    let root = folder.path().join("federation");
    std::fs::create_dir_all(&root)?;
    let layout = Layout::write(&root, &scene(&root, Some(folder.path()))?, 0)?;
    let mut federation = Federation::start(&layout, Processes::Each).await?;
    say(&format!("provider: the wage question over {joined} joined rows, every role a process"))?;
    for placement in ["data_to_compute", "compute_to_data"] {
        let mut client = ready(&layout, layout.user("analyst@uva.nl")?, placement, QUESTION).await?;
        let began = Instant::now();
        let answer = rows(&query(&mut client, QUESTION).await?)?;
        say(&format!("  {placement}: first {:.1} ms", began.elapsed().as_secs_f64() * 1e3))?;
        anyhow::ensure!(answer.len() == 2, "the answer has {} rows", answer.len());
        let mut times = Times::default();
        for _ in 0..rounds {
            let began = Instant::now();
            query(&mut client, QUESTION).await?;
            times.push(began.elapsed());
        }
        let goal = if placement == "data_to_compute" { ", goal < 500 ms" } else { "" };
        say(&format!("  {placement}: {}{goal}", times.show()))?;
    }
    if let Running::Processes(children) = federation.running() {
        for (name, child) in children {
            let peak = child.id().and_then(peak_mib);
            let peak = peak.map_or_else(|| "unknown".to_owned(), |peak| format!("{peak} MiB"));
            say(&format!("  peak memory of {name}: {peak}, goal < 200 MiB"))?;
        }
    }
    federation.stop().await
}

/// Writes both universities' files; gives the number of joined rows.
fn write_wages(folder: &Path) -> anyhow::Result<usize> {
    let mut joined = 0;
    for (university, name, seed) in [(University::Uva, "UVA", 1), (University::Vu, "VU", 2)] {
        let rows = wage_rows(university, PERSONS, seed);
        joined += rows.joined_rows();
        let mut out = BufWriter::new(File::create(folder.join(format!("Personen_{name}.csv")))?);
        write_persons(&mut out, &rows.persons, LineEnd::CrCrLf)?;
        out.flush()?;
        let mut out = BufWriter::new(File::create(folder.join(format!("Aanstellingen_{name}.csv")))?);
        write_appointments(&mut out, &rows.appointments, LineEnd::Cr)?;
        out.flush()?;
    }
    Ok(joined)
}

/// The most memory that a process had so far, MiB.
fn peak_mib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
