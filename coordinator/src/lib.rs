//! Coordinator: Flight SQL in, plans out, released results back. It plans and relays; it holds no row of a steward.
//!
//! ```text
//! client ──► frontend ──► query ──► planner (pure) ──► decision (log) ──► dispatch ──► sites
//!                           ▲                                                │
//!                           └── registry (catalog, agreements, liveness) ◄───┘
//!                                    ▼ changes   ▲ rows that are kept
//!                               consensus (order, disk) ──► state (pure)
//! ```

pub mod clock;
pub mod config;
pub mod consensus;
pub mod decision;
pub mod dispatch;
pub mod frontend;
pub mod query;
pub mod registry;
pub mod server;
pub mod state;

mod background;
