//! `cargo xtask mutants [NAME…]`: takes the rules of `docs/semantics.md` out of a copy of the source, one at a time, and runs the
//! tests that carry their numbers. A rule that can be taken out without a test that fails is not tested; the command names it
//! and fails.
//!
//! The changes are those of `tests/mutants.toml`. All of them are in one copy that is built once; each is in force only where
//! [`SWITCH`] names it, so that trying one takes seconds. Nothing of this is in the source itself.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;

use crate::verify::{say, step, target_folder};

/// Names the change that is in force.
const SWITCH: &str = "DYNAMOS_MUTANT";
/// What stands for the switch in a change.
const PLACEHOLDER: &str = "MUTANT";
/// Tests that have not ended by then hang, which is a way to fail.
const END_MAX: Duration = Duration::from_secs(180);
/// The version that the copy's packages have. Cargo tells packages of two folders apart by it and by nothing else, and the copy
/// is built beside the source so that both have the same dependencies.
const VERSION: &str = "0.1.0-mutants";
/// Tests that run the built program, which is that of the source as it is.
const OF_THE_PROGRAM: [&str; 3] = ["agreement_writes::", "change::", "processes::"];
/// Stack of tests' threads (bytes), as in `.cargo/config.toml`: they are run without cargo here.
const STACK: &str = "16777216";

#[derive(Deserialize)]
struct Mutants {
    mutant: Vec<Mutant>,
}

/// One rule, or a part of it, that is taken out.
#[derive(Deserialize)]
struct Mutant {
    name: String,
    /// The rules that it is of, as `B.4`; their tests must notice.
    rules: Vec<String>,
    /// What holds instead.
    what: String,
    edit: Vec<Edit>,
}

/// `old` stands once in `file`; `new` takes its place.
#[derive(Deserialize)]
struct Edit {
    file: PathBuf,
    old: String,
    new: String,
}

/// A built test program.
struct TestProgram {
    program: PathBuf,
    /// Where cargo runs it.
    folder: PathBuf,
    tests: Vec<String>,
}

/// How the tests of a rule ended.
enum Ending {
    /// All passed.
    Passed,
    /// This one failed, or hung.
    Noticed(String),
}

/// Tries the mutants with these names, or all.
pub fn run(protoc: &Path, names: &[String]) -> anyhow::Result<ExitCode> {
    let root = super::generate::root();
    let text = std::fs::read_to_string(root.join("tests/mutants.toml"))?;
    let all: Mutants = toml::from_str(&text).context("tests/mutants.toml")?;
    if let Some(unknown) = names.iter().find(|name| all.mutant.iter().all(|mutant| mutant.name != **name)) {
        anyhow::bail!("tests/mutants.toml has no `{unknown}`");
    }
    let copy = target_folder().join("mutants");
    copy_source(&root, &copy, &all.mutant)?;
    let programs = build(protoc, &copy)?;
    let mut survived = Vec::new();
    say("== without a change");
    let rules: BTreeSet<&String> = all.mutant.iter().flat_map(|mutant| &mutant.rules).collect();
    if let Ending::Noticed(test) = try_one(&programs, None, &rules)? {
        anyhow::bail!("`{test}` fails without any change");
    }
    for mutant in all.mutant.iter().filter(|mutant| names.is_empty() || names.contains(&mutant.name)) {
        let began = Instant::now();
        let rules: BTreeSet<&String> = mutant.rules.iter().collect();
        let ending = try_one(&programs, Some(&mutant.name), &rules)?;
        let told = match &ending {
            Ending::Noticed(test) => format!("noticed by `{test}`"),
            Ending::Passed => "NOT NOTICED".to_owned(),
        };
        let seconds = began.elapsed().as_secs_f64();
        say(&format!("{}: {} ({}): {told}, {seconds:.1} s", mutant.rules.join(", "), mutant.what, mutant.name));
        if matches!(ending, Ending::Passed) {
            survived.push(mutant.name.as_str());
        }
    }
    anyhow::ensure!(survived.is_empty(), "no test notices: {}", survived.join(", "));
    say("== every change was noticed by a test that carries the number of its rule");
    Ok(ExitCode::SUCCESS)
}

/// The source as git has it, with what is not committed yet, and all changes in it. Files that stay the same are not written
/// again, so that only what changed is built anew.
fn copy_source(root: &Path, copy: &Path, mutants: &[Mutant]) -> anyhow::Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("`git` lists the files of the source")?;
    anyhow::ensure!(listed.status.success(), "`git ls-files` failed");
    let edits = |file: &Path| -> Vec<(&Mutant, &Edit)> {
        let of_all = mutants.iter().flat_map(|mutant| mutant.edit.iter().map(move |edit| (mutant, edit)));
        of_all.filter(|(_, edit)| edit.file == file).collect()
    };
    for file in String::from_utf8(listed.stdout)?.split_terminator('\0').map(Path::new) {
        let Ok(mut bytes) = std::fs::read(root.join(file)) else { continue };
        for (mutant, edit) in edits(file) {
            let text = String::from_utf8(bytes).with_context(|| file.display().to_string())?;
            let found = text.matches(&edit.old).count();
            anyhow::ensure!(
                found == 1,
                "{}: what `{}` replaces stands there {found} times",
                file.display(),
                mutant.name
            );
            let switch = format!("(std::env::var_os({SWITCH:?}).is_some_and(|name| name == {:?}))", mutant.name);
            bytes = text.replace(&edit.old, &edit.new.replace(PLACEHOLDER, &switch)).into_bytes();
        }
        if file == Path::new("Cargo.toml") {
            let mut manifest: toml::Table = String::from_utf8(bytes)?.parse()?;
            let package = manifest.get_mut("workspace").and_then(|workspace| workspace.get_mut("package"));
            let package = package.and_then(toml::Value::as_table_mut).context("the workspace has no version")?;
            package.insert("version".to_owned(), VERSION.into());
            bytes = manifest.to_string().into_bytes();
        }
        let to = copy.join(file);
        if std::fs::read(&to).is_ok_and(|have| have == bytes) {
            continue;
        }
        std::fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        std::fs::write(to, bytes)?;
    }
    Ok(())
}

/// The test programs of the copy. Dependencies are those that are built already.
fn build(protoc: &Path, copy: &Path) -> anyhow::Result<Vec<TestProgram>> {
    let cargo = || {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--workspace", "--lib", "--test", "suite", "--no-run"]);
        command.env("PROTOC", protoc).env("CARGO_TARGET_DIR", target_folder()).current_dir(copy);
        command
    };
    // First to be seen, then to be read.
    step("build with all changes", &mut cargo())?;
    let built = cargo().args(["--message-format", "json"]).stderr(Stdio::null()).output()?;
    anyhow::ensure!(built.status.success(), "the copy does not build");
    let mut programs = Vec::new();
    for line in String::from_utf8(built.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let text = |name: &str| message.get(name).and_then(serde_json::Value::as_str).map(PathBuf::from);
        let (Some(program), Some(manifest)) = (text("executable"), text("manifest_path")) else { continue };
        let folder = manifest.parent().context("a manifest has a folder")?.to_owned();
        let listed = Command::new(&program).args(["--list", "--format", "terse"]).current_dir(&folder).output()?;
        let listed = String::from_utf8(listed.stdout)?;
        let tests = listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
        programs.push(TestProgram { program, folder, tests });
    }
    anyhow::ensure!(!programs.is_empty(), "cargo names no test program");
    Ok(programs)
}

/// Runs the tests of these rules, with a change in force or none.
fn try_one(programs: &[TestProgram], name: Option<&str>, rules: &BTreeSet<&String>) -> anyhow::Result<Ending> {
    for program in programs {
        let of_rules = |test: &&String| {
            let bare = test.rsplit("::").next().unwrap_or(test);
            let of_the_program = OF_THE_PROGRAM.iter().any(|module| test.starts_with(module));
            !of_the_program && rules_of(bare).any(|rule| rules.contains(&rule))
        };
        let tests: Vec<&String> = program.tests.iter().filter(of_rules).collect();
        if tests.is_empty() {
            continue;
        }
        let mut command = Command::new(&program.program);
        command.args(tests).arg("--exact").current_dir(&program.folder).env("RUST_MIN_STACK", STACK);
        match name {
            Some(name) => command.env(SWITCH, name),
            None => command.env_remove(SWITCH),
        };
        if let Some(test) = first_failure(&mut command)? {
            return Ok(Ending::Noticed(test));
        }
    }
    Ok(Ending::Passed)
}

/// The first test that fails; none if all pass.
fn first_failure(command: &mut Command) -> anyhow::Result<Option<String>> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut output = child.stdout.take().context("the tests have an output")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until an error is worth as much, and nobody may be waiting any more.
        let _read = output.read_to_end(&mut bytes);
        let _told = tell.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    let Ok(told) = told.recv_timeout(END_MAX) else {
        child.kill()?;
        child.wait()?;
        return Ok(Some("a test that does not end".to_owned()));
    };
    if child.wait()?.success() {
        return Ok(None);
    }
    let failed = told.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    Ok(Some(failed.unwrap_or("the end of the test program").to_owned()))
}

/// The rules whose numbers a test's name opens with, as `tidy` reads them.
fn rules_of(test: &str) -> impl Iterator<Item = String> {
    let rule = |part: &str| match part.as_bytes() {
        [letter @ b'a'..=b'e', digit @ b'1'..=b'9'] => {
            Some(format!("{}.{}", char::from(letter.to_ascii_uppercase()), char::from(*digit)))
        }
        _ => None,
    };
    test.split('_').map_while(rule).collect::<Vec<_>>().into_iter()
}
