//! [`DecisionLog`]: decisions in a hash-chained file that only grows. Nothing is released before its record is on the
//! disk, so a log that cannot be written stops all queries.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dynamos_proto::record::{RecordError, RecordFile, Unwritten};
use dynamos_proto::status::{Code, ServiceError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::recent::{Recent, Shown};
use super::record::{DecisionRecord, EndRecord};
use crate::background::{Background, blocking};

/// The log cannot be opened.
#[derive(Debug, Error)]
#[error("the decision log cannot be used")]
pub struct DecisionError(#[from] RecordError);

/// The log.
#[derive(Clone)]
pub struct DecisionLog {
    file: RecordFile,
    recent: Arc<Mutex<Recent>>,
}

/// What stands in a line.
#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Entry {
    Decision(DecisionRecord),
    End(EndRecord),
}

impl DecisionLog {
    /// Opens the log in this folder, which is made if it is missing, and verifies it.
    pub fn open(folder: &Path) -> Result<Self, DecisionError> {
        let path = folder.join("decisions.log");
        let mut recent = Recent::default();
        let file = RecordFile::open(&path, |entry| match entry {
            Entry::Decision(decision) => recent.decided(decision),
            Entry::End(end) => recent.ended(end),
        })?;
        if file.incomplete_bytes() > 0 {
            tracing::warn!(path = %path.display(), bytes = file.incomplete_bytes(), "an incomplete decision was cut off");
        }
        Ok(Self { file, recent: Arc::new(Mutex::new(recent)) })
    }

    /// Writes a decision; when this returns, it is on the disk.
    pub async fn append(&self, record: &DecisionRecord) -> Result<(), ServiceError> {
        let unwritten = self.file.enqueue(&Entry::Decision(record.clone())).map_err(|error| failed(&error))?;
        match blocking(move || unwritten.wait()).await {
            Some(Ok(())) => {
                self.recent.lock().unwrap_or_else(PoisonError::into_inner).decided(record.clone());
                Ok(())
            }
            Some(Err(error)) => Err(failed(&error)),
            None => Err(failed(&"the writer stopped")),
        }
    }

    /// Writes how a query ended, in the background: its rows were on their way before.
    pub(super) fn end(&self, record: EndRecord, background: &Background) {
        let unwritten = match self.file.enqueue(&Entry::End(record.clone())) {
            Ok(unwritten) => unwritten,
            Err(error) => return tracing::error!(%error, "the end of a query cannot be recorded"),
        };
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).ended(record);
        background.spawn(async move { wait(unwritten).await });
    }

    /// The latest decisions about a person's queries, the newest first.
    pub fn recent(&self, requester: &str, organisation: &str) -> Vec<Shown> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).of(requester, organisation)
    }
}

async fn wait(unwritten: Unwritten) {
    if let Some(Err(error)) = blocking(move || unwritten.wait()).await {
        tracing::error!(%error, "the end of a query cannot be recorded");
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
            code: None,
            requester: "a@uva.nl".into(),
            organisation: "uva".into(),
            purpose: None,
            statement: "select 1".into(),
            statement_sha256: "00".into(),
            graph_sha256: Some("01".into()),
            catalog_version: 7,
            agreements: vec![AgreementBasis { steward: "vu".into(), agreement: "a\"b".into(), epoch: 3 }],
            clauses: vec!["vu.a@3 clause 1".into()],
            reason: None,
        }
    }

    #[tokio::test]
    async fn records_survive_a_reopening_and_are_shown_to_who_asked() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        for query in ["q1", "q2"] {
            DecisionLog::open(&state).unwrap().append(&record(query)).await.unwrap();
        }
        let log = DecisionLog::open(&state).unwrap();
        let background = Background::new();
        let end = EndRecord {
            at: "2026-01-02".into(),
            query_id: "q1".into(),
            outcome: "FINISHED".into(),
            rows_at_most: 1024,
            released_nothing: vec!["vu".into()],
        };
        log.end(end.clone(), &background);
        background.drain(std::time::Duration::from_secs(10)).await;
        drop(log);
        let text = std::fs::read_to_string(state.join("decisions.log")).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        let second = &lines[1]["record"];
        assert_eq!((&second["query_id"], &second["agreements"][0]["epoch"]), (&"q2".into(), &3.into()));
        assert_eq!((&second["event"], &second["verdict"]), (&"decision".into(), &"permitted".into()));
        assert_eq!(lines[2]["record"]["rows_at_most"], 1024);

        let log = DecisionLog::open(&state).unwrap();
        let shown = log.recent("a@uva.nl", "uva");
        assert_eq!(shown.iter().map(|one| one.decision.query_id.as_str()).collect::<Vec<_>>(), ["q2", "q1"]);
        assert_eq!((shown[0].end.clone(), shown[1].end.clone()), (None, Some(end)));
        assert!(log.recent("a@uva.nl", "vu").is_empty() && log.recent("b@uva.nl", "uva").is_empty());
    }

    #[tokio::test]
    async fn a_changed_record_keeps_the_log_from_opening() {
        let folder = tempfile::tempdir().unwrap();
        DecisionLog::open(folder.path()).unwrap().append(&record("q1")).await.unwrap();
        let path = folder.path().join("decisions.log");
        let text = std::fs::read_to_string(&path).unwrap().replace("permitted", "denied");
        std::fs::write(&path, text).unwrap();
        let DecisionError(error) = DecisionLog::open(folder.path()).err().unwrap();
        assert!(error.to_string().starts_with("line 1 of the record file"), "{error}");
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(DecisionLog::open(file.path()).is_err());
    }
}
