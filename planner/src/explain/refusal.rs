//! The report of EXPLAIN POLICY on a query that may not run: the reasons of each steward, one a line, with the clauses that
//! they are about, and the nearest query that is allowed. Agreements that do not apply to who asks are not spoken of.

use std::collections::{BTreeMap, BTreeSet};

use dynamos_proto::ids::SiteId;

use super::limits::clause;
use super::lines::{line, whom};
use crate::policy::{Denial, HeldAgreement, NumberedClause, Policy, in_clause};

/// The report on a query that was denied, with what could be asked instead, if that was found.
pub fn explain_denial(denial: &Denial, nearest: Option<&str>, policy: &Policy<'_>) -> String {
    let mut text = format!("Refused for {}.\n", whom(policy));
    let mut reasons: BTreeMap<Option<&SiteId>, Vec<&str>> = BTreeMap::new();
    for reason in &denial.reasons {
        reasons.entry(reason.steward.as_ref()).or_default().push(&reason.text);
    }
    for (steward, reasons) in reasons {
        text.push('\n');
        let applicable = steward.map(|steward| policy.applicable(steward)).unwrap_or_default();
        line(&mut text, 0, &title(steward, &applicable));
        let mut shown = BTreeSet::new();
        for reason in reasons {
            line(&mut text, 1, reason);
            if let Some((agreement, numbered)) = about(reason, &applicable)
                && shown.insert((agreement, numbered.number))
            {
                line(&mut text, 2, &clause(numbered));
            }
        }
    }
    text.push('\n');
    match (nearest, denial.hint()) {
        (Some(nearest), _) => {
            line(&mut text, 0, "Nearest allowed query:");
            line(&mut text, 1, nearest);
        }
        (None, Some(hint)) => line(&mut text, 0, &format!("{hint}.")),
        (None, None) => {}
    }
    text
}

fn title(steward: Option<&SiteId>, applicable: &[&HeldAgreement]) -> String {
    let Some(steward) = steward else { return "the question itself".to_owned() };
    let agreements: Vec<String> =
        applicable.iter().map(|held| format!("{}, epoch {}", held.agreement.name, held.epoch)).collect();
    match agreements.as_slice() {
        [] => format!("{steward}: no agreement holds"),
        [only] => format!("{steward}: by agreement {only}"),
        several => format!("{steward}: by each of the agreements {}", several.join("; ")),
    }
}

/// The clause that a reason is about, and its agreement's name.
fn about<'a>(reason: &str, applicable: &[&'a HeldAgreement]) -> Option<(&'a str, &'a NumberedClause)> {
    applicable.iter().find_map(|held| {
        let agreement = &held.agreement;
        let clause = agreement.clauses.iter();
        let mut clause = clause.filter(|one| reason.starts_with(&format!("{}: ", in_clause(agreement, one))));
        Some((agreement.name.as_str(), clause.next()?))
    })
}
