//! Sums and averages of doubles below a release point: the same bits under every placement, and in whatever order rows lie.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float64Type;
use dynamos_cli::federation::{Client, Design, FederatedTable, Person, Provider, Steward, query};
use dynamos_planner::function::ExactSum;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::federation::{TestFederation, answer};

const STEWARDS: [&str; 3] = ["a", "b", "c"];
const USER: &str = "analyst@a.nl";
/// The same rows in two orders.
const TABLES: [&str; 2] = ["amounts", "shuffled"];

#[derive(Clone, Copy, Debug)]
struct Row {
    steward: usize,
    id: usize,
    group: usize,
    /// Such as prices.
    price: f64,
    /// Far apart, cancelling each other nearly.
    wild: Option<f64>,
    /// Any whole number.
    whole: i64,
}

fn rows() -> Vec<Row> {
    let mut random = StdRng::seed_from_u64(1);
    let mut rows: Vec<Row> = (0..3000)
        .map(|id| {
            let magnitude = 10f64.powi(random.random_range(-300..300));
            Row {
                steward: random.random_range(0..3),
                id,
                group: random.random_range(0..4),
                price: f64::from(random.random_range(-100_000..1_000_000)) / 100.0,
                wild: (id % 10 > 0).then(|| magnitude * random.random_range(-1.0..1.0)),
                whole: random.random(),
            }
        })
        .collect();
    // Most of what is wild is taken away again, by somebody else; in group 0 beyond the largest double and back.
    for at in 0..rows.len() / 2 {
        let other =
            Row { wild: rows[at].wild.map(|wild| -wild), id: 10_000 + at, group: rows[at].group, ..rows[at + 1] };
        rows.push(other);
    }
    for (id, wild) in [f64::MAX, 1e308, f64::MAX, f64::MIN, -1e308, f64::MIN, 5e-324].into_iter().enumerate() {
        rows.push(Row { steward: id % 3, id: 20_000 + id, group: 0, price: 0.01, wild: Some(wild), whole: i64::MAX });
    }
    rows
}

fn design(root: &Path) -> Design {
    let mut all = rows();
    let mut tables = STEWARDS.map(|_| String::new());
    for table in TABLES {
        for (steward, name) in STEWARDS.into_iter().enumerate() {
            let mut csv = "id,grp,price,wild,whole\n".to_owned();
            for row in all.iter().filter(|row| row.steward == steward) {
                let wild = row.wild.map(|wild| format!("{wild:e}")).unwrap_or_default();
                writeln!(csv, "{},{},{:e},{wild},{}", row.id, row.group, row.price, row.whole).unwrap();
            }
            std::fs::create_dir_all(root.join(name)).unwrap();
            std::fs::write(root.join(name).join(format!("{table}.csv")), csv).unwrap();
            write!(
                tables[steward],
                "\n[[tables]]\nschema = \"m\"\ntable = \"{table}\"\npath = \"{table}.csv\"\nformat = \"csv\"\nentity = \"id\"\n\
                 columns = [\n  {{ name = \"id\", type = \"bigint\" }},\n  {{ name = \"grp\", type = \"bigint\" }},\n  \
                 {{ name = \"price\", type = \"double\" }},\n  {{ name = \"wild\", type = \"double\" }},\n  {{ name = \"whole\", type = \"bigint\" }},\n]\n"
            )
            .unwrap();
        }
        all.shuffle(&mut StdRng::seed_from_u64(2));
    }
    let agreement = |steward: &str, name: &str, conditions: &str| {
        let clauses = TABLES.map(|table| {
            format!(
                "{table}: RELEASE sum, avg, count OF price, wild, whole, * BY grp FROM m.{table} MINIMUM 2 DISTINCT id {conditions},
                 SHIP PARTIALS OF {table} TO p, SHIP ROWS (id, grp, price, wild, whole) FROM m.{table} TO p"
            )
        });
        format!(
            "CREATE AGREEMENT {name} ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS ({});",
            clauses.join(", ")
        )
    };
    let steward = |(name, tables): (&str, String)| {
        let each = [("alone", "PER SITE"), ("together", ""), ("with_remainder", "ELSE REMAINDER")];
        let agreements = each.map(|(agreed, conditions)| agreement(name, agreed, conditions)).to_vec();
        Steward { name: name.to_owned(), tables, agreements }
    };
    let federated = TABLES.map(|table| FederatedTable {
        schema: "m".into(),
        table: table.into(),
        stewards: STEWARDS.map(str::to_owned).to_vec(),
    });
    let analyst =
        Person { user: USER.into(), organisation: "a".into(), role: "analyst".into(), purpose: "statistics".into() };
    Design {
        stewards: STEWARDS.into_iter().zip(tables).map(steward).collect(),
        providers: vec![Provider { name: "p".into() }],
        federated: federated.to_vec(),
        people: vec![analyst],
        site_limits: "target_partitions = 3\n".into(),
    }
}

const VALUES: &str = "sum(price), avg(price), sum(wild), avg(wild)";

/// The bits of the values of each group; of all rows under group -1.
async fn bits(client: &mut Client, from: &str) -> BTreeMap<i64, Vec<u64>> {
    let mut found = BTreeMap::new();
    for (group, by) in [("grp", "GROUP BY grp"), ("CAST(-1 AS BIGINT)", "")] {
        let sql = format!("SELECT {group}, {VALUES} FROM {from} {by}");
        for batch in query(client, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")) {
            let groups = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            for row in 0..batch.num_rows() {
                let values = batch.columns()[1..].iter().map(|column| {
                    let column = column.as_primitive::<Float64Type>();
                    assert!(column.is_valid(row), "{sql}");
                    column.value(row).to_bits()
                });
                found.insert(groups.value(row), values.collect());
            }
        }
    }
    found
}

/// What an exact sum gives over these rows; that sums are exact is tested where they are made.
fn expected(rows: &[Row], plain: bool) -> BTreeMap<i64, Vec<u64>> {
    let values = |rows: Vec<&Row>| -> Vec<u64> {
        let columns: [Vec<f64>; 2] =
            [rows.iter().map(|row| row.price).collect(), rows.iter().filter_map(|row| row.wild).collect()];
        let both = columns.iter().flat_map(|column| {
            let mut sum = ExactSum::default();
            sum.add_all(column);
            let naive: f64 = column.iter().sum();
            match plain {
                true => [naive, naive / column.len() as f64],
                false => [sum.value(), sum.average(column.len() as u64)],
            }
        });
        both.map(f64::to_bits).collect()
    };
    (-1..4)
        .map(|group| (group, values(rows.iter().filter(|row| group < 0 || row.group == group as usize).collect())))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn e3_sums_of_doubles_have_the_same_bits_wherever_they_are_computed() {
    let federation = TestFederation::design(design).await;
    let all = rows();
    let truth = expected(&all, false);
    // An engine that adds in some order would not find them.
    let naive = expected(&all, true);
    assert!(
        truth.iter().all(|(group, values)| values
            .iter()
            .zip(&naive[group])
            .filter(|(one, other)| one != other)
            .count()
            > 1)
    );
    let mut client = federation.client(USER, "auto", "SELECT count(*) FROM m.amounts").await;
    for agreement in ["together", "with_remainder"] {
        answer(&mut client, &format!("SET dynamos.agreement = '{agreement}'")).await;
        for placement in ["auto", "compute_to_data", "data_to_compute"] {
            answer(&mut client, &format!("SET dynamos.placement = '{placement}'")).await;
            for table in TABLES {
                assert_eq!(bits(&mut client, &format!("m.{table}")).await, truth, "{agreement} {placement} {table}");
            }
        }
        answer(&mut client, "SET dynamos.placement = 'auto'").await;
        // Beside the data of one steward alone.
        let own: Vec<Row> = all.iter().filter(|row| row.steward == 1).copied().collect();
        for table in TABLES {
            assert_eq!(bits(&mut client, &format!("b.m.{table}")).await, expected(&own, false), "{agreement} {table}");
        }
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e3_released_sums_of_stewards_are_merged_in_no_order_either() {
    let federation = TestFederation::design(design).await;
    let all = rows();
    let mut client = federation.client(USER, "auto", "SELECT count(*) FROM m.amounts").await;
    answer(&mut client, "SET dynamos.agreement = 'alone'").await;
    // The exact sum of what each steward rounded when it released it.
    let mut sums: BTreeMap<i64, [ExactSum; 2]> = BTreeMap::new();
    for steward in 0..STEWARDS.len() {
        let own: Vec<Row> = all.iter().filter(|row| row.steward == steward).copied().collect();
        for (group, values) in expected(&own, false) {
            let sums = sums.entry(group).or_default();
            sums[0].add(f64::from_bits(values[0]));
            sums[1].add(f64::from_bits(values[2]));
        }
    }
    for table in TABLES {
        for placement in ["auto", "compute_to_data"] {
            answer(&mut client, &format!("SET dynamos.placement = '{placement}'")).await;
            for (group, values) in bits(&mut client, &format!("m.{table}")).await {
                let expected = sums[&group].each_ref().map(|sum| sum.value().to_bits());
                assert_eq!([values[0], values[2]], expected, "{table} {placement} {group}");
            }
        }
    }
    federation.stop().await;
}

/// Whole numbers are the engine's to add: exact while there is room, and beyond it the same wrong number everywhere rather
/// than an error that would tell of values.
#[tokio::test(flavor = "multi_thread")]
async fn e3_sums_of_whole_numbers_overflow_without_an_error_and_alike() {
    let federation = TestFederation::design(design).await;
    let mut client = federation.client(USER, "auto", "SELECT count(*) FROM m.amounts").await;
    let mut truth: BTreeMap<String, i64> = BTreeMap::new();
    let mut exact: BTreeMap<usize, i128> = BTreeMap::new();
    for row in rows() {
        let sum = truth.entry(row.group.to_string()).or_default();
        *sum = sum.wrapping_add(row.whole);
        *exact.entry(row.group).or_default() += i128::from(row.whole);
    }
    assert!(exact.values().any(|sum| i64::try_from(*sum).is_err()), "nothing overflows");
    let truth: Vec<Vec<String>> = truth.into_iter().map(|(group, sum)| vec![group, sum.to_string()]).collect();
    for agreement in ["together", "with_remainder", "alone"] {
        answer(&mut client, &format!("SET dynamos.agreement = '{agreement}'")).await;
        for placement in ["auto", "compute_to_data", "data_to_compute"] {
            if (agreement, placement) == ("alone", "data_to_compute") {
                continue;
            }
            answer(&mut client, &format!("SET dynamos.placement = '{placement}'")).await;
            for table in TABLES {
                let sql = format!("SELECT grp, sum(whole) FROM m.{table} GROUP BY grp ORDER BY grp");
                assert_eq!(answer(&mut client, &sql).await, truth, "{agreement} {placement} {table}");
            }
        }
    }
    federation.stop().await;
}
