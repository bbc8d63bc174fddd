//! Arguments of `dynamos demo`.

use std::path::PathBuf;

/// Start a federation: two universities, two hospitals, a compute provider and a coordinator.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DemoArgs {
    /// Exit after the sample questions; with 0 only if every answer is right.
    #[arg(long)]
    pub once: bool,
    /// Run every role as a process of its own.
    #[arg(long)]
    pub processes: bool,
    /// Take the universities' wage data from this folder (`Personen_UVA.csv`, `Aanstellingen_VU.csv` and so on).
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Write the federation's files here and keep them; otherwise into a temporary folder.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Write how to connect into this file, as JSON.
    #[arg(long)]
    pub info: Option<PathBuf>,
    /// The port for SQL clients; any free one by default.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}
