//! Values of the configuration that have a written form of their own. They are read while the file is parsed, so that a
//! mistake is reported with its line.

use std::time::Duration;

use dynamos_proto::sign::PublicKey;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A length of time as people write it, such as `30s` or `5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| D::Error::custom(format!("`{text}` is not a time such as `30s` or `5m`: {error}")))
    }
}

/// A public key, written as base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText(pub PublicKey);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        PublicKey::from_text(&text).map(Self).map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
    }
}
