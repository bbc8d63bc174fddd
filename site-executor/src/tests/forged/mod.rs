//! A coordinator that lies: it has its certificate and its key, signs graphs that ask for more than an agreement gives, and
//! sends them to sites that run as they do in use. Each case is one change to a graph that is accepted and answered as it
//! should be; the site must refuse it by name, give none of its rows to the place that the graph names, and log it.

mod fixture;
mod hashes;
mod joins;
mod permits;
mod releases;
mod rows;
mod stewards;
mod trace;
mod wire;

use std::collections::BTreeSet;

use fixture::{Base, Case, refuse_all};

/// Every list of lies: its name, the file whose test sends it, and the lies. No other list is sent.
const LISTS: [(&str, &str, &[Case]); 14] = [
    ("CASES", include_str!("hashes.rs"), hashes::CASES),
    ("PARTIALS", include_str!("hashes.rs"), hashes::PARTIALS),
    ("LEFT", include_str!("joins.rs"), joins::LEFT),
    ("ROWS", include_str!("joins.rs"), joins::ROWS),
    ("CASES", include_str!("permits.rs"), permits::CASES),
    ("PARTIALS", include_str!("releases.rs"), releases::PARTIALS),
    ("JOIN", include_str!("releases.rs"), releases::JOIN),
    ("CASTS", include_str!("releases.rs"), releases::CASTS),
    ("KEPT", include_str!("releases.rs"), releases::KEPT),
    ("PER_SITE", include_str!("releases.rs"), releases::PER_SITE),
    ("CASES", include_str!("rows.rs"), rows::CASES),
    ("RELEASED", include_str!("rows.rs"), rows::RELEASED),
    ("TOGETHER", include_str!("stewards.rs"), stewards::TOGETHER),
    ("CASES", include_str!("wire.rs"), wire::CASES),
];
/// So many different lies there are at least.
const LIES_MIN: usize = 120;

#[test]
fn every_list_of_lies_is_sent_and_they_are_many() {
    let mut lies = BTreeSet::new();
    for (list, file, cases) in LISTS {
        let sent = file.matches(&format!(", {list}).await;")).count();
        assert_eq!(sent, 1, "the list {list} is to be sent once: {:?}", cases.first().map(|case| case.name));
        for case in cases {
            assert!(lies.insert(case.name), "`{}` stands twice", case.name);
        }
    }
    assert!(lies.len() >= LIES_MIN, "only {} lies are told", lies.len());
}
