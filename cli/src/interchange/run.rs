//! The subcommand: files in, the other form on standard output, the report on standard error.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use dynamos_proto::settings;
use serde::de::DeserializeOwned;

use super::args::{AgreementArgs, AgreementCommand, ExportArgs, ImportArgs, Other};
use super::odrl;
use super::original::{self, Import, Profile};
use super::texts::{read_agreements, write_agreements};
use super::{InterchangeError, Report};

/// Runs `dynamos agreement`: exit code 0 if something was written, 1 if it was refused.
///
/// # Errors
///
/// Only if the output cannot be written.
pub fn run(args: &AgreementArgs) -> anyhow::Result<ExitCode> {
    let outcome = match &args.command {
        AgreementCommand::Import(args) => imported(args),
        AgreementCommand::Export(args) => exported(args),
    };
    match outcome {
        Ok((text, report)) => {
            io::stdout().write_all(text.as_bytes())?;
            write!(io::stderr(), "{report}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(error.into()),
    }
}

fn imported(args: &ImportArgs) -> Result<(String, Report), InterchangeError> {
    let (agreements, mut report) = match args.from {
        Other::Dynamos => from_original(args)?,
        Other::Odrl => {
            let content = |problem: String| InterchangeError::Content { path: args.file.clone(), problem };
            let document =
                serde_json::from_str(&settings::text(&args.file)?).map_err(|error| content(error.to_string()))?;
            odrl::import_odrl(&document)?
        }
    };
    if agreements.len() > 1 {
        let many = agreements.len();
        report.leave_out(format!(
            "{many} agreements in one file: a site reads a file for each, so put each into its own"
        ));
    }
    Ok((write_agreements(&agreements), report))
}

fn from_original(args: &ImportArgs) -> Result<(Vec<dynamos_planner::policy::Agreement>, Report), InterchangeError> {
    let agreements = json(&args.file)?;
    let datasets = args.datasets.as_deref().map(json).transpose()?;
    let archetypes = args.archetypes.as_deref().map(json).transpose()?;
    let request_types = args.request_types.as_deref().map(json).transpose()?;
    let enforced = args.enforced_services.as_deref().map(json).transpose()?;
    let profile = args.profile.as_deref().map(profile).transpose()?;
    original::import(&Import {
        agreements: &agreements,
        steward: args.steward.as_deref().unwrap_or_default(),
        datasets: datasets.as_deref(),
        archetypes: archetypes.as_deref(),
        request_types: request_types.as_deref(),
        enforced: enforced.as_deref(),
        profile: profile.as_ref(),
    })
}

fn exported(args: &ExportArgs) -> Result<(String, Report), InterchangeError> {
    let agreements = read_agreements(&args.file)?;
    match args.to {
        Other::Dynamos => {
            let names = args.profile.as_deref().map(profile).transpose()?;
            let exported = original::export(&agreements, names.as_ref())?;
            let files = [
                (&args.write_profile, exported.profile.text().map_err(InterchangeError::Export)?),
                (&args.write_datasets, pretty(&exported.datasets)?),
                (&args.write_archetypes, pretty(&exported.archetypes)?),
                (&args.write_request_types, pretty(&exported.request_types)?),
                (&args.write_enforced_services, pretty(&exported.enforced)?),
            ];
            for (path, text) in files {
                let Some(path) = path else { continue };
                std::fs::write(path, text).map_err(|source| InterchangeError::Output { path: path.clone(), source })?;
            }
            Ok((pretty(&exported.agreements)?, exported.report))
        }
        Other::Odrl => {
            let (document, report) = odrl::export_odrl(&agreements)?;
            Ok((pretty(&document)?, report))
        }
    }
}

fn pretty(document: &impl serde::Serialize) -> Result<String, InterchangeError> {
    let text = serde_json::to_string_pretty(document).map_err(|error| InterchangeError::Export(error.to_string()))?;
    Ok(text + "\n")
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, InterchangeError> {
    let text = settings::text(path)?;
    original::read_json(&text).map_err(|problem| InterchangeError::Content { path: path.to_owned(), problem })
}

fn profile(path: &Path) -> Result<Profile, InterchangeError> {
    Ok(settings::read(&settings::text(path)?, path)?)
}
