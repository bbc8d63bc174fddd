//! The one thing that a file of records asks of a disk; a seam, so that tests can let it fail and count what it does.

use std::fs::File;
use std::io::Write;

/// Something that lines are added to.
pub(super) trait Disk: Send {
    /// Adds bytes at the end; when it returns, they outlast the process and the machine's power.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()>;
}

impl Disk for File {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write_all(bytes)?;
        self.sync_data()
    }
}
