//! Groups that several stewards' rows are decided in together are of *all* stewards of a federated table, and of the same rows
//! of each. Else what is missing could be subtracted from what all of them have together, so each steward decides by itself.
//! Who the stewards of a table are, each steward's site knows from its own configuration, never from the graph.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::check::Check;
use super::flow::Protected;
use super::matching::is_steward;
use crate::bind::fulfils;
use crate::catalog::TableName;
use crate::fragment::ReleasePoint;

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
        let shapes = Check { shapes: true, ..self.clone() };
        let input = shapes.release_input(point, &mut Vec::new()).map_err(|refusal| refusal.reason)?;
        let theirs = input.protected.iter().filter(|other| stewards.contains(&other.steward));
        let own = conditions(point, rows);
        for other in theirs {
            if conditions(point, other) != own {
                return Err(format!(
                    "release point {} decides together about rows of `{}` and `{}` that are not under the same conditions; each \
                     decides by itself about those (PER SITE)",
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

/// What keeps rows out of a release point, or out of one of its values.
#[derive(PartialEq, Eq)]
struct Conditions {
    tables: BTreeSet<TableName>,
    rows: BTreeSet<String>,
    /// By value.
    values: Vec<Option<String>>,
    /// Columns that are compared with lists.
    lists: BTreeSet<BTreeSet<String>>,
}

fn conditions(point: &ReleasePoint, rows: &Protected) -> Conditions {
    // What is about the steward's name alone and holds for this one keeps none of its rows out.
    let keeps_out = |condition: &&Expr| fulfils(&rows.steward, condition, &is_steward) != Some(true);
    let column = |index: usize| rows.columns.get(index).filter(keeps_out).map(text);
    let names = |list: &BTreeSet<datafusion::common::Column>| list.iter().map(|column| column.flat_name()).collect();
    Conditions {
        tables: rows.relation.tables.keys().cloned().collect(),
        rows: rows.relation.predicates.iter().filter(keeps_out).map(text).collect(),
        values: point.shape.aggregates.iter().map(|value| value.filter.and_then(column)).collect(),
        lists: rows.relation.lists.iter().map(names).collect(),
    }
}

/// A condition without what differs where stewards have columns of different types: widening, and the types of literals.
fn text(condition: &Expr) -> String {
    let plain = condition.clone().transform_up(|node| {
        Ok(match node {
            Expr::Cast(cast) => Transformed::yes(*cast.expr),
            Expr::Literal(value, _) => Transformed::yes(Expr::Literal(untyped(&value), None)),
            other => Transformed::no(other),
        })
    });
    plain.map_or_else(|_| condition.to_string(), |plain| plain.data.to_string())
}

fn untyped(value: &ScalarValue) -> ScalarValue {
    if value.is_null() { ScalarValue::Null } else { ScalarValue::Utf8(Some(value.to_string())) }
}
