//! The examples of `docs/agreements.md`: each is read, survives printing, and is accepted or refused by a running steward
//! exactly as the page says. Behind `sql` stands `agreement`, or `clause` for what is put into a frame here, or `simulate`. A block is
//! to be refused where the paragraph right before it says *refused by this release*: that is the only mark. The report that
//! the page shows is what EXPLAIN POLICY says.

use std::path::Path;

use dynamos_cli::demo::scene;
use dynamos_cli::explain::{ExplainArgs, explained};
use dynamos_cli::federation::Person;
use dynamos_planner::Placement;
use dynamos_planner::policy::{Agreement, UtcMillis};
use dynamos_planner::sql::parse_agreement;
use dynamos_proto::status::Code;

use crate::federation::{TestFederation, answer, error};

/// Marks a question with the report of EXPLAIN POLICY on it.
const REPORT: &str = "text report";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Accepted,
    Refused,
}

struct Example {
    line: usize,
    expected: Expected,
    agreement: Agreement,
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agreements.md")).unwrap()
}

/// Every marked block of the page, read.
fn examples() -> Vec<Example> {
    let page = page();
    let mut lines = page.lines().enumerate();
    let mut examples = Vec::new();
    let mut paragraph = String::new();
    let mut ended = true;
    while let Some((line, text)) = lines.next() {
        let Some(info) = text.strip_prefix("```") else {
            if text.is_empty() {
                ended = true;
                continue;
            }
            if std::mem::take(&mut ended) {
                paragraph.clear();
            }
            paragraph.push_str(&text.to_lowercase());
            paragraph.push(' ');
            continue;
        };
        let block: Vec<&str> = lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```").collect();
        let block = block.join("\n");
        let said = std::mem::take(&mut paragraph);
        let text = match info {
            "sql agreement" => block,
            "sql clause" => {
                format!("CREATE AGREEMENT example ON SITE uva FOR ANYONE PURPOSE statistics AS (\n{block}\n);")
            }
            // Every example of the language is marked; what is left is not SQL, or no agreement.
            "sh" | "toml" | "sql simulate" | REPORT => continue,
            _ => panic!("line {}: the block is marked as `{info}`", line + 1),
        };
        let refused = said.contains("*refused by this release*") || said.contains("*refused by this release.*");
        let expected = if refused { Expected::Refused } else { Expected::Accepted };
        let agreement = parse_agreement(&text).unwrap_or_else(|error| panic!("line {}: {error}\n{text}", line + 1));
        examples.push(Example { line: line + 1, expected, agreement });
    }
    examples
}

/// The agreements of all examples.
pub fn agreements() -> Vec<Agreement> {
    examples().into_iter().map(|example| example.agreement).collect()
}

#[test]
fn every_example_survives_printing() {
    for Example { line, agreement, .. } in examples() {
        let printed = agreement.to_string();
        let again = parse_agreement(&printed).unwrap_or_else(|error| panic!("line {line}: {error}\n{printed}"));
        assert_eq!(again, agreement, "line {line}");
        assert_eq!(again.to_string(), printed, "line {line}");
    }
}

#[test]
fn every_clause_of_the_language_has_an_example() {
    let texts: Vec<String> = examples().iter().map(|example| example.agreement.to_string()).collect();
    for part in [
        "RELEASE ROWS (",
        "RELEASE avg",
        " BY ",
        " MINIMUM ",
        " SITES",
        " PER SITE",
        " DOMINANCE ",
        " ROUND TO ",
        " ELSE REMAINDER",
        " ELSE FAIL",
        "SHIP ROWS",
        "SHIP PARTIALS",
        "FILTER ON",
        "JOIN ON",
        "MASK ",
        "ROWS ON",
        "BUDGET ",
        "EPSILON",
        "ARCHETYPES",
        "OBLIGE RETENTION",
        "OBLIGE AUDIT",
        "OBLIGE NOTIFICATION",
        "VALID FROM",
        "USER '",
        "ROLE ",
        "ORGANISATION ",
        "ANYONE",
        "COORDINATOR",
        "REGION ",
        "ROLE compute_provider",
        "LEFT JOIN",
        "WITH REQUESTER",
    ] {
        assert!(texts.iter().any(|text| text.contains(part)), "no example has `{part}`");
    }
}

/// The statements of the page that simulate.
fn simulations() -> Vec<String> {
    let page = page();
    let blocks = page.split("```sql simulate\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The question of the page is planned under its first agreement, at both universities of the golden federation `demo`.
#[test]
fn the_report_on_the_page_is_that_of_explain_policy() {
    let page = page();
    let block = |mark: &str| {
        let (_, rest) = page.split_once(&format!("```{mark}\n")).unwrap();
        rest.split_once("```\n").unwrap().0.to_owned()
    };
    let (agreement, report) = (block("sql agreement"), block(REPORT));
    let (question, expected) = report.split_once(";\n\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for steward in ["uva", "vu"] {
        let text = agreement.replace("ON SITE uva", &format!("ON SITE {steward}"));
        std::fs::write(folder.path().join(format!("{steward}.sql")), text).unwrap();
    }
    let args = ExplainArgs {
        catalog: Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/federation/demo/catalog.toml"),
        agreements: vec![folder.path().to_owned()],
        knowledge: None,
        user: "analyst@uva.nl".to_owned(),
        organisation: "uva".to_owned(),
        roles: vec!["analyst".to_owned()],
        purpose: Some("statistics".to_owned()),
        agreement: None,
        placement: Placement::Auto,
        schema: None,
        parameters: Vec::new(),
        at: UtcMillis::parse("2026-06-01"),
        down: Vec::new(),
        sql: question.to_owned(),
    };
    let text = explained(&args).unwrap();
    let (found, _) = text.split_once("\nbound\n").unwrap();
    assert!(found == expected, "the page should show\n{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steward_accepts_and_refuses_what_the_page_says() {
    let federation = TestFederation::design(|root| {
        let mut design = scene(root, None).unwrap();
        // An organisation that has no site.
        let (user, organisation) = ("ann@cbs.nl".into(), "cbs".into());
        design.people.push(Person { user, organisation, role: "analyst".into(), purpose: "education".into() });
        design
    })
    .await;
    let known = "SELECT count(*) FROM uva.wages.personen p JOIN uva.wages.aanstellingen a ON p.unieknr = a.unieknr";
    drop(federation.client("analyst@uva.nl", "auto", known).await);
    let mut steward = federation.plain_client("steward@uva.nl", "statistics").await;
    let mut counted = [0, 0];
    for Example { line, expected, mut agreement } in examples() {
        // Each is an agreement of its own: under one name the numbers of its clauses would go on.
        agreement.name = format!("{} {line}", agreement.name);
        match expected {
            Expected::Accepted => {
                answer(&mut steward, &agreement.to_string()).await;
                let name = agreement.name.replace('"', "\"\"");
                answer(&mut steward, &format!("REVOKE AGREEMENT \"{name}\" ON SITE uva")).await;
                counted[0] += 1;
            }
            Expected::Refused => {
                let refused = error(&mut steward, &agreement.to_string()).await;
                assert_eq!(refused.code, Code::Unsupported, "line {line}: {refused}");
                counted[1] += 1;
            }
        }
    }
    let simulations = simulations();
    for statement in &simulations {
        assert!(!answer(&mut steward, statement).await.is_empty(), "{statement}");
    }
    let all = counted[0] + counted[1] + simulations.len();
    assert_eq!(all, page().matches("```sql ").count(), "{counted:?} examples");
    assert!(counted[0] >= 15, "{counted:?} examples");
    federation.stop().await;
}
