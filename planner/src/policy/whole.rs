//! Groups that several stewards' rows are decided in together are of *all* stewards of a federated table, and of the same rows
//! of each. Else what is missing could be subtracted from what all of them have together, so each steward decides by itself.
//! Who the stewards of a table are, each steward's site knows from its own configuration, never from the graph.

use std::collections::{BTreeSet, HashSet};

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::prelude::{Expr, lit};
use dynamos_proto::ids::SiteId;

use super::check::Check;
use super::flow::Protected;
use super::lists::ComparedList;
use super::matching::is_steward;
use crate::bind::fulfils;
use crate::catalog::TableName;
use crate::fragment::ReleasePoint;
use crate::function::KeyDomain;

impl Check<'_> {
    /// Whether the rows of these stewards, one below the other, are all that the federated tables have, under the same
    /// conditions. `rows` are those of a steward that the checking place answers for, under a minimum.
    pub(super) fn of_all_stewards(
        &self,
        point: &ReleasePoint,
        rows: &Protected,
        stewards: &BTreeSet<&SiteId>,
    ) -> Result<(), String> {
        for table in rows.relation.tables.keys() {
            let Some(all) = (self.input.federated)(&rows.steward, table) else {
                return Err(format!(
                    "release point {} decides together about rows of several stewards, but `{}` does not say of `{table}` who \
                     its stewards are",
                    point.id, rows.steward
                ));
            };
            if all.iter().collect::<BTreeSet<_>>() != *stewards {
                return Err(format!(
                    "release point {} decides together about {}, but the stewards of `{table}` are {}; each decides by itself \
                     about a part of them (PER SITE)",
                    point.id,
                    names(stewards.iter().copied()),
                    names(&all)
                ));
            }
        }
        if rows.lists.iter().any(|list| list.sent) || !rows.relation.scalars.is_empty() {
            return Err(format!(
                "release point {} decides together about rows of several stewards that released data keep or drop, which each \
                 of them is sent by itself; each decides by itself about those (PER SITE)",
                point.id
            ));
        }
        let shapes = Check { shapes: true, ..self.clone() };
        let input = shapes.release_input(point, &mut Vec::new()).map_err(|refusal| refusal.reason)?;
        let theirs = input.protected.iter().filter(|other| stewards.contains(&other.steward));
        let own = conditions(point, rows);
        for other in theirs {
            let theirs = conditions(point, other);
            if theirs.lists != own.lists {
                return Err(format!(
                    "release point {} compares rows of `{}` and `{}` with other lists",
                    point.id, rows.steward, other.steward
                ));
            }
            if theirs != own {
                return Err(format!(
                    "release point {} decides together about rows of `{}` and `{}` that are not under the same conditions or not \
                     grouped by the same; each decides by itself about those (PER SITE)",
                    point.id, rows.steward, other.steward
                ));
            }
        }
        Ok(())
    }
}

fn names<'a>(stewards: impl IntoIterator<Item = &'a SiteId>) -> String {
    stewards.into_iter().map(|steward| format!("`{steward}`")).collect::<Vec<_>>().join(", ")
}

/// What keeps rows out of a release point, or out of one of its values or groups. Compared as expressions, never as texts: a
/// literal can have the text of a condition.
#[derive(PartialEq)]
struct Conditions<'a> {
    tables: BTreeSet<&'a TableName>,
    rows: HashSet<Expr>,
    /// By value.
    values: Vec<Option<Expr>>,
    /// Keys, what enters each value, and whose it is: a constant, or another column, would take rows out of where they belong.
    given: Vec<Option<Expr>>,
    lists: Vec<&'a ComparedList>,
}

fn conditions<'a>(point: &ReleasePoint, rows: &'a Protected) -> Conditions<'a> {
    // What is about the steward's name alone and holds for this one keeps none of its rows out.
    let is_name = |column: &Column| rows.relation.names_steward(column);
    let keeps_out = |condition: &&Expr| fulfils(&rows.steward, condition, &is_name) != Some(true);
    let column = |index: usize| rows.columns.get(index).filter(keeps_out).map(bare);
    let arguments = point.shape.aggregates.iter().filter_map(|value| value.argument);
    let given = (0..point.shape.keys).chain(arguments).chain(point.shape.entities.iter().map(|entity| entity.column));
    Conditions {
        tables: rows.relation.tables.keys().collect(),
        rows: rows.relation.predicates.iter().filter(keeps_out).map(bare).collect(),
        values: point.shape.aggregates.iter().map(|value| value.filter.and_then(column)).collect(),
        given: given.map(|index| rows.columns.get(index).map(|column| nameless(column, &rows.steward))).collect(),
        lists: rows.lists.iter().collect(),
    }
}

/// An expression without what differs where stewards have columns of different types: widening, and the types of literals.
pub(super) fn bare(expr: &Expr) -> Expr {
    let plain = expr.clone().transform_up(|node| {
        Ok(match node {
            Expr::Cast(cast) => Transformed::yes(*cast.expr),
            Expr::Alias(alias) => Transformed::yes(*alias.expr),
            Expr::Literal(value, _) => Transformed::yes(Expr::Literal(untyped(&value), None)),
            other => Transformed::no(other),
        })
    });
    plain.map_or_else(|_| expr.clone(), |plain| plain.data)
}

/// A column without the name of the steward whose rows have it: as a column of theirs, beside a key that is local to it, and as
/// the domain of such a key.
fn nameless(column: &Expr, steward: &SiteId) -> Expr {
    let domain = KeyDomain::Local(steward.clone()).to_string();
    let nameless = column.clone().transform_up(|node| {
        Ok(match &node {
            Expr::Column(column) if is_steward(column) => Transformed::yes(lit(ITS_STEWARD)),
            Expr::Literal(value, _)
                if value.try_as_str().flatten().is_some_and(|text| text == steward.as_str() || text == domain) =>
            {
                Transformed::yes(lit(ITS_STEWARD))
            }
            _ => Transformed::no(node),
        })
    });
    nameless.map_or_else(|_| bare(column), |nameless| bare(&nameless.data))
}

/// Stands for a steward's name. No steward is called so.
const ITS_STEWARD: &str = "its steward";

fn untyped(value: &ScalarValue) -> ScalarValue {
    if value.is_null() { ScalarValue::Null } else { ScalarValue::Utf8(Some(value.to_string())) }
}
