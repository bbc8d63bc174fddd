//! Messages, ids, status codes and the canonical bytes of what is signed. No logic: what a message means is decided in
//! `planner`, what is done about it in `coordinator` and `site-executor`.

pub mod ids;
pub mod status;
