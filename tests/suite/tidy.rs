//! The order of the code: every file says what it is for, layers depend downwards only, files keep a size.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 8] = ["proto", "planner", "coordinator", "site-executor", "cli", "tests", "benches", "xtask"];
/// A longer file says in its first lines why it stays whole.
const LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = CRATES.iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("src/generated") && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 100, "the files were not found");
    files
}

#[test]
fn every_file_says_what_it_is_for() {
    for file in rust_files() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with `//!`", file.display());
    }
}

#[test]
fn files_keep_a_size() {
    for file in rust_files().into_iter().filter(|file| !file.ends_with("generated/dynamos.v1.rs")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
    }
}

#[test]
fn layers_depend_downwards_only() {
    let forbidden: [(&str, &[&str]); 4] = [
        ("proto", &["dynamos-planner", "dynamos-site", "dynamos-coordinator", "dynamos-cli", "datafusion"]),
        ("planner", &["dynamos-site", "dynamos-coordinator", "dynamos-cli", "tokio", "tonic", "raft"]),
        ("site-executor", &["dynamos-coordinator", "dynamos-cli"]),
        ("coordinator", &["dynamos-site", "dynamos-cli"]),
    ];
    for (name, others) in forbidden {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        for other in others {
            let depends = manifest.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(other));
            assert!(!depends, "`{name}` must not depend on `{other}`");
        }
    }
}

#[test]
fn the_planner_stays_pure_and_the_protocol_stays_in_wire() {
    for file in rust_files() {
        let shown = file.display().to_string();
        if !shown.contains("/planner/src/") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("SystemTime::now") && !text.contains("Instant::now"), "{shown} reads a clock");
        if !shown.contains("/wire/") {
            assert!(!text.contains("dynamos_proto::v1") && !text.contains("substrait"), "{shown} knows the protocol");
        }
    }
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let decisions = fs::read_dir(root().join("docs/adr")).unwrap().map(|entry| entry.unwrap().path());
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    for path in pages.chain([root().join("README.md")]).chain(decisions) {
        let (text, name) = (fs::read_to_string(&path).unwrap(), path.display());
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(path.parent().unwrap().join(file).exists(), "{name} links to `{target}`");
            }
        }
    }
}

/// A test that a document names is there, so that no row of the threat model rests on one that is gone.
#[test]
fn tests_that_the_documents_name_are_there() {
    let path = root().join("docs/threat-model.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut found = 0;
    for (before, behind) in text.match_indices("`](").map(|(at, mark)| (&text[..at], &text[at + mark.len()..])) {
        let name = before.rsplit("[`").next().unwrap();
        let file = path.parent().unwrap().join(behind.split(')').next().unwrap());
        let code = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(code.contains(&format!("fn {name}(")), "{} has no test `{name}`", file.display());
        found += 1;
    }
    assert!(found > 30, "only {found} names of tests were found");
}

/// Rules by the numbers that a test's name opens with: `b4_b5_rest_and_complement` is of B.4 and B.5.
fn rules_of(test: &str) -> impl Iterator<Item = String> {
    let numbers = test.split('_').map(|part| part.chars().collect::<Vec<_>>());
    let rule = |part: Vec<char>| match part.as_slice() {
        [letter @ 'a'..='e', digit @ '1'..='9'] => Some(format!("{}.{digit}", letter.to_ascii_uppercase())),
        _ => None,
    };
    numbers.map_while(rule)
}

/// The rules of `docs/semantics.md`.
fn rules_of_page() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("docs/semantics.md")).unwrap();
    let row = |line: &str| line.strip_prefix("| ")?.split_once(" | ").map(|(rule, _)| rule.to_owned());
    let numbered = |rule: &String| rule.len() == 3 && rule.starts_with(['A', 'B', 'C', 'D', 'E']) && rule.contains('.');
    page.lines().filter_map(row).filter(numbered).collect()
}

/// What `cargo xtask mutants` takes out of the source is still there, and is something of every rule.
#[test]
fn every_rule_can_be_taken_out() {
    let file = fs::read_to_string(root().join("tests/mutants.toml")).unwrap();
    let file: toml::Table = file.parse().unwrap();
    let text = |of: &toml::Value, name: &str| of[name].as_str().unwrap().to_owned();
    let mut changed: BTreeMap<String, String> = BTreeMap::new();
    let (mut names, mut rules) = (BTreeSet::new(), BTreeSet::new());
    for mutant in file["mutant"].as_array().unwrap() {
        let name = text(mutant, "name");
        rules.extend(mutant["rules"].as_array().unwrap().iter().map(|rule| rule.as_str().unwrap().to_owned()));
        for edit in mutant["edit"].as_array().unwrap() {
            let (file, old, new) = (text(edit, "file"), text(edit, "old"), text(edit, "new"));
            let code = changed.entry(file.clone()).or_insert_with(|| fs::read_to_string(root().join(&file)).unwrap());
            assert_eq!(code.matches(&old).count(), 1, "{file}: what `{name}` replaces stands there once");
            assert!(new.contains("MUTANT"), "`{name}` would always be in force");
            *code = code.replace(&old, &new);
        }
        assert!(names.insert(name.clone()), "`{name}` stands twice");
    }
    assert_eq!(rules_of_page(), rules, "rules of the page, and those that can be taken out");
}

/// Every rule of `docs/semantics.md` has a test that carries its number, and every number that a test carries is a rule's.
#[test]
fn every_rule_has_a_test_and_every_numbered_test_a_rule() {
    let rules = rules_of_page();
    let mut tested = BTreeSet::new();
    for file in rust_files() {
        let text = fs::read_to_string(&file).unwrap();
        for function in text.lines().filter_map(|line| line.split_once("fn ")) {
            tested.extend(rules_of(function.1.split('(').next().unwrap()));
        }
    }
    assert!(rules.len() > 25, "the rules were not found");
    assert_eq!(rules, tested, "rules of the page, and those that tests carry");
}
