//! The TPC-H tables spread over three stewards who let every row go, its 22 queries, and one plain engine over all of it.

mod data;
mod design;
mod queries;
mod truth;

pub use data::{TABLES, TableRows, generate};
pub use design::{Split, USER, design};
pub use queries::{QUERIES, sql};
pub use truth::{Difference, compare, truth};
