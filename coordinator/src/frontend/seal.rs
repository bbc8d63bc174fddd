//! Seals: what the door hands to clients and takes back later (tickets, prepared-statement handles) carries an HMAC, so
//! a client can keep it but not write it. Sealed text is readable by the client and must hold nothing it may not know.

use std::fmt;

use bytes::Bytes;
use dynamos_proto::status::ServiceError;
use ring::{digest, hmac};

use super::engine::Identity;
use super::errors::invalid;

/// Length in bytes of the tag before a sealed message.
const TAG_LEN: usize = digest::SHA256_OUTPUT_LEN;
/// The shortest secret, in bytes, that makes a key as strong as its tag.
const SECRET_LEN_MIN: usize = 32;

/// The secret behind all seals. Coordinators that must honour each other's tickets share it.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// A key from a secret of at least 32 bytes. The door's key is derived, so the same secret may serve elsewhere.
    pub fn from_secret(secret: &[u8]) -> Result<Self, ServiceError> {
        if secret.len() < SECRET_LEN_MIN {
            return Err(invalid(format!("the signing secret has {} bytes but needs {SECRET_LEN_MIN}", secret.len())));
        }
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"dynamos flight sql seal 1");
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SigningKey(..)")
    }
}

/// What a sealed message is for; a seal made for one use does not open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealUse {
    /// A ticket for DoGet.
    Ticket,
    /// A prepared-statement handle.
    Handle,
}

impl SealUse {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Ticket => b"ticket\0",
            Self::Handle => b"handle\0",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Handle => "prepared statement handle",
        }
    }
}

/// Makes and checks seals.
pub(super) struct Sealer {
    key: hmac::Key,
}

impl Sealer {
    pub(super) fn new(key: &SigningKey) -> Self {
        Self { key: key.0.clone() }
    }

    /// The message with its tag before it.
    pub(super) fn seal(&self, purpose: SealUse, message: &[u8]) -> Bytes {
        let tag = hmac::sign(&self.key, &signed_text(purpose, message));
        Bytes::from([tag.as_ref(), message].concat())
    }

    /// The message, if its tag is ours.
    pub(super) fn open<'a>(&self, purpose: SealUse, sealed: &'a [u8]) -> Result<&'a [u8], ServiceError> {
        let refused = || invalid(format!("the {} was not issued by this server", purpose.name()));
        let (tag, message) = sealed.split_at_checked(TAG_LEN).ok_or_else(refused)?;
        hmac::verify(&self.key, &signed_text(purpose, message), tag).map_err(|_| refused())?;
        Ok(message)
    }

    /// A short name for a user that reveals nothing about them.
    pub(super) fn owner(&self, identity: &Identity) -> Bytes {
        let text = [b"owner\0", identity.organisation.as_bytes(), b"\0", identity.user.as_bytes()].concat();
        Bytes::copy_from_slice(hmac::sign(&self.key, &text).as_ref())
    }
}

fn signed_text(purpose: SealUse, message: &[u8]) -> Vec<u8> {
    [purpose.label(), message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secret: u8) -> Sealer {
        Sealer::new(&SigningKey::from_secret(&[secret; 32]).unwrap())
    }

    #[test]
    fn opens_only_its_own_unchanged_messages_for_the_same_use() {
        let sealed = sealer(1).seal(SealUse::Ticket, b"message");
        assert_eq!(sealer(1).open(SealUse::Ticket, &sealed).unwrap(), b"message");
        assert!(sealer(1).open(SealUse::Handle, &sealed).is_err());
        assert!(sealer(2).open(SealUse::Ticket, &sealed).is_err());
        for position in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[position] ^= 1;
            assert!(sealer(1).open(SealUse::Ticket, &changed).is_err());
            assert!(sealer(1).open(SealUse::Ticket, &sealed[..position]).is_err());
        }
    }

    #[test]
    fn refuses_a_short_secret() {
        assert!(SigningKey::from_secret(&[1; 31]).is_err());
    }
}
