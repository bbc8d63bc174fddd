//! SIMULATE AGREEMENT over a federation: who would gain and who would lose and from when on, recent questions as they were asked, and
//! texts that no site would put in force.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use dynamos_cli::federation::query;
use dynamos_proto::status::Code;
use futures::TryStreamExt;

use crate::federation::{TestFederation, answer, error};

const QUERY: &str = "SELECT p.geslacht, avg(a.salschal) FROM wages.personen p \
    JOIN wages.aanstellingen a ON p.unieknr = a.unieknr GROUP BY p.geslacht";
const RELEASE: &str = "RELEASE avg, count OF salschal, * BY geslacht FROM wages.personen JOIN wages.aanstellingen ON unieknr \
    MINIMUM 10 DISTINCT personen.unieknr";

fn of_vu() -> String {
    QUERY.replace("wages.", "vu.wages.")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_would_gain_and_who_would_lose_is_shown_as_of_when_it_begins() {
    let federation = TestFederation::start(None).await;
    let mut analyst = federation.client("analyst@uva.nl", "auto", QUERY).await;
    answer(&mut analyst, &of_vu()).await;
    let mut steward = federation.plain_client("steward@vu.nl", "statistics").await;
    let simulated = format!(
        "SIMULATE AGREEMENT wage_gap ON SITE vu FOR USER 'new@vu.nl' PURPOSE statistics VALID FROM '2100-01-01' \
         AS ({RELEASE}) FOR {}",
        of_vu()
    );
    let rows = answer(&mut steward, &simulated).await;
    let (gain, lose): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row[1] == "USER 'new@vu.nl'");
    assert!(!gain.is_empty() && !lose.is_empty(), "{rows:?}");
    for row in &gain {
        assert!(!row[3].starts_with("permitted") && row[4].starts_with("permitted; "), "{row:?}");
    }
    assert!(gain.iter().any(|row| row[6].contains("new@vu.nl of vu, no role (made up)")), "{gain:?}");
    for row in &lose {
        assert!(row[1] == "ROLE analyst" && row[2] == "statistics", "{row:?}");
        assert!(row[3].starts_with("permitted; ") && !row[4].starts_with("permitted"), "{row:?}");
    }
    assert!(lose.iter().any(|row| row[6].contains("analyst@uva.nl of uva, role analyst (has asked)")), "{lose:?}");
    assert!(rows.iter().all(|row| row[5] == "2100-01-01" && row[7] == of_vu()), "{rows:?}");
    assert_eq!(answer(&mut analyst, &of_vu()).await.len(), 2, "nothing has changed");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recent_question_is_asked_again_as_it_was_and_told_without_its_literals() {
    let federation = TestFederation::start(None).await;
    let mut analyst = federation.client("analyst@uva.nl", "data_to_compute", QUERY).await;
    let asked = QUERY.replace("GROUP BY", "WHERE p.geslacht = ? AND a.hoopgeb <> 'WP' GROUP BY");
    let mut prepared = analyst.prepare(asked, None).await.unwrap();
    let value = Arc::new(StringArray::from(vec!["V"])) as ArrayRef;
    prepared.set_parameters(RecordBatch::try_from_iter([("$1", value)]).unwrap()).unwrap();
    let info = prepared.execute().await.unwrap();
    let rows = analyst.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let rows: Vec<RecordBatch> = rows.try_collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    // Of the other university's own tables the steward is told nothing, whatever was decided.
    let of_both = format!("{} UNION ALL {}", of_vu(), QUERY.replace("wages.", "uva.wages."));
    drop(query(&mut analyst, &of_both).await);
    let mut steward = federation.plain_client("steward@vu.nl", "statistics").await;
    let simulated = format!(
        "SIMULATE AGREEMENT wage_gap ON SITE vu FOR ROLE analyst PURPOSE statistics AS ({RELEASE}) FOR RECENT QUERIES"
    );
    let recent = answer(&mut steward, &simulated).await;
    let [both, with_parameter] = recent.as_slice() else { panic!("{recent:?}") };
    assert_eq!(both[7], "on `wages.aanstellingen`, `wages.personen` and tables of others", "{both:?}");
    let statement = &with_parameter[7];
    assert!(statement.contains("where p . geslacht = ? and a . hoopgeb <> ?"), "{statement}");
    // The rows go to the provider, as the placement wants that they were asked under.
    assert!(
        with_parameter[3].starts_with("permitted; ") && with_parameter[3].contains("clause 3"),
        "{with_parameter:?}"
    );
    assert!(!with_parameter[4].starts_with("permitted"), "{with_parameter:?}");
    for literal in ["'WP'", "\"WP\"", "'V'", "\"V\""] {
        assert!(!with_parameter.iter().any(|cell| cell.contains(literal)), "{literal}: {with_parameter:?}");
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steward_is_told_nothing_of_what_others_have() {
    let federation = TestFederation::start(None).await;
    drop(federation.client("analyst@uva.nl", "auto", QUERY).await);
    let mut steward = federation.plain_client("steward@vu.nl", "statistics").await;
    let simulated = |sql: &str| {
        format!("SIMULATE AGREEMENT wage_gap ON SITE vu FOR ROLE analyst PURPOSE statistics AS ({RELEASE}) FOR {sql}")
    };
    // An error of the engine lists the columns that there are.
    let of_both = "SELECT p.geslacht, count(*) FROM vu.wages.personen p JOIN uva.wages.aanstellingen a \
                   ON p.unieknr = a.unieknr WHERE a.nosuch = 1 GROUP BY p.geslacht";
    let rows = answer(&mut steward, &simulated(of_both)).await;
    assert!(!rows.is_empty());
    let told = "denied: another steward does not allow it, or shows this person nothing of the kind";
    for row in &rows {
        assert_eq!((row[3].as_str(), row[4].as_str()), (told, told), "{row:?}");
        for column in ["salschal", "hoopgeb", "functcat", "aadnstvb"] {
            assert!(!row.iter().any(|cell| cell.contains(column)), "{column}: {row:?}");
        }
    }
    // Of its own tables it is told all.
    let rows = answer(&mut steward, &simulated("SELECT p.nosuch FROM vu.wages.personen p")).await;
    assert!(rows.iter().any(|row| row[3].starts_with("refused: ") && row[3].contains("geslacht")), "{rows:?}");
    assert!(!rows.iter().flatten().any(|cell| cell.contains("uva.wages")), "{rows:?}");
    // Whose a table without a schema is makes no difference.
    for sql in ["SELECT count(*) FROM patients", "SELECT count(*) FROM care.patients", "SELECT count(*) FROM nosuch"] {
        let refused = error(&mut steward, &simulated(sql)).await;
        assert_eq!(refused.code, Code::InvalidArgument, "{sql}: {refused}");
        assert!(refused.message.contains("the query names no table of `vu`"), "{sql}: {refused}");
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e6_what_alter_would_refuse_is_refused_in_the_same_words() {
    let federation = TestFederation::start(None).await;
    drop(federation.client("analyst@uva.nl", "auto", QUERY).await);
    let mut steward = federation.plain_client("steward@vu.nl", "statistics").await;
    let text = |verb: &str, clauses: &str| {
        format!("{verb} AGREEMENT wage_gap ON SITE vu FOR ROLE analyst PURPOSE statistics AS (\n  {clauses})")
    };
    let filter = "4: FILTER ON geslacht COMPARE WITH LITERALS";
    answer(&mut steward, &text("ALTER", &format!("{RELEASE}, {filter}"))).await;
    answer(&mut steward, &text("ALTER", RELEASE)).await;
    for (clauses, code) in [
        // Gone since the version before, and since the one before that.
        (format!("{RELEASE},\n  {filter}"), Code::InvalidArgument),
        (format!("{RELEASE},\n  2: BUDGET 5 QUERIES PER DAY"), Code::InvalidArgument),
        (RELEASE.replace("geslacht", "geslagt"), Code::InvalidArgument),
        (format!("{RELEASE},\n  5: OBLIGE NOTIFICATION"), Code::Unsupported),
        (format!("{RELEASE},\n  5: BUDGET 5 QUESTIONS"), Code::Syntax),
    ] {
        let altered = error(&mut steward, &text("ALTER", &clauses)).await;
        let simulated = format!("{} FOR RECENT QUERIES", text("SIMULATE", &clauses));
        let simulated = error(&mut steward, &simulated).await;
        assert_eq!((simulated.code, &simulated.message), (altered.code, &altered.message), "{clauses}");
        assert_eq!(altered.code, code, "{altered}");
        assert!(
            altered.message.contains("line 2, column ") || altered.message.contains("line 3, column "),
            "{altered}"
        );
    }
    let fits = text("SIMULATE", &format!("{RELEASE}, 5: BUDGET 5 QUERIES PER DAY"));
    answer(&mut steward, &format!("{fits} FOR RECENT QUERIES")).await;
    let shown = answer(&mut steward, "SHOW AGREEMENT wage_gap ON SITE vu").await;
    assert_eq!(shown[0][2], "3", "{shown:?}");
    federation.stop().await;
}
