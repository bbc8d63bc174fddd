//! The statements that DYNAMOS accepts, and their parser. A query is checked to be exactly one statement that only reads,
//! and then kept as its author wrote it: binding starts from that text.
//!
//! ```text
//! query                                     EXPLAIN [ANALYZE] query         EXPLAIN POLICY query
//! CREATE | ALTER AGREEMENT … (whole text)   REVOKE AGREEMENT name ON SITE steward
//! SHOW AGREEMENTS                           SHOW AGREEMENT name [ON SITE steward]
//! SHOW EDGES FOR LAST QUERY                 SHOW DECISIONS
//! SHOW PERMISSIONS [FOR PURPOSE purpose]    SIMULATE AGREEMENT … FOR {query | RECENT QUERIES}
//! SET dynamos.name {= | TO} {value | DEFAULT}                               RESET dynamos.name
//! ```

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, Select, Statement, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::agreement::{agreement, name_and_steward, purpose};
use super::cursor::Cursor;
use super::error::{SqlError, SqlProblem};
use crate::policy::Agreement;

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub enum DynamosStatement {
    /// A new agreement.
    CreateAgreement(Agreement),
    /// The new text of an agreement that there is; it replaces the old one whole.
    AlterAgreement(Agreement),
    /// The end of an agreement.
    RevokeAgreement {
        /// Its name.
        name: String,
        /// Its steward's site.
        steward: String,
    },
    /// A list of the agreements that the requester may see.
    ShowAgreements,
    /// The canonical text of an agreement.
    ShowAgreement {
        /// Its name.
        name: String,
        /// Its steward's site; `None` is every steward that has one of this name.
        steward: Option<String>,
    },
    /// What the policy says about a query, edge by edge.
    ExplainPolicy {
        /// The query.
        sql: String,
    },
    /// The plan of a query.
    Explain {
        /// Whether it also runs.
        mode: ExplainMode,
        /// The query.
        sql: String,
    },
    /// What the requester may ask.
    ShowPermissions {
        /// For which purpose; `None` is the session's.
        purpose: Option<String>,
    },
    /// What was measured on each edge of the requester's last query, in buckets.
    ShowEdges,
    /// What was decided about the requester's own queries, and how they ended.
    ShowDecisions,
    /// What an agreement would change if it were in force.
    SimulateAgreement {
        /// The agreement.
        agreement: Agreement,
        /// For this query; `None` is for those asked recently.
        query: Option<String>,
    },
    /// A setting of the session.
    Set {
        /// Its full name, which begins with `dynamos.`.
        name: String,
        /// Its value; `None` restores the default.
        value: Option<String>,
    },
    /// A query, as written.
    Query(String),
}

/// What EXPLAIN does with the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainMode {
    /// Plans it.
    Plan,
    /// Plans it, runs it, and reports what was measured.
    Analyze,
}

/// Reads exactly one statement.
pub fn parse_statement(sql: &str) -> Result<DynamosStatement, SqlError> {
    let mut cursor = Cursor::new(sql)?;
    let statement = statement(&mut cursor)?;
    cursor.end()?;
    Ok(statement)
}

fn statement(cursor: &mut Cursor<'_>) -> Result<DynamosStatement, SqlError> {
    if begins_query(cursor) {
        return query_text(cursor).map(DynamosStatement::Query);
    }
    let about_agreement = cursor.nth_keyword(1) == Some("agreement");
    match cursor.keyword() {
        Some("create") if about_agreement => {
            skip_words(cursor, ["create", "agreement"])?;
            agreement(cursor).map(DynamosStatement::CreateAgreement)
        }
        Some("alter") if about_agreement => {
            skip_words(cursor, ["alter", "agreement"])?;
            agreement(cursor).map(DynamosStatement::AlterAgreement)
        }
        Some("revoke") if about_agreement => {
            skip_words(cursor, ["revoke", "agreement"])?;
            let (name, steward) = name_and_steward(cursor)?;
            Ok(DynamosStatement::RevokeAgreement { name, steward })
        }
        Some("simulate") => simulate(cursor),
        Some("show") => show(cursor),
        Some("explain") => explain(cursor),
        Some("set") => set(cursor),
        Some("reset") => {
            cursor.expect("reset")?;
            Ok(DynamosStatement::Set { name: setting(cursor)?, value: None })
        }
        _ => Err(cursor.position().error(SqlProblem::NotAccepted { found: cursor.found() })),
    }
}

fn skip_words<const N: usize>(cursor: &mut Cursor<'_>, words: [&str; N]) -> Result<(), SqlError> {
    words.into_iter().try_for_each(|word| cursor.expect(word))
}

fn simulate(cursor: &mut Cursor<'_>) -> Result<DynamosStatement, SqlError> {
    skip_words(cursor, ["simulate", "agreement"])?;
    let agreement = agreement(cursor)?;
    cursor.expect("for")?;
    let query = match cursor.eat("recent") {
        true => {
            cursor.expect("queries")?;
            None
        }
        false if begins_query(cursor) => Some(query_text(cursor)?),
        false => return cursor.expected("a query or `RECENT QUERIES`"),
    };
    Ok(DynamosStatement::SimulateAgreement { agreement, query })
}

fn show(cursor: &mut Cursor<'_>) -> Result<DynamosStatement, SqlError> {
    cursor.expect("show")?;
    if cursor.eat("agreements") {
        return Ok(DynamosStatement::ShowAgreements);
    }
    if cursor.eat("agreement") {
        let name = cursor.name("the name of an agreement")?;
        let mut steward = None;
        if cursor.eat("on") {
            cursor.expect("site")?;
            steward = Some(cursor.name("the steward's site")?);
        }
        return Ok(DynamosStatement::ShowAgreement { name, steward });
    }
    if cursor.eat("permissions") {
        let mut asked = None;
        if cursor.eat("for") {
            cursor.expect("purpose")?;
            asked = Some(purpose(cursor)?);
        }
        return Ok(DynamosStatement::ShowPermissions { purpose: asked });
    }
    if cursor.eat("edges") {
        skip_words(cursor, ["for", "last", "query"])?;
        return Ok(DynamosStatement::ShowEdges);
    }
    if cursor.eat("decisions") {
        return Ok(DynamosStatement::ShowDecisions);
    }
    cursor.expected("`AGREEMENTS`, `AGREEMENT`, `PERMISSIONS`, `EDGES` or `DECISIONS`")
}

fn explain(cursor: &mut Cursor<'_>) -> Result<DynamosStatement, SqlError> {
    cursor.expect("explain")?;
    let policy = cursor.eat("policy");
    let analyze = !policy && cursor.eat("analyze");
    if !begins_query(cursor) {
        let before = if policy || analyze { "" } else { "`POLICY`, `ANALYZE` or " };
        return cursor.expected(format!("{before}a query"));
    }
    let sql = query_text(cursor)?;
    Ok(match (policy, analyze) {
        (true, _) => DynamosStatement::ExplainPolicy { sql },
        (false, true) => DynamosStatement::Explain { mode: ExplainMode::Analyze, sql },
        (false, false) => DynamosStatement::Explain { mode: ExplainMode::Plan, sql },
    })
}

fn set(cursor: &mut Cursor<'_>) -> Result<DynamosStatement, SqlError> {
    cursor.expect("set")?;
    let name = setting(cursor)?;
    if !cursor.eat_token(&Token::Eq) && !cursor.eat("to") {
        return cursor.expected("`=` or `TO`");
    }
    if cursor.eat("default") {
        return Ok(DynamosStatement::Set { name, value: None });
    }
    const WHAT: &str = "a value (text in single quotes, a word or a number) or `DEFAULT`";
    let value = match cursor.nth_token(0).clone() {
        Token::SingleQuotedString(_) => cursor.string(WHAT)?,
        Token::Number(digits, _) => {
            cursor.eat_token(&Token::Number(digits.clone(), false));
            digits
        }
        _ => cursor.name(WHAT)?,
    };
    Ok(DynamosStatement::Set { name, value: Some(value) })
}

fn setting(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    if cursor.keyword() != Some("dynamos") || *cursor.nth_token(1) != Token::Period {
        return cursor.expected("a setting that begins with `dynamos.`");
    }
    let mut name = cursor.name("a setting")?;
    while cursor.eat_token(&Token::Period) {
        name = format!("{name}.{}", cursor.part("the rest of the setting's name")?);
    }
    Ok(name)
}

fn begins_query(cursor: &Cursor<'_>) -> bool {
    matches!(cursor.keyword(), Some("select" | "with" | "values")) || *cursor.nth_token(0) == Token::LParen
}

/// The text of the query that comes next, after checking that it only reads.
fn query_text(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    let start = cursor.position();
    let query = cursor.query()?;
    match query.visit(&mut OnlyReads) {
        ControlFlow::Continue(()) => Ok(cursor.text_since(start).to_owned()),
        ControlFlow::Break(what) => Err(start.error(SqlProblem::NotReadOnly { what })),
    }
}

/// Finds what a query does besides reading, at any depth.
struct OnlyReads;

impl Visitor for OnlyReads {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        if query.locks.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break("FOR UPDATE or FOR SHARE") }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        if select.into.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break("INTO") }
    }

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<Self::Break> {
        ControlFlow::Break("INSERT, UPDATE, DELETE or MERGE")
    }
}
