//! What an operator writes about one place, in one TOML file. Read once, before anything is opened; nothing here looks at
//! data.

mod byte_size;
mod limits;
mod site_config;
mod site_table;

pub use byte_size::ByteSize;
pub use limits::Limits;
pub use site_config::{
    ConfigError, CoordinatorSection, FederatedPart, KeysSection, Organisation, Peer, PlaceKind, SiteConfig, SiteSection,
};
pub use site_table::SiteTable;
