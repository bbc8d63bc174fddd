//! [`Ledger`]: the records of one place and the budgets that follow from them. A charge gets its place in the file under the
//! same lock under which it is counted, so what the file says after any crash was true at some time; waiting for the disk
//! happens outside of it, and admissions that come at the same time share one wait.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dynamos_planner::policy::{Obliged, UtcMillis};
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::record::{RecordError, RecordFile, Unwritten};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::SignedAgreement;

use super::agreement_change::AgreementChange;
use super::budgets::{Budgets, Charge, Demand, Exhausted};
use super::entry::{Edge, Entry, Erased, Given, Moment, Permit, Refusal, Return, Subject};
use crate::admission::{Reason, Refused};
use crate::error::SiteError;

/// The ledger of a place.
pub(crate) struct Ledger {
    place: SiteId,
    /// None at the coordinator's own place: every query is in the coordinator's decision log already.
    file: Option<RecordFile>,
    budgets: Mutex<Budgets>,
    /// Queries that ran under a RETENTION of 0 when the place stopped: it must be recorded that they are gone.
    owed: BTreeSet<QueryId>,
    /// The newest version on record of each of the steward's own agreements, when the place began.
    versions: BTreeMap<String, u64>,
}

/// A record that has its place in the file and may not be on the disk yet. Unless it is waited for it gets there with the
/// next one that is, or by [`Ledger::flush`].
#[must_use = "who was told of what it says before it is on the disk was told too early"]
pub(crate) struct Recording(Result<Option<Unwritten>, RecordError>);

impl Ledger {
    /// Opens the ledger in a place's state folder, verifies it, and counts what is spent.
    pub(crate) fn open(place: &SiteId, folder: &Path) -> Result<Self, SiteError> {
        let path = folder.join("ledger.log");
        let mut budgets = Budgets::new();
        let mut owed = BTreeSet::new();
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        let file = RecordFile::open(&path, |entry| match entry {
            Entry::Permit(Permit { subject, charge, erase, .. }) => {
                let Some(query) = subject.query() else { return };
                if let Some(charge) = charge {
                    budgets.apply(&query, &charge);
                }
                if erase {
                    owed.insert(query);
                }
            }
            Entry::Return(Return { query_id, charge, .. }) => _ = budgets.give_back(&QueryId::new(query_id), &charge),
            Entry::Erased(Erased { query_id, .. }) => _ = owed.remove(&QueryId::new(query_id)),
            Entry::Agreement(change) => {
                if let Some((name, epoch)) = change.version() {
                    versions.insert(name.to_owned(), epoch);
                }
            }
            Entry::Refusal(_) | Entry::Given(_) => {}
        })?;
        if file.incomplete_bytes() > 0 {
            tracing::warn!(path = %path.display(), bytes = file.incomplete_bytes(), "an incomplete record was cut off");
        }
        Ok(Self { place: place.clone(), file: Some(file), budgets: Mutex::new(budgets), owed, versions })
    }

    /// A ledger that keeps nothing.
    pub(crate) fn none(place: &SiteId) -> Self {
        let (budgets, owed) = (Mutex::new(Budgets::new()), BTreeSet::new());
        Self { place: place.clone(), file: None, budgets, owed, versions: BTreeMap::new() }
    }

    /// Charges a query and records its permit; when this returns, both are on the disk. It blocks the thread.
    ///
    /// # Errors
    ///
    /// `BUDGET_SPENT` if the agreement allows this organisation no more, `INTERNAL` if the record cannot be written.
    pub(crate) fn permit(
        &self,
        subject: Subject,
        edges: Vec<Edge>,
        obligations: &[Obliged],
        demand: Option<Demand<'_>>,
        now: UtcMillis,
    ) -> Result<Option<Charge>, Refused> {
        let Some(file) = &self.file else { return Ok(None) };
        let query = subject.query().ok_or_else(|| self.unwritable(&"the query has no name"))?;
        let mut budgets = self.budgets();
        let charge = match &demand {
            Some(demand) => {
                let charged = budgets.charge(&query, demand, now);
                Some(charged.map_err(|exhausted| self.refusal(&demand.agreement.name, &exhausted))?)
            }
            None => None,
        };
        let record = Permit {
            at: Moment(now),
            subject,
            edges,
            obligations: obligations.iter().map(|one| one.clause.clone()).collect(),
            erase: obligations.iter().any(Obliged::is_retention),
            charge: charge.clone(),
        };
        let unwritten = file.enqueue(&Entry::Permit(record)).map_err(|error| self.failed(&error))?;
        drop(budgets);
        unwritten.wait().map_err(|error| self.failed(&error))?;
        Ok(charge)
    }

    /// Records a refusal; when this returns, it is on the disk. A refusal that cannot be recorded is one all the same. It
    /// blocks the thread.
    pub(crate) fn refuse(&self, subject: Subject, refused: &Refused, now: UtcMillis) {
        let Some(file) = &self.file else { return };
        let (code, reason) = (refused.error.code.as_str().to_owned(), refused.reason);
        let written = file.append(&Entry::Refusal(Refusal { at: Moment(now), subject, code, reason }));
        if let Err(error) = written {
            tracing::error!(%error, "a refusal cannot be recorded");
        }
    }

    /// Records what a fragment gave, without the disk.
    pub(crate) fn given(&self, given: Given) -> Recording {
        self.enqueue(&Entry::Given(given))
    }

    /// Records a change of an agreement that is in force, without the disk. What is recorded later may rest on it.
    pub(crate) fn changed(&self, change: AgreementChange) -> Recording {
        self.enqueue(&Entry::Agreement(change))
    }

    /// Records a change of an agreement that was refused; when this returns, it is on the disk. A refusal that cannot be
    /// recorded is one all the same. It blocks the thread.
    pub(crate) fn refused_change(&self, change: AgreementChange) {
        let Recording(enqueued) = self.enqueue(&Entry::Agreement(change));
        if let Err(error) = enqueued.and_then(|unwritten| unwritten.map_or(Ok(()), Unwritten::wait)) {
            tracing::error!(%error, "a refused change of an agreement cannot be recorded");
        }
    }

    /// Records those of the steward's own agreements, as the place begins with them, that are not on record in their version:
    /// they came by a file, or a crash took the record. When this returns, they are on the disk. It blocks the thread.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub(crate) fn find(&self, own: &[SignedAgreement], now: UtcMillis) -> Result<(), SiteError> {
        let Some(file) = &self.file else { return Ok(()) };
        for one in own.iter().filter(|one| self.versions.get(&one.name) != Some(&one.epoch)) {
            drop(file.enqueue(&Entry::Agreement(AgreementChange::found(one, now)))?);
        }
        Ok(file.flush()?)
    }

    /// Waits until a record is on the disk. It blocks the thread.
    ///
    /// # Errors
    ///
    /// `INTERNAL` if it cannot be written.
    pub(crate) fn written(&self, Recording(enqueued): Recording) -> Result<(), ServiceError> {
        enqueued.and_then(|unwritten| unwritten.map_or(Ok(()), Unwritten::wait)).map_err(|error| {
            tracing::error!(%error, "the ledger cannot be written");
            let text = format!("site `{}` cannot record what it did, and takes part in nothing more", self.place);
            ServiceError::new(Code::Internal, text)
        })
    }

    /// Whether there are records that nobody waits for.
    pub(crate) fn has_waiting(&self) -> bool {
        self.file.as_ref().is_some_and(RecordFile::has_waiting)
    }

    /// Puts them on the disk. It blocks the thread.
    pub(crate) fn flush(&self) {
        if let Some(Err(error)) = self.file.as_ref().filter(|file| file.has_waiting()).map(RecordFile::flush) {
            tracing::error!(%error, "the ledger cannot be written");
        }
    }

    /// Takes nothing more, as after a failed write.
    #[cfg(test)]
    pub(crate) fn break_off(&self) {
        self.file.iter().for_each(|file| file.break_off("no space"));
    }

    /// The queries whose end was not recorded before the place stopped, though it had to be.
    pub(crate) fn owed(&self) -> Vec<QueryId> {
        self.owed.iter().cloned().collect()
    }

    /// Records that nothing of a query is left at the place. It blocks the thread.
    pub(crate) fn erased(&self, query: &QueryId, now: UtcMillis) {
        let Some(file) = &self.file else { return };
        let record = Erased { at: Moment(now), query_id: query.to_string() };
        if let Err(error) = file.append(&Entry::Erased(record)) {
            tracing::error!(%error, "it cannot be recorded that a query is gone");
        }
    }

    /// Gives a charge back, because no place had begun with the query; nothing if a later attempt already rests on it. It
    /// blocks the thread.
    pub(crate) fn give_back(&self, query: &QueryId, charge: &Charge, now: UtcMillis) {
        let Some(file) = self.file.as_ref().filter(|_| charge.points() > 0) else { return };
        let mut budgets = self.budgets();
        if !budgets.give_back(query, charge) {
            return;
        }
        let record = Return { at: Moment(now), query_id: query.to_string(), charge: charge.clone() };
        let enqueued = file.enqueue(&Entry::Return(record));
        drop(budgets);
        if let Err(error) = enqueued.and_then(|unwritten| unwritten.wait()) {
            tracing::error!(%error, "what was given back to a budget cannot be recorded");
        }
    }

    fn enqueue(&self, entry: &Entry) -> Recording {
        Recording(self.file.as_ref().map(|file| file.enqueue(entry)).transpose())
    }

    fn budgets(&self) -> MutexGuard<'_, Budgets> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self, agreement: &str, exhausted: &Exhausted) -> Refused {
        let (place, clause) = (&self.place, exhausted.clause);
        let text = format!("clause {clause} of agreement `{agreement}` of `{place}` allows {exhausted}");
        let hint = format!("ask again from {} on, or ask the steward for more", exhausted.next);
        Refused { reason: Reason::Budget, error: ServiceError::new(Code::BudgetSpent, text).with_hint(hint) }
    }

    fn failed(&self, error: &RecordError) -> Refused {
        self.unwritable(error)
    }

    fn unwritable(&self, error: &dyn std::fmt::Display) -> Refused {
        tracing::error!(%error, "the ledger cannot be written");
        let text = format!("site `{}` cannot record the query, so it takes no part in it", self.place);
        Refused::new(Reason::Record, Code::Internal, text)
    }
}
