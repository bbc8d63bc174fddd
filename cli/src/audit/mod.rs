//! `dynamos audit`: whether a file of records is as it was written, and what stands in it. It needs the file and nothing else,
//! no key and no running process.

mod args;
mod run;
mod words;

pub use args::AuditArgs;
pub use run::run;
pub use words::words;
