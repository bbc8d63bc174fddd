//! SIMULATE AGREEMENT: what would be decided if an agreement were in force, beside what is decided now. Nothing is changed,
//! nothing runs, and no decision is recorded. It is for the agreement's own steward, who may ask for its own tables
//! only, and learns of other stewards' agreements no more than that one of them stands in the way.

mod cases;
mod run;
mod statement;
mod verdict;

pub(super) use run::COLUMNS;
