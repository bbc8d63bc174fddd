//! SHARED entity keys of several domains: equal values are different people, and unlike those of LOCAL keys no column says
//! whose they are. So such keys are not compared at all: neither with one another, nor where a union has put them in one column.
//! Nor are they with LOCAL keys, which are compared among themselves in [`mod@super::local`].

use std::collections::BTreeSet;
use std::fmt;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, Result, plan_err};
use datafusion::logical_expr::expr::{Case, InList};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, LogicalPlan, lit};

use super::origin::uncast;
use crate::wire::LeafTable;

/// Functions, as aggregates and over windows, that give their argument's value in one of the rows.
const CHOOSING: [&str; 8] = ["any_value", "first_value", "lag", "last_value", "lead", "max", "min", "nth_value"];
/// Functions that give one of their arguments by what it is worth.
const COMPARING: [&str; 2] = ["greatest", "least"];

/// The domains of which the values of a column are keys: none of a column that is no key, several after a union.
type Domains = BTreeSet<Domain>;

/// Whose keys equal values are the same people's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Domain {
    /// Each steward's own.
    Local,
    Shared(String),
}

impl fmt::Display for Domain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => write!(out, "one steward alone"),
            Self::Shared(name) => write!(out, "the domain `{name}`"),
        }
    }
}

/// Fails where keys of two domains are compared: by predicates, joins, groups, windows, DISTINCT or set operations.
pub(super) fn check_domains(plan: &LogicalPlan) -> Result<()> {
    columns(plan).map(|_| ())
}

/// The domains of each output column.
fn columns(plan: &LogicalPlan) -> Result<Vec<Domains>> {
    plan.apply_subqueries(|subquery| check_domains(subquery).map(|()| TreeNodeRecursion::Continue))?;
    let inputs = plan.inputs().into_iter().map(columns).collect::<Result<Vec<_>>>()?;
    let below = Below { schemas: plan.inputs().into_iter().map(|input| input.schema().as_ref()).collect(), inputs };
    plan.apply_expressions(|expr| {
        expr.apply(|part| {
            below.check(part)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    let width = plan.schema().fields().len();
    let mut output = match plan {
        LogicalPlan::TableScan(scan) => {
            let table = LeafTable::bound_to(scan);
            let of = |name: &str| {
                let table = table.iter();
                let local = table.clone().filter(|table| table.local.as_deref() == Some(name)).map(|_| Domain::Local);
                let shared = table.filter_map(|table| table.shared.as_ref()).filter(|(key, _)| key == name);
                local.chain(shared.map(|(_, domain)| Domain::Shared(domain.clone()))).collect::<Domains>()
            };
            scan.projected_schema.fields().iter().map(|field| of(field.name())).collect()
        }
        LogicalPlan::Projection(projection) => projection.expr.iter().map(|expr| below.of(expr)).collect(),
        LogicalPlan::Aggregate(aggregate) => {
            let keys = grouping_set_to_exprlist(&aggregate.group_expr)?;
            keys.iter().try_for_each(|key| below.grouped(key))?;
            let mut domains: Vec<Domains> = keys.into_iter().map(|key| below.of(key)).collect();
            // Grouping sets have a column of their own before the values.
            domains.resize(width.saturating_sub(aggregate.aggr_expr.len()), Domains::new());
            domains.extend(aggregate.aggr_expr.iter().map(|value| below.of(value)));
            domains
        }
        LogicalPlan::Window(window) => {
            let mut domains = below.inputs.concat();
            domains.extend(window.window_expr.iter().map(|value| below.of(value)));
            domains
        }
        LogicalPlan::Distinct(Distinct::All(_)) => {
            below.inputs.iter().flatten().try_for_each(one_domain)?;
            below.inputs.concat()
        }
        LogicalPlan::Distinct(Distinct::On(on)) => {
            on.on_expr.iter().try_for_each(|expr| below.grouped(expr))?;
            on.select_expr.iter().map(|expr| below.of(expr)).collect()
        }
        LogicalPlan::Join(join) => {
            for (one, other) in &join.on {
                below.compared(one, other)?;
            }
            match (join.join_type, below.inputs.as_slice()) {
                (JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark, [left, _]) => left.clone(),
                (JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark, [_, right]) => right.clone(),
                (_, both) => both.concat(),
            }
        }
        LogicalPlan::Union(_) => (0..width)
            .map(|index| below.inputs.iter().filter_map(|input| input.get(index)).flatten().cloned().collect())
            .collect(),
        LogicalPlan::SubqueryAlias(_) => below.inputs.concat(),
        other => other.schema().columns().into_iter().map(|column| below.of(&Expr::Column(column))).collect(),
    };
    output.resize(width, Domains::new());
    Ok(output)
}

/// What the inputs of an operator hold.
struct Below<'a> {
    schemas: Vec<&'a DFSchema>,
    inputs: Vec<Vec<Domains>>,
}

impl Below<'_> {
    /// The domains that an expression is a key of.
    fn of(&self, expr: &Expr) -> Domains {
        let Expr::Column(column) = uncast(expr) else {
            return held(expr).into_iter().flat_map(|part| self.of(part)).collect();
        };
        let found = self.schemas.iter().zip(&self.inputs).find_map(|(schema, domains)| {
            let index = schema.index_of_column(column).ok()?;
            domains.get(index).cloned()
        });
        found.unwrap_or_default()
    }

    fn compared(&self, one: &Expr, other: &Expr) -> Result<()> {
        pairs(one, other).into_iter().try_for_each(|(one, other)| {
            let (one, other) = (self.of(one), self.of(other));
            // Against another column or a literal the value counts.
            if one.is_empty() || other.is_empty() { Ok(()) } else { one_domain(&one.union(&other).cloned().collect()) }
        })
    }

    /// Fails if equal values of an expression, or of a part of a row value, may be keys of several domains.
    fn grouped(&self, expr: &Expr) -> Result<()> {
        let parts = parts(expr);
        if parts.is_empty() {
            return one_domain(&self.of(expr));
        }
        parts.into_iter().try_for_each(|(_, part)| self.grouped(part))
    }

    /// Fails if the expression itself, its parts aside, compares keys of two domains.
    fn check(&self, expr: &Expr) -> Result<()> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.negate().is_some() => self.compared(left, right),
            Expr::InList(InList { expr, list, .. }) => list.iter().try_for_each(|member| self.compared(expr, member)),
            Expr::Case(Case { expr: Some(expr), when_then_expr, .. }) => {
                when_then_expr.iter().try_for_each(|(when, _)| self.compared(expr, when))
            }
            Expr::AggregateFunction(call) if call.params.distinct => {
                call.params.args.iter().try_for_each(|argument| self.grouped(argument))
            }
            Expr::WindowFunction(call) => {
                let arguments = call.params.args.iter().filter(|_| call.params.distinct);
                call.params.partition_by.iter().chain(arguments).try_for_each(|expr| self.grouped(expr))
            }
            other => nullif(other).map_or(Ok(()), |(one, other)| self.compared(one, other)),
        }
    }
}

/// Fails if there are several.
fn one_domain(domains: &Domains) -> Result<()> {
    let mut names = domains.iter();
    match (names.next(), names.next()) {
        (Some(first), Some(second)) => {
            plan_err!("equal entity keys of {first} and of {second} are different people; they cannot be compared")
        }
        _ => Ok(()),
    }
}

/// The expressions whose values an expression gives or holds as they are: what `min`, `lag`, `greatest` or CASE chooses from, and
/// the parts of a row value.
pub(super) fn held(expr: &Expr) -> Vec<&Expr> {
    match uncast(expr) {
        Expr::AggregateFunction(call) if CHOOSING.contains(&call.func.name()) => call.params.args.iter().collect(),
        Expr::WindowFunction(call) if CHOOSING.contains(&call.fun.name()) => call.params.args.iter().collect(),
        Expr::ScalarFunction(call) if COMPARING.contains(&call.name()) => call.args.iter().collect(),
        other => match nullif(other) {
            Some((one, _)) => vec![one],
            None => {
                let branches = branches(other).into_iter().map(|(_, value)| value);
                branches.chain(parts(other).into_iter().map(|(_, part)| part)).collect()
            }
        },
    }
}

/// Whether an expression gives one of several values of its row: what [`held`] gives of it are these.
pub(super) fn chooses(expr: &Expr) -> bool {
    let compares = |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if COMPARING.contains(&call.name()));
    compares(uncast(expr)) || !branches(expr).is_empty()
}

/// What `coalesce`, `nvl`, `nvl2` or CASE takes its value from, each with the condition under which it does if none before it
/// holds.
pub(super) fn branches(expr: &Expr) -> Vec<(Expr, &Expr)> {
    match uncast(expr) {
        Expr::ScalarFunction(call) => match (call.name(), call.args.as_slice()) {
            ("coalesce" | "nvl", values) => values.iter().map(|one| (one.clone().is_not_null(), one)).collect(),
            ("nvl2", [tested, one, other]) => vec![(tested.clone().is_not_null(), one), (lit(true), other)],
            _ => Vec::new(),
        },
        Expr::Case(Case { expr, when_then_expr, else_expr }) => {
            let whens = when_then_expr.iter().map(|(when, then)| {
                let when = when.as_ref().clone();
                let condition = expr.as_ref().map_or(when.clone(), |expr| expr.as_ref().clone().eq(when));
                (condition, then.as_ref())
            });
            whens.chain(else_expr.iter().map(|other| (lit(true), other.as_ref()))).collect()
        }
        _ => Vec::new(),
    }
}

/// What is compared with what: the two expressions, or the parts of two row values as in `(a, b) = (c, d)`. The engine pairs
/// parts by their names where both have the same ones; where only some are the same, parts may also meet by their places.
pub(super) fn pairs<'a>(one: &'a Expr, other: &'a Expr) -> Vec<(&'a Expr, &'a Expr)> {
    let (ones, others) = (parts(one), parts(other));
    if ones.is_empty() || ones.len() != others.len() {
        return vec![(one, other)];
    }
    let called = |name: &str| others.iter().find(|(have, _)| have == name);
    let by_name = ones.iter().all(|(name, _)| called(name.as_str()).is_some());
    let matched = ones.iter().zip(&others).flat_map(|((name, part), in_place)| {
        let in_place = if by_name { None } else { Some(in_place) };
        let met = called(name.as_str()).into_iter().chain(in_place);
        met.map(move |(_, other)| (*part, *other))
    });
    matched.flat_map(|(one, other)| pairs(one, other)).collect()
}

/// The parts of a row value such as `(a, b)`, each with its name.
fn parts(expr: &Expr) -> Vec<(String, &Expr)> {
    let Expr::ScalarFunction(call) = uncast(expr) else { return Vec::new() };
    match call.name() {
        "struct" => {
            let numbered = call.args.iter().enumerate();
            numbered.map(|(index, part)| (lit(format!("c{index}")).to_string(), part)).collect()
        }
        "named_struct" => {
            let (named, _) = call.args.as_chunks::<2>();
            named.iter().map(|[name, part]| (name.to_string(), part)).collect()
        }
        _ => Vec::new(),
    }
}

/// What `nullif(a, b)` compares.
pub(super) fn nullif(expr: &Expr) -> Option<(&Expr, &Expr)> {
    match expr {
        Expr::ScalarFunction(call) if call.name() == "nullif" => match call.args.as_slice() {
            [one, other] => Some((one, other)),
            _ => None,
        },
        _ => None,
    }
}
