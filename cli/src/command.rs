//! The command line: which subcommand, with which arguments.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::audit::{self, AuditArgs};
use crate::demo::{self, DemoArgs};
use crate::explain::{self, ExplainArgs};
use crate::interchange::{self, AgreementArgs};
use crate::request::{self, RequestArgs};
use crate::role::{self, RoleArgs};
use crate::shell::{self, SqlArgs};
use crate::telemetry::{self, LogFormat};

/// A policy-aware SQL engine over the sites of a federation.
#[derive(Debug, Parser)]
#[command(name = "dynamos", version)]
pub struct Command {
    /// How log lines are written, to standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log: LogFormat,
    #[command(subcommand)]
    subcommand: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Start a whole federation on this machine, ask it sample questions and stay up.
    Demo(DemoArgs),
    /// Run a coordinator.
    Coordinator(RoleArgs),
    /// Run a site: a steward beside its data, or a compute provider.
    Site(RoleArgs),
    /// Ask questions, interactively or from a script.
    Sql(SqlArgs),
    /// Print the plan of a query from files alone, or why it is refused.
    Explain(Box<ExplainArgs>),
    /// Ask a request in the JSON of the original DYNAMOS middleware.
    Request(Box<RequestArgs>),
    /// Read agreements from other formats, and write them in other formats.
    Agreement(Box<AgreementArgs>),
    /// Check files of records.
    Audit(AuditArgs),
}

impl Command {
    /// Runs the subcommand to its end.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.subcommand {
            Role::Demo(arguments) => {
                telemetry::start(self.log, "warn")?;
                demo::run(arguments).await
            }
            Role::Coordinator(arguments) => {
                telemetry::start(self.log, "info")?;
                role::coordinator(arguments).await
            }
            Role::Site(arguments) => {
                telemetry::start(self.log, "info")?;
                role::site(arguments).await
            }
            Role::Sql(arguments) => shell::run(arguments).await,
            Role::Explain(arguments) => explain::run(&arguments),
            Role::Request(arguments) => request::run(*arguments).await,
            Role::Agreement(arguments) => interchange::run(&arguments),
            Role::Audit(arguments) => audit::run(&arguments),
        }
    }
}

/// Tells of an error with all its causes, in one line.
pub fn report(error: &anyhow::Error) -> ExitCode {
    // Where nothing can be written nobody reads it either.
    writeln!(std::io::stderr(), "error: {error:#}").unwrap_or_default();
    ExitCode::FAILURE
}
