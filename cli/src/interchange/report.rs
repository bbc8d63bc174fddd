//! What became of everything that a document says, for the steward to read before putting the result in force.

use std::fmt;

/// What became of what a document says. Each entry is one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was carried over, as `theirs → ours` or the other way round.
    pub carried: Vec<String>,
    /// What the document does not say and the profile supplied.
    pub supplied: Vec<String>,
    /// What could not be expressed, and what follows from that.
    pub left_out: Vec<String>,
}

impl Report {
    pub(super) fn carry(&mut self, line: impl Into<String>) {
        add(&mut self.carried, line.into());
    }

    pub(super) fn supply(&mut self, line: impl Into<String>) {
        add(&mut self.supplied, line.into());
    }

    pub(super) fn leave_out(&mut self, line: impl Into<String>) {
        add(&mut self.left_out, line.into());
    }
}

/// Says nothing twice.
fn add(lines: &mut Vec<String>, line: String) {
    if !lines.contains(&line) {
        lines.push(line);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            [("carried over", &self.carried), ("from the profile", &self.supplied), ("not expressed", &self.left_out)];
        for (title, lines) in parts {
            writeln!(f, "{title}:")?;
            if lines.is_empty() {
                writeln!(f, "  nothing")?;
            }
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}
