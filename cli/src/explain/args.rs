//! The command line of `dynamos explain`: the files of a federation, who asks, and the query.

use std::path::PathBuf;

use clap::Args;
use dynamos_planner::Placement;
use dynamos_planner::policy::UtcMillis;

/// Plans a query from files, without any running process, and prints what leaves whom by which clause and its whole path, or why
/// it is refused.
///
/// Signatures are not looked at: the agreements are taken as their stewards' own, in epoch 1, and the user, roles and
/// purpose as vouched for.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// Places, tables and federated tables, as TOML
    #[arg(long, value_name = "FILE")]
    pub catalog: PathBuf,

    /// Agreements: a `.sql` file of CREATE AGREEMENT statements, or a folder of such files; may be given several times
    #[arg(long, value_name = "PATH", required = true)]
    pub agreements: Vec<PathBuf>,

    /// Links and speeds of places, as TOML; without it every link is fast and every place alike
    #[arg(long, value_name = "FILE")]
    pub knowledge: Option<PathBuf>,

    /// User who asks
    #[arg(long, default_value = "")]
    pub user: String,

    /// Organisation that the user belongs to
    #[arg(long, default_value = "")]
    pub organisation: String,

    /// Role that the organisation gave the user; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,

    /// Purpose of the query
    #[arg(long)]
    pub purpose: Option<String>,

    /// Agreement to plan under, where several allow the query
    #[arg(long)]
    pub agreement: Option<String>,

    /// Placement: auto, compute_to_data or data_to_compute
    #[arg(long, default_value = "auto")]
    pub placement: Placement,

    /// Schema of federated tables that are named without one
    #[arg(long)]
    pub schema: Option<String>,

    /// Value of `$1`, then of `$2`, …, as text
    #[arg(long = "parameter", value_name = "VALUE", allow_hyphen_values = true)]
    pub parameters: Vec<String>,

    /// Moment at which the agreements must hold, such as `2026-01-31T12:00:00Z`; without it now
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub at: Option<UtcMillis>,

    /// Place that does not answer; may be given several times
    #[arg(long = "down", value_name = "SITE")]
    pub down: Vec<String>,

    /// The query
    #[arg(value_name = "SQL")]
    pub sql: String,
}

fn moment(text: &str) -> Result<UtcMillis, String> {
    UtcMillis::parse(text).ok_or_else(|| format!("`{text}` is no moment; write it like `2026-01-31T12:00:00Z`"))
}
