//! Whether clauses cover what a query does to protected rows. Matching is syntactic on the normal form: tables, joins,
//! predicates, keys and arguments, each written over the columns of the steward's tables.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, ExprSchemable, Operator};
use datafusion::prelude::Expr;
use datafusion::sql::sqlparser::ast;

use super::failing::{average_fails, compares_without_errors, failing_cast};
use super::hashing::{HashListing, listed_hash};
use super::joining::Filled;
use super::total::{Extent, check_total};
use super::view::concerns;
use super::{
    Agreement, Argument, Clause, Columns, Comparison, DistinctInput, FromRelation, NumberedClause, PlaceRef,
    ReleaseWhat, ReleasedAggregates, ShipWhat,
};
use crate::bind::scalar_expr;
use crate::catalog::{STEWARD, TableName};
use crate::function::{IS_REMAINDER, holds_hash};

/// What a query does to protected rows below one point, written over the tables' own columns.
#[derive(Clone, Debug, Default)]
pub struct RelationShape {
    /// The tables, each once, with the columns that their views have.
    pub tables: BTreeMap<TableName, DFSchema>,
    /// Equalities that hold in every row: the keys of inner joins, without those of stewards.
    pub joins: BTreeSet<(Column, Column)>,
    /// Left joins: by the table that NULLs stand in for where nothing matches, its keys.
    pub filled: Filled,
    /// Predicates.
    pub predicates: Vec<Expr>,
    /// Columns that are compared with lists of the requester, by list.
    pub lists: BTreeSet<BTreeSet<Column>>,
    /// Released values, which predicates compare with columns like literals, as columns of no table; with their types.
    pub scalars: BTreeMap<Column, DataType>,
}

/// An average has four digits more than its values, and a decimal has 38 at most: of longer ones it can overflow.
const AVERAGED_DIGITS_MAX: u8 = 34;

/// Of a clause whose tables, or whose joins of them, are not those of the query.
pub(super) const ANOTHER_RELATION: &str = "it is about another relation";

/// A clause that covers something, by number.
pub type Covered = Result<u32, Vec<String>>;

/// One aggregate that a query asks for, written over the tables' own columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Function name.
    pub function: String,
    /// Whether equal arguments count once.
    pub distinct: bool,
    /// Its argument; none for `count(*)`.
    pub argument: Option<Expr>,
    /// Its FILTER predicate.
    pub filter: Option<Expr>,
}

impl RelationShape {
    /// A clause's expression over the tables' columns; none if it names something else, or if columns have other types by now
    /// than when it was written and it can fail on their values.
    fn resolve(&self, expr: &ast::Expr, state: &SessionState) -> Option<Expr> {
        let schema = self.schema().ok()?;
        let expr = scalar_expr(expr, &schema, state).ok()?;
        let coerced = crate::bind::coerce(expr, &schema, state).ok()?;
        let resolved = crate::bind::unalias(&coerced);
        let total = matches!(resolved, Expr::Column(_)) || matches!(failing_cast(resolved, &schema), Ok(None));
        total.then(|| resolved.clone())
    }

    /// The same of an expression that a question asks to be evaluated. What was written under an earlier release is held to what
    /// this one takes.
    fn evaluated(&self, expr: &ast::Expr, state: &SessionState) -> Option<Expr> {
        check_total(expr, Extent::Wide).ok()?;
        self.resolve(expr, state)
    }

    /// Whether every predicate is one that the agreement's FILTER clauses allow, or one that the relation's own WHERE
    /// states. Gives those that are not.
    fn refused_predicates(&self, agreement: &Agreement, own: Option<&ast::Expr>, state: &SessionState) -> Vec<String> {
        let own = self.own_conditions(own, state);
        let allowed = |predicate: &Expr| own.contains(predicate) || self.filter_allows(agreement, predicate, state);
        let refused = self.predicates.iter().filter(|predicate| !allowed(predicate));
        let refused = refused.map(|predicate| format!("no FILTER clause allows the predicate `{predicate}`"));
        refused.chain(self.refused_lists(agreement)).collect()
    }

    /// Conditions of single values that no FILTER clause allows.
    pub(super) fn refused_beside(&self, agreement: &Agreement, beside: &[Expr], state: &SessionState) -> Vec<String> {
        let refused = beside.iter().filter(|condition| !self.filter_allows(agreement, condition, state));
        refused.map(|condition| format!("no FILTER clause allows the condition `{condition}`")).collect()
    }

    fn filter_allows(&self, agreement: &Agreement, predicate: &Expr, state: &SessionState) -> bool {
        let listed = |with: &[Comparison]| -> Vec<Expr> {
            let filters = agreement.clauses.iter().filter_map(|clause| match &clause.clause {
                Clause::Filter(filter) if with.contains(&filter.with) => Some(&filter.columns),
                _ => None,
            });
            // Listed for columns of another table, it may fail on those of this one.
            let resolved = filters.flatten().filter_map(|expr| self.evaluated(expr, state));
            resolved.filter(|expr| !expr.is_volatile()).collect()
        };
        let literals = listed(&[Comparison::Literals, Comparison::Both]);
        let columns = listed(&[Comparison::Columns, Comparison::Both]);
        let among =
            |all: &[Expr], column: &Column| all.iter().any(|one| matches!(one, Expr::Column(one) if one == column));
        let rules = LeakProof {
            with_literal: &|column| {
                let told = || self.telling_steward(column).any(|key| literals.contains(&key));
                self.names_steward(column) || among(&literals, column) || told()
            },
            with_column: &|column| among(&columns, column),
            // Functions of columns are compared with literals only, as they are written.
            as_written: &|expr| !matches!(expr, Expr::Literal(..) | Expr::Column(_)) && literals.contains(expr),
            kind_of: &|expr| self.type_of(expr),
            released: &|expr| self.scalar_type(expr),
        };
        rules.covers(predicate)
    }

    /// The columns that a join makes equal to this one.
    pub(super) fn equal_to<'a>(&'a self, column: &'a Column) -> impl Iterator<Item = Expr> + 'a {
        self.joins.iter().filter_map(move |(one, other)| match (one == column, other == column) {
            (true, _) => Some(Expr::Column(other.clone())),
            (_, true) => Some(Expr::Column(one.clone())),
            _ => None,
        })
    }

    /// Whether a column is the entity key that a clause counts, or one that the joins make equal to it. Where several
    /// tables have a column of that name and the clause does not say whose it means, the joins must make them equal. A left
    /// join makes nothing equal: where nothing matches, the key of the table that is filled up is NULL, which is nobody.
    pub fn is_entity(&self, column: &Column, entity: &super::ColumnRef) -> bool {
        let meant = self.tables.iter().filter(|(table, schema)| {
            concerns(entity.table.as_ref(), table) && schema.has_column_with_unqualified_name(&entity.column)
        });
        let meant: Vec<Column> = meant.map(|(table, _)| Self::column(table, &entity.column)).collect();
        let same = |one: &Column| one == column || self.joins.contains(&ordered(one.clone(), column.clone()));
        !meant.is_empty() && meant.iter().all(same)
    }

    /// The RELEASE ROWS clause of an agreement that lets these columns of this relation go to the requester.
    pub fn released_rows(&self, agreement: &Agreement, columns: &[Expr], state: &SessionState) -> Covered {
        let mut reasons = Vec::new();
        if columns.iter().any(holds_hash) {
            return Err(vec!["hashed keys are no rows that are released".into()]);
        }
        for numbered in &agreement.clauses {
            let Clause::Release(release) = &numbered.clause else { continue };
            let ReleaseWhat::Rows(listed) = &release.what else { continue };
            let hashes = HashListing::Hash;
            match self.rows_covered(listed, &release.from, release.filter.as_ref(), columns, hashes, state) {
                Ok(()) => return Ok(numbered.number),
                Err(more) => reasons.extend(named(agreement, numbered, more)),
            }
        }
        Err(reasons)
    }

    /// Whether a list over `from` covers these expressions of this relation: a bare column is covered by `*`, a hashed one by
    /// what `hashes` says, anything else only if it is listed as written.
    pub(super) fn rows_covered(
        &self,
        listed: &Columns,
        from: &FromRelation,
        own: Option<&ast::Expr>,
        columns: &[Expr],
        hashes: HashListing,
        state: &SessionState,
    ) -> Result<(), Vec<String>> {
        if !self.is(from) {
            return Err(vec![ANOTHER_RELATION.into()]);
        }
        let mut reasons = self.missing_conditions(own, state);
        let all = *listed == Columns::All;
        let written: &[ast::Expr] = match listed {
            Columns::All => &[],
            Columns::Listed(listed) => listed.as_slice(),
        };
        let listed: Vec<Expr> = written.iter().filter_map(|column| self.resolve(column, state)).collect();
        let listed_hashes = written.iter().filter_map(listed_hash);
        let listed_hashes: Vec<Expr> = listed_hashes.filter_map(|column| self.resolve(column, state)).collect();
        // An inner join makes its keys equal in every row, so either may stand for both.
        let among = |list: &[Expr], column: &Column| {
            let own = Expr::Column(column.clone());
            list.contains(&own) || self.equal_to(column).any(|one| list.contains(&one))
        };
        for expr in columns {
            let hashed = self.hashed_column(expr).map(|(_, column)| column);
            let covered = match (expr, &hashed) {
                (_, Some(column)) => {
                    let key = hashes == HashListing::HashOrKey && (all || among(&listed, column));
                    key || among(&listed_hashes, column)
                }
                (Expr::Literal(..), None) => true,
                (Expr::Column(column), None) if self.names_steward(column) || all => true,
                (Expr::Column(column), None) => {
                    among(&listed, column) || self.telling_steward(column).any(|one| listed.contains(&one))
                }
                (other, None) => listed.contains(other),
            };
            if !covered {
                let what = hashed.map_or_else(|| expr.to_string(), |column| format!("hash({column})"));
                reasons.push(format!("it does not list `{what}`"));
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// The conditions of a clause's own WHERE.
    pub(super) fn own_conditions(&self, own: Option<&ast::Expr>, state: &SessionState) -> Vec<Expr> {
        own.and_then(|own| self.evaluated(own, state)).map(|own| split(&own)).unwrap_or_default()
    }

    /// The conditions of a clause's own WHERE that the query does not state.
    fn missing_conditions(&self, own: Option<&ast::Expr>, state: &SessionState) -> Vec<String> {
        let Some(own) = own else { return Vec::new() };
        let Some(resolved) = self.evaluated(own, state) else {
            return vec![format!("its condition `{own}` is not about this relation")];
        };
        let missing = split(&resolved).into_iter().filter(|condition| !self.predicates.contains(condition));
        missing.map(|condition| format!("it needs the condition `{condition}`")).collect()
    }

    /// The RELEASE clause of an agreement that covers these keys and aggregates of this relation; if `only` is given, no
    /// other clause will do.
    pub fn released_aggregates(
        &self,
        agreement: &Agreement,
        keys: &[Expr],
        asked: &[Asked],
        only: Option<u32>,
        state: &SessionState,
    ) -> Covered {
        let mut reasons = Vec::new();
        for numbered in agreement.clauses.iter().filter(|clause| only.is_none_or(|only| clause.number == only)) {
            let Clause::Release(release) = &numbered.clause else { continue };
            let ReleaseWhat::Aggregates(released) = &release.what else { continue };
            if !self.is(&release.from) {
                reasons.extend(named(agreement, numbered, vec![ANOTHER_RELATION.into()]));
                continue;
            }
            let mut refused = self.missing_conditions(release.filter.as_ref(), state);
            refused.extend(self.refused_predicates(agreement, release.filter.as_ref(), state));
            refused.extend(self.refused_keys(released, keys, state));
            refused.extend(asked.iter().filter_map(|value| self.refused_value(agreement, released, value, state)));
            if refused.is_empty() {
                return Ok(numbered.number);
            }
            reasons.extend(named(agreement, numbered, refused));
        }
        if reasons.is_empty() {
            reasons.push(format!("agreement `{}` has no RELEASE of aggregates", agreement.name));
        }
        Err(reasons)
    }

    fn refused_keys(&self, released: &ReleasedAggregates, keys: &[Expr], state: &SessionState) -> Vec<String> {
        let listed: Vec<Expr> = released.by.iter().filter_map(|key| self.evaluated(key, state)).collect();
        // A steward's name is no property of a person; at the steward itself it is a constant.
        let steward = |key: &Expr| match key {
            Expr::Column(column) => {
                self.names_steward(column) || self.telling_steward(column).any(|key| listed.contains(&key))
            }
            Expr::Literal(..) => true,
            _ => false,
        };
        let refused = keys.iter().filter(|key| !steward(key) && !listed.contains(key));
        refused.map(|key| format!("it does not list the grouping `{key}`")).collect()
    }

    fn refused_value(
        &self,
        agreement: &Agreement,
        released: &ReleasedAggregates,
        asked: &Asked,
        state: &SessionState,
    ) -> Option<String> {
        // It tells of no row, only which group of the answer is which.
        if asked.function == IS_REMAINDER && !asked.distinct && asked.argument.is_none() && asked.filter.is_none() {
            return None;
        }
        let distinct = if asked.distinct { DistinctInput::Distinct } else { DistinctInput::All };
        let function = released.functions.iter().any(|one| one.name == asked.function && one.distinct == distinct);
        let argument = released.arguments.iter().any(|argument| match (argument, &asked.argument) {
            // `sum OF *` and the like are nothing.
            (Argument::Star, None) => asked.function == "count" && !asked.distinct,
            (Argument::Expr(listed), Some(asked)) => self.evaluated(listed, state).as_ref() == Some(asked),
            (Argument::Star, Some(_)) | (Argument::Expr(_), None) => false,
        });
        let filter = asked.filter.iter().flat_map(split).all(|part| self.filter_allows(agreement, &part, state));
        let what = asked.argument.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
        let kind = asked.argument.as_ref().and_then(|argument| self.type_of(argument));
        if asked.function == "avg" && kind.is_some_and(|kind| average_fails(&kind)) {
            Some(
                "the average of a DECIMAL of so many digits can fail on a value, which the error would tell".to_owned(),
            )
        } else if !function || !argument {
            Some(format!("it does not list `{}` of `{what}`", asked.function))
        } else if !filter {
            Some(format!("no FILTER clause allows the condition of `{}`", asked.function))
        } else {
            None
        }
    }

    /// The SHIP ROWS clause of an agreement that lets rows of this relation with these outputs be at a place.
    pub fn shipped_rows(
        &self,
        agreement: &Agreement,
        outputs: &[Expr],
        at: &dyn Fn(&[PlaceRef]) -> bool,
        hashes: HashListing,
        state: &SessionState,
    ) -> Covered {
        let mut reasons = Vec::new();
        for numbered in &agreement.clauses {
            let Clause::Ship(ship) = &numbered.clause else { continue };
            let ShipWhat::Rows { columns: listed, from, filter } = &ship.what else { continue };
            if !at(&ship.to) {
                reasons.extend(named(agreement, numbered, vec!["it names another place".into()]));
                continue;
            }
            let own = self.own_conditions(filter.as_ref(), state);
            let outputs = self.disclosed(outputs, &own);
            let covered = self.rows_covered(listed, from, filter.as_ref(), &outputs, hashes, state);
            let lists = self.refused_lists(agreement);
            let lists = if lists.is_empty() { Ok(()) } else { Err(lists) };
            match covered.and_then(|()| self.leaks_nothing_beside(&own)).and(lists) {
                Ok(()) => return Ok(numbered.number),
                Err(more) => reasons.extend(named(agreement, numbered, more)),
            }
        }
        if reasons.is_empty() {
            reasons.push(format!("agreement `{}` has no SHIP ROWS", agreement.name));
        }
        Err(reasons)
    }

    /// Whether the query's own predicates stay silent about rows that do not fulfil a clause's condition `own`: they may
    /// run before it, and one that can fail would tell of such a row by its error.
    fn leaks_nothing_beside(&self, own: &[Expr]) -> Result<(), Vec<String>> {
        if own.is_empty() {
            return Ok(());
        }
        let rules = LeakProof {
            with_literal: &|_| true,
            with_column: &|_| true,
            as_written: &|_| false,
            kind_of: &|expr| self.type_of(expr),
            released: &|expr| self.scalar_type(expr),
        };
        let leaking = self.predicates.iter().filter(|predicate| !own.contains(predicate) && !rules.covers(predicate));
        let leaking: Vec<String> =
            leaking.map(|one| format!("the predicate `{one}` could tell of rows that its condition keeps")).collect();
        if leaking.is_empty() { Ok(()) } else { Err(leaking) }
    }

    /// What leaves if rows with these outputs are sent under a clause with these conditions of its own: the outputs, without
    /// a widening of number types that the engine put in itself, and every column that another predicate touched; each once.
    fn disclosed(&self, outputs: &[Expr], own: &[Expr]) -> Vec<Expr> {
        let mut disclosed: Vec<Expr> = Vec::new();
        let others = self.predicates.iter().filter(|predicate| !own.contains(predicate));
        let listed = self.lists.iter().flatten().cloned();
        let touched = self.touched_by(others).into_iter().chain(listed).map(Expr::Column);
        // A key that is paired with its steward tells the key.
        let bare = |expr: &Expr| {
            self.paired_key(crate::bind::unalias(expr)).map_or_else(|| self.without_widening(expr), Expr::clone)
        };
        for expr in outputs.iter().map(bare).chain(touched) {
            if !disclosed.contains(&expr) {
                disclosed.push(expr);
            }
        }
        disclosed
    }

    /// A cast between number types or between text types, put in by the engine so that a function or several stewards'
    /// columns have one type, is the column itself.
    pub fn without_widening(&self, expr: &Expr) -> Expr {
        if let Expr::Cast(cast) = crate::bind::unalias(expr)
            && let Expr::Column(column) = cast.expr.as_ref()
            && let Some(kind) = self.column_type(column)
            && widens(&kind, cast.field.data_type())
        {
            return Expr::Column(column.clone());
        }
        crate::bind::unalias(expr).clone()
    }

    /// The same of whatever an aggregate is of, as it was written.
    pub fn as_written(&self, argument: &Expr) -> Expr {
        match crate::bind::unalias(argument) {
            Expr::Cast(cast) if self.type_of(&cast.expr).is_some_and(|kind| widens(&kind, cast.field.data_type())) => {
                cast.expr.as_ref().clone()
            }
            other => other.clone(),
        }
    }

    /// The type of a table's column.
    fn column_type(&self, column: &Column) -> Option<DataType> {
        self.tables.values().find_map(|schema| {
            let index = schema.index_of_column(column).ok()?;
            Some(schema.field(index).data_type().clone())
        })
    }

    /// The type of an expression over the tables' columns.
    fn type_of(&self, expr: &Expr) -> Option<DataType> {
        match expr {
            Expr::Column(column) => self.column_type(column),
            other => other.get_type(&self.schema().ok()?).ok(),
        }
    }

    /// The key of a pair that tells no more than the key: the steward is that of the key's own row, so that its name is there
    /// whenever the key is. Beside a key of the rows that a left join keeps, that of the table which it fills up would say
    /// whether something matched.
    pub(super) fn paired_key<'a>(&self, expr: &'a Expr) -> Option<&'a Expr> {
        let key = paired_key(expr)?;
        let table = self.table_of(key.try_as_col()?);
        let own = |steward: &Column| table.is_some() && self.table_of(steward) == table;
        let mut stewards = expr.column_refs().into_iter().filter(|column| is_steward(column));
        stewards.all(|steward| self.names_steward(steward) || own(steward)).then_some(key)
    }

    /// Every column that predicates and lists touched.
    pub fn touched(&self) -> Vec<Column> {
        self.touched_by(&self.predicates).into_iter().chain(self.lists.iter().flatten().cloned()).collect()
    }

    /// The columns of these predicates, but for stewards' names.
    fn touched_by<'a>(&self, predicates: impl IntoIterator<Item = &'a Expr>) -> Vec<Column> {
        let columns: BTreeSet<&Column> = predicates.into_iter().flat_map(Expr::column_refs).collect();
        let own = |column: &&&Column| !self.names_steward(column) && !self.scalars.contains_key(**column);
        columns.iter().filter(own).map(|column| (*column).clone()).collect()
    }
}

/// The key of `CASE WHEN key IS NOT NULL THEN concat(steward, '/', key) END`, which tells keys of several stewards apart and
/// nothing else. Counting different pairs is counting different keys; any other function of the pair is not that of the key.
/// That is so where the name is there whenever the key is, which a relation knows.
pub(crate) fn paired_key(expr: &Expr) -> Option<&Expr> {
    let Expr::Case(case) = expr else { return None };
    let ([(when, then)], None, None) = (case.when_then_expr.as_slice(), &case.expr, &case.else_expr) else {
        return None;
    };
    let (Expr::IsNotNull(key), Expr::ScalarFunction(call)) = (when.as_ref(), then.as_ref()) else { return None };
    let (paired, stewards) = call.args.split_last()?;
    let paired = match paired {
        Expr::Cast(cast) if cast.field.data_type().is_string() => cast.expr.as_ref(),
        other => other,
    };
    let steward = |part: &Expr| match part {
        Expr::Column(column) => is_steward(column),
        Expr::Literal(value, _) => value.data_type().is_string(),
        _ => false,
    };
    let pair = call.name() == "concat" && paired == key.as_ref() && matches!(paired, Expr::Column(_));
    (pair && stewards.iter().all(steward)).then_some(paired)
}

/// The SHIP PARTIALS clause of an agreement that lets partials of a RELEASE clause be at a place.
pub fn shipped_partials(agreement: &Agreement, of: u32, at: &dyn Fn(&[PlaceRef]) -> bool) -> Covered {
    let mut reasons = Vec::new();
    for numbered in &agreement.clauses {
        let Clause::Ship(ship) = &numbered.clause else { continue };
        let ShipWhat::Partials { of: reference } = &ship.what else { continue };
        let covered = agreement.clause(reference).is_some_and(|clause| clause.number == of);
        if covered && at(&ship.to) {
            return Ok(numbered.number);
        }
        let reason = if covered { "it names another place" } else { "it is about another clause" };
        reasons.extend(named(agreement, numbered, vec![reason.into()]));
    }
    if reasons.is_empty() {
        reasons.push(format!("agreement `{}` has no SHIP PARTIALS", agreement.name));
    }
    Err(reasons)
}

/// Reasons that one clause gives, as they are told.
pub(super) fn named(agreement: &Agreement, clause: &NumberedClause, reasons: Vec<String>) -> Vec<String> {
    let clause = in_clause(agreement, clause);
    reasons.into_iter().map(|reason| format!("{clause}: {reason}")).collect()
}

/// A clause as reasons name it.
pub(crate) fn in_clause(agreement: &Agreement, clause: &NumberedClause) -> String {
    format!("agreement `{}`, clause {}", agreement.name, clause.number)
}

/// The pair in a fixed order, so that `a = b` and `b = a` are one.
pub fn ordered(one: Column, other: Column) -> (Column, Column) {
    if one <= other { (one, other) } else { (other, one) }
}

/// Whether a column says whose row it is.
pub fn is_steward(column: &Column) -> bool {
    column.name == STEWARD
}

/// The conjuncts of a predicate.
pub fn split(predicate: &Expr) -> Vec<Expr> {
    datafusion::logical_expr::utils::split_conjunction(predicate)
        .into_iter()
        .map(crate::bind::unalias)
        .cloned()
        .collect()
}

/// What a predicate may touch to be one that tells nothing but its outcome.
struct LeakProof<'a> {
    /// Columns that may be compared with literals.
    with_literal: &'a dyn Fn(&Column) -> bool,
    /// Columns that may be compared with each other.
    with_column: &'a dyn Fn(&Column) -> bool,
    /// Other expressions that may be compared with literals, or, if they are conditions, stand by themselves.
    as_written: &'a dyn Fn(&Expr) -> bool,
    /// The type of an expression over the tables' columns.
    kind_of: &'a dyn Fn(&Expr) -> Option<DataType>,
    /// The type of a released value, which is as good as a literal; none of anything else.
    released: &'a dyn Fn(&Expr) -> Option<DataType>,
}

impl LeakProof<'_> {
    /// Whether a predicate is made only of comparisons that cannot fail or tell more than their outcome: allowed columns
    /// with literals, with each other, IN, BETWEEN, `IS NULL`, `IS NOT NULL`, and AND, OR, NOT of these.
    fn covers(&self, predicate: &Expr) -> bool {
        if (self.as_written)(predicate) {
            return self.is_condition(predicate);
        }
        match predicate {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
                self.covers(left) && self.covers(right)
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => self.comparable(left, right),
            // Of an empty list nothing would be compared, whatever the expression is.
            Expr::InList(InList { expr, list, .. }) => {
                !list.is_empty() && list.iter().all(|value| self.with_literal(expr, value))
            }
            Expr::Between(Between { expr, low, high, .. }) => {
                self.with_literal(expr, low) && self.with_literal(expr, high)
            }
            Expr::IsNull(expr) | Expr::IsNotNull(expr) => {
                (self.as_written)(expr) || matches!(expr.as_ref(), Expr::Column(column) if (self.with_literal)(column))
            }
            Expr::Not(expr) | Expr::IsTrue(expr) => self.covers(expr),
            Expr::Column(one) => (self.with_literal)(one) && self.is_condition(predicate),
            Expr::Literal(..) => true,
            _ => false,
        }
    }

    fn comparable(&self, left: &Expr, right: &Expr) -> bool {
        match (left, right) {
            (value, other) | (other, value) if (self.released)(value).is_some() => self.with_literal(other, value),
            (Expr::Column(one), Expr::Column(other)) => {
                let alike = self.kind(right).is_some_and(|kind| self.compares(left, &kind));
                (self.with_column)(one) && (self.with_column)(other) && alike
            }
            (Expr::Literal(..), Expr::Literal(..)) => true,
            _ => self.with_literal(left, right) || self.with_literal(right, left),
        }
    }

    /// A column and a literal that it may be compared with.
    fn with_literal(&self, column: &Expr, literal: &Expr) -> bool {
        if let Some(kind) = (self.released)(literal) {
            return self.with_value(column, &kind);
        }
        let Expr::Literal(value, _) = literal else { return false };
        let allowed = match column {
            Expr::Column(name) => (self.with_literal)(name),
            other => self.in_ranges(other).is_some_and(self.with_literal),
        };
        (allowed || (self.as_written)(column)) && self.compares(column, &value.data_type())
    }

    /// The column whose values are in one range for each value of this function of it, so that who compares the one with literals
    /// has compared the other: years of dates, and whole numbers below doubles.
    fn in_ranges<'e>(&self, expr: &'e Expr) -> Option<&'e Column> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let of = match (call.name(), call.args.as_slice()) {
            ("date_part", [Expr::Literal(unit, _), of]) => {
                let is_year = unit.try_as_str().flatten().is_some_and(|unit| unit.eq_ignore_ascii_case("year"));
                let kind = self.kind(of).filter(|_| is_year)?;
                matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)).then_some(of)?
            }
            ("floor", [of]) => self.kind(of).is_some_and(|kind| kind.is_floating()).then_some(of)?,
            _ => return None,
        };
        of.try_as_col()
    }

    /// A column, which the engine may have widened for the comparison, and a released value of this type.
    fn with_value(&self, column: &Expr, kind: &DataType) -> bool {
        if let Some(other) = (self.released)(column) {
            return compares_without_errors(&other, kind);
        }
        let (column, widened) = match column {
            Expr::Cast(cast) => (cast.expr.as_ref(), Some(cast.field.data_type())),
            other => (other, None),
        };
        let (Expr::Column(name), Some(own)) = (column, self.kind(column)) else { return false };
        let safe = widened.is_none_or(|wider| widens(&own, wider));
        (self.with_literal)(name) && safe && compares_without_errors(widened.unwrap_or(&own), kind)
    }

    /// Whether the engine compares an expression with values of a type as they are, or casts them in a way that never fails.
    fn compares(&self, expr: &Expr, kind: &DataType) -> bool {
        self.kind(expr).is_some_and(|own| compares_without_errors(&own, kind))
    }

    /// The engine makes conditions of texts and numbers, and fails on some of them.
    fn is_condition(&self, expr: &Expr) -> bool {
        (self.kind_of)(expr) == Some(DataType::Boolean)
    }

    /// The type of an expression. The steward's name is a text, also where it is no column.
    fn kind(&self, expr: &Expr) -> Option<DataType> {
        match expr {
            Expr::Column(column) if is_steward(column) => Some(DataType::Utf8),
            other => (self.kind_of)(other),
        }
    }
}

/// Whether every value of one type is the same value of the other: such a cast neither fails nor makes values equal. A
/// narrowing cast is a function of the column like any other, and its errors would tell of values.
fn widens(from: &DataType, to: &DataType) -> bool {
    if from.is_string() && to.is_string() {
        return true;
    }
    match (from, to) {
        (DataType::Decimal128(precision, scale), DataType::Decimal128(wider, finer)) => {
            let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
            // The engine does not ask for more digits than it can average; a question that does wants the average to fail.
            finer >= scale && whole(*wider, *finer) >= whole(*precision, *scale) && *wider <= AVERAGED_DIGITS_MAX
        }
        (DataType::Float32, DataType::Float64) => true,
        // The engine itself averages 64-bit integers as doubles; it rounds and never fails.
        (from, DataType::Float64) => from.is_integer(),
        (from, to) if from.is_integer() && to.is_integer() => {
            let wider = from.primitive_width() < to.primitive_width();
            from == to || (wider && (from.is_unsigned_integer() || to.is_signed_integer()))
        }
        _ => false,
    }
}

fn is_comparison(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

/// The columns that an expression depends on.
pub fn columns_of(expr: &Expr) -> Vec<Column> {
    let mut columns = Vec::new();
    let visited = expr.apply(|node| {
        if let Expr::Column(column) = node {
            columns.push(column.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor does not fail");
    columns
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
