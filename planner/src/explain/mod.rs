//! A query for people. One printer serves EXPLAIN, EXPLAIN POLICY, `dynamos explain`, golden files and the demo. It is not
//! for machines, and nothing of a row is in it.
//!
//! ```text
//! path     its forms, what was compared, which place runs what, the clause beside every edge    EXPLAIN
//! policy   what leaves each steward, to whom, in what form, by which clause                     EXPLAIN POLICY
//!   ├─ edges    the edges that carry one steward's data, in words
//!   │    ├─ groups   what a release point gives, and what is merged to it
//!   │    └─ words    what a plan gives, column by column ── text  an expression
//!   └─ limits   the views that act before, and what binds the use
//! refusal  why a query may not run, steward by steward, and the nearest one that may            EXPLAIN POLICY
//! ```

mod edges;
mod groups;
mod limits;
mod lines;
mod path;
mod policy;
mod refusal;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use path::explain;
pub use policy::explain_policy;
pub use refusal::explain_denial;
