//! The parser of a whole agreement, and the checks that need more than one clause:
//!
//! ```text
//! CREATE AGREEMENT name ON SITE steward
//!   FOR {USER 'name' | ROLE role [OF organisation] | ORGANISATION name | ANYONE}, …
//!   PURPOSE name, …
//!   [VALID [FROM 'moment'] [UNTIL 'moment']]
//! AS ( [number:] [name:] clause, … )
//! ```
//!
//! A clause without a number has the one after its predecessor's, the first has 1. Numbers can be written so that an
//! altered agreement can leave a clause out without the others changing theirs.
//!
//! INVARIANT(canonical_text): an agreement that is accepted reads back from its canonical text as the same value. The
//! signature is over that text, so it is checked for each agreement here, not only in tests.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::clause::clause;
use super::cursor::Cursor;
use super::error::{Position, SqlError, SqlProblem};
use super::positions::{WordPositions, last_of};
use crate::policy::{
    Agreement, Clause, ClauseRef, ColumnRef, Grantee, NameKind, NumberedClause, ReleaseWhat, ShipWhat, TableRef,
    UtcMillis,
};

/// Reads a text that is one `CREATE AGREEMENT …`, such as the canonical text of an agreement.
pub fn parse_agreement(text: &str) -> Result<Agreement, SqlError> {
    let mut cursor = Cursor::new(text)?;
    cursor.expect("create")?;
    cursor.expect("agreement")?;
    let agreement = agreement(&mut cursor)?;
    cursor.end()?;
    Ok(agreement)
}

/// An agreement after the word AGREEMENT.
pub(super) fn agreement(cursor: &mut Cursor<'_>) -> Result<Agreement, SqlError> {
    let start = cursor.position();
    let agreement = read(cursor)?;
    let text = agreement.to_string();
    let again = Cursor::new(&text).and_then(|mut cursor| {
        cursor.expect("create")?;
        cursor.expect("agreement")?;
        let again = read(&mut cursor)?;
        cursor.end()?;
        Ok(again)
    });
    if again.as_ref() == Ok(&agreement) { Ok(agreement) } else { Err(start.error(SqlProblem::NotCanonical)) }
}

fn read(cursor: &mut Cursor<'_>) -> Result<Agreement, SqlError> {
    Ok(read_with_positions(cursor)?.0)
}

/// An agreement after the word AGREEMENT, and where its words stand.
pub(super) fn read_with_positions(cursor: &mut Cursor<'_>) -> Result<(Agreement, WordPositions), SqlError> {
    let (name, steward) = name_and_steward(cursor)?;
    cursor.expect("for")?;
    let grantees = cursor.list(grantee)?;
    cursor.expect("purpose")?;
    let purposes = cursor.list(purpose)?;
    let (valid_from, valid_until) = validity(cursor)?;
    cursor.expect("as")?;
    cursor.expect_token(&Token::LParen)?;
    let head = cursor.take_words();
    let Seen { clauses, mut positions, .. } = clauses(cursor)?;
    positions.head = head;
    Ok((Agreement { name, steward, grantees, purposes, valid_from, valid_until, clauses }, positions))
}

/// `name ON SITE steward`.
pub(super) fn name_and_steward(cursor: &mut Cursor<'_>) -> Result<(String, String), SqlError> {
    let name = cursor.name("the name of an agreement")?;
    cursor.expect("on")?;
    cursor.expect("site")?;
    Ok((name, cursor.name("the steward's site")?))
}

/// A purpose, as a name or as a string (`'DUO:0000042'`).
pub(super) fn purpose(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    let position = cursor.position();
    let purpose = match cursor.nth_token(0) {
        Token::SingleQuotedString(_) => cursor.string("a purpose"),
        _ => cursor.name("a purpose"),
    }?;
    cursor.note(NameKind::Purpose, &purpose, position);
    Ok(purpose)
}

fn grantee(cursor: &mut Cursor<'_>) -> Result<Grantee, SqlError> {
    if cursor.eat("user") {
        cursor.string("a user's name in single quotes").map(Grantee::User)
    } else if cursor.eat("role") {
        let role = cursor.name("a role")?;
        let organisation = if cursor.eat("of") { Some(organisation(cursor)?) } else { None };
        Ok(Grantee::Role { role, organisation })
    } else if cursor.eat("organisation") || cursor.eat("organization") {
        organisation(cursor).map(Grantee::Organisation)
    } else if cursor.eat("anyone") {
        Ok(Grantee::Anyone)
    } else {
        cursor.expected("`USER`, `ROLE`, `ORGANISATION` or `ANYONE`")
    }
}

fn organisation(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    let position = cursor.position();
    let organisation = cursor.name("an organisation")?;
    cursor.note(NameKind::Organisation, &organisation, position);
    Ok(organisation)
}

fn validity(cursor: &mut Cursor<'_>) -> Result<(Option<UtcMillis>, Option<UtcMillis>), SqlError> {
    if !cursor.eat("valid") {
        return Ok((None, None));
    }
    let from = if cursor.eat("from") { Some(moment(cursor)?) } else { None };
    if from.is_none() && cursor.keyword() != Some("until") {
        return cursor.expected("`FROM` or `UNTIL`");
    }
    if !cursor.eat("until") {
        return Ok((from, None));
    }
    let position = cursor.position();
    let until = moment(cursor)?;
    match from {
        Some(from) if from >= until => Err(position.error(SqlProblem::EmptyInterval { from, until })),
        _ => Ok((from, Some(until))),
    }
}

fn moment(cursor: &mut Cursor<'_>) -> Result<UtcMillis, SqlError> {
    const WHAT: &str = "a moment such as '2026-01-31' or '2026-01-31T12:00:00Z'";
    let (position, found) = (cursor.position(), cursor.found());
    let text = cursor.string(WHAT)?;
    UtcMillis::parse(&text).ok_or_else(|| position.error(SqlProblem::Expected { expected: WHAT.to_owned(), found }))
}

/// What later clauses are checked against.
#[derive(Default)]
struct Seen {
    clauses: Vec<NumberedClause>,
    /// Where they and their words stand.
    positions: WordPositions,
    masks: Vec<ColumnRef>,
    /// References of SHIP PARTIALS, which may point forward, and where they stand.
    partials: Vec<(Position, ClauseRef)>,
}

fn clauses(cursor: &mut Cursor<'_>) -> Result<Seen, SqlError> {
    let mut seen = Seen::default();
    loop {
        numbered_clause(cursor, &mut seen)?;
        if !cursor.eat_token(&Token::Comma) {
            break;
        }
    }
    if !cursor.eat_token(&Token::RParen) {
        return cursor.expected("`,` or `)`");
    }
    for (position, reference) in &seen.partials {
        let problem = match seen.clauses.iter().find(|clause| clause.is(reference)).map(|clause| &clause.clause) {
            Some(Clause::Release(release)) if matches!(release.what, ReleaseWhat::Aggregates(_)) => continue,
            Some(_) => SqlProblem::NoPartials { reference: reference.to_string() },
            None => SqlProblem::NoSuchClause { reference: reference.to_string() },
        };
        return Err(position.error(problem));
    }
    Ok(seen)
}

fn numbered_clause(cursor: &mut Cursor<'_>, seen: &mut Seen) -> Result<(), SqlError> {
    let number = number(cursor, seen)?;
    let name = label(cursor, seen)?;
    let position = cursor.position();
    let clause = clause(cursor)?;
    let words = cursor.take_words();
    let at = |kind: NameKind| last_of(&words, kind).unwrap_or(position);
    match &clause {
        Clause::Mask(mask) => {
            if seen.masks.iter().any(|other| may_be_one(other, &mask.column)) {
                let what = format!("MASK {}", mask.column);
                return Err(at(NameKind::Column).error(SqlProblem::Twice { what }));
            }
            seen.masks.push(mask.column.clone());
        }
        Clause::Ship(ship) => {
            if let ShipWhat::Partials { of } = &ship.what {
                seen.partials.push((at(NameKind::Reference), of.clone()));
            }
        }
        _ => {}
    }
    seen.positions.clauses.insert(number, (position, words));
    seen.clauses.push(NumberedClause { number, name, clause });
    Ok(())
}

fn number(cursor: &mut Cursor<'_>, seen: &Seen) -> Result<u32, SqlError> {
    let position = cursor.position();
    let last = seen.clauses.last().map_or(0, |clause| clause.number);
    if !matches!(cursor.nth_token(0), Token::Number(..)) {
        return last.checked_add(1).ok_or_else(|| position.error(SqlProblem::NumberNotRising { number: last }));
    }
    let number = cursor.count("a clause number")?;
    cursor.note(NameKind::Number, number, position);
    cursor.expect_token(&Token::Colon)?;
    if number > last { Ok(number) } else { Err(position.error(SqlProblem::NumberNotRising { number })) }
}

fn label(cursor: &mut Cursor<'_>, seen: &Seen) -> Result<Option<String>, SqlError> {
    if *cursor.nth_token(1) != Token::Colon {
        return Ok(None);
    }
    let position = cursor.position();
    let name = cursor.name("a clause's name")?;
    cursor.expect_token(&Token::Colon)?;
    if seen.clauses.iter().any(|clause| clause.name.as_ref() == Some(&name)) {
        return Err(position.error(SqlProblem::Twice { what: name }));
    }
    Ok(Some(name))
}

/// Whether two references can mean one column: where a table or a schema is left out, it may be the same.
fn may_be_one(one: &ColumnRef, other: &ColumnRef) -> bool {
    let tables = |one: &TableRef, other: &TableRef| {
        let schemas = one.schema.as_ref().zip(other.schema.as_ref());
        one.table == other.table && schemas.is_none_or(|(one, other)| one == other)
    };
    one.column == other.column
        && one.table.as_ref().zip(other.table.as_ref()).is_none_or(|(one, other)| tables(one, other))
}
