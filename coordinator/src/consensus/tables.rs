//! The tables of the file, and the few values that are stored by name.

use raft::eraftpb::{ConfState, HardState};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::codec;
use super::error::ConsensusError;

/// Entries of the log, by index.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Rows of the state, by key.
pub(super) const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// Values by name.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

/// The form of this file. Another number is refused.
const FORMAT: u64 = 1;

/// Index and term of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) index: u64,
    pub(super) term: u64,
}

/// The values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values {
    /// Term, vote and commit index.
    pub(super) hard: HardState,
    /// The members.
    pub(super) members: ConfState,
    /// The last entry whose effects are in the rows.
    pub(super) applied: Position,
    /// The last entry that was cut off the log.
    pub(super) cut: Position,
}

impl Values {
    /// Reads the values of node `id`, or writes those of a new node whose group is `members`.
    pub(super) fn open(database: &Database, id: u64, members: &ConfState) -> Result<Self, ConsensusError> {
        let writing = database.begin_write().map_err(ConsensusError::disk)?;
        let values = {
            writing.open_table(LOG).map_err(ConsensusError::disk)?;
            writing.open_table(ROWS).map_err(ConsensusError::disk)?;
            let mut table = writing.open_table(VALUES).map_err(ConsensusError::disk)?;
            match number(&table, "format")? {
                None => {
                    put(&mut table, "format", &FORMAT.to_be_bytes())?;
                    put(&mut table, "node", &id.to_be_bytes())?;
                    Self { members: members.clone(), ..Self::default() }
                }
                Some(FORMAT) => Self::read(&table, id)?,
                Some(other) => return Err(unreadable(format!("its format is {other}, not {FORMAT}"))),
            }
        };
        values.write(&writing)?;
        writing.commit().map_err(ConsensusError::disk)?;
        Ok(values)
    }

    /// Writes all values within a transaction.
    pub(super) fn write(&self, writing: &WriteTransaction) -> Result<(), ConsensusError> {
        let mut table = writing.open_table(VALUES).map_err(ConsensusError::disk)?;
        put(&mut table, "hard", &codec::bytes(&self.hard))?;
        put(&mut table, "members", &codec::bytes(&self.members))?;
        put(&mut table, "applied", &self.applied.bytes())?;
        put(&mut table, "cut", &self.cut.bytes())
    }

    fn read(table: &Table<'_, &str, &[u8]>, id: u64) -> Result<Self, ConsensusError> {
        let stored = number(table, "node")?;
        if stored != Some(id) {
            return Err(unreadable(format!("it belongs to node {}, not {id}", stored.unwrap_or_default())));
        }
        let values = Self {
            hard: codec::read("the hard state", &get(table, "hard")?)?,
            members: codec::read("the members", &get(table, "members")?)?,
            applied: Position::read(&get(table, "applied")?)?,
            cut: Position::read(&get(table, "cut")?)?,
        };
        if values.applied.index > values.hard.commit {
            let (applied, commit) = (values.applied.index, values.hard.commit);
            return Err(unreadable(format!("{applied} is applied but only {commit} is committed")));
        }
        Ok(values)
    }
}

impl Position {
    fn bytes(self) -> Vec<u8> {
        [self.index.to_be_bytes(), self.term.to_be_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Result<Self, ConsensusError> {
        let (index, term) = bytes.split_at_checked(8).ok_or_else(|| unreadable("a position is too short".into()))?;
        Ok(Self { index: to_number(index)?, term: to_number(term)? })
    }
}

/// All rows.
pub(super) fn rows(database: &Database) -> Result<Vec<dynamos_proto::state::Row>, ConsensusError> {
    let reading = database.begin_read().map_err(ConsensusError::disk)?;
    let table = reading.open_table(ROWS).map_err(ConsensusError::disk)?;
    let mut rows = Vec::new();
    for row in table.iter().map_err(ConsensusError::disk)? {
        let (_, bytes) = row.map_err(ConsensusError::disk)?;
        rows.push(codec::row(bytes.value())?);
    }
    Ok(rows)
}

fn put(table: &mut Table<'_, &str, &[u8]>, name: &str, value: &[u8]) -> Result<(), ConsensusError> {
    table.insert(name, value).map(drop).map_err(ConsensusError::disk)
}

fn get(table: &Table<'_, &str, &[u8]>, name: &str) -> Result<Vec<u8>, ConsensusError> {
    let value = table.get(name).map_err(ConsensusError::disk)?;
    value.map(|value| value.value().to_vec()).ok_or_else(|| unreadable(format!("it has no `{name}`")))
}

fn number(table: &Table<'_, &str, &[u8]>, name: &str) -> Result<Option<u64>, ConsensusError> {
    let value = table.get(name).map_err(ConsensusError::disk)?;
    value.map(|value| to_number(value.value())).transpose()
}

fn to_number(bytes: &[u8]) -> Result<u64, ConsensusError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| unreadable("a number has not 8 bytes".into()))
}

fn unreadable(why: String) -> ConsensusError {
    ConsensusError::Unreadable(why)
}
