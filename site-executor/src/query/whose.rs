//! Whose rows a release point aggregates, where several stewards send rows. The executing place puts that into columns of
//! its own, from where each row comes: what a plan says of it would be the coordinator's word.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, JoinType, Result, TableReference, plan_err};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::Expr;
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::policy::{Owners, WHOSE, Whose};
use dynamos_planner::wire::Leaf;
use dynamos_proto::ids::SiteId;

/// The plan with columns behind its own that say whose the rows are, and which of them says it of each of its own columns.
/// A column that is made of several stewards' columns is nobody's.
pub(super) fn with_stewards(plan: &LogicalPlan, graph: &FragmentGraph) -> Result<(LogicalPlan, Whose)> {
    let mut labels = Labels { graph, given: 0, stewards: BTreeMap::new() };
    let labelled = labels.label(plan)?;
    let owners = |label: String| {
        let stewards = labels.stewards.get(&label).cloned().unwrap_or_default();
        Owners { label, stewards }
    };
    let names = labelled.columns.into_iter().enumerate();
    Ok((labelled.plan, names.filter_map(|(index, name)| Some((index, owners(name?)))).collect()))
}

/// A plan whose last columns say whose its rows are.
struct Labelled {
    plan: LogicalPlan,
    /// For each column of the plan as it was, the name of the one that says whose it is.
    columns: Vec<Option<String>>,
    /// The columns behind those: one, or more where rows of several stewards are joined.
    labels: Vec<Column>,
}

struct Labels<'a> {
    graph: &'a FragmentGraph,
    given: usize,
    /// Whom each label names.
    stewards: BTreeMap<String, BTreeSet<SiteId>>,
}

impl Labels<'_> {
    /// Only a union brings rows of several stewards together and only an inner join combines them; every other operator keeps
    /// each row as it is or drops it.
    fn label(&mut self, plan: &LogicalPlan) -> Result<Labelled> {
        let stewards = stewards_of(plan, self.graph)?;
        let mut of_all = stewards.iter();
        if let (Some(only), None) = (of_all.next(), of_all.next()) {
            return self.constant(plan, only);
        }
        match plan {
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|input| self.label(input)).collect::<Result<Vec<_>>>()?;
                self.union(inputs)
            }
            LogicalPlan::Projection(projection) => {
                let input = self.label(&projection.input)?;
                let columns =
                    projection.expr.iter().map(|expr| owner(expr, &projection.input, &input.columns)).collect();
                let all = projection.expr.iter().cloned().chain(input.labels.iter().cloned().map(Expr::from));
                let plan = LogicalPlanBuilder::from(input.plan).project(all.collect::<Vec<_>>())?.build()?;
                Ok(Labelled { plan, columns, labels: input.labels })
            }
            LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
                let inputs = plan.inputs();
                let [input] = inputs.as_slice() else { return plan_err!("`{}` has one input", plan.display()) };
                let input = self.label(input)?;
                let labelled = plan.with_new_exprs(plan.expressions(), vec![input.plan])?;
                // An alias gives the labels another qualifier.
                let kept = labelled.schema().columns().len() - input.labels.len();
                let labels = labelled.schema().columns().split_off(kept);
                Ok(Labelled { plan: labelled, columns: input.columns, labels })
            }
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
                let (left, right) = (self.label(&join.left)?, self.label(&join.right)?);
                let inputs = vec![left.plan, right.plan];
                let joined = plan.with_new_exprs(plan.expressions(), inputs)?;
                let labels: Vec<Column> = left.labels.into_iter().chain(right.labels).collect();
                let own = plan.schema().columns().into_iter().chain(labels.clone()).map(Expr::from);
                let plan = LogicalPlanBuilder::from(joined).project(own.collect::<Vec<_>>())?.build()?;
                Ok(Labelled { plan, columns: left.columns.into_iter().chain(right.columns).collect(), labels })
            }
            // A list keeps or drops rows, and none of its own go on.
            LogicalPlan::Join(join) if is_list(join.join_type) => {
                let left = self.label(&join.left)?;
                let inputs = vec![left.plan, join.right.as_ref().clone()];
                Ok(Labelled { plan: plan.with_new_exprs(plan.expressions(), inputs)?, ..left })
            }
            other => plan_err!("`{}` mixes rows of several stewards", other.display()),
        }
    }

    /// Rows of one steward.
    fn constant(&mut self, plan: &LogicalPlan, steward: &SiteId) -> Result<Labelled> {
        let label = format!("{WHOSE}_{}", self.given);
        self.given += 1;
        self.stewards.insert(label.clone(), BTreeSet::from([steward.clone()]));
        let own = plan.schema().columns();
        let columns = vec![Some(label.clone()); own.len()];
        let all = own.into_iter().map(Expr::from).chain([lit(steward.as_str()).alias(&label)]);
        let plan = LogicalPlanBuilder::from(plan.clone()).project(all.collect::<Vec<_>>())?.build()?;
        Ok(Labelled { plan, columns, labels: vec![Column::from_name(label)] })
    }

    /// Rows of several stewards one below the other. A union takes the names of its first input.
    fn union(&mut self, inputs: Vec<Labelled>) -> Result<Labelled> {
        let mut all: Option<(LogicalPlanBuilder, Vec<Option<String>>, Vec<Column>)> = None;
        for input in inputs {
            if input.labels.len() != 1 {
                return plan_err!("rows of several stewards are joined below a union");
            }
            all = Some(match all {
                None => (LogicalPlanBuilder::from(input.plan), input.columns, input.labels),
                Some((before, columns, labels)) => {
                    self.name_by(&labels, &input.labels);
                    (before.union(input.plan)?, columns, labels)
                }
            });
        }
        let Some((plan, columns, labels)) = all else { return plan_err!("a union of nothing") };
        Ok(Labelled { plan: plan.build()?, columns, labels })
    }
}

impl Labels<'_> {
    /// The first of these labels names those whom the first of the others does, too.
    fn name_by(&mut self, labels: &[Column], others: &[Column]) {
        let more = others.first().and_then(|other| self.stewards.get(&other.name)).cloned().unwrap_or_default();
        if let Some(label) = labels.first() {
            self.stewards.entry(label.name.clone()).or_default().extend(more);
        }
    }
}

/// Which label says whose an expression over these columns is.
fn owner(expr: &Expr, input: &LogicalPlan, columns: &[Option<String>]) -> Option<String> {
    let mut owners = expr.column_refs().into_iter().map(|column| {
        let index = input.schema().index_of_column(column).ok()?;
        columns.get(index).cloned().flatten()
    });
    let first = owners.next().flatten()?;
    owners.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

/// The stewards whose rows a plan reads, from their own tables only: a fragment that passes on others' rows is no steward.
fn stewards_of(plan: &LogicalPlan, graph: &FragmentGraph) -> Result<BTreeSet<SiteId>> {
    let mut stewards = BTreeSet::new();
    for leaf in leaves(plan)? {
        match Leaf::from_reference(&leaf) {
            Some(Leaf::Table { site, .. }) => {
                stewards.insert(site);
            }
            Some(Leaf::Exchange(id)) => {
                let Some(sender) = graph.fragment(id) else { return plan_err!("no fragment {id}") };
                for leaf in leaves(&sender.plan)? {
                    match Leaf::from_reference(&leaf) {
                        Some(Leaf::Table { site, .. }) if site == sender.place => {
                            stewards.insert(site);
                        }
                        _ => return plan_err!("fragment {id} sends more than its steward's own rows"),
                    }
                }
            }
            Some(Leaf::Release(_)) | None => return plan_err!("`{leaf}` holds no steward's rows"),
        }
    }
    Ok(stewards)
}

/// The leaves of what rows are made of; those of lists, which only keep or drop rows, are none of them.
fn leaves(plan: &LogicalPlan) -> Result<Vec<TableReference>> {
    let mut found = Vec::new();
    gather(plan, &mut found)?;
    Ok(found)
}

fn gather(plan: &LogicalPlan, found: &mut Vec<TableReference>) -> Result<()> {
    if let LogicalPlan::TableScan(scan) = plan {
        found.push(scan.table_name.clone());
    }
    plan.apply_subqueries(|subquery| {
        gather(subquery, found)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    match plan {
        LogicalPlan::Join(join) if is_list(join.join_type) => gather(&join.left, found),
        other => other.inputs().into_iter().try_for_each(|input| gather(input, found)),
    }
}

/// Whether a join keeps or drops rows of its left side and gives none of its right side.
fn is_list(kind: JoinType) -> bool {
    matches!(kind, JoinType::LeftSemi | JoinType::LeftAnti)
}
