//! Every case against the planner. `UPDATE_GOLDEN=1` writes what comes out into the files; read the difference before it is
//! committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::case::{Case, folder};
use super::difference::difference;

/// Fewer cases than this, and files were lost.
const CASES_MIN: usize = 25;

/// How a difference is accepted.
pub(super) const HOW_TO_UPDATE: &str =
    "if this is meant, run `UPDATE_GOLDEN=1 cargo xtask test --workspace --test suite -- golden` and read the diff";

/// Whether files are to be written anew.
pub(super) fn updates() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// What is in a folder of golden files, in order.
fn entries(name: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Every case with its file.
pub(super) fn cases() -> Vec<(PathBuf, Case)> {
    let cases = entries("plan").into_iter().map(|path| {
        assert!(path.extension().is_some_and(|kind| kind == "txt"), "{} is no case; remove it", path.display());
        let case = Case::parse(&fs::read_to_string(&path).unwrap());
        let case = case.unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        (path, case)
    });
    cases.collect()
}

#[tokio::test]
async fn every_query_takes_the_path_that_is_written_down() {
    if updates() {
        super::demo::stale().await;
    }
    let mut differences = String::new();
    for (path, case) in cases() {
        let outcome = case.outcome();
        assert_eq!(outcome, case.outcome(), "{}: the same input gives two plans", path.display());
        if outcome == case.expected {
            continue;
        }
        if updates() {
            fs::write(&path, case.file(&outcome)).unwrap();
            continue;
        }
        differences.push_str(&format!("\n{}\n{}", path.display(), difference(&case.expected, &outcome)));
    }
    assert!(differences.is_empty(), "{differences}\n{HOW_TO_UPDATE}");
}

#[test]
fn no_case_is_lost_and_every_federation_is_asked() {
    let cases = cases();
    assert!(cases.len() >= CASES_MIN, "there are only {} cases", cases.len());
    let asked: BTreeSet<PathBuf> =
        cases.iter().map(|(_, case)| folder().join("federation").join(&case.federation)).collect();
    let there: BTreeSet<PathBuf> = entries("federation").into_iter().collect();
    assert_eq!(asked, there);
}

#[test]
fn no_cross_product_is_moved_where_conditions_connect_the_tables() {
    let ordered = cases().into_iter().filter(|(path, _)| path.display().to_string().contains("open_join_order"));
    let mut seen = 0;
    for (path, case) in ordered {
        let placed = case.outcome();
        let (_, placed) = placed.split_once("\nfragments\n").unwrap();
        assert!(placed.contains("Inner Join") && !placed.contains("Cross Join"), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 3);
}

#[test]
fn every_verdict_and_family_is_among_the_cases() {
    let files: Vec<String> = cases().into_iter().map(|(_, case)| case.file(&case.outcome())).collect();
    for part in [
        "Allowed for ",
        "error: DENIED",
        "Refused for ",
        "Nearest allowed query:",
        "before anything leaves",
        "its rows stay",
        "error: UNKNOWN_NAME",
        "error: SITE_UNAVAILABLE",
        "placement: compute_to_data",
        "placement: data_to_compute",
        "as partials of r0",
        "parameter: ",
    ] {
        assert!(files.iter().any(|file| file.contains(part)), "no case shows `{part}`");
    }
}
