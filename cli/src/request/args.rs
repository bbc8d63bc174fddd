//! The command line of `dynamos request`.

use std::path::PathBuf;

use clap::Args;
use dynamos_planner::Placement;

use crate::shell::{Format, Secret, SqlArgs};

/// Asks a request of the original middleware. The SQL that it stands for goes to standard error, the result to standard
/// output.
#[derive(Args, Clone, Debug)]
pub struct RequestArgs {
    /// The request, as JSON
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Profile that says what places and tables are called here; without it names are the same in lower case
    #[arg(long, value_name = "PROFILE.toml")]
    pub profile: Option<PathBuf>,

    /// Schema of tables that the profile does not name
    #[arg(long)]
    pub schema: Option<String>,

    /// Column whose values make the groups, the original's is fixed
    #[arg(long, value_name = "COLUMN", default_value = "Geslacht")]
    pub group_by: String,

    /// Column that is averaged, the original's is fixed
    #[arg(long, value_name = "COLUMN", default_value = "Salschal")]
    pub average_of: String,

    /// Placement: auto, compute_to_data or data_to_compute
    #[arg(long, default_value = "auto")]
    pub placement: Placement,

    /// Server, as `grpc+tls://HOST:PORT` or `grpc://HOST:PORT`; without it the info file's, then `DYNAMOS_URI`
    #[arg(long, value_name = "URI")]
    pub server: Option<String>,

    /// How to print results: `json` is one object per line, `arrow` an IPC stream per statement
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Purpose to state
    #[arg(long)]
    pub purpose: Option<String>,

    /// User to log in as; with an info file the request's user, if none is given
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

impl RequestArgs {
    /// The shell's arguments that run these statements as this user.
    pub(super) fn shell(&self, commands: Vec<String>, user: Option<String>) -> SqlArgs {
        SqlArgs {
            uri: self.server.clone(),
            commands,
            file: None,
            format: self.format,
            purpose: self.purpose.clone(),
            user,
            token: self.token.clone(),
            token_file: self.token_file.clone(),
            ca: self.ca.clone(),
            info: self.info.clone(),
        }
    }
}
