//! Why a place cannot start. What goes wrong with a query later is a [`dynamos_proto::status::ServiceError`].

use std::net::SocketAddr;
use std::path::PathBuf;

use dynamos_proto::record::RecordError;
use dynamos_proto::sign::SignError;
use thiserror::Error;

use crate::config::ConfigError;
use crate::source::SourceError;

/// Why a place cannot start.
#[derive(Debug, Error)]
pub enum SiteError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A table cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What the configuration says of a table does not fit its files.
    #[error("table `{table}`: {problem}")]
    Table {
        /// `schema.table`.
        table: String,
        /// What is wrong.
        problem: String,
    },
    /// A file that the configuration names cannot be used.
    #[error("{what} `{path}` cannot be used")]
    File {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key is not one.
    #[error("the key of `{of}` cannot be used")]
    Key {
        /// Whose.
        of: String,
        /// Why.
        #[source]
        source: SignError,
    },
    /// An agreement file is wrong.
    #[error("agreement file `{path}`: {problem}")]
    Agreement {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What was admitted and refused cannot be recorded.
    #[error("the ledger cannot be used")]
    Ledger(#[from] RecordError),
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}; is another process using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificates cannot be used.
    #[error("the TLS certificates cannot be used")]
    Tls(#[source] tonic::transport::Error),
    /// Connections can no longer be served.
    #[error("the site stopped serving")]
    Serve(#[source] tonic::transport::Error),
    /// The engine could not be set up.
    #[error("the engine cannot start: {0}")]
    Engine(String),
}
