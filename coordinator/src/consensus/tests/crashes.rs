//! A node of a group of one that dies between any two things that it asks of its disk, again and again. What it acknowledged
//! must be there in full and nothing in part; and known mistakes, put in on purpose, must be found by the same test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dynamos_proto::state::command::Change;
use dynamos_proto::state::row::Row as Kind;
use dynamos_proto::state::{Agreements, Command, Row};
use dynamos_proto::v1::SignedAgreement;
use raft::eraftpb::ConfState;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::Database;
use tokio::sync::oneshot;

use super::disk::{Death, Disk};
use crate::consensus::error::ConsensusError;
use crate::consensus::node::{Alone, Node, Rows};
use crate::consensus::store::{Mistake, Store};
use crate::state::State;
use crate::state::tests::bytes;

/// Names of agreements.
const NAMES: u64 = 5;
/// Entries that are kept, so that the log is cut often.
const KEPT: u64 = 8;
/// Deaths of one run.
const DEATHS: usize = 6;
/// A life ends at the latest after so many batches: with some mistakes a node asks little of its disk.
const BATCHES_MAX: usize = 60;

/// The two halves of one command: they must never differ.
const HALVES: [&str; 2] = ["left", "right"];

/// A view that is told of rows as the registry is.
#[derive(Default)]
struct View(Mutex<BTreeMap<(String, String), u64>>);

impl Rows for View {
    fn put(&self, rows: &[Row]) {
        for row in rows {
            if let Some(Kind::Agreement(one)) = &row.row {
                self.0.lock().unwrap().insert((one.steward.clone(), one.name.clone()), one.epoch);
            }
        }
    }
}

/// What a run knows of a node from outside.
struct Run {
    random: StdRng,
    mistake: Option<Mistake>,
    disk: Disk,
    /// Whether the file was made in full. Until then it has another name, and one of that name is made anew.
    made: bool,
    /// Newest epoch that was proposed, and that was acknowledged, by name.
    proposed: BTreeMap<String, u64>,
    acknowledged: BTreeMap<String, u64>,
    request: u64,
    writes: u64,
}

impl Run {
    fn new(seed: u64, mistake: Option<Mistake>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            mistake,
            disk: Disk::default(),
            made: false,
            proposed: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            request: 0,
            writes: 0,
        }
    }

    /// Lets a node live and die several times. The error says what was wrong after a death.
    fn play(&mut self) -> Result<(), String> {
        for _ in 0..DEATHS {
            // The first opening of a file makes more calls than a batch.
            let calls = if self.random.random_bool(0.3) { 12 } else { 120 };
            self.disk.fail_after(self.random.random_range(0..calls));
            self.live();
            let death = if self.random.random_bool(0.5) { Death::Killed } else { Death::PowerLost };
            self.disk = if self.made { self.disk.after(death, &mut self.random) } else { Disk::default() };
            self.look().map_err(|problem| format!("{death:?}: {problem}"))?;
        }
        Ok(())
    }

    /// Works until the disk is gone.
    fn live(&mut self) {
        let view = Arc::new(View::default());
        let Ok(mut node) = self.open(&view) else { return };
        for _ in 0..BATCHES_MAX {
            let mut replies = Vec::new();
            for _ in 0..self.random.random_range(1..5) {
                let (command, name, epoch) = self.command();
                let (reply, outcome) = oneshot::channel();
                node.propose(&command, reply);
                replies.push((name, epoch, outcome));
            }
            let settled = node.settle();
            for (name, epoch, mut outcome) in replies {
                if let Ok(Ok(outcome)) = outcome.try_recv() {
                    assert!(outcome.refused.is_empty(), "{outcome:?}");
                    // The view knows of it before whoever asked does.
                    let seen = view.0.lock().unwrap().get(&("left".to_owned(), name.clone())).copied();
                    assert!(seen.unwrap_or_default() >= epoch);
                    self.acknowledged.insert(name, epoch);
                    self.writes += 1;
                }
            }
            if settled.is_err() {
                return;
            }
        }
        // What a node does when it ends in order would undo the mistake.
        self.disk.fail_after(0);
    }

    fn command(&mut self) -> (Command, String, u64) {
        let name = self.random.random_range(0..NAMES).to_string();
        let epoch = self.proposed.get(&name).copied().unwrap_or_default() + 1;
        self.proposed.insert(name.clone(), epoch);
        self.request += 1;
        let agreements = HALVES.map(|steward| SignedAgreement {
            steward: steward.to_owned(),
            name: name.clone(),
            epoch,
            text: text(&name, epoch),
            ..SignedAgreement::default()
        });
        let change = Change::Agreements(Agreements { agreements: agreements.to_vec() });
        (Command { request: self.request.to_be_bytes().to_vec(), change: Some(change) }, name, epoch)
    }

    fn open(&mut self, view: &Arc<View>) -> Result<Node, ConsensusError> {
        let database = Database::builder().create_with_backend(self.disk.clone()).map_err(ConsensusError::disk)?;
        self.made = true;
        let mut store = Store::new(database, 1, &ConfState::from((vec![1], vec![])), KEPT)?;
        store.mistake = self.mistake;
        Node::start(store, 1, Box::new(Alone), Arc::clone(view) as _)
    }

    /// Opens the node after a death and compares it with what is known from outside.
    fn look(&mut self) -> Result<(), String> {
        let view = Arc::new(View::default());
        let node = self.open(&view).map_err(|error| format!("it does not open: {error}"))?;
        let state = node.state();
        for name in (0..NAMES).map(|name| name.to_string()) {
            let epochs = HALVES.map(|half| state.agreement(half, &name).map_or(0, |one| one.epoch));
            if epochs[0] != epochs[1] {
                return Err(format!("`{name}` is there in half: {epochs:?}"));
            }
            let acknowledged = self.acknowledged.get(&name).copied().unwrap_or_default();
            let proposed = self.proposed.get(&name).copied().unwrap_or_default();
            if epochs[0] < acknowledged {
                return Err(format!("`{name}` was acknowledged in epoch {acknowledged}, there is {}", epochs[0]));
            }
            if epochs[0] > proposed {
                return Err(format!("`{name}` is in epoch {}, which nobody asked for", epochs[0]));
            }
            for half in HALVES {
                if state.agreement(half, &name).is_some_and(|one| one.text != text(&name, one.epoch)) {
                    return Err(format!("`{name}` has another text than was proposed"));
                }
            }
            let seen = view.0.lock().unwrap().get(&("right".to_owned(), name.clone())).copied();
            if seen.unwrap_or_default() != epochs[1] {
                return Err(format!("whoever keeps a view was told of epoch {seen:?} of `{name}`, not {}", epochs[1]));
            }
            self.proposed.insert(name, epochs[0].max(acknowledged).max(proposed));
        }
        let stored = State::from_rows(node.store().rows().map_err(|error| error.to_string())?);
        if bytes(&stored) != bytes(state) {
            return Err("what is stored is not what is in memory".to_owned());
        }
        Ok(())
    }
}

fn text(name: &str, epoch: u64) -> String {
    format!("{name} in epoch {epoch} ").repeat(20)
}

/// The seeds that are run; more of them where a long test is asked for.
fn seeds() -> u64 {
    if std::env::var_os("DYNAMOS_LONG").is_some() { 1500 } else { 250 }
}

#[test]
fn no_acknowledged_write_is_lost_and_none_is_there_in_half_after_a_crash_at_any_moment() {
    let mut writes = 0;
    for seed in 0..seeds() {
        let mut run = Run::new(seed, None);
        if let Err(problem) = run.play() {
            panic!("seed {seed}: {problem}");
        }
        writes += run.writes;
    }
    println!("{writes} acknowledged writes over {} crashes", seeds() * DEATHS as u64);
    assert!(writes > seeds() * 10, "only {writes} writes were acknowledged");
}

#[test]
fn known_mistakes_are_found_by_the_same_crashes() {
    for mistake in [Mistake::NoWait, Mistake::ApplyBeforeCommit, Mistake::AppliedBeforeEffects] {
        let found = (0..seeds()).find_map(|seed| Run::new(seed, Some(mistake)).play().err().map(|why| (seed, why)));
        let (seed, why) = found.unwrap_or_else(|| panic!("{mistake:?} was not found"));
        println!("{mistake:?}: seed {seed}: {why}");
    }
}

#[test]
fn many_proposals_share_one_wait_for_the_disk() {
    let mut run = Run::new(1, None);
    let mut node = run.open(&Arc::new(View::default())).unwrap();
    let mut waits = Vec::new();
    for _ in 0..10 {
        let before = run.disk.syncs();
        let replies: Vec<_> = (0..100)
            .map(|_| {
                let (reply, outcome) = oneshot::channel();
                node.propose(&run.command().0, reply);
                outcome
            })
            .collect();
        node.settle().unwrap();
        assert!(replies.into_iter().all(|mut outcome| outcome.try_recv().unwrap().is_ok()));
        waits.push(run.disk.syncs() - before);
    }
    // The file waits, too, when it grows, which it does now and then.
    assert_eq!(waits.iter().min(), Some(&1), "{waits:?}");
    assert!(waits.iter().sum::<u64>() <= 20, "{waits:?}");
}

#[test]
fn the_log_and_the_file_do_not_grow_with_the_number_of_writes() {
    let mut run = Run::new(1, None);
    let mut node = run.open(&Arc::new(View::default())).unwrap();
    let mut lengths = Vec::new();
    for _ in 0..4 {
        for _ in 0..400 {
            let (reply, mut outcome) = oneshot::channel();
            node.propose(&run.command().0, reply);
            node.settle().unwrap();
            outcome.try_recv().unwrap().unwrap();
        }
        assert!(node.store().entries_kept() <= 2 * KEPT + 2, "{} entries", node.store().entries_kept());
        lengths.push(run.disk.length());
    }
    // Remembered requests fill up to their bound.
    assert!(lengths[3] <= 2 * lengths[1], "{lengths:?}");
    println!("file of {lengths:?} bytes, {} calls", run.disk.calls());
}
