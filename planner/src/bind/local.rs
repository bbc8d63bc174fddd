//! LOCAL entity keys: equal values at two stewards are different people. A column of a federated table that is such a key
//! is compared together with its steward wherever it meets another one: in joins, predicates, groupings, DISTINCT, set
//! operations and window partitions. The rewrite carries the steward as a companion column beside the key.
//!
//! ```text
//!  p JOIN a ON p.k = a.k        →  p JOIN a ON p.k = a.k AND p.steward = a.steward
//!  GROUP BY k                   →  GROUP BY k, steward          (companion projected away at the root)
//!  count(DISTINCT k)            →  count(DISTINCT steward/k)
//! ```
//!
//! A key that has lost its steward, such as `min(k)` over several stewards' rows, is not compared with keys at all.

use std::cell::Cell;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result, ScalarValue, not_impl_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, Case, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    TableScanBuilder, Union, cast, lit, when,
};
use dynamos_proto::ids::SiteId;

use super::domains::{branches, check_domains, chooses, held, nullif, pairs};
use super::origin::{unalias, uncast};
use crate::catalog::STEWARD;
use crate::wire::LeafTable;

/// The most different keys that one list may compare a key with: each becomes a condition of its own.
const LISTED_KEYS_MAX: usize = 16;

/// What the steward of a LOCAL key's value is known by.
#[derive(Clone, Debug, PartialEq)]
enum Companion {
    /// The output column at this index holds it.
    Column(usize),
    /// Always this one: the table was named with its steward.
    Named(SiteId),
    /// This expression over the same row: the value is one of several columns'.
    Computed(Box<Expr>),
    /// Nothing: the value was taken out of its row.
    Lost,
}

impl Companion {
    /// What is still known of the steward of a value that is taken out of its row.
    fn taken(self) -> Self {
        match self {
            Self::Column(_) | Self::Computed(_) => Self::Lost,
            other => other,
        }
    }
}

/// A plan, and for each of its output columns the companion if the column is a LOCAL key.
struct Local {
    plan: LogicalPlan,
    companions: Vec<Option<Companion>>,
}

/// The functions there are, and names for companions.
struct Rewriting<'a> {
    state: &'a SessionState,
    given: Cell<usize>,
}

impl Rewriting<'_> {
    /// A column name that no other companion of the plan has, so that companions of two relations can meet in a join.
    fn companion(&self) -> String {
        let number = self.given.get();
        self.given.set(number + 1);
        format!("{STEWARD}${number}")
    }
}

/// The plan with LOCAL keys compared together with their stewards; output columns are the same. Fails where keys that are never
/// the same people's are compared.
pub fn localize(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    check_domains(&plan)?;
    let columns = plan.schema().columns();
    let local = rewrite(plan, &Rewriting { state, given: Cell::new(0) })?;
    if local.plan.schema().fields().len() == columns.len() {
        return Ok(local.plan);
    }
    LogicalPlanBuilder::from(local.plan).project(columns.into_iter().map(Expr::from))?.build()
}

fn rewrite(plan: LogicalPlan, rewriting: &Rewriting<'_>) -> Result<Local> {
    match plan {
        LogicalPlan::TableScan(_) => scan(plan),
        LogicalPlan::Projection(projection) => {
            let input = rewrite(Arc::unwrap_or_clone(projection.input), rewriting)?;
            project(input, projection.expr, rewriting)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let input = rewrite(Arc::unwrap_or_clone(aggregate.input.clone()), rewriting)?;
            group(input, &aggregate, rewriting)
        }
        LogicalPlan::Join(mut join) => {
            let left = rewrite(Arc::unwrap_or_clone(join.left), rewriting)?;
            let right = rewrite(Arc::unwrap_or_clone(join.right), rewriting)?;
            join.left = Arc::new(left.plan);
            join.right = Arc::new(right.plan);
            join_sides(join, left.companions, right.companions)
        }
        LogicalPlan::Union(union) => unite(union, rewriting),
        LogicalPlan::Window(window) => {
            let input = rewrite(Arc::unwrap_or_clone(window.input), rewriting)?;
            over_windows(input, window.window_expr, &window.schema)
        }
        // One input, the same columns.
        other => {
            let inputs = other.inputs();
            let [input] = inputs.as_slice() else {
                let companions = vec![None; other.schema().fields().len()];
                return Ok(Local { plan: other, companions });
            };
            let same = input.schema().fields().len() == other.schema().fields().len();
            let input = rewrite((*input).clone(), rewriting)?;
            let exprs =
                other.expressions().into_iter().map(|expr| compare(expr, &input)).collect::<Result<Vec<_>>>()?;
            let plan = other.with_new_exprs(exprs, vec![input.plan])?;
            let companions = if same { input.companions } else { vec![None; plan.schema().fields().len()] };
            Ok(Local { plan, companions })
        }
    }
}

fn scan(plan: LogicalPlan) -> Result<Local> {
    let LogicalPlan::TableScan(scan) = plan else { return plan_err!("not a scan") };
    let width = scan.projected_schema.fields().len();
    let none = |scan| Ok(Local { plan: LogicalPlan::TableScan(scan), companions: vec![None; width] });
    let Some(table) = LeafTable::bound_to(&scan) else { return none(scan) };
    let Some(key) = &table.local else { return none(scan) };
    let Some(position) = scan.projected_schema.fields().iter().position(|field| field.name() == key) else {
        return none(scan);
    };
    let mut companions = vec![None; width];
    let (scan, companion) = match table.site {
        Some(site) => (scan, Companion::Named(site)),
        None => match scan.projected_schema.fields().iter().position(|field| field.name() == STEWARD) {
            Some(steward) => (scan, Companion::Column(steward)),
            None => {
                let mut columns: Vec<usize> =
                    scan.projection.clone().unwrap_or_else(|| (0..table.schema.fields().len()).collect());
                columns.push(table.schema.index_of(STEWARD)?);
                companions.push(None);
                let wider = TableScanBuilder::new(scan.table_name.clone(), Arc::clone(&scan.source))
                    .with_projection(Some(columns))
                    .build()?;
                (wider, Companion::Column(width))
            }
        },
    };
    if let Some(slot) = companions.get_mut(position) {
        *slot = Some(companion);
    }
    Ok(Local { plan: LogicalPlan::TableScan(scan), companions })
}

impl Local {
    fn of(&self, expr: &Expr) -> Option<Companion> {
        companion(expr, self.plan.schema(), &self.companions)
    }
}

/// The companion of an expression that is a LOCAL key, is chosen from such keys, or is a row value with one.
fn companion(expr: &Expr, schema: &DFSchema, companions: &[Option<Companion>]) -> Option<Companion> {
    let expr = uncast(expr);
    if let Expr::Column(column) = expr {
        return companions.get(schema.index_of_column(column).ok()?)?.clone();
    }
    let (branches, held) = (branches(expr), held(expr));
    let stewards: Vec<Option<Companion>> = held.iter().map(|part| companion(part, schema, companions)).collect();
    // As in a union, a key beside other values loses its steward.
    let is_value = |part: &Expr| !matches!(uncast(part), Expr::Literal(value, _) if value.is_null());
    let mixed = chooses(expr) && held.iter().zip(&stewards).any(|(part, steward)| steward.is_none() && is_value(part));
    match common(stewards.iter().cloned()) {
        Some(companion) if mixed => Some(companion.taken()),
        Some(Companion::Lost) if !branches.is_empty() => {
            let conditions = branches.into_iter().map(|(condition, _)| condition);
            Some(of_branch(conditions.zip(stewards).collect(), schema).unwrap_or(Companion::Lost))
        }
        common => common,
    }
}

/// The companion of a value that `coalesce` or CASE takes from one of several columns of a row.
fn of_branch(branches: Vec<(Expr, Option<Companion>)>, schema: &DFSchema) -> Option<Companion> {
    // A condition is evaluated twice: for the value and for its steward.
    if branches.iter().any(|(condition, _)| condition.is_volatile()) {
        return None;
    }
    let stewards = branches.into_iter().map(|(condition, companion)| {
        let none = || Ok(lit(ScalarValue::Utf8(None)));
        let steward = companion.map_or_else(none, |companion| value(&companion, schema)).ok()?;
        Some((Box::new(condition), Box::new(steward)))
    });
    let when_then_expr = stewards.collect::<Option<Vec<_>>>()?;
    let steward = Expr::Case(Case { expr: None, when_then_expr, else_expr: None });
    Some(Companion::Computed(Box::new(steward)))
}

/// The companion that all keys among several values have; lost if they have different ones.
fn common(companions: impl Iterator<Item = Option<Companion>>) -> Option<Companion> {
    companions.flatten().reduce(|one, other| if one == other { one } else { Companion::Lost })
}

/// The companion as an expression.
fn value(companion: &Companion, schema: &DFSchema) -> Result<Expr> {
    match companion {
        Companion::Column(index) => {
            let (qualifier, field) = schema.qualified_field(*index);
            Ok(Expr::Column(Column::new(qualifier.cloned(), field.name())))
        }
        Companion::Named(site) => Ok(lit(site.as_str())),
        Companion::Computed(steward) => Ok(steward.as_ref().clone()),
        Companion::Lost => lost_key(),
    }
}

fn lost_key<T>() -> Result<T> {
    plan_err!(
        "equal entity keys of several stewards are different people, and a key that `min`, `greatest` or the like chose, or \
         that a union put beside other values, does not say whose it is; compare the key's own column, or ask for one \
         steward's table"
    )
}

/// Adds to `exprs` what is needed to carry the companions of the columns among them; gives the companions of the result.
fn carry(input: &Local, exprs: &mut Vec<Expr>, rewriting: &Rewriting<'_>) -> Result<Vec<Option<Companion>>> {
    let schema = input.plan.schema();
    let mut companions = Vec::with_capacity(exprs.len());
    let mut added: Vec<(Expr, usize)> = Vec::new();
    for expr in exprs.clone() {
        let carried = match input.of(&expr) {
            Some(column @ (Companion::Column(_) | Companion::Computed(_))) => {
                let steward = value(&column, schema)?;
                let position = exprs.iter().position(|have| *unalias(have) == steward);
                let known = added.iter().find(|(have, _)| *have == steward).map(|(_, index)| *index);
                let index = position.or(known).unwrap_or(exprs.len() + added.len());
                if position.is_none() && known.is_none() {
                    added.push((steward, index));
                }
                Some(Companion::Column(index))
            }
            other => other,
        };
        companions.push(carried);
    }
    for (steward, _) in added {
        exprs.push(steward.alias(rewriting.companion()));
        companions.push(None);
    }
    Ok(companions)
}

fn project(input: Local, exprs: Vec<Expr>, rewriting: &Rewriting<'_>) -> Result<Local> {
    // Parents know the columns by the old names.
    let names = NamePreserver::new_for_projection();
    let compared = exprs.into_iter().map(|expr| {
        let name = names.save(&expr);
        Ok(name.restore(compare(expr, &input)?))
    });
    let mut exprs = compared.collect::<Result<Vec<_>>>()?;
    let companions = carry(&input, &mut exprs, rewriting)?;
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input.plan))?);
    Ok(Local { plan, companions })
}

fn group(input: Local, aggregate: &Aggregate, rewriting: &Rewriting<'_>) -> Result<Local> {
    let grouping_sets = aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
    if grouping_sets {
        let keys = datafusion::logical_expr::utils::grouping_set_to_exprlist(&aggregate.group_expr)?;
        if keys.into_iter().any(|key| input.of(key).is_some()) {
            return not_impl_err!(
                "GROUPING SETS over an entity key that is local to its steward are not supported; group by it without sets"
            );
        }
    }
    let mut keys: Vec<Expr> =
        aggregate.group_expr.iter().map(|key| compare(key.clone(), &input)).collect::<Result<_>>()?;
    if keys.iter().any(|key| input.of(key) == Some(Companion::Lost)) {
        return lost_key();
    }
    let before = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let mut companions = if grouping_sets { vec![None; before] } else { carry(&input, &mut keys, rewriting)? };
    let values =
        aggregate.aggr_expr.iter().map(|expr| distinct(expr.clone(), &input, rewriting)).collect::<Result<Vec<_>>>()?;
    for call in &aggregate.aggr_expr {
        companions.push(of_group(call, &input, &keys)?);
    }
    let old: Vec<Column> = aggregate.schema.columns();
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input.plan), keys, values)?);
    // Parents know the columns by the old names.
    let (group_names, value_names) = old.split_at(before.min(old.len()));
    let wanted: Vec<Option<&Column>> = group_names
        .iter()
        .map(Some)
        .chain(std::iter::repeat_n(None, companions.len() - old.len()))
        .chain(value_names.iter().map(Some))
        .collect();
    Ok(Local { plan: rename(plan, wanted)?, companions })
}

/// The companion of what an aggregate chooses from a group's rows: the group's own, if groups are by the steward as well.
fn of_group(call: &Expr, input: &Local, keys: &[Expr]) -> Result<Option<Companion>> {
    match input.of(call) {
        Some(column @ (Companion::Column(_) | Companion::Computed(_))) => {
            let steward = value(&column, input.plan.schema())?;
            let index = keys.iter().position(|key| *unalias(key) == steward);
            Ok(Some(index.map_or(Companion::Lost, Companion::Column)))
        }
        other => Ok(other),
    }
}

/// The relation with the values of window functions.
fn over_windows(input: Local, exprs: Vec<Expr>, schema: &DFSchema) -> Result<Local> {
    let exprs = exprs.into_iter().map(|expr| partition(expr, &input)).collect::<Result<Vec<_>>>()?;
    let chosen = exprs.iter().map(|expr| of_window(expr, &input)).collect::<Result<Vec<_>>>()?;
    let old = schema.columns();
    let computed = old.iter().skip(old.len().saturating_sub(exprs.len())).map(Some);
    let wanted = std::iter::repeat_n(None, input.companions.len()).chain(computed).collect();
    let plan = LogicalPlanBuilder::from(input.plan).window(exprs)?.build()?;
    let companions = input.companions.into_iter().chain(chosen).collect();
    Ok(Local { plan: rename(plan, wanted)?, companions })
}

/// The companion of what a window function chooses from a partition: the row's own, if partitions are by the steward as well.
fn of_window(expr: &Expr, input: &Local) -> Result<Option<Companion>> {
    match (input.of(expr), unalias(expr)) {
        (Some(column @ Companion::Column(_)), Expr::WindowFunction(call)) => {
            let steward = value(&column, input.plan.schema())?;
            let whole = call.params.partition_by.contains(&steward);
            Ok(Some(if whole { column } else { column.taken() }))
        }
        (Some(Companion::Computed(_)), _) => Ok(Some(Companion::Lost)),
        (other, _) => Ok(other),
    }
}

/// The plan with its output columns called as wanted, where a name is wanted.
fn rename(plan: LogicalPlan, wanted: Vec<Option<&Column>>) -> Result<LogicalPlan> {
    let renames = plan.schema().columns().into_iter().zip(wanted).map(|(have, want)| match want {
        Some(want) if *want != have => Expr::from(have).alias_qualified(want.relation.clone(), want.name.clone()),
        _ => Expr::from(have),
    });
    let renamed: Vec<Expr> = renames.collect();
    if renamed.iter().all(|expr| matches!(expr, Expr::Column(_))) {
        return Ok(plan);
    }
    Ok(LogicalPlan::Projection(Projection::try_new(renamed, Arc::new(plan))?))
}

/// `count(DISTINCT k)` of a LOCAL key counts pairs.
fn distinct(expr: Expr, input: &Local, rewriting: &Rewriting<'_>) -> Result<Expr> {
    let rewritten = expr.transform_up(|node| {
        let Expr::AggregateFunction(mut call) = node else { return Ok(Transformed::no(node)) };
        let argument = call.params.args.first().cloned();
        let companion = argument.as_ref().and_then(|argument| input.of(argument));
        let (Some(argument), Some(companion), true) = (argument, companion, call.params.distinct) else {
            return Ok(Transformed::no(Expr::AggregateFunction(call)));
        };
        if call.func.name() != "count" {
            return Ok(Transformed::no(Expr::AggregateFunction(call)));
        }
        let Some(concat) = rewriting.state.scalar_functions().get("concat") else {
            return plan_err!("no function `concat`");
        };
        let schema: &DFSchema = input.plan.schema();
        if argument.get_type(schema)?.is_nested() {
            if matches!(companion, Companion::Named(_)) {
                return Ok(Transformed::no(Expr::AggregateFunction(call)));
            }
            return not_impl_err!(
                "count(DISTINCT …) of rows with an entity key that is local to its steward is not supported; count the key"
            );
        }
        let steward = value(&companion, schema)?;
        let pair = concat.call(vec![steward, lit("/"), cast(argument.clone(), DataType::Utf8)]);
        call.params.args = vec![when(argument.is_not_null(), pair).end()?];
        Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func: call.func, params: call.params })))
    })?;
    compare(rewritten.data, input)
}

fn join_sides(mut join: Join, left: Vec<Option<Companion>>, right: Vec<Option<Companion>>) -> Result<Local> {
    let (left_schema, right_schema) = (join.left.schema().clone(), join.right.schema().clone());
    let both = left_schema.join(&right_schema)?;
    let width = left.len();
    let shifted = right.iter().cloned().map(|companion| match companion {
        Some(Companion::Column(index)) => Some(Companion::Column(index + width)),
        other => other,
    });
    let all: Vec<Option<Companion>> = left.iter().cloned().chain(shifted.clone()).collect();
    // What is compared may compare keys itself.
    let compared = std::mem::take(&mut join.on)
        .into_iter()
        .map(|(one, other)| Ok((compare_in(one, &left_schema, &left)?, compare_in(other, &right_schema, &right)?)));
    let compared = compared.collect::<Result<Vec<_>>>()?;
    let mut on = compared.clone();
    let mut conditions: Vec<Expr> = Vec::new();
    for (one, other) in compared.iter().flat_map(|(one, other)| pairs(one, other)) {
        let (Some(of_one), Some(of_other)) =
            (companion(one, &left_schema, &left), companion(other, &right_schema, &right))
        else {
            continue;
        };
        match (&of_one, &of_other) {
            (Companion::Named(a), Companion::Named(b)) if a == b => {}
            (Companion::Named(a), Companion::Named(b)) => return foreign_keys(a, b),
            (Companion::Column(_) | Companion::Computed(_), Companion::Column(_) | Companion::Computed(_)) => {
                let pair = (value(&of_one, &left_schema)?, value(&of_other, &right_schema)?);
                if !on.contains(&pair) {
                    on.push(pair);
                }
            }
            // Not among the pairs: the engine's rules take a pair with a constant away.
            (a, b) => conditions.push(value(a, &left_schema)?.eq(value(b, &right_schema)?)),
        }
    }
    join.on = on;
    let filter = join.filter.map(|filter| compare_in(filter, &both, &all)).transpose()?;
    join.filter = conditions.into_iter().chain(filter).reduce(Expr::and);
    let companions = match join.join_type {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => all,
        JoinType::LeftSemi | JoinType::LeftAnti => left,
        JoinType::RightSemi | JoinType::RightAnti => right,
        JoinType::LeftMark => left.into_iter().chain([None]).collect(),
        JoinType::RightMark => right.into_iter().chain([None]).collect(),
    };
    let rebuilt = Join::try_new(
        join.left,
        join.right,
        join.on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok(Local { plan: LogicalPlan::Join(rebuilt), companions })
}

fn foreign_keys<T>(one: &SiteId, other: &SiteId) -> Result<T> {
    plan_err!(
        "equal entity keys at `{one}` and `{other}` are different people; use the federated tables, or compare with values"
    )
}

/// A column of a union carries the steward if it is a LOCAL key in every branch. Beside other values keys lose theirs.
fn unite(union: Union, rewriting: &Rewriting<'_>) -> Result<Local> {
    let width = union.schema.fields().len();
    let inputs = union
        .inputs
        .into_iter()
        .map(|input| rewrite(Arc::unwrap_or_clone(input), rewriting))
        .collect::<Result<Vec<_>>>()?;
    let of = |index: usize| inputs.iter().map(move |input| input.companions.get(index).cloned().flatten());
    let known = |one: Option<Companion>| !matches!(one, None | Some(Companion::Lost));
    let keys: Vec<usize> = (0..width).filter(|index| of(*index).all(known)).collect();
    let taken = |index: usize| common(of(index).map(|one| one.map(Companion::taken)));
    let mut companions: Vec<Option<Companion>> = (0..width).map(taken).collect();
    let mut branches = Vec::new();
    let added: Vec<String> = keys.iter().map(|_| rewriting.companion()).collect();
    for input in inputs {
        let schema = input.plan.schema();
        let mut exprs: Vec<Expr> = schema.columns().into_iter().take(width).map(Expr::from).collect();
        for (index, name) in keys.iter().zip(&added) {
            if let Some(Some(companion)) = input.companions.get(*index) {
                exprs.push(value(companion, schema)?.alias(name));
            }
        }
        branches.push(Arc::new(LogicalPlanBuilder::from(input.plan).project(exprs)?.build()?));
    }
    for (offset, index) in keys.iter().enumerate() {
        if let Some(slot) = companions.get_mut(*index) {
            *slot = Some(Companion::Column(width + offset));
        }
    }
    companions.extend(keys.iter().map(|_| None));
    // The old output names stay, whatever the branches call the columns.
    let plan = LogicalPlan::Union(Union::try_new_with_loose_types(branches)?);
    Ok(Local { plan, companions })
}

fn partition(expr: Expr, input: &Local) -> Result<Expr> {
    let expr = compare(expr, input)?;
    let partitioned = expr.transform_up(|node| {
        let Expr::WindowFunction(mut call) = node else { return Ok(Transformed::no(node)) };
        let mut extra = Vec::new();
        for key in &call.params.partition_by {
            match input.of(key) {
                Some(column @ (Companion::Column(_) | Companion::Computed(_))) => {
                    extra.push(value(&column, input.plan.schema())?);
                }
                Some(Companion::Lost) => return lost_key(),
                _ => {}
            }
        }
        extra.retain(|steward| !call.params.partition_by.contains(steward));
        let changed = !extra.is_empty();
        call.params.partition_by.extend(extra);
        let node = Expr::WindowFunction(call);
        Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
    })?;
    Ok(partitioned.data)
}

fn compare(expr: Expr, input: &Local) -> Result<Expr> {
    compare_in(expr, input.plan.schema(), &input.companions)
}

/// Comparisons of two LOCAL keys compare their stewards, too.
fn compare_in(expr: Expr, schema: &DFSchema, companions: &[Option<Companion>]) -> Result<Expr> {
    let is_key = |expr: &Expr| companion(expr, schema, companions).is_some();
    let meet =
        |one: &Expr, other: &Expr| pairs(one, other).into_iter().any(|(one, other)| is_key(one) && is_key(other));
    let equalities = expr.transform_up(|node| as_equalities(node, meet))?;
    let rewritten = equalities.data.transform_up(|node| {
        let Expr::BinaryExpr(comparison) = &node else { return Ok(Transformed::no(node)) };
        let op = comparison.op;
        let stewards = stewards_of(comparison, schema, companions)?;
        if stewards.is_empty() {
            return Ok(Transformed::no(node));
        }
        let stewards = stewards.into_iter();
        Ok(match op {
            Operator::Eq | Operator::IsNotDistinctFrom => {
                Transformed::yes(stewards.fold(node, |all, (one, other)| all.and(one.eq(other))))
            }
            Operator::NotEq | Operator::IsDistinctFrom => {
                Transformed::yes(stewards.fold(node, |all, (one, other)| all.or(one.not_eq(other))))
            }
            _ => Transformed::no(node),
        })
    })?;
    Ok(rewritten.data)
}

/// The stewards of the keys that a comparison compares, where they may be different ones.
fn stewards_of(
    comparison: &BinaryExpr,
    schema: &DFSchema,
    companions: &[Option<Companion>],
) -> Result<Vec<(Expr, Expr)>> {
    let mut stewards = Vec::new();
    for (one, other) in pairs(&comparison.left, &comparison.right) {
        let (Some(one), Some(other)) = (companion(one, schema, companions), companion(other, schema, companions))
        else {
            continue;
        };
        match (&one, &other) {
            (Companion::Named(a), Companion::Named(b)) if a == b => {}
            (Companion::Named(a), Companion::Named(b)) => return foreign_keys(a, b),
            // Computing with keys compares nothing.
            _ if comparison.op.negate().is_none() => {}
            _ => stewards.push((value(&one, schema)?, value(&other, schema)?)),
        }
    }
    Ok(stewards)
}

/// IN, CASE and `nullif` that compare a key with keys as what they stand for: `k IN (1, 2, a)` as `k IN (1, 2) OR k = a`,
/// `CASE k WHEN a …` as `CASE WHEN k = a …`, and `nullif(k, a)` as `CASE WHEN (k = a) IS NOT TRUE THEN k END`.
fn as_equalities(expr: Expr, meet: impl Fn(&Expr, &Expr) -> bool) -> Result<Transformed<Expr>> {
    if let Some((one, other)) = nullif(&expr)
        && meet(one, other)
    {
        let differ = one.clone().eq(other.clone()).is_not_true();
        return Ok(Transformed::yes(when(differ, one.clone()).end()?));
    }
    match expr {
        Expr::InList(list) if list.list.iter().any(|member| meet(&list.expr, member)) => {
            Ok(Transformed::yes(without_keys(list, meet)?))
        }
        Expr::Case(Case { expr: Some(key), when_then_expr, else_expr })
            if when_then_expr.iter().any(|(when, _)| meet(&key, when)) =>
        {
            let branch = |(when, then): (Box<Expr>, Box<Expr>)| (Box::new((*key).clone().eq(*when)), then);
            let when_then_expr = when_then_expr.into_iter().map(branch).collect();
            Ok(Transformed::yes(Expr::Case(Case { expr: None, when_then_expr, else_expr })))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A list with keys among its members as a list without them, and an equality with each of them.
fn without_keys(list: InList, meet: impl Fn(&Expr, &Expr) -> bool) -> Result<Expr> {
    let InList { expr, list, negated } = list;
    let (keys, values): (Vec<Expr>, Vec<Expr>) = list.into_iter().partition(|member| meet(&expr, member));
    let mut different: Vec<Expr> = Vec::new();
    for key in keys {
        if different.contains(&key) {
            continue;
        }
        if different.len() == LISTED_KEYS_MAX {
            return plan_err!(
                "a list may compare an entity key with at most {LISTED_KEYS_MAX} other keys; list fewer, or join with them"
            );
        }
        different.push(key);
    }
    let compared = different.into_iter().map(|key| {
        let one = expr.as_ref().clone();
        if negated { one.not_eq(key) } else { one.eq(key) }
    });
    let mut conditions: Vec<Expr> = compared.collect();
    if !values.is_empty() {
        conditions.insert(0, Expr::InList(InList { expr, list: values, negated }));
    }
    let found = balanced(conditions, if negated { Expr::and } else { Expr::or });
    Ok(found.unwrap_or_else(|| lit(negated)))
}

/// All conditions in one, as a tree that is no deeper than it has to be: trees are read and written by recursion.
fn balanced(mut conditions: Vec<Expr>, both: fn(Expr, Expr) -> Expr) -> Option<Expr> {
    if conditions.len() < 2 {
        return conditions.pop();
    }
    let rest = conditions.split_off(conditions.len() / 2);
    Some(both(balanced(conditions, both)?, balanced(rest, both)?))
}

#[cfg(test)]
#[path = "local_tests.rs"]
pub(super) mod tests;
