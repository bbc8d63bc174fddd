//! What a query leaves on the disk while it runs: a folder of its own, gone with the query. What a crash left behind is
//! taken away before a place begins again, so that nothing of a query outlives it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder of a place's spilled data.
#[derive(Debug)]
pub(crate) struct SpillRoot {
    path: PathBuf,
    next: AtomicU64,
}

impl SpillRoot {
    /// Opens the folder, empty.
    pub(crate) fn open(path: PathBuf) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, next: AtomicU64::new(0) })
    }

    /// A folder for one query.
    pub(crate) fn folder(&self) -> std::io::Result<SpillFolder> {
        let path = self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&path)?;
        Ok(SpillFolder { path })
    }
}

/// Where one query spills; dropped, it is gone with everything in it.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    path: PathBuf,
}

impl SpillFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::error!(path = %self.path.display(), %error, "what a query spilled cannot be taken away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outlives_its_query_or_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        let left = || std::fs::read_dir(&path).unwrap().count();
        let root = SpillRoot::open(path.clone()).unwrap();
        let [one, other] = [root.folder().unwrap(), root.folder().unwrap()];
        assert_ne!(one.path(), other.path());
        std::fs::create_dir(one.path().join("sorted")).unwrap();
        std::fs::write(one.path().join("sorted/rows"), "secret").unwrap();
        drop(one);
        assert_eq!(left(), 1);
        // A crash drops nothing.
        std::fs::write(other.path().join("rows"), "secret").unwrap();
        std::mem::forget(other);
        drop(root);
        assert_eq!(left(), 1);
        SpillRoot::open(path.clone()).unwrap();
        assert_eq!(left(), 0);
    }
}
