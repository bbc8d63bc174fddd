//! Whether one query is contained in another, told by experiment and without knowing how the one was made of the other: on
//! many small databases, wherever the answers of the one are equal, those of the other must be. Databases differ from their
//! neighbours by one row or value, so equal answers are frequent.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::common::ScalarValue;
use datafusion::prelude::{SessionConfig, SessionContext};
use dynamos_planner::catalog::{Catalog, STEWARD, TableName};
use dynamos_proto::ids::SiteId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Databases that are tried.
const DATABASES: usize = 160;
/// Rows of one table at one steward, at most.
const ROWS_MAX: usize = 3;

/// What an experiment saw.
#[derive(Debug)]
pub(super) struct Seen {
    /// Databases with an answer that another one had, too.
    pub(super) repeated: usize,
    /// Two databases that show that it is not contained; none if none were found.
    pub(super) counterexample: Option<String>,
}

/// One steward's rows of one table.
type Rows = Vec<Vec<ScalarValue>>;

struct Database<'a> {
    catalog: &'a Catalog,
    /// Stewards that are there.
    stewards: Vec<SiteId>,
    rows: BTreeMap<(SiteId, TableName), Rows>,
    /// Literals of the queries, which conditions are about.
    texts: Vec<String>,
}

/// Looks for two databases of these stewards that `stronger` cannot tell apart and `weaker` can.
pub(super) async fn contained(catalog: &Catalog, stewards: &[SiteId], stronger: &str, weaker: &str) -> Seen {
    let mut random = StdRng::seed_from_u64(7);
    let texts = stronger.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
    let mut database = Database { catalog, stewards: stewards.to_vec(), rows: BTreeMap::new(), texts };
    let context =
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1).with_information_schema(false));
    let mut seen: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut repeated = 0;
    let words = format!("{stronger} {weaker}");
    database.fill(&mut random);
    for number in 0..DATABASES {
        if number % 16 == 15 {
            database.fill(&mut random);
        } else {
            database.change(&mut random, &words);
        }
        database.register(&context);
        let answers = (answer(&context, stronger).await, answer(&context, weaker).await);
        let shown = database.shown();
        match seen.get(&answers.0) {
            None => drop(seen.insert(answers.0, (answers.1, shown))),
            Some((other, of)) => {
                repeated += 1;
                if *other != answers.1 {
                    let text = format!(
                        "`{stronger}` gives\n{}\non both\n{of}and\n{shown}but `{weaker}` gives\n{other}\nand\n{}",
                        answers.0, answers.1
                    );
                    return Seen { repeated, counterexample: Some(text) };
                }
            }
        }
    }
    Seen { repeated, counterexample: None }
}

impl Database<'_> {
    fn tables(&self) -> Vec<(SiteId, TableName, SchemaRef)> {
        let mut tables = Vec::new();
        for steward in &self.stewards {
            for (name, table) in &self.catalog.sites[steward].tables {
                tables.push((steward.clone(), name.clone(), Arc::clone(&table.schema)));
            }
        }
        tables
    }

    fn fill(&mut self, random: &mut StdRng) {
        for (steward, name, schema) in self.tables() {
            let rows = (0..random.random_range(0..=ROWS_MAX)).map(|_| self.row(&steward, &schema, random)).collect();
            self.rows.insert((steward, name), rows);
        }
    }

    fn row(&self, steward: &SiteId, schema: &Schema, random: &mut StdRng) -> Vec<ScalarValue> {
        schema.fields().iter().map(|field| self.value(steward, field, random)).collect()
    }

    /// A value of a small domain; keys are another at each steward.
    fn value(&self, steward: &SiteId, field: &Field, random: &mut StdRng) -> ScalarValue {
        let kind = field.data_type();
        if field.is_nullable() && random.random_ratio(1, 8) {
            return ScalarValue::try_from(kind).unwrap();
        }
        let one = random.random_range(1..=2_i64);
        let text = match kind {
            DataType::Utf8 => match self.texts.get(random.random_range(0..4)) {
                Some(text) => text.clone(),
                None => format!("t{one}"),
            },
            DataType::Date32 => format!("{}-06-0{one}", 1978 + one),
            DataType::Timestamp(..) => format!("{}-06-01T00:00:00", 1978 + one),
            DataType::Boolean => (one == 1).to_string(),
            DataType::Int64 if field.name().ends_with("nr") || field.name().ends_with("_id") => {
                let at = self.stewards.iter().position(|other| other == steward).unwrap_or_default();
                (10 * i64::try_from(at).unwrap() + one).to_string()
            }
            _ => one.to_string(),
        };
        ScalarValue::try_from_string(text, kind).unwrap()
    }

    /// Another value in a column that the queries name, or a row more or less.
    fn change(&mut self, random: &mut StdRng, words: &str) {
        let tables = self.tables();
        let named: Vec<_> = tables.iter().filter(|(_, name, _)| words.contains(&name.table)).collect();
        let (steward, name, schema) = named[random.random_range(0..named.len())];
        let key = (steward.clone(), name.clone());
        let fresh = self.row(steward, schema, random);
        let columns: Vec<usize> = (0..schema.fields().len())
            .filter(|at| words.contains(schema.field(*at).name().as_str()) || words.contains('*'))
            .collect();
        let rows = self.rows.get_mut(&key).unwrap();
        match random.random_range(0..4) {
            0 if rows.len() < ROWS_MAX => rows.push(fresh),
            1 if !rows.is_empty() => drop(rows.remove(random.random_range(0..rows.len()))),
            _ if !rows.is_empty() && !columns.is_empty() => {
                let row = random.random_range(0..rows.len());
                let column = columns[random.random_range(0..columns.len())];
                rows[row][column] = fresh[column].clone();
            }
            _ => {}
        }
    }

    /// The tables as the queries name them.
    fn register(&self, context: &SessionContext) {
        let schemas = |parts: BTreeMap<TableName, Arc<MemTable>>| {
            let catalog = MemoryCatalogProvider::new();
            for (name, table) in parts {
                if catalog.schema(&name.schema).is_none() {
                    catalog.register_schema(&name.schema, Arc::new(MemorySchemaProvider::new())).unwrap();
                }
                catalog.schema(&name.schema).unwrap().register_table(name.table, table).unwrap();
            }
            Arc::new(catalog)
        };
        for steward in &self.stewards {
            let own = self.tables().into_iter().filter(|(site, _, _)| site == steward);
            let own = own.map(|(site, name, schema)| {
                let batch = batch(&schema, &self.rows[&(site, name.clone())]);
                (name, Arc::new(MemTable::try_new(schema, vec![vec![batch]]).unwrap()))
            });
            context.register_catalog(steward.as_str(), schemas(own.collect()));
        }
        let mut federated = BTreeMap::new();
        for (name, table) in &self.catalog.federated {
            let mut batches = Vec::new();
            let mut common: Option<SchemaRef> = None;
            for (site, own, schema) in self.tables() {
                if own != *name || !table.stewards.contains(&site) {
                    continue;
                }
                let fields =
                    schema.fields().iter().cloned().chain([Arc::new(Field::new(STEWARD, DataType::Utf8, false))]);
                let schema = common.get_or_insert(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
                let rows = self.rows[&(site.clone(), own)].iter();
                let rows: Rows =
                    rows.map(|row| [row.as_slice(), &[ScalarValue::from(site.as_str())]].concat()).collect();
                batches.push(batch(schema, &rows));
            }
            let schema = common.unwrap_or_else(|| Arc::new(Schema::empty()));
            federated.insert(name.clone(), Arc::new(MemTable::try_new(schema, vec![batches]).unwrap()));
        }
        context.register_catalog("datafusion", schemas(federated));
    }

    fn shown(&self) -> String {
        let mut text = String::new();
        for ((steward, name), rows) in &self.rows {
            for row in rows {
                let row: Vec<String> = row.iter().map(ToString::to_string).collect();
                text.push_str(&format!("  {steward}.{name}: {}\n", row.join(", ")));
            }
        }
        text
    }
}

fn batch(schema: &SchemaRef, rows: &Rows) -> RecordBatch {
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let values: Vec<ScalarValue> = rows.iter().map(|row| row[at].clone()).collect();
        if values.is_empty() {
            arrow::array::new_empty_array(field.data_type())
        } else {
            ScalarValue::iter_to_array(values).unwrap()
        }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Vec<ArrayRef>>()).unwrap()
}

/// The rows of an answer as text, in no order.
async fn answer(context: &SessionContext, sql: &str) -> String {
    let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("`{sql}`: {error}"));
    let batches = frame.collect().await.unwrap_or_else(|error| panic!("`{sql}`: {error}"));
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows.join("\n")
}
