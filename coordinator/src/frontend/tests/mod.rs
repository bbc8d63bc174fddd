//! The door as clients meet it: a server on a loopback port in front of a small engine, driven by the Flight SQL
//! client of the Arrow project and, where that client is too polite, by the bare gRPC client.

mod fake_engine;
mod fixture;
mod metadata;
mod prepared;
mod refusals;
mod sessions;
mod statements;
mod uploads;

pub(super) use fixture::ManualClock;
