//! `dynamos explain`: the report and the whole path of a query, planned from files, without any running process. It is the
//! coordinator's own planner behind other doors: places and tables from a catalog file instead of registrations, agreements
//! from SQL files instead of stewards' signatures, costs from a knowledge file. It prints what EXPLAIN POLICY prints, and
//! below it what EXPLAIN prints.
//!
//! ```text
//! args ─► catalog ───┐
//!         agreements ├─► plan ─► run (prints, exit code)
//!         knowledge ─┘
//! ```

mod agreements;
mod args;
mod catalog;
mod error;
mod knowledge;
mod plan;
mod run;

pub use agreements::read_agreements;
pub use args::ExplainArgs;
pub use catalog::read_catalog;
pub use error::{ExplainError, Flawed};
pub use knowledge::read_knowledge;
pub use plan::{Prepared, explained, prepared};
pub use run::run;
