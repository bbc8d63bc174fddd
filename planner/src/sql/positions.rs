//! Where the words of an agreement stand in a text: for what is found to be wrong with it once it has been read. It is read
//! beside the agreement and is no part of it, so that neither equality nor the canonical text depends on it.

use std::collections::BTreeMap;
use std::fmt;

use super::agreement::read_with_positions;
use super::cursor::Cursor;
use super::error::{Position, SqlError};
use crate::policy::{Flaw, NameKind, Word};

/// A word and where it begins.
pub(super) type PlacedWord = (Word, Position);

/// The words of an agreement that errors can be about.
#[derive(Clone, Debug, Default)]
pub struct WordPositions {
    /// Those before the clauses.
    pub(super) head: Vec<PlacedWord>,
    /// By a clause's number where it begins, and those in it.
    pub(super) clauses: BTreeMap<u32, (Position, Vec<PlacedWord>)>,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located {
    /// Where: at the word, else at the beginning of its clause; none if the text has no such clause.
    pub position: Option<Position>,
    /// What.
    pub problem: String,
}

/// Reads where the words of a `CREATE | ALTER | SIMULATE AGREEMENT …` stand.
///
/// # Errors
///
/// When it is no such text.
pub fn word_positions(text: &str) -> Result<WordPositions, SqlError> {
    let mut cursor = Cursor::new(text)?;
    if !cursor.eat("alter") && !cursor.eat("simulate") {
        cursor.expect("create")?;
    }
    cursor.expect("agreement")?;
    Ok(read_with_positions(&mut cursor)?.1)
}

impl WordPositions {
    /// What is wrong with the agreement that was read from the same text, in the order of the text. Of words that are
    /// written several times, each is given once as long as there are enough.
    pub fn locate<F: Flaw>(&self, flaws: &[F]) -> Vec<Located> {
        let mut given: Vec<Position> = Vec::new();
        let mut located: Vec<Located> = flaws
            .iter()
            .map(|flaw| {
                let position = self.position(flaw.clause(), flaw.word().as_ref(), &given);
                given.extend(position);
                Located { position, problem: flaw.to_string() }
            })
            .collect();
        located.sort();
        located
    }

    fn position(&self, clause: Option<u32>, word: Option<&Word>, given: &[Position]) -> Option<Position> {
        let (begin, words) = match clause {
            None => (None, &self.head),
            Some(number) => self.clauses.get(&number).map(|(begin, words)| (Some(*begin), words))?,
        };
        match word {
            Some(Word::At(location)) => Some((*location).into()),
            Some(name @ Word::Name(..)) => find(words, name, given).or(begin),
            None => begin,
        }
    }
}

/// The first place of a word that was not given yet, else its last.
fn find(words: &[PlacedWord], name: &Word, given: &[Position]) -> Option<Position> {
    let mut places = words.iter().filter(|(word, _)| word == name).map(|(_, position)| *position);
    places.clone().find(|position| !given.contains(position)).or_else(|| places.next_back())
}

/// The last word of a kind.
pub(super) fn last_of(words: &[PlacedWord], kind: NameKind) -> Option<Position> {
    let is_of = |word: &Word| matches!(word, Word::Name(other, _) if *other == kind);
    words.iter().rev().find(|(word, _)| is_of(word)).map(|(_, position)| *position)
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{position}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse_agreement;

    /// Something about a word of a clause.
    #[derive(Debug)]
    struct About(Option<u32>, Option<Word>);

    impl fmt::Display for About {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrong")
        }
    }

    impl Flaw for About {
        fn clause(&self) -> Option<u32> {
            self.0
        }

        fn word(&self) -> Option<Word> {
            self.1.clone()
        }
    }

    const TEXT: &str = "CREATE AGREEMENT a ON SITE vu
  FOR ROLE analyst OF uva, ORGANISATION \"Odd Name\"
  PURPOSE statistics, 'DUO:0000042'
AS (
  groups: RELEASE avg, count DISTINCT
          OF wage, k
          FROM s.people JOIN jobs ON k AND people.id = jobs.person
          MINIMUM 10 DISTINCT people.id MINIMUM 2 SITES DOMINANCE 0.5,
  SHIP PARTIALS OF groups TO surf, SITE uva, ROLE hub,
       REGION eu,
  7: JOIN ON k, jobs.k WITH SITE \"Odd Site\",
  MASK t.a AS 1, ROWS ON s.t WHERE b = 1,
  BUDGET 3 QUERIES PER DAY, EPSILON 4 PER YEAR,
  OBLIGE AUDIT AT surf, JOIN ON k WITH TABLE x.y
)";

    fn place(clause: Option<u32>, word: Option<Word>) -> String {
        let located = word_positions(TEXT).unwrap().locate(&[About(clause, word)]);
        located[0].position.map(|at| format!("{}:{}", at.line, at.column)).unwrap_or_default()
    }

    #[test]
    fn every_name_has_its_place() {
        use NameKind::*;
        for (clause, kind, name, expected) in [
            (None, Organisation, "uva", "2:23"),
            (None, Organisation, "Odd Name", "2:41"),
            (None, Purpose, "statistics", "3:11"),
            (None, Purpose, "DUO:0000042", "3:23"),
            (Some(1), Function, "avg", "5:19"),
            (Some(1), Function, "count", "5:24"),
            (Some(1), Table, "s.people", "7:16"),
            (Some(1), Table, "jobs", "7:30"),
            (Some(1), Column, "k", "7:38"),
            (Some(1), Column, "jobs.person", "7:56"),
            (Some(1), Keyword, "MINIMUM … SITES", "8:41"),
            (Some(1), Keyword, "DOMINANCE", "8:57"),
            (Some(2), Reference, "groups", "9:20"),
            (Some(2), Place, "surf", "9:30"),
            (Some(2), Place, "uva", "9:41"),
            (Some(2), Place, "ROLE hub", "9:51"),
            (Some(2), Place, "REGION eu", "10:15"),
            (Some(7), Number, "7", "11:3"),
            (Some(7), Column, "k", "11:14"),
            (Some(7), Column, "jobs.k", "11:17"),
            (Some(7), Place, "\"Odd Site\"", "11:34"),
            (Some(8), Column, "t.a", "12:8"),
            (Some(9), Table, "s.t", "12:26"),
            (Some(10), Keyword, "EPSILON", "13:29"),
            (Some(11), Place, "surf", "14:19"),
            (Some(11), Keyword, "OBLIGE", "14:3"),
            (Some(12), Table, "x.y", "14:46"),
            // What is not there stands where the clause begins; what is before the clauses, nowhere.
            (Some(12), Table, "y", "14:25"),
            (Some(13), Table, "y", ""),
            (None, Purpose, "research", ""),
        ] {
            assert_eq!(place(clause, Some(Word::Name(kind, name.to_owned()))), expected, "{clause:?} {kind:?} {name}");
        }
        assert_eq!(place(Some(2), None), "9:3");
    }

    #[test]
    fn a_word_that_is_written_twice_is_given_twice() {
        let text = "ALTER AGREEMENT a ON SITE vu FOR ANYONE PURPOSE p, p AS (SHIP ROWS (a) FROM t TO p, p)";
        let twice = |clause, kind, name: &str| About(clause, Some(Word::Name(kind, name.to_owned())));
        let flaws = [
            twice(Some(1), NameKind::Place, "p"),
            twice(None, NameKind::Purpose, "p"),
            twice(Some(1), NameKind::Place, "p"),
            twice(None, NameKind::Purpose, "p"),
            twice(Some(1), NameKind::Place, "p"),
        ];
        let located = word_positions(text).unwrap().locate(&flaws);
        let columns: Vec<u64> = located.iter().filter_map(|one| Some(one.position?.column)).collect();
        assert_eq!(columns, [49, 52, 82, 85, 85]);
    }

    #[test]
    fn positions_are_no_part_of_an_agreement() {
        let agreement = parse_agreement(TEXT).unwrap();
        let printed = agreement.to_string();
        assert_eq!(parse_agreement(&printed), Ok(agreement));
        assert_eq!(word_positions(&printed).unwrap().clauses.len(), word_positions(TEXT).unwrap().clauses.len());
        assert!(word_positions("SELECT 1").is_err());
        let simulated = TEXT.replace("CREATE", "SIMULATE") + " FOR RECENT QUERIES";
        assert_eq!(word_positions(&simulated).unwrap().clauses.len(), 8);
    }
}
