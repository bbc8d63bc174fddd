//! The coordinator's configuration file: TOML, every key checked, unknown keys refused.

mod coordinator;
mod error;
mod value;

pub use coordinator::{
    CoordinatorConfig, CoordinatorSection, FederatedSection, KeysSection, LimitsSection, LinksSection,
    OrganisationSection, PlaceKind, SiteSection, check_places, federated_tables,
};
pub use error::ConfigError;
pub use value::{KeyText, Span};
