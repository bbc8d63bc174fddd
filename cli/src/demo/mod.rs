//! `dynamos demo`: a whole federation on one machine, from nothing, and sample questions to it with their true answers.

mod args;
mod questions;
mod run;
mod scene;
mod truth;

pub use args::DemoArgs;
pub use questions::{Question, questions};
pub use run::run;
pub use scene::scene;
pub use truth::{Truth, compare, rows};
