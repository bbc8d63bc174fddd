//! [`DecisionLog`]: decisions in a hash-chained file that only grows, and how the queries ended. Nothing is released before
//! its decision is on the disk, and no answer ends well before its end is; so a log that cannot be written stops all queries.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dynamos_proto::record::{RecordError, RecordFile};
use dynamos_proto::status::{Code, ServiceError};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

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

/// The end of a query on its way to the disk, where it gets whether or not somebody waits.
#[must_use = "who is told of an end waits for its record, who has gone drops this"]
pub(crate) struct Recorded(Option<oneshot::Receiver<Result<(), ServiceError>>>);

impl Recorded {
    /// Of what is not recorded.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Waits until it is on the disk.
    pub(crate) async fn durable(self) -> Result<(), ServiceError> {
        let Some(written) = self.0 else { return Ok(()) };
        written.await.unwrap_or_else(|_| Err(unfinished(&"the writer stopped")))
    }
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

    /// Writes how a query ended, in the background: who waits for it may go.
    pub(super) fn end(&self, record: EndRecord, background: &Background) -> Recorded {
        let (told, written) = oneshot::channel();
        match self.file.enqueue(&Entry::End(record.clone())) {
            Ok(unwritten) => {
                self.recent.lock().unwrap_or_else(PoisonError::into_inner).ended(record);
                background.spawn(async move {
                    let ended = match blocking(move || unwritten.wait()).await {
                        Some(ended) => ended.map_err(|error| unfinished(&error)),
                        None => Err(unfinished(&"the writer stopped")),
                    };
                    // Whoever waited may have gone.
                    told.send(ended).unwrap_or_default();
                });
            }
            Err(error) => told.send(Err(unfinished(&error))).unwrap_or_default(),
        }
        Recorded(Some(written))
    }

    /// Takes nothing more, as after a failed write.
    #[cfg(test)]
    pub(crate) fn break_off(&self) {
        self.file.break_off("no space");
    }

    /// The latest decisions about a person's queries, the newest first.
    pub fn recent(&self, requester: &str, organisation: &str) -> Vec<Shown> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).of(requester, organisation)
    }
}

fn failed(error: &dyn std::fmt::Display) -> ServiceError {
    tracing::error!(%error, "the decision log cannot be written");
    ServiceError::new(Code::Internal, "the decision could not be recorded, so nothing is released")
}

fn unfinished(error: &dyn std::fmt::Display) -> ServiceError {
    tracing::error!(%error, "the end of a query cannot be recorded");
    ServiceError::new(
        Code::Internal,
        "the end of the query could not be recorded, so its rows do not count as an answer",
    )
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
        log.end(end.clone(), &background).durable().await.unwrap();
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
    async fn an_end_is_written_though_nobody_waits_and_is_an_error_where_it_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let (log, background) = (DecisionLog::open(folder.path()).unwrap(), Background::new());
        let end = |query: &str| EndRecord {
            at: "2026-01-02".into(),
            query_id: query.into(),
            outcome: "CANCELLED".into(),
            rows_at_most: 1024,
            released_nothing: Vec::new(),
        };
        drop(log.end(end("q1"), &background));
        background.drain(std::time::Duration::from_secs(10)).await;
        let text = std::fs::read_to_string(folder.path().join("decisions.log")).unwrap();
        assert!(text.contains("\"q1\""), "{text}");
        log.break_off();
        assert_eq!(log.end(end("q2"), &background).durable().await.unwrap_err().code, Code::Internal);
        assert_eq!(log.append(&record("q3")).await.unwrap_err().code, Code::Internal);
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
