//! The sides of protected rows: tables of the same stewards are joined at each of these stewards, and sides of different
//! stewards are joined where their rows meet. Every steward's agreement is asked about its own side only.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::RelationShape;
use super::assemble::{Rows, reference, relation_plan};
use super::denial::{Stop, refuse};
use super::matching::columns_of;
use super::part::Partner;
use crate::bind::VisibleTable;
use crate::catalog::TableName;

/// Tables of the same stewards, and what the query does to them alone.
#[derive(Clone, Debug)]
pub(super) struct SideShape {
    pub(super) stewards: BTreeSet<SiteId>,
    pub(super) scans: Vec<VisibleTable>,
    pub(super) relation: RelationShape,
    pub(super) partners: Vec<Partner>,
}

/// The rows of one side, as every one of its stewards gives them.
#[derive(Clone, Debug)]
pub struct Side {
    /// The stewards, each of which has a part of the rows.
    pub stewards: BTreeSet<SiteId>,
    /// What is done to their tables alone.
    pub relation: RelationShape,
    /// A projection over predicates over joins over their tables. Its columns have names that no other side's have.
    pub input: LogicalPlan,
    /// How it is joined with the sides before it: pairs of column names, theirs first.
    pub on: Vec<(String, String)>,
}

impl Side {
    /// What the input gives, written over the tables' columns.
    pub fn outputs(&self) -> &[Expr] {
        match &self.input {
            LogicalPlan::Projection(projection) => &projection.expr,
            _ => &[],
        }
    }
}

/// The sides of rows, in the order of their first tables.
pub(super) fn sides_of(rows: &Rows) -> Result<Vec<SideShape>, Stop> {
    let mut by_stewards: BTreeMap<&BTreeSet<SiteId>, Vec<VisibleTable>> = BTreeMap::new();
    let mut order: Vec<&BTreeSet<SiteId>> = Vec::new();
    for scan in &rows.scans {
        if !by_stewards.contains_key(&scan.stewards) {
            order.push(&scan.stewards);
        }
        by_stewards.entry(&scan.stewards).or_default().push(scan.clone());
    }
    if let [only] = order.as_slice() {
        let side = SideShape {
            stewards: (*only).clone(),
            scans: rows.scans.clone(),
            relation: rows.relation.clone(),
            partners: Vec::new(),
        };
        return Ok(vec![side]);
    }
    let one_side = |(one, other): &(Column, Column)| {
        by_stewards.values().any(|scans| {
            let of =
                |column: &Column| scans.iter().any(|scan| column.relation.as_ref() == Some(&reference(&scan.name)));
            of(one) && of(other)
        })
    };
    if !rows.steward_joins.iter().all(one_side) {
        return Err(refuse("LOCAL keys of different stewards are never equal", rows.why.clone()));
    }
    let mut sides = Vec::new();
    for stewards in order {
        let scans = by_stewards.remove(stewards).unwrap_or_default();
        let own: BTreeSet<TableName> = scans.iter().map(|scan| scan.name.clone()).collect();
        let relation = rows.relation.part_over(&own).map_err(|text| refuse(&text, rows.why.clone()))?;
        sides.push(SideShape { stewards: stewards.clone(), scans, relation, partners: Vec::new() });
    }
    let one_side = |columns: &BTreeSet<Column>| sides.iter().any(|side| side.relation.lists.contains(columns));
    if !rows.relation.lists.iter().all(one_side) {
        return Err(refuse("a list of the requester is compared with columns of several stewards", rows.why.clone()));
    }
    let shapes = sides.clone();
    for side in &mut sides {
        let others = shapes.iter().filter(|other| other.stewards != side.stewards);
        side.partners = others
            .map(|other| Partner {
                stewards: other.stewards.clone(),
                tables: other.scans.iter().map(|scan| scan.name.clone()).collect(),
                keys: keys_between(&rows.relation, side, other),
            })
            .collect();
    }
    Ok(sides)
}

/// The columns of `own` that the query makes equal to columns of `other`.
fn keys_between(relation: &RelationShape, own: &SideShape, other: &SideShape) -> BTreeSet<Column> {
    pairs_between(relation, own, other).map(|(key, _)| key.clone()).collect()
}

/// Equal columns, of the one side and of the other.
fn pairs_between<'a>(
    relation: &'a RelationShape,
    one: &'a SideShape,
    other: &'a SideShape,
) -> impl Iterator<Item = (&'a Column, &'a Column)> {
    let of = |side: &SideShape, column: &Column| side.relation.table_of(column).is_some();
    relation.joins.iter().filter_map(move |(left, right)| match () {
        () if of(one, left) && of(other, right) => Some((left, right)),
        () if of(one, right) && of(other, left) => Some((right, left)),
        () => None,
    })
}

/// The rows of several sides as an input of `columns`, which are called `c0`, `c1` and so on: what each side gives, and
/// the columns over what all sides together give.
pub(super) fn assemble_sides(
    columns: &[Expr],
    shapes: &[SideShape],
    rows: &Rows,
) -> Result<(Vec<Side>, Vec<Expr>), Stop> {
    let mut given: Vec<Vec<Expr>> = vec![Vec::new(); shapes.len()];
    let mut place = |side: usize, expr: &Expr| -> String {
        let Some(of_side) = given.get_mut(side) else { return String::new() };
        let at = of_side.iter().position(|have| have == expr).unwrap_or_else(|| {
            of_side.push(expr.clone());
            of_side.len() - 1
        });
        format!("s{side}_{at}")
    };
    let side_of = |expr: &Expr| {
        let own = |side: &SideShape| columns_of(expr).iter().all(|column| side.relation.table_of(column).is_some());
        shapes.iter().position(own)
    };
    let mut output = Vec::new();
    for (index, expr) in columns.iter().enumerate() {
        let Some(side) = side_of(expr) else {
            return Err(refuse(&format!("`{expr}` is made of columns of several stewards"), rows.why.clone()));
        };
        let value = match expr {
            Expr::Literal(value, _) => lit(value.clone()),
            expr => Expr::Column(Column::from_name(place(side, expr))),
        };
        output.push(value.alias(format!("c{index}")));
    }
    let mut on: Vec<Vec<(String, String)>> = vec![Vec::new(); shapes.len()];
    for (index, shape) in shapes.iter().enumerate() {
        for (before, other) in shapes.iter().enumerate().take(index) {
            for (left, right) in pairs_between(&rows.relation, other, shape) {
                let pair = (place(before, &left.clone().into()), place(index, &right.clone().into()));
                if let Some(pairs) = on.get_mut(index) {
                    pairs.push(pair);
                }
            }
        }
    }
    let mut sides = Vec::new();
    for (index, ((shape, given), on)) in shapes.iter().zip(given).zip(on).enumerate() {
        let named = given.into_iter().enumerate().map(|(at, expr)| expr.alias(format!("s{index}_{at}")));
        let input = relation_plan(&shape.scans, &shape.relation, rows)?;
        let input = input.project(named.collect::<Vec<_>>())?.build()?;
        sides.push(Side { stewards: shape.stewards.clone(), relation: shape.relation.clone(), input, on });
    }
    Ok((sides, output))
}

/// The sides' rows joined, and the output over them. One side's rows are the output themselves.
pub(super) fn joined(
    sides: &[Side],
    inputs: Vec<LogicalPlan>,
    output: &[Expr],
) -> datafusion::common::Result<LogicalPlan> {
    let mut all: Option<LogicalPlanBuilder> = None;
    for (side, input) in sides.iter().zip(inputs) {
        all = Some(match all {
            None => LogicalPlanBuilder::from(input),
            Some(before) => {
                let on: (Vec<Column>, Vec<Column>) =
                    side.on.iter().map(|(left, right)| (Column::from_name(left), Column::from_name(right))).unzip();
                before.join(input, JoinType::Inner, on, None)?
            }
        });
    }
    let Some(all) = all else { return datafusion::common::plan_err!("a release point has rows of somebody") };
    if output.is_empty() { all.build() } else { all.project(output.to_vec())?.build() }
}
