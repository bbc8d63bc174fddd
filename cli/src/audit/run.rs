//! The subcommand: reads files of records. That complete lines are missing at a file's end it cannot see, so it prints the
//! last hash to compare.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dynamos_proto::record::{RecordError, Verified, read, verify};
use serde_json::Value;

use super::args::{AuditArgs, AuditCommand};
use super::words::words;

/// Runs the subcommand. The exit code is that of a failure if one file is not as it was written.
///
/// # Errors
///
/// Only if the output cannot be written.
pub fn run(arguments: &AuditArgs) -> anyhow::Result<ExitCode> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    match &arguments.command {
        AuditCommand::Verify { files } => verify_all(files, &mut out, &mut err),
        AuditCommand::Show { file } => show(file, &mut out, &mut err),
    }
}

fn verify_all(files: &[PathBuf], out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        match verify(file) {
            Ok(verified) => writeln!(out, "{}", checked(file, &verified))?,
            Err(error) => code = wrong(error, err)?,
        }
    }
    Ok(code)
}

/// Prints the records up to the first that is not as it was written, and what there is to say of the file at the end.
fn show(file: &Path, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut printed = Ok(());
    let verified = read(file, |record: Value| {
        if printed.is_ok() {
            printed = out.write_all(words(&record).as_bytes());
        }
    });
    printed?;
    match verified {
        Ok(verified) => {
            writeln!(err, "{}", checked(file, &verified))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(wrong(error, err)?),
    }
}

fn wrong(error: RecordError, err: &mut impl Write) -> std::io::Result<ExitCode> {
    writeln!(err, "error: {:#}", anyhow::Error::from(error))?;
    Ok(ExitCode::FAILURE)
}

/// What there is to say of a file that is as it was written.
fn checked(file: &Path, verified: &Verified) -> String {
    let mut line = format!("{}: {} records, last hash {}", file.display(), verified.records, verified.hash);
    if verified.incomplete_bytes > 0 {
        line.push_str(&format!(", then {} bytes of one that was not completed", verified.incomplete_bytes));
    }
    line
}

#[cfg(test)]
mod tests {
    use dynamos_proto::record::RecordFile;
    use serde_json::json;

    use super::*;

    /// What a command prints, and where it tells of problems.
    fn ran(command: AuditCommand) -> (ExitCode, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = match &command {
            AuditCommand::Verify { files } => verify_all(files, &mut out, &mut err),
            AuditCommand::Show { file } => show(file, &mut out, &mut err),
        };
        (code.unwrap(), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_file_is_counted_or_its_first_wrong_line_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.log");
        let file = RecordFile::open(&path, |_: Value| ()).unwrap();
        (1..=3).for_each(|number| file.append(&number).unwrap());
        let run = |files: &[PathBuf]| ran(AuditCommand::Verify { files: files.to_vec() });
        let hash = verify(&path).unwrap().hash;
        let line = format!("{}: 3 records, last hash {hash}\n", path.display());
        assert_eq!(run(std::slice::from_ref(&path)), (ExitCode::SUCCESS, line, String::new()));

        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"num")).unwrap();
        assert!(run(std::slice::from_ref(&path)).1.ends_with(", then 5 bytes of one that was not completed\n"));
        std::fs::write(&path, text.replace("\"record\":2", "\"record\":5")).unwrap();
        let (code, out, err) = run(&[folder.path().join("missing"), path]);
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
        assert!(err.lines().nth(1).unwrap().starts_with("error: line 2 of the record file"), "{err}");
    }

    #[test]
    fn a_file_is_shown_up_to_its_first_wrong_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.log");
        let file = RecordFile::open(&path, |_: Value| ()).unwrap();
        for query in ["q1", "q2"] {
            file.append(&json!({"event": "erased", "at": "2026-01-01", "query_id": query})).unwrap();
        }
        let run = || ran(AuditCommand::Show { file: path.clone() });
        let (code, out, err) = run();
        let lines = ["q1", "q2"].map(|query| format!("2026-01-01 erased: nothing of query {query} is left here\n"));
        assert_eq!((code, out), (ExitCode::SUCCESS, lines.concat()));
        assert!(err.contains(": 2 records, last hash "), "{err}");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("q2", "q3")).unwrap();
        let (code, out, err) = run();
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, lines[0].as_str()));
        assert!(err.starts_with("error: line 2 of the record file"), "{err}");
    }
}
