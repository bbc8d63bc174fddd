//! [`DecisionRecord`] and [`EndRecord`]: what stands in the decision log. They hold names and numbers of agreements, never a
//! value of the data, never a token, and the statement without its literals, which may be somebody's.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use dynamos_proto::sign::sha256_hex;
use serde::{Deserialize, Serialize};

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// When, UTC.
    pub at: String,
    /// The query.
    pub query_id: String,
    /// What was decided.
    pub verdict: Verdict,
    /// The code of the error that the requester got, if it was not permitted.
    pub code: Option<String>,
    /// Who asked.
    pub requester: String,
    /// For which organisation.
    pub organisation: String,
    /// For which purpose; none if none was declared.
    pub purpose: Option<String>,
    /// [`statement_without_literals`] of the query; empty in records of before it was written down.
    #[serde(default)]
    pub statement: String,
    /// [`statement_hash`] of the query, literals included.
    pub statement_sha256: String,
    /// SHA-256 (hex) of the placed graph's signed bytes; none if the query was not placed.
    pub graph_sha256: Option<String>,
    /// The catalog that the query was planned against.
    pub catalog_version: u64,
    /// The agreements that govern it; where it was not permitted, those in force that concern the requester.
    pub agreements: Vec<AgreementBasis>,
    /// The clauses that allow its edges, each once.
    pub clauses: Vec<String>,
    /// Why it was denied, without the literals of the statement.
    pub reason: Option<String>,
}

/// The end of a query that was permitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    /// When, UTC.
    pub at: String,
    /// The query.
    pub query_id: String,
    /// `FINISHED`, `CANCELLED` or the code of the error that ended it.
    pub outcome: String,
    /// How many rows went to the requester: a power of two above the number, with all small ones in one bucket.
    pub rows_at_most: u64,
    /// Stewards that decided about their own groups and released none, so that none of their rows are in the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released_nothing: Vec<String>,
}

/// An agreement in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgreementBasis {
    /// Whose.
    pub steward: String,
    /// Its name.
    pub agreement: String,
    /// Its version.
    pub epoch: u64,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The query may run.
    Permitted,
    /// The agreements do not allow it.
    Denied,
    /// It could not be decided: a name is not known, a site is down, the statement asks for what is not done.
    Refused,
}

impl Verdict {
    /// The verdict in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Denied => "denied",
            Self::Refused => "refused",
        }
    }
}

/// SHA-256 (hex) of a statement, equal for statements that differ only in white space, comments and the case of words
/// outside quotes.
pub fn statement_hash(sql: &str) -> String {
    let normal = words(sql).map_or_else(|| sql.trim().to_owned(), |words| words.join(" "));
    sha256_hex(normal.as_bytes())
}

/// A statement in the form that is hashed, with `?` in place of every literal; nothing of one that cannot be read.
pub fn statement_without_literals(sql: &str) -> String {
    let tokens = tokens(sql).unwrap_or_default();
    // Whatever is neither a word nor a sign is a literal.
    let is_sign = |word: &str| !word.contains(|one: char| one.is_alphanumeric() || matches!(one, '\'' | '"' | '$'));
    let kept = tokens.iter().filter_map(|token| {
        let word = word(token)?;
        Some(if matches!(token, Token::Word(_)) || is_sign(&word) { word } else { "?".to_owned() })
    });
    kept.collect::<Vec<_>>().join(" ")
}

/// The words of a statement, those that need no quotes in lower case; none if it is not SQL.
fn words(sql: &str) -> Option<Vec<String>> {
    Some(tokens(sql)?.iter().filter_map(word).collect())
}

fn tokens(sql: &str) -> Option<Vec<Token>> {
    Tokenizer::new(&GenericDialect {}, sql).tokenize().ok()
}

fn word(token: &Token) -> Option<String> {
    match token {
        Token::Whitespace(_) | Token::SemiColon | Token::EOF => None,
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_change_the_hash_and_meaning_does() {
        let hash = statement_hash("SELECT avg(x)  FROM t -- why\nWHERE y = 'A';");
        assert_eq!(hash.len(), 64);
        assert_eq!(hash, statement_hash("select AVG ( X ) from T where Y='A'"));
        assert_ne!(hash, statement_hash("select avg(x) from t where y = 'a'"));
        assert_ne!(statement_hash("select \"X\" from t"), statement_hash("select x from t"));
    }

    #[test]
    fn a_statement_is_written_down_without_its_literals() {
        for (sql, kept) in [
            (
                "SELECT avg(x)  FROM t -- Jansen\nWHERE y = 'Jansen' AND z > 12.5e3;",
                "select avg ( x ) from t where y = ? and z > ?",
            ),
            (
                "select \"Y 1\" from t where d = DATE '1950-01-01' and n = $1",
                "select \"Y 1\" from t where d = date ? and n = ?",
            ),
            ("select N'Jansen', X'ff', E'a\\'b', $$Jansen$$", "select ? , ? , ? , ?"),
            (
                "select a FROM t WHERE x > .73519 AND y = R\"Jansen\" and z = ''",
                "select a from t where x > ? and y = ? and z = ?",
            ),
            ("select 'Jansen", ""),
        ] {
            assert_eq!(statement_without_literals(sql), kept);
        }
    }
}
