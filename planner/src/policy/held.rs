//! The agreements that a place holds, each in its newest version, by steward and name. Signatures are checked before
//! something gets in here.

use std::collections::BTreeMap;

use dynamos_proto::ids::SiteId;

use super::Agreement;

/// An agreement in the version that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldAgreement {
    /// The version; rises with each change.
    pub epoch: u64,
    /// What it says.
    pub agreement: Agreement,
}

/// Agreements by steward and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgreementSet {
    stewards: BTreeMap<SiteId, BTreeMap<String, HeldAgreement>>,
}

impl AgreementSet {
    /// Puts an agreement in, in place of an older version. An older or equal version than the one held changes nothing.
    pub fn insert(&mut self, epoch: u64, agreement: Agreement) {
        let of_steward = self.stewards.entry(SiteId::new(&agreement.steward)).or_default();
        if of_steward.get(&agreement.name).is_none_or(|held| held.epoch < epoch) {
            of_steward.insert(agreement.name.clone(), HeldAgreement { epoch, agreement });
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
