//! The parser of every clause but RELEASE. A comma ends a list inside a clause where the next clause begins: behind it
//! stands a word that begins a clause, or a label (`c2:`, `7:`). A condition that ends in an interval needs parentheses
//! before `TO`, because SQL reads `INTERVAL '1' DAY TO …` as a range of fields.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::error::{SqlError, SqlProblem};
use super::relation::{column_ref, columns, filter, from, place, table_ref};
use super::release::release;
use crate::policy::{
    Archetype, BudgetClause, BudgetLimit, Clause, ClauseRef, Comparison, FilterClause, JoinClause, JoinPartner,
    MaskClause, NameKind, Obligation, ObligeClause, Period, PlaceRef, RowsClause, ShipClause, ShipWhat, TimeUnit,
};

/// The words that begin a clause.
const BEGINNINGS: [&str; 9] = ["release", "ship", "filter", "join", "mask", "rows", "budget", "archetypes", "oblige"];

/// One clause without its label.
pub(super) fn clause(cursor: &mut Cursor<'_>) -> Result<Clause, SqlError> {
    let begin = cursor.position();
    if cursor.eat("release") {
        release(cursor).map(Clause::Release)
    } else if cursor.eat("ship") {
        ship(cursor).map(Clause::Ship)
    } else if cursor.eat("filter") {
        filter_on(cursor).map(Clause::Filter)
    } else if cursor.eat("join") {
        join(cursor).map(Clause::Join)
    } else if cursor.eat("mask") {
        mask(cursor).map(Clause::Mask)
    } else if cursor.eat("rows") {
        rows(cursor).map(Clause::Rows)
    } else if cursor.eat("budget") {
        let limits = list_before_clause(cursor, budget_limit)?;
        Ok(Clause::Budget(BudgetClause { limits }))
    } else if cursor.eat("archetypes") {
        archetypes(cursor).map(Clause::Archetypes)
    } else if cursor.eat("oblige") {
        cursor.note(NameKind::Keyword, "OBLIGE", begin);
        oblige(cursor).map(Clause::Oblige)
    } else {
        cursor.expected(
            "a clause (`RELEASE`, `SHIP`, `FILTER`, `JOIN`, `MASK`, `ROWS`, `BUDGET`, `ARCHETYPES` or `OBLIGE`)",
        )
    }
}

/// Items with commas between them, up to the comma before the next clause.
fn list_before_clause<T>(
    cursor: &mut Cursor<'_>,
    mut item: impl FnMut(&mut Cursor<'_>) -> Result<T, SqlError>,
) -> Result<Vec<T>, SqlError> {
    let mut items = vec![item(cursor)?];
    while another_item_follows(cursor) {
        cursor.expect_token(&Token::Comma)?;
        items.push(item(cursor)?);
    }
    Ok(items)
}

fn another_item_follows(cursor: &Cursor<'_>) -> bool {
    let begins_clause = cursor.nth_keyword(1).is_some_and(|word| BEGINNINGS.contains(&word));
    let is_label = *cursor.nth_token(2) == Token::Colon;
    *cursor.nth_token(0) == Token::Comma && !begins_clause && !is_label
}

fn ship(cursor: &mut Cursor<'_>) -> Result<ShipClause, SqlError> {
    let what = if cursor.eat("partials") {
        cursor.expect("of")?;
        ShipWhat::Partials { of: clause_ref(cursor)? }
    } else if cursor.eat("rows") {
        ShipWhat::Rows { columns: columns(cursor)?, from: from(cursor)?, filter: filter(cursor)? }
    } else {
        return cursor.expected("`PARTIALS` or `ROWS`");
    };
    cursor.expect("to")?;
    Ok(ShipClause { what, to: list_before_clause(cursor, place)? })
}

fn clause_ref(cursor: &mut Cursor<'_>) -> Result<ClauseRef, SqlError> {
    const WHAT: &str = "the number or name of a RELEASE clause";
    let position = cursor.position();
    let reference = match cursor.nth_token(0) {
        Token::Number(..) => ClauseRef::Number(cursor.count(WHAT)?),
        _ => ClauseRef::Name(cursor.name(WHAT)?),
    };
    cursor.note(NameKind::Reference, &reference, position);
    Ok(reference)
}

fn filter_on(cursor: &mut Cursor<'_>) -> Result<FilterClause, SqlError> {
    cursor.expect("on")?;
    let columns = cursor.list(Cursor::expr)?;
    cursor.expect("compare")?;
    cursor.expect("with")?;
    let first = cursor.position();
    let with = list_before_clause(cursor, |cursor| {
        if cursor.eat("literals") {
            Ok(Comparison::Literals)
        } else if cursor.eat("columns") {
            Ok(Comparison::Columns)
        } else {
            cursor.expected("`LITERALS` or `COLUMNS`")
        }
    })?;
    let with = match with.as_slice() {
        [one] => *one,
        [one, other] if one != other => Comparison::Both,
        _ => return Err(first.error(SqlProblem::Twice { what: "COMPARE WITH".to_owned() })),
    };
    Ok(FilterClause { columns, with })
}

fn join(cursor: &mut Cursor<'_>) -> Result<JoinClause, SqlError> {
    cursor.expect("on")?;
    let keys = cursor.list(column_ref)?;
    cursor.expect("with")?;
    let with = if cursor.eat("requester") {
        JoinPartner::Requester
    } else if cursor.eat("any") {
        JoinPartner::Any
    } else if cursor.eat("table") {
        JoinPartner::Table(table_ref(cursor)?)
    } else {
        cursor.eat("site");
        let position = cursor.position();
        let site = cursor.name("a partner (`REQUESTER`, a site, `TABLE` or `ANY`)")?;
        cursor.note(NameKind::Place, PlaceRef::Site(site.clone()), position);
        JoinPartner::Site(site)
    };
    Ok(JoinClause { keys, with })
}

fn mask(cursor: &mut Cursor<'_>) -> Result<MaskClause, SqlError> {
    let column = column_ref(cursor)?;
    cursor.expect("as")?;
    Ok(MaskClause { column, value: cursor.expr()? })
}

fn rows(cursor: &mut Cursor<'_>) -> Result<RowsClause, SqlError> {
    let table = if cursor.eat("on") { Some(table_ref(cursor)?) } else { None };
    cursor.expect("where")?;
    Ok(RowsClause { table, condition: cursor.expr()? })
}

fn budget_limit(cursor: &mut Cursor<'_>) -> Result<BudgetLimit, SqlError> {
    let position = cursor.position();
    if cursor.eat("epsilon") {
        cursor.note(NameKind::Keyword, "EPSILON", position);
        let amount = cursor.decimal("a number above 0", |amount| !amount.is_zero())?;
        return Ok(BudgetLimit::Epsilon { amount, per: period(cursor)? });
    }
    let count = cursor.count("a number of queries or `EPSILON`")?;
    cursor.expect("queries")?;
    Ok(BudgetLimit::Queries { count, per: period(cursor)? })
}

fn period(cursor: &mut Cursor<'_>) -> Result<Period, SqlError> {
    cursor.expect("per")?;
    for (word, period) in [
        ("hour", Period::Hour),
        ("day", Period::Day),
        ("week", Period::Week),
        ("month", Period::Month),
        ("year", Period::Year),
    ] {
        if cursor.eat(word) {
            return Ok(period);
        }
    }
    cursor.expected("`HOUR`, `DAY`, `WEEK`, `MONTH` or `YEAR`")
}

fn archetypes(cursor: &mut Cursor<'_>) -> Result<Vec<Archetype>, SqlError> {
    let first = cursor.position();
    let archetypes = list_before_clause(cursor, |cursor| {
        if cursor.eat("compute_to_data") {
            Ok(Archetype::ComputeToData)
        } else if cursor.eat("data_to_compute") {
            Ok(Archetype::DataToCompute)
        } else {
            cursor.expected("`compute_to_data` or `data_to_compute`")
        }
    })?;
    match archetypes.as_slice() {
        [_] => Ok(archetypes),
        [one, other] if one != other => Ok(archetypes),
        _ => Err(first.error(SqlProblem::Twice { what: "ARCHETYPES".to_owned() })),
    }
}

fn oblige(cursor: &mut Cursor<'_>) -> Result<ObligeClause, SqlError> {
    let obligation = if cursor.eat("retention") {
        cursor.expect("interval")?;
        let position = cursor.position();
        let found = cursor.found();
        let amount = cursor.string("a whole number in quotes")?.parse().map_err(|_| {
            position.error(SqlProblem::Expected { expected: "a whole number in quotes".to_owned(), found })
        })?;
        Obligation::Retention { amount, unit: time_unit(cursor)? }
    } else if cursor.eat("audit") {
        Obligation::Audit
    } else if cursor.eat("notification") {
        Obligation::Notification
    } else {
        return cursor.expected("`RETENTION`, `AUDIT` or `NOTIFICATION`");
    };
    let at = if cursor.eat("at") { Some(place(cursor)?) } else { None };
    Ok(ObligeClause { obligation, at })
}

fn time_unit(cursor: &mut Cursor<'_>) -> Result<TimeUnit, SqlError> {
    for (word, unit) in
        [("second", TimeUnit::Second), ("minute", TimeUnit::Minute), ("hour", TimeUnit::Hour), ("day", TimeUnit::Day)]
    {
        if cursor.eat(word) {
            return Ok(unit);
        }
    }
    cursor.expected("`SECOND`, `MINUTE`, `HOUR` or `DAY`")
}
