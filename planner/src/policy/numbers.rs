//! Numbers of clauses over the versions of an agreement (rule E.6): decisions and audit records cite them, so a number is for
//! one clause for good. A new version may change what a clause says, not what it is; it may leave clauses out, whose numbers
//! are then never given again.

use std::collections::BTreeSet;
use std::mem::discriminant;

use thiserror::Error;

use super::word::{Flaw, NameKind, Word};
use super::{Agreement, NumberedClause};

/// A clause of a new version that has a number it may not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("clause {number}: {problem}")]
pub struct Renumbered {
    /// The number that it has.
    pub number: u32,
    /// Why it may not, and which number to write.
    pub problem: String,
}

impl Flaw for Renumbered {
    fn clause(&self) -> Option<u32> {
        Some(self.number)
    }

    fn word(&self) -> Option<Word> {
        Word::name(NameKind::Number, self.number)
    }
}

/// The numbers that clauses of earlier versions had and none of `now` has.
pub fn retired(retired: &BTreeSet<u32>, before: Option<&Agreement>, now: &Agreement) -> BTreeSet<u32> {
    let had = before.into_iter().flat_map(|agreement| &agreement.clauses).map(|clause| clause.number);
    let mut gone: BTreeSet<u32> = retired.iter().copied().chain(had).collect();
    for clause in &now.clauses {
        gone.remove(&clause.number);
    }
    gone
}

/// Refuses a new version in which a number is not that of the clause which had it: a retired number, the number of a clause
/// of another kind, or a clause of the version before, known by its name or by what it says, under another number.
pub fn refuse_renumbered(before: &Agreement, retired: &BTreeSet<u32>, now: &Agreement) -> Result<(), Vec<Renumbered>> {
    let used = before.clauses.iter().map(|clause| clause.number).chain(retired.iter().copied());
    let next = used.max().unwrap_or_default().saturating_add(1);
    let refused = now.clauses.iter().filter_map(|clause| {
        let problem = problem(before, retired, clause, next)?;
        Some(Renumbered { number: clause.number, problem })
    });
    let refused: Vec<Renumbered> = refused.collect();
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

fn problem(before: &Agreement, retired: &BTreeSet<u32>, clause: &NumberedClause, next: u32) -> Option<String> {
    let number = clause.number;
    let at_end = format!("a new clause stands at the end, as `{next}:`");
    if retired.contains(&number) {
        return Some(format!("the number was that of a clause which is gone, and is never given again; {at_end}"));
    }
    let predecessor = before.clauses.iter().find(|other| other.number == number);
    if let Some(was) = earlier_number(before, clause).filter(|was| *was != number) {
        return Some(format!("it was clause {was}; write `{was}:` before it"));
    }
    let predecessor = predecessor?;
    if discriminant(&predecessor.clause) == discriminant(&clause.clause) {
        return None;
    }
    let (was, is) = (predecessor.clause.kind(), clause.clause.kind());
    Some(format!("the number is that of a {was} clause, not of a {is} clause; {at_end}"))
}

/// The number that a clause had before: that of its name, else of a clause that says the same; its own, if several do.
fn earlier_number(before: &Agreement, clause: &NumberedClause) -> Option<u32> {
    if let Some(name) = &clause.name
        && let Some(named) = before.clauses.iter().find(|other| other.name.as_ref() == Some(name))
    {
        return Some(named.number);
    }
    let same = || before.clauses.iter().filter(|other| other.clause == clause.clause).map(|other| other.number);
    same().find(|number| *number == clause.number).or_else(|| same().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse_agreement;

    const FIRST: &str = "groups: RELEASE avg OF s BY g FROM t MINIMUM 10 DISTINCT k, SHIP ROWS (g) FROM t TO surf, \
                         SHIP ROWS (s) FROM t TO vu, FILTER ON g COMPARE WITH LITERALS";

    fn agreement(clauses: &str) -> Agreement {
        let text = format!("CREATE AGREEMENT a ON SITE uva FOR ANYONE PURPOSE statistics AS ({clauses})");
        parse_agreement(&text).unwrap()
    }

    fn refused(before: &str, retired: &[u32], now: &str) -> Vec<String> {
        let retired = retired.iter().copied().collect();
        let refused = refuse_renumbered(&agreement(before), &retired, &agreement(now)).err().unwrap_or_default();
        refused.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn e6_a_new_version_changes_clauses_and_adds_them_at_the_end() {
        for now in [
            FIRST.to_owned(),
            FIRST.replace("MINIMUM 10", "MINIMUM 12"),
            FIRST.replace("groups: ", "cells: "),
            FIRST.replace("(g) FROM t TO surf", "(g, k) FROM t TO surf, vu"),
            format!("{FIRST}, BUDGET 5 QUERIES PER DAY"),
            FIRST.replace(", FILTER ON g COMPARE WITH LITERALS", ""),
            FIRST.replace("SHIP ROWS (g) FROM t TO surf, ", "3: "),
            format!("{}, 9: BUDGET 5 QUERIES PER DAY", FIRST.replace("SHIP ROWS (g) FROM t TO surf, ", "3: ")),
        ] {
            assert_eq!(refused(FIRST, &[], &now), Vec::<String>::new(), "{now}");
        }
        // Two clauses may say the same: each keeps its number.
        let twice = "BUDGET 5 QUERIES PER DAY, BUDGET 5 QUERIES PER DAY";
        assert_eq!(refused(twice, &[], twice), Vec::<String>::new());
    }

    #[test]
    fn e6_a_number_is_never_another_clauses() {
        let end = "a new clause stands at the end, as";
        for (retired, now, expected) in [
            // The clauses behind one that was left out would move up.
            (
                vec![],
                FIRST.replace("SHIP ROWS (g) FROM t TO surf, ", ""),
                "clause 2: it was clause 3; write `3:`".to_owned(),
            ),
            (
                vec![],
                FIRST.replace("groups: ", "1: BUDGET 5 QUERIES PER DAY, groups: "),
                "clause 2: it was clause 1".to_owned(),
            ),
            // The name tells, though it says something else now.
            (
                vec![],
                format!("9: {}", FIRST.replace("MINIMUM 10", "MINIMUM 12")),
                "clause 9: it was clause 1; write `1:` before it".to_owned(),
            ),
            (
                vec![],
                FIRST.replace("FILTER ON g COMPARE WITH LITERALS", "MASK t.b AS NULL"),
                format!("clause 4: the number is that of a FILTER clause, not of a MASK clause; {end} `5:`"),
            ),
            (
                vec![5, 8],
                format!("{FIRST}, MASK t.b AS NULL"),
                format!(
                    "clause 5: the number was that of a clause which is gone, and is never given again; {end} `9:`"
                ),
            ),
            (
                vec![5, 8],
                format!("{FIRST}, 8: FILTER ON s COMPARE WITH LITERALS"),
                "clause 8: the number was that of".to_owned(),
            ),
        ] {
            let said = refused(FIRST, &retired, &now).join("; ");
            assert!(said.contains(&expected), "{now}: {said}");
        }
        let both = FIRST.replace("FILTER ON g", "MASK t.b AS NULL, FILTER ON g");
        assert_eq!(refused(FIRST, &[], &both).len(), 2, "all of them are named");
    }

    #[test]
    fn e6_numbers_that_are_gone_are_remembered() {
        let before = agreement(FIRST);
        let now = agreement("1: RELEASE avg OF s BY g FROM t, 4: FILTER ON g COMPARE WITH LITERALS");
        assert_eq!(retired(&BTreeSet::from([7]), Some(&before), &now), BTreeSet::from([2, 3, 7]));
        assert_eq!(retired(&BTreeSet::new(), None, &now), BTreeSet::new());
    }
}
