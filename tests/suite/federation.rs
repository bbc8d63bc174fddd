//! A federation for one test: files in a temporary folder, every role in this process, but on threads of its own. A place that
//! does not answer for half a second loses the queries that use it, so what a test computes meanwhile, with the same engine
//! and for seconds, must not be in the way of its answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dynamos_cli::demo::{rows, scene};
use dynamos_cli::federation::{Client, Design, Federation, Layout, Processes, Running, connect, query, ready};
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::ServiceError;
use futures::TryStreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::recording::Recorder;

/// A site that has not registered within this time does not start.
const START_MAX: Duration = Duration::from_secs(60);

/// A running federation, gone at the end of the test.
pub struct TestFederation {
    /// Its files and users.
    pub layout: Layout,
    federation: Federation,
    _threads: Threads,
    _folder: tempfile::TempDir,
}

/// What the roles run on. Only empty while being dropped.
struct Threads(Option<Runtime>);

impl Threads {
    fn new() -> Self {
        Self(Some(Builder::new_multi_thread().thread_name("roles").enable_all().build().unwrap()))
    }

    fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.as_ref().unwrap().spawn(work)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for the threads would block one of the test.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl TestFederation {
    /// Starts the demo's, over generated data, or over the wage files of a folder.
    pub async fn start(data: Option<&Path>) -> Self {
        Self::design(|root| scene(root, data).unwrap()).await
    }

    /// Starts the one that `design` describes; it may write data into the folder that it gets.
    pub async fn design(design: impl FnOnce(&Path) -> Design) -> Self {
        Self::edited(design, |_| ()).await
    }

    /// The same, with a chance to change the configuration first.
    pub async fn edited(design: impl FnOnce(&Path) -> Design, edit: impl FnOnce(&Layout)) -> Self {
        let (folder, layout) = written(design);
        edit(&layout);
        let (federation, threads) = started(&layout).await;
        Self { layout, federation, _threads: threads, _folder: folder }
    }

    /// The same with a proxy before each site that records what it sends.
    pub async fn recorded(design: impl FnOnce(&Path) -> Design) -> (Self, Recorder) {
        let (folder, layout) = written(design);
        let recorder = Recorder::before(&layout).await;
        let (federation, threads) = started(&layout).await;
        (Self { layout, federation, _threads: threads, _folder: folder }, recorder)
    }

    /// A connection that can already plan `sql`.
    pub async fn client(&self, user: &str, placement: &str, sql: &str) -> Client {
        ready(&self.layout, self.layout.user(user).unwrap(), placement, sql).await.unwrap()
    }

    /// A connection with a purpose, for statements that are to be refused.
    pub async fn plain_client(&self, user: &str, purpose: &str) -> Client {
        let mut client = connect(&self.layout, self.layout.user(user).unwrap()).await.unwrap();
        query(&mut client, &format!("SET dynamos.purpose = '{purpose}'")).await.unwrap();
        client
    }

    /// Stops every role.
    pub async fn stop(self) {
        self.federation.stop().await.unwrap();
    }
}

/// The roles of a layout, once the coordinator has heard from every site. As long as one is missing, a question may be answered
/// under another agreement than with it.
async fn started(layout: &Layout) -> (Federation, Threads) {
    let (threads, written) = (Threads::new(), layout.clone());
    let starting = threads.start(async move { Federation::start(&written, Processes::One).await.unwrap() });
    let mut federation = starting.await.unwrap();
    let Running::Here { coordinator, .. } = federation.running() else { unreachable!("all roles are in this process") };
    let mut known = coordinator.registry().watch();
    let all_up = known.wait_for(|known| layout.sites.iter().all(|site| known.is_up(&SiteId::new(site))));
    let up = timeout(START_MAX, all_up).await.is_ok_and(|known| known.is_ok());
    assert!(up, "the federation does not come up");
    (federation, threads)
}

/// The files of a design in a folder of their own.
fn written(design: impl FnOnce(&Path) -> Design) -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("federation");
    std::fs::create_dir_all(&root).unwrap();
    let layout = Layout::write(&root, &design(&root), 0).unwrap();
    (folder, layout)
}

/// The folder of the published wage data; none, and a word about it, where the machine does not have them.
pub fn published_wages() -> Option<PathBuf> {
    let folder = std::env::var_os("DYNAMOS_WAGEGAP").map(PathBuf::from);
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/wagegap"));
    let found = folder.or_else(|| beside.is_dir().then_some(beside));
    if found.is_none() {
        println!("the published wage data is not on this machine; set DYNAMOS_WAGEGAP to its folder to run this test");
    }
    found
}

/// The answer as rows of text.
pub async fn answer(client: &mut Client, sql: &str) -> Vec<Vec<String>> {
    rows(&query(client, sql).await.unwrap()).unwrap()
}

/// What the last message of an answer says of it, as JSON; none if it says nothing.
pub async fn afterword(client: &mut Client, sql: &str) -> Option<serde_json::Value> {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let messages: Vec<_> = stream.into_inner().try_collect().await.unwrap();
    let text = messages.last()?.app_metadata();
    (!text.is_empty()).then(|| serde_json::from_slice(&text).unwrap())
}

/// What a form of EXPLAIN says of a question, as one text.
pub async fn explained(client: &mut Client, form: &str, sql: &str) -> String {
    answer(client, &format!("{form} {sql}")).await.concat().join("\n")
}

/// The answer, which is the same under every placement.
pub async fn everywhere(client: &mut Client, sql: &str) -> Vec<Vec<String>> {
    let mut answers = Vec::new();
    for placement in ["auto", "compute_to_data", "data_to_compute"] {
        answer(client, &format!("SET dynamos.placement = '{placement}'")).await;
        answers.push(answer(client, sql).await);
    }
    answer(client, "SET dynamos.placement = 'auto'").await;
    assert!(answers.iter().all(|one| *one == answers[0]), "{sql}: the placements differ: {answers:?}");
    answers.remove(0)
}

/// The error that a statement gives.
pub async fn error(client: &mut Client, sql: &str) -> ServiceError {
    told(&query(client, sql).await.expect_err(sql))
}

/// What a client was told. Its text ends with the advice, as clients show it that know nothing of advice.
pub fn told(error: &anyhow::Error) -> ServiceError {
    let status = error.chain().find_map(|cause| match cause.downcast_ref::<arrow_flight::error::FlightError>() {
        Some(arrow_flight::error::FlightError::Tonic(status)) => Some(status.as_ref().clone()),
        _ => cause.downcast_ref::<tonic::Status>().cloned(),
    });
    match status {
        Some(status) => ServiceError { message: status.message().to_owned(), ..ServiceError::from_status(&status) },
        None => panic!("an error without a status: {error:?}"),
    }
}
