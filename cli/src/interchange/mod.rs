//! `dynamos agreement`: agreements from other formats into the agreement language, and back.
//!
//! Texts in, texts out: no server is asked, nothing is signed, and what comes out is put in force only when a steward
//! sends it to a site. On a query's path it stands before everything. What a format cannot say is never guessed: it
//! comes from a profile that the steward wrote, or it is not granted, and the [`Report`] tells which.

mod args;
mod error;
mod odrl;
mod original;
mod pieces;
mod report;
mod run;
mod texts;

pub use args::AgreementArgs;
pub use error::InterchangeError;
pub use odrl::{export_odrl, import_odrl};
pub use original::{
    ArchetypeEntry, Dataset, DatasetTerms, EnforcedServices, Exported, Import, Profile, Relation, RequestType,
    StewardAgreement, export, import, read_json,
};
pub use report::Report;
pub use run::run;
pub use texts::{read_agreements, write_agreements};
