//! Ed25519 keys as the federation uses them: a coordinator signs permits, a steward its agreements, an organisation its
//! users' tokens. Keys are exchanged as base64 text. Randomness and storage are the caller's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use ring::{digest, hmac};
use thiserror::Error;

/// A key or signature that cannot be used.
#[derive(Debug, Error)]
pub enum SignError {
    /// The text is not base64 of a key.
    #[error("not a base64 Ed25519 {0}")]
    MalformedKey(&'static str),
    /// The signature does not belong to these bytes and this key.
    #[error("the signature does not verify")]
    WrongSignature,
}

/// A private signing key.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key that a 32-byte seed stands for.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, SignError> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| SignError::MalformedKey("seed"))
    }

    /// The key in a base64 text of its 32-byte seed, as key files hold it.
    pub fn from_text(text: &str) -> Result<Self, SignError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SignError::MalformedKey("seed"))?;
        let seed: [u8; 32] = bytes.try_into().map_err(|_| SignError::MalformedKey("seed"))?;
        Self::from_seed(&seed)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().to_vec())
    }

    /// A signature over these bytes (64 bytes).
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// The key in a base64 text of its 32 bytes.
    pub fn from_text(text: &str) -> Result<Self, SignError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SignError::MalformedKey("public key"))?;
        if bytes.len() == 32 { Ok(Self(bytes)) } else { Err(SignError::MalformedKey("public key")) }
    }

    /// The key as base64 text.
    pub fn to_text(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// Checks a signature over these bytes.
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<(), SignError> {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(bytes, signature).map_err(|_| SignError::WrongSignature)
    }
}

/// A key under which values are hashed, so that whoever does not have it cannot find a value by trying all of them. Its
/// bytes are in no text that is made of it.
#[derive(Clone)]
pub struct HashKey {
    bytes: [u8; 32],
    key: hmac::Key,
}

impl HashKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) }
    }

    /// The bytes, for somebody else who is to hash under it.
    pub fn bytes(&self) -> [u8; 32] {
        self.bytes
    }

    /// HMAC-SHA-256 of a value, cut to 128 bits.
    pub fn hash(&self, value: &[u8]) -> [u8; 16] {
        let mut cut = [0; 16];
        for (to, from) in cut.iter_mut().zip(hmac::sign(&self.key, value).as_ref()) {
            *to = *from;
        }
        cut
    }
}

impl PartialEq for HashKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for HashKey {}

impl std::hash::Hash for HashKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("HashKey")
    }
}

/// SHA-256 of these bytes.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// SHA-256 of these bytes in 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    sha256(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a text does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// The bytes that a steward signs for an agreement: every field that matters, each with its length before it.
pub fn agreement_bytes(agreement: &crate::v1::SignedAgreement) -> Vec<u8> {
    let mut bytes = b"dynamos agreement 2\0".to_vec();
    for field in [&agreement.steward, &agreement.name, &agreement.text] {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    bytes.extend_from_slice(&agreement.epoch.to_be_bytes());
    bytes.extend_from_slice(&agreement.purposes.to_be_bytes());
    bytes.push(u8::from(agreement.revoked));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_bytes_only() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let public = PublicKey::from_text(&key.public().to_text()).unwrap();
        let signature = key.sign(b"graph");
        assert!(public.verify(b"graph", &signature).is_ok());
        assert!(public.verify(b"grapi", &signature).is_err());
    }

    #[test]
    fn digests_are_written_in_lower_case_digits() {
        assert!(sha256_hex(b"").starts_with("e3b0c44298fc1c14"));
        assert_eq!(sha256_hex(b"").len(), 64);
    }

    #[test]
    fn agreement_bytes_tell_fields_apart() {
        let one = crate::v1::SignedAgreement { steward: "ab".into(), name: "c".into(), ..Default::default() };
        let two = crate::v1::SignedAgreement { steward: "a".into(), name: "bc".into(), ..Default::default() };
        assert_ne!(agreement_bytes(&one), agreement_bytes(&two));
    }
}
