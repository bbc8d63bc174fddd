//! The search: every choice of stewards, every offer for it, every way under the offer, and single edits that no offer asks
//! for; what costs least is planned first, and the first that the planner permits is the answer. The number of candidates
//! is bounded by counting, so that the same question always has the same answer.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::ScalarValue;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement};
use dynamos_proto::ids::SiteId;

use super::edit::LEFT_OUT;
use super::offer::{Offer, common, offers};
use super::question::Question;
use super::stewards::{Reach, Stewards, restricted};
use super::target::ways;
use crate::bind::VisibleTables;
use crate::catalog::Availability;
use crate::plan::{Planned, PlanningInput, plan_query, policy, visible_tables};

/// Candidates that are planned, at most: a refusal costs no more than so many plans.
const PLANNED_MAX: usize = 64;
/// Combinations of stewards' offers that are looked at for one choice of stewards.
const OFFERS_MAX: usize = 16;
/// Longer text (bytes) is not searched: nobody wrote it by hand, and every step copies it.
const TEXT_MAX: usize = 16 * 1024;

/// A query that may run, near one that may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearestQuery {
    /// The query.
    pub sql: String,
    /// How far it is: one for each thing that gave way to a weaker one, two for each that is gone.
    pub edits: usize,
}

/// The nearest query that is allowed and contained in one that was refused; none if there is none within the bounds. It
/// depends on what this requester may know, and on nothing else.
pub fn nearest_query(sql: &str, parameters: &[ScalarValue], input: &PlanningInput<'_>) -> Option<NearestQuery> {
    let query = read(sql)?;
    let state = crate::function::engine_state();
    let tables = VisibleTables::new(visible_tables(input).ok()?, input.default_schema);
    let search = Search { input, tables: &tables, state: &state };
    let permitted = |sql: &str| matches!(plan_query(sql, parameters, input), Ok(Planned::Permitted(_)));
    search
        .candidates(&query)
        .into_iter()
        .filter(|(edits, _)| *edits > 0)
        .take(PLANNED_MAX)
        .find(|(_, sql)| permitted(sql))
        .map(|(edits, sql)| NearestQuery { sql, edits })
}

fn read(sql: &str) -> Option<Query> {
    if sql.len() > TEXT_MAX {
        return None;
    }
    let mut statements = DFParser::parse_sql(sql).ok()?;
    match (statements.pop_front(), statements.pop_front()) {
        (Some(Statement::Statement(statement)), None) => match *statement {
            SqlStatement::Query(query) => Some(*query),
            _ => None,
        },
        _ => None,
    }
}

struct Search<'a> {
    input: &'a PlanningInput<'a>,
    tables: &'a VisibleTables,
    state: &'a SessionState,
}

impl Search<'_> {
    /// Every candidate with its cost, the cheapest first and of equal ones the first by text.
    fn candidates(&self, query: &Query) -> BTreeSet<(usize, String)> {
        let mut found = BTreeSet::new();
        let stewards = Stewards::of(query, self.tables);
        for kept in stewards.choices(&|steward| self.usable(steward)) {
            let left_out = stewards.federated.difference(&kept).count();
            if left_out == 0 {
                self.edited(query, 0, &kept, &mut found);
                continue;
            }
            for reach in [Reach::First, Reach::Everywhere] {
                if let Some((query, conditions)) = restricted(query, &kept, reach, self.tables) {
                    // Of two ways to say the same the shorter is nearer.
                    let edits = left_out * LEFT_OUT + conditions.saturating_sub(1);
                    found.insert((edits, query.to_string()));
                    self.edited(&query, edits, &kept, &mut found);
                }
            }
        }
        found
    }

    /// Whether a steward can answer this requester anything: it is up, and an agreement of it shows something.
    fn usable(&self, steward: &SiteId) -> bool {
        let site = self.input.catalog.sites.get(steward);
        site.is_some_and(|site| site.availability == Availability::Up)
            && self.tables.iter().any(|table| table.site.as_ref() == Some(steward))
    }

    /// The candidates that edits of a query lead to.
    fn edited(&self, query: &Query, edits: usize, kept: &BTreeSet<SiteId>, found: &mut BTreeSet<(usize, String)>) {
        let Some(question) = Question::read(query, edits, self.tables, self.state) else { return };
        let mut add = |question: Question| {
            found.insert((question.edits, question.sql()));
        };
        for offer in self.offers(&question, kept) {
            ways(&question, &offer, self.state).into_iter().for_each(&mut add);
        }
        // What no offer asks for may still be what stands in the way.
        for index in 0..question.items.len() {
            question.without_item(index).into_iter().for_each(&mut add);
        }
        for index in 0..question.keys.len() {
            question.with_coarser_key(index, None, self.state).into_iter().for_each(&mut add);
        }
        for index in 0..question.order.len() {
            question.without_order(index).into_iter().for_each(&mut add);
        }
        for index in 0..question.conditions.len() {
            question.with_condition_above(index).into_iter().for_each(&mut add);
        }
    }

    /// What the stewards of a question offer together.
    fn offers(&self, question: &Question, kept: &BTreeSet<SiteId>) -> Vec<Offer> {
        let mut asked: BTreeMap<SiteId, Vec<Offer>> = BTreeMap::new();
        let stewards = question.scope.tables().flat_map(|table| match &table.site {
            Some(site) => BTreeSet::from([site.clone()]),
            None => table.stewards.intersection(kept).cloned().collect(),
        });
        for steward in stewards {
            asked.entry(steward).or_insert_with_key(|steward| {
                let applicable = policy(self.input).applicable(steward);
                applicable.iter().flat_map(|held| offers(&held.agreement, &question.scope)).collect()
            });
        }
        let mut choices: Vec<Vec<Offer>> = vec![Vec::new()];
        for of_steward in asked.values() {
            let longer = choices.iter().flat_map(|choice| {
                of_steward.iter().map(move |offer| choice.iter().cloned().chain([offer.clone()]).collect::<Vec<_>>())
            });
            choices = longer.take(OFFERS_MAX).collect();
        }
        choices.iter().filter_map(|choice| common(choice)).collect()
    }
}
