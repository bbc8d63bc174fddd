//! `cargo verify`: everything that must hold before a change lands. It never writes into the source tree. A part that
//! cannot run is a failure, not a gap.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context;

/// The demo answers its sample questions within this time, started by a client test.
const DEMO_MAX: Duration = Duration::from_secs(120);

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
    step("tests", &mut cargo(&["test", "--workspace"]))?;
    step("program", &mut cargo(&["build", "--bin", "dynamos"]))?;
    let program = target_folder().join("debug/dynamos");
    step("demo, one process", Command::new(&program).args(["demo", "--once"]))?;
    step("demo, a process a role", Command::new(&program).args(["demo", "--once", "--processes"]))?;
    clients(&program)?;
    Ok(ExitCode::SUCCESS)
}

fn step(name: &str, command: &mut Command) -> anyhow::Result<()> {
    say(&format!("== {name}"));
    let began = Instant::now();
    let status = command.status().with_context(|| format!("{name}: `{command:?}` cannot be started"))?;
    anyhow::ensure!(status.success(), "{name} failed ({status})");
    say(&format!("== {name}: {:.0} s", began.elapsed().as_secs_f64()));
    Ok(())
}

fn say(text: &str) {
    use std::io::Write;
    // Progress that cannot be shown is no failure.
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| super::generate::root().join("target"), PathBuf::from)
}

/// The real clients against a running demo. They are installed beside the build's output.
fn clients(program: &Path) -> anyhow::Result<()> {
    let root = super::generate::root();
    let environment = target_folder().join("clients-python");
    let python = environment.join("bin/python");
    if !python.exists() {
        step("python environment", Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    let requirements = root.join("tests/clients/requirements.txt");
    step("python packages", Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))?;
    let folder = std::env::temp_dir().join(format!("dynamos-verify-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let info = folder.join("info.json");
    let demo = Demo::start(program, &folder, &info)?;
    let tested = step("python client", Command::new(&python).arg(root.join("tests/clients/adbc.py")).arg(&info));
    drop(demo);
    std::fs::remove_dir_all(&folder)?;
    tested
}

/// A demo in the background; stopped when it is dropped.
struct Demo(Child);

impl Demo {
    fn start(program: &Path, folder: &Path, info: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("demo").arg("--dir").arg(folder.join("federation")).arg("--info").arg(info);
        let mut demo = Self(command.stdout(std::process::Stdio::null()).spawn().context("the demo cannot be started")?);
        let began = Instant::now();
        while !info.exists() {
            anyhow::ensure!(began.elapsed() < DEMO_MAX, "the demo does not come up");
            anyhow::ensure!(demo.0.try_wait()?.is_none(), "the demo ended before it was up");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(demo)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let asked = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        if asked.is_err() || self.0.wait().is_err() {
            say("the demo could not be stopped");
        }
    }
}
