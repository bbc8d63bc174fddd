//! A second opinion on what may be asked: a deliberately naive reading of the rules over small worlds, by brute force over
//! agreements, clauses and places, with no code of the planner. Random worlds and questions must get the same verdict from
//! both.
//!
//! `DYNAMOS_CASES` sets how many cases run, `DYNAMOS_CASE` runs one of them.

mod catalog;
mod draw;
mod oracle;
mod run;
mod shrink;
mod world;
