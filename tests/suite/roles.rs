//! A federation for one test in which every role is a process of its own: the program that was built, with its log in a file.
//! The processes can be signalled, looked into and started again. They are gone at the end of the test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use dynamos_cli::federation::{Client, Design, Layout, ready};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};

/// A role that is told to stop has ended within this time: ten seconds for calls, five for telling others, and some for a
/// busy machine.
pub const STOP_MAX: Duration = Duration::from_secs(20);
/// How often is looked for something that will come.
const LOOK: Duration = Duration::from_millis(10);
/// A coordinator serves within this time.
const START_MAX: Duration = Duration::from_secs(60);
/// How often another port is tried if somebody took the one that was free a moment ago.
const TRIES: usize = 5;

/// One federation of processes at a time, as these tests measure time on a machine of a few cores.
static ONE: Mutex<()> = Mutex::const_new(());

/// The processes.
pub struct Roles {
    /// The federation's files and users.
    pub layout: Layout,
    children: BTreeMap<String, Running>,
    /// What the roles' logs let through.
    filter: &'static str,
    _folder: tempfile::TempDir,
    _one: MutexGuard<'static, ()>,
}

/// A process.
struct Running {
    child: Child,
    /// The length of its log when it was started.
    logged: usize,
}

/// The end of a fragment, as its place's log has it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The error's code; empty if there was none.
    pub code: String,
    /// `Whole` or `Part`: how much of its rows it gave.
    pub given: String,
}

/// A line of a log.
#[derive(Debug)]
pub struct Line {
    /// When it was written, in a form that sorts by time.
    pub at: String,
    /// What it says.
    pub fields: serde_json::Value,
    /// The spans that it lies in, the outermost first; for the end of a span, that span last.
    pub spans: Vec<serde_json::Value>,
}

impl Roles {
    /// Starts every role of what `design` describes; it may write data into the folder that it gets.
    pub async fn start(design: impl Fn(&Path) -> Design) -> Self {
        Self::start_edited(design, |_| ()).await
    }

    /// The same, with a chance to change the configuration first.
    pub async fn start_edited(design: impl Fn(&Path) -> Design, edit: impl Fn(&Layout)) -> Self {
        Self::start_logging("info", design, edit).await
    }

    /// The same, with logs that let through what `filter` says.
    pub async fn start_logging(filter: &'static str, design: impl Fn(&Path) -> Design, edit: impl Fn(&Layout)) -> Self {
        let mut one = ONE.lock().await;
        for _ in 0..TRIES {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("federation");
            fs::create_dir_all(&root).unwrap();
            let layout = Layout::write(&root, &design(&root), 0).unwrap();
            edit(&layout);
            let mut roles = Self { layout, children: BTreeMap::new(), filter, _folder: folder, _one: one };
            roles.run("coordinator");
            if roles.serves("coordinator").await {
                roles.layout.sites.clone().iter().for_each(|site| roles.run(site));
                return roles;
            }
            drop(roles);
            one = ONE.lock().await;
        }
        panic!("no coordinator could be started");
    }

    /// Starts a role, for the first time or again.
    pub fn run(&mut self, name: &str) {
        let (role, config) = match name {
            "coordinator" => ("coordinator", self.layout.coordinator_config()),
            site => ("site", self.layout.site_config(site)),
        };
        let log = File::options().create(true).append(true).open(self.log(name)).unwrap();
        let logged = usize::try_from(log.metadata().unwrap().len()).unwrap();
        let child = Command::new(program())
            .args(["--log", "json", role, "--config"])
            .arg(config)
            .env("DYNAMOS_LOG", self.filter)
            .stdin(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.children.insert(name.to_owned(), Running { child, logged });
    }

    /// Waits until a role serves, or has ended: then it is false.
    async fn serves(&mut self, name: &str) -> bool {
        let (log, says) = (self.log(name), if name == "coordinator" { "coordinator serves" } else { "serving" });
        let Running { child, logged } = self.children.get_mut(name).unwrap();
        until("a role that serves", START_MAX, || {
            let serves = fs::read_to_string(&log).unwrap()[*logged..].contains(says);
            serves.then_some(true).or_else(|| child.try_wait().unwrap().map(|_| false))
        })
        .await
    }

    /// The id of a role's process.
    pub fn process(&self, name: &str) -> u32 {
        self.children[name].child.id().unwrap()
    }

    /// Sends a signal, such as `TERM`, to a role.
    pub fn signal(&self, name: &str, signal: &str) {
        let process = self.process(name).to_string();
        let sent = std::process::Command::new("kill").arg(format!("-{signal}")).arg(process).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end of a role's process.
    pub async fn ended(&mut self, name: &str) -> ExitStatus {
        let ended = tokio::time::timeout(STOP_MAX, self.children.get_mut(name).unwrap().child.wait()).await;
        ended.unwrap_or_else(|_| panic!("`{name}` did not end within {STOP_MAX:?}")).unwrap()
    }

    /// Kills a role, which is gone when this returns.
    pub async fn kill(&mut self, name: &str) {
        self.signal(name, "KILL");
        assert!(!self.ended(name).await.success());
        self.children.remove(name);
    }

    /// A connection that can already plan `sql`.
    pub async fn client(&self, user: &str, sql: &str) -> Client {
        ready(&self.layout, self.layout.user(user).unwrap(), "auto", sql).await.unwrap()
    }

    /// The queries that the coordinator has permitted so far, the newest last.
    pub fn permitted(&self) -> Vec<String> {
        let path = self.layout.root.join("coordinator/state/decisions.log");
        let text = fs::read_to_string(path).unwrap_or_default();
        // A line that is being written is no decision yet.
        let records = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let permitted = records.filter(|record| record["record"]["verdict"] == "permitted");
        permitted.map(|record| record["record"]["query_id"].as_str().unwrap().to_owned()).collect()
    }

    /// What stands in a role's log so far.
    pub fn lines(&self, name: &str) -> Vec<Line> {
        let text = fs::read_to_string(self.log(name)).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let line = |mut line: serde_json::Value| Line {
            at: line["timestamp"].as_str().unwrap().to_owned(),
            fields: line["fields"].take(),
            spans: spans(&line),
        };
        lines.map(line).collect()
    }

    /// How a role's fragments of a query have ended so far.
    pub fn fragments_ended(&self, name: &str, query: &str) -> Vec<Ended> {
        let fields = self.lines(name).into_iter().map(|line| line.fields);
        let ended = fields.filter(|fields| fields["message"] == "fragment ended" && fields["query_id"] == query);
        let text = |fields: &serde_json::Value, name: &str| fields[name].as_str().unwrap().to_owned();
        ended.map(|fields| Ended { code: text(&fields, "code"), given: text(&fields, "given") }).collect()
    }

    /// Tells every role that runs to stop; each must do so in order.
    pub async fn stop(mut self) {
        let names: Vec<String> = self.children.keys().cloned().collect();
        // Who is told before it listens for it does not end in order.
        for name in &names {
            self.serves(name).await;
        }
        names.iter().for_each(|name| self.signal(name, "TERM"));
        for name in names {
            let status = self.ended(&name).await;
            assert!(status.success(), "`{name}` ended with {status}");
            self.children.remove(&name);
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.layout.root.join(name).join("log.json")
    }
}

impl Drop for Roles {
    /// The logs are gone after the test, so a failing one shows how they end.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.children.keys() {
                let text = fs::read_to_string(self.log(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                println!("log of {name}:\n{}", lines[lines.len().saturating_sub(12)..].join("\n"));
            }
        }
    }
}

/// Looks again and again until there is something; fails if there is nothing for too long.
pub async fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < within, "there was not {what} within {within:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The `dynamos` program of this build. Cargo does not build it for tests, so it must be there and newer than its sources.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("dynamos");
    let advice = "build it: cargo xtask build --bin dynamos";
    let built = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let built_at = built(&program).unwrap_or_else(|_| panic!("`{}` is missing; {advice}", program.display()));
    let sources = fs::read_to_string(program.with_extension("d")).unwrap();
    let sources = sources.split_once(": ").unwrap().1.replace("\\ ", "\0");
    for source in sources.split_whitespace().map(|path| PathBuf::from(path.replace('\0', " "))) {
        let current = built(&source).is_ok_and(|changed| changed <= built_at);
        assert!(current, "`{}` is older than `{}`; {advice}", program.display(), source.display());
    }
    program
}

/// The spans around a line, the outermost first. A line about a span's end names that span apart.
fn spans(line: &serde_json::Value) -> Vec<serde_json::Value> {
    let around = line["spans"].as_array().cloned().unwrap_or_default();
    let own = line.get("span").filter(|own| !around.contains(own)).cloned();
    around.into_iter().chain(own).collect()
}
