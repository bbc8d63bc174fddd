//! The agreements that a place holds: a steward's own, which it alone decides and signs, and those of other stewards that
//! came with permits, each verified with its steward's key.

mod book;
mod files;
mod signed;

pub(crate) use book::AgreementBook;
