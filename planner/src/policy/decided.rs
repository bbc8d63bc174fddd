//! The decision of [`mod@super::decide`] over groups as the engine has them: a batch of finished groups in, the groups that are
//! released out.
//!
//! ```text
//!  in:   k0.. | s0_0.. (states of the values) | e0_0.. (entities, by counter and steward) | m0_0.. (what they add up to,
//!        likewise, for the counters of sums that are held to DOMINANCE)
//!  out:  remainder | k0.. | s0_0..
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow::compute::kernels::nullif::nullif;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, exec_err};

use super::decide::{Cell, DecisionRules, Entities, Fate, KEYS_MAX, Part, decide};
use crate::function::{all_magnitudes, shares};

/// The column of the decided groups that marks parts of the remainder.
pub const REMAINDER: &str = "remainder";

/// Decides over the groups of one release point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDecision {
    /// The first so many columns are the keys.
    pub keys: usize,
    /// What is demanded of the groups.
    pub rules: DecisionRules,
}

impl GroupDecision {
    /// The columns of the decided groups.
    pub fn schema(&self, groups: &Schema) -> SchemaRef {
        let states = self.states(groups.fields().len());
        let kept = groups.fields().iter().take(self.keys + states);
        let kept = kept.map(|field| Arc::new(Field::new(field.name(), field.data_type().clone(), true)));
        let mark = Arc::new(Field::new(REMAINDER, DataType::Boolean, true));
        Arc::new(Schema::new(std::iter::once(mark).chain(kept).collect::<Vec<_>>()))
    }

    /// The bytes that deciding over so many groups takes beside the groups themselves, about.
    pub fn bytes(&self, groups: usize) -> usize {
        let coarser = 1_usize << self.keys.min(KEYS_MAX);
        let shares = self.rules.counters.len() * self.rules.stewards;
        // Two sums, each at most so long.
        let magnitudes = self.held_to_dominance().count() * self.rules.stewards;
        groups.saturating_mul(coarser * 40 + shares * 64 + magnitudes * 640 + self.keys * 16)
    }

    /// The counters that have columns of magnitudes.
    fn held_to_dominance(&self) -> impl Iterator<Item = usize> + '_ {
        let counters = self.rules.counters.iter().enumerate();
        counters.filter(|(_, counter)| counter.dominance.is_some()).map(|(index, _)| index)
    }

    /// The released groups, the parts of a released remainder, and for a grouping without keys one row in any case. Fails if
    /// a group below a minimum fails the query.
    pub fn decided(&self, groups: &RecordBatch) -> Result<RecordBatch> {
        let fates = match decide(&self.cells(groups)?, &self.rules) {
            Ok(fates) => fates,
            Err(below) => return exec_err!("{below}"),
        };
        let schema = self.schema(&groups.schema());
        let kept = self.keys + self.states(groups.num_columns());
        if self.keys == 0 && fates != [Fate::Released] {
            let mut nothing: Vec<ArrayRef> = vec![Arc::new(BooleanArray::from(vec![false]))];
            nothing.extend(schema.fields().iter().skip(1).map(|field| new_null_array(field.data_type(), 1)));
            return Ok(RecordBatch::try_new(schema, nothing)?);
        }
        let given = fates.iter().enumerate().filter(|(_, fate)| **fate != Fate::Withheld);
        let rows: UInt64Array = given.clone().map(|(row, _)| u64::try_from(row).ok()).collect();
        let merged: BooleanArray = given.map(|(_, fate)| Some(*fate == Fate::Remainder)).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(merged.clone())];
        for (index, column) in groups.columns().iter().enumerate().take(kept) {
            let column = take(column, &rows, None)?;
            columns.push(if index < self.keys { nullif(&column, &merged)? } else { column });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    /// The number of columns between keys and entities.
    fn states(&self, columns: usize) -> usize {
        let counted = self.rules.counters.len() + self.held_to_dominance().count();
        columns.saturating_sub(self.keys + counted * self.rules.stewards)
    }

    fn cells(&self, groups: &RecordBatch) -> Result<Vec<Cell>> {
        if self.keys > KEYS_MAX && !self.rules.counters.is_empty() {
            return exec_err!("a release under a minimum has at most {KEYS_MAX} keys");
        }
        let mut cells: Vec<Cell> = (0..groups.num_rows())
            .map(|_| Cell { keys: Vec::new(), entities: Entities(vec![Vec::new(); self.rules.counters.len()]) })
            .collect();
        for key in groups.columns().iter().take(self.keys) {
            for (cell, rank) in cells.iter_mut().zip(ranks(key)?) {
                cell.keys.push(rank);
            }
        }
        let entities = self.keys + self.states(groups.num_columns());
        let mut columns = groups.columns().iter().skip(entities);
        for (index, counter) in self.rules.counters.iter().enumerate() {
            for _ in 0..self.rules.stewards {
                let Some(column) = columns.next() else { return exec_err!("a group has no entities") };
                for (cell, share) in cells.iter_mut().zip(shares(column, counter.minimum)?) {
                    if let Some(counted) = cell.entities.0.get_mut(index) {
                        counted.push(Part::of(share));
                    }
                }
            }
        }
        for index in self.held_to_dominance() {
            for steward in 0..self.rules.stewards {
                let Some(column) = columns.next() else { return exec_err!("a group has no magnitudes") };
                for (cell, magnitudes) in cells.iter_mut().zip(all_magnitudes(column)?) {
                    let part = cell.entities.0.get_mut(index).and_then(|parts| parts.get_mut(steward));
                    if let Some(part) = part {
                        part.magnitudes = Some(Box::new(magnitudes));
                    }
                }
            }
        }
        Ok(cells)
    }
}

/// The place of each value among the distinct values of a column, NULL first.
fn ranks(column: &ArrayRef) -> Result<Vec<u32>> {
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(column))?;
    let mut distinct: Vec<_> = rows.iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let rank = |row| distinct.binary_search(&row).ok().and_then(|rank| u32::try_from(rank).ok()).unwrap_or(u32::MAX);
    Ok(rows.iter().map(rank).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, Int64Array, StringArray};
    use arrow::util::pretty::pretty_format_batches;

    use super::super::Outcome;
    use super::super::decide::CounterRule;
    use super::*;
    use crate::function::{HASH_BYTES, Share};

    fn decision(keys: usize, outcome: Outcome) -> GroupDecision {
        let counters = vec![CounterRule { minimum: 3, own: vec![3], dominance: None }];
        GroupDecision { keys, rules: DecisionRules { counters, stewards: 1, sites: 0, requester: None, outcome } }
    }

    /// People `from..to` of one steward.
    fn people(from: u8, to: u8) -> Vec<u8> {
        Share::of((from..to).map(|person| [person; HASH_BYTES]).collect(), 3).encode()
    }

    fn by_key(keys: &[Option<&str>], entities: &[Vec<u8>]) -> RecordBatch {
        let sums: Int64Array = (1..=i64::try_from(keys.len()).unwrap()).map(Some).collect();
        let entities: BinaryArray = entities.iter().map(|bytes| Some(bytes.as_slice())).collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("k0", Arc::new(keys.iter().collect::<StringArray>())),
            ("s0_0", Arc::new(sums)),
            ("e0_0", Arc::new(entities)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn text(batch: &RecordBatch) -> Vec<String> {
        let table = pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string();
        table.lines().filter(|line| line.starts_with('|')).skip(1).map(|line| line.replace(' ', "")).collect()
    }

    #[test]
    fn b2_a_null_key_is_an_ordinary_group_and_the_remainder_a_row_apart() {
        let groups = by_key(
            &[Some("b"), None, Some("a"), Some("c")],
            &[people(0, 2), people(2, 9), people(9, 10), people(10, 20)],
        );
        let merged = decision(1, Outcome::Remainder).decided(&groups).unwrap();
        assert_eq!(text(&merged), ["|true||1|", "|false||2|", "|true||3|", "|false|c|4|"]);
        let dropped = decision(1, Outcome::Drop).decided(&groups).unwrap();
        assert_eq!(text(&dropped), ["|false||2|", "|false|c|4|"]);
        let failed = decision(1, Outcome::Fail).decided(&groups).unwrap_err();
        assert!(failed.to_string().contains("a group is below the agreed minimum"), "{failed}");
    }

    #[test]
    fn b2_zero_and_few_look_the_same_without_keys() {
        let total = |entities: Vec<u8>| by_key(&[Some("x")], &[entities]).project(&[1, 2]).unwrap();
        for outcome in [Outcome::Drop, Outcome::Remainder] {
            for few in [people(0, 0), people(0, 1), people(0, 2)] {
                assert_eq!(text(&decision(0, outcome).decided(&total(few)).unwrap()), ["|false||"]);
            }
            assert_eq!(text(&decision(0, outcome).decided(&total(people(0, 3))).unwrap()), ["|false|1|"]);
        }
        assert!(decision(0, Outcome::Fail).decided(&total(people(0, 0))).is_err());
    }

    #[test]
    fn ranks_follow_values() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a"), Some("b")]));
        assert_eq!(ranks(&column).unwrap(), [2, 0, 1, 2]);
    }
}
