//! Messages, ids, status codes and the canonical bytes of what is signed. No logic: what a message means is decided in
//! `planner`, what is done about it in `coordinator` and `site-executor`.

pub mod ids;
pub mod sign;
pub mod status;
pub mod token;

/// The generated messages and services of `proto/dynamos.proto`.
#[expect(missing_docs, reason = "generated code; the comments are in the .proto file")]
pub mod v1 {
    include!("generated/dynamos.v1.rs");
}
