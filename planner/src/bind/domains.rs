//! SHARED entity keys of several domains: equal values are different people, and unlike those of LOCAL keys no column says
//! whose they are. So such keys are not compared at all: neither with one another, nor where a union has put them in one column.
//! Nor are they with LOCAL keys, which are compared among themselves in [`mod@super::local`].

use std::collections::BTreeSet;
use std::fmt;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, Result, plan_err};
use datafusion::logical_expr::expr::{Case, InList};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, LogicalPlan};

use super::origin::uncast;
use crate::wire::LeafTable;

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
            let keys: Vec<Domains> = keys.into_iter().map(|key| below.of(key)).collect();
            keys.iter().try_for_each(one_domain)?;
            keys
        }
        LogicalPlan::Distinct(distinct) => {
            match distinct {
                Distinct::All(_) => below.inputs.iter().flatten().try_for_each(one_domain)?,
                Distinct::On(on) => on.on_expr.iter().try_for_each(|expr| one_domain(&below.of(expr)))?,
            }
            below.inputs.concat()
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
        let Expr::Column(column) = uncast(expr) else { return Domains::new() };
        let found = self.schemas.iter().zip(&self.inputs).find_map(|(schema, domains)| {
            let index = schema.index_of_column(column).ok()?;
            domains.get(index).cloned()
        });
        found.unwrap_or_default()
    }

    fn compared(&self, one: &Expr, other: &Expr) -> Result<()> {
        let (one, other) = (self.of(one), self.of(other));
        // Against another column or a literal the value counts.
        if one.is_empty() || other.is_empty() { Ok(()) } else { one_domain(&one.union(&other).cloned().collect()) }
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
                call.params.args.iter().try_for_each(|argument| one_domain(&self.of(argument)))
            }
            Expr::WindowFunction(call) => {
                let arguments = call.params.args.iter().filter(|_| call.params.distinct);
                call.params.partition_by.iter().chain(arguments).try_for_each(|expr| one_domain(&self.of(expr)))
            }
            _ => Ok(()),
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
