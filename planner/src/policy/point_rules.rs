//! What the clauses of one release point demand of a query before anything is computed: who decides which groups are
//! released, and whether what is asked can be decided and merged so. The groups themselves are decided in
//! [`mod@super::decide`].

use std::collections::{BTreeMap, BTreeSet};

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::denial::{Reason, Stop, refuse};
use super::govern::Governing;
use super::matching::{Asked, is_steward};
use super::release_plan::is_mergeable;
use super::{
    Clause, ClauseRef, KEYS_MAX, MinimumScope, Outcome, RelationShape, ReleaseClause, ReleaseWhat, ReleasedAggregates,
};
use crate::bind::{VisibleTable, fulfils};
use crate::catalog::{FederatedTable, TableName};
use crate::fragment::ReleaseClauseRef;
use crate::function::{IS_REMAINDER, asks_for_remainder};

/// The clauses of one release point.
pub(super) struct PointRules<'a> {
    pub(super) governing: &'a Governing<'a>,
    pub(super) federated: &'a BTreeMap<TableName, FederatedTable>,
    pub(super) clauses: &'a [ReleaseClauseRef],
    pub(super) state: &'a SessionState,
}

impl PointRules<'_> {
    /// What the clauses release.
    pub(super) fn released(&self) -> impl Iterator<Item = &ReleasedAggregates> {
        self.clauses.iter().filter_map(|reference| self.released_by(&reference.steward))
    }

    /// What a steward's clause releases.
    pub(super) fn released_by(&self, steward: &SiteId) -> Option<&ReleasedAggregates> {
        let of_steward = self.clauses.iter().filter(|reference| reference.steward == *steward);
        of_steward.into_iter().find_map(|reference| {
            let held = self.governing.get(&reference.steward)?;
            match &held.agreement.clause(&ClauseRef::Number(reference.clause))?.clause {
                Clause::Release(ReleaseClause { what: ReleaseWhat::Aggregates(released), .. }) => Some(released),
                _ => None,
            }
        })
    }

    /// Each steward decides over its own groups if a clause says so, or if a query under a minimum is about some of a
    /// federated table's stewards, or about more rows of some than of others: what these have together could be subtracted
    /// from what all have. `conditions` are those that rows or single values are under. Released data that keep or drop rows are
    /// sent to each steward, and none of them can see that the others were sent the same.
    pub(super) fn scope<'e>(
        &self,
        scans: &[VisibleTable],
        conditions: impl IntoIterator<Item = &'e Expr>,
        read_released: bool,
    ) -> MinimumScope {
        let several = scans.iter().filter(|scan| scan.site.is_none() && scan.stewards.len() > 1);
        let stewards: BTreeSet<&SiteId> = several.flat_map(|scan| &scan.stewards).collect();
        let apart = conditions.into_iter().any(|condition| tells_apart(condition, &stewards));
        let some = scans.iter().any(|scan| {
            let all = self.federated.get(&scan.name).map_or(0, |table| table.stewards.len());
            scan.site.is_none() && scan.stewards.len() > 1 && scan.stewards.len() < all
        });
        let minimum = self.released().any(|released| !released.minimums.is_empty());
        let sent = read_released && !stewards.is_empty();
        if ((some || apart || sent) && minimum)
            || self.released().any(|released| released.scope == MinimumScope::PerSite)
        {
            MinimumScope::PerSite
        } else {
            MinimumScope::Federation
        }
    }

    /// Why joined rows of several stewards have no groups that each steward decides over alone: what a steward would release if
    /// it were asked alone is of its own rows, and no joined row is.
    pub(super) fn joined_per_site(&self) -> &'static str {
        if self.released().any(|released| released.scope == MinimumScope::PerSite) {
            "PER SITE has no meaning over joined rows of several stewards: each steward decides as if it were asked alone, and \
             none of them alone has joined rows"
        } else {
            "a question about some of a federated table's stewards is decided by each of them alone (PER SITE), and none of them \
             alone has rows that are joined with others'; ask about all of its stewards, or about one"
        }
    }

    /// Why the conditions of the clauses cannot be decided over the groups of this query; none if they can.
    pub(super) fn undecidable(&self, keys: &[Expr], asked: &[Asked], scope: MinimumScope) -> Option<String> {
        if keys.len() > KEYS_MAX && self.released().any(|released| !released.minimums.is_empty()) {
            return Some(format!("a release under a minimum has at most {KEYS_MAX} grouping keys"));
        }
        let different = asked.iter().find(|value| value.distinct && matches!(value.function.as_str(), "sum" | "avg"));
        let dominance = self.released().any(|released| released.dominance.is_some());
        if let Some(value) = different.filter(|_| dominance) {
            return Some(format!("{} cannot be held to DOMINANCE: a value is of all who have it", name(value)));
        }
        // Where each decides over its own groups, one that merges a remainder sends it, whatever the others do.
        let merges = |released: &ReleasedAggregates| released.outcome == Outcome::Remainder;
        let remainder = match scope {
            MinimumScope::Federation => self.released().all(merges),
            MinimumScope::PerSite => self.released().any(merges),
        };
        if !remainder && asked.iter().any(|value| value.function == IS_REMAINDER) {
            return Some(NO_REMAINDER.to_owned());
        }
        let whole = asked.iter().find(|value| !is_mergeable(&value.function, value.distinct));
        let whole = whole.filter(|_| remainder && !keys.is_empty())?;
        Some(format!("{} of small groups cannot be merged to a remainder", name(whole)))
    }

    /// Why what each steward would send, if each decides over its own groups, is not what its own clause releases; nothing
    /// if it is. An average is merged from sums and counts.
    pub(super) fn not_released_by_each(&self, relation: &RelationShape, keys: &[Expr], asked: &[Asked]) -> Vec<Reason> {
        if let Some(whole) = asked.iter().find(|value| !is_mergeable(&value.function, value.distinct)) {
            let text = format!("{} of groups that each steward releases by itself cannot be merged", name(whole));
            return vec![Reason { steward: None, text }];
        }
        let states: Vec<Asked> = asked.iter().flat_map(Asked::states).map(|state| state.bare(relation)).collect();
        let mut why = Vec::new();
        for clause in self.clauses {
            let Some(held) = self.governing.get(&clause.steward) else { continue };
            let only = Some(clause.clause);
            if let Err(reasons) = relation.released_aggregates(&held.agreement, keys, &states, only, self.state) {
                let steward = Some(clause.steward.clone());
                why.extend(reasons.into_iter().map(|text| Reason { steward: steward.clone(), text }));
            }
        }
        why
    }
}

/// Whether a condition does not mean the same for the rows of all these stewards.
fn tells_apart(condition: &Expr, stewards: &BTreeSet<&SiteId>) -> bool {
    let about = condition.column_refs().into_iter().any(is_steward);
    about && stewards.iter().any(|steward| fulfils(steward, condition, &is_steward) != Some(true))
}

const NO_REMAINDER: &str = "the clauses of this release merge no remainder (ELSE REMAINDER), so `dynamos.is_remainder()` \
                            tells nothing; leave it out";

/// Refuses a plan whose release points are cut out and which still asks for the remainder, for nothing can tell there.
pub(super) fn refuse_other_remainders(plan: &LogicalPlan) -> Result<(), Stop> {
    if !asks_for_remainder(plan)? {
        return Ok(());
    }
    let text = "`dynamos.is_remainder()` stands beside the aggregates of a release under ELSE REMAINDER, and these are over \
                rows that are released already; ask for it where groups are released, and use the column above";
    Err(refuse(text, Vec::new()))
}

fn name(value: &Asked) -> String {
    let distinct = if value.distinct { " DISTINCT" } else { "" };
    format!("`{}{distinct}`", value.function)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Colocated;
    use crate::fragment::AgreementRef;
    use crate::function::engine_state;
    use crate::policy::HeldAgreement;
    use crate::sql::parse_agreement;
    use arrow::datatypes::Schema;
    use datafusion::prelude::{col, lit};

    /// Who decides over `w.t` of three stewards, for a query about these of them under this clause.
    fn scope(stewards: &[&str], clause: &str) -> MinimumScope {
        scope_under(stewards, clause, &[])
    }

    /// The same under these conditions.
    fn scope_under(stewards: &[&str], clause: &str, conditions: &[Expr]) -> MinimumScope {
        let name = TableName::new("w", "t");
        let sites = |names: &[&str]| names.iter().map(|name| SiteId::new(*name)).collect::<BTreeSet<_>>();
        let federated = BTreeMap::from([(name.clone(), FederatedTable { stewards: sites(&["uva", "vu", "amc"]) })]);
        let agreements: Vec<HeldAgreement> = stewards
            .iter()
            .map(|steward| {
                let text = format!("CREATE AGREEMENT a ON SITE {steward} FOR ANYONE PURPOSE statistics AS ({clause})");
                HeldAgreement::new(1, parse_agreement(&text).unwrap())
            })
            .collect();
        let governing = stewards.iter().zip(&agreements).map(|(steward, held)| (SiteId::new(*steward), held)).collect();
        let agreement = AgreementRef { agreement: "a".into(), epoch: 1 };
        let clause =
            |steward: &&str| ReleaseClauseRef { steward: (*steward).into(), agreement: agreement.clone(), clause: 1 };
        let clauses: Vec<ReleaseClauseRef> = stewards.iter().map(clause).collect();
        let rules =
            PointRules { governing: &governing, federated: &federated, clauses: &clauses, state: &engine_state() };
        let scan = VisibleTable {
            site: None,
            name,
            stewards: sites(stewards),
            local: None,
            shared: None,
            colocated: Colocated::new(),
            schema: Arc::new(Schema::empty()),
            within: BTreeMap::new(),
            joined: Vec::new(),
        };
        rules.scope(&[scan], conditions, false)
    }

    #[test]
    fn b4_some_of_a_table_s_stewards_are_held_per_site() {
        let clause = "RELEASE sum OF a FROM w.t MINIMUM 10 DISTINCT k";
        assert_eq!(scope(&["uva", "vu"], clause), MinimumScope::PerSite);
        assert_eq!(scope(&["uva", "vu", "amc"], clause), MinimumScope::Federation);
        assert_eq!(scope(&["uva"], clause), MinimumScope::Federation, "one alone is asked alone in any case");
        assert_eq!(scope(&["uva", "vu"], "RELEASE sum OF a FROM w.t"), MinimumScope::Federation);
    }

    #[test]
    fn b4_conditions_that_tell_stewards_apart_are_held_per_site() {
        let (all, clause) = (["uva", "vu", "amc"], "RELEASE sum OF a FROM w.t MINIMUM 10 DISTINCT k");
        let steward = || col("steward");
        for (condition, expected) in [
            (col("x").gt(lit(1)), MinimumScope::Federation),
            (steward().not_eq(lit("olvg")), MinimumScope::Federation),
            (steward().not_eq(lit("vu")), MinimumScope::PerSite),
            (steward().not_eq(lit("vu")).or(col("x").gt(lit(1))), MinimumScope::PerSite),
            (steward().gt(col("x")), MinimumScope::PerSite),
        ] {
            assert_eq!(scope_under(&all, clause, std::slice::from_ref(&condition)), expected, "{condition}");
        }
    }

    #[test]
    fn b6_per_site_is_what_a_clause_says() {
        let clause = "RELEASE sum OF a FROM w.t MINIMUM 10 DISTINCT k PER SITE";
        assert_eq!(scope(&["uva", "vu", "amc"], clause), MinimumScope::PerSite);
    }
}
