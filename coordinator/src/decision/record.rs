//! [`DecisionRecord`]: one line of the decision log. It holds names and numbers of agreements, never a value of the data,
//! never a token, and of the statement only a hash.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use dynamos_proto::sign::sha256;
use serde::Serialize;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecisionRecord {
    /// When, UTC.
    pub at: String,
    /// The query.
    pub query_id: String,
    /// Permitted or denied.
    pub verdict: Verdict,
    /// Who asked.
    pub requester: String,
    /// For which organisation.
    pub organisation: String,
    /// For which purpose; none if none was declared.
    pub purpose: Option<String>,
    /// [`statement_hash`] of the query.
    pub statement_sha256: String,
    /// The catalog that the query was planned against.
    pub catalog_version: u64,
    /// The agreements that govern it; empty for a denial.
    pub agreements: Vec<AgreementBasis>,
    /// The clauses that release something, or the reason of a denial.
    pub clauses: Vec<String>,
}

/// An agreement in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgreementBasis {
    /// Whose.
    pub steward: String,
    /// Its name.
    pub agreement: String,
    /// Its version.
    pub epoch: u64,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The query may run.
    Permitted,
    /// It may not.
    Denied,
}

/// SHA-256 (hex) of a statement, equal for statements that differ only in white space, comments and the case of words
/// outside quotes.
pub fn statement_hash(sql: &str) -> String {
    let normal = match Tokenizer::new(&GenericDialect {}, sql).tokenize() {
        Ok(tokens) => normalised(&tokens),
        Err(_) => sql.trim().to_owned(),
    };
    sha256(normal.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn normalised(tokens: &[Token]) -> String {
    let words = tokens.iter().filter_map(|token| match token {
        Token::Whitespace(_) | Token::SemiColon | Token::EOF => None,
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
        other => Some(other.to_string()),
    });
    words.collect::<Vec<_>>().join(" ")
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
}
