//! Messages, ids, status codes, the canonical bytes of what is signed, and the form of settings files and of files of records:
//! what every other crate must have in common. No logic: what a message means is decided in
//! `planner`, what is done about it in `coordinator` and `site-executor`.

pub mod bucket;
pub mod ids;
pub mod record;
pub mod settings;
pub mod sign;
pub mod status;
pub mod token;

/// The generated messages and services of `proto/dynamos.proto`.
#[expect(missing_docs, reason = "generated code; the comments are in the .proto file")]
pub mod v1 {
    include!("generated/dynamos.v1.rs");
}

/// The generated messages of `proto/state.proto`.
#[expect(missing_docs, reason = "generated code; the comments are in the .proto file")]
pub mod state {
    include!("generated/dynamos.state.rs");
}
