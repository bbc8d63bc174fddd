//! The real clients of `cargo verify`: drivers that others wrote, against a running demo. What they need is installed beside
//! the build's output, Java's packages in Maven's own folder. The tests themselves are in `tests/clients`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::verify::{say, step, target_folder};

/// The demo answers its sample questions within this time, started by a client test.
const DEMO_MAX: Duration = Duration::from_secs(120);

/// Runs every client against one demo.
pub fn run(program: &Path) -> anyhow::Result<()> {
    let python = python()?;
    let class_path = java()?;
    let folder = std::env::temp_dir().join(format!("dynamos-verify-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let info = folder.join("info.json");
    let demo = Demo::start(program, &folder, &info)?;
    let tested = ask(&python, &class_path, &info);
    drop(demo);
    std::fs::remove_dir_all(&folder)?;
    tested
}

fn ask(python: &Path, class_path: &str, info: &Path) -> anyhow::Result<()> {
    step("python client", Command::new(python).arg(client("adbc.py")).arg(info))?;
    let mut java = Command::new("java");
    // Arrow reaches into buffers; Java 17 has to be told that it may.
    java.args(["--add-opens=java.base/java.nio=ALL-UNNAMED", "--source", "17", "--class-path", class_path]);
    step("java client", java.arg(client("jdbc/WageQuestion.java")).arg(info))
}

fn client(file: &str) -> PathBuf {
    super::generate::root().join("tests/clients").join(file)
}

/// A Python with the driver's packages.
fn python() -> anyhow::Result<PathBuf> {
    let environment = target_folder().join("clients-python");
    let python = environment.join("bin/python");
    if !python.exists() {
        step("python environment", Command::new("python3").args(["-m", "venv"]).arg(&environment))
            .context("the Python client needs `python3` with `venv`")?;
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "-r"]).arg(client("requirements.txt"));
    step("python packages", &mut install)?;
    Ok(python)
}

/// The class path of the JDBC client. Its source needs no build: `java` runs it as it is.
fn java() -> anyhow::Result<String> {
    let folder = target_folder().join("clients-java");
    std::fs::create_dir_all(&folder)?;
    step("java", Command::new("java").arg("--version")).context("the JDBC client needs a JDK, version 17 or newer")?;
    let paths = folder.join("class-path");
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "--file"]).arg(client("jdbc/pom.xml"));
    maven.arg("dependency:build-classpath").arg(format!("-Dmdep.outputFile={}", paths.display()));
    step("java packages", &mut maven).context("the JDBC client's packages come with Maven, `mvn`")?;
    std::fs::read_to_string(&paths).with_context(|| format!("Maven did not write `{}`", paths.display()))
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
