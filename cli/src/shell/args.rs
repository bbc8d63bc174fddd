//! The command line of `dynamos sql`. What it means together with the environment and an info file is decided in
//! [`super::target`].

use std::path::PathBuf;

use clap::Args;

use super::{Format, Secret};

/// Runs SQL on a federation: with `-c` or `-f` it runs that and exits, otherwise it reads statements from the terminal
/// or from standard input.
#[derive(Args, Clone, Debug, Default)]
pub struct SqlArgs {
    /// Server, as `grpc+tls://HOST:PORT` or `grpc://HOST:PORT`; without it the info file's, then `DYNAMOS_URI`
    #[arg(value_name = "URI")]
    pub uri: Option<String>,

    /// Statements or a `\` command to run before exiting; may be given several times and stops at the first error
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub commands: Vec<String>,

    /// File of statements to run before exiting, after every `-c`; `-` is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it in place of the command's own description")]
    pub access: Access,
}

// As whom a server is asked, and how answers are printed: the same for every subcommand that asks one. A plain comment, since
// a documentation comment would take the place of the subcommand's own.
#[derive(Args, Clone, Debug, Default)]
#[expect(missing_docs, reason = "clap would print it in place of the command's own description")]
pub struct Access {
    /// How to print results: `json` is one object per line, `arrow` an IPC stream per statement
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Purpose to state for every query of the session
    #[arg(long)]
    pub purpose: Option<String>,

    /// User to log in as
    #[arg(long)]
    pub user: Option<String>,

    /// Token of the user; visible to others in the process list, so prefer `--token-file` or `DYNAMOS_TOKEN`
    #[arg(long, conflicts_with = "token_file")]
    pub token: Option<Secret>,

    /// File that holds the token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// PEM file of the certificate authority that signed the server's certificate
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Connection file that `dynamos demo --info` writes: server, certificate authority, users and tokens
    #[arg(long, value_name = "FILE")]
    pub info: Option<PathBuf>,
}

#[cfg(test)]
impl SqlArgs {
    /// The same with another access.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Access)) -> Self {
        change(&mut self.access);
        self
    }
}
