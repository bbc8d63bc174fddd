//! Queries that were answered wrongly once, reduced to what matters, under every placement; and queries by hand.

use super::oracle::Oracle;
use super::query::VALUE;
use super::run::connect;
use super::schema::{Kind, design};
use super::verdict::Answer;
use crate::federation::{TestFederation, told};

/// Each with what went wrong.
const REDUCED: &[&str] = &[
    // An outer join without a condition could not be sent to a site.
    "SELECT t1.rid, (SELECT min(rid) FROM c.gen.items) FROM gen.visits t1 LEFT JOIN gen.customers t2 ON t1.rid = t2.cust",
    // An equality of two columns of one side was taken for a pair of join keys.
    "SELECT t1.rid FROM gen.visits t1 LEFT JOIN gen.rates t2 ON t1.cost = t2.rate AND t1.rid = t1.days",
    // The truth columns of two EXISTS could not be told apart.
    "SELECT rid FROM gen.people t1 WHERE EXISTS (SELECT 1 FROM gen.visits v WHERE v.rid = t1.rid) \
     OR NOT EXISTS (SELECT 1 FROM gen.orders o WHERE o.qty = t1.rid) OR t1.name IN (SELECT label FROM c.gen.items)",
    // The columns of a relation that is known to be empty lost their names.
    "SELECT min(t2.num) FROM a.gen.nothing t1 FULL JOIN gen.tags t2 ON t1.num = t2.num WHERE NOT CAST(NULL AS BOOLEAN) \
     HAVING sum(t1.num) <> -1",
    // The branches of a union agree on their types only after coercion.
    "SELECT date_part('day', born) AS c0 FROM gen.people UNION ALL SELECT count(*) FROM c.gen.items",
    // A rule sums sums beside a DISTINCT aggregate, which gives other decimals.
    "SELECT count(DISTINCT rid) AS c0, CAST(sum(price) AS DECIMAL(20,2)) AS c1 FROM gen.orders",
    // Stewards of local keys collided by name, or differed by name between the branches of a union.
    "SELECT t3.cost, (SELECT sum(t4.score) FROM gen.people t4 WHERE t4.pid = t3.pid) FROM a.gen.nothing t1 \
     LEFT JOIN gen.visits t3 ON t1.num = t3.days",
    "SELECT count(*) FROM (SELECT pid FROM gen.people UNION ALL (SELECT pid FROM gen.visits GROUP BY pid, days \
     UNION ALL SELECT pid FROM a.gen.people)) t",
    "SELECT count(*) FROM (SELECT pid FROM gen.visits EXCEPT (SELECT t1.pid FROM gen.people t1 JOIN gen.visits t2 \
     ON t1.pid = t2.pid WHERE t2.days > 3)) t",
    // The steward of a table that is named with it was not compared.
    "SELECT t3.rid FROM a.gen.people t3 JOIN gen.visits t4 ON t3.pid = t4.pid",
    // NULLs that an outer join puts in place of a steward are at several sites.
    "SELECT count(*) FROM (SELECT t1.pid FROM gen.visits t1 RIGHT JOIN gen.people t2 ON t1.pid = t2.pid AND t2.score = 0.5 \
     GROUP BY t1.pid) t",
    // NULLs of a key whose values lie together are at several sites, and match each other in set operations.
    "SELECT score, count(*) FROM gen.people GROUP BY score",
    "SELECT rid, row_number() OVER (PARTITION BY score ORDER BY rid) FROM gen.people",
    "SELECT score FROM gen.people WHERE steward = 'a' INTERSECT SELECT score FROM gen.people WHERE steward = 'b'",
    "SELECT t1.rid FROM gen.people t1 JOIN gen.people t2 ON t1.score = t2.score",
    // A reader that needs no more rows made the query fail.
    "SELECT count(*) FROM a.gen.nothing t1 JOIN gen.orders t2 ON t1.num = t2.qty JOIN gen.customers t3 ON t2.cust = t3.cust",
    // A condition over three relations ties no two of them.
    "SELECT count(*) FROM a.gen.orders t1 CROSS JOIN gen.customers t2 CROSS JOIN gen.tags t3 WHERE t1.cust + t2.cust = t3.num",
    // A filter was pushed down to the side of a join that has another column of the same name.
    "SELECT t1.rid, t2.cust, t1.ward FROM a.gen.visits t1 FULL JOIN a.gen.orders t2 ON t1.rid = t2.rid AND t2.kind ILIKE '%e%' \
     WHERE NOT t2.paid AND CASE WHEN t1.rid <= t2.qty THEN t2.weight ELSE 5.25 END <> t2.weight",
    "SELECT t1.kind FROM c.gen.items t1 FULL JOIN gen.customers t2 ON t1.rid = t2.rid \
     WHERE t2.name IS NOT NULL AND NULLIF(t1.kind, t2.city) NOT IN ('x', 'x')",
    // A filter that is inferred reached a branch of a union that was then the only one.
    "SELECT COALESCE(t1.name, t2.steward) FROM gen.people t1 JOIN gen.tags t2 ON t1.steward = t2.kind \
     AND substr(t2.kind, 1, 2) BETWEEN t1.name AND '' CROSS JOIN a.gen.orders t3",
    // Rules disagree on which columns may be NULL.
    "SELECT count(DISTINCT CAST(NULL AS DOUBLE) IN (3.75, 3.0)) FROM gen.rates t1 JOIN gen.rates t2 ON t1.city = t2.city \
     GROUP BY CUBE (t2.open IS FALSE, t1.open)",
    // The engine counts the names that it makes up from one in every run, so that two columns had one name.
    "SELECT avg(CAST(t1.rid AS DECIMAL(12,2))) FILTER (WHERE abs(t1.rid) <= CASE WHEN t2.weight > 9.75 THEN t1.qty \
     ELSE t1.cust END) FROM gen.orders t1 LEFT JOIN gen.orders t2 ON t1.rid = t2.rid GROUP BY t2.kind, abs(t1.rid)",
    // Grouping sets may mention the value of a local key.
    "SELECT count(*) FROM gen.people GROUP BY ROLLUP (CASE WHEN entity_value(pid) > 3 THEN score END)",
];

#[tokio::test(flavor = "multi_thread")]
async fn reduced_queries_give_the_rows_of_one_plain_engine() {
    let (different, _) = differences(REDUCED).await;
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_the_environment_give_the_rows_of_one_plain_engine() {
    let Ok(texts) = std::env::var("DYNAMOS_SQL") else { return };
    let (different, plans) = differences(&texts.split(';').collect::<Vec<_>>()).await;
    println!("{}", plans.join("\n"));
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// What is different from the oracle's rows, under which placement; and all plans.
async fn differences(queries: &[&str]) -> (Vec<String>, Vec<String>) {
    let federation = TestFederation::design(design).await;
    let oracle = Oracle::open(&federation.layout).await;
    let mut placed = connect(&federation).await;
    let (mut different, mut plans) = (Vec::new(), Vec::new());
    for sql in queries {
        let truth = oracle.answer(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let kinds = vec![Kind::Text; truth.first().map_or(0, |batch| batch.num_columns())];
        let truth = Answer::new(&truth, &kinds);
        let federated = sql.replace("entity_value(", VALUE);
        for way in &mut placed {
            let plan = match query(way, &format!("EXPLAIN {federated}")).await {
                Ok(batches) => dynamos_cli::demo::rows(&batches).unwrap().concat().join("\n"),
                Err(error) => error,
            };
            plans.push(format!("══ {} of {federated}\n{plan}", way.placement));
            let said = match query(way, &federated).await {
                Ok(batches) => truth.differs(&Answer::new(&batches, &kinds)),
                Err(error) => Some(error),
            };
            different.extend(said.map(|said| format!("{}: {sql}: {said}", way.placement)));
        }
    }
    drop(placed);
    federation.stop().await;
    (different, plans)
}

async fn query(way: &mut super::run::Placed, sql: &str) -> Result<Vec<arrow::array::RecordBatch>, String> {
    let answered = dynamos_cli::federation::query(&mut way.client, sql).await;
    answered.map_err(|error| {
        let error = told(&error);
        format!("{}: {error}", error.code)
    })
}
