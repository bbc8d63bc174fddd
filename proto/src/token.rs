//! The requester's token: a JWT (RFC 7519, EdDSA as in RFC 8037) signed by the user's *organisation*, so that neither a
//! coordinator nor another organisation can invent a user. Sites verify it with the organisation's key from their own
//! configuration. Time is an input.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::sign::{PublicKey, SigningKey};

/// Clocks of different machines may differ by this much (seconds) without a token being refused.
pub const SKEW_SECONDS: i64 = 30;
/// A token longer than this is refused before it is looked at (bytes).
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

/// What an organisation vouches for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The organisation that signed.
    pub iss: String,
    /// The user.
    pub sub: String,
    /// Roles within the organisation.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Purposes that this user may declare.
    #[serde(default)]
    pub purposes: Vec<String>,
    /// Not valid after this instant, seconds since 1970-01-01 UTC.
    pub exp: i64,
    /// Unique id of the token.
    pub jti: String,
}

/// Why a token is not accepted. Never holds the token.
#[derive(Debug, Error, PartialEq)]
pub enum TokenError {
    /// Not three base64url parts with the one accepted header and a JSON payload.
    #[error("the token is not an EdDSA-signed JWT")]
    Malformed,
    /// No key is known for the organisation that the token names.
    #[error("organisation `{0}` is not known here")]
    UnknownIssuer(String),
    /// The organisation did not sign it.
    #[error("the token's signature does not verify")]
    WrongSignature,
    /// Its time has passed.
    #[error("the token expired; log in again")]
    Expired,
}

/// The keys of organisations whose users are known, by organisation.
pub type Issuers = BTreeMap<String, PublicKey>;

/// A token with these claims.
pub fn issue(claims: &Claims, key: &SigningKey) -> Result<String, TokenError> {
    let payload = serde_json::to_vec(claims).map_err(|_| TokenError::Malformed)?;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}

/// The claims of a token that one of `issuers` signed and that is valid at `now_seconds`.
pub fn verify(token: &str, issuers: &Issuers, now_seconds: i64) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
    if decode(header)? != HEADER.as_bytes() {
        return Err(TokenError::Malformed);
    }
    let claims: Claims = serde_json::from_slice(&decode(payload)?).map_err(|_| TokenError::Malformed)?;
    let key = issuers.get(&claims.iss).ok_or_else(|| TokenError::UnknownIssuer(claims.iss.clone()))?;
    key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| TokenError::WrongSignature)?;
    if claims.exp.saturating_add(SKEW_SECONDS) < now_seconds { Err(TokenError::Expired) } else { Ok(claims) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            iss: "uva".into(),
            sub: "a@uva.nl".into(),
            roles: vec!["analyst".into()],
            purposes: vec!["statistics".into()],
            exp: 1000,
            jti: "1".into(),
        }
    }

    #[test]
    fn e1_only_the_organisation_can_vouch() {
        let (uva, vu) = (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        let issuers = Issuers::from([("uva".into(), uva.public()), ("vu".into(), vu.public())]);
        assert_eq!(verify(&issue(&claims(), &uva).unwrap(), &issuers, 999), Ok(claims()));
        assert_eq!(verify(&issue(&claims(), &vu).unwrap(), &issuers, 999), Err(TokenError::WrongSignature));
        assert_eq!(verify(&issue(&claims(), &uva).unwrap(), &issuers, 2000), Err(TokenError::Expired));
        assert_eq!(verify("a.b", &issuers, 0), Err(TokenError::Malformed));
        let foreign = Claims { iss: "x".into(), ..claims() };
        assert_eq!(verify(&issue(&foreign, &uva).unwrap(), &issuers, 0), Err(TokenError::UnknownIssuer("x".into())));
    }
}
