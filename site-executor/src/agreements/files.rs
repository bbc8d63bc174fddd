//! The files in which agreements and their epochs survive a restart: a steward's own, and those of other stewards that a
//! place has seen.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use dynamos_planner::policy::{Agreement, HeldAgreement};
use dynamos_proto::ids::SiteId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One agreement as it is kept. A revoked one stays, so that its epoch is never used again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) epoch: u64,
    pub(crate) text: String,
    pub(crate) revoked: bool,
    /// The version of the hierarchy of purposes that it was signed under; the first, before they were kept.
    #[serde(default = "first")]
    pub(crate) purposes: u32,
    /// The text that `agreements_dir` had when it was last read. Only a file that has changed since changes anything, so
    /// that an old file undoes neither an ALTER nor a REVOKE.
    pub(crate) from_file: Option<String>,
    /// Numbers of clauses that earlier versions had and this one has not; they are never given again.
    #[serde(default)]
    pub(crate) retired: BTreeSet<u32>,
}

fn first() -> u32 {
    1
}

impl Record {
    /// What is held where this is in force.
    pub(crate) fn held(&self, agreement: Agreement) -> HeldAgreement {
        HeldAgreement { epoch: self.epoch, purposes: self.purposes, agreement }
    }
}

/// One agreement of another steward, in the newest version that was seen. A revoked one stays, so that no older version
/// is believed again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ForeignRecord {
    pub(crate) steward: SiteId,
    #[serde(flatten)]
    pub(crate) record: Record,
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> std::io::Result<Vec<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Replaces the file whole: after a crash it has either the old content or the new.
pub(crate) fn write<'a, T: Serialize + 'a>(path: &Path, records: impl Iterator<Item = &'a T>) -> std::io::Result<()> {
    let records: Vec<&T> = records.collect();
    let bytes = serde_json::to_vec_pretty(&records).map_err(std::io::Error::other)?;
    let next = path.with_extension("next");
    let mut file = File::create(&next)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
