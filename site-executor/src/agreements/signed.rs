//! Agreements and revocations that somebody else brings. Nothing is believed of who brings them: their stewards' signatures
//! count, and only what is newer than what was seen before.

use std::collections::BTreeSet;
use std::sync::Arc;

use dynamos_planner::policy::{Agreement, AgreementSet, HeldAgreement};
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::{PublicKey, agreement_bytes};
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1::SignedAgreement;

use super::book::{AgreementBook, parse};
use super::files::{self, ForeignRecord, Record};

impl AgreementBook {
    /// Takes in agreements of other stewards that came with a permit; gives those that are over now. Nothing is taken if one
    /// of them is wrong.
    pub(crate) fn learn(&mut self, signed: &[SignedAgreement]) -> Result<Vec<SignedAgreement>, ServiceError> {
        let mut verified = Vec::new();
        for one in signed {
            let steward = SiteId::new(&one.steward);
            if steward == self.place {
                continue;
            }
            let key = self.peers.get(&steward);
            let key =
                key.ok_or_else(|| refused(format!("no key of steward `{steward}` is known at `{}`", self.place)))?;
            verified.push((steward, one, verify(one, key)?));
        }
        let mut held = AgreementSet::clone(&self.held);
        let mut seen = self.seen.clone();
        let mut revoked = Vec::new();
        for (steward, one, agreement) in verified {
            let key = (steward.clone(), one.name.clone());
            if one.epoch <= seen.get(&key).map_or(0, |newest| newest.record.epoch) {
                continue;
            }
            held.remove(&steward, &one.name);
            if one.revoked {
                revoked.push(one.clone());
            } else {
                held.insert(HeldAgreement { epoch: one.epoch, purposes: one.purposes, agreement });
            }
            seen.insert(key, ForeignRecord { steward, record: record(one) });
        }
        if seen == self.seen {
            return Ok(Vec::new());
        }
        files::write(&self.seen_path, seen.values()).map_err(|error| {
            tracing::error!(%error, "agreements of other stewards cannot be stored");
            ServiceError::new(Code::Internal, format!("`{}` cannot store the agreements of other stewards", self.place))
        })?;
        self.seen = seen;
        self.held = Arc::new(held);
        Ok(revoked)
    }

    /// Takes in that an agreement is over, of this place's own or of another steward's; gives whether that is new here.
    ///
    /// # Errors
    ///
    /// `SITE_REFUSED` if it is no revocation or not signed by its steward, `STALE_BASIS` if a newer version is known.
    pub(crate) fn revoke(&mut self, signed: &SignedAgreement) -> Result<bool, ServiceError> {
        if !signed.revoked {
            return Err(refused(format!(
                "agreement `{}` is brought to be revoked, but says that it holds",
                signed.name
            )));
        }
        let steward = SiteId::new(&signed.steward);
        let own = steward == self.place;
        let known = match own {
            true => self.own.get(&signed.name),
            false => self.seen.get(&(steward, signed.name.clone())).map(|seen| &seen.record),
        };
        if let Some(known) = known.filter(|known| known.epoch >= signed.epoch) {
            if known.epoch == signed.epoch && known.revoked {
                return Ok(false);
            }
            let (name, epoch, newest) = (&signed.name, signed.epoch, known.epoch);
            let text = format!(
                "agreement `{name}` of `{}` is revoked in version {epoch}, but {newest} is known",
                signed.steward
            );
            return Err(
                ServiceError::new(Code::StaleBasis, text).with_hint("sign the revocation of the newest version")
            );
        }
        if !own {
            return self.learn(std::slice::from_ref(signed)).map(|revoked| !revoked.is_empty());
        }
        let key = self.key.as_ref().ok_or_else(|| refused("this place signs no agreements".to_owned()))?;
        verify(signed, &key.public())?;
        self.commit(Record {
            from_file: self.own.get(&signed.name).and_then(|known| known.from_file.clone()),
            ..record(signed)
        })?;
        Ok(true)
    }
}

/// What a steward signed, if it did and the text is what the record says.
fn verify(signed: &SignedAgreement, key: &PublicKey) -> Result<Agreement, ServiceError> {
    let (name, steward) = (&signed.name, &signed.steward);
    key.verify(&agreement_bytes(signed), &signed.signature)
        .map_err(|_| refused(format!("agreement `{name}` is not signed by `{steward}`")))?;
    parse(&signed.text)
        .filter(|agreement| agreement.name == *name && agreement.steward == *steward)
        .ok_or_else(|| refused(format!("agreement `{name}` of `{steward}` is not what it says")))
}

fn record(signed: &SignedAgreement) -> Record {
    Record {
        name: signed.name.clone(),
        epoch: signed.epoch,
        text: signed.text.clone(),
        revoked: signed.revoked,
        purposes: signed.purposes,
        from_file: None,
        retired: BTreeSet::new(),
    }
}

fn refused(text: String) -> ServiceError {
    ServiceError::new(Code::SiteRefused, text)
}
