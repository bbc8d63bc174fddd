//! What a federation leaves on record, as an officer of a steward reads it.

use dynamos_cli::audit::words;
use dynamos_proto::record::read;
use serde_json::Value;

use crate::archive::{READER, SUMS, archive, sums};
use crate::federation::{TestFederation, answer};

/// A file of records in words.
fn shown(federation: &TestFederation, file: &str) -> String {
    let mut text = String::new();
    read(&federation.layout.root.join(file), |record: Value| text.push_str(&words(&record))).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_a_site_and_by_which_words_of_which_clause_can_be_read() {
    let federation = TestFederation::design(archive).await;
    let mut client = federation.client(READER, "data_to_compute", SUMS).await;
    assert_eq!(answer(&mut client, SUMS).await, sums());
    // The answer has ended, so all of this is there.
    let ledger = shown(&federation, "leiden/state/ledger.log");
    for expected in [
        " agreement: found `open_lines`, epoch 1\n",
        "    CREATE AGREEMENT open_lines ON SITE leiden\n",
        ", reader@leiden.nl of leiden for statistics\n",
        " at leiden -> f",
        ": released rows of leiden.archive.lines (",
        "    by leiden: agreement `open_lines` epoch 1, clause 1\n",
        " rows, ",
        " bytes, ended\n",
    ] {
        assert!(ledger.contains(expected), "`{expected}` is not in\n{ledger}");
    }
    let decisions = shown(&federation, "coordinator/state/decisions.log");
    let end = decisions.lines().last().unwrap();
    assert!(
        end.contains(" end: query ") && end.contains(" FINISHED, at most 1024 rows to the requester"),
        "{decisions}"
    );
    federation.stop().await;
}
