//! The subcommand's arguments.

use std::path::PathBuf;

use clap::Subcommand;

/// Arguments of `dynamos audit`.
#[derive(Clone, Debug, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub(super) command: AuditCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check every record of these files against the one before it: a coordinator's decisions.log, a site's ledger.log.
    Verify {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the records of a file in words, each checked like that: who asked for what, what left for where by which
    /// clause, how much of it, and what the agreements said.
    Show {
        /// The file.
        file: PathBuf,
    },
}
