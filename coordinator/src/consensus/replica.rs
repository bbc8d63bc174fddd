//! [`Replica`]: how the rest of the coordinator changes the replicated state.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamos_proto::state::command::Change;
use dynamos_proto::state::{Command, Outcome};
use dynamos_proto::status::{Code, ServiceError};
use redb::Database;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::{ConsensusError, Unsettled};
use super::node::{Group, Node, Peers, Rows};
use super::owner::{INBOX_MAX, Input, Owner};

/// The length of a tick.
const TICK: Duration = Duration::from_millis(100);
/// An outcome is waited for so long; a group that cannot agree for longer is not there.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Time before a request is tried again that has no outcome yet.
const RETRY: Duration = Duration::from_millis(50);
/// Bytes of the file that are kept in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Whoever keeps changes.
#[async_trait]
pub trait Replication: Send + Sync {
    /// Has a change carried out; when this returns, it outlasts any crash. What it did is in the outcome.
    async fn replicate(&self, change: Change) -> Result<Outcome, ServiceError>;
}

/// A handle on the replicated state.
#[derive(Clone)]
pub struct Replica {
    inbox: mpsc::Sender<Input>,
}

/// Opens the replicated state in `path`, which is made if it is missing. `view` knows all rows when this returns; changes
/// are carried out while [`Owner::run`] runs. Blocks.
pub fn open(
    path: &Path,
    group: &Group,
    peers: Box<dyn Peers>,
    view: Arc<dyn Rows>,
) -> Result<(Replica, Owner), ConsensusError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| ConsensusError::Folder { path: folder.to_owned(), source })?;
    }
    let node = make(path)
        .and_then(|()| Database::builder().set_cache_size(CACHE_BYTES).open(path).map_err(ConsensusError::disk))
        .and_then(|database| Node::open(database, group, peers, view));
    let node = node.map_err(|source| ConsensusError::Open { path: path.to_owned(), source: Box::new(source) })?;
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    Ok((Replica { inbox: sender }, Owner::new(node, inbox)))
}

/// Makes the file if it is missing. It gets its name only when it is whole: a crash while it is made would leave one that
/// cannot be opened.
fn make(path: &Path) -> Result<(), ConsensusError> {
    if path.exists() {
        return Ok(());
    }
    let failed = |source| ConsensusError::Make { path: path.to_owned(), source };
    let unfinished = path.with_extension("unfinished");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    drop(Database::create(&unfinished).map_err(ConsensusError::disk)?);
    fs::rename(&unfinished, path).map_err(failed)?;
    let folder = path.parent().map(File::open).transpose().map_err(failed)?;
    folder.map_or(Ok(()), |folder| folder.sync_all().map_err(failed))
}

impl Replica {
    /// Has a change carried out; when this returns, it outlasts any crash. What it did is in the outcome.
    pub async fn propose(&self, change: Change) -> Result<Outcome, Unsettled> {
        let request = Uuid::new_v4().into_bytes().to_vec();
        let command = Command { request, change: Some(change) };
        let until = Instant::now() + SETTLE_MAX;
        // Once it may have been taken, a refusal of a later try does not mean that nothing has changed.
        let mut worst = Unsettled::NotTaken;
        loop {
            match timeout_at(until, self.try_once(command.clone())).await {
                Ok(Ok(outcome)) => return Ok(outcome),
                Ok(Err(Unsettled::NotTaken)) => {}
                Ok(Err(Unsettled::Unknown)) | Err(_) => worst = Unsettled::Unknown,
            }
            if Instant::now() + RETRY >= until || self.inbox.is_closed() {
                return Err(worst);
            }
            sleep(RETRY).await;
        }
    }

    /// A message from another member of the group.
    pub async fn step(&self, message: Vec<u8>) {
        // To a node that is gone every message is lost.
        drop(self.inbox.send(Input::Step(message)).await);
    }

    /// Lets time go on for the node, until `shutdown` or until it is gone.
    pub async fn tick(self, shutdown: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() && !self.inbox.is_closed() {
            // A node with a full inbox hears of the next one.
            drop(self.inbox.try_send(Input::Tick));
        }
    }

    /// Tells the owner to end after what is already in its inbox.
    pub async fn stop(&self) {
        drop(self.inbox.send(Input::Stop).await);
    }

    async fn try_once(&self, command: Command) -> Result<Outcome, Unsettled> {
        let (reply, outcome) = oneshot::channel();
        self.inbox.send(Input::Propose(command, reply)).await.map_err(|_| Unsettled::NotTaken)?;
        outcome.await.unwrap_or(Err(Unsettled::Unknown))
    }
}

#[async_trait]
impl Replication for Replica {
    async fn replicate(&self, change: Change) -> Result<Outcome, ServiceError> {
        self.propose(change).await.map_err(|error| {
            tracing::error!(%error, "a change has no outcome");
            ServiceError::new(Code::SiteUnavailable, format!("the coordinator cannot keep the change: {error}"))
                .with_hint("if the steward's site has accepted it, it counts once that has announced itself again")
        })
    }
}
