//! `dynamos audit`: whether a file of records is as it was written. It needs the file and nothing else, no key and no running
//! process; that complete lines are missing at its end it cannot see, so it prints the last hash to compare.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use dynamos_proto::record::{RecordError, verify};

/// Arguments of `dynamos audit`.
#[derive(Clone, Debug, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum AuditCommand {
    /// Check every record of these files against the one before it: a coordinator's decisions.log, a site's ledger.log.
    Verify {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Runs the subcommand. The exit code is that of a failure if one file is not as it was written.
///
/// # Errors
///
/// Only if the output cannot be written.
pub fn run(arguments: &AuditArgs) -> anyhow::Result<ExitCode> {
    let AuditCommand::Verify { files } = &arguments.command;
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let mut code = ExitCode::SUCCESS;
    for file in files {
        match checked(file) {
            Ok(line) => writeln!(out, "{line}")?,
            Err(error) => {
                writeln!(err, "error: {:#}", anyhow::Error::from(error))?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// What there is to say of a file that is as it was written.
fn checked(file: &Path) -> Result<String, RecordError> {
    let verified = verify(file)?;
    let mut line = format!("{}: {} records, last hash {}", file.display(), verified.records, verified.hash);
    if verified.incomplete_bytes > 0 {
        line.push_str(&format!(", then {} bytes of one that was not completed", verified.incomplete_bytes));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use dynamos_proto::record::RecordFile;

    use super::*;

    #[test]
    fn a_file_is_counted_or_its_first_wrong_line_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.log");
        let file = RecordFile::open(&path, |_: serde_json::Value| ()).unwrap();
        (1..=3).for_each(|number| file.append(&number).unwrap());
        let hash = verify(&path).unwrap().hash;
        assert_eq!(checked(&path).unwrap(), format!("{}: 3 records, last hash {hash}", path.display()));
        let run = |files: Vec<PathBuf>| run(&AuditArgs { command: AuditCommand::Verify { files } }).unwrap();
        assert_eq!(run(vec![path.clone()]), ExitCode::SUCCESS);

        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"num")).unwrap();
        assert!(checked(&path).unwrap().ends_with(", then 5 bytes of one that was not completed"));
        std::fs::write(&path, text.replace("\"record\":2", "\"record\":5")).unwrap();
        let error = checked(&path).unwrap_err().to_string();
        assert!(error.starts_with("line 2 of the record file"), "{error}");
        assert_eq!(run(vec![folder.path().join("missing"), path]), ExitCode::FAILURE);
    }
}
