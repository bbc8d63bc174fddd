//! Why an agreement is not exchanged. All of these reach the steward who called; they hold nothing but the steward's own
//! files.

use std::path::PathBuf;

use dynamos_proto::settings::SettingsError;
use thiserror::Error;

/// Why an agreement is not exchanged.
#[derive(Debug, Error)]
pub enum InterchangeError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] SettingsError),
    /// A file says something that it cannot say.
    #[error("`{}`: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No agreement of this steward is in the file.
    #[error("there is no agreement of steward `{steward}`; the file has {known}")]
    NoSuchSteward {
        /// Who was asked for.
        steward: String,
        /// Who is there.
        known: String,
    },
    /// The profile does not say all that the format leaves open.
    #[error(
        "nothing is granted that is not written: the format names no columns, functions, groupings, minimums, purpose \
         or validity, so a profile must; give one with `--profile FILE` that says\n{}",
        lines(missing)
    )]
    NeedsProfile {
        /// What it must say, one entry each.
        missing: Vec<String>,
    },
    /// The profile contradicts the format or itself.
    #[error("the profile cannot be used: {0}")]
    Profile(String),
    /// Nothing that could be granted is left.
    #[error("there is nothing to import: {0}")]
    Nothing(String),
    /// What the other format would have to say cannot be said in it without granting more.
    #[error("the agreement cannot be exported: {0}")]
    Export(String),
    /// The document cannot be read as an agreement without granting more than it says.
    #[error("the document cannot be imported: {0}")]
    Import(String),
    /// Output cannot be written.
    #[error("cannot write `{}`", path.display())]
    Output {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

fn lines(entries: &[String]) -> String {
    entries.iter().map(|entry| format!("  {entry}")).collect::<Vec<_>>().join("\n")
}
