//! The command line of `dynamos request`.

use std::path::PathBuf;

use clap::Args;
use dynamos_planner::Placement;

use crate::shell::{Access, SqlArgs};

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

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it in place of the command's own description")]
    pub access: Access,
}

impl RequestArgs {
    /// The shell's arguments that run these statements as this user.
    pub(super) fn shell(&self, commands: Vec<String>, user: Option<String>) -> SqlArgs {
        let access = Access { user, ..self.access.clone() };
        SqlArgs { uri: self.server.clone(), commands, file: None, access }
    }
}
