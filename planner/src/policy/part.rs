//! One steward's own part of a relation in which rows of several stewards are joined: its tables, joins and predicates, the
//! keys and values that are made of its columns, and with whom it is joined by which of its keys. Each agreement is asked
//! about its own part only, and each must have a JOIN clause that lets the others in.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::execution::SessionState;
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::joining::Filled;
use super::matching::{Asked, Covered, RelationShape, columns_of, split};
use super::view::concerns;
use super::{Agreement, Clause, JoinClause, JoinPartner};
use crate::catalog::TableName;
use crate::function::IS_REMAINDER;

/// Whose rows a steward's rows are joined with, and by which columns of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// The stewards on the other side.
    pub stewards: BTreeSet<SiteId>,
    /// Their tables in it.
    pub tables: BTreeSet<TableName>,
    /// The own columns that are equal to columns of the other side.
    pub keys: BTreeSet<Column>,
}

/// What a query asks of one steward's own part.
struct Question {
    keys: Vec<Expr>,
    asked: Vec<Asked>,
    /// Conditions on own rows under which they enter values of others. They keep no row out of own values, so that they are no
    /// condition that a clause wants stated.
    beside: Vec<Expr>,
}

/// Whose columns an expression has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Only own ones, or none at all.
    Own,
    /// Only those of others.
    Others,
    /// Both.
    Mixed,
}

impl RelationShape {
    /// The part over these tables: what is done to them alone. A predicate over columns of both sides is in nobody's part.
    pub fn part_over(&self, own: &BTreeSet<TableName>) -> Result<Self, String> {
        let tables = self.tables.iter().filter(|(name, _)| own.contains(*name));
        let mut part =
            Self { tables: tables.map(|(name, schema)| (name.clone(), schema.clone())).collect(), ..Self::default() };
        part.scalars = self.scalars.clone();
        let ours = |column: &Column| part.table_of(column).is_some();
        let joins = self.joins.iter().filter(|(one, other)| ours(one) && ours(other)).cloned().collect();
        let mut predicates = Vec::new();
        for predicate in &self.predicates {
            match part.whose(predicate) {
                Whose::Own => predicates.push(predicate.clone()),
                Whose::Others => {}
                Whose::Mixed => {
                    return Err(format!("the predicate `{predicate}` compares columns of several stewards"));
                }
            }
        }
        // Rows of several stewards are joined by inner joins only.
        let filled = self.filled.iter().filter(|(table, _)| own.contains(*table));
        let filled: Filled = filled.map(|(table, keys)| (table.clone(), keys.clone())).collect();
        if !filled.values().flatten().all(|(kept, own)| ours(kept) && ours(own)) {
            return Err("rows of several stewards are joined by a left join".into());
        }
        // A list compares columns of one side; the sides see to that.
        let lists = self.lists.iter().filter(|columns| columns.iter().all(ours)).cloned().collect();
        part.joins = joins;
        part.filled = filled;
        part.predicates = predicates;
        part.lists = lists;
        Ok(part)
    }

    /// The RELEASE clause of an agreement that covers the own part of these keys and values, where the rows may be joined
    /// with those partners. The whole question is the own part where there are none.
    pub fn released_part(
        &self,
        agreement: &Agreement,
        partners: &[Partner],
        keys: &[Expr],
        asked: &[Asked],
        only: Option<u32>,
        state: &SessionState,
    ) -> Covered {
        if partners.is_empty() {
            return self.released_aggregates(agreement, keys, asked, only, state);
        }
        let mut reasons: Vec<String> =
            partners.iter().flat_map(|partner| self.refused_partner(agreement, partner)).collect();
        let question = match self.own_question(keys, asked) {
            Ok(question) => question,
            Err(reason) => return Err(reasons.into_iter().chain([reason]).collect()),
        };
        let Question { keys, asked, beside } = question;
        reasons.extend(self.refused_beside(agreement, &beside, state));
        match self.released_aggregates(agreement, &keys, &asked, only, state) {
            Ok(clause) if reasons.is_empty() => Ok(clause),
            Ok(_) => Err(reasons),
            Err(more) => {
                reasons.extend(more);
                Err(reasons)
            }
        }
    }

    /// Why rows of this relation may not be joined with those of a partner: each of its stewards and tables needs a JOIN
    /// clause with exactly the keys that are used.
    fn refused_partner(&self, agreement: &Agreement, partner: &Partner) -> Vec<String> {
        let names: Vec<String> = partner.keys.iter().map(|key| key.name.clone()).collect();
        let refused = partner.stewards.iter().filter(|steward| self.joining(agreement, partner, steward).is_none());
        let reason = |steward: &SiteId| {
            let on =
                if names.is_empty() { "no key of its own".to_owned() } else { format!("`{}`", names.join("`, `")) };
            format!(
                "agreement `{}` has no JOIN clause that lets its rows be joined with `{steward}` on {on}",
                agreement.name
            )
        };
        refused.map(reason).collect()
    }

    /// The JOIN clauses that let rows be joined with what a partner's steward has in the relation, on its keys.
    fn joining(&self, agreement: &Agreement, partner: &Partner, steward: &SiteId) -> Option<BTreeSet<u32>> {
        let used: BTreeSet<Column> = partner.keys.iter().cloned().map(|key| self.first_equal(key)).collect();
        let clause_for = |table: &TableName| {
            let clause = agreement.clauses.iter().find(|clause| {
                let Clause::Join(join) = &clause.clause else { return false };
                let with = match &join.with {
                    JoinPartner::Site(site) => site == steward.as_str(),
                    JoinPartner::Table(named) => concerns(Some(named), table),
                    JoinPartner::Any => true,
                    JoinPartner::Requester => false,
                };
                with && !used.is_empty() && self.join_keys(join).as_ref() == Some(&used)
            });
            clause.map(|clause| clause.number)
        };
        partner.tables.iter().map(clause_for).collect()
    }

    /// The JOIN clauses by which rows are joined with these partners and compared with lists of the requester, each once.
    pub(super) fn joining_clauses(&self, agreement: &Agreement, partners: &[Partner]) -> BTreeSet<u32> {
        let with_stewards = partners.iter().flat_map(|partner| {
            partner.stewards.iter().filter_map(|steward| self.joining(agreement, partner, steward)).flatten()
        });
        let with_lists = self.lists.iter().filter_map(|columns| self.listing_clause(agreement, columns));
        with_stewards.chain(with_lists).collect()
    }

    /// The columns that a JOIN clause names; none if one of them is not here.
    pub(super) fn join_keys(&self, join: &JoinClause) -> Option<BTreeSet<Column>> {
        join.keys.iter().map(|key| Some(self.first_equal(self.own_column(key)?))).collect()
    }

    /// The first of the columns that the own joins make equal to this one: any of them may stand for all.
    pub(super) fn first_equal(&self, column: Column) -> Column {
        let mut class = BTreeSet::from([column]);
        loop {
            let before = class.len();
            for (one, other) in &self.joins {
                if class.contains(one) || class.contains(other) {
                    class.extend([one.clone(), other.clone()]);
                }
            }
            if class.len() == before {
                return class.into_iter().next().unwrap_or_else(|| Column::from_name(""));
            }
        }
    }

    /// What is asked of the own part: keys and values over own columns, and `count(*)` where the answer has none of them,
    /// since it still tells how many rows there are.
    fn own_question(&self, keys: &[Expr], asked: &[Asked]) -> Result<Question, String> {
        let mixed = |expr: &Expr| format!("`{expr}` is made of columns of several stewards");
        let mut question = Question { keys: Vec::new(), asked: Vec::new(), beside: Vec::new() };
        for key in keys {
            match self.whose(key) {
                Whose::Own => question.keys.push(key.clone()),
                Whose::Others => {}
                Whose::Mixed => return Err(mixed(key)),
            }
        }
        for value in asked {
            let mut own_filter: Option<Expr> = None;
            for part in value.filter.iter().flat_map(split) {
                match self.whose(&part) {
                    Whose::Own => {
                        own_filter = Some(own_filter.map_or_else(|| part.clone(), |have| have.and(part.clone())))
                    }
                    Whose::Others => {}
                    Whose::Mixed => return Err(mixed(&part)),
                }
            }
            match value.argument.as_ref().map(|argument| (argument, self.whose(argument))) {
                None | Some((_, Whose::Own)) => question.asked.push(Asked { filter: own_filter, ..value.clone() }),
                // Which own rows enter another's value is a condition on them.
                Some((_, Whose::Others)) => question.beside.extend(own_filter.iter().flat_map(split)),
                Some((argument, Whose::Mixed)) => return Err(mixed(argument)),
            }
        }
        let own = |expr: &Expr| columns_of(expr).iter().any(|column| !self.names_steward(column));
        let counted = question.asked.iter().any(|value| value.argument.is_none() && value.function != IS_REMAINDER);
        let shown =
            question.keys.iter().chain(question.asked.iter().filter_map(|value| value.argument.as_ref())).any(own);
        if !shown && !counted {
            question.asked.push(Asked { function: "count".into(), distinct: false, argument: None, filter: None });
        }
        Ok(question)
    }

    fn whose(&self, expr: &Expr) -> Whose {
        let mut columns = columns_of(expr);
        columns.retain(|column| !self.scalars.contains_key(column));
        let own = columns.iter().filter(|column| self.table_of(column).is_some()).count();
        match own {
            own if own == columns.len() => Whose::Own,
            0 => Whose::Others,
            _ => Whose::Mixed,
        }
    }

    /// An expression over own columns or those of others; `None` if it is over both.
    pub(super) fn is_own(&self, expr: &Expr) -> Option<bool> {
        match self.whose(expr) {
            Whose::Own => Some(true),
            Whose::Others => Some(false),
            Whose::Mixed => None,
        }
    }
}
