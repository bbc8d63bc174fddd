//! Hashed keys (rule D.3): where the place that receives rows needs an entity key only to compare and count, its hash goes
//! there instead. Here stands what is a hash of what, what may be done with it, and who shares the key of hashes.
//!
//! A hash is made in the outermost projection of a fragment that reads its steward's own tables, and nowhere else. What
//! reads it joins it with hashes of the same domain or counts them; no other use has a clause that would allow it.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::Column;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{ExprSchemable, LogicalPlan, Projection};
use datafusion::prelude::Expr;
use datafusion::sql::sqlparser::ast;
use dynamos_proto::ids::SiteId;

use super::check::{Check, Refusal};
use super::flow::{Flow, Protected};
use super::matching::RelationShape;
use super::{ProtectedPart, Side};
use crate::bind::unalias;
use crate::catalog::TableName;
use crate::fragment::{Fragment, FragmentGraph, ReleaseInput};
use crate::function::{KeyDomain, KeyKind, hash_of, hashed, hashes_in, holds_hash};
use crate::wire::Leaf;

/// Columns of a part's sides: the side and the position among its outputs.
pub type SideColumns = BTreeSet<(usize, usize)>;

/// What a clause must list for a hash to be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashListing {
    /// `hash(k)`: a plan is made with hashes only where the clause speaks of them.
    Hash,
    /// `hash(k)` or `k`, which tells more.
    HashOrKey,
}

/// The column in `hash(column)`, as an agreement writes it; none if the expression is something else.
pub(super) fn listed_hash(expr: &ast::Expr) -> Option<&ast::Expr> {
    let ast::Expr::Function(function) = expr else { return None };
    let ast::FunctionArguments::List(list) = &function.args else { return None };
    let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(key))] = list.args.as_slice() else { return None };
    let plain = matches!(key, ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_));
    (plain && function.name.to_string() == "hash").then_some(key)
}

impl RelationShape {
    /// The column of these tables that an expression is the hash of, and the domain that it is hashed in.
    pub(super) fn hashed_column(&self, expr: &Expr) -> Option<(KeyDomain, Column)> {
        let (domain, key) = hashed(unalias(expr))?;
        match self.without_widening(key) {
            Expr::Column(column) if self.table_of(&column).is_some() => Some((domain, column)),
            _ => None,
        }
    }

    /// The column that an expression is, or is the hash of: hashing is one-to-one, so counting the one is counting the other.
    pub(super) fn counted_column(&self, expr: &Expr) -> Option<Column> {
        match expr {
            Expr::Column(column) => Some(column.clone()),
            other => self.hashed_column(other).map(|(_, column)| column),
        }
    }

    /// The domain of an entity key, or of a column that the joins make equal to one.
    pub(crate) fn key_domain(
        &self,
        column: &Column,
        declared: &dyn Fn(&TableName, &str) -> Option<KeyDomain>,
    ) -> Option<KeyDomain> {
        let of = |column: &Column| declared(self.table_of(column)?, &column.name);
        let equal = || {
            self.equal_to(column).find_map(|other| match other {
                Expr::Column(other) => of(&other),
                _ => None,
            })
        };
        of(column).or_else(equal)
    }
}

impl Side {
    /// What is hashed where an output is: the key, with the type that all stewards of the side give it. None if the output is
    /// no column that can be a key.
    fn key_at(&self, output: usize) -> Option<(&Expr, Column)> {
        let expr = unalias(self.outputs().get(output)?);
        let key = self.relation.paired_key(expr).unwrap_or(expr);
        match self.relation.without_widening(key) {
            Expr::Column(column) if self.relation.table_of(&column).is_some() => Some((key, column)),
            _ => None,
        }
    }

    /// The domain of an output's key at one of the side's stewards.
    pub(crate) fn domain_at(
        &self,
        output: usize,
        declared: &dyn Fn(&TableName, &str) -> Option<KeyDomain>,
    ) -> Option<KeyDomain> {
        let (_, column) = self.key_at(output)?;
        self.relation.key_domain(&column, declared)
    }

    fn kind_at(&self, output: usize) -> Option<KeyKind> {
        let LogicalPlan::Projection(projection) = &self.input else { return None };
        let (key, _) = self.key_at(output)?;
        KeyKind::of(&key.get_type(projection.input.schema()).ok()?)
    }

    /// The outputs with the hashes of some in their places.
    pub(crate) fn outputs_hashed(&self, domains: &BTreeMap<usize, KeyDomain>) -> Vec<Expr> {
        let outputs = self.outputs().iter().enumerate();
        let hashed = outputs.map(|(index, expr)| match (domains.get(&index), self.key_at(index)) {
            (Some(domain), Some((key, _))) => hash_of(domain, key.clone()),
            _ => expr.clone(),
        });
        hashed.collect()
    }

    /// The input with the hashes of some outputs in their places, under their names.
    pub(crate) fn input_hashed(&self, domains: &BTreeMap<usize, KeyDomain>) -> datafusion::common::Result<LogicalPlan> {
        let LogicalPlan::Projection(projection) = &self.input else { return Ok(self.input.clone()) };
        let names = projection.schema.fields().iter().map(|field| field.name().clone());
        let outputs = self.outputs_hashed(domains).into_iter().zip(names).enumerate();
        let outputs =
            outputs.map(|(index, (expr, name))| if domains.contains_key(&index) { expr.alias(name) } else { expr });
        let outputs: Vec<Expr> = outputs.collect();
        Ok(LogicalPlan::Projection(Projection::try_new(outputs, projection.input.clone())?))
    }
}

impl ProtectedPart {
    /// The columns that may be hashed as far as it is for what is done with them: those that are compared with columns of other
    /// sides, and those whose different values are counted. What is compared is hashed together.
    pub(crate) fn hashable(&self) -> Vec<SideColumns> {
        let mut classes: Vec<SideColumns> = Vec::new();
        let mut join = |members: SideColumns| {
            let (touched, apart): (Vec<SideColumns>, Vec<SideColumns>) =
                classes.drain(..).partition(|class: &SideColumns| !class.is_disjoint(&members));
            classes = apart;
            classes.push(touched.into_iter().flatten().chain(members).collect());
        };
        let uses = &self.shape;
        let counted = uses.aggregates.iter().filter(|value| value.function == "count" && value.distinct);
        let counted = counted.filter_map(|value| value.argument);
        let entities = uses.entities.iter().map(|entity| entity.column);
        counted.chain(entities).filter_map(|index| self.given(index)).for_each(|one| join([one].into()));
        for (index, side) in self.sides.iter().enumerate() {
            for (left, right) in &side.on {
                let ends = self.sides.iter().take(index).enumerate().find_map(|(at, side)| position(side, left, at));
                match (ends, position(side, right, index)) {
                    (Some(left), Some(right)) => join([left, right].into()),
                    _ => return Vec::new(),
                }
            }
        }
        let others = uses.aggregates.iter().filter(|value| value.function != "count" || !value.distinct);
        let arguments = others.filter_map(|value| value.argument);
        let filters = uses.aggregates.iter().filter_map(|value| value.filter);
        let bare: SideColumns =
            (0..uses.keys).chain(arguments).chain(filters).filter_map(|at| self.given(at)).collect();
        classes.retain(|class| class.is_disjoint(&bare) && self.one_kind(class));
        classes
    }

    /// The side's output that one of the part's columns is.
    fn given(&self, column: usize) -> Option<(usize, usize)> {
        let [_] = self.sides.as_slice() else {
            let Expr::Column(given) = unalias(self.output.get(column)?) else { return None };
            return self.sides.iter().enumerate().find_map(|(at, side)| position(side, &given.name, at));
        };
        Some((0, column))
    }

    fn one_kind(&self, class: &SideColumns) -> bool {
        let kinds = class.iter().map(|(side, output)| self.sides.get(*side)?.kind_at(*output));
        let mut kinds = kinds.collect::<Vec<_>>();
        kinds.dedup();
        matches!(kinds.as_slice(), [Some(_)])
    }
}

/// Where a side has an output of this name.
fn position(side: &Side, name: &str, at: usize) -> Option<(usize, usize)> {
    Some((at, side.input.schema().fields().iter().position(|field| field.name() == name)?))
}

impl Check<'_> {
    /// A steward hashes rows of its own tables and no others: from hashes of values that somebody made up, or of what is
    /// released, the receiver could find out all others.
    pub(super) fn hashes_own_rows(&self, fragment: &Fragment, flow: &Flow) -> Result<(), Refusal> {
        if !self.answers_for(&fragment.place) || hashes_in(&fragment.plan).is_empty() {
            return Ok(());
        }
        let own = matches!(flow.protected.as_slice(), [rows] if rows.steward == fragment.place);
        if own && flow.sources.is_empty() && flow.foreign.is_empty() && !flow.invented {
            return Ok(());
        }
        Err(Refusal::at(fragment.id, "keys are hashed where other rows than a steward's own are"))
    }

    /// Every hash among the columns is one of an entity key, in the domain that its steward declares, and goes to a place
    /// that does not have the key of hashes.
    pub(super) fn hashes_may_go(&self, rows: &Protected, place: &SiteId) -> Result<(), String> {
        for expr in rows.columns.iter().filter(|expr| holds_hash(expr)) {
            let Some((domain, column)) = rows.relation.hashed_column(expr) else {
                return Err(format!("`{expr}` is no hash of a column"));
            };
            let declared = |table: &TableName, column: &str| (self.input.key_domain)(&rows.steward, table, column);
            if rows.relation.key_domain(&column, &declared).as_ref() != Some(&domain) {
                return Err(format!("`{column}` of `{}` is no key of the domain `{domain}`", rows.steward));
            }
            if domain.is_shared() && self.sharers.contains(place) {
                return Err(format!("`{place}` hashes keys itself, so hashes of `{column}` would tell it the keys"));
            }
        }
        Ok(())
    }

    /// A steward that hashes keys of a shared domain shares the key of hashes with those only whose rows its own meet.
    pub(super) fn shares_with_those_it_meets(&self) -> Result<(), Refusal> {
        for steward in self.sharers.iter().filter(|steward| self.answers_for(steward)) {
            let mut met = BTreeSet::from([steward.clone()]);
            for point in &self.graph.releases {
                let stewards = self.release_input(point, &mut Vec::new())?.stewards();
                if stewards.contains(steward) {
                    met.extend(stewards);
                }
            }
            if let Some(other) = self.sharers.difference(&met).next() {
                return Err(Refusal::whole(format!(
                    "`{other}` would have the key of hashes of `{steward}`, whose rows it does not meet"
                )));
            }
        }
        Ok(())
    }
}

/// The stewards that hash keys of shared domains in a query, and therefore share the key of these hashes. The first of them
/// by name draws it.
pub fn sharers(graph: &FragmentGraph) -> BTreeSet<SiteId> {
    let shared = |fragment: &&Fragment| {
        hashes_in(&fragment.plan).iter().any(|call| hashed(call).is_none_or(|(domain, _)| domain.is_shared()))
    };
    graph.fragments.iter().filter(shared).map(|fragment| fragment.place.clone()).collect()
}

/// Hashes are made where a steward's own rows leave it, as the last thing that is done to them.
pub(super) fn hashed_at_home(graph: &FragmentGraph) -> Result<(), Refusal> {
    for fragment in &graph.fragments {
        let calls = hashes_in(&fragment.plan).len();
        if calls == 0 {
            continue;
        }
        let refuse = |why: &str| Err(Refusal::at(fragment.id, format!("keys are hashed {why}")));
        let reader = fragment.consumer.and_then(|reader| graph.fragment(reader));
        if !graph.governing.contains_key(&fragment.place) || !reads_own_tables(fragment)? {
            return refuse("where other rows than a steward's own are");
        }
        if fragment.partial_of.is_some() || reader.is_none_or(|reader| reader.place == fragment.place) {
            return refuse("that do not leave their steward as rows");
        }
        let outermost = match &fragment.plan {
            LogicalPlan::Projection(last) => last.expr.iter().filter(|expr| hashed(unalias(expr)).is_some()).count(),
            _ => 0,
        };
        if outermost != calls {
            return refuse("before something else is done with them");
        }
    }
    for point in &graph.releases {
        if let ReleaseInput::Complete(rows) = &point.input
            && !hashes_in(rows).is_empty()
        {
            return Err(Refusal::at(point.fragment, "keys are hashed below a release point"));
        }
    }
    Ok(())
}

fn reads_own_tables(fragment: &Fragment) -> Result<bool, Refusal> {
    let mut own = true;
    let walked = fragment.plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let leaf = Leaf::from_reference(&scan.table_name);
            own &= matches!(leaf, Some(Leaf::Table { site, .. }) if site == fragment.place);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map(|_| own).map_err(|error| Refusal::at(fragment.id, error.strip_backtrace()))
}
