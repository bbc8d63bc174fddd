//! Bytes of what is stored and sent. Raft's own messages have the encoding of its published definitions; a version of the
//! `prost` that they were generated with is used directly, so the older protobuf decoder in the dependency tree is not.

use prost::Message as _;
use raft::eraftpb::{ConfChangeV2, ConfState, Entry, EntryType, HardState, Message};

use dynamos_proto::state::{Command, Row, Rows};

use super::error::ConsensusError;

/// A message of raft.
pub(super) trait RaftMessage: raft_prost::Message + Default {}

impl RaftMessage for ConfChangeV2 {}
impl RaftMessage for ConfState {}
impl RaftMessage for Entry {}
impl RaftMessage for HardState {}
impl RaftMessage for Message {}

pub(super) fn bytes(message: &impl RaftMessage) -> Vec<u8> {
    message.encode_to_vec()
}

pub(super) fn read<T: RaftMessage>(what: &str, bytes: &[u8]) -> Result<T, ConsensusError> {
    T::decode(bytes).map_err(|error| unreadable(what, error))
}

/// The command of an entry; none if a new leader wrote it to begin its term.
pub(super) fn command(entry: &Entry) -> Result<Option<Command>, ConsensusError> {
    if entry.data.is_empty() {
        return Ok(None);
    }
    let what = format!("the command at {}", entry.index);
    let command = Command::decode(entry.data.as_slice()).map_err(|error| unreadable(&what, error))?;
    if command.change.is_none() {
        return Err(unreadable(&what, "this version of the program does not know it"));
    }
    Ok(Some(command))
}

/// The change of members in an entry; none if it is not one.
pub(super) fn members(entry: &Entry) -> Result<Option<ConfChangeV2>, ConsensusError> {
    match EntryType::from_i32(entry.entry_type) {
        Some(EntryType::EntryNormal) => Ok(None),
        Some(EntryType::EntryConfChangeV2) => read("a change of members", &entry.data).map(Some),
        // Only written by coordinators that this version never was.
        Some(EntryType::EntryConfChange) | None => Err(unreadable("an entry", "its kind is not known")),
    }
}

pub(super) fn row(bytes: &[u8]) -> Result<Row, ConsensusError> {
    Row::decode(bytes).map_err(|error| unreadable("a row", error))
}

pub(super) fn rows(bytes: &[u8]) -> Result<Rows, ConsensusError> {
    Rows::decode(bytes).map_err(|error| unreadable("a snapshot", error))
}

fn unreadable(what: &str, why: impl std::fmt::Display) -> ConsensusError {
    ConsensusError::Unreadable(format!("{what}: {why}"))
}
