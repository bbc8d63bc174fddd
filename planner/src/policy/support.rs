//! What this release cannot enforce. An agreement that asks for it is refused when it is created: a clause that is
//! accepted is enforced. The parser knows the whole language, so that such agreements can at least be read and named.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Visit, Visitor};
use thiserror::Error;

use super::agreement::Agreement;
use super::clause::{
    BudgetClause, BudgetLimit, Clause, Comparison, FilterClause, MaskClause, Obligation, ObligeClause, ShipClause,
    ShipWhat,
};
use super::hashing::listed_hash;
use super::relation::{ColumnRef, Columns, FromRelation, JoinKey, JoinKind, JoinStep, TableRef};
use super::release::{Argument, ReleaseClause, ReleaseWhat};
use super::total::{Extent, check_total};
use super::word::{Flaw, NameKind, Word};

/// One thing that an agreement asks for and this release does not do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("clause {clause}: {what} is not available in this release: {why}")]
pub struct Unimplemented {
    /// The number of the clause.
    pub clause: u32,
    /// The word that asks for it, if there is one.
    pub word: Option<Word>,
    /// What it asks for.
    pub what: String,
    /// Why that is refused, and what to write instead where there is something.
    pub why: &'static str,
}

impl Flaw for Unimplemented {
    fn clause(&self) -> Option<u32> {
        Some(self.clause)
    }

    fn word(&self) -> Option<Word> {
        self.word.clone()
    }
}

/// Refuses an agreement with clauses that this release cannot enforce, and names all of them.
pub fn refuse_unimplemented(agreement: &Agreement) -> Result<(), Vec<Unimplemented>> {
    let mut refused = Vec::new();
    for numbered in &agreement.clauses {
        let mut refuse = |word: Option<Word>, what: String, why: &'static str| {
            refused.push(Unimplemented { clause: numbered.number, word, what, why });
        };
        match &numbered.clause {
            Clause::Release(release) => check_release(release, &mut refuse),
            Clause::Ship(ship) => check_ship(ship, &mut refuse),
            Clause::Filter(filter) => check_filter(filter, &mut refuse),
            Clause::Mask(mask) => check_mask(mask, &mut refuse),
            Clause::Budget(budget) => check_budget(budget, &mut refuse),
            Clause::Oblige(oblige) => check_oblige(oblige, &mut refuse),
            Clause::Rows(rows) => check_each([&rows.condition], &mut refuse),
            Clause::Join(_) | Clause::Archetypes(_) => {}
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// Takes what is refused and why, and the word that it is about.
type Refuse<'a> = dyn FnMut(Option<Word>, String, &'static str) + 'a;

fn keyword(word: &str) -> Option<Word> {
    Word::name(NameKind::Keyword, word)
}

/// Expressions that run over protected rows have a value for each of them.
fn check_each<'a>(exprs: impl IntoIterator<Item = &'a Expr>, refuse: &mut Refuse<'_>) {
    for expr in exprs {
        if let Err(part) = check_total(expr, Extent::Wide) {
            let why = "it could fail on a value, and the error would tell of that value; write it so that it has a value for \
                       every row, with TRY_CAST, NULLIF or CASE";
            refuse(Word::of(part), format!("`{part}`"), why);
        }
    }
}

fn check_release(release: &ReleaseClause, refuse: &mut Refuse<'_>) {
    check_from(&release.from, refuse);
    check_each(&release.filter, refuse);
    let ReleaseWhat::Aggregates(aggregates) = &release.what else { return };
    let arguments = aggregates.arguments.iter().filter_map(|argument| match argument {
        Argument::Expr(expr) => Some(expr),
        Argument::Star => None,
    });
    check_each(arguments.chain(&aggregates.by), refuse);
    for minimum in &aggregates.minimums {
        let entity = &minimum.entity;
        let filled = release.from.joins.iter().filter(|step| step.kind == JoinKind::Left);
        let shared = filled.flat_map(|step| &step.on).any(|key| *key == JoinKey::Same(entity.column.clone()));
        if entity.table.is_none() && shared {
            let why =
                "where a LEFT JOIN finds no match the key of one table is NULL, so say which table's key is counted";
            let word = Word::name(NameKind::Column, entity);
            refuse(word, format!("DISTINCT {entity} over a LEFT JOIN ON {entity}"), why);
        }
    }
    if aggregates.minimum_sites.is_some() && aggregates.minimums.is_empty() {
        let why = "a steward counts if it has an entity in the group, so say which: add MINIMUM 1 DISTINCT and the key";
        refuse(keyword("MINIMUM … SITES"), "MINIMUM … SITES without MINIMUM … DISTINCT".to_owned(), why);
    }
    if let Some(portion) = &aggregates.dominance {
        if aggregates.minimums.is_empty() {
            let why = "no entity may have more of a sum, so say which: add MINIMUM 1 DISTINCT and the key";
            refuse(keyword("DOMINANCE"), "DOMINANCE without MINIMUM … DISTINCT".to_owned(), why);
        }
        if portion.portion().is_none() {
            refuse(keyword("DOMINANCE"), format!("DOMINANCE {portion}"), "a portion has at most 18 digits");
        }
    }
}

fn check_ship(ship: &ShipClause, refuse: &mut Refuse<'_>) {
    let ShipWhat::Rows { columns, from, .. } = &ship.what else { return };
    check_from(from, refuse);
    let Columns::Listed(columns) = columns else { return };
    for expr in columns.iter().filter(|expr| listed_hash(expr).is_none() && expr.visit(&mut CallsHash).is_break()) {
        let why =
            "of a hash it can be told whether it is the same and nothing else; list `hash(…)` of one column, as it is";
        refuse(Word::of(expr), format!("`{expr}`"), why);
    }
}

/// A relation with left joins must be clear by itself: which side each key is of, and that no inner join undoes a left one.
fn check_from(from: &FromRelation, refuse: &mut Refuse<'_>) {
    if from.joins.iter().all(|step| step.kind == JoinKind::Inner) {
        return;
    }
    let mut before = vec![&from.first];
    for (index, step) in from.joins.iter().enumerate() {
        let (earlier, _) = from.joins.split_at(index);
        let filled =
            |table: &TableRef| earlier.iter().any(|one| one.kind == JoinKind::Left && same_table(&one.table, table));
        if before.iter().any(|table| same_table(table, &step.table)) {
            let word = Word::name(NameKind::Table, &step.table);
            let what = format!("`{}` twice in a relation with LEFT JOIN", step.table);
            refuse(word, what, "its keys could be those of either");
        }
        for key in &step.on {
            if let Err(why) = clear_key(key, &step.table, &before, earlier) {
                refuse(key_word(key), format!("`{}` in a relation with LEFT JOIN", key_text(key)), why);
            }
            if step.kind == JoinKind::Inner && kept_table(key, &step.table).is_some_and(filled) {
                let why =
                    "it would drop the rows that the LEFT JOIN before it keeps; say LEFT JOIN again, or JOIN in both";
                refuse(key_word(key), format!("JOIN {} ON `{}`", step.table, key_text(key)), why);
            }
        }
        before.push(&step.table);
    }
}

/// Whether it is certain which table before and which column of the joined one a key compares.
fn clear_key(key: &JoinKey, joined: &TableRef, before: &[&TableRef], earlier: &[JoinStep]) -> Result<(), &'static str> {
    match key {
        JoinKey::Same(_) => {
            let again = earlier.iter().any(|step| step.kind == JoinKind::Left && step.on.contains(key));
            if again {
                Err("two tables before it have this column; say whose is meant, as in `a.k = b.k`")
            } else {
                Ok(())
            }
        }
        JoinKey::Pair { left, right } => {
            let (Some(left), Some(right)) = (&left.table, &right.table) else {
                return Err("say of which tables the columns are");
            };
            let earlier = |table: &TableRef| before.iter().any(|one| same_table(one, table));
            let pair = |one: &TableRef, other: &TableRef| earlier(one) && same_table(other, joined);
            if pair(left, right) || pair(right, left) {
                Ok(())
            } else {
                Err("a key compares a column of the joined table with one of a table before it")
            }
        }
    }
}

/// The table before that a key names.
fn kept_table<'a>(key: &'a JoinKey, joined: &TableRef) -> Option<&'a TableRef> {
    let JoinKey::Pair { left, right } = key else { return None };
    [left, right].into_iter().filter_map(|column| column.table.as_ref()).find(|table| !same_table(table, joined))
}

fn same_table(one: &TableRef, other: &TableRef) -> bool {
    let schemas = one.schema.as_ref().zip(other.schema.as_ref());
    one.table == other.table && schemas.is_none_or(|(one, other)| one == other)
}

/// The first column of a key.
fn key_word(key: &JoinKey) -> Option<Word> {
    match key {
        JoinKey::Same(column) => Word::name(NameKind::Column, ColumnRef { table: None, column: column.clone() }),
        JoinKey::Pair { left, .. } => Word::name(NameKind::Column, left),
    }
}

fn key_text(key: &JoinKey) -> String {
    match key {
        JoinKey::Same(name) => format!("ON {name}"),
        JoinKey::Pair { left, right } => format!("{left} = {right}"),
    }
}

fn check_budget(budget: &BudgetClause, refuse: &mut Refuse<'_>) {
    if budget.limits.iter().any(|limit| matches!(limit, BudgetLimit::Epsilon { .. })) {
        let why = "no noise is added to answers; limit the number of queries instead";
        refuse(keyword("EPSILON"), "BUDGET EPSILON".to_owned(), why);
    }
}

/// A place keeps nothing of a query that has ended, and records each query before it begins. It cannot be shown that
/// something was kept for a while and no longer, nor that somebody was told.
fn check_oblige(oblige: &ObligeClause, refuse: &mut Refuse<'_>) {
    match &oblige.obligation {
        Obligation::Retention { amount: 0, .. } | Obligation::Audit => {}
        Obligation::Retention { .. } => {
            let why = "places keep nothing of a query that has ended; say RETENTION INTERVAL '0' HOUR";
            refuse(keyword("OBLIGE"), oblige.to_string(), why);
        }
        Obligation::Notification => {
            let why = "no place tells a steward of a use; AUDIT records it at the place";
            refuse(keyword("OBLIGE"), "OBLIGE NOTIFICATION".to_owned(), why);
        }
    }
}

fn check_filter(filter: &FilterClause, refuse: &mut Refuse<'_>) {
    for expr in &filter.columns {
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            continue;
        }
        if filter.with != Comparison::Literals {
            let why = "functions of columns are compared with literals only";
            refuse(Word::of(expr), format!("FILTER ON `{expr}`"), why);
        } else if expr.visit(&mut NamesColumn).is_continue() {
            refuse(Word::of(expr), format!("FILTER ON `{expr}`"), "it is about no column");
        } else {
            check_each([expr], refuse);
        }
    }
}

fn check_mask(mask: &MaskClause, refuse: &mut Refuse<'_>) {
    if let Err(part) = check_total(&mask.value, Extent::Narrow) {
        let why = "a mask must give a value for every row, never an error; use a column, literal, CASE, date_trunc, \
                   date_part, extract, upper, lower, substr, left, concat or coalesce, with literal lengths";
        refuse(Word::of(part), format!("MASK with `{part}`"), why);
    }
}

/// Finds a call of `hash`, at any depth.
pub(super) struct CallsHash;

impl Visitor for CallsHash {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if function.name.to_string() == "hash" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Finds a column, at any depth.
struct NamesColumn;

impl Visitor for NamesColumn {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse_agreement;

    /// What is refused of an agreement with these clauses, as `number: what`.
    fn refused(clauses: &str) -> Vec<String> {
        let text = format!("CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE statistics AS ({clauses})");
        let agreement = parse_agreement(&text).unwrap_or_else(|error| panic!("{clauses}: {error}"));
        let refused = refuse_unimplemented(&agreement).err().unwrap_or_default();
        refused.into_iter().map(|one| format!("{}: {}", one.clause, one.what)).collect()
    }

    #[test]
    fn accepts_what_is_enforced() {
        for clauses in [
            "RELEASE ROWS (a, b) FROM t",
            "RELEASE ROWS (a, b) FROM t WHERE c > 1",
            "RELEASE ROWS (*) FROM t, SHIP ROWS (*) FROM t TO ANY",
            "RELEASE avg, count, median OF a, * BY b, year(c) FROM t JOIN u ON k MINIMUM 10 DISTINCT k ELSE FAIL",
            "c: RELEASE sum OF a FROM t MINIMUM 10 DISTINCT k ELSE DROP, SHIP PARTIALS OF c TO surf, COORDINATOR",
            "SHIP ROWS (a, lower(b)) FROM t TO surf",
            "RELEASE sum OF a FROM t MINIMUM 10 DISTINCT k MINIMUM 2 SITES ROUND TO 2.5 ELSE REMAINDER",
            "RELEASE sum, count OF a FROM t MINIMUM 10 DISTINCT k PER SITE",
            "RELEASE sum, count OF a FROM t MINIMUM 10 DISTINCT k DOMINANCE 0.123456789012345678",
            "FILTER ON a, t.b COMPARE WITH LITERALS, COLUMNS",
            "FILTER ON a, lower(b), a LIKE 'x%' COMPARE WITH LITERALS",
            "JOIN ON k WITH surf, JOIN ON k, t.m WITH ANY, JOIN ON k WITH REQUESTER, JOIN ON k WITH TABLE u",
            "ROWS ON t WHERE opted_out IS NOT TRUE, ARCHETYPES compute_to_data",
            "OBLIGE audit, OBLIGE audit AT surf, OBLIGE retention INTERVAL '0' DAY AT ANY",
            "RELEASE ROWS (t.a, u.b) FROM t JOIN u ON k WHERE t.c > 1, RELEASE ROWS (*) FROM t LEFT JOIN u ON k",
            "RELEASE sum OF a FROM t LEFT JOIN u ON k MINIMUM 10 DISTINCT t.k",
            "RELEASE sum OF a FROM t JOIN u ON k LEFT JOIN s.v ON t.m = v.m AND t.n = v.n LEFT JOIN w ON v.x = w.y",
            "SHIP ROWS (t.a, u.b) FROM t LEFT JOIN u ON k JOIN v ON t.m = v.m TO surf",
            "BUDGET 1 QUERIES PER HOUR, 20 QUERIES PER DAY, 30 QUERIES PER WEEK, 40 QUERIES PER MONTH, 50 QUERIES PER YEAR",
        ] {
            assert_eq!(refused(clauses), Vec::<String>::new(), "{clauses}");
        }
    }

    #[test]
    fn d3_hashed_keys_are_refused_while_sites_have_no_key_of_a_query_in_common() {
        for (clauses, what) in [
            ("SHIP ROWS (b, upper(HASH(a))) FROM t TO surf", "1: `upper(hash(a))`"),
            ("SHIP ROWS (hash(hash(a))) FROM t TO surf", "1: `hash(hash(a))`"),
            ("SHIP ROWS (hash(upper(a))) FROM t TO surf", "1: `hash(upper(a))`"),
            ("SHIP ROWS (hash(a, b)) FROM t TO surf", "1: `hash(a, b)`"),
        ] {
            assert_eq!(refused(clauses), [what], "{clauses}");
        }
    }

    #[test]
    fn refuses_by_name_what_is_not_enforced() {
        for (clauses, what) in [
            ("RELEASE sum OF a FROM t MINIMUM 2 SITES", "1: MINIMUM … SITES without MINIMUM … DISTINCT"),
            ("RELEASE sum OF a FROM t DOMINANCE 0.5", "1: DOMINANCE without MINIMUM … DISTINCT"),
            (
                "RELEASE sum OF a FROM t MINIMUM 1 DISTINCT k DOMINANCE 0.1234567890123456789",
                "1: DOMINANCE 0.1234567890123456789",
            ),
            ("RELEASE sum OF a FROM t LEFT JOIN u ON k MINIMUM 10 DISTINCT k", "1: DISTINCT k over a LEFT JOIN ON k"),
            ("RELEASE sum OF a FROM t LEFT JOIN u ON k JOIN v ON k", "1: `ON k` in a relation with LEFT JOIN"),
            ("RELEASE sum OF a FROM t LEFT JOIN u ON k = m", "1: `k = m` in a relation with LEFT JOIN"),
            ("RELEASE ROWS (a) FROM t LEFT JOIN u ON t.k = t.m", "1: `t.k = t.m` in a relation with LEFT JOIN"),
            ("RELEASE sum OF a FROM t LEFT JOIN t ON k", "1: `t` twice in a relation with LEFT JOIN"),
            (
                "MASK a AS 1, SHIP ROWS (b) FROM t LEFT JOIN u ON k JOIN v ON u.m = v.m TO surf",
                "2: JOIN v ON `u.m = v.m`",
            ),
            ("BUDGET 1 QUERIES PER DAY, EPSILON 4 PER YEAR", "1: BUDGET EPSILON"),
            ("OBLIGE notification", "1: OBLIGE NOTIFICATION"),
            ("OBLIGE retention INTERVAL '12' HOUR AT surf", "1: OBLIGE RETENTION INTERVAL '12' HOUR AT surf"),
            ("FILTER ON a, lower(b) COMPARE WITH LITERALS, COLUMNS", "1: FILTER ON `lower(b)`"),
            ("FILTER ON random() COMPARE WITH LITERALS", "1: FILTER ON `random()`"),
            ("FILTER ON 100 / a COMPARE WITH LITERALS", "1: `100 / a`"),
            ("RELEASE avg OF 100 / hours FROM t", "1: `100 / hours`"),
            ("RELEASE count OF * BY CAST(zip AS INT) FROM t", "1: `CAST(zip AS INT)`"),
            ("RELEASE ROWS (a) FROM t WHERE a % b = 1", "1: `a % b`"),
            ("ROWS ON t WHERE CAST(zip AS INT) > 1000", "1: `CAST(zip AS INT)`"),
            ("9: MASK a AS 1 / b", "9: MASK with `1 / b`"),
        ] {
            assert_eq!(refused(clauses), [what], "{clauses}");
        }
        let all = refused("RELEASE sum OF a FROM t LEFT JOIN u ON k = m DOMINANCE 0.5, BUDGET EPSILON 1 PER DAY");
        assert_eq!(
            all,
            ["1: `k = m` in a relation with LEFT JOIN", "1: DOMINANCE without MINIMUM … DISTINCT", "2: BUDGET EPSILON"]
        );
    }

    #[test]
    fn masks_must_have_a_value_for_every_row() {
        for mask in [
            "NULL",
            "'x'",
            "-1",
            "a",
            "t.a",
            "date_trunc('year', a)",
            "date_part('year', a)",
            "EXTRACT(YEAR FROM a)",
            "year(a)",
            "upper(lower(a))",
            "substr(a, 2)",
            "substr(a, 1, 2)",
            "SUBSTRING(a FROM 1 FOR 2)",
            "left(a, 4)",
            "concat(left(a, 4), 'XX')",
            "coalesce(a, b, 'none')",
            "DATE '2020-01-01'",
            "CASE WHEN a < 10 AND b IS NOT NULL THEN 'few' WHEN a IN (11, 12) THEN b ELSE NULL END",
            "CASE a WHEN 1 THEN 'x' END",
            "(a)",
        ] {
            assert_eq!(refused(&format!("MASK a AS {mask}")), Vec::<String>::new(), "{mask}");
        }
        for (mask, part) in [
            ("CAST(a AS INT)", "CAST(a AS INT)"),
            ("a::int", "a::INT"),
            ("coalesce(a, 100 / b)", "100 / b"),
            ("CASE WHEN a % 2 = 0 THEN 1 END", "a % 2"),
            ("CASE WHEN true THEN a + 1 END", "a + 1"),
            ("date_trunc(a, b)", "date_trunc(a, b)"),
            ("left(a, b)", "left(a, b)"),
            ("substr(a, 1, -1)", "SUBSTR(a, 1, -1)"),
            ("SUBSTRING(a FROM 1 FOR b)", "SUBSTRING(a FROM 1 FOR b)"),
            ("upper(a, b)", "upper(a, b)"),
            ("random()", "random()"),
            ("sha256(a)", "sha256(a)"),
            ("-a", "-a"),
            ("concat(DISTINCT a)", "concat(DISTINCT a)"),
            ("concat()", "concat()"),
        ] {
            assert_eq!(refused(&format!("MASK a AS {mask}")), [format!("1: MASK with `{part}`")], "{mask}");
        }
    }
}
