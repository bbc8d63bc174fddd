//! All TPC-H queries over three stewards: the answer of one plain engine over all rows, whatever the placement.
//!
//! `DYNAMOS_TPCH_FACTOR` sets the scale factor (0.05 unless told), `DYNAMOS_TPCH_QUERIES` the queries, as `3,5`.

use dynamos_cli::federation::{Client, query};
use dynamos_tests::tpch::{QUERIES, Split, USER, compare, design, generate, sql, truth};

use crate::federation::{TestFederation, answer};

const PLACEMENTS: [&str; 3] = ["auto", "compute_to_data", "data_to_compute"];

fn numbers() -> Vec<i32> {
    match std::env::var("DYNAMOS_TPCH_QUERIES") {
        Ok(list) => list.split(',').map(|number| number.trim().parse().unwrap()).collect(),
        Err(_) => QUERIES.collect(),
    }
}

/// Two federations at once, with all their places in this process, would keep each other's leases from being renewed at a
/// large scale factor.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn all_queries(split: Split) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let factor = std::env::var("DYNAMOS_TPCH_FACTOR").map_or(0.05, |text| text.parse().unwrap());
    let rows = generate(factor).unwrap();
    let federation = TestFederation::design(|root| design(root, &rows, split).unwrap()).await;
    let truth = truth(&rows, 2).unwrap();
    let mut client = federation.client(USER, "auto", "SELECT * FROM customer, lineitem, region").await;
    let mut wrong = Vec::new();
    let mut filled = 0;
    for number in numbers() {
        let text = sql(number, factor).unwrap();
        let began = std::time::Instant::now();
        let expected = truth.sql(&text).await.unwrap().collect().await.unwrap();
        let mut line = format!("{split:?} query {number}: one engine {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
        for placement in PLACEMENTS {
            answer(&mut client, &format!("SET dynamos.placement = '{placement}'")).await;
            let plan = fragments(&mut client, &text).await;
            let products = plan.contains("Cross Join:");
            let bare = joins_without_keys(number, &plan);
            if products || !bare.is_empty() {
                wrong.push(format!("query {number}, {placement}: a product of tables, {bare:?}, in\n{plan}"));
            }
            let began = std::time::Instant::now();
            match query(&mut client, &text).await {
                Ok(answered) => match compare(&answered, &expected) {
                    Ok(()) => line += &format!(", {placement} {:.0} ms", began.elapsed().as_secs_f64() * 1e3),
                    Err(difference) => wrong.push(format!("query {number}, {placement}: {difference}")),
                },
                Err(error) => wrong.push(format!("query {number}, {placement}: {error:#}")),
            }
        }
        filled += usize::from(expected.iter().any(|batch| batch.num_rows() > 0));
        println!("{line}");
    }
    federation.stop().await;
    assert!(filled * 10 >= numbers().len() * 9, "only {filled} queries have rows: factor {factor} is too small");
    assert!(wrong.is_empty(), "{split:?}, factor {factor}:\n{}", wrong.join("\n"));
}

/// What each place does, as EXPLAIN says it.
async fn fragments(client: &mut Client, text: &str) -> String {
    let plan = answer(client, &format!("EXPLAIN {text}")).await.concat().join("\n");
    let (_, fragments) = plan.split_once("\nfragments\n").unwrap();
    fragments.to_owned()
}

/// The joins of a plan that compare no columns for equality, but for what the query itself compares otherwise.
fn joins_without_keys(number: i32, plan: &str) -> Vec<&str> {
    let joins = plan.lines().filter(|line| line.contains(" Join:  Filter:"));
    joins.filter(|join| !compares_otherwise(number).is_some_and(|condition| join.contains(condition))).collect()
}

/// What a query compares by more than equality: 7 pairs two nations by a choice of names, 11 and 22 compare with the one
/// value of a subquery.
fn compares_otherwise(number: i32) -> Option<&'static str> {
    match number {
        7 => Some(" = Utf8(\"FRANCE\") AND "),
        11 => Some(" > "),
        22 => Some(" AS Decimal128(19, 6)) > "),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tpch_queries_are_right_over_whole_tables() {
    all_queries(Split::Whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tpch_queries_are_right_over_tables_in_parts() {
    all_queries(Split::Customers).await;
}

/// Names of parts may be at the provider only, and their keys anywhere: the keys go to the lines, and of the lines only
/// those that match go to the provider.
#[tokio::test(flavor = "multi_thread")]
async fn keys_travel_ahead_where_only_they_may() {
    let rows = generate(0.01).unwrap();
    let keys = "SHIP ROWS (p_partkey, p_brand, p_container) FROM tpch.part TO ANY, SHIP ROWS (*) FROM tpch.part TO p";
    let federation = TestFederation::design(|root| {
        let mut design = design(root, &rows, Split::Whole).unwrap();
        for steward in &mut design.stewards {
            for text in &mut steward.agreements {
                *text = text.replace("SHIP ROWS (*) FROM tpch.part TO ANY", keys);
                *text =
                    text.replace("SHIP ROWS (*) FROM tpch.lineitem TO ANY", "SHIP ROWS (*) FROM tpch.lineitem TO p");
            }
        }
        design
    })
    .await;
    let text = "SELECT p_name, sum(l_quantity) FROM part JOIN lineitem ON p_partkey = l_partkey \
                WHERE p_brand = 'Brand#23' AND p_container = 'MED BOX' GROUP BY p_name";
    let mut client = federation.client(USER, "auto", text).await;
    let plan = fragments(&mut client, text).await;
    assert!(plan.contains("RightSemi Join"), "{plan}");
    let expected = truth(&rows, 1).unwrap().sql(text).await.unwrap().collect().await.unwrap();
    compare(&query(&mut client, text).await.unwrap(), &expected).unwrap();
    federation.stop().await;
}
