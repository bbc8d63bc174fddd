//! What can go wrong with the replicated state. Nothing here is worked around: a node whose disk or log it cannot trust
//! stops, and says why.

use std::path::PathBuf;

use thiserror::Error;

/// Why a node cannot start, or has to stop.
#[derive(Debug, Error)]
pub enum ConsensusError {
    /// The file cannot be opened.
    #[error("the replicated state in `{path}` cannot be opened")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// The folder cannot be made.
    #[error("the folder `{path}` cannot be made")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be made.
    #[error("the file `{path}` of the replicated state cannot be made")]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The disk does not do what is asked.
    #[error("the replicated state cannot be read or written")]
    Disk(#[source] Box<redb::Error>),
    /// What is stored is not what was written, or is of another version.
    #[error("the replicated state is damaged or of another version: {0}; restore the state folder from a copy")]
    Unreadable(String),
    /// The protocol refuses.
    #[error("the protocol of the coordinators cannot go on")]
    Protocol(#[from] raft::Error),
    /// The thread of the node is gone.
    #[error("the replicated state stopped")]
    Stopped,
}

impl ConsensusError {
    /// An error of the disk, from whichever of redb's many kinds.
    pub(super) fn disk(error: impl Into<redb::Error>) -> Self {
        Self::Disk(Box::new(error.into()))
    }
}

/// Why a proposal has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsettled {
    /// It was not taken; nothing has changed.
    #[error("no coordinator leads the group at the moment")]
    NotTaken,
    /// It may or may not be carried out; the same request may be tried again.
    #[error("it is not known whether the change was kept")]
    Unknown,
}
