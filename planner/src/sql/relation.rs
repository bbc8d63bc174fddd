//! The parser of what several clauses share: tables, columns, lists of columns, joins and places.

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::error::SqlError;
use crate::policy::{ColumnRef, Columns, FromRelation, JoinKey, JoinKind, JoinStep, NameKind, PlaceRef, TableRef};

/// `table` or `schema.table`.
pub(super) fn table_ref(cursor: &mut Cursor<'_>) -> Result<TableRef, SqlError> {
    let position = cursor.position();
    let first = cursor.name("a table")?;
    let table = match cursor.eat_token(&Token::Period) {
        true => TableRef { schema: Some(first), table: cursor.part("a table")? },
        false => TableRef { schema: None, table: first },
    };
    cursor.note(NameKind::Table, &table, position);
    Ok(table)
}

/// `column`, `table.column` or `schema.table.column`.
pub(super) fn column_ref(cursor: &mut Cursor<'_>) -> Result<ColumnRef, SqlError> {
    let position = cursor.position();
    let column = column_name(cursor)?;
    cursor.note(NameKind::Column, &column, position);
    Ok(column)
}

fn column_name(cursor: &mut Cursor<'_>) -> Result<ColumnRef, SqlError> {
    let first = cursor.name("a column")?;
    if !cursor.eat_token(&Token::Period) {
        return Ok(ColumnRef { table: None, column: first });
    }
    let second = cursor.part("a column")?;
    if !cursor.eat_token(&Token::Period) {
        return Ok(ColumnRef { table: Some(TableRef { schema: None, table: first }), column: second });
    }
    let column = cursor.part("a column")?;
    Ok(ColumnRef { table: Some(TableRef { schema: Some(first), table: second }), column })
}

/// `(*)` or `(expr, …)`.
pub(super) fn columns(cursor: &mut Cursor<'_>) -> Result<Columns, SqlError> {
    cursor.expect_token(&Token::LParen)?;
    let columns = match cursor.eat_token(&Token::Mul) {
        true => Columns::All,
        false => Columns::Listed(cursor.list(Cursor::expr)?),
    };
    cursor.expect_token(&Token::RParen)?;
    Ok(columns)
}

/// `FROM table [[LEFT] JOIN table ON key [AND key …]] …`.
pub(super) fn from(cursor: &mut Cursor<'_>) -> Result<FromRelation, SqlError> {
    cursor.expect("from")?;
    let first = table_ref(cursor)?;
    let mut joins = Vec::new();
    while let Some(kind) = join_kind(cursor)? {
        let table = table_ref(cursor)?;
        cursor.expect("on")?;
        let mut on = vec![join_key(cursor)?];
        while cursor.eat("and") {
            on.push(join_key(cursor)?);
        }
        joins.push(JoinStep { kind, table, on });
    }
    Ok(FromRelation { first, joins })
}

fn join_kind(cursor: &mut Cursor<'_>) -> Result<Option<JoinKind>, SqlError> {
    let kind = if cursor.eat("left") {
        cursor.eat("outer");
        JoinKind::Left
    } else if cursor.eat("inner") || cursor.keyword() == Some("join") {
        JoinKind::Inner
    } else {
        return Ok(None);
    };
    cursor.expect("join")?;
    Ok(Some(kind))
}

fn join_key(cursor: &mut Cursor<'_>) -> Result<JoinKey, SqlError> {
    let left = column_ref(cursor)?;
    if cursor.eat_token(&Token::Eq) {
        return Ok(JoinKey::Pair { left, right: column_ref(cursor)? });
    }
    match left {
        ColumnRef { table: None, column } => Ok(JoinKey::Same(column)),
        ColumnRef { table: Some(_), .. } => cursor.expected("`=`"),
    }
}

/// `WHERE condition`, where there is one.
pub(super) fn filter(cursor: &mut Cursor<'_>) -> Result<Option<Expr>, SqlError> {
    if cursor.eat("where") { cursor.expr().map(Some) } else { Ok(None) }
}

/// `site`, `SITE site`, `ROLE role`, `REGION region`, `COORDINATOR` or `ANY`.
pub(super) fn place(cursor: &mut Cursor<'_>) -> Result<PlaceRef, SqlError> {
    if cursor.eat("coordinator") {
        return Ok(PlaceRef::Coordinator);
    }
    if cursor.eat("any") {
        return Ok(PlaceRef::Any);
    }
    if cursor.eat("role") {
        return named_place(cursor, "a role of sites", PlaceRef::Role);
    }
    if cursor.eat("region") {
        return named_place(cursor, "a region", PlaceRef::Region);
    }
    cursor.eat("site");
    named_place(cursor, "a place (a site, `ROLE`, `REGION`, `COORDINATOR` or `ANY`)", PlaceRef::Site)
}

fn named_place(cursor: &mut Cursor<'_>, what: &str, of_kind: fn(String) -> PlaceRef) -> Result<PlaceRef, SqlError> {
    let position = cursor.position();
    let place = of_kind(cursor.name(what)?);
    cursor.note(NameKind::Place, &place, position);
    Ok(place)
}
