//! The JSON of the original DYNAMOS middleware: agreements, data sets, archetypes, request types and demanded services. It
//! names users, data sets and providers, and nothing finer, so that a [`Profile`] has to say the rest.

mod export;
mod files;
mod import;
mod model;
mod profile;
mod terms;
#[cfg(test)]
mod tests;

pub use export::{Exported, export};
pub use import::{Import, import};
pub use model::{ArchetypeEntry, Dataset, EnforcedServices, Relation, RequestType, StewardAgreement, read_json};
pub use profile::{DatasetTerms, Profile};
