//! An agreement: one steward's grant to a set of requesters, for a set of purposes, during an interval, in clauses.
//! Epoch and signature are not part of it; they belong to the record that carries its canonical text.
//! [`Agreement::applies_to`] is the first question asked of it on a query's path: is this requester concerned at all?

use thiserror::Error;

use super::clause::Clause;
use super::hierarchy::Hierarchy;
use super::instant::UtcMillis;
use super::requester::Requester;

/// What one steward grants. `Display` writes the canonical text, which parses to the same value.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// Unique at its steward.
    pub name: String,
    /// The site that owns the tables and grants.
    pub steward: String,
    /// Whom it concerns; never empty.
    pub grantees: Vec<Grantee>,
    /// Purposes granted, with everything below them; never empty.
    pub purposes: Vec<String>,
    /// First moment at which it holds; `None` is since ever.
    pub valid_from: Option<UtcMillis>,
    /// First moment at which it no longer holds; `None` is without end.
    pub valid_until: Option<UtcMillis>,
    /// In ascending order of number; never empty.
    pub clauses: Vec<NumberedClause>,
}

/// A clause with the number that decisions and audit records cite.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberedClause {
    /// Counted from 1 where the text gives no number of its own.
    pub number: u32,
    /// The steward's name for it, unique in the agreement.
    pub name: Option<String>,
    /// What it says.
    pub clause: Clause,
}

/// Whom an agreement concerns.
#[derive(Debug, Clone, PartialEq)]
pub enum Grantee {
    /// One person, by the name that the person's organisation signs.
    User(String),
    /// Everybody with a role; where an organisation is given, both must match.
    Role {
        /// The role's name.
        role: String,
        /// The organisation that must have given it, or any.
        organisation: Option<String>,
    },
    /// Everybody of an organisation.
    Organisation(String),
    /// Everybody with an identity.
    Anyone,
}

/// Why an agreement says nothing about a query. Each variant is a reason to show, not a failure.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotApplicable {
    /// None of the grantees is this requester.
    #[error("agreement `{agreement}` of `{steward}` is not made with user `{user}` of `{organisation}`")]
    Requester {
        /// The agreement's name.
        agreement: String,
        /// Its steward.
        steward: String,
        /// Who asked.
        user: String,
        /// The asking user's organisation.
        organisation: String,
    },
    /// No granted purpose covers the declared one.
    #[error("agreement `{agreement}` of `{steward}` does not cover purpose `{purpose}`")]
    Purpose {
        /// The agreement's name.
        agreement: String,
        /// Its steward.
        steward: String,
        /// The purpose declared with the query.
        purpose: String,
    },
    /// Which purposes lie below the granted ones is not known.
    #[error(
        "agreement `{agreement}` of `{steward}` was signed under version {version} of the purposes, which is not known here"
    )]
    Purposes {
        /// The agreement's name.
        agreement: String,
        /// Its steward.
        steward: String,
        /// The version of the hierarchy.
        version: u32,
    },
    /// It does not hold yet.
    #[error("agreement `{agreement}` of `{steward}` is valid from {from}")]
    NotYetValid {
        /// The agreement's name.
        agreement: String,
        /// Its steward.
        steward: String,
        /// When it begins to hold.
        from: UtcMillis,
    },
    /// It no longer holds.
    #[error("agreement `{agreement}` of `{steward}` was valid until {until}")]
    Expired {
        /// The agreement's name.
        agreement: String,
        /// Its steward.
        steward: String,
        /// When it ceased to hold.
        until: UtcMillis,
    },
}

impl Agreement {
    /// Whether this agreement speaks about a query that `requester` asks for `purpose` at `now`. The interval is closed
    /// at its beginning and open at its end.
    pub fn applies_to(
        &self,
        requester: &Requester,
        purpose: &str,
        now: UtcMillis,
        purposes: &Hierarchy,
    ) -> Result<(), NotApplicable> {
        let (agreement, steward) = (self.name.clone(), self.steward.clone());
        if !self.grantees.iter().any(|grantee| grantee.matches(requester)) {
            let (user, organisation) = (requester.user.clone(), requester.organisation.clone());
            return Err(NotApplicable::Requester { agreement, steward, user, organisation });
        }
        if !self.purposes.iter().any(|granted| purposes.covers(granted, purpose)) {
            return Err(NotApplicable::Purpose { agreement, steward, purpose: purpose.to_owned() });
        }
        if let Some(from) = self.valid_from.filter(|from| now < *from) {
            return Err(NotApplicable::NotYetValid { agreement, steward, from });
        }
        if let Some(until) = self.valid_until.filter(|until| now >= *until) {
            return Err(NotApplicable::Expired { agreement, steward, until });
        }
        Ok(())
    }

    /// The clause that `reference` names.
    pub fn clause(&self, reference: &super::ClauseRef) -> Option<&NumberedClause> {
        self.clauses.iter().find(|clause| clause.is(reference))
    }
}

impl NumberedClause {
    /// Whether `reference` means this clause.
    pub fn is(&self, reference: &super::ClauseRef) -> bool {
        match reference {
            super::ClauseRef::Number(number) => self.number == *number,
            super::ClauseRef::Name(name) => self.name.as_ref() == Some(name),
        }
    }
}

impl Grantee {
    /// Whether `requester` is meant.
    pub fn matches(&self, requester: &Requester) -> bool {
        match self {
            Grantee::User(user) => *user == requester.user,
            Grantee::Role { role, organisation } => {
                requester.roles.contains(role)
                    && organisation.as_ref().is_none_or(|organisation| *organisation == requester.organisation)
            }
            Grantee::Organisation(organisation) => *organisation == requester.organisation,
            Grantee::Anyone => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::purpose;
    use crate::sql::parse_agreement;

    fn requester(user: &str, organisation: &str, roles: &[&str]) -> Requester {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Requester { user: user.to_owned(), organisation: organisation.to_owned(), roles }
    }

    fn agreement(grantee: &str, rest: &str) -> Agreement {
        let text = format!("CREATE AGREEMENT a ON SITE vu FOR {grantee} {rest} AS (RELEASE ROWS (*) FROM t)");
        parse_agreement(&text).unwrap()
    }

    #[test]
    fn concerns_exactly_its_grantees() {
        let now = UtcMillis::parse("2026-05-01").unwrap();
        let purposes = purpose::shipped().unwrap();
        let ann = requester("ann@uva.nl", "uva", &["student", "analyst"]);
        for (grantee, concerned) in [
            ("USER 'ann@uva.nl'", true),
            ("USER 'Ann@uva.nl'", false),
            ("ROLE analyst", true),
            ("ROLE analyst OF uva", true),
            ("ROLE analyst OF vu", false),
            ("ROLE teacher OF uva", false),
            ("ORGANISATION uva", true),
            ("ORGANISATION vu", false),
            ("ANYONE", true),
            ("ORGANISATION vu, ROLE student", true),
        ] {
            let agreement = agreement(grantee, "PURPOSE statistics");
            let answer =
                agreement.applies_to(&ann, "statistics", now, purposes.version(purpose::SHIPPED_VERSION).unwrap());
            assert_eq!(answer.is_ok(), concerned, "{grantee}: {answer:?}");
        }
    }

    #[test]
    fn holds_from_its_beginning_until_just_before_its_end() {
        let agreement = agreement("ANYONE", "PURPOSE statistics VALID FROM '2026-01-01' UNTIL '2027-01-01'");
        for (now, refusal) in [
            ("2025-12-31T23:59:59.999Z", Some("agreement `a` of `vu` is valid from 2026-01-01")),
            ("2026-01-01", None),
            ("2026-12-31T23:59:59.999Z", None),
            ("2027-01-01", Some("agreement `a` of `vu` was valid until 2027-01-01")),
        ] {
            let now = UtcMillis::parse(now).unwrap();
            let answer = agreement.applies_to(&requester("ann", "uva", &[]), "statistics", now, &Hierarchy::default());
            assert_eq!(answer.err().map(|why| why.to_string()).as_deref(), refusal, "{now}");
        }
    }

    #[test]
    fn covers_purposes_below_the_granted_ones_only() {
        let agreement = agreement("ANYONE", "PURPOSE education, 'DUO:0000006', thesis");
        let purposes = purpose::shipped().unwrap();
        let purposes = purposes.version(purpose::SHIPPED_VERSION).unwrap();
        for (asked, covered) in [
            ("education", true),
            ("DUO:0000007", true),
            ("DUO:0000042", false),
            ("statistics", false),
            ("thesis", true),
            ("theses", false),
        ] {
            let answer = agreement.applies_to(&requester("ann", "uva", &[]), asked, UtcMillis(0), purposes);
            assert_eq!(answer.is_ok(), covered, "{asked}: {answer:?}");
        }
    }
}
