//! A disk in memory that can lose its power between any two things that are asked of it. What was written and not yet
//! synced is then there in any part, as sectors of a real disk are.

use std::io::{Error, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::Rng;
use rand::rngs::StdRng;
use redb::StorageBackend;

/// What a disk writes as a whole or not at all, bytes.
const SECTOR: usize = 512;

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The process is killed: what it wrote is there.
    Killed,
    /// The power fails: of what was not synced, any sectors are there.
    PowerLost,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What would be read now.
    now: Vec<u8>,
    /// What was there at the last sync.
    synced: Vec<u8>,
    /// What was written since, in order.
    written: Vec<(usize, Vec<u8>)>,
    /// Calls until it fails; never without.
    left: Option<u64>,
    calls: u64,
    syncs: u64,
}

impl Disk {
    /// Lets the disk fail after so many more calls.
    pub(super) fn fail_after(&self, calls: u64) {
        self.platter().left = Some(calls);
    }

    /// What is there after a death; it works again.
    pub(super) fn after(&self, death: Death, random: &mut StdRng) -> Self {
        let platter = self.platter();
        let mut left = platter.now.clone();
        if death == Death::PowerLost {
            left = platter.synced.clone();
            let share = [0.0, 0.5, 0.9, 1.0][random.random_range(0..4)];
            for (offset, data) in &platter.written {
                for (number, sector) in data.chunks(SECTOR).enumerate() {
                    if random.random_bool(share) {
                        let at = offset + number * SECTOR;
                        left.resize(left.len().max(at + sector.len()), 0);
                        left[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            let longest = platter.now.len();
            left.resize(longest.max(left.len()), 0);
        }
        let fresh = Platter { now: left.clone(), synced: left, ..Platter::default() };
        Self(Arc::new(Mutex::new(fresh)))
    }

    /// Calls so far, reads not counted.
    pub(super) fn calls(&self) -> u64 {
        self.platter().calls
    }

    /// Syncs so far.
    pub(super) fn syncs(&self) -> u64 {
        self.platter().syncs
    }

    /// Its length, bytes.
    pub(super) fn length(&self) -> usize {
        self.platter().now.len()
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    /// The platter, if it still works; that is one call.
    fn call(&self) -> Result<MutexGuard<'_, Platter>> {
        let mut platter = self.platter();
        if platter.left == Some(0) {
            return Err(Error::other("the disk is gone"));
        }
        platter.left = platter.left.map(|left| left - 1);
        platter.calls += 1;
        Ok(platter)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64> {
        Ok(self.platter().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let platter = self.platter();
        if platter.left == Some(0) {
            return Err(Error::other("the disk is gone"));
        }
        let offset = usize::try_from(offset).unwrap();
        let read = platter.now.get(offset..offset + out.len()).ok_or_else(|| Error::other("past the end"))?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut platter = self.call()?;
        platter.now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut platter = self.call()?;
        // Only what was written is copied: a copy of the whole disk for each sync is most of a run's time.
        let Platter { now, synced, written, .. } = &mut *platter;
        synced.resize(now.len(), 0);
        for (offset, data) in written.drain(..) {
            // What a later cut took away is not there to be synced.
            let end = now.len().min(offset + data.len());
            if offset < end {
                synced[offset..end].copy_from_slice(&now[offset..end]);
            }
        }
        platter.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut platter = self.call()?;
        let offset = usize::try_from(offset).unwrap();
        let end = offset + data.len();
        if end > platter.now.len() {
            return Err(Error::other("past the end"));
        }
        platter.now[offset..end].copy_from_slice(data);
        platter.written.push((offset, data.to_vec()));
        Ok(())
    }
}
