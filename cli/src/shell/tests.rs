//! The shell against a server over a loopback socket: arguments in, text and errors out.

use std::io::Write;

use arrow::ipc::reader::StreamReader;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::watch;
use tonic::transport::Identity;

use super::error::ShellError;
use super::interrupt::Interrupts;
use super::progress::ProgressMode;
use super::run::{Input, work};
use super::session::{Console, Reader};
use super::test_server::{TOKEN, TestServer};
use super::{Format, Secret, SqlArgs};

struct Outcome {
    result: Result<(), ShellError>,
    out: Vec<u8>,
    err: String,
}

impl Outcome {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    fn report(&self) -> String {
        let mut text = Vec::new();
        self.result.as_ref().unwrap_err().report(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }
}

fn args(server: &TestServer, commands: &[&str]) -> SqlArgs {
    let commands = commands.iter().map(|&command| command.to_owned()).collect();
    let args = SqlArgs { uri: Some(format!("grpc://{}", server.address)), commands, ..SqlArgs::default() };
    args.with(|access| {
        access.user = Some("alice".to_owned());
        access.token = Some(Secret::from(TOKEN.to_owned()));
    })
}

async fn run_with(args: &SqlArgs, interrupts: Interrupts, reader: Reader) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let console = Console { out: &mut out, err: &mut err, reader, progress: ProgressMode::Silent };
    let result = work(args, console, interrupts, Input::Stream, &|_| None).await;
    Outcome { result, out, err: String::from_utf8(err).unwrap() }
}

async fn run(args: &SqlArgs) -> Outcome {
    run_with(args, Interrupts::manual().1, Reader::Program).await
}

async fn run_commands(commands: &[&str]) -> (TestServer, Outcome) {
    let server = TestServer::start(None).await;
    let outcome = run(&args(&server, commands)).await;
    (server, outcome)
}

#[tokio::test]
async fn the_session_carries_bearer_cookie_and_purpose() {
    let server = TestServer::start(None).await;
    let args = args(&server, &["SELECT purpose"]).with(|access| access.purpose = Some("study".to_owned()));
    let outcome = run(&args).await;
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.text(), " purpose\n---------\n study\n(1 row)\n");
    let statements = server.seen.statements.lock().unwrap().clone();
    assert_eq!(statements, ["SET dynamos.purpose = 'study'", "SELECT purpose"]);
}

#[tokio::test]
async fn results_of_several_batches_are_one_result_in_every_format() {
    let server = TestServer::start(None).await;
    for (format, expected) in [
        (Format::Table, " n\n----\n  1\n  2\n 30\n(3 rows)\n"),
        (Format::Csv, "n\r\n1\r\n2\r\n30\r\n"),
        (Format::Json, "{\"n\":1}\n{\"n\":2}\n{\"n\":30}\n"),
    ] {
        let outcome = run(&args(&server, &["SELECT rows"]).with(|access| access.format = format)).await;
        outcome.result.as_ref().unwrap();
        assert_eq!(outcome.text(), expected);
    }
    let arrow = args(&server, &["SELECT rows"]).with(|access| access.format = Format::Arrow);
    let outcome = run(&arrow).await;
    let batches: Vec<_> = StreamReader::try_new(outcome.out.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).collect::<Vec<_>>(), [2, 1]);
    for command in ["SELECT rows", "\\d person_nen"] {
        let arrow = args(&server, &[command]).with(|access| access.format = Format::Arrow);
        let outcome = run_with(&arrow, Interrupts::manual().1, Reader::Terminal).await;
        assert!(outcome.report().contains("arrow output is binary"), "{command}");
        assert!(outcome.out.is_empty());
    }
}

#[tokio::test]
async fn empty_results_have_a_header_and_settings_say_ok() {
    let (_server, outcome) = run_commands(&["SELECT empty; SET dynamos.purpose = 'x'"]).await;
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.text(), " n\n---\n(0 rows)\nOK\n");
}

#[tokio::test]
async fn the_first_error_ends_the_run_with_code_message_and_hint() {
    let (server, outcome) = run_commands(&["SELECT rows", "SELECT denied; SELECT rows", "SELECT rows"]).await;
    assert_eq!(
        outcome.report(),
        "error: DENIED: A-17 §1: raw rows stay with `vu`\nhint: aggregate over at least 10 persons\n"
    );
    assert_eq!(outcome.text().matches("(3 rows)").count(), 1);
    assert_eq!(*server.seen.statements.lock().unwrap(), ["SELECT rows"]);
}

#[tokio::test]
async fn a_refused_login_keeps_the_servers_words() {
    let server = TestServer::start(None).await;
    let args = args(&server, &["SELECT rows"]).with(|access| access.token = Some(Secret::from("wrong".to_owned())));
    let report = run(&args).await.report();
    assert_eq!(report, "error: UNAUTHENTICATED: wrong user or token\nhint: ask the federation for a new token\n");
}

#[tokio::test]
async fn an_unreachable_server_is_named() {
    let server = TestServer::start(None).await;
    let args = args(&server, &["SELECT rows"]);
    drop(server);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let outcome = run(&SqlArgs { uri: Some(format!("grpc://{free}")), ..args }).await;
    assert!(outcome.report().starts_with(&format!("error: cannot connect to `grpc://{free}`: ")));
}

#[tokio::test]
async fn lists_tables_catalogs_and_agreements() {
    let (_server, outcome) = run_commands(&["\\d", "\\l", "\\agreements"]).await;
    outcome.result.as_ref().unwrap();
    let text = outcome.text();
    assert!(text.contains(" uva          | wages          | person_nen | TABLE\n"), "{text}");
    assert!(text.contains(" catalog_name\n--------------\n uva\n vu\n(2 rows)\n"), "{text}");
    assert!(text.contains(" A-17\n(1 row)\n"), "{text}");
}

#[tokio::test]
async fn describes_exactly_the_named_table() {
    let (server, outcome) = run_commands(&["\\d uva.wages.Person_nen"]).await;
    outcome.result.as_ref().unwrap();
    let expected = "\
TABLE uva.wages.person_nen
 column |       type        | nullable
--------+-------------------+----------
 name   | VARCHAR           | false
 salary | Decimal128(10, 2) | true
(2 rows)
";
    assert_eq!(outcome.text(), expected);
    let csv = run(&args(&server, &["\\d person_nen"]).with(|access| access.format = Format::Csv)).await;
    assert_eq!(csv.text().lines().count(), 5, "both catalogs' columns under one header: {}", csv.text());
    assert!(csv.text().contains("vu.wages.person_nen,name,VARCHAR,false\r\n"));
    assert!(run(&args(&server, &["\\d nothing"])).await.report().contains("there is no such table"));
}

#[tokio::test]
async fn a_script_file_mixes_statements_and_commands() {
    let server = TestServer::start(None).await;
    let mut script = tempfile::NamedTempFile::new().unwrap();
    script
        .write_all(
            b"\\purpose it's\n\\purpose\n\\format csv\n\\timing on\nSELECT\nempty;\n-- done;\n\\q\nSELECT rows;\n",
        )
        .unwrap();
    let outcome = run(&SqlArgs { file: Some(script.path().to_owned()), ..args(&server, &[]) }).await;
    assert!(outcome.report().contains("SYNTAX: cannot read `SELECT\nempty`"), "sent with its line break");
    assert!(outcome.err.starts_with("purpose is `it's`\npurpose is `it's`\ntiming is on\nTime: "), "{}", outcome.err);
    assert_eq!(*server.seen.statements.lock().unwrap(), ["SET dynamos.purpose = 'it''s'"]);

    let mut script = tempfile::NamedTempFile::new().unwrap();
    script.write_all(b"\\format csv\nSELECT empty;\n\\q\nSELECT rows;\n").unwrap();
    let outcome = run(&SqlArgs { file: Some(script.path().to_owned()), ..args(&server, &[]) }).await;
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.text(), "n\r\n");
}

async fn reaches_one(counter: &watch::Sender<u64>) {
    counter.subscribe().wait_for(|count| *count >= 1).await.unwrap();
}

#[tokio::test]
async fn ctrl_c_cancels_the_query_at_the_server() {
    let server = TestServer::start(None).await;
    let args = args(&server, &["SELECT forever", "SELECT rows"]);
    let (ctrl_c, interrupts) = Interrupts::manual();
    let press = async {
        reaches_one(&server.seen.started).await;
        ctrl_c.send_modify(|count| *count += 1);
    };
    let (outcome, ()) = tokio::join!(run_with(&args, interrupts, Reader::Program), press);
    assert_eq!(outcome.report(), "cancelled\n");
    reaches_one(&server.seen.dropped).await;
    assert_eq!(*server.seen.statements.lock().unwrap(), ["SELECT forever"]);
}

#[tokio::test]
async fn connects_over_tls_with_the_authority_of_the_info_file() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let server = TestServer::start(Some(Identity::from_pem(certificate.pem(), key.serialize_pem()))).await;

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let info = serde_json::json!({
        "uri": format!("grpc+tls://{}", server.address),
        "ca_file": "ca.pem",
        "users": [{"user": "alice", "token": TOKEN, "purposes": ["study"]}],
    });
    std::fs::write(folder.path().join("info.json"), info.to_string()).unwrap();
    let args = SqlArgs { commands: vec!["SELECT rows".to_owned()], ..SqlArgs::default() }.with(|access| {
        access.info = Some(folder.path().join("info.json"));
        access.format = Format::Csv;
    });
    let outcome = run(&args).await;
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.text(), "n\r\n1\r\n2\r\n30\r\n");

    let stranger = CertifiedIssuer::self_signed(
        CertificateParams::new(vec!["stranger".to_owned()]).unwrap(),
        KeyPair::generate().unwrap(),
    )
    .unwrap();
    std::fs::write(folder.path().join("ca.pem"), stranger.pem()).unwrap();
    assert!(run(&args).await.report().contains("cannot connect to `grpc+tls://"));
}
