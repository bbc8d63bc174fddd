//! The tables that generated queries are about: three stewards, few rows, many NULLs and duplicates, numbers whose sums are
//! exact in any order, and open agreements. The rows are the same in every run; only the queries vary.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use dynamos_cli::federation::{Design, FederatedTable, Person, Provider, Steward};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Seed of the rows.
const ROWS_SEED: u64 = 20;
/// Ways to place a query. Each has a user of its own, because settings belong to a user's token.
pub const PLACEMENTS: [&str; 3] = ["auto", "compute_to_data", "data_to_compute"];

/// What an expression's values are, as far as the grammar needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whole numbers.
    Int,
    /// Decimals.
    Dec,
    /// Doubles whose sums are exact.
    Dbl,
    /// Text.
    Text,
    /// Dates.
    Date,
    /// Truth values.
    Bool,
    /// Entity keys that are local to their steward.
    Key,
    /// Doubles that may differ in their last bits: neither summed nor ordered by.
    Approx,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Its type in a site's configuration.
    declared: &'static str,
    values: Values,
}

#[derive(Clone, Copy, Debug)]
enum Values {
    /// Unique in the whole table.
    Unique,
    /// Unique at one steward: 1, 2, ….
    Counted,
    /// Up to so many different whole numbers from the first on; NULL with this chance in percent.
    Whole { from: i64, to: i64, null: u32 },
    /// Quarters.
    Quarters { to: i64, null: u32 },
    /// Quarters, other ones at each steward.
    Apart { to: i64, null: u32 },
    /// Hundredths (scale 2) or thousandths (scale 3).
    Scaled { to: i64, scale: u32, null: u32 },
    /// One of these.
    Words { words: &'static [&'static str], null: u32 },
    /// Days of 2024.
    Days { null: u32 },
    /// True or false.
    Truth { null: u32 },
}

/// A table, in parts.
#[derive(Debug)]
pub struct Table {
    /// Its name, without the schema.
    pub name: &'static str,
    /// Its columns, without `steward`.
    pub columns: &'static [Column],
    /// A column without duplicates or NULLs.
    pub unique: Option<&'static str>,
    /// Who holds how many of its rows.
    pub parts: &'static [(&'static str, usize)],
    /// Whether it is asked for as one table; otherwise only by its steward's name.
    pub federated: bool,
    /// The entity key.
    pub entity: Option<&'static str>,
    /// Keys whose values lie together, each called as its column in every table.
    colocated: &'static [&'static str],
    /// The stewards whose part is a parquet file.
    parquet: &'static [&'static str],
}

const COLORS: &[&str] = &["red", "blue", "green", "", "Red ", "r%d"];
const NAMES: &[&str] = &["Ada", "Bo", "Cem", "Dina", "Eve", "ada", "", "O'Neil", "Zoë"];
const CITIES: &[&str] = &["Amsterdam", "Utrecht", "Breda", "Assen", "Urk"];

const fn column(name: &'static str, kind: Kind, declared: &'static str, values: Values) -> Column {
    Column { name, kind, declared, values }
}

/// All of them.
pub const TABLES: &[Table] = &[
    Table {
        name: "orders",
        columns: &[
            column("rid", Kind::Int, "bigint", Values::Unique),
            column("cust", Kind::Int, "bigint", Values::Whole { from: 1, to: 12, null: 10 }),
            column("kind", Kind::Text, "text", Values::Words { words: COLORS, null: 15 }),
            column("qty", Kind::Int, "bigint", Values::Whole { from: -5, to: 20, null: 10 }),
            column("price", Kind::Dec, "decimal(10,2)", Values::Scaled { to: 5_000, scale: 2, null: 10 }),
            column("weight", Kind::Dbl, "double", Values::Quarters { to: 80, null: 10 }),
            column("day", Kind::Date, "date", Values::Days { null: 10 }),
            column("paid", Kind::Bool, "boolean", Values::Truth { null: 20 }),
        ],
        unique: Some("rid"),
        parts: &[("a", 22), ("b", 17), ("c", 9)],
        federated: true,
        entity: None,
        colocated: &["rid"],
        parquet: &["b"],
    },
    Table {
        name: "customers",
        columns: &[
            column("rid", Kind::Int, "bigint", Values::Unique),
            column("cust", Kind::Int, "bigint", Values::Whole { from: 1, to: 14, null: 10 }),
            column("name", Kind::Text, "text", Values::Words { words: NAMES, null: 10 }),
            column("city", Kind::Text, "text", Values::Words { words: CITIES, null: 15 }),
            column("since", Kind::Date, "date", Values::Days { null: 15 }),
            column("score", Kind::Dbl, "double", Values::Quarters { to: 40, null: 20 }),
        ],
        unique: Some("rid"),
        parts: &[("a", 11), ("b", 8)],
        federated: true,
        entity: None,
        colocated: &["rid"],
        parquet: &[],
    },
    Table {
        name: "items",
        columns: &[
            column("rid", Kind::Int, "bigint", Values::Unique),
            column("kind", Kind::Text, "text", Values::Words { words: COLORS, null: 15 }),
            column("label", Kind::Text, "text", Values::Words { words: NAMES, null: 20 }),
            column("cost", Kind::Dec, "decimal(8,3)", Values::Scaled { to: 90_000, scale: 3, null: 15 }),
            column("n", Kind::Int, "integer", Values::Whole { from: -3, to: 9, null: 15 }),
        ],
        unique: Some("rid"),
        parts: &[("c", 20)],
        federated: false,
        entity: None,
        colocated: &[],
        parquet: &["c"],
    },
    Table {
        name: "tags",
        columns: &[
            column("kind", Kind::Text, "text", Values::Words { words: COLORS, null: 20 }),
            column("num", Kind::Int, "bigint", Values::Whole { from: 1, to: 3, null: 25 }),
            column("val", Kind::Dbl, "double", Values::Quarters { to: 4, null: 25 }),
        ],
        unique: None,
        // One part is empty.
        parts: &[("a", 16), ("b", 0), ("c", 14)],
        federated: true,
        entity: None,
        colocated: &[],
        parquet: &[],
    },
    Table {
        name: "rates",
        columns: &[
            column("city", Kind::Text, "text", Values::Words { words: CITIES, null: 10 }),
            column("rate", Kind::Dec, "decimal(6,2)", Values::Scaled { to: 900, scale: 2, null: 10 }),
            column("day", Kind::Date, "date", Values::Days { null: 10 }),
            column("open", Kind::Bool, "boolean", Values::Truth { null: 20 }),
        ],
        unique: None,
        parts: &[("b", 12)],
        federated: true,
        entity: None,
        colocated: &[],
        parquet: &["b"],
    },
    Table {
        name: "nothing",
        columns: &[
            column("num", Kind::Int, "bigint", Values::Whole { from: 1, to: 3, null: 0 }),
            column("word", Kind::Text, "text", Values::Words { words: NAMES, null: 0 }),
        ],
        unique: Some("num"),
        parts: &[("a", 0)],
        federated: false,
        entity: None,
        colocated: &[],
        parquet: &[],
    },
    Table {
        name: "people",
        columns: &[
            column("rid", Kind::Int, "bigint", Values::Unique),
            column("pid", Kind::Key, "bigint", Values::Counted),
            column("name", Kind::Text, "text", Values::Words { words: NAMES, null: 10 }),
            column("born", Kind::Date, "date", Values::Days { null: 15 }),
            column("score", Kind::Dbl, "double", Values::Apart { to: 40, null: 20 }),
        ],
        unique: Some("rid"),
        parts: &[("a", 10), ("b", 12)],
        federated: true,
        entity: Some("pid"),
        colocated: &["rid", "score"],
        parquet: &[],
    },
    Table {
        name: "visits",
        columns: &[
            column("rid", Kind::Int, "bigint", Values::Unique),
            // A NULL key would be a question of its own: nobody is known by it.
            column("pid", Kind::Key, "bigint", Values::Whole { from: 1, to: 14, null: 0 }),
            column("ward", Kind::Text, "text", Values::Words { words: COLORS, null: 15 }),
            column("days", Kind::Int, "bigint", Values::Whole { from: 0, to: 9, null: 15 }),
            column("cost", Kind::Dec, "decimal(10,2)", Values::Scaled { to: 3_000, scale: 2, null: 15 }),
        ],
        unique: Some("rid"),
        parts: &[("a", 18), ("b", 15)],
        federated: true,
        entity: Some("pid"),
        colocated: &["rid"],
        parquet: &["a"],
    },
];

/// The federation of these tables, all open; writes their files into `root`.
pub fn design(root: &Path) -> Design {
    design_with(root, &agreement, &mut |_, _, _| {})
}

/// The federation of these tables under other agreements (by steward), with the rows of every part changed: the table, the
/// number of the part, its rows.
pub fn design_with(
    root: &Path,
    agreement: &dyn Fn(&str) -> String,
    change: &mut dyn FnMut(&Table, usize, &mut Vec<Row>),
) -> Design {
    let mut random = StdRng::seed_from_u64(ROWS_SEED);
    let mut stewards: Vec<Steward> = ["a", "b", "c"]
        .into_iter()
        .map(|name| Steward { name: name.into(), tables: String::new(), agreements: vec![agreement(name)] })
        .collect();
    for table in TABLES {
        for (place, (steward, count)) in table.parts.iter().enumerate() {
            let mut rows = table.rows(place, *count, &mut random);
            change(table, place, &mut rows);
            let folder = root.join(steward);
            fs::create_dir_all(&folder).unwrap();
            let described = table.write(&folder, &rows, table.parquet.contains(steward));
            stewards.iter_mut().filter(|known| known.name == *steward).for_each(|known| known.tables += &described);
        }
    }
    let federated = TABLES.iter().filter(|table| table.federated).map(|table| FederatedTable {
        schema: "gen".into(),
        table: table.name.into(),
        stewards: table.parts.iter().map(|(steward, _)| (*steward).to_owned()).collect(),
    });
    Design {
        stewards,
        providers: vec![Provider { name: "p".into() }],
        federated: federated.collect(),
        people: PLACEMENTS
            .iter()
            .map(|placement| Person {
                user: (*placement).into(),
                organisation: "a".into(),
                role: "analyst".into(),
                purpose: "statistics".into(),
            })
            .collect(),
        site_limits: String::new(),
    }
}

/// The tables of a steward.
pub fn tables_of(steward: &str) -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(move |table| table.parts.iter().any(|(holder, _)| *holder == steward))
}

/// Everything of a steward's may be seen and be anywhere.
fn agreement(steward: &str) -> String {
    let mut clauses = Vec::new();
    for table in tables_of(steward) {
        clauses.push(format!("RELEASE ROWS (*) FROM gen.{}", table.name));
        clauses.push(format!("SHIP ROWS (*) FROM gen.{} TO ANY, COORDINATOR", table.name));
    }
    format!(
        "CREATE AGREEMENT open ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS (\n  {}\n);",
        clauses.join(",\n  ")
    )
}

/// A row's cells, in the order of the columns; none is NULL.
pub type Row = Vec<Option<String>>;

impl Table {
    /// Where a column stands.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// So many rows of a part.
    pub fn rows(&self, place: usize, count: usize, random: &mut StdRng) -> Vec<Row> {
        let one = |number: usize, random: &mut StdRng| {
            self.columns.iter().map(|column| column.values.one(place, number, random)).collect()
        };
        let mut rows: Vec<Row> = (0..count).map(|number| one(number, random)).collect();
        // Whole rows stand twice where nothing is unique.
        if self.unique.is_none() {
            let again: Vec<Row> = rows.iter().step_by(3).cloned().collect();
            rows.extend(again);
        }
        rows
    }

    /// Writes a part and gives what the site's configuration says about it.
    fn write(&self, folder: &Path, rows: &[Row], parquet: bool) -> String {
        let format = if parquet { "parquet" } else { "csv" };
        let file = folder.join(format!("{}.{format}", self.name));
        let mut described = format!(
            "\n[[tables]]\nschema = \"gen\"\ntable = \"{0}\"\npath = \"{0}.{format}\"\nformat = \"{format}\"\n",
            self.name
        );
        if let Some(entity) = self.entity {
            writeln!(described, "entity = \"{entity}\"").unwrap();
        }
        let keys: Vec<String> = self.colocated.iter().map(|column| format!("{column} = \"{column}\"")).collect();
        writeln!(described, "colocated_on = {{ {} }}", keys.join(", ")).unwrap();
        if parquet {
            let batch = self.batch(rows);
            let mut writer = ArrowWriter::try_new(File::create(file).unwrap(), batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            return described;
        }
        let columns = self.columns.iter().map(|column| {
            let Column { name, declared, .. } = column;
            format!("  {{ name = \"{name}\", type = \"{declared}\" }},\n")
        });
        writeln!(described, "columns = [\n{}]", columns.collect::<String>()).unwrap();
        fs::write(file, self.csv(rows)).unwrap();
        described
    }

    fn csv(&self, rows: &[Row]) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let mut text = names.join(",") + "\n";
        for row in rows {
            // NULL is a field without quotes; the empty text has them.
            let fields: Vec<String> = row
                .iter()
                .map(|cell| {
                    cell.as_ref().map_or_else(String::new, |value| format!("\"{}\"", value.replace('"', "\"\"")))
                })
                .collect();
            text += &(fields.join(",") + "\n");
        }
        text
    }

    fn batch(&self, rows: &[Row]) -> RecordBatch {
        let mut fields = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            let cells: StringArray = rows.iter().map(|row| row.get(index).cloned().flatten()).collect();
            let kind = column.data_type();
            arrays.push(cast(&cells, &kind).unwrap());
            fields.push(Field::new(column.name, kind, true));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
    }
}

impl Column {
    fn data_type(&self) -> DataType {
        match (self.declared, self.values) {
            ("text", _) => DataType::Utf8,
            ("bigint", _) => DataType::Int64,
            ("integer", _) => DataType::Int32,
            ("double", _) => DataType::Float64,
            ("boolean", _) => DataType::Boolean,
            ("date", _) => DataType::Date32,
            (declared, Values::Scaled { scale, .. }) => {
                let digits = declared.trim_start_matches("decimal(").split(',').next().unwrap();
                DataType::Decimal128(digits.parse().unwrap(), i8::try_from(scale).unwrap())
            }
            (other, _) => panic!("no such type: {other}"),
        }
    }
}

impl Values {
    fn one(self, place: usize, number: usize, random: &mut StdRng) -> Option<String> {
        let null = match self {
            Self::Unique | Self::Counted => 0,
            Self::Whole { null, .. }
            | Self::Quarters { null, .. }
            | Self::Apart { null, .. }
            | Self::Scaled { null, .. }
            | Self::Words { null, .. }
            | Self::Days { null }
            | Self::Truth { null } => null,
        };
        if random.random_range(0..100) < null {
            return None;
        }
        Some(match self {
            Self::Unique => (place * 1_000 + number + 1).to_string(),
            Self::Counted => (number + 1).to_string(),
            Self::Whole { from, to, .. } => random.random_range(from..=to).to_string(),
            Self::Quarters { to, .. } => format!("{:?}", random.random_range(-to / 4..=to) as f64 / 4.0),
            Self::Apart { to, .. } => {
                format!("{:?}", random.random_range(-to / 4..=to) as f64 / 4.0 + place as f64 * 1_000.0)
            }
            Self::Scaled { to, scale, .. } => {
                let number: i64 = random.random_range(-to / 5..=to);
                let unit = 10_i64.pow(scale);
                let sign = if number < 0 { "-" } else { "" };
                let (whole, rest) = (number.abs() / unit, number.abs() % unit);
                format!("{sign}{whole}.{rest:0width$}", width = scale as usize)
            }
            Self::Words { words, .. } => words.get(random.random_range(0..words.len())).copied().unwrap().to_owned(),
            Self::Days { .. } => {
                format!("2024-{:02}-{:02}", random.random_range(1..=12), random.random_range(1..=28))
            }
            Self::Truth { .. } => random.random_bool(0.5).to_string(),
        })
    }
}
