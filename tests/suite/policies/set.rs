//! A policy: the text above `---` says what stewards agree to, the text below what becomes of each query.
//!
//! ```text
//! # What it is about.
//! open: nation region                          released whole, and may be shipped anywhere
//! on lineitem: RELEASE …                       a clause of every steward that holds the table
//! at a, c on orders: RELEASE …                 a clause of these stewards
//! view orders: SELECT * FROM orders WHERE …    what one plain engine is to see instead of the table
//! ---
//! 1 answered
//! 2 refused: no table `partsupp`
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// The stewards that hold (parts of) a table when customers are spread.
pub(super) fn holders(table: &str) -> &'static [&'static str] {
    match table {
        "customer" | "orders" | "lineitem" => &["a", "b", "c"],
        "partsupp" => &["b"],
        _ => &["c"],
    }
}

/// One policy.
#[derive(Debug)]
pub(super) struct PolicySet {
    /// Its file.
    pub(super) path: PathBuf,
    /// Its name: of the file, of its agreements and of the role that they are made with.
    pub(super) name: String,
    /// The text above the line.
    pub(super) question: String,
    /// The verdicts by number of the query.
    pub(super) expected: BTreeMap<i32, String>,
    /// Clauses of each steward.
    clauses: BTreeMap<String, Vec<String>>,
    /// What the plain engine sees instead of a table.
    pub(super) views: BTreeMap<String, String>,
}

impl PolicySet {
    fn parse(path: PathBuf) -> Result<Self, String> {
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (question, verdicts) = text.split_once("---\n").ok_or("no line `---`")?;
        let mut set = Self {
            path,
            name,
            question: question.to_owned(),
            expected: BTreeMap::new(),
            clauses: BTreeMap::new(),
            views: BTreeMap::new(),
        };
        if !question.starts_with("# ") {
            return Err("the first line must say what it is about".into());
        }
        let lines: Vec<String> = question.lines().filter(|line| !line.starts_with('#')).fold(Vec::new(), joined);
        for line in lines {
            let (head, rest) = line.split_once(": ").ok_or_else(|| format!("`{line}` is not `what: …`"))?;
            match head.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["open"] => rest.split_whitespace().for_each(|table| set.open(table)),
                ["view", table] => drop(set.views.insert((*table).to_owned(), rest.to_owned())),
                ["on", table] => holders(table).iter().for_each(|steward| set.clause(steward, rest)),
                ["at", stewards @ .., "on", table] => {
                    for steward in stewards.iter().map(|steward| steward.trim_end_matches(',')) {
                        if !holders(table).contains(&steward) {
                            return Err(format!("`{steward}` has no `{table}`"));
                        }
                        set.clause(steward, rest);
                    }
                }
                _ => return Err(format!("`{head}` is not understood")),
            }
        }
        for line in verdicts.lines() {
            let (number, verdict) = line.split_once(' ').ok_or("a verdict is a number and a word")?;
            set.expected.insert(number.parse().map_err(|_| format!("`{number}` is no number"))?, verdict.to_owned());
        }
        Ok(set)
    }

    fn clause(&mut self, steward: &str, clause: &str) {
        self.clauses.entry(steward.to_owned()).or_default().push(clause.trim_end_matches(',').to_owned());
    }

    fn open(&mut self, table: &str) {
        for steward in holders(table) {
            self.clause(steward, &format!("RELEASE ROWS (*) FROM tpch.{table}"));
            self.clause(steward, &format!("SHIP ROWS (*) FROM tpch.{table} TO ANY"));
        }
    }

    /// The agreement of a steward; none if it agrees to nothing.
    pub(super) fn agreement(&self, steward: &str) -> Option<String> {
        let clauses = self.clauses.get(steward)?.join(",\n  ");
        let name = &self.name;
        Some(format!(
            "CREATE AGREEMENT {name} ON SITE {steward} FOR ROLE {name} PURPOSE statistics AS (\n  {clauses}\n);\n"
        ))
    }

    /// Whether it is about rows only, so that a plain reading tells which queries it allows.
    pub(super) fn is_of_rows(&self) -> bool {
        self.clauses.values().flatten().all(|clause| !clause.contains("RELEASE") || clause.contains("RELEASE ROWS"))
    }

    /// The file with these verdicts.
    pub(super) fn file(&self, verdicts: &BTreeMap<i32, String>) -> String {
        let mut text = format!("{}---\n", self.question);
        for (number, verdict) in verdicts {
            writeln!(text, "{number} {verdict}").unwrap();
        }
        text
    }
}

/// Lines that begin with a space go on with the one before.
fn joined(mut lines: Vec<String>, line: &str) -> Vec<String> {
    match lines.last_mut() {
        Some(last) if line.starts_with(' ') => {
            last.push(' ');
            last.push_str(line.trim());
        }
        _ => lines.push(line.to_owned()),
    }
    lines
}

/// All policies, in order of name.
pub(super) fn sets() -> Vec<PolicySet> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/policies");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let parse = |path: PathBuf| {
        let shown = path.display().to_string();
        PolicySet::parse(path).unwrap_or_else(|problem| panic!("{shown}: {problem}"))
    };
    paths.into_iter().map(parse).collect()
}
