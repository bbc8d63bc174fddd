//! Log lines on standard error, as text or JSON; `DYNAMOS_LOG` filters them as `tracing` filters are written. Where
//! it lets through anything of level `debug`, the end of every span is a line, too, with the time that it took.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to write log lines at `level` unless the environment says otherwise.
pub fn start(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("DYNAMOS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let detailed = filter.max_level_hint().is_none_or(|most| most >= LevelFilter::DEBUG);
    let ends = if detailed { FmtSpan::CLOSE } else { FmtSpan::NONE };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_span_events(ends).with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("log lines cannot be written: {error}"))
}
