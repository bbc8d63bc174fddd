//! One accepted query at one place: its fragments as plans, and their execution. A fragment starts when its output is
//! fetched, runs at most once, and ends with its reader, its query or its deadline, whichever comes first.
//!
//! ```text
//!  accepted ── fetched ──► Running ──► Finished (report)
//!      └────── cancelled, expired ────────┘
//! ```

mod accepted;
mod plan;
mod registry;
mod run;
mod whose;
mod yielding;

pub(crate) use accepted::Query;
pub(crate) use registry::QueryRegistry;
pub(crate) use run::{FragmentStream, start};
