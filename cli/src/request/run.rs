//! The subcommand: the request's file in, its SQL shown, its result printed by the shell.

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::process::ExitCode;

use dynamos_planner::Placement;
use dynamos_proto::settings;

use super::args::RequestArgs;
use super::error::{RequestError, ShellFailure};
use super::model::{Request, RequestUser};
use super::translate::{Names, Statements, translate};
use crate::interchange::Profile;
use crate::shell::{Reader, ShellError};

/// Runs `dynamos request`: exit code 0 if every answer came, 1 otherwise.
///
/// # Errors
///
/// Only if the output cannot be written.
pub async fn run(args: RequestArgs) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout());
    let mut err = io::stderr();
    let reader = if io::stdout().is_terminal() { Reader::Terminal } else { Reader::Program };
    match ask(&args, reader, &mut out, &mut err).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            out.flush()?;
            error.report(&mut err)?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Translates the request, shows its SQL on `err` and asks it; results go to `out`.
///
/// # Errors
///
/// When the request cannot be translated, or the server does not answer it.
pub async fn ask(
    args: &RequestArgs,
    reader: Reader,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Result<(), RequestError> {
    let request: Request = serde_json::from_str(&settings::text(&args.file)?)
        .map_err(|error| RequestError::Malformed { path: args.file.clone(), problem: error.to_string() })?;
    let profile: Option<Profile> = match &args.profile {
        Some(path) => Some(settings::read(&settings::text(path)?, path)?),
        None => None,
    };
    let names = Names {
        profile: profile.as_ref(),
        schema: args.schema.as_deref(),
        group_by: &args.group_by,
        average_of: &args.average_of,
    };
    let Statements { queries, notes } = translate(&request, &names)?;
    for note in notes {
        writeln!(err, "-- {note}")?;
    }
    let named = request.user.as_ref().map(RequestUser::name);
    if let (Some(user), Some(named)) = (&args.access.user, named)
        && user != named
    {
        writeln!(err, "-- user: the request is of `{named}`, asked as `{user}`")?;
    }
    let user =
        args.access.user.clone().or_else(|| args.access.info.is_some().then(|| named.map(str::to_owned)).flatten());
    let settings = match args.placement {
        Placement::Auto => Vec::new(),
        chosen => vec![format!("SET dynamos.placement = '{}';", chosen.as_str())],
    };
    let failed = |error: ShellError| RequestError::Shell(Box::new(ShellFailure(error)));
    let asked = queries.len();
    let mut unanswered = 0;
    for query in queries {
        writeln!(err, "{query};")?;
        let commands = settings.iter().cloned().chain([format!("{query};")]).collect();
        match crate::shell::run_commands(&args.shell(commands, user.clone()), reader, out, err).await {
            Ok(()) => {}
            // Another provider may answer.
            Err(error @ ShellError::Server(_)) if asked > 1 => {
                out.flush()?;
                error.report(err)?;
                unanswered += 1;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    if unanswered > 0 { Err(RequestError::Unanswered { unanswered, asked }) } else { Ok(()) }
}
