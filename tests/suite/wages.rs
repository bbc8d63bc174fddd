//! The wage question and what surrounds it: right under every placement, refused where the agreements say so, gone after a
//! revocation.

use dynamos_cli::demo::{Truth, compare, questions};
use dynamos_proto::status::Code;

use crate::federation::{TestFederation, answer, error, published_wages};

const BOTH: &str = "SELECT p.geslacht, avg(a.salschal), count(*) FROM wages.personen p \
    JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY p.geslacht ORDER BY p.geslacht";

fn at(site: &str) -> String {
    BOTH.replace("wages.personen", &format!("{site}.wages.personen"))
        .replace("wages.aanstellingen", &format!("{site}.wages.aanstellingen"))
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_questions_are_answered_right_under_every_placement_that_is_legal() {
    let federation = TestFederation::start(None).await;
    let truth = Truth::open(&federation.layout).await.unwrap();
    for question in questions() {
        let mut legal = 0;
        for placement in ["auto", "compute_to_data", "data_to_compute"] {
            let mut client = federation.client(question.user, "auto", question.sql).await;
            answer(&mut client, &format!("SET dynamos.placement = '{placement}'")).await;
            // The hospitals let no rows leave; the universities do.
            if placement == "data_to_compute" && question.user.starts_with("researcher") {
                let refused = error(&mut client, question.sql).await;
                assert_eq!(refused.code, Code::Denied, "{}: {refused}", question.title);
                assert!(refused.message.contains("data_to_compute"), "{refused}");
                continue;
            }
            legal += 1;
            let answered = answer(&mut client, question.sql).await;
            compare(&answered, &truth.answer(question.truth).await.unwrap()).unwrap();
            let edges = answer(&mut client, "SHOW EDGES FOR LAST QUERY").await;
            assert!(edges.len() >= 2, "{edges:?}");
            for edge in edges {
                let sizes = [&edge[4], &edge[5]].map(|size| size.parse::<u64>().unwrap());
                assert!(sizes.iter().all(|size| *size >= 1024 && size.is_power_of_two()), "{edge:?}");
            }
        }
        assert!(legal >= 2, "{}", question.title);
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn published_wage_data_gives_the_published_truth() {
    let Some(folder) = published_wages() else { return };
    let federation = TestFederation::start(Some(&folder)).await;
    for placement in ["auto", "compute_to_data", "data_to_compute"] {
        let (uva, vu) = (at("uva"), at("vu"));
        for (sql, men, women, total) in
            [(BOTH, "11.287", "10.042", 92_042), (&uva, "11.877", "10.597", 35_559), (&vu, "10.955", "9.657", 56_483)]
        {
            let mut client = federation.client("analyst@uva.nl", placement, sql).await;
            let rows = answer(&mut client, sql).await;
            let shown: Vec<(String, String)> =
                rows.iter().map(|row| (row[0].clone(), format!("{:.3}", row[1].parse::<f64>().unwrap()))).collect();
            assert_eq!(shown, [("M".into(), men.into()), ("V".into(), women.into())], "{placement}: {sql}");
            let counted: i64 = rows.iter().map(|row| row[2].parse::<i64>().unwrap()).sum();
            assert_eq!(counted, total, "{placement}: {sql}");
        }
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agreements_do_not_release_is_denied_with_the_clause() {
    let federation = TestFederation::start(None).await;
    drop(federation.client("analyst@uva.nl", "auto", BOTH).await);
    let mut client = federation.plain_client("analyst@uva.nl", "statistics").await;
    for sql in [
        "SELECT * FROM wages.personen",
        "SELECT geslacht FROM uva.wages.personen LIMIT 1",
        "SELECT gebdat, avg(salschal) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY gebdat",
        "SELECT avg(taakomv) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
        "SELECT max(salschal) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
        "SELECT avg(salschal + 1) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
        "SELECT count(CAST(salschal AS SMALLINT)) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
        "SELECT avg(salschal) FROM wages.aanstellingen",
        "SELECT avg(salschal) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr WHERE p.unieknr = 7",
        "SELECT avg(salschal) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr WHERE 1 / salschal > 0",
        "SELECT avg(salschal) FILTER (WHERE taakomv > 5) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
        "SELECT avg(salschal) FROM wages.personen p LEFT JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
        "SELECT avg(salschal) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr < a.unieknr",
        "SELECT p.unieknr, row_number() OVER () FROM wages.personen p",
        "SELECT count(DISTINCT p.unieknr) FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr",
        "SELECT avg(m) FROM (SELECT avg(salschal) m, p.unieknr FROM wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY p.unieknr) t",
    ] {
        let refused = error(&mut client, sql).await;
        assert_eq!(refused.code, Code::Denied, "{sql}: {refused}");
        assert!(refused.message.contains("uva") || refused.message.contains("protected"), "{sql}: {refused}");
    }
    // Above a release point everything runs.
    let released = answer(
        &mut client,
        "SELECT max(m) - min(m) > 0 FROM (SELECT geslacht, avg(salschal) m FROM wages.personen p \
         JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY geslacht) t",
    )
    .await;
    assert_eq!(released, [["true"]]);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_clear_errors() {
    let federation = TestFederation::start(None).await;
    drop(federation.client("analyst@uva.nl", "auto", BOTH).await);
    let mut client = federation.plain_client("analyst@uva.nl", "statistics").await;
    let accepted = "write a query (SELECT, WITH, VALUES)";
    let mut wrong = Vec::new();
    // What each text must name, and what it must say to do.
    for (sql, code, culprit, advice) in [
        ("SELEC 1", Code::Syntax, "line 1, column 1: `selec`", accepted),
        ("SELECT geslacht FROM wages.personen WHERE", Code::Syntax, "line 1, column 42", "expected an expression"),
        ("SELECT 1; SELECT 2", Code::Syntax, "line 1, column 11: ", "expected the end"),
        ("DELETE FROM wages.personen", Code::Syntax, "`delete`", accepted),
        ("SELECT * FROM wages.nobody", Code::UnknownName, "no table `wages.nobody`", ""),
        // What may not be known to exist looks the same.
        ("SELECT * FROM care.patients", Code::UnknownName, "no table `care.patients`", ""),
        ("SELECT nothing FROM wages.personen", Code::UnknownName, "nothing", "wages.personen.geslacht"),
        ("SELECT nosuch(1) FROM wages.personen", Code::UnknownName, "nosuch", ""),
        (
            "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
            Code::Unsupported,
            "`n` reads itself",
            "write each step as a WITH of its own",
        ),
        ("SET dynamos.purpose = 'advertising'", Code::InvalidArgument, "`advertising`", "`statistics`"),
        ("SET dynamos.placement = 'moon'", Code::InvalidArgument, "`moon`", "compute_to_data"),
        ("SET dynamos.colour = 'red'", Code::UnknownName, "`dynamos.colour`", "`dynamos.placement`"),
        ("SHOW AGREEMENT none", Code::UnknownName, "`none`", "SHOW AGREEMENTS"),
        (
            "SELECT gebdat FROM wages.personen",
            Code::Denied,
            "agreement `wage_gap` has no RELEASE ROWS",
            "SHOW PERMISSIONS",
        ),
    ] {
        let refused = error(&mut client, sql).await;
        let text = refused.to_string();
        if refused.code != code || !text.contains(culprit) || !text.contains(advice) {
            wrong.push(format!("{sql}: {:?}: {text}", refused.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agreement_answers_nothing_more() {
    let federation = TestFederation::start(None).await;
    let mut analyst = federation.client("analyst@uva.nl", "auto", BOTH).await;
    assert_eq!(answer(&mut analyst, BOTH).await.len(), 2);
    // Only the steward's own people can change it.
    let refused = error(&mut analyst, "REVOKE AGREEMENT wage_gap ON SITE vu").await;
    assert_eq!(refused.code, Code::Denied, "{refused}");
    let mut steward = federation.plain_client("steward@vu.nl", "statistics").await;
    answer(&mut steward, "REVOKE AGREEMENT wage_gap ON SITE vu").await;
    let refused = error(&mut analyst, BOTH).await;
    assert_eq!(refused.code, Code::Denied, "{refused}");
    assert!(refused.message.contains("vu"), "{refused}");
    let only_uva = BOTH.replace("GROUP BY", "WHERE p.steward = 'uva' GROUP BY");
    assert_eq!(answer(&mut analyst, &only_uva).await.len(), 2, "the other university still agrees");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steward_sees_what_an_agreement_would_change_before_it_is_in_force() {
    let federation = TestFederation::start(None).await;
    let mut analyst = federation.client("analyst@uva.nl", "auto", BOTH).await;
    answer(&mut analyst, BOTH).await;
    let mut steward = federation.plain_client("steward@vu.nl", "statistics").await;
    let counts_only = "SIMULATE AGREEMENT wage_gap ON SITE vu FOR ROLE analyst PURPOSE statistics AS (\
        RELEASE count OF * BY geslacht FROM wages.personen JOIN wages.aanstellingen ON unieknr \
        MINIMUM 10 DISTINCT personen.unieknr, SHIP PARTIALS OF 1 TO surf)";
    let simulated = answer(&mut steward, &format!("{counts_only} FOR {BOTH}")).await;
    let [row] = simulated.as_slice() else { panic!("{simulated:?}") };
    assert_eq!((row[1].as_str(), row[2].as_str()), ("ROLE analyst", "statistics"));
    assert!(row[3].starts_with("permitted; ") && row[3].contains("vu: agreement `wage_gap` epoch 1"), "{row:?}");
    assert!(row[4].starts_with("denied: ") && row[4].contains("avg"), "{row:?}");
    assert!(!row[3].contains("uva: agreement"), "another steward's agreement is not its business: {row:?}");
    assert!(row[6].contains("analyst@uva.nl of uva, role analyst (has asked)"), "{row:?}");
    assert!(row[6].contains("anybody of vu, role analyst (made up)") && row[7] == BOTH, "{row:?}");
    let recent = answer(&mut steward, &format!("{counts_only} FOR RECENT QUERIES")).await;
    let asked = recent.iter().find(|row| row[1] == "analyst@uva.nl of uva").unwrap();
    assert!(asked[3].starts_with("permitted") && asked[4].starts_with("denied"), "{asked:?}");
    assert!(asked[7].starts_with("select p . geslacht , avg ( a . salschal )"), "{asked:?}");
    // What no site would put in force is not simulated.
    let misspelt = counts_only.replace("BY geslacht", "BY geslagt");
    let refused = error(&mut steward, &format!("{misspelt} FOR {BOTH}")).await;
    assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    let column = misspelt.find("geslagt").unwrap() + 1;
    let expected = format!("line 1, column {column}: clause 1: `geslagt` is no column of");
    assert!(refused.message.contains(&expected), "{refused}");
    // Of others' tables alone it is told nothing.
    let foreign = error(&mut steward, &format!("{counts_only} FOR {}", at("uva"))).await;
    assert_eq!(foreign.code, Code::InvalidArgument, "{foreign}");
    // Nothing has changed, and nobody else may try.
    assert_eq!(answer(&mut analyst, BOTH).await.len(), 2);
    for user in ["analyst@uva.nl", "steward@uva.nl"] {
        let mut other = federation.plain_client(user, "statistics").await;
        let refused = error(&mut other, &format!("{counts_only} FOR {BOTH}")).await;
        assert_eq!(refused.code, Code::Denied, "{user}: {refused}");
    }
    federation.stop().await;
}
