//! A case: the text above `---` says who asks what of which federation, the text below what must come out.
//!
//! ```text
//! # What it shows.
//! federation: demo
//! user: analyst@uva.nl
//! organisation: uva
//! role: analyst
//! purpose: statistics
//! placement: auto
//! parameter: 1
//! sql:
//! SELECT …
//! ---
//! Allowed for …
//! ```

use std::path::{Path, PathBuf};

use dynamos_cli::explain::{ExplainArgs, explained};
use dynamos_planner::Placement;
use dynamos_planner::policy::UtcMillis;

const SEPARATOR: &str = "---\n";
/// The moment of every case.
const AT: &str = "2026-06-01";

/// A case as its file has it.
pub(super) struct Case {
    /// The federation's name.
    pub(super) federation: String,
    /// The text above the separator.
    pub(super) question: String,
    /// The text below it.
    pub(super) expected: String,
    args: ExplainArgs,
}

/// The folder of the golden files.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

impl Case {
    /// Reads a case; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (question, expected) = match text.split_once(&format!("\n{SEPARATOR}")) {
            Some((question, expected)) => (format!("{question}\n"), expected.to_owned()),
            None => return Err("no line `---` ends the question".to_owned()),
        };
        if !question.starts_with("# ") {
            return Err("the first line must be a comment that says what the case shows".to_owned());
        }
        let (head, sql) = question.split_once("\nsql:\n").ok_or("no line `sql:`")?;
        let mut args = ExplainArgs {
            catalog: PathBuf::new(),
            agreements: Vec::new(),
            knowledge: None,
            user: String::new(),
            organisation: String::new(),
            roles: Vec::new(),
            purpose: None,
            agreement: None,
            placement: Placement::Auto,
            schema: None,
            parameters: Vec::new(),
            at: UtcMillis::parse(AT),
            down: Vec::new(),
            sql: sql.to_owned(),
        };
        let mut federation = None;
        for line in head.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once(": ").ok_or_else(|| format!("`{line}` is not `key: value`"))?;
            let value = value.trim().to_owned();
            match key {
                "federation" => federation = Some(value),
                "user" => args.user = value,
                "organisation" => args.organisation = value,
                "role" => args.roles.push(value),
                "purpose" => args.purpose = Some(value),
                "agreement" => args.agreement = Some(value),
                "placement" => args.placement = value.parse()?,
                "schema" => args.schema = Some(value),
                "parameter" => args.parameters.push(value),
                "down" => args.down.push(value),
                _ => return Err(format!("`{key}` is not a key of a case")),
            }
        }
        let federation = federation.ok_or("no `federation`")?;
        let files = folder().join("federation").join(&federation);
        args.catalog = files.join("catalog.toml");
        args.agreements = vec![files.join("agreements")];
        args.knowledge = Some(files.join("knowledge.toml"));
        Ok(Self { federation, question, expected, args })
    }

    /// The question as `dynamos explain` takes it.
    pub(super) fn args(&self) -> &ExplainArgs {
        &self.args
    }

    /// What comes out: report and path, or the refusal as `dynamos explain` reports it.
    pub(super) fn outcome(&self) -> String {
        match explained(&self.args) {
            Ok(path) => path,
            Err(refusal) => {
                let mut text = Vec::new();
                refusal.report(&mut text).unwrap();
                String::from_utf8(text).unwrap()
            }
        }
    }

    /// Whether it asks this of the demo.
    pub(super) fn asks(&self, user: &str, placement: &str, sql: &str) -> bool {
        self.federation == "demo"
            && self.args.user == user
            && self.args.placement.as_str() == placement
            && self.args.sql.trim_end() == sql
    }

    /// The file with this outcome.
    pub(super) fn file(&self, outcome: &str) -> String {
        format!("{}{SEPARATOR}{outcome}", self.question)
    }
}

#[test]
fn a_case_that_cannot_be_understood_is_refused() {
    let right = "# Shows.\nfederation: demo\nplacement: auto\nsql:\nSELECT 1\n---\nout\n";
    let case = Case::parse(right).unwrap();
    assert_eq!(
        (case.args.sql.as_str(), case.expected.as_str(), case.file("out\n").as_str()),
        ("SELECT 1\n", "out\n", right)
    );
    for (from, to, expected) in [
        ("# Shows.", "Shows.", "comment"),
        ("federation: demo\n", "", "no `federation`"),
        ("placement: auto", "placement: here", "`here` is no placement"),
        ("placement: auto", "colour: red", "`colour` is not a key"),
        ("placement: auto", "placement", "not `key: value`"),
        ("sql:\n", "", "no line `sql:`"),
        ("---\n", "", "no line `---`"),
    ] {
        let error = Case::parse(&right.replacen(from, to, 1)).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
