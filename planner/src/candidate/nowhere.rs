//! Why there is no place for what a question needs: of each steward, where its partials and rows may go, and what its SHIP
//! clauses lack. Only together do the stewards' answers say which of them would have to change.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use dynamos_proto::ids::SiteId;

use super::legal::{Legal, rows_may_leave};
use super::placed::Placement;
use crate::policy::matching::shipped_partials;
use crate::policy::release_plan::is_mergeable;
use crate::policy::{
    BroughtPlan, CompliantPlan, HashListing, HeldAgreement, MinimumScope, ProtectedPart, Reader, Reason, brought_in,
};
use crate::wire::{Leaf, LeafTable};

impl Legal<'_> {
    /// Why a plan has no place for everything, in a family of placements.
    pub fn why_nowhere(&self, plan: &CompliantPlan, family: Placement) -> Vec<Reason> {
        let somewhere = |part: &&ProtectedPart| {
            let mut ways = self.releases(part).into_iter();
            ways.any(|(how, place, _)| self.in_family(how, &place, family))
        };
        let mut reasons = Vec::new();
        for part in plan.parts().iter().filter(|part| !somewhere(part)) {
            reasons.extend(part.stewards.iter().flat_map(|steward| self.why_not_sent(part, steward)));
        }
        for side in plan.parts().iter().flat_map(|part| &part.sides) {
            let brought = brought_in(&side.input).into_iter().filter_map(|number| plan.brought().get(number));
            for BroughtPlan { plan: brought, .. } in brought.filter(|one| one.reader == Reader::OfAll) {
                reasons.extend(side.stewards.iter().flat_map(|reader| self.why_not_read(plan, brought, reader)));
            }
        }
        if reasons.is_empty() {
            reasons.extend(scans(plan.plan()).iter().flat_map(|scan| self.where_rows_go(scan)));
        }
        reasons
    }

    /// Where a steward's share of a release point may go.
    fn why_not_sent(&self, part: &ProtectedPart, steward: &SiteId) -> Vec<Reason> {
        let clause = part.clauses.iter().find(|clause| clause.steward == *steward);
        let (Some(held), Some(clause)) = (self.governing.get(steward), clause) else { return Vec::new() };
        let clause = clause.clause;
        let to = |may: &dyn Fn(&SiteId) -> bool| -> BTreeSet<&SiteId> {
            self.candidates().filter(|place| *place != steward && may(place)).collect()
        };
        let mut texts = Vec::new();
        let whole = part.shape.aggregates.iter().find(|value| !is_mergeable(&value.function, value.distinct));
        let what = format!("partials of clause {clause}");
        match whole {
            Some(value) => texts.push(format!("`{}` is of all rows and cannot be merged of partials", value.function)),
            None if part.is_across() => texts.push("rows that are joined have no partials before they meet".to_owned()),
            None => {
                let places = to(&|place| self.partials_at(part, steward, place));
                texts.push(told(held, &what, &places, || {
                    shipped_partials(&held.agreement, clause, &|_| true).err().unwrap_or_default()
                }));
            }
        }
        if part.scope == MinimumScope::Federation {
            let places = to(&|place| self.shipped_of(part, steward, place));
            texts.push(told(held, "rows that it needs", &places, || {
                if !rows_may_leave(&held.agreement) {
                    return vec![format!("agreement `{}`: ARCHETYPES lets no rows leave", held.agreement.name)];
                }
                let Some(side) = part.side_of(steward) else { return Vec::new() };
                let outputs = side.outputs();
                let shipped =
                    side.relation.shipped_rows(&held.agreement, outputs, &|_| true, HashListing::Hash, self.state);
                shipped.err().unwrap_or_default()
            }));
        }
        texts.into_iter().map(|text| Reason { steward: Some(steward.clone()), text }).collect()
    }

    /// Why released data cannot be read below a release point at a steward.
    fn why_not_read(&self, plan: &CompliantPlan, brought: &LogicalPlan, reader: &SiteId) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for scan in scans(brought) {
            let text = |what: &str, why: &[String]| {
                format!("{what} would keep or drop rows of `{reader}` there, and may not go to it: {}", why.join("; "))
            };
            if let Some(Leaf::Release(id)) = Leaf::from_reference(&scan.table_name) {
                let Some(part) = plan.parts().iter().find(|part| part.id == id) else { continue };
                for clause in part.clauses.iter().filter(|clause| clause.steward != *reader) {
                    let Some(held) = self.governing.get(&clause.steward) else { continue };
                    let at = |targets: &[crate::policy::PlaceRef]| self.names(targets, reader);
                    if let Err(why) = shipped_partials(&held.agreement, clause.clause, &at) {
                        let text = text(&format!("what clause {} releases", clause.clause), &why);
                        reasons.push(Reason { steward: Some(clause.steward.clone()), text });
                    }
                }
                continue;
            }
            let Some(table) = LeafTable::bound_to(&scan) else { continue };
            for steward in table.stewards.iter().filter(|steward| *steward != reader) {
                if let Err(why) = self.rows_at(&scan, &table, steward, reader) {
                    let text = text(&format!("released rows of `{}`", table.name), &why);
                    reasons.push(Reason { steward: Some(steward.clone()), text });
                }
            }
        }
        reasons
    }

    /// Where released rows of a table may go.
    fn where_rows_go(&self, scan: &TableScan) -> Vec<Reason> {
        let Some(table) = LeafTable::bound_to(scan) else { return Vec::new() };
        let of = |steward: &SiteId| {
            let held = self.governing.get(steward)?;
            let may = |place: &&SiteId| *place != steward && self.rows_at(scan, &table, steward, place).is_ok();
            let places: BTreeSet<&SiteId> =
                self.candidates().filter(|place| !place.is_coordinator()).filter(may).collect();
            let what = format!("released rows of `{}`", table.name);
            Some(Reason { steward: Some(steward.clone()), text: told(held, &what, &places, Vec::new) })
        };
        table.stewards.iter().filter_map(of).collect()
    }
}

/// Where an agreement lets something go; if nowhere, why.
fn told(held: &HeldAgreement, what: &str, places: &BTreeSet<&SiteId>, why: impl Fn() -> Vec<String>) -> String {
    let name = &held.agreement.name;
    if !places.is_empty() {
        let places: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
        return format!("agreement `{name}` lets {what} go to {} only", places.join(", "));
    }
    match why().as_slice() {
        [] => format!("agreement `{name}` lets {what} go to no place that is there"),
        why => format!("agreement `{name}` lets {what} go nowhere: {}", why.join("; ")),
    }
}

fn scans(plan: &LogicalPlan) -> Vec<TableScan> {
    let mut scans = Vec::new();
    let visited = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans.push(scan.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor does not fail");
    scans
}
