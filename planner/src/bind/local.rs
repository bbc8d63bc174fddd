//! LOCAL entity keys: equal values at two stewards are different people. A column of a federated table that is such a key
//! is compared together with its steward wherever it meets another one: in joins, predicates, groupings, DISTINCT, set
//! operations and window partitions. The rewrite carries the steward as a companion column beside the key.
//!
//! ```text
//!  p JOIN a ON p.k = a.k        →  p JOIN a ON p.k = a.k AND p.steward = a.steward
//!  GROUP BY k                   →  GROUP BY k, steward          (companion projected away at the root)
//!  count(DISTINCT k)            →  count(DISTINCT steward/k)
//! ```

use std::cell::Cell;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result, not_impl_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, Case, InList};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection, TableScanBuilder, Union,
    cast, lit, when,
};
use dynamos_proto::ids::SiteId;

use super::domains::check_domains;
use super::origin::{unalias, uncast};
use crate::catalog::STEWARD;
use crate::wire::LeafTable;

/// What the steward of a LOCAL key's value is known by.
#[derive(Clone, Debug, PartialEq)]
enum Companion {
    /// The output column at this index holds it.
    Column(usize),
    /// Always this one: the table was named with its steward.
    Named(SiteId),
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
            let exprs =
                window.window_expr.into_iter().map(|expr| partition(expr, &input)).collect::<Result<Vec<_>>>()?;
            let added = exprs.len();
            let old = window.schema.columns();
            let computed = old.iter().skip(old.len().saturating_sub(added)).map(Some);
            let plan = LogicalPlanBuilder::from(input.plan).window(exprs)?.build()?;
            let wanted = std::iter::repeat_n(None, input.companions.len()).chain(computed).collect();
            let companions = input.companions.into_iter().chain(std::iter::repeat_n(None, added)).collect();
            Ok(Local { plan: rename(plan, wanted)?, companions })
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
    fn of(&self, expr: &Expr) -> Option<&Companion> {
        companion(expr, self.plan.schema(), &self.companions)
    }
}

fn companion<'a>(expr: &Expr, schema: &DFSchema, companions: &'a [Option<Companion>]) -> Option<&'a Companion> {
    let Expr::Column(column) = uncast(expr) else { return None };
    companions.get(schema.index_of_column(column).ok()?)?.as_ref()
}

/// The companion as an expression.
fn value(companion: &Companion, schema: &DFSchema) -> Expr {
    match companion {
        Companion::Column(index) => {
            let (qualifier, field) = schema.qualified_field(*index);
            Expr::Column(Column::new(qualifier.cloned(), field.name()))
        }
        Companion::Named(site) => lit(site.as_str()),
    }
}

/// Adds to `exprs` what is needed to carry the companions of the columns among them; gives the companions of the result.
fn carry(input: &Local, exprs: &mut Vec<Expr>, rewriting: &Rewriting<'_>) -> Result<Vec<Option<Companion>>> {
    let schema = input.plan.schema();
    let mut companions = Vec::with_capacity(exprs.len());
    let mut added: Vec<(Expr, usize)> = Vec::new();
    for expr in exprs.clone() {
        let carried = match input.of(&expr) {
            None => None,
            Some(Companion::Named(site)) => Some(Companion::Named(site.clone())),
            Some(column @ Companion::Column(_)) => {
                let steward = value(column, schema);
                let position = exprs.iter().position(|have| *unalias(have) == steward);
                let known = added.iter().find(|(have, _)| *have == steward).map(|(_, index)| *index);
                let index = position.or(known).unwrap_or(exprs.len() + added.len());
                if position.is_none() && known.is_none() {
                    added.push((steward, index));
                }
                Some(Companion::Column(index))
            }
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
    let mut exprs = exprs.into_iter().map(|expr| compare(expr, &input)).collect::<Result<Vec<_>>>()?;
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
    let before = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let mut companions = if grouping_sets { vec![None; before] } else { carry(&input, &mut keys, rewriting)? };
    let values =
        aggregate.aggr_expr.iter().map(|expr| distinct(expr.clone(), &input, rewriting)).collect::<Result<Vec<_>>>()?;
    companions.extend(std::iter::repeat_n(None, values.len()));
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
        let companion = argument.as_ref().and_then(|argument| input.of(argument)).cloned();
        let (Some(argument), Some(companion), true) = (argument, companion, call.params.distinct) else {
            return Ok(Transformed::no(Expr::AggregateFunction(call)));
        };
        if call.func.name() != "count" {
            return Ok(Transformed::no(Expr::AggregateFunction(call)));
        }
        let Some(concat) = rewriting.state.scalar_functions().get("concat") else {
            return plan_err!("no function `concat`");
        };
        let steward = value(&companion, input.plan.schema());
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
    let mut on = join.on.clone();
    let mut conditions: Vec<Expr> = Vec::new();
    for (one, other) in join.on.iter() {
        let (Some(of_one), Some(of_other)) =
            (companion(one, &left_schema, &left), companion(other, &right_schema, &right))
        else {
            continue;
        };
        match (of_one, of_other) {
            (Companion::Named(a), Companion::Named(b)) if a == b => {}
            (Companion::Named(a), Companion::Named(b)) => return foreign_keys(a, b),
            (Companion::Column(_), Companion::Column(_)) => {
                let pair = (value(of_one, &left_schema), value(of_other, &right_schema));
                if !on.contains(&pair) {
                    on.push(pair);
                }
            }
            // Not among the pairs: the engine's rules take a pair with a constant away.
            (a, b) => conditions.push(value(a, &left_schema).eq(value(b, &right_schema))),
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

/// A column of a union is a LOCAL key if it is one in every branch.
fn unite(union: Union, rewriting: &Rewriting<'_>) -> Result<Local> {
    let width = union.schema.fields().len();
    let inputs = union
        .inputs
        .into_iter()
        .map(|input| rewrite(Arc::unwrap_or_clone(input), rewriting))
        .collect::<Result<Vec<_>>>()?;
    let keys: Vec<usize> = (0..width)
        .filter(|index| inputs.iter().all(|input| matches!(input.companions.get(*index), Some(Some(_)))))
        .collect();
    let mut companions = vec![None; width];
    let mut branches = Vec::new();
    let added: Vec<String> = keys.iter().map(|_| rewriting.companion()).collect();
    for input in inputs {
        let schema = input.plan.schema();
        let mut exprs: Vec<Expr> = schema.columns().into_iter().take(width).map(Expr::from).collect();
        for (index, name) in keys.iter().zip(&added) {
            if let Some(Some(companion)) = input.companions.get(*index) {
                exprs.push(value(companion, schema).alias(name));
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
            if let Some(companion @ Companion::Column(_)) = input.of(key) {
                extra.push(value(companion, input.plan.schema()));
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
    let equalities = expr.transform_up(|node| Ok(as_equalities(node, is_key)))?;
    let rewritten = equalities.data.transform_up(|node| {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &node else { return Ok(Transformed::no(node)) };
        let (Some(one), Some(other)) = (companion(left, schema, companions), companion(right, schema, companions))
        else {
            return Ok(Transformed::no(node));
        };
        if let (Companion::Named(a), Companion::Named(b)) = (one, other) {
            return if a == b { Ok(Transformed::no(node)) } else { foreign_keys(a, b) };
        }
        let (one, other) = (value(one, schema), value(other, schema));
        match op {
            Operator::Eq | Operator::IsNotDistinctFrom => Ok(Transformed::yes(node.clone().and(one.eq(other)))),
            Operator::NotEq | Operator::IsDistinctFrom => Ok(Transformed::yes(node.clone().or(one.not_eq(other)))),
            _ => Ok(Transformed::no(node)),
        }
    })?;
    Ok(rewritten.data)
}

/// IN and CASE that compare a key with keys as what they stand for: `k IN (a, b)` as `k = a OR k = b`, and
/// `CASE k WHEN a …` as `CASE WHEN k = a …`.
fn as_equalities(expr: Expr, is_key: impl Fn(&Expr) -> bool) -> Transformed<Expr> {
    match expr {
        Expr::InList(InList { expr, list, negated }) if is_key(&expr) && list.iter().any(&is_key) => {
            let found = list.into_iter().map(|member| (*expr).clone().eq(member)).reduce(Expr::or);
            let found = found.unwrap_or_else(|| lit(false));
            Transformed::yes(if negated { Expr::Not(Box::new(found)) } else { found })
        }
        Expr::Case(Case { expr: Some(key), when_then_expr, else_expr })
            if is_key(&key) && when_then_expr.iter().any(|(when, _)| is_key(when)) =>
        {
            let branch = |(when, then): (Box<Expr>, Box<Expr>)| (Box::new((*key).clone().eq(*when)), then);
            let when_then_expr = when_then_expr.into_iter().map(branch).collect();
            Transformed::yes(Expr::Case(Case { expr: None, when_then_expr, else_expr }))
        }
        other => Transformed::no(other),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::bind::{VisibleTable, VisibleTables, bind, normalize, optimize, parse};
    use crate::catalog::TableName;
    use crate::function::engine_state;

    /// Two federated tables of two stewards with a LOCAL key.
    pub fn tables() -> VisibleTables {
        let mut all = Vec::new();
        for name in ["people", "visits"] {
            let key = Field::new("k", DataType::Int64, true);
            let own = vec![key.clone(), Field::new("n", DataType::Int64, true)];
            let mut whole = own.clone();
            whole.push(Field::new(STEWARD, DataType::Utf8, true));
            for (site, stewards, fields) in [
                (Some("uva"), vec!["uva"], own.clone()),
                (Some("vu"), vec!["vu"], own),
                (None, vec!["uva", "vu"], whole),
            ] {
                all.push(VisibleTable {
                    site: site.map(SiteId::new),
                    name: TableName::new("s", name),
                    stewards: stewards.into_iter().map(SiteId::new).collect(),
                    local: Some("k".into()),
                    shared: None,
                    colocated: crate::catalog::Colocated::new(),
                    schema: Arc::new(Schema::new(fields)),
                    within: std::collections::BTreeMap::new(),
                    joined: Vec::new(),
                });
            }
        }
        VisibleTables::new(all, None)
    }

    fn localized(sql: &str) -> String {
        let state = engine_state();
        let bound = bind(&parse(sql).unwrap(), &[], &tables(), &state).unwrap();
        let plan = localize(normalize(bound.plan().clone(), &state).unwrap(), &state).unwrap();
        // The rules of the engine must keep what was added.
        optimize(plan, state.optimizers().to_vec(), &state).unwrap().display_indent().to_string()
    }

    #[test]
    fn a_named_table_meets_only_its_own_stewards_rows() {
        let plan = localized("SELECT p.n FROM uva.s.people p JOIN s.visits v ON p.k = v.k");
        assert!(plan.contains("steward = Utf8(\"uva\")"), "{plan}");
    }

    #[test]
    fn c5_a_key_of_another_type_is_still_one() {
        for sql in [
            "SELECT p.n FROM uva.s.people p JOIN s.visits v ON CAST(p.k AS VARCHAR) = CAST(v.k AS VARCHAR)",
            "SELECT p.n FROM uva.s.people p JOIN (SELECT TRY_CAST(k AS INT) AS i FROM s.visits) v ON p.k = v.i",
        ] {
            let plan = localized(sql);
            assert!(plan.contains("steward = Utf8(\"uva\")"), "{plan}");
        }
    }

    #[test]
    fn keys_of_two_relations_can_meet_whatever_carries_them() {
        for sql in [
            "SELECT n FROM (SELECT k, n FROM s.people) p RIGHT JOIN (SELECT k FROM s.visits) v ON p.k = v.k",
            "SELECT (SELECT sum(n) FROM s.people p WHERE p.k = v.k) FROM s.visits v LEFT JOIN s.people q ON v.n = q.n",
            "SELECT k FROM s.people UNION ALL (SELECT k FROM s.visits GROUP BY k, n UNION ALL SELECT k FROM uva.s.people)",
            "(SELECT k, n FROM s.people EXCEPT SELECT k, n FROM s.visits) INTERSECT SELECT k, n FROM s.visits",
            "SELECT n, sum(k) FROM s.people GROUP BY ROLLUP (n, CASE WHEN k > 3 THEN n END)",
            "SELECT p.k = v.k, p.k IN (1, 2, 3, 4, v.k), CASE p.k WHEN v.k THEN 1 END FROM s.people p, s.visits v",
        ] {
            assert!(localized(sql).contains("s.people"), "{sql}");
        }
    }
}
