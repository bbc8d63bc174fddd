//! One accepted query at one place: its fragments as plans, and their execution. A fragment starts when its output is
//! fetched, runs at most once, and ends with its reader, its query or its deadline, whichever comes first.
//!
//! ```text
//!  accepted ── fetched ──► Running ──► Finished (report)
//!      └────── cancelled, expired ────────┘
//! ```
//!
//! A query that is halted, because an agreement of it is over or a lease ran out, gives nothing more from that instant on.

mod accepted;
mod giving;
mod halt;
mod hash_keys;
mod in_turn;
mod plan;
mod registry;
mod run;
mod steady;
mod whose;
mod yielding;

pub(crate) use accepted::{Query, ended, lenders, unreachable};
pub(crate) use halt::Term;
pub(crate) use registry::QueryRegistry;
pub(crate) use run::{FragmentStream, start};
pub(crate) use yielding::yielding;
