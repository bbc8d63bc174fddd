//! [`State`]: all rows, and what a command does to them.

use std::collections::BTreeMap;

use dynamos_proto::state::command::Change;
use dynamos_proto::state::row::Row as Kind;
use dynamos_proto::state::{Agreements, Command, Done, Organisation, Organisations, Outcome, Refused, Row};
use dynamos_proto::v1::{Announcement, SignedAgreement, Table};

use super::epoch::{Standing, standing};
use super::key::RowKey;

/// So many requests are remembered; a request that is tried again after as many others is carried out again, which changes
/// nothing unless another came between.
pub const REMEMBERED_MAX: usize = 4096;

/// The rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    rows: BTreeMap<RowKey, Row>,
    /// The requests that are remembered, by their place in the log.
    done: BTreeMap<u64, Vec<u8>>,
}

/// What a command has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// For whoever asked.
    pub outcome: Outcome,
    /// The rows that were put, by key, and with none those that were removed: all that is to be stored.
    pub effects: Vec<(RowKey, Option<Row>)>,
}

impl State {
    /// The state of these rows. Rows without content are left out.
    pub fn from_rows(rows: impl IntoIterator<Item = Row>) -> Self {
        let mut state = Self::default();
        for row in rows {
            if let Some(Kind::Done(done)) = &row.row {
                state.done.insert(done.index, done.request.clone());
            }
            if let Some(key) = RowKey::of(&row) {
                state.rows.insert(key, row);
            }
        }
        state
    }

    /// All rows in order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// The newest version of an agreement, in force or revoked.
    pub fn agreement(&self, steward: &str, name: &str) -> Option<&SignedAgreement> {
        match self.rows.get(&RowKey::agreement(steward, name))?.row.as_ref()? {
            Kind::Agreement(agreement) => Some(agreement),
            Kind::Place(_) | Kind::Organisation(_) | Kind::Done(_) => None,
        }
    }

    /// Carries out the command at `index` of the log. A request that was carried out before gives its outcome again and
    /// changes nothing.
    pub fn apply(&mut self, index: u64, command: Command) -> Applied {
        if let Some(outcome) = self.outcome_of(&command.request) {
            return Applied { outcome, effects: Vec::new() };
        }
        let mut writing = Writing { state: self, applied: Applied::default() };
        match command.change {
            Some(Change::Agreements(Agreements { agreements })) => writing.agreements(agreements),
            Some(Change::Announced(announced)) => writing.announced(announced),
            Some(Change::Organisations(Organisations { organisations })) => writing.organisations(organisations),
            // A newer coordinator's command must not be passed over by an older one; the codec refuses it before.
            None => {}
        }
        writing.remember(index, command.request);
        writing.applied
    }

    fn outcome_of(&self, request: &[u8]) -> Option<Outcome> {
        match self.rows.get(&RowKey::done(request))?.row.as_ref()? {
            Kind::Done(done) => Some(done.outcome.clone().unwrap_or_default()),
            Kind::Agreement(_) | Kind::Place(_) | Kind::Organisation(_) => None,
        }
    }
}

/// The part of an announcement that lasts: the place and its tables. Agreements have rows of their own; counts and
/// statistics are learnt anew when the site comes back.
pub fn lasting(announced: &Announcement) -> Announcement {
    let tables = announced.tables.iter();
    let tables = tables.map(|table| Table { rows: 0, columns: Vec::new(), ..table.clone() }).collect();
    let Announcement { site, uri, kind, roles, region, .. } = announced.clone();
    Announcement { site, uri, kind, roles, region, tables, agreements: Vec::new() }
}

/// A state while it changes, with what is changed.
struct Writing<'a> {
    state: &'a mut State,
    applied: Applied,
}

impl Writing<'_> {
    fn agreements(&mut self, offered: Vec<SignedAgreement>) {
        for one in offered {
            let known = self.state.agreement(&one.steward, &one.name);
            match standing(known, &one) {
                Standing::Newer => self.put(Kind::Agreement(one)),
                Standing::Same => {}
                Standing::Older | Standing::Contradicts => {
                    let known = known.map_or(0, |known| known.epoch);
                    let SignedAgreement { steward, name, epoch: offered, .. } = one;
                    self.applied.outcome.refused.push(Refused { steward, name, offered, known });
                }
            }
        }
    }

    fn announced(&mut self, announced: Announcement) {
        self.put(Kind::Place(lasting(&announced)));
        self.agreements(announced.agreements);
    }

    fn organisations(&mut self, configured: Vec<Organisation>) {
        let known = self.state.rows.iter().filter(|(_, row)| matches!(row.row, Some(Kind::Organisation(_))));
        let known: Vec<RowKey> = known.map(|(key, _)| key.clone()).collect();
        known.into_iter().for_each(|key| self.remove(key));
        configured.into_iter().for_each(|one| self.put(Kind::Organisation(one)));
    }

    fn remember(&mut self, index: u64, request: Vec<u8>) {
        self.state.done.insert(index, request.clone());
        let outcome = Some(self.applied.outcome.clone());
        self.put(Kind::Done(Done { request, index, outcome }));
        while self.state.done.len() > REMEMBERED_MAX {
            let Some((_, oldest)) = self.state.done.pop_first() else { break };
            self.remove(RowKey::done(&oldest));
        }
    }

    fn put(&mut self, kind: Kind) {
        let row = Row { row: Some(kind) };
        let Some(key) = RowKey::of(&row) else { return };
        self.state.rows.insert(key.clone(), row.clone());
        self.applied.effects.push((key, Some(row)));
    }

    fn remove(&mut self, key: RowKey) {
        self.state.rows.remove(&key);
        self.applied.effects.push((key, None));
    }
}
