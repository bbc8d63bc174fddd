//! One clause as ODRL sees it: an action with terms, in one of three slots of a policy. This is what is written and what
//! a clause that was read is compared with.

use dynamos_planner::policy::{
    BudgetLimit, Clause, Columns, Minimum, MinimumScope, NumberedClause, Obligation, Outcome, Period, PlaceRef,
    ReleaseClause, ReleaseWhat, ReleasedAggregates, ShipWhat, TableRef, TimeUnit,
};
use serde_json::{Value, json};

/// Where a rule stands in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// It grants.
    Permission,
    /// It demands something.
    Obligation,
    /// It limits every permission.
    Limit,
}

/// `leftOperand operator rightOperand`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) left: String,
    pub(super) operator: String,
    pub(super) right: Value,
    pub(super) unit: Option<String>,
}

/// A clause.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) number: u32,
    pub(super) name: Option<String>,
    pub(super) slot: Slot,
    pub(super) action: String,
    pub(super) terms: Vec<Term>,
    /// Where something may go, or who must do something.
    pub(super) places: Vec<PlaceRef>,
    /// The tables that it is about.
    pub(super) tables: Vec<String>,
}

/// The name of a term or action of the project's profile.
macro_rules! own {
    ($name:literal) => {
        concat!("dynamos:", $name)
    };
}

/// Names in the project's profile and in ODRL's core.
pub(super) mod words {
    pub(in super::super) const RELEASE_ROWS: &str = own!("releaseRows");
    pub(in super::super) const RELEASE_AGGREGATES: &str = own!("releaseAggregates");
    pub(in super::super) const SHIP_ROWS: &str = own!("shipRows");
    pub(in super::super) const SHIP_PARTIALS: &str = own!("shipPartials");
    pub(in super::super) const COMPARE: &str = own!("compare");
    pub(in super::super) const RESTRICT: &str = own!("restrict");
    pub(in super::super) const AUDIT: &str = own!("audit");
    pub(in super::super) const ANONYMIZE: &str = "anonymize";
    pub(in super::super) const DELETE: &str = "delete";
    pub(in super::super) const INFORM: &str = "inform";
    pub(in super::super) const BUDGET: &str = own!("budget");
    pub(in super::super) const ARCHETYPES: &str = own!("archetypes");

    pub(in super::super) const FUNCTION: &str = own!("function");
    pub(in super::super) const ARGUMENT: &str = own!("argument");
    pub(in super::super) const GROUPING: &str = own!("grouping");
    pub(in super::super) const COLUMN: &str = own!("column");
    pub(in super::super) const VALUE: &str = own!("value");
    pub(in super::super) const RELATION: &str = own!("relation");
    pub(in super::super) const TABLE: &str = own!("table");
    pub(in super::super) const WHERE: &str = own!("where");
    pub(in super::super) const WITH: &str = own!("with");
    pub(in super::super) const OF: &str = own!("of");
    pub(in super::super) const ENTITIES: &str = own!("distinctEntities");
    pub(in super::super) const SITES: &str = own!("sites");
    pub(in super::super) const SCOPE: &str = own!("scope");
    pub(in super::super) const DOMINANCE: &str = own!("dominance");
    pub(in super::super) const ROUND_TO: &str = own!("roundTo");
    pub(in super::super) const OTHERWISE: &str = own!("otherwise");
    pub(in super::super) const EPSILON: &str = own!("epsilon");
    pub(in super::super) const ARCHETYPE: &str = own!("archetype");
    pub(in super::super) const COUNT: &str = "count";
    pub(in super::super) const ELAPSED_TIME: &str = "elapsedTime";
}

use words::*;

/// The rule of a clause; `None` for JOIN, which has none.
pub(super) fn rule_of(numbered: &NumberedClause) -> Option<Rule> {
    let (slot, action, terms, places) = match &numbered.clause {
        Clause::Release(release) => return Some(with_head(numbered, release_rule(release))),
        Clause::Ship(ship) => match &ship.what {
            ShipWhat::Partials { of } => {
                (Slot::Permission, SHIP_PARTIALS, vec![is(OF, json!(of.to_string()))], ship.to.clone())
            }
            ShipWhat::Rows { columns, from, filter } => {
                let mut terms = vec![any_of(COLUMN, listed(columns)), is(RELATION, json!(from.to_string()))];
                terms.extend(filter.as_ref().map(|filter| is(WHERE, json!(filter.to_string()))));
                (Slot::Permission, SHIP_ROWS, terms, ship.to.clone())
            }
        },
        Clause::Filter(filter) => {
            let columns = filter.columns.iter().map(ToString::to_string).collect();
            let terms = vec![any_of(COLUMN, columns), is(WITH, json!(filter.with.to_string()))];
            (Slot::Permission, COMPARE, terms, Vec::new())
        }
        Clause::Mask(mask) => {
            let terms = vec![is(COLUMN, json!(mask.column.to_string())), is(VALUE, json!(mask.value.to_string()))];
            (Slot::Obligation, ANONYMIZE, terms, Vec::new())
        }
        Clause::Rows(rows) => {
            let table = rows.table.as_ref().map(|table| is(TABLE, json!(table.to_string())));
            let terms = table.into_iter().chain([is(WHERE, json!(rows.condition.to_string()))]).collect();
            (Slot::Obligation, RESTRICT, terms, Vec::new())
        }
        Clause::Oblige(oblige) => {
            let (action, terms) = obligation(&oblige.obligation);
            (Slot::Obligation, action, terms, oblige.at.iter().cloned().collect())
        }
        Clause::Budget(budget) => (Slot::Limit, BUDGET, budget.limits.iter().map(limit).collect(), Vec::new()),
        Clause::Archetypes(archetypes) => {
            let names = archetypes.iter().map(ToString::to_string).collect();
            (Slot::Limit, ARCHETYPES, vec![any_of(ARCHETYPE, names)], Vec::new())
        }
        Clause::Join(_) => return None,
    };
    let tables = tables(&numbered.clause).into_iter().map(ToString::to_string).collect();
    let action = action.to_owned();
    Some(with_head(numbered, Rule { number: 0, name: None, slot, action, terms, places, tables }))
}

fn with_head(numbered: &NumberedClause, rule: Rule) -> Rule {
    Rule { number: numbered.number, name: numbered.name.clone(), ..rule }
}

fn tables(clause: &Clause) -> Vec<&TableRef> {
    match clause {
        Clause::Release(release) => release.from.tables().collect(),
        Clause::Ship(ship) => match &ship.what {
            ShipWhat::Rows { from, .. } => from.tables().collect(),
            ShipWhat::Partials { .. } => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn release_rule(release: &ReleaseClause) -> Rule {
    let relation = is(RELATION, json!(release.from.to_string()));
    let filter = release.filter.as_ref().map(|filter| is(WHERE, json!(filter.to_string())));
    let (action, mut terms) = match &release.what {
        ReleaseWhat::Rows(columns) => (RELEASE_ROWS, vec![any_of(COLUMN, listed(columns)), relation]),
        ReleaseWhat::Aggregates(aggregates) => {
            let mut terms = vec![
                any_of(FUNCTION, aggregates.functions.iter().map(ToString::to_string).collect()),
                any_of(ARGUMENT, aggregates.arguments.iter().map(ToString::to_string).collect()),
            ];
            if !aggregates.by.is_empty() {
                terms.push(any_of(GROUPING, aggregates.by.iter().map(ToString::to_string).collect()));
            }
            terms.push(relation);
            (RELEASE_AGGREGATES, terms)
        }
    };
    terms.extend(filter);
    if let ReleaseWhat::Aggregates(aggregates) = &release.what {
        conditions(aggregates, &mut terms);
    }
    let tables = release.from.tables().map(ToString::to_string).collect();
    let (slot, action, places) = (Slot::Permission, action.to_owned(), Vec::new());
    Rule { number: 0, name: None, slot, action, terms, places, tables }
}

fn conditions(aggregates: &ReleasedAggregates, terms: &mut Vec<Term>) {
    for Minimum { count, entity } in &aggregates.minimums {
        terms.push(Term { unit: Some(entity.to_string()), ..term(ENTITIES, "gteq", json!(count)) });
    }
    terms.extend(aggregates.minimum_sites.map(|sites| term(SITES, "gteq", json!(sites))));
    match aggregates.scope {
        MinimumScope::Federation => {}
        MinimumScope::PerSite => terms.push(is(SCOPE, json!("site"))),
    }
    terms.extend(aggregates.dominance.as_ref().map(|share| term(DOMINANCE, "lteq", json!(share.to_string()))));
    terms.extend(aggregates.round_to.as_ref().map(|step| is(ROUND_TO, json!(step.to_string()))));
    terms.push(is(
        OTHERWISE,
        json!(match aggregates.outcome {
            Outcome::Drop => "DROP",
            Outcome::Remainder => "REMAINDER",
            Outcome::Fail => "FAIL",
        }),
    ));
}

fn listed(columns: &Columns) -> Vec<String> {
    match columns {
        Columns::All => vec!["*".to_owned()],
        Columns::Listed(columns) => columns.iter().map(ToString::to_string).collect(),
    }
}

fn obligation(obligation: &Obligation) -> (&'static str, Vec<Term>) {
    match obligation {
        Obligation::Retention { amount, unit } => {
            let time = match unit {
                TimeUnit::Second => format!("PT{amount}S"),
                TimeUnit::Minute => format!("PT{amount}M"),
                TimeUnit::Hour => format!("PT{amount}H"),
                TimeUnit::Day => format!("P{amount}D"),
            };
            (DELETE, vec![term(ELAPSED_TIME, "lteq", json!(time))])
        }
        Obligation::Audit => (AUDIT, Vec::new()),
        Obligation::Notification => (INFORM, Vec::new()),
    }
}

fn limit(limit: &BudgetLimit) -> Term {
    let duration = |period: &Period| match period {
        Period::Hour => "PT1H",
        Period::Day => "P1D",
        Period::Week => "P1W",
        Period::Month => "P1M",
        Period::Year => "P1Y",
    };
    match limit {
        BudgetLimit::Queries { count, per } => {
            Term { unit: Some(duration(per).to_owned()), ..term(COUNT, "lteq", json!(count)) }
        }
        BudgetLimit::Epsilon { amount, per } => {
            Term { unit: Some(duration(per).to_owned()), ..term(EPSILON, "lteq", json!(amount.to_string())) }
        }
    }
}

fn term(left: &str, operator: &str, right: Value) -> Term {
    Term { left: left.to_owned(), operator: operator.to_owned(), right, unit: None }
}

fn is(left: &str, right: Value) -> Term {
    term(left, "eq", right)
}

fn any_of(left: &str, values: Vec<String>) -> Term {
    term(left, "isAnyOf", json!(values))
}
