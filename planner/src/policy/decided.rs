//! The decision of [`mod@super::decide`] over groups as the engine has them: a batch of finished groups in, the groups that are
//! released out.
//!
//! ```text
//!  in:   k0.. | s0_0.. (states of the values) | e0_0.. (entities, by counter and steward) | m0_0.. (what they add up to,
//!        likewise, for the counters of sums that are held to DOMINANCE)
//!  out:  remainder | k0.. | s0_0..
//! ```
//!
//! Where groups are of several grouping sets, the last of the keys is the number of the group's set.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array,
};
use arrow::compute::kernels::nullif::nullif;
use arrow::compute::{cast, concat_batches, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, exec_err};

use super::Outcome;
use super::decide::{BelowMinimum, Cell, DecisionRules, Entities, Fate, KEYS_MAX, Part, decide};
use super::decide_sets::{SetCell, decide_sets};
use crate::fragment::KeySet;
use crate::function::{all_magnitudes, shares};

/// The column of the decided groups that marks parts of the remainder.
pub const REMAINDER: &str = "remainder";

/// Decides over the groups of one release point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDecision {
    /// The first so many columns are the keys.
    pub keys: usize,
    /// The grouping sets, which may repeat. The column behind the keys says of which of them a group is; empty where groups are
    /// by all keys and there is no such column.
    pub sets: Vec<KeySet>,
    /// What is demanded of the groups.
    pub rules: DecisionRules,
}

impl GroupDecision {
    /// The columns of the decided groups.
    pub fn schema(&self, groups: &Schema) -> SchemaRef {
        let states = self.states(groups.fields().len());
        let kept = groups.fields().iter().take(self.group_columns() + states);
        let kept = kept.map(|field| Arc::new(Field::new(field.name(), field.data_type().clone(), true)));
        let mark = Arc::new(Field::new(REMAINDER, DataType::Boolean, true));
        Arc::new(Schema::new(std::iter::once(mark).chain(kept).collect::<Vec<_>>()))
    }

    /// The bytes that deciding over so many groups takes beside the groups themselves, about, if there are as many coarser groups
    /// by each set of keys.
    pub fn bytes(&self, groups: usize) -> usize {
        let shares = self.rules.counters.len() * self.rules.stewards;
        // Each knows the people of whom nothing of it is released.
        let of_coarser = 64 + self.rules.counters.len() * 24 + shares * 40;
        let coarser = (1_usize << self.keys.min(KEYS_MAX)) - 1;
        // Two sums, each at most so long.
        let magnitudes = self.held_to_dominance().count() * self.rules.stewards;
        let blocks = if self.sets.is_empty() { 0 } else { 256 };
        groups.saturating_mul(40 + coarser * of_coarser + shares * 64 + magnitudes * 640 + self.keys * 32 + blocks)
    }

    fn group_columns(&self) -> usize {
        self.keys + usize::from(!self.sets.is_empty())
    }

    /// The counters that have columns of magnitudes.
    fn held_to_dominance(&self) -> impl Iterator<Item = usize> + '_ {
        let counters = self.rules.counters.iter().enumerate();
        counters.filter(|(_, counter)| counter.dominance.is_some()).map(|(index, _)| index)
    }

    /// The groups in the order of their keys. The engine gives them in the order of the first rows that it met of each, which
    /// would tell of protected rows.
    pub fn in_key_order(&self, groups: &RecordBatch) -> Result<RecordBatch> {
        let keys: Vec<ArrayRef> = groups.columns().iter().take(self.group_columns()).cloned().collect();
        if keys.is_empty() {
            return Ok(groups.clone());
        }
        let fields = keys.iter().map(|key| SortField::new(key.data_type().clone()));
        let rows = RowConverter::new(fields.collect())?.convert_columns(&keys)?;
        let mut order: Vec<_> = rows.iter().zip(0_u64..).collect();
        order.sort_unstable();
        let order: UInt64Array = order.into_iter().map(|(_, row)| Some(row)).collect();
        Ok(take_record_batch(groups, &order)?)
    }

    /// The released groups, the parts of a released remainder, and for a grouping without keys one row in any case. Fails if
    /// a group below a minimum fails the query.
    pub fn decided(&self, groups: &RecordBatch) -> Result<RecordBatch> {
        let sets = self.set_ids(groups)?;
        let cells = self.cells(groups)?;
        let fates = if self.sets.is_empty() { decide(&cells, &self.rules) } else { self.of_sets(cells, &sets) };
        let fates = match fates {
            Ok(fates) => fates,
            Err(below) => return exec_err!("{below}"),
        };
        let given = self.given(groups, &fates)?;
        let missing = self.missing_totals(&sets, &fates);
        if missing.is_empty() {
            return Ok(given);
        }
        if self.rules.outcome == Outcome::Fail {
            return exec_err!("{BelowMinimum}");
        }
        Ok(concat_batches(&self.schema(&groups.schema()), [&given, &self.nothing(groups, &missing)?])?)
    }

    /// The groups that are released or parts of a remainder.
    fn given(&self, groups: &RecordBatch, fates: &[Fate]) -> Result<RecordBatch> {
        let schema = self.schema(&groups.schema());
        let kept = self.group_columns() + self.states(groups.num_columns());
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

    /// The numbers of the groupings without keys that have no released group; without sets there is one, if there are no keys.
    fn missing_totals(&self, sets: &[u64], fates: &[Fate]) -> Vec<u64> {
        if self.sets.is_empty() {
            return if self.keys == 0 && fates != [Fate::Released] { vec![0] } else { Vec::new() };
        }
        let totals = self.sets.iter().filter(|set| set.is_empty()).enumerate();
        let totals = totals.map(|(occurrence, total)| total.grouping_id(occurrence, self.keys));
        let released = |id: &u64| sets.iter().zip(fates).any(|(set, fate)| set == id && *fate == Fate::Released);
        totals.filter(|id| !released(id)).collect()
    }

    /// A row of nothing for each of these groupings without keys.
    fn nothing(&self, groups: &RecordBatch, of: &[u64]) -> Result<RecordBatch> {
        let schema = self.schema(&groups.schema());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(BooleanArray::from(vec![false; of.len()]))];
        for (index, field) in schema.fields().iter().enumerate().skip(1) {
            let set = !self.sets.is_empty() && index == 1 + self.keys;
            columns.push(match set {
                true => cast(&UInt64Array::from(of.to_vec()), field.data_type())?,
                false => new_null_array(field.data_type(), of.len()),
            });
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// The number of each group's set; nothing where there are none.
    fn set_ids(&self, groups: &RecordBatch) -> Result<Vec<u64>> {
        if self.sets.is_empty() {
            return Ok(Vec::new());
        }
        let Some(column) = groups.columns().get(self.keys) else {
            return exec_err!("groups do not say of which set they are");
        };
        let ids = cast(column, &DataType::UInt64)?;
        match ids.as_primitive_opt::<UInt64Type>().filter(|ids| ids.null_count() == 0) {
            Some(ids) => Ok(ids.values().to_vec()),
            None => exec_err!("groups do not say of which set they are"),
        }
    }

    fn of_sets(&self, cells: Vec<Cell>, ids: &[u64]) -> std::result::Result<Vec<Fate>, BelowMinimum> {
        let cells = cells.into_iter().zip(ids);
        let cells = cells.map(|(cell, id)| SetCell { set: KeySet::of_grouping_id(*id, self.keys), cell });
        decide_sets(&cells.collect::<Vec<_>>(), self.keys, &self.sets, &self.rules)
    }

    /// The number of columns between keys and entities.
    fn states(&self, columns: usize) -> usize {
        let counted = self.rules.counters.len() + self.held_to_dominance().count();
        columns.saturating_sub(self.group_columns() + counted * self.rules.stewards)
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
        let entities = self.group_columns() + self.states(groups.num_columns());
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
    use arrow::array::{BinaryArray, Int64Array, StringArray, UInt8Array};
    use arrow::util::pretty::pretty_format_batches;

    use super::super::decide::{Behind, CounterRule};
    use super::*;
    use crate::function::{HASH_BYTES, Share};

    fn decision(keys: usize, outcome: Outcome) -> GroupDecision {
        let counters =
            vec![CounterRule { behind: Behind::Value, minimum: 3, own: vec![3], dominance: None, lax: Vec::new() }];
        GroupDecision {
            keys,
            sets: Vec::new(),
            rules: DecisionRules { counters, stewards: 1, sites: 0, requester: None, outcome },
        }
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
    fn e3_groups_are_in_the_order_of_their_keys_in_whichever_their_rows_were() {
        let (keys, by) = ([Some("b"), None, Some("a")], decision(1, Outcome::Drop));
        let given = |order: [usize; 3]| {
            let groups = by_key(&keys, &[people(0, 4), people(4, 9), people(9, 13)]);
            let order = UInt64Array::from(order.map(|row| row as u64).to_vec());
            text(&by.decided(&by.in_key_order(&take_record_batch(&groups, &order).unwrap()).unwrap()).unwrap())
        };
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            assert_eq!(given(order), ["|false||2|", "|false|a|3|", "|false|b|1|"]);
        }
        let total = by_key(&[Some("x")], &[people(0, 3)]).project(&[1, 2]).unwrap();
        assert_eq!(decision(0, Outcome::Drop).in_key_order(&total).unwrap(), total);
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
    fn b2_a_withheld_total_among_grouping_sets_is_a_row_of_nulls() {
        let sets = vec![KeySet::default(), KeySet::all(1), KeySet::default()];
        let of = |outcome| GroupDecision { sets: sets.clone(), ..decision(1, outcome) };
        // Numbers of sets: 0 has the key; 1 and 3 are the totals.
        let groups = |keys: &[Option<&str>], ids: Vec<u8>, entities: &[Vec<u8>]| {
            let by_key = by_key(keys, entities);
            let mut columns: Vec<(&str, ArrayRef)> = vec![("k0", Arc::clone(by_key.column(0)))];
            columns.push(("k1", Arc::new(UInt8Array::from(ids))));
            columns.extend([("s0_0", Arc::clone(by_key.column(1))), ("e0_0", Arc::clone(by_key.column(2)))]);
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let few = groups(&[Some("a"), None, None], vec![0, 1, 3], &[people(0, 2), people(0, 2), people(0, 2)]);
        let nobody = groups(&[], vec![], &[]);
        for groups in [&few, &nobody] {
            assert_eq!(text(&of(Outcome::Drop).decided(groups).unwrap()), ["|false||1||", "|false||3||"]);
            assert_eq!(text(&of(Outcome::Remainder).decided(groups).unwrap()), ["|false||1||", "|false||3||"]);
            assert!(of(Outcome::Fail).decided(groups).is_err());
        }
        let keys = [Some("a"), Some("b"), Some("c"), None, None];
        let people = [people(0, 1), people(1, 9), people(9, 13), people(0, 13), people(0, 13)];
        let enough = groups(&keys, vec![0, 0, 0, 1, 3], &people);
        let merged = text(&of(Outcome::Remainder).decided(&enough).unwrap());
        assert_eq!(merged, ["|true||0|1|", "|false|b|0|2|", "|true||0|3|", "|false||1|4|", "|false||3|5|"]);
    }

    #[test]
    fn ranks_follow_values() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a"), Some("b")]));
        assert_eq!(ranks(&column).unwrap(), [2, 0, 1, 2]);
    }
}
