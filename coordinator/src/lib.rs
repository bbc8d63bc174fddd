//! Coordinator: Flight SQL in, plans out, released results back.

pub mod frontend;
