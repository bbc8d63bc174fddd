//! [`Budgets`]: how much of each agreement each organisation has spent, by calendar periods. Memory only: the records that
//! it is built from are written by [`super::Ledger`]; a charge and its record are made under one lock.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use dynamos_planner::policy::{Agreement, Period, UtcMillis};
use dynamos_proto::ids::QueryId;
use serde::{Deserialize, Serialize};

use super::entry::Moment;

/// How long a query's charge covers its later attempts (milliseconds): longer than any permit lives. After that an attempt
/// is charged like a new query.
const COVERED_MS: i64 = 60 * 60 * 1000;
/// Queries whose charges are remembered at once; of more the oldest are forgotten, and their next attempts charged anew.
const COVERED_MAX: usize = 1 << 16;

/// Periods of each kind whose sums are kept. More than the present one, so that a clock that jumps and comes back finds what
/// it left; of more the oldest are forgotten.
const PERIODS_MAX: usize = 8;

/// What a query wants of one agreement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand<'a> {
    pub(crate) agreement: &'a Agreement,
    /// Who pays: the organisation that signed the requester's token.
    pub(crate) organisation: &'a str,
    /// Release points of all attempts so far, this one included, are at least this many.
    pub(crate) points: u32,
}

/// What one attempt of a query was charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charge {
    agreement: String,
    organisation: String,
    /// Release points; 0 if an earlier attempt had paid for all.
    points: u32,
    /// In whose periods it counts.
    at: Moment,
}

/// Why a query may not run: one limit of the agreement leaves less than it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    pub(super) organisation: String,
    pub(super) clause: u32,
    pub(super) allowed: u32,
    pub(super) per: Period,
    pub(super) spent: u64,
    pub(super) needed: u32,
    pub(super) next: UtcMillis,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { organisation, allowed, spent, needed, next, .. } = self;
        let per = self.per.to_string().to_lowercase();
        write!(
            out,
            "{allowed} queries per {per} to `{organisation}`, of which {spent} are spent and this one needs {needed}; the \
             next {per} begins at {next}"
        )
    }
}

/// Agreement and organisation.
type Payer = (String, String);

/// What is spent. INVARIANT(never_overspent): at no time do the charges of one payer in one period exceed a limit that held
/// when they were made.
#[derive(Debug)]
pub(super) struct Budgets {
    spent: BTreeMap<Payer, Spent>,
    /// What is paid for queries that may come with another attempt.
    covered: BTreeMap<(QueryId, Payer), Covered>,
    /// Keys of `covered` in order of time.
    order: VecDeque<(UtcMillis, (QueryId, Payer))>,
}

/// What is paid for one query, over all its permits.
#[derive(Debug, Default)]
struct Covered {
    /// Release points.
    points: u32,
    /// When the newest permit was; none once its charge was given back.
    newest: Option<UtcMillis>,
    /// Whether its charge can be told by its moment from those before it.
    apart: bool,
}

/// What was spent in each period of a kind, by its first moment.
#[derive(Debug, Default)]
struct Spent(BTreeMap<Period, BTreeMap<UtcMillis, u64>>);

impl Budgets {
    pub(super) fn new() -> Self {
        Self { spent: BTreeMap::new(), covered: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Charges a query, once over all its attempts. Nothing is charged if a limit would be passed.
    pub(super) fn charge(&mut self, query: &QueryId, demand: &Demand<'_>, now: UtcMillis) -> Result<Charge, Exhausted> {
        self.forget(now);
        let payer = (demand.agreement.name.clone(), demand.organisation.to_owned());
        let paid = self.covered.get(&(query.clone(), payer.clone())).map_or(0, |paid| paid.points);
        let needed = demand.points.saturating_sub(paid);
        if needed > 0 {
            for (clause, allowed, per) in demand.agreement.query_limits() {
                let spent = self.spent.get(&payer).map_or(0, |spent| spent.within(per, now));
                if spent + u64::from(needed) > u64::from(allowed) {
                    let (organisation, next) = (payer.1, per.next(now));
                    return Err(Exhausted { organisation, clause, allowed, per, spent, needed, next });
                }
            }
        }
        let (agreement, organisation) = payer;
        let charge = Charge { agreement, organisation, points: needed, at: Moment(now) };
        self.apply(query, &charge);
        Ok(charge)
    }

    /// Takes in a charge, as it was made or as it was recorded.
    pub(super) fn apply(&mut self, query: &QueryId, charge: &Charge) {
        let Moment(at) = charge.at;
        let payer = charge.payer();
        self.spent.entry(payer.clone()).or_default().add(charge.points, at);
        let key = (query.clone(), payer);
        self.covered.entry(key.clone()).or_default().add(charge.points, at);
        self.order.push_back((at, key));
        self.forget(at);
    }

    /// Takes a charge back, and says whether it did: not once a later permit of the query was charged by what this one had
    /// paid, which would then have paid for neither.
    pub(super) fn give_back(&mut self, query: &QueryId, charge: &Charge) -> bool {
        let (Moment(at), payer) = (charge.at, charge.payer());
        let covered = self.covered.get_mut(&(query.clone(), payer.clone()));
        if !covered.is_some_and(|covered| covered.take_back(charge.points, at)) {
            return false;
        }
        if let Some(spent) = self.spent.get_mut(&payer) {
            spent.subtract(charge.points, at);
        }
        true
    }

    fn forget(&mut self, now: UtcMillis) {
        let old = |at: &UtcMillis| at.0.saturating_add(COVERED_MS) < now.0;
        while self.order.len() > COVERED_MAX || self.order.front().is_some_and(|(at, _)| old(at)) {
            let Some((_, key)) = self.order.pop_front() else { return };
            self.covered.remove(&key);
        }
    }
}

impl Covered {
    fn add(&mut self, points: u32, at: UtcMillis) {
        self.points = self.points.saturating_add(points);
        self.apart = self.newest.is_none_or(|before| before < at);
        self.newest = self.newest.max(Some(at));
    }

    /// Only of the newest permit.
    fn take_back(&mut self, points: u32, at: UtcMillis) -> bool {
        let is_newest = self.apart && self.newest == Some(at);
        if is_newest {
            self.points = self.points.saturating_sub(points);
            self.newest = None;
        }
        is_newest
    }
}

impl Charge {
    pub(super) fn points(&self) -> u32 {
        self.points
    }

    fn payer(&self) -> Payer {
        (self.agreement.clone(), self.organisation.clone())
    }
}

impl Spent {
    fn within(&self, per: Period, now: UtcMillis) -> u64 {
        self.0.get(&per).and_then(|periods| periods.get(&per.start(now))).copied().unwrap_or(0)
    }

    fn add(&mut self, points: u32, at: UtcMillis) {
        for per in Period::ALL {
            let (start, periods) = (per.start(at), self.0.entry(per).or_default());
            let spent = periods.entry(start).or_default();
            *spent = spent.saturating_add(u64::from(points));
            if periods.len() > PERIODS_MAX
                && let Some(oldest) = periods.keys().find(|other| **other != start).copied()
            {
                periods.remove(&oldest);
            }
        }
    }

    /// Only from the periods in which it was added.
    fn subtract(&mut self, points: u32, at: UtcMillis) {
        for (per, periods) in &mut self.0 {
            if let Some(spent) = periods.get_mut(&per.start(at)) {
                *spent = spent.saturating_sub(u64::from(points));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dynamos_planner::sql::{DynamosStatement, parse_statement};

    use super::*;

    fn agreement(budget: &str) -> Agreement {
        let text = format!(
            "CREATE AGREEMENT a ON SITE uva FOR ANYONE PURPOSE statistics AS (RELEASE ROWS (*) FROM t, BUDGET {budget})"
        );
        match parse_statement(&text).unwrap() {
            DynamosStatement::CreateAgreement(agreement) => agreement,
            other => panic!("{other:?}"),
        }
    }

    fn at(text: &str) -> UtcMillis {
        UtcMillis::parse(text).unwrap()
    }

    fn demand<'a>(agreement: &'a Agreement, organisation: &'a str, points: u32) -> Demand<'a> {
        Demand { agreement, organisation, points }
    }

    #[test]
    fn a_budget_is_spent_to_its_last_query_and_the_refusal_says_when_the_next_period_begins() {
        let (agreement, mut budgets) = (agreement("3 QUERIES PER MONTH"), Budgets::new());
        let now = at("2026-12-30T10:00:00Z");
        for query in ["1", "2"] {
            budgets.charge(&query.into(), &demand(&agreement, "vu", 1), now).unwrap();
        }
        let refused = budgets.charge(&"3".into(), &demand(&agreement, "vu", 2), now).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "3 queries per month to `vu`, of which 2 are spent and this one needs 2; the next month begins at 2027-01-01"
        );
        assert_eq!(refused.clause, 2);
        // What was refused cost nothing, and others have a budget of their own.
        budgets.charge(&"4".into(), &demand(&agreement, "vu", 1), now).unwrap();
        budgets.charge(&"5".into(), &demand(&agreement, "vu", 1), now).unwrap_err();
        budgets.charge(&"6".into(), &demand(&agreement, "uva", 3), now).unwrap();
    }

    #[test]
    fn a_new_period_brings_a_new_budget_and_a_clock_that_jumps_does_not() {
        let (agreement, mut budgets) = (agreement("2 QUERIES PER DAY, 3 QUERIES PER MONTH"), Budgets::new());
        let mut ask = |query: &str, when: &str| {
            let charged = budgets.charge(&query.into(), &demand(&agreement, "vu", 1), at(when));
            charged.map(|_| ()).map_err(|refused| refused.per)
        };
        assert_eq!(ask("1", "2026-03-30T23:59:59.998Z"), Ok(()));
        assert_eq!(ask("2", "2026-03-30T23:59:59.999Z"), Ok(()));
        assert_eq!(ask("3", "2026-03-30T23:59:59.999Z"), Err(Period::Day));
        assert_eq!(ask("3", "2026-03-31"), Ok(()));
        assert_eq!(ask("4", "2026-03-31T23:59:59Z"), Err(Period::Month));
        assert_eq!(ask("5", "2026-04-01"), Ok(()));
        // Back to what is spent, far ahead, and back again: every day finds what it left.
        assert_eq!(ask("6", "2026-03-30T12:00:00Z"), Err(Period::Day));
        assert_eq!(ask("6", "2026-03-29"), Err(Period::Month));
        assert_eq!(ask("6", "2099-01-01"), Ok(()));
        assert_eq!(ask("7", "2026-04-01T23:00:00Z"), Ok(()));
        assert_eq!(ask("8", "2026-04-01T23:00:00Z"), Err(Period::Day));
        // Days that go by do not push the month out, nor does the day that is still to come.
        for day in 2..=30 {
            let result = ask(&format!("d{day}"), &format!("2026-04-{day:02}"));
            assert_eq!(result, if day == 2 { Ok(()) } else { Err(Period::Month) });
        }
    }

    #[test]
    fn a_query_is_charged_once_over_its_attempts_and_more_only_for_more() {
        let (agreement, mut budgets) = (agreement("3 QUERIES PER YEAR"), Budgets::new());
        let now = at("2026-03-30");
        let mut ask = |query: &str, organisation: &str, points, now| {
            budgets.charge(&query.into(), &demand(&agreement, organisation, points), now).map(|charge| charge.points())
        };
        assert_eq!(ask("q", "vu", 1, now), Ok(1));
        assert_eq!(ask("q", "vu", 1, now), Ok(0));
        assert_eq!(ask("q", "vu", 2, now), Ok(1));
        assert_eq!(ask("q", "vu", 1, now), Ok(0));
        assert_eq!(ask("q", "uva", 1, now), Ok(1), "another organisation does not ask for free");
        // Long after, it is a query like any other.
        let later = UtcMillis(now.0 + COVERED_MS + 1);
        assert_eq!(ask("q", "vu", 1, later), Ok(1));
        assert!(ask("r", "vu", 1, later).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_spent_again_in_its_period_only() {
        let (agreement, mut budgets) = (agreement("1 QUERIES PER DAY"), Budgets::new());
        let (monday, tuesday) = (at("2026-03-30"), at("2026-03-31"));
        let one = budgets.charge(&"1".into(), &demand(&agreement, "vu", 1), monday).unwrap();
        budgets.charge(&"2".into(), &demand(&agreement, "vu", 1), monday).unwrap_err();
        assert!(budgets.give_back(&"1".into(), &one));
        assert!(!budgets.give_back(&"1".into(), &one), "once is enough");
        let two = budgets.charge(&"2".into(), &demand(&agreement, "vu", 1), monday).unwrap();
        // It pays again if it comes again.
        budgets.charge(&"1".into(), &demand(&agreement, "vu", 1), monday).unwrap_err();
        budgets.charge(&"3".into(), &demand(&agreement, "vu", 1), tuesday).unwrap();
        budgets.give_back(&"2".into(), &two);
        budgets.charge(&"4".into(), &demand(&agreement, "vu", 1), tuesday).unwrap_err();
    }

    #[test]
    fn what_a_later_attempt_rests_on_is_not_given_back() {
        let (agreement, mut budgets) = (agreement("2 QUERIES PER YEAR"), Budgets::new());
        let (now, query) = (at("2026-03-30"), QueryId::new("q"));
        let later = |ms: i64| UtcMillis(now.0 + ms);
        let first = budgets.charge(&query, &demand(&agreement, "vu", 1), now).unwrap();
        let second = budgets.charge(&query, &demand(&agreement, "vu", 1), later(1)).unwrap();
        assert_eq!((first.points(), second.points()), (1, 0));
        assert!(!budgets.give_back(&query, &first), "the second one was charged nothing");
        // Of another organisation's there is nothing in the way, nor of what the newest one paid more.
        let other = budgets.charge(&query, &demand(&agreement, "uva", 1), later(2)).unwrap();
        assert!(budgets.give_back(&query, &other));
        let third = budgets.charge(&query, &demand(&agreement, "vu", 2), later(3)).unwrap();
        assert!(budgets.charge(&"r".into(), &demand(&agreement, "vu", 1), later(4)).is_err());
        assert!(budgets.give_back(&query, &third) && !budgets.give_back(&query, &first));
        budgets.charge(&"r".into(), &demand(&agreement, "vu", 1), later(5)).unwrap();
        assert!(budgets.charge(&"s".into(), &demand(&agreement, "vu", 1), later(6)).is_err());
        // Two of one moment are not told apart.
        let two = [1, 2].map(|points| budgets.charge(&"t".into(), &demand(&agreement, "kb", points), now).unwrap());
        assert_eq!(two[0], two[1]);
        assert!(!budgets.give_back(&"t".into(), &two[0]));
    }

    #[test]
    fn memory_of_paid_queries_is_bounded() {
        let (agreement, mut budgets) = (agreement("4294967295 QUERIES PER DAY"), Budgets::new());
        let now = at("2026-03-30");
        for number in 0..COVERED_MAX + 10 {
            budgets.charge(&QueryId::new(number.to_string()), &demand(&agreement, "vu", 1), now).unwrap();
        }
        assert_eq!((budgets.covered.len(), budgets.order.len()), (COVERED_MAX, COVERED_MAX));
        let again = budgets.charge(&"0".into(), &demand(&agreement, "vu", 1), now).unwrap();
        assert_eq!(again.points(), 1, "forgotten, so charged again");
    }
}
