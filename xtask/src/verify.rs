//! `cargo verify`: everything that must hold before a change lands. It never writes into the source tree. A part that
//! cannot run is a failure, not a gap.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context;

/// The version of cargo-deny that `deny.toml` is written for.
const DENY: &str = "0.20.2";

/// Runs all parts in order; the first that fails ends it.
pub fn run(protoc: &Path) -> anyhow::Result<ExitCode> {
    let cargo = |arguments: &[&str]| {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(program);
        command.args(arguments).env("PROTOC", protoc).current_dir(super::generate::root());
        command
    };
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    super::generate::check(protoc).context("generated messages")?;
    step("lints", &mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut documents = cargo(&["doc", "--workspace", "--no-deps"]);
    step("documents", documents.env("RUSTDOCFLAGS", "-D warnings"))?;
    dependencies(&cargo)?;
    // Some tests run the program.
    step("program", &mut cargo(&["build", "--bin", "dynamos"]))?;
    let program = target_folder().join("debug/dynamos");
    // Without line tables a backtrace only hides what failed.
    let mut tests = cargo(&["test", "--workspace", "--", "--show-output"]);
    step("tests", tests.env("DYNAMOS_LONG", "1").env("RUST_BACKTRACE", "0"))?;
    step("demo, one process", Command::new(&program).args(["demo", "--once"]))?;
    step("demo, a process a role", Command::new(&program).args(["demo", "--once", "--processes"]))?;
    step("payload", &mut cargo(&["run", "--quiet", "--bin", "measure", "--", "payload"]))?;
    super::clients::run(&program)?;
    Ok(ExitCode::SUCCESS)
}

/// Licences and sources of everything that is built, as `deny.toml` says. The tool is installed beside the build's output
/// once; it takes some minutes to build.
fn dependencies(cargo: &dyn Fn(&[&str]) -> Command) -> anyhow::Result<()> {
    let tools = target_folder().join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        let build = tools.join("build");
        let mut install = cargo(&["install", "cargo-deny", "--version", DENY, "--locked", "--debug", "--root"]);
        step("cargo-deny", install.arg(&tools).arg("--target-dir").arg(&build))?;
        std::fs::remove_dir_all(&build)?;
    }
    let mut check = Command::new(program);
    check.args(["deny", "check", "bans", "licenses", "sources"]).current_dir(super::generate::root());
    step("dependencies", &mut check)
}

/// Runs one part; an error names it.
pub(crate) fn step(name: &str, command: &mut Command) -> anyhow::Result<()> {
    say(&format!("== {name}"));
    let began = Instant::now();
    let status = command.status().with_context(|| format!("{name}: `{command:?}` cannot be started"))?;
    anyhow::ensure!(status.success(), "{name} failed ({status})");
    say(&format!("== {name}: {:.0} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Tells how far it is.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    // Progress that cannot be shown is no failure.
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}

/// Where the build's output is.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| super::generate::root().join("target"), PathBuf::from)
}
