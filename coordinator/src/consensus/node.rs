//! [`Node`]: raft, its storage and the state machine, as plain calls; no threads and no clock. One batch is worked off in an
//! order that is the whole safety of it:
//!
//! 1. messages that may go before anything is on the disk;
//! 2. snapshot, entries and hard state, in one transaction that waits for the disk;
//! 3. entries that are committed already: their effects, the last applied index and the commit index, in one transaction;
//! 4. messages that promise what is now on the disk;
//! 5. raft is told that the entries are there, which may commit them: their effects, as in 3;
//! 6. only after its effects are written is a proposal answered.
//!
//! INVARIANT(acknowledged_is_kept): what was answered is in the log on the disk of most members, so a crash at any moment
//! leaves it in full; and nothing is ever there in part, because effects and applied index are in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use dynamos_proto::state::{Command, Outcome, Row};
use prost::Message;
use raft::eraftpb::{ConfState, Entry, Message as RaftMessage};
use raft::{Config, RawNode, ReadOnlyOption, SoftState, StateRole};
use redb::Database;
use tokio::sync::oneshot;

use super::codec;
use super::error::{ConsensusError, Unsettled};
use super::log::logger;
use super::store::{Effects, Store, Wait};
use super::tables::Position;
use crate::state::State;

/// Ticks until a member that hears nothing asks to lead.
const ELECTION_TICKS: usize = 10;
/// Ticks between two signs of life of a leader.
const HEARTBEAT_TICKS: usize = 2;
/// The most that one message carries, bytes, if it is more than one entry.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Messages on the way to one member before it has answered.
const MESSAGES_MAX: usize = 256;
/// The most that is applied in one transaction, bytes, if it is more than one entry.
const APPLY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Who belongs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// This node; not 0.
    pub node: u64,
    /// The members that a new group starts with. An existing group knows its members itself.
    pub members: Vec<u64>,
    /// So many applied entries are kept for members that lag behind.
    pub log_kept: u64,
}

impl Group {
    /// A group of one, which needs nobody else.
    pub fn alone() -> Self {
        Self { node: 1, members: vec![1], log_kept: 1024 }
    }
}

/// Carries messages to other members: in order for each of them, lost ones are sent again by the protocol.
pub trait Peers: Send {
    /// Sends a message without waiting.
    fn send(&mut self, to: u64, message: Vec<u8>);
}

/// The peers of a group of one: there are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Peers for Alone {
    fn send(&mut self, to: u64, _: Vec<u8>) {
        tracing::warn!(to, "a message to a member that cannot be reached from here is dropped");
    }
}

/// Whoever keeps a view of the rows. It is told of each change after that is written, and at the start of all rows.
pub trait Rows: Send + Sync {
    /// These rows are new or changed.
    fn put(&self, rows: &[Row]);
}

/// Where the outcome of a proposal goes.
pub(super) type Reply = oneshot::Sender<Result<Outcome, Unsettled>>;

/// One member of the group.
pub(super) struct Node {
    raft: RawNode<Store>,
    state: State,
    peers: Box<dyn Peers>,
    view: Arc<dyn Rows>,
    /// Who waits for a request to be carried out.
    waiting: BTreeMap<Vec<u8>, Vec<Reply>>,
    leads: bool,
}

impl Node {
    /// Opens a node, with everything that it knew. A member of a group of one leads when this returns.
    pub(super) fn open(
        database: Database,
        group: &Group,
        peers: Box<dyn Peers>,
        view: Arc<dyn Rows>,
    ) -> Result<Self, ConsensusError> {
        let members = ConfState::from((group.members.clone(), Vec::new()));
        let store = Store::new(database, group.node, &members, group.log_kept)?;
        Self::start(store, group.node, peers, view)
    }

    pub(super) fn start(
        store: Store,
        node: u64,
        peers: Box<dyn Peers>,
        view: Arc<dyn Rows>,
    ) -> Result<Self, ConsensusError> {
        let config = Config {
            id: node,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: store.applied().index,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_MAX,
            max_committed_size_per_ready: APPLY_BYTES_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            ..Config::default()
        };
        config.validate()?;
        let alone = store.members().voters == [node];
        let rows = store.rows()?;
        view.put(&rows);
        let (raft, state) = (RawNode::new(&config, store, &logger())?, State::from_rows(rows));
        let mut node = Self { raft, state, peers, view, waiting: BTreeMap::new(), leads: false };
        if alone {
            node.raft.campaign()?;
        }
        node.settle()?;
        Ok(node)
    }

    /// The state after everything that is applied.
    #[cfg(test)]
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &Store {
        self.raft.store()
    }

    /// Time goes on.
    pub(super) fn tick(&mut self) {
        self.raft.tick();
    }

    /// A message from another member. One that cannot be read or makes no sense is dropped, as if it had been lost.
    pub(super) fn step(&mut self, message: &[u8]) {
        let stepped = codec::read::<RaftMessage>("a message", message)
            .and_then(|message| self.raft.step(message).map_err(ConsensusError::from));
        if let Err(error) = stepped {
            tracing::warn!(%error, "a message of another coordinator is dropped");
        }
    }

    /// Asks for a command to be carried out. It is only on its way when this returns; [`Self::settle`] goes on.
    pub(super) fn propose(&mut self, command: &Command, reply: Reply) {
        match self.raft.propose(Vec::new(), command.encode_to_vec()) {
            Ok(()) => self.waiting.entry(command.request.clone()).or_default().push(reply),
            Err(error) => {
                tracing::debug!(%error, "a proposal was not taken");
                answer(reply, Err(Unsettled::NotTaken));
            }
        }
    }

    /// Works off everything that is there to be done.
    pub(super) fn settle(&mut self) -> Result<(), ConsensusError> {
        while self.raft.has_ready() {
            self.batch()?;
        }
        Ok(())
    }

    /// Makes everything so far outlast the process without being applied again.
    pub(super) fn flush(&self) -> Result<(), ConsensusError> {
        self.raft.store().flush()
    }

    fn batch(&mut self) -> Result<(), ConsensusError> {
        let mut ready = self.raft.ready();
        if let Some(soft) = ready.ss() {
            self.role(soft);
        }
        self.send(ready.take_messages());
        let wait = if ready.must_sync() { Wait::ForDisk } else { Wait::No };
        if !ready.snapshot().is_empty() || !ready.entries().is_empty() || ready.hs().is_some() {
            self.raft.mut_store().persist(ready.snapshot(), ready.entries(), ready.hs(), wait)?;
        }
        if !ready.snapshot().is_empty() {
            let rows = self.raft.store().rows()?;
            self.view.put(&rows);
            self.state = State::from_rows(rows);
        }
        self.apply(ready.take_committed_entries())?;
        self.send(ready.take_persisted_messages());
        let mut light = self.raft.advance(ready);
        self.send(light.take_messages());
        self.apply(light.take_committed_entries())?;
        self.raft.advance_apply();
        Ok(())
    }

    /// Applies committed entries in one transaction, then tells of it.
    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), ConsensusError> {
        let Some(last) = entries.last() else { return Ok(()) };
        let last = Position { index: last.index, term: last.term };
        let mut effects = Effects { last, ..Effects::default() };
        let mut outcomes = Vec::new();
        for entry in entries {
            if let Some(change) = codec::members(&entry)? {
                effects.members = Some(self.raft.apply_conf_change(&change)?);
            } else if let Some(command) = codec::command(&entry)? {
                let request = command.request.clone();
                let applied = self.state.apply(entry.index, command);
                effects.rows.extend(applied.effects);
                outcomes.push((request, applied.outcome));
            }
        }
        self.raft.mut_store().apply(&effects, last.index)?;
        let rows: Vec<Row> = effects.rows.into_iter().filter_map(|(_, row)| row).collect();
        self.view.put(&rows);
        for (request, outcome) in outcomes {
            for reply in self.waiting.remove(&request).unwrap_or_default() {
                answer(reply, Ok(outcome.clone()));
            }
        }
        Ok(())
    }

    fn send(&mut self, messages: Vec<RaftMessage>) {
        for message in messages {
            self.peers.send(message.to, codec::bytes(&message));
        }
    }

    /// A leader that is one no longer does not learn what becomes of its proposals.
    fn role(&mut self, soft: &SoftState) {
        let leads = soft.raft_state == StateRole::Leader;
        if self.leads && !leads {
            for reply in std::mem::take(&mut self.waiting).into_values().flatten() {
                answer(reply, Err(Unsettled::Unknown));
            }
        }
        self.leads = leads;
    }
}

/// Whoever asked may have gone; then nobody wants to know.
fn answer(reply: Reply, outcome: Result<Outcome, Unsettled>) {
    drop(reply.send(outcome));
}
