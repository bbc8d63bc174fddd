//! The roles as processes: read the configuration, start, and stop in order on SIGINT or SIGTERM.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use dynamos_coordinator::config::CoordinatorConfig;
use dynamos_site::SiteConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::embedded::EmbeddedExecutor;

/// Arguments of a role.
#[derive(Clone, Debug, clap::Args)]
pub struct RoleArgs {
    /// The role's TOML file.
    #[arg(long)]
    pub config: PathBuf,
}

/// Runs a coordinator until it is told to stop.
pub async fn coordinator(arguments: RoleArgs) -> anyhow::Result<ExitCode> {
    let config = CoordinatorConfig::load(&arguments.config)?;
    let shutdown = CancellationToken::new();
    let root = EmbeddedExecutor::start(&config).await?;
    let running = dynamos_coordinator::server::start(&config, root, shutdown.clone()).await?;
    stop_signal().await?;
    tracing::info!("stopping");
    shutdown.cancel();
    running.wait().await;
    Ok(ExitCode::SUCCESS)
}

/// Runs a site until it is told to stop.
pub async fn site(arguments: RoleArgs) -> anyhow::Result<ExitCode> {
    let config = SiteConfig::load(&arguments.config)?;
    let shutdown = CancellationToken::new();
    let running = dynamos_site::start(config, shutdown.clone()).await?;
    stop_signal().await?;
    tracing::info!("stopping");
    shutdown.cancel();
    running.stopped().await?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for SIGINT or SIGTERM.
pub async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("signals cannot be received"),
        _ = terminate.recv() => Ok(()),
    }
}
