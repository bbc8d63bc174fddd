//! The parser of RELEASE clauses:
//!
//! ```text
//! RELEASE ROWS (columns) FROM relation [WHERE condition]
//! RELEASE function [DISTINCT], … OF (* | expression), … [BY expression, …] FROM relation [WHERE condition]
//!         [MINIMUM n DISTINCT column] … [MINIMUM n SITES] [PER SITE] [DOMINANCE p] [ROUND TO n]
//!         [ELSE DROP | REMAINDER | FAIL]
//! ```
//!
//! There is one `OF` in a clause: each function is granted on each argument, and `*` goes with `count` alone. A query that
//! needs `avg(a)` beside `count(*)` is covered by `RELEASE avg, count OF a, *`. The conditions may come in any order.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::error::{SqlError, SqlProblem};
use super::relation::{column_ref, columns, filter, from};
use crate::policy::{
    Argument, Decimal, DistinctInput, Minimum, MinimumScope, NameKind, Outcome, ReleaseClause, ReleaseWhat,
    ReleasedAggregates, ReleasedFunction,
};

/// A clause after the word RELEASE.
pub(super) fn release(cursor: &mut Cursor<'_>) -> Result<ReleaseClause, SqlError> {
    if cursor.eat("rows") { rows(cursor) } else { aggregates(cursor) }
}

fn rows(cursor: &mut Cursor<'_>) -> Result<ReleaseClause, SqlError> {
    let columns = columns(cursor)?;
    let from = from(cursor)?;
    let filter = filter(cursor)?;
    match cursor.keyword() {
        Some(word @ ("minimum" | "per" | "dominance" | "round" | "else" | "by")) => {
            Err(cursor.position().error(SqlProblem::ConditionOnRows { word: word.to_uppercase() }))
        }
        _ => Ok(ReleaseClause { what: ReleaseWhat::Rows(columns), from, filter }),
    }
}

fn aggregates(cursor: &mut Cursor<'_>) -> Result<ReleaseClause, SqlError> {
    let functions = cursor.list(function)?;
    cursor.expect("of")?;
    let arguments = cursor.list(|cursor| argument(cursor, &functions))?;
    let by = if cursor.eat("by") { cursor.list(Cursor::expr)? } else { Vec::new() };
    let from = from(cursor)?;
    let filter = filter(cursor)?;
    let Conditions { minimums, scope, minimum_sites, dominance, round_to, outcome } = conditions(cursor)?;
    let what = ReleaseWhat::Aggregates(ReleasedAggregates {
        functions,
        arguments,
        by,
        minimums,
        scope: scope.unwrap_or(MinimumScope::Federation),
        minimum_sites,
        dominance,
        round_to,
        outcome: outcome.unwrap_or(Outcome::Drop),
    });
    Ok(ReleaseClause { what, from, filter })
}

fn function(cursor: &mut Cursor<'_>) -> Result<ReleasedFunction, SqlError> {
    let position = cursor.position();
    let name = cursor.name("`ROWS` or an aggregate function")?;
    cursor.note(NameKind::Function, &name, position);
    let distinct = if cursor.eat("distinct") { DistinctInput::Distinct } else { DistinctInput::All };
    Ok(ReleasedFunction { name, distinct })
}

fn argument(cursor: &mut Cursor<'_>, functions: &[ReleasedFunction]) -> Result<Argument, SqlError> {
    let position = cursor.position();
    if !cursor.eat_token(&Token::Mul) {
        return cursor.expr().map(Argument::Expr);
    }
    let counts = |function: &ReleasedFunction| function.name == "count" && function.distinct == DistinctInput::All;
    if functions.iter().any(counts) { Ok(Argument::Star) } else { Err(position.error(SqlProblem::StarWithoutCount)) }
}

/// What is given after the relation.
#[derive(Default)]
struct Conditions {
    minimums: Vec<Minimum>,
    scope: Option<MinimumScope>,
    minimum_sites: Option<u32>,
    dominance: Option<Decimal>,
    round_to: Option<Decimal>,
    outcome: Option<Outcome>,
}

fn conditions(cursor: &mut Cursor<'_>) -> Result<Conditions, SqlError> {
    let mut all = Conditions::default();
    loop {
        let position = cursor.position();
        let twice = |what: &str| Err(position.error(SqlProblem::Twice { what: what.to_owned() }));
        if cursor.eat("minimum") {
            let count = cursor.count("a number of at least 1")?;
            if cursor.eat("distinct") {
                all.minimums.push(Minimum { count, entity: column_ref(cursor)? });
            } else if !cursor.eat("sites") {
                return cursor.expected("`DISTINCT` or `SITES`");
            } else if all.minimum_sites.replace(count).is_some() {
                return twice("MINIMUM … SITES");
            } else {
                cursor.note(NameKind::Keyword, "MINIMUM … SITES", position);
            }
        } else if cursor.eat("per") {
            cursor.expect("site")?;
            if all.scope.replace(MinimumScope::PerSite).is_some() {
                return twice("PER SITE");
            }
        } else if cursor.eat("dominance") {
            let share = cursor.decimal("a share between 0 and 1", |share| !share.is_zero() && share.is_below_one())?;
            if all.dominance.replace(share).is_some() {
                return twice("DOMINANCE");
            }
            cursor.note(NameKind::Keyword, "DOMINANCE", position);
        } else if cursor.eat("round") {
            cursor.expect("to")?;
            let step = cursor.decimal("a number above 0", |step| !step.is_zero())?;
            if all.round_to.replace(step).is_some() {
                return twice("ROUND TO");
            }
        } else if cursor.eat("else") {
            if all.outcome.replace(outcome(cursor)?).is_some() {
                return twice("ELSE");
            }
        } else {
            return Ok(all);
        }
    }
}

fn outcome(cursor: &mut Cursor<'_>) -> Result<Outcome, SqlError> {
    if cursor.eat("drop") {
        Ok(Outcome::Drop)
    } else if cursor.eat("remainder") {
        Ok(Outcome::Remainder)
    } else if cursor.eat("fail") {
        Ok(Outcome::Fail)
    } else {
        cursor.expected("`DROP`, `REMAINDER` or `FAIL`")
    }
}
