//! Runs cargo with what the build needs beyond a Rust toolchain: a protobuf compiler for the build scripts of
//! third-party crates. `cargo xtask <cargo arguments>` is cargo with `PROTOC` set; `cargo xtask generate` writes the
//! message types of `proto` anew, `cargo xtask generate --check` fails if that would change them, `cargo xtask verify`
//! runs every check, and `cargo xtask mutants` takes the rules of the semantics out one at a time and sees that tests fail.
//!
//! Not part of the system: nothing depends on this crate.

mod clients;
mod generate;
mod mutants;
mod verify;

use std::process::{Command, ExitCode};

use anyhow::Context;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let protoc = protoc_bin_vendored::protoc_bin_path().context("no protobuf compiler for this platform")?;
    match arguments.first().map(String::as_str) {
        Some("generate") if arguments.iter().any(|argument| argument == "--check") => generate::check(&protoc),
        Some("generate") => generate::write(&protoc),
        Some("verify") => verify::run(&protoc),
        Some("mutants") => mutants::run(&protoc, arguments.get(1..).unwrap_or_default()),
        _ => {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status = Command::new(cargo).args(&arguments).env("PROTOC", protoc).status()?;
            Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
        }
    }
}
