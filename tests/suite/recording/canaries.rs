//! Canary values: every value of a steward's tables says whose it is, of which column, and whether the agreement hides its
//! row. Whatever the questions and placements are, no place receives one that it may not have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use dynamos_cli::demo::rows;
use dynamos_cli::federation::{Design, FederatedTable, Person, Provider, Steward, query};

use crate::federation::{TestFederation, answer};

const STEWARDS: [&str; 2] = ["a", "b"];
const PEOPLE: i64 = 60;
const TEXTS: [&str; 4] = ["id", "sex", "city", "note"];
/// What `p` may have: rows of these columns. Partials of `q`, and answers, hold keys.
const ROWS: [&str; 3] = ["id", "sex", "wage"];
const KEYS: [&str; 1] = ["sex"];

/// A value's origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    steward: &'static str,
    column: &'static str,
    hidden: bool,
}

impl Origin {
    /// Whether a place may have it.
    fn may_be_at(&self, place: &str) -> bool {
        let columns: &[&str] = if place == "p" { &ROWS } else { &KEYS };
        let shipped = ["p", "q", "coordinator"].contains(&place) && columns.contains(&self.column);
        place == self.steward || (shipped && !self.hidden)
    }
}

/// Every third person has opted out; of somebody like that no two stewards say the same.
fn hidden(number: i64) -> bool {
    number % 3 == 2
}

/// A number that no sum or mean of others is likely to be.
fn wage(steward: usize, number: i64) -> i64 {
    let one = i128::from(number + 1) * 2 + i128::try_from(steward).unwrap();
    let spread = (one.pow(3) * 7_919_317_013 + one.pow(2) * 104_729_000_003) % 899_999_999_981;
    1_000_000_000_000 + i64::try_from(spread).unwrap()
}

fn design(root: &Path) -> Design {
    let mut stewards = Vec::new();
    for (index, steward) in STEWARDS.into_iter().enumerate() {
        let mut text = "id,sex,city,wage,note,gone\n".to_owned();
        for number in 0..PEOPLE {
            let mark = if hidden(number) { "hidden" } else { "shown" };
            let sex = if number % 2 == 0 { "f" } else { "m" };
            let sex = if hidden(number) { format!("x{sex}.hidden") } else { sex.to_owned() };
            let wage = wage(index, number);
            writeln!(
                text,
                "{steward}.id.{number}.{mark},{steward}.sex.{sex},{steward}.city.{}.{mark},{wage},{steward}.note.{number}.{mark},{}",
                number % 4,
                hidden(number)
            )
            .unwrap();
        }
        std::fs::create_dir_all(root.join(steward)).unwrap();
        std::fs::write(root.join(steward).join("people.csv"), text).unwrap();
        stewards.push(Steward {
            name: steward.into(),
            tables: "[[tables]]\nschema = \"s\"\ntable = \"people\"\npath = \"people.csv\"\nformat = \"csv\"\nentity = \"id\"\n"
                .into(),
            agreements: vec![format!(
                "CREATE AGREEMENT g ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS (
                   groups: RELEASE sum, avg, count, median OF wage, * BY sex FROM s.people MINIMUM 5 DISTINCT id,
                   SHIP ROWS (id, sex, wage) FROM s.people TO p,
                   SHIP PARTIALS OF groups TO q,
                   ROWS ON s.people WHERE gone IS NOT TRUE,
                   MASK s.people.city AS 'somewhere',
                   FILTER ON sex COMPARE WITH LITERALS)"
            )],
        });
    }
    Design {
        stewards,
        providers: ["p", "q"].map(|name| Provider { name: name.into() }).into(),
        federated: vec![FederatedTable {
            schema: "s".into(),
            table: "people".into(),
            stewards: STEWARDS.map(str::to_owned).to_vec(),
        }],
        people: vec![Person {
            user: "ann@a".into(),
            organisation: "a".into(),
            role: "analyst".into(),
            purpose: "statistics".into(),
        }],
        site_limits: String::new(),
    }
}

/// Knows the canaries.
struct Canaries {
    wages: BTreeMap<i64, Origin>,
}

impl Canaries {
    fn new() -> Self {
        let wages = STEWARDS.into_iter().enumerate().flat_map(|(index, steward)| {
            (0..PEOPLE)
                .map(move |number| (wage(index, number), Origin { steward, column: "wage", hidden: hidden(number) }))
        });
        let wages: BTreeMap<_, _> = wages.collect();
        assert_eq!(wages.len(), STEWARDS.len() * usize::try_from(PEOPLE).unwrap(), "two people have one wage");
        Self { wages }
    }

    fn of_number(&self, number: i64) -> Option<Origin> {
        self.wages.get(&number).cloned()
    }

    /// The canaries within bytes.
    fn within(bytes: &[u8], found: &mut BTreeSet<Origin>) {
        let text = String::from_utf8_lossy(bytes);
        for steward in STEWARDS {
            for column in TEXTS {
                for (at, _) in text.match_indices(&format!("{steward}.{column}.")) {
                    let value: String = text[at..].chars().take_while(|letter| !"/, ".contains(*letter)).collect();
                    found.insert(Origin { steward, column, hidden: value.contains("hidden") });
                }
            }
        }
    }

    /// The canaries in a column.
    fn in_column(&self, column: &dyn Array, found: &mut BTreeSet<Origin>) {
        match column.data_type() {
            DataType::Int64 => {
                let numbers = column.as_primitive::<Int64Type>().iter().flatten();
                found.extend(numbers.filter_map(|number| self.of_number(number)));
            }
            #[expect(clippy::cast_possible_truncation, reason = "wages are whole numbers below 2^53")]
            DataType::Float64 => {
                let numbers = column.as_primitive::<Float64Type>().iter().flatten();
                found.extend(numbers.filter_map(|number| self.of_number(number as i64)));
            }
            DataType::Utf8 => {
                column.as_string::<i32>().iter().flatten().for_each(|text| Self::within(text.as_bytes(), found))
            }
            DataType::Utf8View => {
                column.as_string_view().iter().flatten().for_each(|text| Self::within(text.as_bytes(), found));
            }
            DataType::Binary => column.as_binary::<i32>().iter().flatten().for_each(|bytes| Self::within(bytes, found)),
            DataType::FixedSizeBinary(_) => {
                column.as_fixed_size_binary().iter().flatten().for_each(|bytes| Self::within(bytes, found));
            }
            DataType::UInt64 | DataType::Boolean | DataType::Null | DataType::UInt32 => {}
            DataType::List(_) => self.in_column(column.as_list::<i32>().values(), found),
            other => panic!("a column of {other} came by; look into it here, too"),
        }
    }
}

const QUESTIONS: [&str; 14] = [
    "SELECT sex, sum(wage), count(*) FROM s.people GROUP BY sex",
    "SELECT avg(wage) FROM s.people",
    "SELECT sex, median(wage) FROM s.people GROUP BY sex",
    "SELECT sex, avg(wage), median(wage) FROM s.people WHERE sex <> 'a.sex.f' GROUP BY sex",
    "SELECT count(*) FROM s.people WHERE sex IN ('a.sex.f', 'b.sex.f', 'a.sex.xf.hidden')",
    "SELECT sum(wage) FILTER (WHERE sex = 'a.sex.m') FROM s.people",
    "SELECT sum(n) FROM (SELECT sex, count(*) AS n FROM s.people GROUP BY sex)",
    "SELECT x.sex, y.n FROM (SELECT sex, avg(wage) FROM s.people GROUP BY sex) x
       JOIN (SELECT sex, count(*) AS n FROM s.people GROUP BY sex) y ON x.sex = y.sex",
    "SELECT steward, count(*) FROM s.people GROUP BY steward",
    "SELECT DISTINCT sex FROM a.s.people",
    // None of these is released.
    "SELECT city, count(*) FROM s.people GROUP BY city",
    "SELECT wage FROM s.people",
    "SELECT max(note) FROM s.people",
    "SELECT count(*) FROM s.people WHERE note LIKE '%hidden'",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_place_receives_a_value_that_it_may_not_have() {
    let (federation, recorder) = TestFederation::recorded(design).await;
    let mut ann = federation.client("ann@a", "auto", QUESTIONS[0]).await;
    let canaries = Canaries::new();
    let mut seen: BTreeMap<(String, String), BTreeSet<Origin>> = BTreeMap::new();
    let (mut answered, mut refused, mut streams) = (0, 0, 0);
    for placement in ["auto", "compute_to_data", "data_to_compute"] {
        answer(&mut ann, &format!("SET dynamos.placement = '{placement}'")).await;
        for sql in QUESTIONS {
            match query(&mut ann, sql).await {
                Ok(batches) => {
                    answered += 1;
                    let mut shown = BTreeSet::new();
                    for row in rows(&batches).unwrap() {
                        Canaries::within(row.join(" ").as_bytes(), &mut shown);
                    }
                    assert!(shown.iter().all(|origin| origin.may_be_at("coordinator")), "{sql}: {shown:?}");
                }
                Err(_) => refused += 1,
            }
            for sent in recorder.take() {
                streams += 1;
                let mut found = BTreeSet::new();
                for batch in &sent.batches {
                    batch.columns().iter().for_each(|column| canaries.in_column(column.as_ref(), &mut found));
                }
                let stray: Vec<_> = found.iter().filter(|origin| !origin.may_be_at(&sent.to)).collect();
                assert!(stray.is_empty(), "{placement}: {sql}: {} sends {} {stray:?}", sent.from, sent.to);
                seen.entry((sent.from, sent.to)).or_default().extend(found);
            }
        }
    }
    federation.stop().await;
    println!("{answered} answered, {refused} refused, {streams} streams of rows; seen: {seen:#?}");
    assert!(answered >= 20 && refused >= 12, "{answered} answered, {refused} refused");
    // What may travel did, or the test would look at nothing.
    for steward in STEWARDS {
        let at = |place: &str| seen.get(&(steward.to_owned(), place.to_owned())).cloned().unwrap_or_default();
        let columns = |place: &str| at(place).iter().map(|origin| origin.column).collect::<BTreeSet<_>>();
        assert_eq!(columns("p"), ROWS.into(), "at p");
        assert_eq!(columns("q"), KEYS.into(), "at q");
    }
}

#[test]
fn a_canary_is_found_wherever_it_hides() {
    let canaries = Canaries::new();
    let mut found = BTreeSet::new();
    let texts = arrow::array::StringArray::from(vec!["b/b.id.5.hidden", "plain", "x a.city.3.shown"]);
    canaries.in_column(&texts, &mut found);
    let numbers = arrow::array::Float64Array::from(vec![1.0, wage(1, 4) as f64]);
    canaries.in_column(&numbers, &mut found);
    let origin = |steward, column, hidden| Origin { steward, column, hidden };
    let expected = [origin("a", "city", false), origin("b", "id", true), origin("b", "wage", false)];
    assert_eq!(found, expected.into());
    assert!(!origin("a", "city", false).may_be_at("p") && !origin("a", "id", true).may_be_at("p"));
    assert!(origin("a", "wage", false).may_be_at("p") && !origin("a", "wage", false).may_be_at("q"));
    assert!(!origin("a", "sex", false).may_be_at("b"));
}
