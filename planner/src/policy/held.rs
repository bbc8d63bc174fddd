//! The agreements that a place holds, each in its newest version, by steward and name. Signatures are checked before
//! something gets in here.

use std::collections::BTreeMap;

use dynamos_proto::ids::SiteId;

use super::purpose::SHIPPED_VERSION;
use super::{Agreement, Hierarchy, NotApplicable, Purposes, Requester, UtcMillis};

/// An agreement in the version that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldAgreement {
    /// The version; rises with each change.
    pub epoch: u64,
    /// The version of the hierarchy of purposes that it was signed under.
    pub purposes: u32,
    /// What it says.
    pub agreement: Agreement,
}

impl HeldAgreement {
    /// One that is signed now.
    pub fn new(epoch: u64, agreement: Agreement) -> Self {
        Self { epoch, purposes: SHIPPED_VERSION, agreement }
    }

    /// Whether it speaks about a query that `requester` asks for `purpose` at `now`.
    pub fn applies_to(
        &self,
        requester: &Requester,
        purpose: &str,
        now: UtcMillis,
        purposes: &Purposes,
    ) -> Result<(), NotApplicable> {
        let known = purposes.version(self.purposes);
        let applies = self.agreement.applies_to(requester, purpose, now, known.unwrap_or(&Hierarchy::default()));
        match applies {
            // Whom it does not concern learns nothing else of it.
            Err(NotApplicable::Requester { .. }) => applies,
            _ if known.is_none() => {
                let (agreement, steward) = (self.agreement.name.clone(), self.agreement.steward.clone());
                Err(NotApplicable::Purposes { agreement, steward, version: self.purposes })
            }
            applies => applies,
        }
    }
}

/// Agreements by steward and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgreementSet {
    stewards: BTreeMap<SiteId, BTreeMap<String, HeldAgreement>>,
}

impl AgreementSet {
    /// Puts an agreement in, in place of an older version. An older or equal version than the one held changes nothing.
    pub fn insert(&mut self, offered: HeldAgreement) {
        let Agreement { steward, name, .. } = &offered.agreement;
        let of_steward = self.stewards.entry(SiteId::new(steward)).or_default();
        if of_steward.get(name).is_none_or(|held| held.epoch < offered.epoch) {
            of_steward.insert(name.clone(), offered);
        }
    }

    /// Takes out an agreement that was revoked.
    pub fn remove(&mut self, steward: &SiteId, name: &str) -> Option<HeldAgreement> {
        self.stewards.get_mut(steward)?.remove(name)
    }

    /// The agreement of this name.
    pub fn get(&self, steward: &SiteId, name: &str) -> Option<&HeldAgreement> {
        self.stewards.get(steward)?.get(name)
    }

    /// A steward's agreements, in order of name.
    pub fn of<'a>(&'a self, steward: &SiteId) -> impl Iterator<Item = &'a HeldAgreement> + use<'a> {
        self.stewards.get(steward).into_iter().flat_map(BTreeMap::values)
    }

    /// All agreements, in order of steward and name.
    pub fn all(&self) -> impl Iterator<Item = &HeldAgreement> {
        self.stewards.values().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse_agreement;

    #[test]
    fn e1_an_agreement_is_read_under_the_version_of_the_purposes_that_it_was_signed_under() {
        let below = |parent: &'static str| Hierarchy::new([("survey", parent)]).unwrap();
        let purposes = Purposes::new([(1, below("statistics")), (2, below("research"))]);
        let text = "CREATE AGREEMENT a ON SITE vu FOR ORGANISATION uva PURPOSE statistics AS (RELEASE ROWS (*) FROM t)";
        let asked = |organisation: &str, version: u32| {
            let requester = Requester { user: "ann".into(), organisation: organisation.into(), roles: [].into() };
            let held = HeldAgreement { purposes: version, ..HeldAgreement::new(1, parse_agreement(text).unwrap()) };
            held.applies_to(&requester, "survey", UtcMillis(0), &purposes).map_err(|why| why.to_string())
        };
        assert_eq!(asked("uva", 1), Ok(()));
        assert_eq!(asked("uva", 2).unwrap_err(), "agreement `a` of `vu` does not cover purpose `survey`");
        let unknown = asked("uva", 3).unwrap_err();
        assert!(unknown.contains("signed under version 3 of the purposes, which is not known here"), "{unknown}");
        assert!(asked("vu", 3).unwrap_err().contains("is not made with user"));
    }
}
