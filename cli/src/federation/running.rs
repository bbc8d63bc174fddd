//! A running federation: every role in this process over real sockets, or every role as a process of its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use dynamos_coordinator::config::CoordinatorConfig;
use dynamos_coordinator::server::RunningCoordinator;
use dynamos_site::{RunningSite, SiteConfig};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use crate::embedded::EmbeddedExecutor;

/// Whether roles run in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processes {
    /// All roles in this process.
    One,
    /// One process a role.
    Each,
}

/// The federation's roles.
pub struct Federation {
    running: Running,
    shutdown: CancellationToken,
}

/// How the roles run.
pub enum Running {
    /// In this process.
    Here {
        /// The coordinator.
        coordinator: Box<RunningCoordinator>,
        /// The sites.
        sites: Vec<RunningSite>,
    },
    /// As processes, by name.
    Processes(Vec<(String, Child)>),
}

impl Federation {
    /// Starts every role of a layout.
    pub async fn start(layout: &Layout, processes: Processes) -> anyhow::Result<Self> {
        let shutdown = CancellationToken::new();
        let running = match processes {
            Processes::One => {
                let config = CoordinatorConfig::load(&layout.coordinator_config())?;
                let root = EmbeddedExecutor::start(&config).await?;
                let coordinator = dynamos_coordinator::server::start(&config, root, shutdown.clone()).await?;
                let mut sites = Vec::new();
                for site in &layout.sites {
                    let config = SiteConfig::load(&layout.site_config(site))?;
                    sites.push(dynamos_site::start(config, shutdown.clone()).await?);
                }
                Running::Here { coordinator: Box::new(coordinator), sites }
            }
            Processes::Each => {
                let mut children =
                    vec![("coordinator".to_owned(), spawn("coordinator", &layout.coordinator_config())?)];
                for site in &layout.sites {
                    children.push((site.to_owned(), spawn("site", &layout.site_config(site))?));
                }
                Running::Processes(children)
            }
        };
        Ok(Self { running, shutdown })
    }

    /// How the roles run.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Stops every role and waits for it.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        match self.running {
            Running::Here { coordinator, sites } => {
                for site in sites {
                    site.stopped().await?;
                }
                coordinator.wait().await;
            }
            Running::Processes(mut children) => {
                for (_, child) in &children {
                    terminate(child);
                }
                for (name, child) in &mut children {
                    if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
                        child.kill().await.with_context(|| format!("`{name}` cannot be stopped"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Asks a process to stop, as an operator would.
fn terminate(child: &Child) {
    if let Some(id) = child.id() {
        let signalled = std::process::Command::new("kill").arg("-TERM").arg(id.to_string()).status();
        if let Err(error) = signalled {
            tracing::warn!(%error, id, "a process cannot be told to stop and will be killed");
        }
    }
}

fn spawn(role: &str, config: &std::path::Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program's own file is not known")?;
    Command::new(program)
        .arg(role)
        .arg("--config")
        .arg(config)
        .env("DYNAMOS_LOG", std::env::var("DYNAMOS_LOG").unwrap_or_else(|_| "warn".into()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("a process for `{}` cannot be started", config.display()))
}
