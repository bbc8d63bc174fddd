//! What a new version of an agreement means for a query that runs under an older one. It may go on only if the new version
//! allows it, which the check of its graph says, and if nothing that it has seen or was granted reads otherwise now, which is
//! decided here. Everything else of an agreement may change under it: other clauses, who else may ask, budgets.

use std::collections::BTreeSet;

use dynamos_proto::ids::SiteId;

use super::check::cite;
use super::{Agreement, Clause, EdgeVerdict, HeldAgreement, NumberedClause};
use crate::fragment::FragmentGraph;

/// Whether a query reads the same in both versions of its steward's agreement: the views of its tables, and each clause that
/// its edges and release points rest on. `verdicts` are those of the check under the older version.
pub fn reads_the_same(
    graph: &FragmentGraph,
    verdicts: &[EdgeVerdict],
    steward: &SiteId,
    before: &HeldAgreement,
    after: &HeldAgreement,
) -> bool {
    let used = used(graph, verdicts, steward, before);
    let same = |number: u32| match (numbered(&before.agreement, number), numbered(&after.agreement, number)) {
        (Some(before), Some(after)) => before.clause == after.clause,
        (None, _) | (_, None) => false,
    };
    views(&before.agreement).eq(views(&after.agreement)) && used.into_iter().all(same)
}

/// The graph as it would be had it been planned under another version of an agreement that says the same to it.
pub fn under_version(graph: &FragmentGraph, steward: &SiteId, agreement: &str, epoch: u64) -> FragmentGraph {
    let mut graph = graph.clone();
    if let Some(governing) = graph.governing.get_mut(steward).filter(|one| one.agreement == agreement) {
        governing.epoch = epoch;
    }
    let clauses = graph.releases.iter_mut().flat_map(|point| &mut point.clauses);
    for clause in clauses.filter(|clause| clause.steward == *steward && clause.agreement.agreement == agreement) {
        clause.agreement.epoch = epoch;
    }
    graph
}

/// The numbers of a steward's clauses that a query rests on.
fn used(graph: &FragmentGraph, verdicts: &[EdgeVerdict], steward: &SiteId, held: &HeldAgreement) -> BTreeSet<u32> {
    let name = &held.agreement.name;
    let released = graph.releases.iter().flat_map(|point| &point.clauses);
    let released = released.filter(|clause| clause.steward == *steward && clause.agreement.agreement == *name);
    let cited: BTreeSet<&String> = verdicts.iter().flat_map(|verdict| &verdict.clauses).collect();
    let numbers = held.agreement.clauses.iter().map(|clause| clause.number);
    let cited = numbers.filter(|number| cited.contains(&cite(steward, held, *number)));
    cited.chain(released.map(|clause| clause.clause)).collect()
}

/// The clauses that make the views of a steward's tables. One about another table may hide rows of this one, too.
fn views(agreement: &Agreement) -> impl Iterator<Item = &Clause> {
    let clauses = agreement.clauses.iter().map(|numbered| &numbered.clause);
    clauses.filter(|clause| matches!(clause, Clause::Mask(_) | Clause::Rows(_)))
}

fn numbered(agreement: &Agreement, number: u32) -> Option<&NumberedClause> {
    agreement.clauses.iter().find(|clause| clause.number == number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dynamos_proto::ids::{FragmentId, QueryId, ReleaseId};

    use super::super::Carried;
    use super::*;
    use crate::fragment::AgreementRef;
    use crate::sql::parse_agreement;

    const CLAUSES: &str = "c1: RELEASE avg OF s BY g FROM t MINIMUM 10 DISTINCT k, \
                           c2: RELEASE ROWS (g) FROM u, \
                           MASK t.b AS NULL, \
                           ROWS ON t WHERE o = 1";

    fn held(epoch: u64, grantee: &str, clauses: &str) -> HeldAgreement {
        let text = format!("CREATE AGREEMENT a ON SITE vu FOR {grantee} PURPOSE statistics AS ({clauses})");
        HeldAgreement::new(epoch, parse_agreement(&text).unwrap())
    }

    /// A query that clause 1 covers.
    fn graph() -> FragmentGraph {
        FragmentGraph {
            query: QueryId::new("q"),
            attempt: 0,
            purpose: "statistics".into(),
            catalog_version: 1,
            fragments: Vec::new(),
            releases: Vec::new(),
            endpoints: BTreeMap::new(),
            governing: [("vu".into(), AgreementRef { agreement: "a".into(), epoch: 1 })].into(),
            planned_at_ms: 0,
            expires_at_ms: 0,
            token_hash: Vec::new(),
            organisation: "vu".into(),
        }
    }

    #[test]
    fn e2_a_query_reads_the_same_while_its_views_and_clauses_do() {
        let (steward, before) = (SiteId::new("vu"), held(1, "ANYONE", CLAUSES));
        let verdict = EdgeVerdict {
            from: FragmentId(0),
            to: None,
            what: "released r0".into(),
            carried: Carried::Groups(ReleaseId(0)),
            clauses: vec![cite(&steward, &before, 1)],
            rows_of: None,
        };
        let same = |grantee: &str, clauses: &str| {
            reads_the_same(&graph(), std::slice::from_ref(&verdict), &steward, &before, &held(2, grantee, clauses))
        };
        assert!(same("ANYONE", CLAUSES));
        assert!(same("ROLE analyst", &CLAUSES.replace("(g) FROM u", "(*) FROM u")), "others' clauses may change");
        assert!(same("ANYONE", &format!("{CLAUSES}, BUDGET 5 QUERIES PER DAY")));
        for (from, to) in [
            ("MINIMUM 10", "MINIMUM 11"),
            ("avg", "avg, sum"),
            ("b AS NULL", "b AS 1"),
            ("o = 1", "o = 2"),
            ("c1: RELEASE avg OF s BY g FROM t MINIMUM 10 DISTINCT k, ", ""),
        ] {
            assert!(!same("ANYONE", &CLAUSES.replace(from, to)), "{from} → {to}");
        }
        assert!(!same("ANYONE", &format!("{CLAUSES}, MASK u.x AS NULL")), "every view of the steward counts");
        assert_eq!(under_version(&graph(), &steward, "a", 7).governing[&steward].epoch, 7);
    }
}
