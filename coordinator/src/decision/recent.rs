//! The newest records in memory, for those who ask about their own queries. The file holds all; this is only what can be
//! answered without reading it.

use std::collections::VecDeque;

use super::record::{DecisionRecord, EndRecord};

/// Decisions that are remembered; beyond this the oldest is forgotten here.
const REMEMBERED_MAX: usize = 4096;

/// A decision, and how its query ended if it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The decision.
    pub decision: DecisionRecord,
    /// The end of a query that ran.
    pub end: Option<EndRecord>,
}

/// The newest decisions of everybody, the newest last.
#[derive(Default)]
pub(super) struct Recent(VecDeque<Shown>);

impl Recent {
    pub(super) fn decided(&mut self, decision: DecisionRecord) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Shown { decision, end: None });
    }

    pub(super) fn ended(&mut self, end: EndRecord) {
        if let Some(shown) = self.0.iter_mut().rev().find(|one| one.decision.query_id == end.query_id) {
            shown.end = Some(end);
        }
    }

    pub(super) fn of(&self, requester: &str, organisation: &str) -> Vec<Shown> {
        let own = |one: &&Shown| one.decision.requester == requester && one.decision.organisation == organisation;
        self.0.iter().rev().filter(own).cloned().collect()
    }
}
