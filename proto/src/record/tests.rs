//! Files of records that were changed, torn, failed and shared.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::line::Tip;
use super::{LineProblem, RecordError, RecordFile, read, verify};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

fn note(text: impl ToString) -> Note {
    Note { text: text.to_string() }
}

fn open(path: &Path) -> (RecordFile, Vec<Note>) {
    let mut notes = Vec::new();
    let file = RecordFile::open(path, |note| notes.push(note)).unwrap();
    (file, notes)
}

/// A file of `count` notes in a folder that is missing at first.
fn written(count: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/notes.log");
    for number in 0..count {
        open(&path).0.append(&note(number)).unwrap();
    }
    (folder, path)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// The line that opening and verifying name, and what they say of it.
fn problem(path: &Path) -> (u64, LineProblem) {
    let before = fs::read(path).unwrap();
    let opened = RecordFile::open(path, |_: Note| ()).err().expect("it opens");
    assert_eq!(fs::read(path).unwrap(), before, "a file with an error is left as it is");
    match (opened, verify(path).unwrap_err()) {
        (RecordError::Line { line, problem, .. }, RecordError::Line { line: same, .. }) => {
            assert_eq!(line, same);
            (line, problem)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_survive_and_continue_the_chain() {
    let (_folder, path) = written(3);
    let (_, notes) = open(&path);
    assert_eq!(notes, [note(0), note(1), note(2)]);
    let verified = verify(&path).unwrap();
    assert_eq!((verified.records, verified.incomplete_bytes), (3, 0));
    let last: serde_json::Value = serde_json::from_str(&lines(&path)[2]).unwrap();
    assert_eq!((&last["number"], &last["hash"]), (&3.into(), &verified.hash.into()));
    assert_eq!(last["record"]["text"], "2");
}

#[test]
fn every_change_of_a_complete_line_is_found_and_named() {
    let (_folder, path) = written(4);
    let good = lines(&path);
    // One character of each line, at every place.
    for line in 0..good.len() {
        for at in 0..good[line].len() {
            let mut changed = good.clone();
            let other = if &good[line][at..=at] == "1" { "2" } else { "1" };
            changed[line].replace_range(at..=at, other);
            put(&path, &changed);
            assert_eq!(problem(&path).0, line as u64 + 1, "{}", changed[line]);
        }
    }
    put(&path, &good);
    assert_eq!(verify(&path).unwrap().records, 4);
}

#[test]
fn missing_moved_repeated_and_foreign_lines_are_found_and_named() {
    let (_folder, path) = written(4);
    let good = lines(&path);
    let mut cut = good.clone();
    cut.remove(1);
    put(&path, &cut);
    assert_eq!(problem(&path), (2, LineProblem::Number { found: 3 }));
    cut.remove(0);
    put(&path, &cut);
    assert_eq!(problem(&path), (1, LineProblem::Number { found: 3 }));
    let mut moved = good.clone();
    moved.swap(1, 2);
    put(&path, &moved);
    assert_eq!(problem(&path), (2, LineProblem::Number { found: 3 }));
    let mut repeated = good.clone();
    repeated.insert(2, good[1].clone());
    put(&path, &repeated);
    assert_eq!(problem(&path), (3, LineProblem::Number { found: 2 }));
    // A well-made line of another history.
    let mut foreign = good.clone();
    let other = Tip { number: 1, hash: "f".repeat(64) };
    foreign[1] = other.seal(&note("forged")).unwrap().0.trim_end().to_owned();
    put(&path, &foreign);
    assert_eq!(problem(&path), (2, LineProblem::Previous));
    let mut empty = good;
    empty.insert(3, String::new());
    put(&path, &empty);
    assert!(matches!(problem(&path), (4, LineProblem::Form(_))));
}

#[test]
fn a_rewritten_line_must_be_followed_by_rewritten_ones() {
    let (_folder, path) = written(3);
    let mut forged = lines(&path);
    forged[0] = Tip::start().seal(&note("forged")).unwrap().0.trim_end().to_owned();
    put(&path, &forged);
    assert_eq!(problem(&path), (2, LineProblem::Previous));
}

#[test]
fn a_torn_last_line_is_cut_off_wherever_it_was_torn() {
    let (_folder, path) = written(3);
    let whole = fs::read(&path).unwrap();
    let complete = lines(&path)[..2].iter().map(|line| line.len() + 1).sum::<usize>();
    for length in complete..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let torn = (length - complete) as u64;
        assert_eq!(verify(&path).unwrap().incomplete_bytes, torn);
        let (file, notes) = open(&path);
        assert_eq!((file.incomplete_bytes(), notes.len()), (torn, 2), "{length}");
        file.append(&note("next")).unwrap();
        drop(file);
        let (file, notes) = open(&path);
        assert_eq!((file.incomplete_bytes(), notes[2..].to_vec()), (0, vec![note("next")]));
    }
    // What a machine without power leaves of a line that grew before its text came.
    fs::write(&path, [&whole[..complete], &[0; 100]].concat()).unwrap();
    assert_eq!(open(&path).0.incomplete_bytes(), 100);
    // But the end of a complete line is no torn one.
    fs::write(&path, [&whole[..complete], b"{\"number\":3\n"].concat()).unwrap();
    assert!(matches!(problem(&path), (3, LineProblem::Form(_))));
}

#[test]
fn one_process_writes_at_a_time() {
    let (_folder, path) = written(1);
    let (first, _) = open(&path);
    assert!(matches!(RecordFile::open(&path, |_: Note| ()), Err(RecordError::InUse { .. })));
    drop(first);
    open(&path).0.append(&note("after")).unwrap();
}

#[test]
fn records_of_another_kind_are_an_error() {
    let (_folder, path) = written(1);
    let error = RecordFile::open(&path, |_: Vec<u32>| ()).err().unwrap();
    assert!(matches!(error, RecordError::Line { line: 1, problem: LineProblem::Form(_), .. }), "{error}");
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(RecordFile::open(folder.path(), |_: Note| ()), Err(RecordError::File { .. })));
}

/// A disk that is told when to go on, and counts.
struct Gate {
    bytes: Arc<Mutex<Vec<u8>>>,
    writes: Arc<AtomicUsize>,
    begun: mpsc::Sender<()>,
    go_on: mpsc::Receiver<std::io::Result<()>>,
}

impl Disk for Gate {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.begun.send(()).unwrap();
        self.go_on.recv().unwrap()?;
        self.bytes.lock().unwrap().write_all(bytes)
    }
}

struct Gated {
    file: RecordFile,
    bytes: Arc<Mutex<Vec<u8>>>,
    writes: Arc<AtomicUsize>,
    begun: mpsc::Receiver<()>,
    go_on: mpsc::Sender<std::io::Result<()>>,
}

fn gated() -> Gated {
    let (begun, seen) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    let (bytes, writes) = (Arc::default(), Arc::default());
    let disk = Gate { bytes: Arc::clone(&bytes), writes: Arc::clone(&writes), begun, go_on: told };
    let file = RecordFile::on(Path::new("gated"), Box::new(disk), Tip::start(), 0);
    Gated { file, bytes, writes, begun: seen, go_on }
}

#[test]
fn records_that_come_while_the_disk_is_busy_share_the_next_write() {
    let gated = gated();
    let first = gated.file.enqueue(&note("first")).unwrap();
    let first = thread::spawn(move || first.wait());
    gated.begun.recv().unwrap();
    // Ten threads of ten records each, while the first one is on its way to the disk.
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let file = gated.file.clone();
            let enqueued: Vec<_> = (0..10).map(|number| file.enqueue(&note(number)).unwrap()).collect();
            thread::spawn(move || enqueued.into_iter().try_for_each(super::Unwritten::wait))
        })
        .collect();
    assert!(gated.bytes.lock().unwrap().is_empty(), "nobody is told before the disk has it");
    gated.go_on.send(Ok(())).unwrap();
    gated.go_on.send(Ok(())).unwrap();
    first.join().unwrap().unwrap();
    waiting.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    assert_eq!(gated.writes.load(Ordering::SeqCst), 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    fs::write(&path, &*gated.bytes.lock().unwrap()).unwrap();
    assert_eq!(verify(&path).unwrap().records, 101);
}

#[test]
fn after_a_failed_write_nothing_more_is_taken() {
    let gated = gated();
    gated.go_on.send(Err(std::io::Error::other("no space"))).unwrap();
    let (one, two) = (gated.file.enqueue(&note(1)).unwrap(), gated.file.enqueue(&note(2)).unwrap());
    for error in [one.wait().unwrap_err(), two.wait().unwrap_err(), gated.file.append(&note(3)).unwrap_err()] {
        assert!(matches!(&error, RecordError::Broken { reason, .. } if reason == "no space"), "{error}");
    }
    assert!(matches!(gated.file.enqueue(&note(4)), Err(RecordError::Broken { .. })));
    assert_eq!(gated.writes.load(Ordering::SeqCst), 1, "the disk was asked once");
}

#[test]
fn many_threads_write_one_chain() {
    let (_folder, path) = written(0);
    let (file, _) = open(&path);
    thread::scope(|scope| {
        for thread in 0..16 {
            let file = file.clone();
            scope.spawn(move || (0..25).for_each(|number| file.append(&note(thread * 100 + number)).unwrap()));
        }
    });
    drop(file);
    let (_, notes) = open(&path);
    assert_eq!(notes.len(), 400);
    // Each thread's own records are in its order.
    for thread in 0..16 {
        let own: Vec<usize> =
            notes.iter().map(|note| note.text.parse().unwrap()).filter(|n| n / 100 == thread).collect();
        assert!(own.is_sorted() && own.len() == 25);
    }
}

#[test]
fn what_nobody_waited_for_is_written_at_the_end() {
    let (_folder, path) = written(0);
    let (file, _) = open(&path);
    drop(file.enqueue(&note("left")).unwrap());
    drop(file);
    assert_eq!(open(&path).1, [note("left")]);
}

#[test]
fn what_nobody_waits_for_is_written_by_a_flush() {
    let (_folder, path) = written(0);
    let (file, _) = open(&path);
    assert!(!file.has_waiting());
    drop(file.enqueue(&note("left")).unwrap());
    assert!(file.has_waiting() && verify(&path).unwrap().records == 0);
    file.flush().unwrap();
    assert!(!file.has_waiting() && verify(&path).unwrap().records == 1);
    file.flush().unwrap();
    assert_eq!(verify(&path).unwrap().records, 1, "there was nothing more");
}

#[test]
fn a_file_that_was_broken_off_takes_nothing_more() {
    let (_folder, path) = written(1);
    let (file, _) = open(&path);
    let waiting = file.enqueue(&note("waiting")).unwrap();
    file.break_off("no space");
    for error in [waiting.wait().unwrap_err(), file.append(&note("next")).unwrap_err(), file.flush().unwrap_err()] {
        assert!(matches!(&error, RecordError::Broken { reason, .. } if reason == "no space"), "{error}");
    }
    assert!(!file.has_waiting(), "nobody will ever write it");
    drop(file);
    assert_eq!(open(&path).1, [note(0)]);
}

#[test]
fn reading_shows_the_records_up_to_the_first_that_is_not_as_it_was_written() {
    let (_folder, path) = written(3);
    let shown = || {
        let mut notes = Vec::new();
        let end = read(&path, |note: Note| notes.push(note.text)).map_err(|error| error.to_string());
        (notes.join(" "), end)
    };
    let (notes, end) = shown();
    assert_eq!((notes.as_str(), end.unwrap()), ("0 1 2", verify(&path).unwrap()));
    let mut changed = lines(&path);
    changed[1] = changed[1].replace("\"text\":\"1\"", "\"text\":\"7\"");
    put(&path, &changed);
    let (notes, end) = shown();
    assert_eq!(notes, "0");
    assert!(end.unwrap_err().starts_with("line 2 of the record file"));
}
