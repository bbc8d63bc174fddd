//! A coordinator that is killed in the middle of a thousand agreement writes. After each kill the sites are away too, so all
//! that is there is what the coordinator kept for itself: every acknowledged write in full and under its epoch.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dynamos_cli::demo::rows;
use dynamos_cli::federation::{Client, Design, Layout, Person, connect, query};
use dynamos_planner::sql::parse_agreement;
use dynamos_proto::status::Code;
use tokio::task::JoinSet;

use crate::archive::{ARCHIVES, READER, SUMS, archive};
use crate::federation::told;
use crate::roles::{Roles, until};

/// Clients that write for one steward.
const CLIENTS: usize = 4;
/// Agreements of one client.
const NAMES: usize = 25;
/// Writes to one agreement, in this order.
const STEPS: [Step; 5] = [Step::Create, Step::Alter, Step::Alter, Step::Revoke, Step::Create];
/// All writes.
const WRITES: usize = ARCHIVES.len() * CLIENTS * NAMES * STEPS.len();
/// After so many acknowledged writes the coordinator is killed.
const KILLS: [usize; 3] = [WRITES / 5, WRITES / 2, WRITES * 4 / 5];
/// All of it takes no longer than this.
const WITHIN: Duration = Duration::from_secs(240);
/// How long a client waits before it tries again.
const RETRY: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Alter,
    Revoke,
}

/// What a client knows of one agreement: how many of the steps were acknowledged, and how many tried.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: usize,
    tried: usize,
}

/// By steward and name.
type Ledger = Arc<Mutex<BTreeMap<(String, String), Known>>>;

/// What is in force: epoch and text, by steward and name.
type InForce = BTreeMap<(String, String), (u64, String)>;

fn decider(steward: &str) -> String {
    format!("decider@{steward}.nl")
}

fn deciders(root: &Path) -> Design {
    let mut design = archive(root);
    design.people.extend(ARCHIVES.map(|steward| Person {
        user: decider(steward),
        organisation: steward.into(),
        role: "steward".into(),
        purpose: "statistics".into(),
    }));
    design
}

/// The agreement as the n-th step writes it; each step writes another text.
fn agreement(steward: &str, name: &str, step: usize) -> String {
    format!(
        "AGREEMENT {name} ON SITE {steward} FOR ROLE reader PURPOSE statistics VALID UNTIL '{}-01-01' \
         AS (RELEASE ROWS (number) FROM archive.lines)",
        2100 + step
    )
}

fn canonical(steward: &str, name: &str, step: usize) -> String {
    parse_agreement(&format!("CREATE {}", agreement(steward, name, step))).unwrap().to_string()
}

fn statement(steward: &str, name: &str, step: usize) -> String {
    match STEPS[step - 1] {
        Step::Create => format!("CREATE {}", agreement(steward, name, step)),
        Step::Alter => format!("ALTER {}", agreement(steward, name, step)),
        Step::Revoke => format!("REVOKE AGREEMENT {name} ON SITE {steward}"),
    }
}

/// Takes every agreement of one client through all steps, whatever happens to the coordinator.
async fn write(layout: Layout, steward: &'static str, names: Vec<String>, ledger: Ledger) {
    let user = layout.user(&decider(steward)).unwrap().clone();
    let mut client: Option<Client> = None;
    for step in 1..=STEPS.len() {
        for name in &names {
            let note = |change: fn(&mut Known, usize)| {
                change(ledger.lock().unwrap().entry((steward.to_owned(), name.clone())).or_default(), step);
            };
            note(|known, step| known.tried = step);
            loop {
                if client.is_none() {
                    client = connect(&layout, &user).await.ok();
                }
                let Some(connected) = &mut client else {
                    tokio::time::sleep(RETRY).await;
                    continue;
                };
                let error = match connected.execute_update(statement(steward, name, step), None).await {
                    Ok(_) => break note(|known, step| known.acknowledged = step),
                    Err(error) => told(&error.into()),
                };
                let kind = STEPS[step - 1];
                match error.code {
                    // An earlier try was carried out, though nobody was told. The site has announced it since, or it could not be
                    // asked: so it is kept.
                    Code::InvalidArgument if kind == Step::Create && error.message.contains("exists") => {
                        break note(|known, step| known.acknowledged = step);
                    }
                    Code::UnknownName if kind == Step::Revoke && error.message.contains("has no agreement") => {
                        break note(|known, step| known.acknowledged = step);
                    }
                    Code::SiteUnavailable | Code::Internal | Code::Cancelled => {}
                    _ => panic!("`{name}` of `{steward}`: {error}"),
                }
                client = None;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn acknowledged(ledger: &Ledger) -> usize {
    ledger.lock().unwrap().values().map(|known| known.acknowledged).sum()
}

/// Kills every role at once, starts the coordinator alone, and compares what it knows with what was acknowledged.
async fn kill_and_look(roles: &mut Roles, ledger: &Ledger) {
    roles.signal("coordinator", "KILL");
    for site in roles.layout.sites.clone() {
        roles.signal(&site, "KILL");
    }
    for role in roles.layout.sites.clone().iter().map(String::as_str).chain(["coordinator"]) {
        assert!(!roles.ended(role).await.success());
    }
    // Without sites nothing is written, so this does not change below.
    let began = Instant::now();
    roles.run("coordinator");
    let known = ledger.lock().unwrap().clone();
    for steward in ARCHIVES {
        let shown = shown(&roles.layout, steward).await;
        println!("{} agreements of {steward} are in force {:?} after the kill", shown.len(), began.elapsed());
        let book = book(&roles.layout, steward);
        for ((_, name), known) in known.iter().filter(|((of, _), _)| of == steward) {
            let found = shown.get(&(steward.to_owned(), name.clone()));
            let problem = compare(steward, name, *known, found, book.get(name));
            assert!(problem.is_none(), "`{name}` of `{steward}`, {known:?}: {problem:?}; there is {found:?}");
        }
        assert!(shown.contains_key(&(steward.to_owned(), "open_lines".to_owned())));
    }
    for site in roles.layout.sites.clone() {
        roles.run(&site);
    }
}

/// What is wrong with what is there of one agreement.
fn compare(
    steward: &str,
    name: &str,
    known: Known,
    found: Option<&(u64, String)>,
    book: Option<&(u64, String, bool)>,
) -> Option<&'static str> {
    let absent_after = |step: usize| step == 0 || STEPS[step - 1] == Step::Revoke;
    let steps = [known.acknowledged, known.tried];
    let Some((epoch, text)) = found else {
        return (!steps.into_iter().any(absent_after)).then_some("it is lost");
    };
    if !steps.into_iter().any(|step| !absent_after(step) && *text == canonical(steward, name, step)) {
        return Some("its text is none that was written last");
    }
    if *epoch < known.acknowledged as u64 {
        return Some("its epoch is older than what was acknowledged");
    }
    match book {
        None => Some("its site does not know it"),
        Some((newest, ..)) if epoch > newest => Some("its epoch is newer than its site's"),
        Some((newest, written, _)) if known.acknowledged == known.tried && (epoch, text) != (newest, written) => {
            Some("it was acknowledged, but is not what its site has")
        }
        Some(_) => None,
    }
}

/// The agreements in force that the coordinator shows to their steward.
async fn shown(layout: &Layout, steward: &str) -> InForce {
    let user = layout.user(&decider(steward)).unwrap();
    let began = Instant::now();
    let mut client = loop {
        match connect(layout, user).await {
            Ok(client) => break client,
            Err(error) => assert!(began.elapsed() < WITHIN, "{error:#}"),
        }
        tokio::time::sleep(RETRY).await;
    };
    let shown = rows(&query(&mut client, "SHOW AGREEMENTS").await.unwrap()).unwrap();
    shown.into_iter().map(|row| ((row[1].clone(), row[0].clone()), (row[2].parse().unwrap(), row[5].clone()))).collect()
}

/// A site's own agreements: epoch, text, and whether it is revoked, by name.
fn book(layout: &Layout, steward: &str) -> BTreeMap<String, (u64, String, bool)> {
    let text = fs::read_to_string(layout.root.join(steward).join("state/agreements.json")).unwrap();
    let records: serde_json::Value = serde_json::from_str(&text).unwrap();
    let records = records.as_array().unwrap().iter();
    let field = |record: &serde_json::Value, name: &str| record[name].as_str().unwrap().to_owned();
    records
        .map(|record| {
            let rest = (record["epoch"].as_u64().unwrap(), field(record, "text"), record["revoked"].as_bool().unwrap());
            (field(record, "name"), rest)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_during_a_thousand_agreement_writes_keeps_every_acknowledged_one() {
    let began = Instant::now();
    let mut roles = Roles::start(deciders).await;
    // Every steward's site is there. From then on the coordinator knows them, whatever happens to it.
    drop(roles.client(READER, SUMS).await);
    let ledger = Ledger::default();
    let mut writing = JoinSet::new();
    for steward in ARCHIVES {
        for client in 0..CLIENTS {
            let names = (0..NAMES).map(|name| format!("a{client}_{name}")).collect();
            writing.spawn(write(roles.layout.clone(), steward, names, Arc::clone(&ledger)));
        }
    }
    for kill in KILLS {
        until("enough acknowledged writes", WITHIN, || {
            assert!(writing.len() == ARCHIVES.len() * CLIENTS, "a client is done too early");
            (acknowledged(&ledger) >= kill).then_some(())
        })
        .await;
        println!("{} writes are acknowledged after {:?}", acknowledged(&ledger), began.elapsed());
        kill_and_look(&mut roles, &ledger).await;
    }
    let written = tokio::time::timeout(WITHIN, async {
        while let Some(written) = writing.join_next().await {
            written.unwrap();
        }
    });
    written.await.expect("the clients come to an end");
    println!("all writes are done after {:?}", began.elapsed());
    kill_and_look(&mut roles, &ledger).await;
    assert_eq!(acknowledged(&ledger), WRITES);
    println!("{WRITES} writes and {} kills in {:?}", KILLS.len() + 1, began.elapsed());
    roles.stop().await;
}
