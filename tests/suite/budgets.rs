//! Budgets as requesters and stewards meet them: counted by each steward for itself, recorded, and shown.

use std::fs;
use std::path::Path;

use dynamos_cli::federation::Design;
use dynamos_proto::record::verify;
use dynamos_proto::status::Code;

use crate::archive::{ARCHIVES, READER, SUMS, archive, sums};
use crate::federation::{TestFederation, answer, error};
use crate::roles::until;

/// The archives, each of which may be asked three times.
pub fn three_a_year(root: &Path) -> Design {
    let mut design = archive(root);
    for text in design.stewards.iter_mut().flat_map(|steward| &mut steward.agreements) {
        let budgeted = text.replace("FROM archive.lines\n", "FROM archive.lines,\n  BUDGET 3 QUERIES PER YEAR\n");
        assert_ne!(*text, budgeted);
        *text = budgeted;
    }
    design
}

/// A question to one archive.
pub fn one(steward: &str) -> String {
    format!("SELECT count(*), sum(number) FROM archive.lines WHERE steward = '{steward}'")
}

fn ledger(federation: &TestFederation, place: &str) -> String {
    fs::read_to_string(federation.layout.root.join(place).join("state/ledger.log")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_the_fourth_question_is_refused_by_name_and_everything_is_on_record() {
    let federation = TestFederation::design(three_a_year).await;
    let mut client = federation.client(READER, "auto", SUMS).await;
    let policy = answer(&mut client, &format!("EXPLAIN POLICY {SUMS}")).await;
    assert!(
        policy.iter().any(|line| {
            line[0].contains("clause 2: BUDGET 3 QUERIES PER YEAR, counted by leiden; this question counts for 1")
        }),
        "{policy:?}"
    );
    for _ in 0..3 {
        assert_eq!(answer(&mut client, SUMS).await, sums());
    }
    let refused = error(&mut client, SUMS).await;
    assert_eq!(refused.code, Code::BudgetSpent, "{refused}");
    assert!(refused.message.contains("allows 3 queries per year to `leiden`, of which 3 are spent"), "{refused}");
    let agreements = answer(&mut client, "SHOW AGREEMENTS").await;
    assert!(agreements[0][5].contains("BUDGET 3 QUERIES PER YEAR"), "{agreements:?}");

    let decisions = answer(&mut client, "SHOW DECISIONS").await;
    let outcomes: Vec<&str> = decisions.iter().map(|row| row[7].as_str()).collect();
    assert_eq!(outcomes, ["BUDGET_SPENT", "FINISHED", "FINISHED", "FINISHED"]);
    assert!(decisions.iter().all(|row| row[2] == "permitted" && row[4] == "leiden.open_lines@1, utrecht.open_lines@1"));
    assert!(decisions.iter().all(|row| row[5].contains("leiden: agreement `open_lines` epoch 1, clause 1")));

    let layout = &federation.layout;
    let token = &layout.user(READER).unwrap().token;
    let logs = ARCHIVES.map(|place| layout.root.join(place).join("state/ledger.log"));
    for path in logs.iter().chain([&layout.root.join("coordinator/state/decisions.log")]) {
        assert!(verify(path).unwrap().records >= 3, "{}", path.display());
        assert!(!fs::read_to_string(path).unwrap().contains(token), "{}", path.display());
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_steward_refuses_costs_the_others_nothing() {
    let federation = TestFederation::design(three_a_year).await;
    let mut client = federation.client(READER, "auto", SUMS).await;
    for _ in 0..3 {
        assert_eq!(answer(&mut client, &one("leiden")).await[0], sums()[0][1..]);
    }
    let refused = error(&mut client, SUMS).await;
    assert_eq!(refused.code, Code::BudgetSpent, "{refused}");
    assert!(refused.message.contains("`leiden`"), "{refused}");
    // Utrecht had accepted it, or is about to, and is told that nothing has begun.
    until("a charge that is given back", std::time::Duration::from_secs(10), || {
        ledger(&federation, "utrecht").contains("\"event\":\"return\"").then_some(())
    })
    .await;
    for _ in 0..3 {
        assert_eq!(answer(&mut client, &one("utrecht")).await[0], sums()[1][1..]);
    }
    assert_eq!(error(&mut client, &one("utrecht")).await.code, Code::BudgetSpent);
    federation.stop().await;
}
