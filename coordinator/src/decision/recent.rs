//! The newest records in memory, for those who ask about their own queries. The file holds all; this is only what can be
//! answered without reading it.

use std::collections::{BTreeMap, VecDeque};

use super::record::{DecisionRecord, EndRecord};

/// Decisions that are remembered, of everybody together. Beyond this the oldest of whoever has the most is forgotten here, so
/// that nobody's are pushed out by those of others who ask more.
const REMEMBERED_MAX: usize = 4096;
/// Bytes of a remembered statement, and of a remembered reason; what is longer is cut here, the file has it whole.
const REMEMBERED_TEXT_MAX: usize = 16 * 1024;

/// A decision, and how its query ended if it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The decision.
    pub decision: DecisionRecord,
    /// The end of a query that ran.
    pub end: Option<EndRecord>,
}

impl Shown {
    /// Whose it is: the organisation, and the person there.
    fn asker(&self) -> (&str, &str) {
        (&self.decision.organisation, &self.decision.requester)
    }
}

/// The newest decisions of everybody, the newest last.
#[derive(Default)]
pub(super) struct Recent {
    shown: VecDeque<Shown>,
    /// How many of them are whose.
    counts: BTreeMap<(String, String), usize>,
}

impl Recent {
    pub(super) fn decided(&mut self, mut decision: DecisionRecord) {
        decision.statement = shortened(decision.statement);
        decision.reason = decision.reason.map(shortened);
        let asker = (decision.organisation.clone(), decision.requester.clone());
        *self.counts.entry(asker).or_default() += 1;
        self.shown.push_back(Shown { decision, end: None });
        if self.shown.len() > REMEMBERED_MAX {
            self.forget_one();
        }
    }

    pub(super) fn ended(&mut self, end: EndRecord) {
        if let Some(shown) = self.shown.iter_mut().rev().find(|one| one.decision.query_id == end.query_id) {
            shown.end = Some(end);
        }
    }

    pub(super) fn of(&self, requester: &str, organisation: &str) -> Vec<Shown> {
        self.shown.iter().rev().filter(|one| one.asker() == (organisation, requester)).cloned().collect()
    }

    /// Forgets the oldest of whoever has the most.
    fn forget_one(&mut self) {
        let Some((asker, count)) = self.counts.iter_mut().max_by_key(|(_, count)| **count) else { return };
        let of_asker = (asker.0.as_str(), asker.1.as_str());
        let oldest = self.shown.iter().position(|one| one.asker() == of_asker);
        drop(oldest.and_then(|oldest| self.shown.remove(oldest)));
        *count -= 1;
        if *count == 0 {
            let asker = asker.clone();
            self.counts.remove(&asker);
        }
    }
}

/// The text, cut at a character if it is too long to be remembered.
fn shortened(text: String) -> String {
    if text.len() <= REMEMBERED_TEXT_MAX {
        return text;
    }
    // A new text, since one that is cut keeps its room.
    let kept = text.get(..text.floor_char_boundary(REMEMBERED_TEXT_MAX)).unwrap_or_default();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Verdict;

    fn decision(requester: &str, query: usize) -> DecisionRecord {
        DecisionRecord {
            at: "2026-01-01".into(),
            query_id: format!("{requester} {query}"),
            verdict: Verdict::Permitted,
            code: None,
            requester: requester.into(),
            organisation: "uva".into(),
            purpose: None,
            statement: String::new(),
            statement_sha256: String::new(),
            graph_sha256: None,
            catalog_version: 1,
            agreements: vec![],
            clauses: vec![],
            reason: None,
        }
    }

    fn queries(recent: &Recent, requester: &str) -> Vec<String> {
        recent.of(requester, "uva").into_iter().map(|one| one.decision.query_id).collect()
    }

    #[test]
    fn who_asks_much_pushes_out_only_what_is_its_own() {
        let mut recent = Recent::default();
        recent.decided(decision("ann", 0));
        for query in 0..2 * REMEMBERED_MAX {
            recent.decided(decision("bob", query));
        }
        recent.decided(decision("ann", 1));
        recent.ended(EndRecord {
            at: "2026-01-02".into(),
            query_id: "ann 0".into(),
            outcome: "FINISHED".into(),
            rows_at_most: 1024,
            released_nothing: vec![],
        });
        assert_eq!(queries(&recent, "ann"), ["ann 1", "ann 0"]);
        assert_eq!(recent.of("ann", "uva")[1].end.as_ref().map(|end| end.outcome.as_str()), Some("FINISHED"));
        let of_bob = queries(&recent, "bob");
        assert_eq!(of_bob.len(), REMEMBERED_MAX - 2);
        assert_eq!(of_bob[0], format!("bob {}", 2 * REMEMBERED_MAX - 1), "and keeps the newest");
        assert!(recent.of("ann", "vu").is_empty());
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut recent = Recent::default();
        let whole = "x".repeat(REMEMBERED_TEXT_MAX);
        recent.decided(DecisionRecord { statement: whole.clone(), ..decision("ann", 0) });
        let long = format!("x{}", "é".repeat(REMEMBERED_TEXT_MAX));
        recent.decided(DecisionRecord { statement: long.clone(), reason: Some(long), ..decision("ann", 1) });
        let [newest, oldest]: [Shown; 2] = recent.of("ann", "uva").try_into().unwrap();
        assert_eq!((oldest.decision.statement, oldest.decision.reason), (whole, None));
        let cut = format!("x{}…", "é".repeat(REMEMBERED_TEXT_MAX / 2 - 1));
        assert_eq!(newest.decision.statement, cut);
        assert_eq!(newest.decision.reason, Some(cut));
    }

    #[test]
    fn of_as_many_askers_as_are_remembered_each_has_one() {
        let mut recent = Recent::default();
        for number in 0..REMEMBERED_MAX + 3 {
            recent.decided(decision(&number.to_string(), number));
        }
        assert_eq!((recent.shown.len(), recent.counts.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }
}
