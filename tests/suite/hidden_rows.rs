//! Rows that are not in view change nothing of an answer: not which rows a LIMIT keeps, not the order of rows, and not a bit of
//! a sum. Two federations have the same rows in view. They differ in how many hidden rows there are and where they stand, by
//! more than a batch, and in the order of rows that are asked for by groups only. What is published of their tables is alike.

use std::fmt::Write;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use dynamos_cli::federation::{Client, Design, FederatedTable, Person, Provider, Steward, query};

use crate::federation::{TestFederation, answer};

const USER: &str = "analyst@a.nl";
const PLACEMENTS: [&str; 3] = ["auto", "compute_to_data", "data_to_compute"];
/// Rows in view at the first steward, and from there on at the second.
const SHOWN: [std::ops::Range<usize>; 2] = [0..20_000, 20_000..30_000];
/// Each question is asked so often: an answer that is a matter of luck does not have it each time.
const TIMES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    One,
    Other,
}

impl Side {
    /// How many hidden rows stand before the row in view with this number at this steward.
    fn hidden_before(self, steward: usize, row: usize) -> usize {
        match (self, steward, row) {
            (Side::One, 0, 0) => 9_000,
            (Side::Other, 0, 0) => 1,
            (Side::Other, 0, 8_191) => 8_249,
            (Side::Other, 0, row) => usize::from(row % 20 == 7),
            (Side::One, _, 25_000) => 50,
            (Side::Other, _, row) => usize::from(row % 200 == 1),
            (Side::One, _, _) => 0,
        }
    }

    /// How many persons of the first steward another table hides.
    fn marked(self) -> usize {
        match self {
            Side::One => 100,
            Side::Other => 200,
        }
    }
}

/// Numbers that no order but luck adds up to their sum.
fn number(row: usize) -> f64 {
    [0.1, 1e16, -1e16, 1.0 / 3.0, 1e-9][row % 5] * (1 + row % 11) as f64
}

/// `amounts`: what is in view, and what is not because its own table or that of the marks says so.
fn amounts(steward: usize, side: Side) -> String {
    let mut csv = "id,n,tie,x,gone\n".to_owned();
    let (mut hidden, mut marked) = (0, 0);
    for row in SHOWN[steward].clone() {
        for _ in 0..side.hidden_before(steward, row) {
            writeln!(csv, "{},{row},{},{:e},1", 1_000_000 + hidden, row % 5, number(hidden + 3)).unwrap();
            hidden += 1;
        }
        if steward == 0 && row % 90 == 13 && marked < side.marked() {
            writeln!(csv, "{},{row},{},{:e},0", 2_000_000 + marked, row % 5, number(marked)).unwrap();
            marked += 1;
        }
        writeln!(csv, "{row},{row},{},{:e},0", row % 5, number(row)).unwrap();
    }
    csv
}

fn marks(side: Side) -> String {
    let mut csv = "id,keep\n".to_owned();
    for person in 0..300 {
        writeln!(csv, "{},{}", 2_000_000 + person, u8::from(person >= side.marked())).unwrap();
    }
    csv
}

/// `claims`, which are released by groups: the same in another order, with other hidden rows.
fn claims(side: Side) -> String {
    let mut rows: Vec<String> = (0..12_000)
        .map(|row| format!("{row},{},{:e},0", ["maze", "axe", "oak", "elm"][row % 4], number(row)))
        .collect();
    let hidden = |group: &str| (0..9).map(|row| format!("{},{group},1e300,1", 900_000 + row)).collect::<Vec<_>>();
    match side {
        Side::One => rows.extend(hidden("elm")),
        Side::Other => {
            rows.splice(0..0, hidden("oak"));
            rows.reverse();
        }
    }
    format!("id,grp,x,gone\n{}\n", rows.join("\n"))
}

/// `few`, of which nobody should see how few they are.
fn few(side: Side) -> String {
    let (rows, nulls) = if side == Side::One { (4, 0) } else { (61, 7) };
    let rows = (0..rows).map(|row| {
        let word = if (3..3 + nulls).contains(&row) { String::new() } else { format!("w{row}") };
        format!("{},{word},{}", 3_000_000 + row, u8::from(row > 2))
    });
    format!("id,word,gone\n{}\n", rows.collect::<Vec<_>>().join("\n"))
}

fn design(side: Side) -> impl FnOnce(&Path) -> Design {
    move |root| {
        let table = |steward: &str, name: &str, csv: String, columns: &[(&str, &str)]| {
            std::fs::create_dir_all(root.join(steward)).unwrap();
            std::fs::write(root.join(steward).join(format!("{name}.csv")), csv).unwrap();
            let columns = columns.iter().map(|(name, kind)| format!("  {{ name = \"{name}\", type = \"{kind}\" }},\n"));
            let columns: String = columns.collect();
            format!(
                "\n[[tables]]\nschema = \"m\"\ntable = \"{name}\"\npath = \"{name}.csv\"\nformat = \"csv\"\n\
                 entity = \"id\"\ncolumns = [\n{columns}]\n"
            )
        };
        let of_amounts = [("id", "bigint"), ("n", "bigint"), ("tie", "bigint"), ("x", "double"), ("gone", "bigint")];
        let of_claims = [("id", "bigint"), ("grp", "text"), ("x", "double"), ("gone", "bigint")];
        let first = table("a", "amounts", amounts(0, side), &of_amounts)
            + &table("a", "marks", marks(side), &[("id", "bigint"), ("keep", "bigint")])
            + &table("a", "claims", claims(side), &of_claims)
            + &table("a", "few", few(side), &[("id", "bigint"), ("word", "text"), ("gone", "bigint")]);
        let second = table("b", "amounts", amounts(1, side), &of_amounts);
        let rows = "RELEASE ROWS (n, tie, x) FROM m.amounts, SHIP ROWS (n, tie, x) FROM m.amounts TO ANY, COORDINATOR, \
                    ROWS ON m.amounts WHERE gone = 0";
        let more = "ROWS ON m.marks WHERE keep = 1, \
                    RELEASE sum, avg, count OF x, * BY grp FROM m.claims MINIMUM 2 DISTINCT id, \
                    SHIP ROWS (id, grp, x) FROM m.claims TO ANY, COORDINATOR, ROWS ON m.claims WHERE gone = 0, \
                    RELEASE ROWS (id, word) FROM m.few, SHIP ROWS (id, word) FROM m.few TO ANY, COORDINATOR, \
                    ROWS ON m.few WHERE gone = 0";
        let steward = |name: &str, tables: String, clauses: String| Steward {
            name: name.to_owned(),
            tables,
            agreements: vec![format!(
                "CREATE AGREEMENT views ON SITE {name} FOR ROLE analyst PURPOSE statistics AS ({clauses});"
            )],
        };
        Design {
            stewards: vec![steward("a", first, format!("{rows}, {more}")), steward("b", second, rows.to_owned())],
            providers: vec![Provider { name: "p".into() }],
            federated: vec![FederatedTable {
                schema: "m".into(),
                table: "amounts".into(),
                stewards: vec!["a".into(), "b".into()],
            }],
            people: vec![Person {
                user: USER.into(),
                organisation: "a".into(),
                role: "analyst".into(),
                purpose: "statistics".into(),
            }],
            site_limits: "target_partitions = 3\n".into(),
        }
    }
}

/// Their answers are the same rows in the same order, with the same bits, each time.
const SAME: &[&str] = &[
    "SELECT n, x FROM a.m.amounts LIMIT 3",
    "SELECT x FROM a.m.amounts LIMIT 1",
    "SELECT n FROM a.m.amounts LIMIT 9000 OFFSET 8000",
    "SELECT n FROM a.m.amounts WHERE n % 7 = 3 LIMIT 20",
    "SELECT n, x, tie FROM a.m.amounts",
    "SELECT n, x * 2 FROM a.m.amounts WHERE n % 3 = 1",
    "SELECT n, tie FROM a.m.amounts ORDER BY tie",
    "SELECT n, tie FROM a.m.amounts ORDER BY tie LIMIT 7",
    "SELECT n, tie FROM a.m.amounts WHERE n % 7 = 3 ORDER BY tie DESC LIMIT 7",
    "SELECT n, sum(x) OVER (ORDER BY n ROWS 3 PRECEDING) FROM a.m.amounts ORDER BY n LIMIT 9",
    "SELECT sum(x), avg(x), avg(n), sum(x) FILTER (WHERE tie > 2), sum(DISTINCT x) FROM a.m.amounts",
    "SELECT median(x), median(n), min(x), max(x) FROM a.m.amounts",
    "SELECT tie, sum(x), avg(x), median(x) FROM a.m.amounts GROUP BY tie ORDER BY tie",
    "SELECT sum(x), avg(x), count(*) FROM m.amounts",
    "SELECT tie, sum(x), avg(x), count(*) FROM m.amounts GROUP BY tie ORDER BY tie",
    "SELECT sum(s), avg(s) FROM (SELECT tie, sum(x) AS s FROM m.amounts GROUP BY tie, n % 13)",
    "SELECT grp, sum(x), avg(x), count(*) FROM a.m.claims GROUP BY grp",
    "SELECT grp, sum(x) FROM a.m.claims GROUP BY grp LIMIT 2",
    "SELECT id, word FROM a.m.few",
];

/// Their rows come as fast as places and threads give them: they are the same ones in any order.
const IN_ANY_ORDER: &[&str] = &[
    "SELECT n, x FROM m.amounts",
    "SELECT tie, sum(x), avg(x) FROM m.amounts GROUP BY tie",
    "SELECT DISTINCT tie, n % 3 FROM a.m.amounts",
];

async fn whole(client: &mut Client, sql: &str) -> RecordBatch {
    let batches = query(client, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

async fn sorted(client: &mut Client, sql: &str) -> Vec<Vec<String>> {
    let mut rows = answer(client, sql).await;
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn e3_rows_that_are_not_in_view_change_no_answer_and_no_plan() {
    let (here, there) =
        (TestFederation::design(design(Side::One)).await, TestFederation::design(design(Side::Other)).await);
    let mut here_client = here.client(USER, "auto", "SELECT count(*) FROM m.amounts").await;
    let mut there_client = there.client(USER, "auto", "SELECT count(*) FROM m.amounts").await;
    let mut before: Vec<Option<RecordBatch>> = vec![None; SAME.len()];
    for placement in PLACEMENTS {
        let set = format!("SET dynamos.placement = '{placement}'");
        answer(&mut here_client, &set).await;
        answer(&mut there_client, &set).await;
        for (sql, before) in SAME.iter().zip(&mut before) {
            let explain = format!("EXPLAIN {sql}");
            assert_eq!(answer(&mut here_client, &explain).await, answer(&mut there_client, &explain).await, "{sql}");
            let first = whole(&mut here_client, sql).await;
            for _ in 0..TIMES {
                let (one, other) = (whole(&mut here_client, sql).await, whole(&mut there_client, sql).await);
                assert!(one == first && other == first, "{sql} under {placement}\n{first:?}\n{one:?}\n{other:?}");
            }
            // Whoever computes it, too, where an order or an aggregate says what the answer is.
            let settled = sql.contains("sum(");
            assert!(!settled || before.as_ref().is_none_or(|before| *before == first), "{sql} under {placement}");
            *before = Some(first);
        }
        for sql in IN_ANY_ORDER {
            let first = sorted(&mut here_client, sql).await;
            assert_eq!(first, sorted(&mut there_client, sql).await, "{sql} under {placement}");
        }
        // Of several places the fastest fill a LIMIT, with rows in view.
        let all = sorted(&mut here_client, "SELECT n, x FROM m.amounts").await;
        for client in [&mut here_client, &mut there_client] {
            let some = answer(client, "SELECT n, x FROM m.amounts LIMIT 5").await;
            assert!(some.len() == 5 && some.iter().all(|row| all.binary_search(row).is_ok()), "{some:?}");
        }
    }
    here.stop().await;
    there.stop().await;
}
