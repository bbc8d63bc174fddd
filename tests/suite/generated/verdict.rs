//! Whether two engines' answers are the same: types and rows, doubles with a tolerance; and whether rows are in the order
//! that their query asks for.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::schema::Kind;

/// Doubles may differ by this share.
const TOLERANCE: f64 = 1e-9;
/// So many rows are shown, at most.
const SHOWN_MAX: usize = 12;

/// A value.
#[derive(Clone, Debug)]
pub enum Cell {
    Null,
    Double(f64),
    Text(String),
}

/// The rows that an engine gave.
#[derive(Clone, Debug)]
pub struct Answer {
    types: Option<Vec<DataType>>,
    /// All of them.
    pub rows: Vec<Vec<Cell>>,
}

impl Answer {
    /// From batches. `kinds` are the query's output columns.
    pub fn new(batches: &[RecordBatch], kinds: &[Kind]) -> Self {
        let types = batches.first().map(|batch| {
            let schema = batch.schema();
            let types = schema.fields().iter().map(|field| plain(field.data_type()));
            // A local key is a text in one engine and a number in the other.
            let types = types.zip(kinds).map(|(have, kind)| if *kind == Kind::Key { DataType::Int64 } else { have });
            types.collect()
        });
        let mut rows = Vec::new();
        for batch in batches {
            let columns: Vec<Vec<Cell>> =
                batch.columns().iter().zip(kinds).map(|(column, kind)| cells(column.as_ref(), *kind)).collect();
            rows.extend(
                (0..batch.num_rows())
                    .map(|row| columns.iter().map(|column| column.get(row).cloned().unwrap()).collect::<Vec<Cell>>()),
            );
        }
        Self { types, rows }
    }

    /// Says in which way an answer is not this one; none if it is. Rows are compared as a bag.
    pub fn differs(&self, answer: &Self) -> Option<String> {
        if let (Some(wanted), Some(have)) = (&self.types, &answer.types)
            && wanted != have
        {
            return Some(format!("types: expected {wanted:?}, got {have:?}"));
        }
        let (mut wanted, mut have) = (self.rows.clone(), answer.rows.clone());
        wanted.sort_by_cached_key(|row| key(row));
        have.sort_by_cached_key(|row| key(row));
        if wanted.len() == have.len() && wanted.iter().zip(&have).all(|(one, other)| same(one, other)) {
            return None;
        }
        Some(format!(
            "rows: expected {} rows, got {}\n  expected {}\n  got      {}",
            wanted.len(),
            have.len(),
            show(&wanted, &have),
            show(&have, &wanted)
        ))
    }
}

/// Whether rows come in an order over all of their columns, each written as `c3 DESC NULLS LAST`. The oracle is not asked:
/// an order can be seen.
pub fn in_order(batches: &[RecordBatch], order: &[String]) -> bool {
    let Some(schema) = batches.first().map(RecordBatch::schema).filter(|_| !order.is_empty()) else { return true };
    let rows = concat_batches(&schema, batches).unwrap();
    let key = |text: &String| {
        let name = text.trim_start_matches("entity_value(").split([' ', ')']).next().unwrap_or_default();
        let descending = text.contains(" DESC");
        let nulls_first = text.contains("NULLS FIRST") || (descending && !text.contains("NULLS LAST"));
        let values = Arc::clone(rows.column_by_name(name).unwrap());
        SortColumn { values, options: Some(SortOptions { descending, nulls_first }) }
    };
    let keys: Vec<SortColumn> = order.iter().map(key).collect();
    let sorted = take_record_batch(&rows, &lexsort_to_indices(&keys, None).unwrap()).unwrap();
    let kinds = vec![Kind::Text; rows.num_columns()];
    let [one, other] = [rows, sorted].map(|rows| Answer::new(&[rows], &kinds).rows);
    one.iter().zip(&other).all(|(one, other)| same(one, other))
}

/// The type that clients are sent for it.
fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    }
}

fn cells(column: &dyn Array, kind: Kind) -> Vec<Cell> {
    if let DataType::Float64 = column.data_type() {
        let doubles = column.as_primitive::<Float64Type>().iter();
        return doubles.map(|double| double.map_or(Cell::Null, Cell::Double)).collect();
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
    let text = |row: usize| {
        let text = formatter.value(row).to_string();
        match (kind, text.split_once('/')) {
            (Kind::Key, Some((_, value))) => value.to_owned(),
            _ => text,
        }
    };
    (0..column.len()).map(|row| if column.is_null(row) { Cell::Null } else { Cell::Text(text(row)) }).collect()
}

/// Sorts rows alike whose doubles differ in their last bits.
fn key(row: &[Cell]) -> Vec<String> {
    row.iter()
        .map(|cell| match cell {
            Cell::Null => "\u{0}".to_owned(),
            Cell::Double(double) => format!("{:.6e}", double + 0.0),
            Cell::Text(text) => format!("\u{1}{text}"),
        })
        .collect()
}

fn same(one: &[Cell], other: &[Cell]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|pair| match pair {
            (Cell::Null, Cell::Null) => true,
            (Cell::Text(one), Cell::Text(other)) => one == other,
            (Cell::Double(one), Cell::Double(other)) => {
                one == other
                    || (one.is_nan() && other.is_nan())
                    || (one - other).abs() <= TOLERANCE * one.abs().max(other.abs()).max(1.0)
            }
            _ => false,
        })
}

/// The rows that the other side lacks at the same position, as text.
fn show(rows: &[Vec<Cell>], others: &[Vec<Cell>]) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Double(double) => double.to_string(),
        Cell::Text(text) => format!("`{text}`"),
    };
    let different =
        rows.iter().enumerate().filter(|(row, have)| others.get(*row).is_none_or(|other| !same(have, other)));
    let shown =
        different.take(SHOWN_MAX).map(|(_, row)| format!("({})", row.iter().map(cell).collect::<Vec<_>>().join(", ")));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, StringArray};

    use super::*;

    fn answer(texts: &[Option<&str>], doubles: &[f64]) -> Answer {
        Answer::new(&[batch(texts, doubles)], &[Kind::Text, Kind::Dbl])
    }

    fn batch(texts: &[Option<&str>], doubles: &[f64]) -> RecordBatch {
        let texts: StringArray = texts.iter().copied().collect();
        let doubles = Float64Array::from(doubles.to_vec());
        let batch = RecordBatch::try_from_iter([
            ("c0", Arc::new(texts) as arrow::array::ArrayRef),
            ("c1", Arc::new(doubles) as arrow::array::ArrayRef),
        ]);
        batch.unwrap()
    }

    #[test]
    fn tells_other_rows_and_other_counts() {
        let truth = answer(&[Some("x"), None], &[1.5, 2.0]);
        assert_eq!(truth.differs(&answer(&[Some("x"), None], &[1.5, 2.0 + 1e-12])), None);
        assert_eq!(truth.differs(&answer(&[None, Some("x")], &[2.0, 1.5])), None);
        for other in [
            answer(&[Some("x"), Some("")], &[1.5, 2.0]),
            answer(&[Some("x"), None], &[1.5, 2.001]),
            answer(&[Some("x")], &[1.5]),
            answer(&[Some("x"), None, None], &[1.5, 2.0, 2.0]),
        ] {
            assert!(truth.differs(&other).is_some(), "{other:?}");
        }
    }

    #[test]
    fn tells_other_orders() {
        let rows = batch(&[Some("x"), Some("x"), None], &[2.0, 1.5, 9.0]);
        let order = |keys: [&str; 2]| in_order(std::slice::from_ref(&rows), &keys.map(str::to_owned));
        assert!(order(["c0", "c1 DESC"]));
        assert!(order(["c0 ASC NULLS LAST", "c1 DESC NULLS LAST"]));
        assert!(!order(["c0", "c1"]));
        assert!(!order(["c0 DESC", "c1 DESC"]));
        assert!(!order(["c1", "c0"]));
    }
}
