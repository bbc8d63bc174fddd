//! Generated queries: random SQL over a federation of small tables, judged by one plain engine over the same rows, every
//! table open to the one user who asks; and over two federations that differ in nothing but what the agreements hide
//! ([`hidden`], [`interference`]), which must not be told apart.
//!
//! ```text
//! seed ─► grammar (with expression) ─► query ─┬─► federation, auto and one forced placement ─┬─► run: same rows?
//!                                     ▲       └─► oracle: one engine over all rows ──────────┘
//!                   schema: tables, rows, design
//! ```
//!
//! `DYNAMOS_SEED=n` runs the one query of that seed and shows it, `DYNAMOS_QUERIES=n` runs the first n seeds,
//! `DYNAMOS_SQL='…; …'` runs these and shows their plans.

mod expression;
mod grammar;
mod hidden;
mod interference;
mod not_yet;
mod oracle;
mod query;
mod reduced;
mod run;
mod schema;
mod verdict;
