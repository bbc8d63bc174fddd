//! Identifiers of the federation as newtypes, so that no two kinds of key can be confused.
//! Not more than names: nothing here checks that the thing named exists.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The identifier with this text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_id!(
    /// A place of the federation: a steward's site, a compute provider's site, or the coordinator itself.
    SiteId
);
text_id!(
    /// One query over all its attempts; chosen by the coordinator, unique in the federation.
    QueryId
);

impl SiteId {
    /// The name under which the coordinator takes part in plans: a place like any other, trusted with released rows only.
    pub fn coordinator() -> Self {
        Self::new("coordinator")
    }

    /// Whether this place is the coordinator.
    pub fn is_coordinator(&self) -> bool {
        self.as_str() == "coordinator"
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number_id!(
    /// A fragment of one placed query, numbered from the root (0) outwards.
    FragmentId,
    "f"
);
number_id!(
    /// A release point of one placed query.
    ReleaseId,
    "r"
);
