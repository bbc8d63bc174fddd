//! Three nodes over a simulated network that loses and cuts: what was acknowledged survives its leader, a node that was
//! away catches up by entries or by a snapshot, a minority changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use dynamos_proto::state::command::Change;
use dynamos_proto::state::{Agreements, Command, Row};
use dynamos_proto::v1::SignedAgreement;
use redb::Database;
use redb::backends::InMemoryBackend;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::consensus::Unsettled;
use crate::consensus::node::{Group, Node, Peers, Rows};
use crate::state::tests::bytes;

const NODES: [u64; 3] = [1, 2, 3];
const KEPT: u64 = 8;
/// Rounds after which a group must have agreed on something, a tick each.
const ROUNDS_MAX: usize = 200;

type Mail = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

struct Post(Mail);

impl Peers for Post {
    fn send(&mut self, to: u64, message: Vec<u8>) {
        self.0.lock().unwrap().push((to, message));
    }
}

struct Nobody;

impl Rows for Nobody {
    fn put(&self, _: &[Row]) {}
}

struct Three {
    nodes: BTreeMap<u64, (Node, Mail)>,
    away: BTreeSet<u64>,
    epoch: u64,
}

impl Three {
    fn new() -> Self {
        let nodes = NODES.map(|id| {
            let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let group = Group { node: id, members: NODES.to_vec(), log_kept: KEPT };
            let mail = Mail::default();
            let node = Node::open(database, &group, Box::new(Post(Arc::clone(&mail))), Arc::new(Nobody)).unwrap();
            (id, (node, mail))
        });
        Self { nodes: nodes.into(), away: BTreeSet::new(), epoch: 0 }
    }

    /// A tick for everybody, and everything that is on its way, in order for each pair.
    fn round(&mut self) {
        for (node, _) in self.nodes.values_mut() {
            node.tick();
            node.settle().unwrap();
        }
        for from in NODES {
            let sent = std::mem::take(&mut *self.nodes[&from].1.lock().unwrap());
            for (to, message) in sent {
                if !self.away.contains(&from) && !self.away.contains(&to) {
                    let node = &mut self.nodes.get_mut(&to).unwrap().0;
                    node.step(&message);
                    node.settle().unwrap();
                }
            }
        }
    }

    /// Asks every node that is there in turn until one has the change carried out; its id.
    fn write(&mut self) -> Option<u64> {
        self.epoch += 1;
        let one = SignedAgreement {
            steward: "uva".to_owned(),
            name: "a".to_owned(),
            epoch: self.epoch,
            text: "x".repeat(100),
            ..SignedAgreement::default()
        };
        let change = Change::Agreements(Agreements { agreements: vec![one] });
        let command = Command { request: self.epoch.to_be_bytes().to_vec(), change: Some(change) };
        for round in 0..ROUNDS_MAX {
            let ids: Vec<u64> = NODES.into_iter().filter(|id| !self.away.contains(id)).collect();
            let id = ids[round % ids.len()];
            let (reply, mut outcome) = oneshot::channel();
            self.nodes.get_mut(&id).unwrap().0.propose(&command, reply);
            for _ in 0..6 {
                self.round();
                match outcome.try_recv() {
                    Ok(Ok(_)) => return Some(id),
                    Ok(Err(Unsettled::NotTaken | Unsettled::Unknown)) | Err(TryRecvError::Closed) => break,
                    Err(TryRecvError::Empty) => {}
                }
            }
        }
        None
    }

    fn epoch_at(&self, id: u64) -> u64 {
        self.nodes[&id].0.state().agreement("uva", "a").map_or(0, |one| one.epoch)
    }

    fn agree(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let states = NODES.map(|id| bytes(self.nodes[&id].0.state()));
            if states[0] == states[1] && states[1] == states[2] {
                return;
            }
            self.round();
        }
        panic!("the nodes do not agree");
    }
}

#[test]
fn three_nodes_agree_and_survive_the_loss_of_each() {
    let mut three = Three::new();
    assert!(three.write().is_some());
    for lost in NODES {
        three.away = BTreeSet::from([lost]);
        for _ in 0..3 {
            assert!(three.write().is_some(), "nothing is accepted without {lost}");
        }
        three.away.clear();
        three.agree();
        assert_eq!(NODES.map(|id| three.epoch_at(id)), [three.epoch; 3]);
    }
}

#[test]
fn a_node_that_was_away_for_long_catches_up_by_a_snapshot() {
    let mut three = Three::new();
    three.write().unwrap();
    three.away = BTreeSet::from([3]);
    for _ in 0..5 * KEPT {
        three.write().unwrap();
    }
    three.away.clear();
    three.agree();
    assert_eq!(three.epoch_at(3), three.epoch);
}

#[test]
fn a_minority_changes_nothing() {
    let mut three = Three::new();
    three.write().unwrap();
    three.agree();
    let before = three.epoch_at(1);
    three.away = BTreeSet::from([2, 3]);
    assert_eq!(three.write(), None);
    assert_eq!(three.epoch_at(1), before);
}
