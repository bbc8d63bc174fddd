//! [`Owner`]: the one thread that has the node. Whatever lies in its inbox is taken in together and becomes one batch, so
//! many proposals share one wait for the disk.

use dynamos_proto::state::Command;
use tokio::sync::mpsc;

use super::error::ConsensusError;
use super::node::{Node, Reply};

/// Inputs that wait at most. Whoever comes then waits for room; a tick is left out.
pub(super) const INBOX_MAX: usize = 1024;

/// What may happen to a node.
pub(super) enum Input {
    Propose(Command, Reply),
    Step(Vec<u8>),
    Tick,
    Stop,
}

/// The owner of a node.
pub struct Owner {
    node: Node,
    inbox: mpsc::Receiver<Input>,
}

impl Owner {
    pub(super) fn new(node: Node, inbox: mpsc::Receiver<Input>) -> Self {
        Self { node, inbox }
    }

    /// Runs on a thread that may block, until it is told to stop or cannot go on. Then every proposal fails.
    pub fn run(mut self) -> Result<(), ConsensusError> {
        while let Some(first) = self.inbox.blocking_recv() {
            let mut stop = self.take(first);
            // No more than fits in the inbox, so that proposals that keep coming do not hold up those that are there.
            for _ in 1..INBOX_MAX {
                let Ok(next) = self.inbox.try_recv() else { break };
                stop |= self.take(next);
            }
            self.node.settle()?;
            if stop {
                break;
            }
        }
        self.node.flush()
    }

    /// Takes in one input; true if it is the last.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Propose(command, reply) => self.node.propose(&command, reply),
            Input::Step(message) => self.node.step(&message),
            Input::Tick => self.node.tick(),
            Input::Stop => return true,
        }
        false
    }
}
