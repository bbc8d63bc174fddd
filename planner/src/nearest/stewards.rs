//! A query about some of the stewards of its federated tables. Each steward is a part of the population that is named in
//! the query, so leaving one out is an edit by itself: the answer over the others.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, Visit, VisitMut, Visitor, VisitorMut};
use dynamos_proto::ids::SiteId;

use super::group::{one_of, qualified};
use super::question::{all_of, conjuncts, shadowed};
use super::scope::{Scope, table_named};
use crate::bind::VisibleTables;
use crate::catalog::STEWARD;

/// Most choices of stewards that are looked at.
const CHOICES_MAX: usize = 24;

/// Whose rows a query asks for.
#[derive(Debug, Default)]
pub(super) struct Stewards {
    /// Those of federated tables, which can be left out.
    pub(super) federated: BTreeSet<SiteId>,
    /// Those whose own tables are named, which cannot.
    pub(super) named: BTreeSet<SiteId>,
}

/// How many of the SELECTs and relations get the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The first federated table of the outermost SELECT; joins on the steward carry it to the others.
    First,
    /// Every federated table of every SELECT.
    Everywhere,
}

impl Stewards {
    /// Those of a query's tables.
    pub(super) fn of(query: &Query, tables: &VisibleTables) -> Self {
        let mut found = Finder { tables, shadowed: all_shadowed(query), stewards: Self::default() };
        let done = query.visit(&mut found);
        debug_assert!(done.is_continue(), "the visitor does not stop");
        found.stewards
    }

    /// The choices of stewards to ask, the most first: without those that cannot answer, without others as well, and each
    /// of the rest alone.
    pub(super) fn choices(&self, usable: &dyn Fn(&SiteId) -> bool) -> Vec<BTreeSet<SiteId>> {
        if !self.named.iter().all(usable) {
            return Vec::new();
        }
        let able: BTreeSet<SiteId> = self.federated.iter().filter(|steward| usable(steward)).cloned().collect();
        if able.is_empty() && !self.federated.is_empty() {
            return Vec::new();
        }
        let mut choices = vec![able.clone()];
        let without = |out: &[&SiteId]| -> BTreeSet<SiteId> {
            able.iter().filter(|steward| !out.contains(steward)).cloned().collect()
        };
        let singles = able.iter().map(|steward| without(&[steward]));
        let pairs =
            able.iter().flat_map(|one| able.iter().filter(move |other| *other > one).map(move |other| (one, other)));
        let pairs = pairs.map(|(one, other)| without(&[one, other]));
        let alone = able.iter().map(|steward| BTreeSet::from([steward.clone()]));
        for choice in singles.chain(alone).chain(pairs) {
            if choices.len() < CHOICES_MAX && !choice.is_empty() && !choices.contains(&choice) {
                choices.push(choice);
            }
        }
        choices
    }
}

/// The query about these stewards only, and how many conditions that took; none if there is nothing to put one on.
pub(super) fn restricted(
    query: &Query,
    kept: &BTreeSet<SiteId>,
    reach: Reach,
    tables: &VisibleTables,
) -> Option<(Query, usize)> {
    let mut query = query.clone();
    let mut restrict = Restrict { tables, shadowed: all_shadowed(&query), kept, reach, conditions: 0 };
    match reach {
        Reach::First => {
            let SetExpr::Select(select) = query.body.as_mut() else { return None };
            restrict.select(select);
        }
        Reach::Everywhere => {
            let done = VisitMut::visit(&mut query, &mut restrict);
            debug_assert!(done.is_continue(), "the visitor does not stop");
        }
    }
    (restrict.conditions > 0).then_some((query, restrict.conditions))
}

fn all_shadowed(query: &Query) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.0.extend(shadowed(query));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let done = query.visit(&mut names);
    debug_assert!(done.is_continue(), "the visitor does not stop");
    names.0
}

struct Finder<'a> {
    tables: &'a VisibleTables,
    shadowed: BTreeSet<String>,
    stewards: Stewards,
}

impl Visitor for Finder<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &datafusion::sql::sqlparser::ast::ObjectName) -> ControlFlow<()> {
        if let Some(table) = table_named(relation, self.tables, &self.shadowed) {
            match &table.site {
                Some(site) => drop(self.stewards.named.insert(site.clone())),
                None => self.stewards.federated.extend(table.stewards.clone()),
            }
        }
        ControlFlow::Continue(())
    }
}

struct Restrict<'a> {
    tables: &'a VisibleTables,
    shadowed: BTreeSet<String>,
    kept: &'a BTreeSet<SiteId>,
    reach: Reach,
    conditions: usize,
}

impl Restrict<'_> {
    fn select(&mut self, select: &mut Select) {
        let Some(scope) = Scope::of(&select.from, self.tables, &self.shadowed) else { return };
        let mut conditions: Vec<_> = select.selection.iter().flat_map(conjuncts).collect();
        let bare = scope.factors.len() == 1;
        for factor in scope.factors.iter().filter(|factor| !factor.padded) {
            let Some(table) = factor.table.as_ref().filter(|table| table.site.is_none()) else { continue };
            let kept = table.stewards.intersection(self.kept);
            if table.stewards.is_subset(self.kept) || (self.reach == Reach::First && self.conditions > 0) {
                continue;
            }
            let column = qualified(if bare { &[] } else { &factor.qualifier }, STEWARD);
            if let Some(condition) = one_of(&column, kept.map(ToString::to_string)) {
                conditions.push(condition);
                self.conditions += 1;
            }
        }
        select.selection = all_of(&conditions);
    }
}

impl VisitorMut for Restrict<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.select(select);
        ControlFlow::Continue(())
    }
}
