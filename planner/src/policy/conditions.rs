//! The conditions of a release point: what the clauses of all its stewards demand together, read from the executing place's
//! own agreements. Which groups follow from them is decided in [`mod@super::decide`], over the groups themselves.
//!
//! What a steward would release if it were asked alone is what any clause of its agreement would, not only the one that covers
//! the point: rows, or the same values under a smaller minimum.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::ast::{Expr, visit_expressions};
use dynamos_proto::ids::SiteId;

use super::seen::{counts, sums_rows, tell_count};
use super::{
    Agreement, AgreementSet, Argument, Clause, ClauseRef, Columns, Comparison, Decimal, DistinctInput, Outcome,
    ReleaseClause, ReleaseWhat, ReleasedAggregates, TableRef,
};
use crate::fragment::ReleaseClauseRef;

/// The conditions of all clauses of a release point together. Every minimum holds, each over its own entity; the coarsest
/// rounding; FAIL before DROP before REMAINDER.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseConditions {
    /// The stewards whose clauses they are, in order of name.
    pub stewards: BTreeSet<SiteId>,
    /// The minimums for each entity key, by its column name.
    pub minimums: BTreeMap<String, EntityMinimum>,
    /// So many stewards must have an entity in the cell; 0 if no clause says so.
    pub sites: u32,
    /// Those of them whose own clause lets no group of one steward be released.
    pub never_alone: BTreeSet<SiteId>,
    /// Numbers are multiples of this.
    pub round_to: Option<Decimal>,
    /// What happens to a group below a minimum.
    pub outcome: Outcome,
}

/// What is demanded of the number of one kind of entities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityMinimum {
    /// The largest minimum of all clauses: it holds for the cell.
    pub largest: u32,
    /// What each steward's own clause demands where it demands something.
    pub own: BTreeMap<SiteId, u32>,
    /// The least that clauses of each steward about such values demand of it alone; no number is enough for one that is never
    /// asked alone.
    pub least: BTreeMap<SiteId, u32>,
    /// The portion of a sum that one of them may have, where a steward's own clause says so.
    pub dominance: BTreeMap<SiteId, Decimal>,
    /// The largest portion that clauses of each steward about such values let one of them have, where all say something.
    pub largest_portion: BTreeMap<SiteId, Decimal>,
}

impl EntityMinimum {
    /// No entity may have more of a sum than this, if a clause says so.
    pub fn portion(&self) -> Option<&Decimal> {
        self.dominance.values().min()
    }
}

impl ReleaseConditions {
    /// No conditions, of no steward.
    pub fn none() -> Self {
        Self {
            stewards: BTreeSet::new(),
            minimums: BTreeMap::new(),
            sites: 0,
            never_alone: BTreeSet::new(),
            round_to: None,
            outcome: Outcome::Remainder,
        }
    }

    /// So many entities must a steward have for its groups to be released if it is asked alone. Without a minimum of its
    /// own that is anybody; no number is enough for one that is never asked alone.
    pub fn alone(&self, steward: &SiteId, minimum: &EntityMinimum) -> u32 {
        if self.never_alone.contains(steward) {
            return u32::MAX;
        }
        minimum.own.get(steward).copied().unwrap_or(1).max(1)
    }
}

/// The largest of all minimums in force, whatever a query asks: counts below it are told as one. 0 if there is none.
pub fn largest_minimum(agreements: &AgreementSet) -> u32 {
    let clauses = agreements.all().flat_map(|held| &held.agreement.clauses);
    let minimums = clauses.flat_map(|numbered| match &numbered.clause {
        Clause::Release(ReleaseClause { what: ReleaseWhat::Aggregates(released), .. }) => released.minimums.as_slice(),
        _ => &[],
    });
    minimums.map(|minimum| minimum.count).max().unwrap_or(0)
}

/// The conditions that the clauses of a release point state, read from the executing place's own agreements. Fails if one
/// of the clauses is not held in the version that the graph names.
pub fn conditions(clauses: &[ReleaseClauseRef], agreements: &AgreementSet) -> Result<ReleaseConditions> {
    let mut all = ReleaseConditions::none();
    let mut alone = Vec::new();
    for reference in clauses {
        let held = agreements.get(&reference.steward, &reference.agreement.agreement);
        let Some(held) = held.filter(|held| held.epoch == reference.agreement.epoch) else {
            return plan_err!("agreement `{}` of `{}` is not held", reference.agreement.agreement, reference.steward);
        };
        let clause = held.agreement.clause(&ClauseRef::Number(reference.clause)).map(|numbered| &numbered.clause);
        let Some(Clause::Release(release)) = clause else {
            return plan_err!("clause {} is no RELEASE", reference.clause);
        };
        let ReleaseWhat::Aggregates(released) = &release.what else {
            return plan_err!("clause {} releases rows, not aggregates", reference.clause);
        };
        if !all.stewards.insert(reference.steward.clone()) {
            return plan_err!("two clauses of `{}` release one point", reference.steward);
        }
        alone.push((&reference.steward, Alone::of(&held.agreement, release, released)));
        for minimum in &released.minimums {
            let of_entity = all.minimums.entry(minimum.entity.column.clone()).or_default();
            of_entity.largest = of_entity.largest.max(minimum.count);
            let own = of_entity.own.entry(reference.steward.clone()).or_default();
            *own = (*own).max(minimum.count);
            if let Some(portion) = &released.dominance {
                of_entity.dominance.insert(reference.steward.clone(), portion.clone());
            }
        }
        let sites = released.minimum_sites.unwrap_or(0);
        if demands_several(released) {
            all.never_alone.insert(reference.steward.clone());
        }
        all.sites = all.sites.max(sites);
        all.round_to = all.round_to.max(released.round_to.clone());
        all.outcome = match (all.outcome, released.outcome) {
            (Outcome::Fail, _) | (_, Outcome::Fail) => Outcome::Fail,
            (Outcome::Drop, _) | (_, Outcome::Drop) => Outcome::Drop,
            (Outcome::Remainder, Outcome::Remainder) => Outcome::Remainder,
        };
    }
    for (name, minimum) in &mut all.minimums {
        for (steward, alone) in &alone {
            minimum.least.insert((*steward).clone(), alone.minimum(name));
            let portion = alone.portion(name).map(|portion| ((*steward).clone(), portion.clone()));
            minimum.largest_portion.extend(portion);
        }
    }
    if clauses.is_empty() {
        all.outcome = Outcome::Drop;
    }
    Ok(all)
}

/// What an agreement would release of values of one clause: by that one, and by all that are about the same tables and release
/// the same columns, or tell like it how many rows there are. None stands for a clause that releases rows.
struct Alone<'a>(Vec<Option<&'a ReleasedAggregates>>);

impl<'a> Alone<'a> {
    fn of(agreement: &'a Agreement, clause: &ReleaseClause, covering: &ReleasedAggregates) -> Self {
        let releases = agreement.clauses.iter().filter_map(|numbered| match &numbered.clause {
            Clause::Release(release) if same_table(release, clause) => Some(&release.what),
            _ => None,
        });
        // What compares columns can make a value of the one a value of the other.
        let alike = agreement.clauses.iter().any(|numbered| compares_columns(&numbered.clause));
        let said = said(agreement);
        let names = names(covering, &said);
        let told = releases.filter_map(|what| match what {
            // Rows are counted by whoever gets them.
            ReleaseWhat::Rows(listed) => (alike || names.contains("*") || lists_one_of(listed, &names)).then_some(None),
            ReleaseWhat::Aggregates(released) => {
                (alike || !self::names(released, &said).is_disjoint(&names)).then_some(Some(released))
            }
        });
        Self(told.collect())
    }

    /// The least that they demand of such an entity; no number is enough where several stewards are demanded.
    fn minimum(&self, entity: &str) -> u32 {
        let of_clause = |released: &Option<&ReleasedAggregates>| {
            let Some(released) = released else { return 1 };
            if demands_several(released) {
                return u32::MAX;
            }
            let counted = released.minimums.iter().filter(|minimum| minimum.entity.column == entity);
            counted.map(|minimum| minimum.count).max().unwrap_or(1).max(1)
        };
        self.0.iter().map(of_clause).min().unwrap_or(1)
    }

    /// The largest portion that one such entity may have; none if any. Where all demand several stewards it is the largest of
    /// all, which none of them asks for.
    fn portion(&self, entity: &str) -> Option<&'a Decimal> {
        let of_clause = |released: &Option<&'a ReleasedAggregates>| {
            let released = (*released)?;
            let counts = released.minimums.iter().any(|minimum| minimum.entity.column == entity);
            released.dominance.as_ref().filter(|_| counts)
        };
        let never = |released: &&Option<&ReleasedAggregates>| released.is_some_and(demands_several);
        let (several, alone): (Vec<_>, Vec<_>) = self.0.iter().partition(never);
        let asked = if alone.is_empty() { several } else { alone };
        asked.into_iter().map(of_clause).collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

/// Whether a clause lets nothing of one steward alone be told.
fn demands_several(released: &ReleasedAggregates) -> bool {
    released.minimum_sites.unwrap_or(0) > 1
}

/// Whether two clauses have a table in common. A table without a schema is of the one that is meant beside it.
fn same_table(one: &ReleaseClause, other: &ReleaseClause) -> bool {
    let same = |one: &TableRef, other: &TableRef| {
        one.table == other.table && (one.schema.is_none() || other.schema.is_none() || one.schema == other.schema)
    };
    one.from.tables().any(|table| other.from.tables().any(|beside| same(table, beside)))
}

fn compares_columns(clause: &Clause) -> bool {
    matches!(clause, Clause::Filter(filter) if filter.with != Comparison::Literals)
}

/// The columns that a question can say something of under an agreement, by their last names: in conditions, keys and lists.
fn said(agreement: &Agreement) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    for numbered in &agreement.clauses {
        match &numbered.clause {
            Clause::Filter(filter) => said.extend(filter.columns.iter().flat_map(columns_in)),
            Clause::Join(join) => said.extend(join.keys.iter().map(|key| key.column.clone())),
            Clause::Release(ReleaseClause { what: ReleaseWhat::Aggregates(released), filter, .. }) => {
                said.extend(released.by.iter().chain(filter).flat_map(columns_in));
            }
            _ => {}
        }
    }
    said
}

/// The columns of which a clause releases values, by their last names, and `*` if it tells how many rows there are, be it by a sum
/// of what `said` lets a question say something of.
fn names(released: &ReleasedAggregates, said: &BTreeSet<String>) -> BTreeSet<String> {
    let functions = || released.functions.iter().map(|function| function.name.as_str());
    let arguments: Vec<BTreeSet<String>> = released.arguments.iter().map(names_in).collect();
    // Of two expressions over one column.
    let several = arguments.iter().enumerate().any(|(place, one)| {
        let mut others = arguments.iter().skip(place + 1);
        others.any(|other| !one.is_disjoint(other))
    });
    let sum = released.functions.iter().any(|one| sums_rows(&one.name, one.distinct == DistinctInput::Distinct));
    let of_known = sum && (several || arguments.iter().any(|names| !names.is_disjoint(said)));
    let counts = of_known || functions().any(counts) || tell_count(functions().map(|function| (function, (), ())));
    arguments.into_iter().flatten().chain(counts.then(|| "*".to_owned())).collect()
}

/// Whether rows with these columns have one of these names in them.
fn lists_one_of(columns: &Columns, names: &BTreeSet<String>) -> bool {
    match columns {
        Columns::All => true,
        Columns::Listed(listed) => listed.iter().flat_map(columns_in).any(|column| names.contains(&column)),
    }
}

/// The columns of an argument by their last names; `*` for rows, and for what has no column.
fn names_in(argument: &Argument) -> BTreeSet<String> {
    let mut names = match argument {
        Argument::Star => BTreeSet::new(),
        Argument::Expr(expr) => columns_in(expr),
    };
    if names.is_empty() {
        names.insert("*".to_owned());
    }
    names
}

/// The columns of an expression by their last names.
fn columns_in(expr: &Expr) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let visited = visit_expressions(expr, |part| {
        match part {
            Expr::Identifier(name) => names.insert(name.value.clone()),
            Expr::CompoundIdentifier(parts) => {
                names.extend(parts.last().map(|name| name.value.clone()));
                true
            }
            _ => true,
        };
        ControlFlow::<()>::Continue(())
    });
    debug_assert!(visited.is_continue(), "the visitor does not stop");
    names
}

#[cfg(test)]
mod tests {
    use super::super::HeldAgreement;
    use super::*;
    use crate::fragment::AgreementRef;
    use crate::sql::parse_agreement;

    fn together(clauses: [&str; 2]) -> ReleaseConditions {
        let mut agreements = AgreementSet::default();
        let mut references = Vec::new();
        for (steward, clause) in ["uva", "vu"].into_iter().zip(clauses) {
            let text = format!("CREATE AGREEMENT a ON SITE {steward} FOR ANYONE PURPOSE statistics AS ({clause})");
            agreements.insert(HeldAgreement::new(1, parse_agreement(&text).unwrap()));
            let agreement = AgreementRef { agreement: "a".into(), epoch: 1 };
            references.push(ReleaseClauseRef { steward: steward.into(), agreement, clause: 1 });
        }
        conditions(&references, &agreements).unwrap()
    }

    #[test]
    fn e3_the_largest_minimum_is_that_of_all_agreements_in_force() {
        let mut agreements = AgreementSet::default();
        assert_eq!(largest_minimum(&agreements), 0);
        for (steward, minimums) in
            [("uva", "MINIMUM 5 DISTINCT k MINIMUM 3000 DISTINCT h"), ("vu", "MINIMUM 7 DISTINCT k")]
        {
            let text = format!(
                "CREATE AGREEMENT a ON SITE {steward} FOR ANYONE PURPOSE statistics AS \
                 (RELEASE ROWS (a) FROM u, RELEASE sum OF a FROM t {minimums})"
            );
            agreements.insert(HeldAgreement::new(1, parse_agreement(&text).unwrap()));
        }
        assert_eq!(largest_minimum(&agreements), 3000);
    }

    #[test]
    fn b7_every_minimum_holds_and_the_coarsest_round() {
        let both = together([
            "RELEASE sum OF a FROM t MINIMUM 5 DISTINCT k MINIMUM 2 SITES ROUND TO 2.5 ELSE REMAINDER",
            "RELEASE sum OF a FROM t MINIMUM 10 DISTINCT k MINIMUM 3 DISTINCT h MINIMUM 3 SITES ROUND TO 10 ELSE REMAINDER",
        ]);
        let k = both.minimums.get("k").unwrap();
        assert_eq!((k.largest, k.own.get(&"uva".into()), k.own.get(&"vu".into())), (10, Some(&5), Some(&10)));
        let h = both.minimums.get("h").unwrap();
        assert_eq!((h.largest, h.own.len()), (3, 1));
        assert_eq!((both.sites, &both.round_to, both.outcome), (3, &Decimal::parse("10"), Outcome::Remainder));
        assert_eq!(both.alone(&"uva".into(), k), u32::MAX, "its clause demands two stewards");
    }

    #[test]
    fn b4_a_steward_alone_is_held_to_its_own_minimum() {
        let clause = |more: &str| format!("RELEASE sum OF a FROM t {more}");
        let both = together([&clause("MINIMUM 5 DISTINCT k"), &clause("MINIMUM 3 DISTINCT h MINIMUM 1 SITES")]);
        let (k, h) = (both.minimums.get("k").unwrap(), both.minimums.get("h").unwrap());
        assert_eq!([both.alone(&"uva".into(), k), both.alone(&"vu".into(), k)], [5, 1]);
        assert_eq!([both.alone(&"uva".into(), h), both.alone(&"vu".into(), h)], [1, 3]);
    }

    #[test]
    fn b4_a_steward_alone_is_held_to_the_least_of_its_clauses_about_such_values() {
        let clauses = |more: &str| {
            let strict = "1: RELEASE sum, count OF a, * FROM s.t MINIMUM 10 DISTINCT k MINIMUM 2 SITES DOMINANCE 0.3";
            let both = together([&format!("{strict}, {more}"), strict]);
            let k = both.minimums.get("k").unwrap();
            assert_eq!((both.alone(&"uva".into(), k), k.least.get(&"vu".into())), (u32::MAX, Some(&u32::MAX)));
            let portion = k.largest_portion.get(&"uva".into()).map(ToString::to_string);
            (k.least.get(&"uva".into()).copied().unwrap(), portion)
        };
        let never = (u32::MAX, Some("0.3".to_owned()));
        for (more, expected) in [
            ("2: RELEASE ROWS (a) FROM t", (1, None)),
            ("2: RELEASE ROWS (c) FROM t", (1, None)),
            ("2: RELEASE avg OF a * 2 FROM s.t JOIN s.u ON k MINIMUM 3 DISTINCT k", (3, None)),
            ("2: RELEASE count OF * FROM s.t MINIMUM 4 DISTINCT k DOMINANCE 0.5", (4, Some("0.5".to_owned()))),
            ("2: RELEASE count OF * FROM s.t", (1, None)),
            ("2: RELEASE count OF * FROM s.t MINIMUM 12 DISTINCT k DOMINANCE 0.2", (12, Some("0.2".to_owned()))),
            ("2: RELEASE sum OF b FROM s.t MINIMUM 3 DISTINCT k, FILTER ON a, b COMPARE WITH COLUMNS", (3, None)),
            ("2: RELEASE sum, avg OF b FROM s.t MINIMUM 3 DISTINCT k", (3, None)),
            ("2: RELEASE sum, min, max OF b FROM s.t MINIMUM 3 DISTINCT k", (3, None)),
            ("2: RELEASE sum OF b, b + 1 FROM s.t MINIMUM 3 DISTINCT k", (3, None)),
            ("2: RELEASE sum OF b FROM s.t MINIMUM 3 DISTINCT k, FILTER ON b COMPARE WITH LITERALS", (3, None)),
            ("2: RELEASE sum OF b BY b FROM s.t MINIMUM 3 DISTINCT k", (3, None)),
            // About other columns, other tables, or not of one steward either.
            ("2: RELEASE sum OF b FROM s.t MINIMUM 3 DISTINCT k", never.clone()),
            ("2: RELEASE ROWS (a) FROM s.u", never.clone()),
            ("2: RELEASE sum OF a FROM s.t MINIMUM 3 DISTINCT k MINIMUM 3 SITES DOMINANCE 0.1", never),
        ] {
            assert_eq!(clauses(more), expected, "{more}");
        }
    }

    #[test]
    fn b4_rows_of_other_columns_do_not_tell_averages() {
        let least = |values: &str, columns: &str, more: &str| {
            let own = format!(
                "1: RELEASE {values} OF a BY c FROM s.t MINIMUM 10 DISTINCT k, 2: RELEASE ROWS ({columns}) FROM s.t{more}"
            );
            let both = together([&own, "1: RELEASE sum OF a FROM s.t MINIMUM 10 DISTINCT k"]);
            both.minimums.get("k").and_then(|minimum| minimum.least.get(&"uva".into()).copied())
        };
        assert_eq!(least("avg", "b", ""), Some(10));
        assert_eq!(least("sum", "b", ""), Some(10));
        for (values, columns, more) in [
            ("avg", "a", ""),
            ("avg", "*", ""),
            ("count", "b", ""),
            ("sum, avg", "b", ""),
            ("sum", "b", ", FILTER ON a COMPARE WITH LITERALS"),
            ("sum", "b", ", JOIN ON a WITH REQUESTER"),
            ("avg", "b", ", FILTER ON a, b COMPARE WITH COLUMNS"),
        ] {
            assert_eq!(least(values, columns, more), Some(1), "{values} {columns}{more}");
        }
    }

    #[test]
    fn b8_dominance_is_the_smallest_portion_over_the_entities_of_its_clause() {
        let both = together([
            "RELEASE sum OF a FROM t MINIMUM 5 DISTINCT k DOMINANCE 0.5",
            "RELEASE sum OF a FROM t MINIMUM 5 DISTINCT k MINIMUM 3 DISTINCT h DOMINANCE 0.25",
        ]);
        let (k, h) = (both.minimums.get("k").unwrap(), both.minimums.get("h").unwrap());
        assert_eq!((k.portion(), h.portion()), (Decimal::parse("0.25").as_ref(), Decimal::parse("0.25").as_ref()));
        assert_eq!(
            (k.dominance.get(&"uva".into()), h.dominance.get(&"uva".into())),
            (Decimal::parse("0.5").as_ref(), None)
        );
        let neither = together(["RELEASE sum OF a FROM t MINIMUM 5 DISTINCT k"; 2]);
        assert_eq!(neither.minimums.get("k").unwrap().portion(), None);
    }

    #[test]
    fn b7_fail_before_drop_before_remainder() {
        let clause = |outcome: &str| format!("RELEASE sum OF a FROM t MINIMUM 5 DISTINCT k ELSE {outcome}");
        for (one, other, all) in [
            ("REMAINDER", "REMAINDER", Outcome::Remainder),
            ("REMAINDER", "DROP", Outcome::Drop),
            ("DROP", "FAIL", Outcome::Fail),
            ("FAIL", "REMAINDER", Outcome::Fail),
        ] {
            assert_eq!(together([&clause(one), &clause(other)]).outcome, all, "{one} {other}");
        }
    }
}
