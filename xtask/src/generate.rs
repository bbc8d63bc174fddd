//! Generates `proto/src/generated` from `proto/proto`, or checks that what is checked in is fresh.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

const FILE: &str = "dynamos.v1.rs";

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
    let same = std::fs::read(fresh.join(FILE))? == std::fs::read(generated().join(FILE))?;
    std::fs::remove_dir_all(&fresh)?;
    anyhow::ensure!(same, "proto/src/generated/{FILE} is stale: run `cargo xtask generate`");
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
    config.protoc_executable(protoc);
    let source = root().join("proto/proto");
    tonic_prost_build::configure()
        .out_dir(into)
        .compile_with_config(config, &[source.join("dynamos.proto")], &[source])
        .context("the protobuf compiler refused proto/proto/dynamos.proto")
}
