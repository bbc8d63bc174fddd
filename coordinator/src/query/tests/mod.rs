//! The life of a query and the other statements, with a planner and places that do what a test tells them.

mod fixture;
mod life;
mod simulate;
mod statements;
mod system;
