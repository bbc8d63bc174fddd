//! [`Store`]: the log and the rows of one node in one redb file. A batch costs one wait for the disk: entries and hard state
//! are written durably before anything depends on them, effects of committed entries in a transaction that the next
//! durable one takes along. If that is lost, the entries are still there and are applied again.

use std::sync::Arc;

use dynamos_proto::state::{Row, Rows};
use prost::Message;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::util::limit_size;
use raft::{GetEntriesContext, RaftState, StorageError};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};

use super::codec;
use super::error::ConsensusError;
use super::tables::{LOG, Position, ROWS, Values, rows};
use crate::state::RowKey;

/// Whether a transaction waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    ForDisk,
    No,
}

/// What committed entries have done.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Rows that were put, and with none those that were removed, in order.
    pub(super) rows: Vec<(RowKey, Option<Row>)>,
    /// The last of the entries.
    pub(super) last: Position,
    /// The members, if they have changed.
    pub(super) members: Option<ConfState>,
}

/// The storage of one node.
pub(super) struct Store {
    database: Arc<Database>,
    values: Values,
    /// The last entry of the log.
    last: Position,
    /// So many applied entries are kept for peers that lag behind; others get a snapshot.
    kept: u64,
    #[cfg(test)]
    pub(super) mistake: Option<Mistake>,
}

/// Known errors, put in on purpose: a test of crashes must find each of them.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// Entries are acknowledged before they are on the disk.
    NoWait,
    /// Effects are on the disk before the commit index that allows them.
    ApplyBeforeCommit,
    /// The last applied entry is on the disk before its effects.
    AppliedBeforeEffects,
}

impl Store {
    /// The storage in this database, for node `id`; `members` is the group if it is new.
    pub(super) fn new(database: Database, id: u64, members: &ConfState, kept: u64) -> Result<Self, ConsensusError> {
        let values = Values::open(&database, id, members)?;
        let mut store = Self {
            database: Arc::new(database),
            last: values.cut,
            values,
            kept,
            #[cfg(test)]
            mistake: None,
        };
        if let Some(last) = store.last_entry()? {
            store.last = Position { index: last.index, term: last.term };
        }
        if store.values.hard.commit > store.last.index {
            let text = format!("{} is committed but the log ends at {}", store.values.hard.commit, store.last.index);
            return Err(ConsensusError::Unreadable(text));
        }
        Ok(store)
    }

    /// The last entry whose effects are in the rows.
    pub(super) fn applied(&self) -> Position {
        self.values.applied
    }

    /// The members of the group.
    pub(super) fn members(&self) -> &ConfState {
        &self.values.members
    }

    /// All rows.
    pub(super) fn rows(&self) -> Result<Vec<Row>, ConsensusError> {
        rows(&self.database)
    }

    /// Takes in a snapshot, entries and the hard state, in one transaction.
    pub(super) fn persist(
        &mut self,
        snapshot: &Snapshot,
        entries: &[Entry],
        hard: Option<&HardState>,
        wait: Wait,
    ) -> Result<(), ConsensusError> {
        let (mut values, mut last) = (self.values.clone(), self.last);
        let writing = self.begin(self.wait_for_entries(wait))?;
        if !snapshot.is_empty() {
            let at = install(&writing, snapshot)?;
            values.members = snapshot.get_metadata().get_conf_state().clone();
            values.hard.commit = values.hard.commit.max(at.index);
            (values.applied, values.cut, last) = (at, at, at);
        }
        if let Some(first) = entries.first() {
            let mut log = writing.open_table(LOG).map_err(ConsensusError::disk)?;
            if first.index <= last.index {
                log.retain_in(first.index.., |_, _| false).map_err(ConsensusError::disk)?;
            }
            for entry in entries {
                log.insert(entry.index, codec::bytes(entry).as_slice()).map_err(ConsensusError::disk)?;
                last = Position { index: entry.index, term: entry.term };
            }
        }
        if let Some(hard) = hard {
            values.hard = hard.clone();
        }
        values.write(&writing)?;
        writing.commit().map_err(ConsensusError::disk)?;
        (self.values, self.last) = (values, last);
        Ok(())
    }

    /// Writes the effects of committed entries together with the commit index that allows them and the last applied one, in
    /// one transaction. Cuts the log if it has grown.
    pub(super) fn apply(&mut self, effects: &Effects, commit: u64) -> Result<(), ConsensusError> {
        let mut values = self.values.clone();
        values.hard.commit = values.hard.commit.max(commit);
        values.applied = effects.last;
        values.members = effects.members.clone().unwrap_or(values.members);
        #[cfg(test)]
        self.make_mistake(effects)?;
        let writing = self.begin(Wait::No)?;
        {
            let mut table = writing.open_table(ROWS).map_err(ConsensusError::disk)?;
            for (key, row) in &effects.rows {
                match row {
                    Some(row) => table.insert(key.as_bytes(), row.encode_to_vec().as_slice()).map(drop),
                    None => table.remove(key.as_bytes()).map(drop),
                }
                .map_err(ConsensusError::disk)?;
            }
        }
        self.cut(&writing, &mut values)?;
        values.write(&writing)?;
        writing.commit().map_err(ConsensusError::disk)?;
        self.values = values;
        Ok(())
    }

    /// Makes everything so far outlast the process and the machine's power.
    pub(super) fn flush(&self) -> Result<(), ConsensusError> {
        self.begin(Wait::ForDisk)?.commit().map_err(ConsensusError::disk)
    }

    /// Cuts off what nobody needs, half of it at a time, so that it is not done for each entry.
    fn cut(&self, writing: &WriteTransaction, values: &mut Values) -> Result<(), ConsensusError> {
        let until = values.applied.index.saturating_sub(self.kept);
        if until.saturating_sub(values.cut.index) < self.kept.max(1) {
            return Ok(());
        }
        let mut log = writing.open_table(LOG).map_err(ConsensusError::disk)?;
        let entry = log.get(until).map_err(ConsensusError::disk)?.map(|entry| entry.value().to_vec());
        let entry = entry.ok_or_else(|| ConsensusError::Unreadable(format!("entry {until} of the log is missing")))?;
        let entry: Entry = codec::read("an entry", &entry)?;
        log.retain_in(..=until, |_, _| false).map_err(ConsensusError::disk)?;
        values.cut = Position { index: entry.index, term: entry.term };
        Ok(())
    }

    fn begin(&self, wait: Wait) -> Result<WriteTransaction, ConsensusError> {
        let mut writing = self.database.begin_write().map_err(ConsensusError::disk)?;
        let durability = match wait {
            Wait::ForDisk => Durability::Immediate,
            Wait::No => Durability::None,
        };
        writing.set_durability(durability).map_err(ConsensusError::disk)?;
        Ok(writing)
    }

    fn last_entry(&self) -> Result<Option<Entry>, ConsensusError> {
        let reading = self.database.begin_read().map_err(ConsensusError::disk)?;
        let log = reading.open_table(LOG).map_err(ConsensusError::disk)?;
        let last = log.last().map_err(ConsensusError::disk)?;
        last.map(|(_, entry)| codec::read("an entry", entry.value())).transpose()
    }

    fn range(&self, low: u64, high: u64) -> Result<Vec<Entry>, ConsensusError> {
        let reading = self.database.begin_read().map_err(ConsensusError::disk)?;
        let log = reading.open_table(LOG).map_err(ConsensusError::disk)?;
        let mut entries = Vec::new();
        for entry in log.range(low..high).map_err(ConsensusError::disk)? {
            let (_, entry) = entry.map_err(ConsensusError::disk)?;
            entries.push(codec::read("an entry", entry.value())?);
        }
        Ok(entries)
    }

    /// The whole state at the last applied entry.
    fn whole(&self) -> Result<Snapshot, ConsensusError> {
        let mut snapshot = Snapshot { data: Rows { rows: self.rows()? }.encode_to_vec(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (self.values.applied.index, self.values.applied.term);
        metadata.set_conf_state(self.values.members.clone());
        Ok(snapshot)
    }
}

#[cfg(not(test))]
impl Store {
    /// Tests put a mistake in here.
    fn wait_for_entries(&self, wait: Wait) -> Wait {
        wait
    }
}

#[cfg(test)]
impl Store {
    /// Entries in the log.
    pub(super) fn entries_kept(&self) -> u64 {
        self.last.index - self.values.cut.index
    }

    fn wait_for_entries(&self, wait: Wait) -> Wait {
        if self.mistake == Some(Mistake::NoWait) { Wait::No } else { wait }
    }

    fn make_mistake(&self, effects: &Effects) -> Result<(), ConsensusError> {
        let mut values = self.values.clone();
        match self.mistake {
            Some(Mistake::ApplyBeforeCommit) => values.applied = effects.last,
            Some(Mistake::AppliedBeforeEffects) => {
                values.applied = effects.last;
                values.hard.commit = values.hard.commit.max(effects.last.index);
            }
            Some(Mistake::NoWait) | None => return Ok(()),
        }
        let writing = self.begin(Wait::ForDisk)?;
        values.write(&writing)?;
        writing.commit().map_err(ConsensusError::disk)
    }
}

/// Replaces all rows and the whole log by a snapshot; gives its place in the log.
fn install(writing: &WriteTransaction, snapshot: &Snapshot) -> Result<Position, ConsensusError> {
    let mut log = writing.open_table(LOG).map_err(ConsensusError::disk)?;
    log.retain(|_, _| false).map_err(ConsensusError::disk)?;
    let mut table = writing.open_table(ROWS).map_err(ConsensusError::disk)?;
    table.retain(|_, _| false).map_err(ConsensusError::disk)?;
    for row in codec::rows(&snapshot.data)?.rows {
        let key = RowKey::of(&row).ok_or_else(|| ConsensusError::Unreadable("a row without content".into()))?;
        table.insert(key.as_bytes(), row.encode_to_vec().as_slice()).map_err(ConsensusError::disk)?;
    }
    let metadata = snapshot.get_metadata();
    Ok(Position { index: metadata.index, term: metadata.term })
}

fn unavailable(error: ConsensusError) -> raft::Error {
    raft::Error::Store(StorageError::Other(Box::new(error)))
}

impl raft::Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.values.hard.clone(), self.values.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.values.cut.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last.index + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let mut entries = self.range(low, high).map_err(unavailable)?;
        limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.last.index {
            return Ok(self.last.term);
        }
        if index == self.values.cut.index {
            return Ok(self.values.cut.term);
        }
        if index < self.values.cut.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let entries = self.range(index, index.saturating_add(1)).map_err(unavailable)?;
        entries.first().map(|entry| entry.term).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.values.cut.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.index)
    }

    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        if self.values.applied.index < request_index {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        self.whole().map_err(unavailable)
    }
}
