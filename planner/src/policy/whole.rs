//! Groups that several stewards' rows are decided in together are of *all* stewards of a federated table, and of the same rows
//! of each. Else what is missing could be subtracted from what all of them have together, so each steward decides by itself.
//! Who the stewards of a table are, each steward's site knows from its own configuration, never from the graph.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{Expr, lit};
use dynamos_proto::ids::SiteId;

use super::check::Check;
use super::flow::Protected;
use super::lists::is_list_kind;
use super::matching::is_steward;
use crate::bind::fulfils;
use crate::catalog::TableName;
use crate::fragment::{Fragment, ReleaseInput, ReleasePoint};
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
        self.lists_alike(point, &rows.steward, stewards)?;
        let shapes = Check { shapes: true, ..self.clone() };
        let input = shapes.release_input(point, &mut Vec::new()).map_err(|refusal| refusal.reason)?;
        let theirs = input.protected.iter().filter(|other| stewards.contains(&other.steward));
        let own = conditions(point, rows);
        for other in theirs {
            if conditions(point, other) != own {
                return Err(format!(
                    "release point {} decides together about rows of `{}` and `{}` that are not under the same conditions or not grouped by the same; each \
                     decides by itself about those (PER SITE)",
                    point.id, rows.steward, other.steward
                ));
            }
        }
        Ok(())
    }
}

impl Check<'_> {
    /// Whether the lists of the requester that rows are compared with are the same for all these stewards: where each is at home,
    /// and, where their rows are brought together, behind that only.
    fn lists_alike(&self, point: &ReleasePoint, own: &SiteId, stewards: &BTreeSet<&SiteId>) -> Result<(), String> {
        let lists_at = |steward: &SiteId| {
            let parts = self.graph.at(steward).filter(|part| self.feeds(part, point));
            parts.flat_map(|part| lists(&part.plan)).collect::<BTreeSet<_>>()
        };
        let of_own = lists_at(own);
        if let Some(other) = stewards.iter().find(|steward| lists_at(steward) != of_own) {
            return Err(format!("release point {} compares rows of `{own}` and `{other}` with other lists", point.id));
        }
        let ReleaseInput::Complete(rows) = &point.input else { return Ok(()) };
        let mut in_part = false;
        let walked = rows.apply(|node| {
            if let LogicalPlan::Union(union) = node {
                in_part |= union.inputs.iter().any(|input| !lists(input).is_empty());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(|error| error.strip_backtrace())?;
        if in_part {
            return Err(format!("release point {} compares rows of some stewards only with a list", point.id));
        }
        Ok(())
    }

    /// Whether what a fragment gives comes to a release point, directly or not.
    fn feeds(&self, fragment: &Fragment, point: &ReleasePoint) -> bool {
        let mut next = Some(fragment);
        // A graph that goes in circles is refused elsewhere, but this must end all the same.
        for _ in &self.graph.fragments {
            match next {
                Some(part) if part.id == point.fragment || part.partial_of == Some(point.id) => return true,
                Some(part) => next = part.consumer.and_then(|reader| self.graph.fragment(reader)),
                None => return false,
            }
        }
        false
    }
}

/// What stands in each list that rows of a plan are compared with, and whether it keeps or drops them.
fn lists(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let walked = plan.apply(|node| {
        if let LogicalPlan::Join(join) = node
            && is_list_kind(join.join_type)
        {
            let mut list = join.join_type.to_string();
            join.right.apply(|part| {
                list += "; ";
                match part {
                    LogicalPlan::Values(values) => {
                        list.extend(values.values.iter().flatten().map(|value| text(value) + ","))
                    }
                    LogicalPlan::Filter(filter) => list += &text(&filter.predicate),
                    // What stewards' columns of different types are compared with is cast differently.
                    LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {}
                    other => list += &other.display().to_string(),
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
            found.insert(list);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the visitor does not fail");
    found
}

fn names<'a>(stewards: impl IntoIterator<Item = &'a SiteId>) -> String {
    stewards.into_iter().map(|steward| format!("`{steward}`")).collect::<Vec<_>>().join(", ")
}

/// What keeps rows out of a release point, or out of one of its values or groups.
#[derive(PartialEq, Eq)]
struct Conditions {
    tables: BTreeSet<TableName>,
    rows: BTreeSet<String>,
    /// By value.
    values: Vec<Option<String>>,
    /// Keys, what enters each value, and whose it is: a constant, or another column, would take rows out of where they belong.
    given: Vec<Option<String>>,
    /// Columns that are compared with lists.
    lists: BTreeSet<BTreeSet<String>>,
}

fn conditions(point: &ReleasePoint, rows: &Protected) -> Conditions {
    // What is about the steward's name alone and holds for this one keeps none of its rows out.
    let keeps_out = |condition: &&Expr| fulfils(&rows.steward, condition, &is_steward) != Some(true);
    let column = |index: usize| rows.columns.get(index).filter(keeps_out).map(text);
    let names = |list: &BTreeSet<datafusion::common::Column>| list.iter().map(|column| column.flat_name()).collect();
    let arguments = point.shape.aggregates.iter().filter_map(|value| value.argument);
    let given = (0..point.shape.keys).chain(arguments).chain(point.shape.entities.iter().map(|entity| entity.column));
    Conditions {
        tables: rows.relation.tables.keys().cloned().collect(),
        rows: rows.relation.predicates.iter().filter(keeps_out).map(text).collect(),
        given: given
            .map(|index| rows.columns.get(index).map(|column| text_but_steward(column, &rows.steward)))
            .collect(),
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

/// The text of a column without the name of the steward whose rows have it: as a column of theirs, beside a key that is local to
/// it, and as the domain of such a key.
fn text_but_steward(column: &Expr, steward: &SiteId) -> String {
    let domain = KeyDomain::Local(steward.clone()).to_string();
    let nameless = column.clone().transform_up(|node| {
        Ok(match &node {
            Expr::Column(column) if is_steward(column) => Transformed::yes(lit("its steward")),
            Expr::Literal(value, _)
                if value.try_as_str().flatten().is_some_and(|text| text == steward.as_str() || text == domain) =>
            {
                Transformed::yes(lit("its steward"))
            }
            _ => Transformed::no(node),
        })
    });
    nameless.map_or_else(|_| text(column), |nameless| text(&nameless.data))
}

fn untyped(value: &ScalarValue) -> ScalarValue {
    if value.is_null() { ScalarValue::Null } else { ScalarValue::Utf8(Some(value.to_string())) }
}
