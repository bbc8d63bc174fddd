//! Groups that several stewards' rows are decided in together are of *all* stewards of a federated table, and of the same rows
//! of each. Else what is missing could be subtracted from what all of them have together, so each steward decides by itself.
//! Who the stewards of a table are, each steward's site knows from its own configuration, never from the graph.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::prelude::{Expr, lit};
use dynamos_proto::ids::SiteId;

use super::check::Check;
use super::flow::Protected;
use super::lists::is_list_kind;
use super::matching::is_steward;
use crate::bind::fulfils;
use crate::catalog::TableName;
use crate::fragment::{ReleaseInput, ReleasePoint};
use crate::function::KeyDomain;
use crate::wire::Leaf;

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
                    "release point {} decides together about rows of `{}` and `{}` that are not under the same conditions or not \
                     grouped by the same; each decides by itself about those (PER SITE)",
                    point.id, rows.steward, other.steward
                ));
            }
        }
        Ok(())
    }
}

/// By steward, the lists that its rows are compared with on their way to a release point.
type Lists = BTreeMap<SiteId, BTreeSet<String>>;

impl Check<'_> {
    /// Whether the lists of the requester that rows are compared with are the same for all these stewards.
    fn lists_alike(&self, point: &ReleasePoint, own: &SiteId, stewards: &BTreeSet<&SiteId>) -> Result<(), String> {
        let mut found = Lists::new();
        match &point.input {
            ReleaseInput::Complete(rows) => self.lists_above(rows, &BTreeSet::new(), 0, &mut found)?,
            ReleaseInput::Merge(senders) => {
                for sender in senders.iter().filter_map(|id| self.graph.fragment(*id)) {
                    self.lists_above(&sender.plan, &BTreeSet::new(), 0, &mut found)?;
                }
            }
        }
        let of_own = found.get(own);
        match stewards.iter().find(|steward| found.get(**steward) != of_own) {
            Some(other) => {
                Err(format!("release point {} compares rows of `{own}` and `{other}` with other lists", point.id))
            }
            None => Ok(()),
        }
    }

    /// Adds the lists that stand above each steward's tables: these, and those in the plan and in what it reads.
    fn lists_above(
        &self,
        plan: &LogicalPlan,
        above: &BTreeSet<String>,
        deep: usize,
        found: &mut Lists,
    ) -> Result<(), String> {
        // A graph that goes in circles is refused elsewhere, but this must end all the same.
        if deep > self.graph.fragments.len() {
            return Err("fragments read each other in a circle".into());
        }
        match plan {
            LogicalPlan::TableScan(scan) => {
                match Leaf::from_reference(&scan.table_name) {
                    Some(Leaf::Table { site, .. }) => found.entry(site).or_default().extend(above.iter().cloned()),
                    Some(Leaf::Exchange(id)) => {
                        if let Some(sender) = self.graph.fragment(id) {
                            self.lists_above(&sender.plan, above, deep + 1, found)?;
                        }
                    }
                    Some(Leaf::Release(_)) | None => {}
                }
                Ok(())
            }
            LogicalPlan::Join(join) if is_list_kind(join.join_type) => {
                let with = above.iter().cloned().chain([list_of(join)]).collect();
                self.lists_above(&join.left, &with, deep, found)
            }
            other => other.inputs().into_iter().try_for_each(|input| self.lists_above(input, above, deep, found)),
        }
    }
}

/// What stands in a list that rows are compared with, and whether it keeps or drops them.
fn list_of(join: &Join) -> String {
    let mut list = join.join_type.to_string();
    let walked = join.right.apply(|part| {
        list += "; ";
        match part {
            LogicalPlan::Values(values) => list.extend(values.values.iter().flatten().map(|value| text(value) + ",")),
            LogicalPlan::Filter(filter) => list += &text(&filter.predicate),
            // What stewards' columns of different types are compared with is cast differently.
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {}
            other => list += &other.display().to_string(),
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "the visitor does not fail");
    list
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
