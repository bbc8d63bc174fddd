//! Protected rows on the way up through a query, and what they become at a release point: scans, joins and predicates
//! written anew from what the query does, in the one form that crosses the wire.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{Column, JoinType, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Aggregate, LogicalPlan, LogicalPlanBuilder, TableScanBuilder};
use datafusion::prelude::Expr;
use dynamos_proto::ids::ReleaseId;

use super::RelationShape;
use super::denial::{Reason, Stop, refuse};
use super::lists::ListJoin;
use super::matching::{Asked, columns_of, is_steward};
use super::release_plan::key_name;
use super::sides::{Side, SideShape, assemble_sides};
use super::tied::{Tied, known};
use crate::bind::{VisibleTable, canonical, unalias};
use crate::catalog::TableName;
use crate::fragment::{EntityColumn, ReleaseShape, ReleasedAggregate};
use crate::wire::{Leaf, LeafTable};

/// Protected rows: scans, joins and predicates, so far.
#[derive(Clone)]
pub(super) struct Rows {
    /// The plan as the query has it, to resolve columns in.
    pub(super) plan: LogicalPlan,
    pub(super) scans: Vec<VisibleTable>,
    pub(super) relation: RelationShape,
    /// Equalities of stewards that LOCAL keys brought.
    pub(super) steward_joins: BTreeSet<(Column, Column)>,
    /// Lists of the requester that keep or drop rows.
    pub(super) lists: Vec<ListJoin>,
    /// Why they are not released where they are.
    pub(super) why: Vec<Reason>,
}

impl Rows {
    /// Whether released data keep or drop them.
    pub(super) fn read_released(&self) -> bool {
        !self.relation.scalars.is_empty() || self.lists.iter().any(ListJoin::is_released)
    }

    /// The scan that a column is of.
    pub(super) fn scan_of(&self, column: &Column) -> Option<&VisibleTable> {
        let table = self.relation.table_of(column)?;
        self.scans.iter().find(|scan| scan.name == *table)
    }
}

/// An aggregate of the query over the tables' columns.
pub(super) fn asked(value: &Expr, rows: &Rows) -> Result<Asked, Stop> {
    let Expr::AggregateFunction(call) = unalias(value) else {
        return Err(refuse("an aggregate over protected rows must be one function", rows.why.clone()));
    };
    let name = call.func.name().to_owned();
    if !call.params.order_by.is_empty() || call.params.null_treatment.is_some() {
        return Err(refuse(&format!("`{name}` over protected rows takes no ORDER BY"), rows.why.clone()));
    }
    let argument = match call.params.args.as_slice() {
        [] => None,
        [Expr::Literal(value, _)] if name == "count" && !value.is_null() && !call.params.distinct => None,
        [argument] => Some(canonical(&rows.plan, argument)?),
        _ => return Err(refuse(&format!("`{name}` over protected rows takes one argument"), rows.why.clone())),
    };
    let filter = call.params.filter.as_ref().map(|filter| canonical(&rows.plan, filter)).transpose()?;
    if filter.iter().any(|filter| rows.relation.reads_scalar(filter)) {
        let text = format!("a released value is compared with columns in WHERE, not in the FILTER of `{name}`");
        return Err(refuse(&text, rows.why.clone()));
    }
    Ok(Asked { function: name, distinct: call.params.distinct, argument, filter })
}

impl Asked {
    /// The functions whose values a steward sends so that this one can be merged: itself, but for an average.
    pub(crate) fn states(&self) -> Vec<Self> {
        match self.function.as_str() {
            "avg" => ["sum", "count"].map(|function| Self { function: function.to_owned(), ..self.clone() }).into(),
            _ => vec![self.clone()],
        }
    }

    /// The same aggregate without a widening of its argument's number type, or a pairing or hash of a key that is counted, which
    /// the engine put in itself.
    pub(crate) fn bare(&self, relation: &RelationShape) -> Self {
        let counted = self.distinct && self.function == "count";
        let bare = |argument: &Expr| match (relation.paired_key(unalias(argument)), relation.hashed_column(argument)) {
            (Some(key), _) if counted => key.clone(),
            (_, Some((_, key))) if counted => Expr::Column(key),
            _ => relation.as_written(argument),
        };
        Self { argument: self.argument.as_ref().map(bare), ..self.clone() }
    }
}

/// Of each value, the argument of the first that is of the same column. `bare` are the values without widening.
pub(super) fn origins(values: &[ReleasedAggregate], bare: &[Asked]) -> Vec<Option<usize>> {
    let first = |own: &Asked| {
        let mut values = values.iter().zip(bare);
        values.find(|(_, other)| other.argument == own.argument).and_then(|(value, _)| value.argument)
    };
    bare.iter().map(first).collect()
}

/// Of each value, the first argument among all that have a column in common, or columns that are tied, directly or by others
/// between them. `bare` are the values without widening.
fn families(values: &[ReleasedAggregate], bare: &[Asked], tied: &Tied) -> Vec<Option<usize>> {
    let mut families: Vec<(BTreeSet<Column>, usize)> = Vec::new();
    for (value, bare) in values.iter().zip(bare) {
        let (Some(first), Some(written)) = (value.argument, &bare.argument) else { continue };
        let mut family = (tied.columns(written), first);
        families.retain(|(columns, earlier)| {
            let apart = columns.is_disjoint(&family.0);
            if !apart {
                family.0.extend(columns.iter().cloned());
                family.1 = family.1.min(*earlier);
            }
            apart
        });
        families.push(family);
    }
    let family_of = |bare: &Asked| {
        let columns = columns_of(bare.argument.as_ref()?);
        families.iter().find(|(of, _)| columns.iter().any(|column| of.contains(column))).map(|(_, first)| *first)
    };
    values.iter().zip(bare).map(|(value, bare)| family_of(bare).or(value.origin)).collect()
}

/// What a release point aggregates: the places of keys, arguments, filters and entities among its input's columns, what
/// each side gives of them, and, where there are several sides, the input's columns over what these give.
pub(super) struct Assembled {
    pub(super) shape: ReleaseShape,
    pub(super) sides: Vec<Side>,
    pub(super) output: Vec<Expr>,
}

/// The values of a release point by these keys, where `place` gives the places of arguments and filters among its input's
/// columns.
pub(super) fn values(
    keys: &[Expr],
    asked: &[Asked],
    relation: &RelationShape,
    place: &mut impl FnMut(&Expr) -> usize,
) -> Vec<ReleasedAggregate> {
    let mut values: Vec<ReleasedAggregate> = asked
        .iter()
        .map(|value| ReleasedAggregate {
            function: value.function.clone(),
            distinct: value.distinct,
            argument: value.argument.as_ref().map(&mut *place),
            origin: None,
            family: None,
            known: false,
            filter: value.filter.as_ref().map(&mut *place),
        })
        .collect();
    let bare: Vec<Asked> = asked.iter().map(|value| value.bare(relation)).collect();
    let origins = origins(&values, &bare);
    for (value, origin) in values.iter_mut().zip(origins) {
        value.origin = origin;
    }
    let families = families(&values, &bare, &Tied::of(relation, &bare));
    let known = known(&bare, keys, relation);
    for ((value, family), known) in values.iter_mut().zip(families).zip(known) {
        (value.family, value.known) = (family, known);
    }
    values
}

/// The place of an expression among columns behind the first `keys`, where it is put if it is not there.
pub(super) fn placed(expr: &Expr, columns: &mut Vec<Expr>, keys: usize) -> usize {
    let at = columns.iter().skip(keys).position(|have| have == expr).map(|index| index + keys);
    at.unwrap_or_else(|| {
        columns.push(expr.clone());
        columns.len() - 1
    })
}

/// The input of a release point.
pub(super) fn assemble(
    keys: &[Expr],
    asked: &[Asked],
    entities: &[Column],
    rows: &Rows,
    shapes: &[SideShape],
) -> Result<Assembled, Stop> {
    let mut columns: Vec<Expr> = keys.to_vec();
    let mut place = |expr: &Expr| placed(expr, &mut columns, keys.len());
    let aggregates = values(keys, asked, &rows.relation, &mut place);
    let entities = entities
        .iter()
        .map(|key| EntityColumn { name: key.name.clone(), column: place(&Expr::Column(key.clone())) })
        .collect();
    let shape = ReleaseShape { keys: keys.len(), sets: Vec::new(), aggregates, entities };
    let [only] = shapes else {
        let (sides, output) = assemble_sides(&columns, shapes, rows)?;
        return Ok(Assembled { shape, sides, output });
    };
    let named = columns.into_iter().enumerate().map(|(index, expr)| expr.alias(format!("c{index}")));
    let input = relation_plan(&only.scans, &only.relation, rows)?;
    let input = input.project(named.collect::<Vec<_>>())?.build()?;
    let side = Side { stewards: only.stewards.clone(), relation: only.relation.clone(), input, on: Vec::new() };
    Ok(Assembled { shape, sides: vec![side], output: Vec::new() })
}

/// Scans, joins and predicates written anew from what the query does, in the one form that crosses the wire: inner joins
/// first, then left ones, then what is asked of the rows.
pub(super) fn relation_plan(
    scans: &[VisibleTable],
    relation: &RelationShape,
    rows: &Rows,
) -> Result<LogicalPlanBuilder, Stop> {
    let (filled, whole): (Vec<_>, Vec<_>) = scans.iter().partition(|scan| relation.filled.contains_key(&scan.name));
    let plan = inner_joins(whole, relation, &rows.steward_joins)?;
    let mut plan = left_joins(plan, filled, relation)?;
    let (predicates, compared) = relation.by_brought();
    if let Some(predicate) = datafusion::logical_expr::utils::conjunction(predicates) {
        plan = plan.filter(predicate)?;
    }
    for (numbers, predicates) in compared {
        plan = relation.compared(plan, &numbers, predicates)?;
    }
    let own = |list: &&ListJoin| {
        list.pairs.iter().all(|(own, _)| own.column_refs().iter().all(|column| relation.table_of(column).is_some()))
    };
    for (number, list) in rows.lists.iter().filter(own).enumerate() {
        plan = list.joined(plan, number)?;
    }
    Ok(plan)
}

fn inner_joins(
    mut waiting: Vec<&VisibleTable>,
    relation: &RelationShape,
    steward_joins: &BTreeSet<(Column, Column)>,
) -> Result<LogicalPlanBuilder, Stop> {
    let mut plan: Option<LogicalPlanBuilder> = None;
    let pairs: Vec<&(Column, Column)> = relation.joins.iter().chain(steward_joins).collect();
    while !waiting.is_empty() {
        let connected = |table: &&VisibleTable, have: &LogicalPlanBuilder| {
            let of_table = reference(&table.name);
            pairs.iter().any(|(one, other)| {
                let here = |column: &Column| column.relation.as_ref() == Some(&of_table);
                let there = |column: &Column| have.schema().index_of_column(column).is_ok();
                !is_steward(one) && ((here(one) && there(other)) || (here(other) && there(one)))
            })
        };
        let next = match &plan {
            None => 0,
            Some(have) => waiting.iter().position(|table| connected(table, have)).unwrap_or(0),
        };
        let scan = scan_of(waiting.remove(next))?;
        plan = Some(match plan {
            None => scan,
            Some(have) => {
                let right = scan.build()?;
                let of_right = |column: &Column| right.schema().index_of_column(column).is_ok();
                let of_left = |column: &Column| have.schema().index_of_column(column).is_ok();
                let mut on = (Vec::new(), Vec::new());
                for (one, other) in &pairs {
                    let pair = if of_left(one) && of_right(other) {
                        Some((one, other))
                    } else if of_left(other) && of_right(one) {
                        Some((other, one))
                    } else {
                        None
                    };
                    if let Some((left, right)) = pair {
                        on.0.push(left.clone());
                        on.1.push(right.clone());
                    }
                }
                have.join(right, JoinType::Inner, on, None)?
            }
        });
    }
    plan.ok_or_else(|| refuse("a relation needs a table", Vec::new()))
}

/// Each table once the tables are there that its keys are compared with. Stewards are not compared: each joins its own.
fn left_joins(
    mut plan: LogicalPlanBuilder,
    mut waiting: Vec<&VisibleTable>,
    relation: &RelationShape,
) -> Result<LogicalPlanBuilder, Stop> {
    while !waiting.is_empty() {
        let there = |column: &Column| plan.schema().index_of_column(column).is_ok();
        let keys = |table: &&VisibleTable| {
            relation.filled.get(&table.name).filter(|keys| keys.iter().all(|(kept, _)| there(kept)))
        };
        let next = waiting.iter().enumerate().find_map(|(index, table)| Some((index, keys(table)?)));
        let Some((index, keys)) = next else {
            return Err(refuse("a left join has keys of tables that are not in the relation", Vec::new()));
        };
        let scan = scan_of(waiting.remove(index))?.build()?;
        let on: (Vec<Column>, Vec<Column>) = keys.iter().cloned().unzip();
        plan = plan.join(scan, JoinType::Left, on, None)?;
    }
    Ok(plan)
}

pub(super) fn reference(table: &TableName) -> TableReference {
    TableReference::partial(table.schema.clone(), table.table.clone())
}

/// A scan whose columns are called `schema.table.column`, of whichever steward or federated table.
fn scan_of(table: &VisibleTable) -> Result<LogicalPlanBuilder, Stop> {
    let source = provider_as_source(LeafTable::visible(table.clone()));
    let scan = TableScanBuilder::new(reference(&table.name), source).build()?;
    Ok(LogicalPlanBuilder::from(LogicalPlan::TableScan(scan)))
}

/// The released relation as the rest of the plan sees it: a scan of `$release.rN` under the aggregate's own column names.
pub(super) fn release_leaf(id: ReleaseId, aggregate: &Aggregate, keys: usize) -> Result<LogicalPlan, Stop> {
    let fields = aggregate.schema.fields().iter().enumerate().map(|(index, field)| {
        let name = index.checked_sub(keys).map_or_else(|| key_name(index), |value| format!("v{value}"));
        Field::new(name, field.data_type().clone(), true)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reference = Leaf::Release(id).to_reference();
    let scan = TableScanBuilder::new(reference, provider_as_source(LeafTable::new(schema))).build()?;
    let wanted = aggregate.schema.columns();
    let columns = scan.projected_schema.columns().into_iter().zip(wanted);
    let renamed =
        columns.map(|(have, want)| Expr::from(have).alias_qualified(want.relation.clone(), want.name.clone()));
    let renamed: Vec<Expr> = renamed.collect();
    Ok(LogicalPlanBuilder::from(LogicalPlan::TableScan(scan)).project(renamed)?.build()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::datatypes::DataType;
    use datafusion::common::{DFSchema, ScalarValue};
    use datafusion::functions::string::expr_fn::concat;
    use datafusion::logical_expr::{cast, lit, when};
    use datafusion::prelude::col;

    use super::*;
    use crate::catalog::STEWARD;

    /// What `function` of a LOCAL key paired with its steward is taken for.
    fn taken(function: &str, distinct: bool) -> Expr {
        let text = cast(col("k"), arrow::datatypes::DataType::Utf8);
        let steward = lit(ScalarValue::from("a/"));
        let pair = when(col("k").is_not_null(), concat(vec![steward, text])).end().unwrap();
        let asked = Asked { function: function.into(), distinct, argument: Some(pair), filter: None };
        asked.bare(&RelationShape::default()).argument.unwrap()
    }

    #[test]
    fn only_a_count_of_different_pairs_is_one_of_the_key() {
        assert_eq!(taken("count", true), col("k"));
        // The largest text is another person than the largest number.
        for (function, distinct) in [("max", false), ("min", false), ("max", true), ("count", false)] {
            assert_ne!(taken(function, distinct), col("k"), "{function}");
        }
    }

    #[test]
    fn c3_a_pair_is_its_key_only_with_the_name_of_the_key_s_own_steward() {
        let [kept, filled] = ["kept", "filled"].map(|name| TableName::new("s", name));
        let schema = |table: &TableName| {
            let fields = vec![Field::new("k", DataType::Utf8, true), Field::new(STEWARD, DataType::Utf8, false)];
            DFSchema::try_from_qualified_schema(reference(table), &Schema::new(fields)).unwrap()
        };
        let column = |table: &TableName, name: &str| RelationShape::column(table, name);
        let keys = BTreeSet::from([(column(&kept, "k"), column(&filled, "k"))]);
        let shape = RelationShape {
            tables: [&kept, &filled].map(|table| (table.clone(), schema(table))).into(),
            filled: BTreeMap::from([(filled.clone(), keys)]),
            ..RelationShape::default()
        };
        let is_key = |key: &TableName, steward: &TableName| {
            let key = Expr::Column(column(key, "k"));
            let pair = concat(vec![Expr::Column(column(steward, STEWARD)), lit("/"), key.clone()]);
            let pair = when(key.clone().is_not_null(), pair).end().unwrap();
            let asked = Asked { function: "count".into(), distinct: true, argument: Some(pair), filter: None };
            asked.bare(&shape).argument.unwrap() == key
        };
        assert!(is_key(&kept, &kept) && is_key(&filled, &filled) && is_key(&filled, &kept));
        // Where nothing matches the name is missing, and the pair is another than where something does.
        assert!(!is_key(&kept, &filled));
    }
}
