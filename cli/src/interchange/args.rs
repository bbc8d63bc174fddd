//! The command line of `dynamos agreement`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Reads agreements from other formats and writes them in other formats. The agreement or document goes to standard
/// output; what was carried over and what was not goes to standard error.
#[derive(Args, Clone, Debug)]
pub struct AgreementArgs {
    #[command(subcommand)]
    pub(super) command: AgreementCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum AgreementCommand {
    /// Make CREATE AGREEMENT statements of a document.
    Import(ImportArgs),
    /// Make a document of CREATE AGREEMENT statements.
    Export(ExportArgs),
}

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Other {
    /// The agreement JSON of the original DYNAMOS middleware.
    Dynamos,
    /// ODRL policies as JSON-LD, with DUO terms.
    Odrl,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ImportArgs {
    /// The format of the file
    #[arg(long, value_enum)]
    pub(super) from: Other,

    /// The document
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,

    /// Whose agreement to read, by the name in the file (dynamos)
    #[arg(long, value_name = "NAME", required_if_eq("from", "dynamos"))]
    pub(super) steward: Option<String>,

    /// What the document cannot say: names of sites, purposes, validity, clauses (dynamos)
    #[arg(long, value_name = "PROFILE.toml")]
    pub(super) profile: Option<PathBuf>,

    /// The data sets' JSON, against which the profile's tables are checked (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) datasets: Option<PathBuf>,

    /// The archetypes' JSON, which says what their names mean (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) archetypes: Option<PathBuf>,

    /// The request types' JSON, which says what they compute (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) request_types: Option<PathBuf>,

    /// The JSON of services that stewards demand of every request (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) enforced_services: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ExportArgs {
    /// The format to write
    #[arg(long, value_enum)]
    pub(super) to: Other,

    /// File of CREATE AGREEMENT statements
    #[arg(value_name = "FILE.sql")]
    pub(super) file: PathBuf,

    /// Profile whose names of places, data sets, tables and request types are used (dynamos)
    #[arg(long, value_name = "PROFILE.toml")]
    pub(super) profile: Option<PathBuf>,

    /// Where to write the profile with what the document cannot say (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) write_profile: Option<PathBuf>,

    /// Where to write the data sets' JSON (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) write_datasets: Option<PathBuf>,

    /// Where to write the archetypes' JSON (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) write_archetypes: Option<PathBuf>,

    /// Where to write the request types' JSON (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) write_request_types: Option<PathBuf>,

    /// Where to write the JSON of services that stewards demand of every request (dynamos)
    #[arg(long, value_name = "FILE")]
    pub(super) write_enforced_services: Option<PathBuf>,
}
