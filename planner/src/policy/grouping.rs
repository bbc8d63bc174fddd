//! What an aggregate groups by: keys, and, for GROUPING SETS, ROLLUP and CUBE, which of them each grouping set has. All sets of
//! one aggregate are one release point, so that one clause covers them and they are decided together.

use datafusion::logical_expr::{Aggregate, GroupingSet};
use datafusion::prelude::Expr;

use crate::fragment::KeySet;

/// Keys and grouping sets of an aggregate.
pub(super) struct Grouping<'a> {
    /// All keys, in the order of the aggregate's columns.
    pub(super) keys: Vec<&'a Expr>,
    /// The sets, which may repeat; none where groups are by all keys.
    pub(super) sets: Vec<KeySet>,
}

impl<'a> Grouping<'a> {
    /// What an aggregate groups by, or why that cannot be done over protected rows.
    pub(super) fn of(aggregate: &'a Aggregate) -> Result<Self, String> {
        let grouping = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(sets)] => sets,
            keys if keys.iter().any(|key| matches!(key, Expr::GroupingSet(_))) => {
                return Err("grouping sets beside other keys are not in normal form".into());
            }
            keys => return Ok(Self { keys: keys.iter().collect(), sets: Vec::new() }),
        };
        let keys = grouping.distinct_expr();
        let repeated = keys.iter().enumerate().any(|(at, key)| keys.iter().take(at).any(|before| before == key));
        if keys.is_empty() || keys.len() > KeySet::KEYS_MAX || repeated {
            let text = format!("grouping sets over protected rows are of 1 to {} different keys", KeySet::KEYS_MAX);
            return Err(text);
        }
        let place = |exprs: &[Expr]| -> KeySet {
            exprs.iter().filter_map(|expr| keys.iter().position(|key| *key == expr)).collect()
        };
        let sets: Vec<KeySet> = match grouping {
            GroupingSet::Rollup(exprs) => (0..=exprs.len()).map(|most| (0..most).collect()).collect(),
            GroupingSet::Cube(exprs) if exprs.len() <= KeySet::SETS_MAX.ilog2() as usize => (0..1_usize << exprs.len())
                .map(|bits| (0..exprs.len()).filter(|key| bits & (1_usize << key) != 0).collect())
                .collect(),
            GroupingSet::Cube(_) => return Err(too_many()),
            GroupingSet::GroupingSets(sets) => sets.iter().map(|set| place(set)).collect(),
        };
        if sets.len() > KeySet::SETS_MAX {
            return Err(too_many());
        }
        // The engine's own number of a group's set is what stands above, as `grouping(…)` reads it.
        let numbered = aggregate.schema.fields().get(keys.len()).map(|field| field.data_type().clone());
        if numbered != Some(KeySet::id_type(&sets, keys.len())) {
            return Err("the grouping sets are numbered in another way than a release numbers them".into());
        }
        Ok(Self { keys, sets })
    }
}

fn too_many() -> String {
    format!("a query over protected rows has at most {} grouping sets, each of which is a release", KeySet::SETS_MAX)
}
