//! [`DecisionLog`]: decisions as lines of JSON in a file that only grows. Nothing is released before its line is on the
//! disk, so a log that cannot be written stops all queries.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dynamos_proto::status::{Code, ServiceError};
use thiserror::Error;

use super::record::DecisionRecord;
use crate::background::blocking;

/// The log cannot be opened.
#[derive(Debug, Error)]
#[error("cannot open the decision log `{path}`; check that its folder can be written")]
pub struct DecisionError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// The log.
#[derive(Clone)]
pub struct DecisionLog {
    file: Arc<Mutex<File>>,
}

impl DecisionLog {
    /// Opens the log in this folder, which is made if it is missing.
    pub fn open(folder: &Path) -> Result<Self, DecisionError> {
        let path = folder.join("decisions.log");
        let opened =
            std::fs::create_dir_all(folder).and_then(|()| OpenOptions::new().create(true).append(true).open(&path));
        match opened {
            Ok(file) => Ok(Self { file: Arc::new(Mutex::new(file)) }),
            Err(source) => Err(DecisionError { path, source }),
        }
    }

    /// Writes a decision; when this returns, it is on the disk.
    pub async fn append(&self, record: &DecisionRecord) -> Result<(), ServiceError> {
        let line = serde_json::to_vec(record).map_err(|error| failed(&error))?;
        let file = Arc::clone(&self.file);
        let write = move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&[line, b"\n".to_vec()].concat())?;
            file.sync_data()
        };
        match blocking(write).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(failed(&error)),
            None => Err(failed(&"the writer stopped")),
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> ServiceError {
    tracing::error!(%error, "the decision log cannot be written");
    ServiceError::new(Code::Internal, "the decision could not be recorded, so nothing is released")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{AgreementBasis, Verdict};

    fn record(query: &str) -> DecisionRecord {
        DecisionRecord {
            at: "2026-01-01".into(),
            query_id: query.into(),
            verdict: Verdict::Permitted,
            requester: "a@uva.nl".into(),
            organisation: "uva".into(),
            purpose: None,
            statement_sha256: "00".into(),
            catalog_version: 7,
            agreements: vec![AgreementBasis { steward: "vu".into(), agreement: "a\"b".into(), epoch: 3 }],
            clauses: vec!["vu.a@3 clause 1".into()],
        }
    }

    #[tokio::test]
    async fn lines_survive_a_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        for query in ["q1", "q2"] {
            DecisionLog::open(&state).unwrap().append(&record(query)).await.unwrap();
        }
        let text = std::fs::read_to_string(state.join("decisions.log")).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[1]["query_id"], &lines[1]["agreements"][0]["epoch"]), (&"q2".into(), &3.into()));
        assert_eq!(lines[0]["verdict"], "permitted");
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(DecisionLog::open(file.path()).is_err());
    }
}
