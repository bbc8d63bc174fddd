//! [`RecordFile`]: adding records. However many threads add at once, one of them writes for all that wait, so that they
//! share one wait for the disk.
//!
//! ```text
//!  enqueue ─► sealed, in order ─► wait: the first becomes the writer ─► one write, one sync ─► all of these are told
//!                                       the others wait                  more gathers meanwhile for the next write
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::disk::Disk;
use super::error::RecordError;
use super::line::Tip;
use super::verify::walk;

/// A process that was told to stop may still hold the file for a moment while the next one starts.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
const LOCK_WAIT_STEP: Duration = Duration::from_millis(10);

/// An open file of records. Clones are the same file, which one process has open at a time.
#[derive(Clone)]
pub struct RecordFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    incomplete_bytes: u64,
    queue: Mutex<Queue>,
    written: Condvar,
    // Held while bytes are written, and never together with a wait for `queue`.
    disk: Mutex<Box<dyn Disk>>,
}

struct Queue {
    tip: Tip,
    waiting: Vec<u8>,
    /// Number of the last record that is on the disk.
    durable: u64,
    writer: Writer,
}

/// Who writes.
enum Writer {
    Nobody,
    Somebody,
    /// Nobody ever again.
    Failed(String),
}

/// A record that has its place in the chain and is not on the disk yet.
#[must_use = "a record counts when it has been waited for"]
pub struct Unwritten {
    shared: Arc<Shared>,
    number: u64,
}

impl RecordFile {
    /// Opens a file, made with its folder if it is missing, verifies it and shows every record to `visit`, in order. The
    /// beginning of a last line whose writer was killed is cut off: nobody acted on it.
    ///
    /// # Errors
    ///
    /// [`RecordError::Line`] if a line is not as it was written, [`RecordError::InUse`] if another process has the file.
    pub fn open<T: DeserializeOwned>(path: &Path, visit: impl FnMut(T)) -> Result<Self, RecordError> {
        let failed = |action| move |source| RecordError::File { path: path.to_owned(), action, source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(failed("opened"))?;
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed("opened"))?;
        lock(&file, path)?;
        file.rewind().map_err(failed("read"))?;
        let end = walk(&file, path, visit)?;
        if end.incomplete_bytes > 0 {
            file.set_len(end.bytes).and_then(|()| file.sync_all()).map_err(failed("written"))?;
        }
        if let Some(folder) = folder.filter(|_| end.bytes == 0) {
            // That the file exists must outlast the machine's power, too.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("written"))?;
        }
        Ok(Self::on(path, Box::new(file), end.tip, end.incomplete_bytes))
    }

    pub(super) fn on(path: &Path, disk: Box<dyn Disk>, tip: Tip, incomplete_bytes: u64) -> Self {
        let queue = Queue { durable: tip.number, tip, waiting: Vec::new(), writer: Writer::Nobody };
        let shared = Shared {
            path: path.to_owned(),
            incomplete_bytes,
            queue: Mutex::new(queue),
            written: Condvar::new(),
            disk: Mutex::new(disk),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Bytes of an incomplete last line that were cut off when the file was opened; its owner should warn of it.
    pub fn incomplete_bytes(&self) -> u64 {
        self.shared.incomplete_bytes
    }

    /// Gives a record its place in the chain, at once and without the disk. Records are written in the order of these
    /// calls.
    ///
    /// # Errors
    ///
    /// [`RecordError::Broken`] after a failed write, [`RecordError::Encode`] if it has no JSON.
    pub fn enqueue(&self, record: &impl Serialize) -> Result<Unwritten, RecordError> {
        let mut queue = self.shared.lock();
        if let Writer::Failed(reason) = &queue.writer {
            return Err(self.shared.broken(reason));
        }
        let (line, tip) = queue.tip.seal(record).map_err(RecordError::Encode)?;
        queue.waiting.extend_from_slice(line.as_bytes());
        queue.tip = tip;
        Ok(Unwritten { shared: Arc::clone(&self.shared), number: queue.tip.number })
    }

    /// Adds a record; when this returns, it is on the disk. It blocks the thread.
    ///
    /// # Errors
    ///
    /// [`RecordError::Broken`] if it could not be written or an earlier one could not, [`RecordError::Encode`] if it has no
    /// JSON.
    pub fn append(&self, record: &impl Serialize) -> Result<(), RecordError> {
        self.enqueue(record)?.wait()
    }

    /// Whether there are records that nobody writes, because whoever enqueued them did not wait.
    pub fn has_waiting(&self) -> bool {
        let queue = self.shared.lock();
        !queue.waiting.is_empty() && matches!(queue.writer, Writer::Nobody)
    }

    /// Waits until everything that was enqueued so far is on the disk. It blocks the thread.
    ///
    /// # Errors
    ///
    /// [`RecordError::Broken`] if it could not be written or an earlier record could not.
    pub fn flush(&self) -> Result<(), RecordError> {
        let number = self.shared.lock().tip.number;
        Unwritten { shared: Arc::clone(&self.shared), number }.wait()
    }

    /// Takes nothing more, as after a failed write. It serves tests of those who must not go on then.
    pub fn break_off(&self, reason: &str) {
        let mut queue = self.shared.lock();
        while matches!(queue.writer, Writer::Somebody) {
            queue = self.shared.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.writer = Writer::Failed(reason.to_owned());
        self.shared.written.notify_all();
    }
}

impl Unwritten {
    /// Waits until the record is on the disk, and writes it if nobody else does. It blocks the thread.
    ///
    /// # Errors
    ///
    /// [`RecordError::Broken`] if it could not be written.
    pub fn wait(self) -> Result<(), RecordError> {
        let shared = &self.shared;
        let mut queue = shared.lock();
        loop {
            if queue.durable >= self.number {
                return Ok(());
            }
            match &queue.writer {
                Writer::Failed(reason) => return Err(shared.broken(reason)),
                Writer::Somebody => {
                    queue = shared.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                Writer::Nobody => queue = shared.write(queue),
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, reason: &str) -> RecordError {
        RecordError::Broken { path: self.path.clone(), reason: reason.to_owned() }
    }

    /// Writes everything that waits.
    fn write<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let (bytes, last) = (std::mem::take(&mut queue.waiting), queue.tip.number);
        queue.writer = Writer::Somebody;
        drop(queue);
        let ended = self.disk.lock().unwrap_or_else(PoisonError::into_inner).append(&bytes);
        let mut queue = self.lock();
        match ended {
            Ok(()) => {
                queue.durable = last;
                queue.writer = Writer::Nobody;
            }
            Err(error) => queue.writer = Writer::Failed(error.to_string()),
        }
        self.written.notify_all();
        queue
    }
}

impl Drop for Shared {
    /// Writes what nobody waited for; nobody relies on it.
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !queue.waiting.is_empty() && matches!(queue.writer, Writer::Nobody) {
            let disk = self.disk.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _unheard = disk.append(&queue.waiting);
        }
    }
}

fn lock(file: &File, path: &Path) -> Result<(), RecordError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => {
                return Err(RecordError::File { path: path.to_owned(), action: "locked", source });
            }
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT_MAX => std::thread::sleep(LOCK_WAIT_STEP),
            Err(TryLockError::WouldBlock) => return Err(RecordError::InUse { path: path.to_owned() }),
        }
    }
}
