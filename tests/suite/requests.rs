//! Requests of the original middleware, over Flight SQL, against the truth over all data at once.

use dynamos_cli::demo::Truth;
use dynamos_cli::request::{RequestArgs, RequestError, ask};
use dynamos_cli::shell::{Access, Format, Reader, Secret};

use crate::federation::{TestFederation, published_wages};

const USER: &str = "analyst@uva.nl";
const TRUTH: &str = "SELECT p.geslacht, avg(a.salschal) FROM wages.personen p JOIN wages.aanstellingen a \
    ON p.unieknr = a.unieknr AND p.steward = a.steward WHERE {condition} GROUP BY p.geslacht ORDER BY p.geslacht";

fn request(query: &str, aggregate: bool) -> String {
    serde_json::json!({
        "type": "sqlDataRequest",
        "user": { "id": "1", "userName": USER },
        "dataProviders": ["VU", "UVA"],
        "data_request": {
            "type": "sqlDataRequest", "query": query, "algorithm": "average",
            "options": { "aggregate": aggregate, "graph": false, "anonymize": false },
        },
    })
    .to_string()
}

const ROWS: &str =
    "SELECT p.Geslacht, s.Salschal FROM Personen p JOIN Aanstellingen s ON p.Unieknr = s.Unieknr LIMIT 100";

/// What `dynamos request` writes: results, and what it says about them.
async fn asked(federation: &TestFederation, request: &str, placement: &str) -> (Result<String, RequestError>, String) {
    // Until all sites have registered, a question is refused.
    drop(
        federation
            .client(
                USER,
                "auto",
                "SELECT count(*) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
            )
            .await,
    );
    let file = federation.layout.root.join("request.json");
    std::fs::write(&file, request).unwrap();
    let args = RequestArgs {
        file,
        profile: None,
        schema: Some("wages".into()),
        group_by: "Geslacht".into(),
        average_of: "Salschal".into(),
        placement: placement.parse().unwrap(),
        server: Some(federation.layout.uri().replace("127.0.0.1", "localhost")),
        access: Access {
            format: Format::Csv,
            purpose: Some("statistics".into()),
            user: Some(USER.into()),
            token: Some(Secret::from(federation.layout.user(USER).unwrap().token.clone())),
            ca: Some(federation.layout.ca_file()),
            ..Access::default()
        },
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = ask(&args, Reader::Program, &mut out, &mut err).await;
    let [out, err] = [out, err].map(|bytes| String::from_utf8(bytes).unwrap());
    (outcome.map(|()| out), err)
}

/// The lines of CSV texts without headers; the last cell is a number.
fn cells(text: &str) -> Vec<(Vec<String>, f64)> {
    let lines = text.lines().filter(|line| !line.ends_with("average") && !line.is_empty());
    lines
        .map(|line| {
            let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            let number = cells.pop().unwrap().parse().unwrap();
            (cells, number)
        })
        .collect()
}

fn same(answer: &[(Vec<String>, f64)], truth: &[(Vec<String>, f64)]) {
    assert!(!truth.is_empty() && answer.len() == truth.len(), "{answer:?} is not {truth:?}");
    for (one, other) in answer.iter().zip(truth) {
        assert!(one.0 == other.0 && (one.1 - other.1).abs() < 1e-6, "{answer:?} is not {truth:?}");
    }
}

async fn truth(truth: &Truth, condition: &str, provider: Option<&str>) -> Vec<(Vec<String>, f64)> {
    let rows = truth.answer(&TRUTH.replace("{condition}", condition)).await.unwrap();
    rows.into_iter()
        .map(|row| (provider.map(str::to_owned).into_iter().chain([row[0].clone()]).collect(), row[1].parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_give_the_true_averages_by_either_archetype() {
    let federation = TestFederation::start(None).await;
    let engine = Truth::open(&federation.layout).await.unwrap();
    for placement in ["compute_to_data", "data_to_compute"] {
        let (answer, shown) = asked(&federation, &request(ROWS, true), placement).await;
        same(&cells(&answer.unwrap()), &truth(&engine, "true", None).await);
        assert!(
            shown.contains("FROM wages.personen p JOIN wages.aanstellingen s") && shown.contains("LIMIT"),
            "{shown}"
        );
    }
    // At one university after the other.
    let (answer, shown) = asked(&federation, &request(ROWS, false), "auto").await;
    let mut expected = truth(&engine, "p.steward = 'vu'", Some("vu")).await;
    expected.extend(truth(&engine, "p.steward = 'uva'", Some("uva")).await);
    same(&cells(&answer.unwrap()), &expected);
    assert!(shown.contains("FROM vu.wages.personen p") && shown.contains("FROM uva.wages.personen p"), "{shown}");
    // One that refuses does not keep the other from being asked.
    let (answer, shown) = asked(&federation, &request(ROWS, false).replace("\"VU\"", "\"AMC\""), "auto").await;
    assert!(matches!(answer, Err(RequestError::Unanswered { unanswered: 1, asked: 2 })), "{answer:?}");
    assert!(shown.contains("error: UNKNOWN_NAME") && shown.contains("FROM uva.wages.personen p"), "{shown}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agreements_do_not_release_is_refused_for_a_request_too() {
    let federation = TestFederation::start(None).await;
    let rows = "SELECT DISTINCT p.Unieknr, p.Geslacht, p.Gebdat, s.Aanst_22, s.Functcat, s.Salschal as Salary \
        FROM Personen p JOIN Aanstellingen s ON p.Unieknr = s.Unieknr LIMIT 30000";
    let (refused, shown) = asked(&federation, &request(rows, true), "auto").await;
    let mut text = Vec::new();
    refused.unwrap_err().report(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("error: DENIED") && shown.contains("SELECT DISTINCT"), "{text}{shown}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_wage_data_gives_the_published_averages() {
    let Some(folder) = published_wages() else { return };
    let federation = TestFederation::start(Some(&folder)).await;
    let both = [(vec!["M".to_owned()], 11.287), (vec!["V".to_owned()], 10.042)];
    for placement in ["compute_to_data", "data_to_compute"] {
        let (answer, _) = asked(&federation, &request(ROWS, true), placement).await;
        let rounded: Vec<_> = cells(&answer.unwrap())
            .into_iter()
            .map(|(key, average)| (key, (average * 1000.0).round() / 1000.0))
            .collect();
        same(&rounded, &both);
    }
    federation.stop().await;
}
