//! Properties of the state machine over random commands. A failure prints its seed.

use std::collections::BTreeMap;

use dynamos_proto::state::command::Change;
use dynamos_proto::state::row::Row as Kind;
use dynamos_proto::state::{Agreements, Command, Organisation, Organisations, Outcome, Row, Rows};
use dynamos_proto::v1::{Announcement, SignedAgreement, Table};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{REMEMBERED_MAX, RowKey, State};

const SEEDS: u64 = 200;
const COMMANDS: u64 = 120;

fn signed(random: &mut StdRng) -> SignedAgreement {
    let epoch = random.random_range(1..6);
    let variant = if random.random_bool(0.1) { "other" } else { "text" };
    SignedAgreement {
        steward: ["uva", "vu"][random.random_range(0..2)].to_owned(),
        name: ["a", "b", "c"][random.random_range(0..3)].to_owned(),
        epoch,
        text: format!("{variant} {epoch}"),
        signature: vec![random.random_range(0..2)],
        revoked: epoch == 4,
        purposes: 1,
    }
}

fn command(random: &mut StdRng) -> Command {
    let agreements: Vec<SignedAgreement> = (0..random.random_range(0..4)).map(|_| signed(random)).collect();
    let change = match random.random_range(0..4) {
        0 => Change::Announced(Announcement {
            site: ["uva", "surf"][random.random_range(0..2)].to_owned(),
            uri: random.random_range(0..3).to_string(),
            tables: vec![Table {
                rows: 7,
                colocated_on: ["x", "y", "z"].map(|column| (column.to_owned(), "key".to_owned())).into(),
                ..Table::default()
            }],
            agreements,
            ..Announcement::default()
        }),
        1 => Change::Organisations(Organisations {
            organisations: (0..random.random_range(0..3))
                .map(|number: i32| Organisation { name: number.to_string(), public_key: "key".to_owned() })
                .collect(),
        }),
        _ => Change::Agreements(Agreements { agreements }),
    };
    // Some requests come twice.
    Command { request: vec![random.random_range(0..200)], change: Some(change) }
}

pub(crate) fn bytes(state: &State) -> Vec<u8> {
    Rows { rows: state.rows().cloned().collect() }.encode_to_vec()
}

#[test]
fn the_same_commands_give_the_same_bytes_also_over_a_copy_in_between() {
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let commands: Vec<Command> = (0..COMMANDS).map(|_| command(&mut random)).collect();
        let copied_at = random.random_range(0..COMMANDS);
        let (mut one, mut two) = (State::default(), State::default());
        for (index, command) in (1..).zip(&commands) {
            if index == copied_at {
                let rows = Rows::decode(bytes(&two).as_slice()).unwrap().rows;
                two = State::from_rows(rows);
            }
            let sent = Command::decode(command.encode_to_vec().as_slice()).unwrap();
            assert_eq!(one.apply(index, command.clone()), two.apply(index, sent), "seed {seed}");
            assert_eq!(bytes(&one), bytes(&two), "seed {seed}");
        }
    }
}

#[test]
fn the_effects_are_all_that_changes() {
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut state, mut stored) = (State::default(), BTreeMap::<RowKey, Row>::new());
        for index in 1..=COMMANDS {
            for (key, row) in state.apply(index, command(&mut random)).effects {
                match row {
                    Some(row) => drop(stored.insert(key, row)),
                    None => drop(stored.remove(&key)),
                }
            }
            assert!(state.rows().eq(stored.values()), "seed {seed}");
            assert!(state.rows().zip(stored.keys()).all(|(row, key)| RowKey::of(row).as_ref() == Some(key)));
        }
    }
}

/// An epoch only rises, an epoch never has two texts, and a revoked agreement stays as what it is until a newer version.
#[test]
fn epochs_only_rise_and_what_is_refused_is_told() {
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let mut state = State::default();
        let mut told = 0;
        for index in 1..=COMMANDS {
            let before = state.clone();
            let outcome = state.apply(index, command(&mut random)).outcome;
            for row in before.rows() {
                let Some(Kind::Agreement(old)) = &row.row else { continue };
                let new = state.agreement(&old.steward, &old.name).expect("an agreement was forgotten");
                let same = (&new.text, new.revoked) == (&old.text, old.revoked);
                assert!(new.epoch > old.epoch || (new.epoch == old.epoch && same), "seed {seed}: {old:?} {new:?}");
            }
            for refused in &outcome.refused {
                let known = state.agreement(&refused.steward, &refused.name).unwrap();
                assert!(refused.offered <= known.epoch, "seed {seed}");
            }
            told += outcome.refused.len();
        }
        assert!(told > 0, "seed {seed} refuses nothing");
    }
}

#[test]
fn a_request_is_carried_out_once_and_told_the_same_again() {
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut state, mut outcomes) = (State::default(), BTreeMap::<Vec<u8>, Outcome>::new());
        for index in 1..=COMMANDS {
            let command = command(&mut random);
            let (request, before) = (command.request.clone(), bytes(&state));
            let applied = state.apply(index, command);
            match outcomes.get(&request) {
                None => drop(outcomes.insert(request, applied.outcome)),
                Some(outcome) => {
                    assert_eq!((outcome, applied.effects.len()), (&applied.outcome, 0), "seed {seed}");
                    assert_eq!(bytes(&state), before, "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn what_is_remembered_of_requests_is_bounded() {
    let mut state = State::default();
    let many = REMEMBERED_MAX as u64 + 50;
    for index in 1..=many {
        let change = Change::Agreements(Agreements::default());
        state.apply(index, Command { request: index.to_be_bytes().to_vec(), change: Some(change) });
    }
    assert_eq!(state.rows().count(), REMEMBERED_MAX);
    let copy = State::from_rows(state.rows().cloned());
    assert_eq!(copy, state);
}

#[test]
fn tables_are_kept_without_what_a_site_counts() {
    let mut state = State::default();
    let announced = Announcement {
        site: "uva".to_owned(),
        tables: vec![Table {
            name: "personen".to_owned(),
            rows: 9,
            columns: vec![Default::default()],
            ..Default::default()
        }],
        ..Announcement::default()
    };
    state.apply(1, Command { request: vec![1], change: Some(Change::Announced(announced)) });
    let tables = state.rows().find_map(|row| match &row.row {
        Some(Kind::Place(place)) => Some(&place.tables),
        _ => None,
    });
    let table = &tables.unwrap()[0];
    assert_eq!((table.name.as_str(), table.rows, table.columns.len()), ("personen", 0, 0));
}
