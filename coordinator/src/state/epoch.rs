//! The one rule about versions of an agreement, used where it is announced and where it is applied.

use std::cmp::Ordering;

use dynamos_proto::v1::SignedAgreement;

/// How an offered version stands to the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes the place of what is known.
    Newer,
    /// It is what is known already.
    Same,
    /// What is known is newer.
    Older,
    /// The same epoch says something else.
    Contradicts,
}

/// Compares an offered version with the known one. INVARIANT(epochs_rise). The same text under the same epoch but with
/// another signature is newer: the steward has a new key.
pub fn standing(known: Option<&SignedAgreement>, offered: &SignedAgreement) -> Standing {
    let Some(known) = known else { return Standing::Newer };
    match offered.epoch.cmp(&known.epoch) {
        Ordering::Greater => Standing::Newer,
        Ordering::Less => Standing::Older,
        Ordering::Equal if says(known) != says(offered) => Standing::Contradicts,
        Ordering::Equal if known.signature != offered.signature => Standing::Newer,
        Ordering::Equal => Standing::Same,
    }
}

/// What a version says.
fn says(agreement: &SignedAgreement) -> (&str, bool, u32) {
    (&agreement.text, agreement.revoked, agreement.purposes)
}
