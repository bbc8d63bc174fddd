//! A place's tables: opened once at start, published with coarse statistics. What is published is seen by the whole
//! federation, so it is rounded here; exact figures never leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use arrow::ipc::writer::IpcWriteOptions;
use arrow::util::display::array_value_to_string;
use arrow_flight::{IpcMessage, SchemaAsIpc};
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use dynamos_planner::catalog::{STEWARD, TableName};
use dynamos_planner::function::KeyDomain;
use dynamos_planner::policy::{EntityKey, RawTable, RawTables};
use dynamos_proto::ids::SiteId;
use dynamos_proto::v1;

use crate::config::{SiteConfig, SiteTable};
use crate::error::SiteError;
use crate::source::{self, SourceTable};

/// The tables of a place.
#[derive(Debug, Default)]
pub(crate) struct SiteTables {
    tables: BTreeMap<TableName, OpenTable>,
    raw: Arc<RawTables>,
    in_pieces: RawTables,
}

/// What a place with this configuration tells the federation about its tables, without starting it.
///
/// # Errors
///
/// When a table cannot be opened or is not as the configuration says.
pub async fn published_tables(config: &SiteConfig) -> Result<Vec<v1::Table>, SiteError> {
    Ok(SiteTables::open(config).await?.published())
}

#[derive(Debug)]
struct OpenTable {
    provider: Arc<dyn TableProvider>,
    /// See [`SourceTable::pieces`].
    pieces: Arc<dyn TableProvider>,
    entity: Option<EntityKey>,
    published: v1::Table,
}

impl SiteTables {
    /// Opens every table of the configuration.
    pub(crate) async fn open(config: &SiteConfig) -> Result<Self, SiteError> {
        let mut tables = BTreeMap::new();
        for table in &config.tables {
            let name = TableName::new(table.source.schema.to_lowercase(), table.source.table.to_lowercase());
            // Paths were resolved against the configuration's folder when it was read.
            let opened = OpenTable::new(&name, table, source::open(&table.source, Path::new("")).await?)?;
            if tables.insert(name.clone(), opened).is_some() {
                return Err(problem(&name, "it is configured twice"));
            }
            tracing::info!(table = %name, "table opened");
        }
        for part in &config.federated {
            let name = TableName::new(&part.schema, &part.table);
            let Some(table) = tables.get_mut(&name) else {
                return Err(problem(&name, "it is in `federated`, but not among the `tables` of this site"));
            };
            table.published.stewards = part.stewards.iter().map(ToString::to_string).collect();
        }
        let raw_of = |provider: fn(&OpenTable) -> &Arc<dyn TableProvider>| -> RawTables {
            let raw =
                |table: &OpenTable| RawTable { provider: Arc::clone(provider(table)), entity: table.entity.clone() };
            tables.iter().map(|(name, table)| (name.clone(), raw(table))).collect()
        };
        let (raw, in_pieces) = (raw_of(|table| &table.provider), raw_of(|table| &table.pieces));
        comparable_entities(&raw)?;
        Ok(Self { tables, raw: Arc::new(raw), in_pieces })
    }

    /// The raw rows of the tables: for tables that are shown as they are, and to know what agreements are about.
    pub(crate) fn raw(&self) -> &Arc<RawTables> {
        &self.raw
    }

    /// The same in pieces that are in the order of the rows: for protected views.
    pub(crate) fn in_pieces(&self) -> &RawTables {
        &self.in_pieces
    }

    /// Whether counts of a column's values add over stewards: it is the entity key and local to this place, or no two
    /// places have a value in common.
    pub(crate) fn counts_add(&self, name: &TableName, column: &str) -> bool {
        self.tables.get(name).is_some_and(|table| {
            let key = table.entity.as_ref().is_some_and(|entity| entity.column == column);
            let local = table.published.shared_domain.is_empty() && key;
            local || table.published.colocated_on.contains_key(column)
        })
    }

    /// Within what the values of a column of `steward`, which this place is, mean the same entity; none if it is no entity key.
    pub(crate) fn key_domain(&self, steward: &SiteId, name: &TableName, column: &str) -> Option<KeyDomain> {
        let table = self.tables.get(name)?;
        table.entity.as_ref().filter(|entity| entity.column == column)?;
        Some(match table.published.shared_domain.as_str() {
            "" => KeyDomain::Local(steward.clone()),
            domain => KeyDomain::Shared(domain.to_owned()),
        })
    }

    /// All stewards of the federated table that a table is a part of; none if it is part of none.
    pub(crate) fn stewards(&self, name: &TableName) -> Option<BTreeSet<SiteId>> {
        let stewards = &self.tables.get(name)?.published.stewards;
        (!stewards.is_empty()).then(|| stewards.iter().map(SiteId::new).collect())
    }

    /// What the federation is told.
    pub(crate) fn published(&self) -> Vec<v1::Table> {
        self.tables.values().map(|table| table.published.clone()).collect()
    }
}

/// The keys of one entity are compared with each other, which must not fail on a value.
fn comparable_entities(tables: &RawTables) -> Result<(), SiteError> {
    let mut first: BTreeMap<&str, (&TableName, DataType)> = BTreeMap::new();
    for (name, table) in tables {
        let Some(entity) = &table.entity else { continue };
        let schema = table.provider.schema();
        let Ok(field) = schema.field_with_name(&entity.column) else { continue };
        let kind = field.data_type();
        let (other, known) = &*first.entry(&entity.name).or_insert_with(|| (name, kind.clone()));
        if kind != known && !(kind.is_string() && known.is_string()) && !(kind.is_integer() && known.is_integer()) {
            let key = &entity.name;
            let text = format!(
                "its entity `{key}` has keys of type {kind}, but of type {known} in `{other}`; say by `entity_name` if they are \
                 not the same"
            );
            return Err(problem(name, text));
        }
    }
    Ok(())
}

impl OpenTable {
    fn new(name: &TableName, config: &SiteTable, source: SourceTable) -> Result<Self, SiteError> {
        let engine = |error: datafusion::common::DataFusionError| problem(name, error.strip_backtrace());
        lower_names_differ(name, &source.schema)?;
        let provider = with_lower_names(name, &source.provider).map_err(engine)?;
        let pieces = with_lower_names(name, &source.pieces).map_err(engine)?;
        let schema = provider.schema();
        if schema.index_of(STEWARD).is_ok() {
            // Agreements are not asked about a column of this name: in a federated table it says whose a row is.
            return Err(problem(name, format!("a column may not be called `{STEWARD}`; rename it in the source")));
        }
        for column in config.entity.iter().chain(config.colocated_on.keys()) {
            if schema.index_of(column).is_err() {
                return Err(problem(name, format!("it has no column `{column}`")));
            }
        }
        let columns = schema.fields().iter().zip(source.schema.fields()).map(|(field, original)| {
            let statistics = source.statistics.columns.get(original.name());
            let known = statistics.filter(|_| config.entity.as_deref() != Some(field.name().as_str()));
            let bounds = known.and_then(|known| coarse_bounds(known.min.as_ref()?, known.max.as_ref()?));
            let (min, max) = bounds.unzip();
            v1::ColumnStatistics {
                distinct: statistics.and_then(|known| known.distinct).map(coarse),
                nulls: statistics.and_then(|known| known.nulls).map(coarse),
                min,
                max,
            }
        });
        let published = v1::Table {
            schema: name.schema.clone(),
            name: name.table.clone(),
            arrow_schema: encode_schema(&schema).map_err(|error| problem(name, error.to_string()))?,
            rows: coarse(source.statistics.rows),
            columns: columns.collect(),
            entity: config.entity.clone().unwrap_or_default(),
            shared_domain: config.shared_domain.clone().unwrap_or_default(),
            colocated_on: config.colocated_on.clone().into_iter().collect(),
            stewards: Vec::new(),
        };
        let entity = config.entity.clone().map(|column| {
            let name = config.entity_name.clone().unwrap_or_else(|| column.clone());
            EntityKey { column, name }
        });
        Ok(Self { provider, pieces, entity, published })
    }
}

/// Whether the names of a table's columns are different ones in lower case, too.
fn lower_names_differ(name: &TableName, schema: &Schema) -> Result<(), SiteError> {
    let mut seen = BTreeSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name().to_lowercase())) {
        Some(twice) => {
            let column = twice.name();
            Err(problem(name, format!("column `{column}` has the name of another column in lower case")))
        }
        None => Ok(()),
    }
}

/// The table with its column names in lower case; the source's own provider where they are so already.
fn with_lower_names(
    name: &TableName,
    source: &Arc<dyn TableProvider>,
) -> datafusion::common::Result<Arc<dyn TableProvider>> {
    let schema = source.schema();
    if schema.fields().iter().all(|field| field.name().to_lowercase() == *field.name()) {
        return Ok(Arc::clone(source));
    }
    let columns = schema.fields().iter().map(|field| {
        let column = field.name();
        Expr::Column(Column::new(Some(name.table.as_str()), column)).alias(column.to_lowercase())
    });
    let renamed = LogicalPlanBuilder::scan(name.table.as_str(), provider_as_source(Arc::clone(source)), None)?
        .project(columns.collect::<Vec<_>>())?
        .build()?;
    Ok(Arc::new(ViewTable::new(renamed, None)))
}

fn problem(name: &TableName, problem: impl Into<String>) -> SiteError {
    SiteError::Table { table: name.to_string(), problem: problem.into() }
}

/// Bounds of a column of integers or dates, moved outward to multiples of the largest power of ten within their distance,
/// at least ten: the smallest and the largest value are somebody's. None where all values are equal.
fn coarse_bounds(min: &ScalarValue, max: &ScalarValue) -> Option<(String, String)> {
    let kind = min.data_type();
    let number = |value: &ScalarValue| match value {
        ScalarValue::Date32(days) => days.map(i64::from),
        value if kind.is_integer() => i64::try_from(value.clone()).ok(),
        _ => None,
    };
    let (low, high) = (number(min)?, number(max)?);
    let distance = high.checked_sub(low).filter(|distance| *distance > 0)?;
    let unit = 10_i64.pow(distance.ilog10().max(1));
    let value = |number: i64| match kind {
        DataType::Date32 => Some(ScalarValue::Date32(Some(i32::try_from(number).ok()?))),
        _ => ScalarValue::Int64(Some(number)).cast_to(&kind).ok(),
    };
    let down = low.div_euclid(unit).checked_mul(unit)?;
    let up = high.div_euclid(unit).checked_add(1)?.checked_mul(unit)?;
    Some((as_text(&value(down)?)?, as_text(&value(up)?)?))
}

fn as_text(value: &ScalarValue) -> Option<String> {
    if value.is_null() {
        return None;
    }
    array_value_to_string(&value.to_array().ok()?, 0).ok()
}

/// Counts below this are all published as this: one row more or less is seen of none of them.
const COUNT_MIN: u64 = 100;

/// A count rounded to two significant digits, from [`COUNT_MIN`] on.
fn coarse(count: u64) -> u64 {
    let count = count.max(COUNT_MIN);
    let mut unit = 1;
    while count / unit >= 100 {
        unit *= 10;
    }
    let whole = count / unit;
    let rounded = if count % unit * 2 >= unit && unit > 1 { whole + 1 } else { whole };
    rounded.saturating_mul(unit)
}

fn encode_schema(schema: &Schema) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let message: IpcMessage = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into()?;
    Ok(message.0.to_vec())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::Field;
    use datafusion::datasource::MemTable;

    use super::*;
    use crate::source::{TableConfig, TableStatistics};

    fn opened(names: [&str; 2], entity: Option<&str>) -> Result<OpenTable, SiteError> {
        opened_rows(names, entity, (0..1234).collect(), StringArray::from(vec!["a"; 1234]))
    }

    fn opened_rows(
        names: [&str; 2],
        entity: Option<&str>,
        ids: Vec<i64>,
        codes: StringArray,
    ) -> Result<OpenTable, SiteError> {
        let fields = [(names[0], DataType::Int64), (names[1], DataType::Utf8)];
        let schema = Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec()));
        let ids = Int64Array::from(ids);
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(codes)]).unwrap();
        let statistics = TableStatistics::of_batches(&schema, std::slice::from_ref(&batch)).unwrap();
        let provider: Arc<dyn TableProvider> =
            Arc::new(MemTable::try_new(Arc::clone(&schema), vec![vec![batch]]).unwrap());
        let pieces = Arc::clone(&provider);
        let mut config = SiteTable::plain(TableConfig::csv("s", "t", "p"));
        config.entity = entity.map(str::to_owned);
        OpenTable::new(&TableName::new("s", "t"), &config, SourceTable { schema, provider, pieces, statistics })
    }

    #[test]
    fn published_figures_are_coarse_and_hold_no_text() {
        let published = opened(["id", "code"], None).unwrap().published;
        assert_eq!(published.rows, 1200);
        assert_eq!(published.columns[0].distinct, Some(1200));
        assert_eq!(
            (published.columns[0].min.as_deref(), published.columns[0].max.as_deref()),
            (Some("0"), Some("2000"))
        );
        assert_eq!((published.columns[1].min.as_ref(), published.columns[1].max.as_ref()), (None, None));
        assert_eq!(opened(["id", "code"], Some("id")).unwrap().published.columns[0].max, None);
    }

    #[test]
    fn column_names_are_folded_and_must_stay_apart() {
        let folded = opened(["ID", "Code"], Some("id")).unwrap();
        let names: Vec<String> = folded.provider.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["id", "code"]);
        assert_eq!(folded.published.columns[0].distinct, Some(1200));
        assert!(opened(["id", "ID"], None).is_err());
        assert!(opened(["id", "Steward"], None).is_err());
        assert!(opened(["id", "code"], Some("person")).is_err());
    }

    #[test]
    fn nobodys_value_is_a_bound() {
        let whole = |number| ScalarValue::Int64(Some(number));
        let bounds = |low, high| coarse_bounds(&whole(low), &whole(high));
        assert_eq!(bounds(1, 18), Some(("0".into(), "20".into())));
        assert_eq!(bounds(3, 5), Some(("0".into(), "10".into())));
        assert_eq!(bounds(-120, 4_310), Some(("-1000".into(), "5000".into())));
        assert_eq!(bounds(7, 7), None, "the one value would be said");
        assert_eq!(bounds(i64::MIN, i64::MAX), None);
        let narrow = |number| ScalarValue::Int8(Some(number));
        assert_eq!(coarse_bounds(&narrow(0), &narrow(127)), None, "what does not fit is not said");
        let day = |days| ScalarValue::Date32(Some(days));
        assert_eq!(coarse_bounds(&day(-7_000), &day(12_345)), Some(("1942-08-16".into(), "2024-10-04".into())));
        let text = ScalarValue::from("x");
        assert_eq!(coarse_bounds(&text, &text), None);
    }

    #[test]
    fn e3_no_count_below_a_hundred_is_published() {
        assert_eq!([0, 1, 7, 98, 99].map(coarse), [100; 5]);
        // Ids that are all different, with one text, with one text and a NULL: nobody sees which.
        let published = |ids: i64, nulls: usize| {
            let texts = StringArray::from_iter((0..ids).map(|id| (id as usize >= nulls).then_some("a")));
            opened_rows(["id", "code"], None, (0..ids).collect(), texts).unwrap().published
        };
        let small = published(3, 0);
        assert_eq!((small.rows, small.columns[1].distinct, small.columns[1].nulls), (100, Some(100), Some(100)));
        for (ids, nulls) in [(4, 0), (4, 1), (60, 30), (99, 98)] {
            let other = published(ids, nulls);
            assert_eq!((other.rows, &other.columns[1]), (small.rows, &small.columns[1]), "{ids} rows, {nulls} NULLs");
        }
    }

    #[test]
    fn two_digits_remain() {
        assert_eq!([100, 104, 105, 995, 123_456].map(coarse), [100, 100, 110, 1000, 120_000]);
    }
}
