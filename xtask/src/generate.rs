//! Generates `proto/src/generated` from `proto/proto`, or checks that what is checked in is fresh.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

/// What is generated: a file for each package.
const FILES: [&str; 2] = ["dynamos.v1.rs", "dynamos.state.rs"];
/// Maps of messages that are stored: in order, so that their encoding is always the same.
const ORDERED: [&str; 1] = [".dynamos.v1.Table.colocated_on"];

/// Writes the generated code in its place.
pub fn write(protoc: &Path) -> anyhow::Result<ExitCode> {
    compile(protoc, &generated())?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if the checked-in code is not what the compiler makes of the `.proto` file.
pub fn check(protoc: &Path) -> anyhow::Result<ExitCode> {
    let fresh = std::env::temp_dir().join(format!("dynamos-generate-{}", std::process::id()));
    std::fs::create_dir_all(&fresh)?;
    compile(protoc, &fresh)?;
    let differs = |file: &&&str| {
        let (fresh, checked_in) = (std::fs::read(fresh.join(file)), std::fs::read(generated().join(file)));
        fresh.ok() != checked_in.ok()
    };
    let stale = FILES.iter().find(differs);
    std::fs::remove_dir_all(&fresh)?;
    anyhow::ensure!(stale.is_none(), "proto/src/generated/{} is stale: run `cargo xtask generate`", FILES.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

fn generated() -> PathBuf {
    root().join("proto/src/generated")
}

fn compile(protoc: &Path, into: &Path) -> anyhow::Result<()> {
    let mut config = tonic_prost_build::Config::new();
    config.protoc_executable(protoc).btree_map(ORDERED);
    let source = root().join("proto/proto");
    tonic_prost_build::configure()
        .out_dir(into)
        .compile_with_config(config, &["dynamos.proto", "state.proto"].map(|file| source.join(file)), &[source])
        .context("the protobuf compiler refused the messages in proto/proto")
}
