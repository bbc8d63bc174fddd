//! Records that must be on the disk before something happens, in a file that only grows and whose lines hold each other:
//! the coordinator's decisions, and what every place admitted and refused. What a record says is its writer's business.
//!
//! It is here because coordinator and sites write the same kind of file and share no other crate that may touch a disk.
//!
//! ```text
//!  {"number":1,"previous":"000…0","record":{…},"hash":"a17…"}
//!  {"number":2,"previous":"a17…", "record":{…},"hash":"3fe…"}      hash: SHA-256 of the line before `,"hash"`
//! ```
//!
//! INVARIANT(lines_chain): a line that was changed, moved, put in or taken out before the last one is found by its number
//! when the file is opened or verified. Complete lines that are missing at the end are not: who wants to notice that keeps
//! the last line's hash elsewhere.

mod disk;
mod error;
mod file;
mod line;
mod verify;

#[cfg(test)]
mod tests;

pub use error::{LineProblem, RecordError};
pub use file::{RecordFile, Unwritten};
pub use verify::{Verified, read, verify};
