//! [`Ledger`]: the records of one place and the budgets that follow from them. A charge gets its place in the file under the
//! same lock under which it is counted, so what the file says after any crash was true at some time; waiting for the disk
//! happens outside of it, and admissions that come at the same time share one wait.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dynamos_planner::policy::{EdgeVerdict, Obliged, UtcMillis};
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::record::{RecordError, RecordFile};
use dynamos_proto::status::{Code, ServiceError};

use super::budgets::{Budgets, Charge, Demand, Exhausted};
use super::entry::{Edge, Entry, Erased, Moment, Permit, Refusal, Return, Subject};
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
}

impl Ledger {
    /// Opens the ledger in a place's state folder, verifies it, and counts what is spent.
    pub(crate) fn open(place: &SiteId, folder: &Path) -> Result<Self, SiteError> {
        let path = folder.join("ledger.log");
        let mut budgets = Budgets::new();
        let mut owed = BTreeSet::new();
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
            Entry::Return(Return { query_id, charge, .. }) => budgets.give_back(&QueryId::new(query_id), &charge),
            Entry::Erased(Erased { query_id, .. }) => _ = owed.remove(&QueryId::new(query_id)),
            Entry::Refusal(_) => {}
        })?;
        if file.incomplete_bytes() > 0 {
            tracing::warn!(path = %path.display(), bytes = file.incomplete_bytes(), "an incomplete record was cut off");
        }
        Ok(Self { place: place.clone(), file: Some(file), budgets: Mutex::new(budgets), owed })
    }

    /// A ledger that keeps nothing.
    pub(crate) fn none(place: &SiteId) -> Self {
        Self { place: place.clone(), file: None, budgets: Mutex::new(Budgets::new()), owed: BTreeSet::new() }
    }

    /// Charges a query and records its permit; when this returns, both are on the disk. It blocks the thread.
    ///
    /// # Errors
    ///
    /// `BUDGET_SPENT` if the agreement allows this organisation no more, `INTERNAL` if the record cannot be written.
    pub(crate) fn permit(
        &self,
        subject: Subject,
        edges: &[EdgeVerdict],
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
            edges: Edge::all(edges),
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

    /// Gives a charge back, because no place had begun with the query. It blocks the thread.
    pub(crate) fn give_back(&self, query: &QueryId, charge: &Charge, now: UtcMillis) {
        let Some(file) = self.file.as_ref().filter(|_| charge.points() > 0) else { return };
        let mut budgets = self.budgets();
        budgets.give_back(query, charge);
        let record = Return { at: Moment(now), query_id: query.to_string(), charge: charge.clone() };
        let enqueued = file.enqueue(&Entry::Return(record));
        drop(budgets);
        if let Err(error) = enqueued.and_then(|unwritten| unwritten.wait()) {
            tracing::error!(%error, "what was given back to a budget cannot be recorded");
        }
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
