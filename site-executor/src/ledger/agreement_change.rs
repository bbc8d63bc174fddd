//! [`AgreementChange`]: a change of one of a steward's own agreements, made or refused, with the text that it made. So what a
//! clause said in an epoch that a permit names can be looked up in the same file, long after.

use dynamos_planner::policy::UtcMillis;
use dynamos_planner::sql::{DynamosStatement, parse_statement};
use dynamos_proto::sign::{PublicKey, sha256_hex};
use dynamos_proto::status::ServiceError;
use dynamos_proto::token::Claims;
use dynamos_proto::v1::SignedAgreement;
use serde::{Deserialize, Serialize};

use super::entry::{Moment, cut, shortened};

/// A text that was refused is kept up to this length (bytes), of a longer one only its hash. One that came into force is kept
/// whole.
const REFUSED_TEXT_BYTES_MAX: usize = 16 << 10;
/// So much of the reason of a refusal is kept (bytes).
const REASON_BYTES_MAX: usize = 1024;

/// A change, as far as it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgreementChange {
    at: Moment,
    /// None where the statement is none of these.
    change: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<String>,
    /// The version that it made; none where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Of the canonical text, or of the statement where that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    text_sha256: Option<String>,
    /// The canonical text of what was created, altered or found.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Who asked, as the organisation signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    requester: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organisation: Option<String>,
    /// The public key under which a revocation that somebody brought is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
    /// Of the error, where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What was done, or was to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Create,
    Alter,
    Revoke,
    /// In force when the place began and on no record: from a file of the place's own, or from before changes were recorded.
    Found,
    /// The same, revoked.
    FoundRevoked,
}

impl AgreementChange {
    /// A statement that somebody sent.
    pub(crate) fn asked(statement: &str, at: UtcMillis) -> Self {
        let (change, agreement, text) = match parse_statement(statement) {
            Ok(DynamosStatement::CreateAgreement(agreement)) => {
                (Some(Kind::Create), Some(agreement.name.clone()), Some(agreement.to_string()))
            }
            Ok(DynamosStatement::AlterAgreement(agreement)) => {
                (Some(Kind::Alter), Some(agreement.name.clone()), Some(agreement.to_string()))
            }
            Ok(DynamosStatement::RevokeAgreement { name, .. }) => (Some(Kind::Revoke), Some(name), None),
            Ok(_) | Err(_) => (None, None, None),
        };
        let hashed = match (change, &text) {
            (_, Some(text)) => Some(text.as_str()),
            (None, None) => Some(statement),
            (Some(_), None) => None,
        };
        let text_sha256 = hashed.map(|text| sha256_hex(text.as_bytes()));
        let agreement = agreement.as_deref().map(cut);
        Self { agreement, text_sha256, text, ..Self::empty(change, at) }
    }

    /// A revocation that somebody brought.
    pub(crate) fn brought(revocation: &SignedAgreement, at: UtcMillis) -> Self {
        Self { agreement: Some(cut(&revocation.name)), ..Self::empty(Some(Kind::Revoke), at) }
    }

    /// A version that is there though nothing is on record about it.
    pub(super) fn found(signed: &SignedAgreement, at: UtcMillis) -> Self {
        let kind = if signed.revoked { Kind::FoundRevoked } else { Kind::Found };
        Self::empty(Some(kind), at).made(signed)
    }

    /// The same, by whom a token names.
    pub(crate) fn by(self, claims: &Claims) -> Self {
        Self { requester: Some(cut(&claims.sub)), organisation: Some(cut(&claims.iss)), ..self }
    }

    /// The same, signed with the key to this one.
    pub(crate) fn signed_by(self, key: &PublicKey) -> Self {
        Self { signed_by: Some(key.to_text()), ..self }
    }

    /// The same, which made this version.
    pub(crate) fn made(self, signed: &SignedAgreement) -> Self {
        Self {
            agreement: Some(signed.name.clone()),
            epoch: Some(signed.epoch),
            text_sha256: Some(sha256_hex(signed.text.as_bytes())),
            text: (self.change != Some(Kind::Revoke)).then(|| signed.text.clone()),
            ..self
        }
    }

    /// The same, refused.
    pub(crate) fn refused(self, error: &ServiceError) -> Self {
        Self {
            text: self.text.filter(|text| text.len() <= REFUSED_TEXT_BYTES_MAX),
            code: Some(error.code.as_str().to_owned()),
            reason: Some(shortened(&error.message, REASON_BYTES_MAX)),
            ..self
        }
    }

    /// The version that it made, if it made one.
    pub(super) fn version(&self) -> Option<(&str, u64)> {
        Some((self.agreement.as_deref()?, self.epoch?))
    }

    fn empty(change: Option<Kind>, at: UtcMillis) -> Self {
        Self {
            at: Moment(at),
            change,
            agreement: None,
            epoch: None,
            text_sha256: None,
            text: None,
            requester: None,
            organisation: None,
            signed_by: None,
            code: None,
            reason: None,
        }
    }
}
