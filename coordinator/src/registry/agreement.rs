//! Signed agreements on their way in: an agreement counts only if its steward signed it and its text says what its
//! envelope says.

use dynamos_planner::policy::Agreement;
use dynamos_planner::sql::parse_agreement;
use dynamos_proto::sign::agreement_bytes;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;

use super::places::KnownSite;

/// Checks an agreement that `steward` sent; gives what it says, or none if it is revoked.
pub(super) fn verify(steward: &KnownSite, signed: &v1::SignedAgreement) -> Result<Option<Agreement>, ServiceError> {
    let refuse = |code, why: String| Err(ServiceError::new(code, format!("agreement `{}`: {why}", signed.name)));
    if signed.steward != steward.site.as_str() {
        return refuse(Code::Denied, format!("`{}` cannot speak for steward `{}`", steward.site, signed.steward));
    }
    let Some(key) = &steward.public_key else {
        return refuse(Code::Denied, format!("`{}` is not a steward and grants nothing", steward.site));
    };
    if key.verify(&agreement_bytes(signed), &signed.signature).is_err() {
        return refuse(Code::Denied, format!("the signature is not that of steward `{}`", steward.site));
    }
    if signed.revoked {
        return Ok(None);
    }
    let agreement = match parse_agreement(&signed.text) {
        Ok(agreement) => agreement,
        Err(error) => return refuse(Code::Syntax, error.to_string()),
    };
    if agreement.name != signed.name || agreement.steward != signed.steward {
        return refuse(Code::InvalidArgument, "its text has another name or steward than its envelope".to_owned());
    }
    Ok(Some(agreement))
}
