//! What a plan's output holds, derived from the plan as it was read from the wire: protected rows of which stewards, with
//! every output column written over the stewards' own columns, and released data from which sources. This is the reading
//! side of the policy; it shares no decision with the rewrite that made the plan, only the matching of clauses.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::prelude::Expr;
use dynamos_proto::ids::{FragmentId, ReleaseId, SiteId};

use super::RelationShape;
use super::carried::{Carried, CarriedRows};
use super::check::{Check, Refusal, cite};
use super::failing::cast_by_the_engine;
use super::flow_join::joined;
use super::lists::{ComparedList, is_list_kind};
use super::matching::{columns_of, split};
use super::part::Partner;
use super::within::{within, within_columns};
use crate::bind::unalias;
use crate::catalog::TableName;
use crate::fragment::Fragment;
use crate::function::holds_hash;
use crate::wire::Leaf;

/// What a relation holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// Protected rows, at most once for each steward; together they are all rows of the relation.
    pub(super) protected: Vec<Protected>,
    /// Released data in it.
    pub(super) sources: BTreeSet<Source>,
    /// Released data that kept or dropped rows of it, and of which it has no column.
    pub(super) kept_by: BTreeSet<Source>,
    /// Stewards for whom the checking place does not decide and whose rows it holds.
    pub(super) foreign: BTreeSet<SiteId>,
    /// The tables that its rows are made of, of whichever steward.
    pub(super) tables: BTreeSet<TableName>,
    /// It holds rows that no steward vouches for: literal ones, or any that went through the coordinator.
    pub(super) invented: bool,
}

impl Flow {
    /// The same with rows that are released counted as released data.
    pub(super) fn settled(mut self) -> Self {
        let (free, bound) = self.protected.into_iter().partition(|rows| rows.is_free());
        self.protected = bound;
        self.sources.extend(free.into_iter().flat_map(|rows: Protected| rows.free));
        self
    }

    /// The same rows, kept or dropped by a list that holds nothing which is protected here.
    pub(super) fn kept_by(mut self, list: Self) -> Self {
        let list = list.settled();
        self.kept_by.extend(list.sources.into_iter().chain(list.kept_by));
        self
    }

    fn is_bound(&self) -> bool {
        self.protected.iter().any(|rows| !rows.is_free())
    }

    /// The stewards whose rows it holds, protected or not known here.
    pub(super) fn stewards(&self) -> BTreeSet<SiteId> {
        self.protected.iter().map(|rows| &rows.steward).chain(&self.foreign).cloned().collect()
    }

    /// Whether it holds rows of any steward.
    pub(super) fn is_of_stewards(&self) -> bool {
        !self.protected.is_empty() || !self.foreign.is_empty()
    }

    /// What several relations hold together.
    pub(super) fn together(inputs: Vec<Self>) -> Self {
        let mut all = Self::default();
        for input in inputs {
            all.protected.extend(input.protected);
            all.sources.extend(input.sources);
            all.kept_by.extend(input.kept_by);
            all.foreign.extend(input.foreign);
            all.tables.extend(input.tables);
            all.invented |= input.invented;
        }
        all
    }
}

/// An expression over protected rows may have this many parts once it is written over the tables' columns: nested
/// projections could double it with each step.
const PARTS_MAX: usize = 2_000;

/// Protected rows of one steward.
#[derive(Clone, Debug)]
pub(super) struct Protected {
    /// Whose.
    pub(super) steward: SiteId,
    /// Tables, joins and predicates below.
    pub(super) relation: RelationShape,
    /// Each output column over the tables' columns.
    pub(super) columns: Vec<Expr>,
    /// The clauses that release them as rows, table by table; empty where one of the tables has none. Such rows may go on as
    /// released, or stand below a release point with others.
    pub(super) free: BTreeSet<Source>,
    /// Rows of other stewards that these are joined with. Columns of theirs stand among the columns as ones of no table.
    pub(super) partners: Vec<Partner>,
    /// Lists of the requester that keep or drop them.
    pub(super) lists: Vec<ComparedList>,
}

/// Where released data come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Rows that a RELEASE ROWS clause covers.
    Rows(Arc<ReleasedRows>),
    /// Groups of a release point.
    Groups(ReleaseId),
}

/// Rows that a RELEASE ROWS clause covers.
#[derive(Debug)]
pub(super) struct ReleasedRows {
    pub(super) rows: Protected,
    /// The clause.
    pub(super) clause: String,
    /// What tells them from others: their text, and all that it leaves out of which rows they are, the clause among it. Of two that
    /// read the same, one must not stand for the other.
    told_by: (String, String),
}

impl ReleasedRows {
    fn new(rows: Protected, clause: String) -> Self {
        let RelationShape { joins, filled, predicates, .. } = &rows.relation;
        let told_by = (rows.to_string(), format!("{clause}: {joins:?}, {filled:?}, {predicates:?}"));
        Self { rows, clause, told_by }
    }
}

impl Source {
    pub(super) fn carried(&self) -> Carried {
        match self {
            Self::Rows(released) => Carried::Released(released.rows.carried()),
            Self::Groups(id) => Carried::Groups(*id),
        }
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Source {}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Groups come first, else it is the order of their texts.
impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Rows(one), Self::Rows(other)) if Arc::ptr_eq(one, other) => Ordering::Equal,
            (Self::Rows(one), Self::Rows(other)) => one.told_by.cmp(&other.told_by),
            (Self::Groups(one), Self::Groups(other)) => one.to_string().cmp(&other.to_string()),
            (Self::Groups(_), Self::Rows(_)) => Ordering::Less,
            (Self::Rows(_), Self::Groups(_)) => Ordering::Greater,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(released) => write!(out, "released {}", released.rows),
            Self::Groups(id) => write!(out, "released groups of {id}"),
        }
    }
}

impl fmt::Display for Protected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.base_columns().into_iter().filter(|column| self.relation.table_of(column).is_some());
        let columns: Vec<String> = own.map(|column| self.as_sent(&column)).collect();
        write!(out, "rows of {}.{} ({})", self.steward, self.relation.words(), columns.join(", "))
    }
}

impl Protected {
    /// Whether a RELEASE ROWS covers all of them.
    pub(super) fn is_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether a hashed key is among the columns, or something that is made of one.
    pub(super) fn holds_hash(&self) -> bool {
        self.columns.iter().any(holds_hash)
    }

    /// The rows as a report tells of them.
    pub(super) fn carried(&self) -> CarriedRows {
        let about_rows =
            |condition: &&Expr| condition.column_refs().into_iter().any(|column| !self.relation.names_steward(column));
        let listed: BTreeSet<String> = self.relation.lists.iter().flatten().map(|column| column.name.clone()).collect();
        CarriedRows {
            steward: self.steward.clone(),
            // As an agreement writes it.
            relation: self.relation.words().replace(" ⋈ ", " JOIN ").replace(" ⟕ ", " LEFT JOIN "),
            conditions: self.relation.predicates.iter().filter(about_rows).cloned().collect(),
            listed: listed.into_iter().collect(),
        }
    }

    /// A column as clauses list it: hashed, where nothing else of it is given or touched.
    fn as_sent(&self, column: &Column) -> String {
        let hash = |expr: &Expr| self.relation.hashed_column(expr).is_some_and(|(_, key)| key == *column);
        let bare = |expr: &Expr| columns_of(expr).contains(column) && !hash(expr);
        if !self.columns.iter().any(hash) {
            return column.name.clone();
        }
        match self.columns.iter().any(bare) || self.relation.touched().contains(column) {
            true => format!("hash({0}), {0}", column.name),
            false => format!("hash({})", column.name),
        }
    }

    /// Base columns that the rows give or that predicates touched, each once.
    pub(super) fn base_columns(&self) -> Vec<Column> {
        let mut columns: BTreeSet<Column> = self.columns.iter().flat_map(columns_of).collect();
        columns.extend(self.relation.touched());
        columns.into_iter().filter(|column| !self.relation.names_steward(column)).collect()
    }

    /// An expression over the rows written over the tables' columns.
    pub(super) fn written(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr, String> {
        let mut parts = 0;
        let written = unalias(expr).clone().transform_up(|node| match node {
            Expr::Column(column) if self.relation.scalars.contains_key(&column) => {
                Ok(Transformed::no(Expr::Column(column)))
            }
            Expr::Column(column) => {
                let index = schema.index_of_column(&column)?;
                match self.columns.get(index) {
                    Some(definition) => {
                        parts += parts_of(definition);
                        if parts > PARTS_MAX {
                            return datafusion::common::plan_err!("an expression has more than {PARTS_MAX} parts");
                        }
                        Ok(Transformed::yes(definition.clone()))
                    }
                    None => datafusion::common::plan_err!("no column {index}"),
                }
            }
            Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
            other => Ok(Transformed::no(other)),
        });
        let written = written.map_err(|error| error.strip_backtrace())?.data;
        Ok(self.relation.without_widening(&written))
    }

    /// Takes a predicate over the rows, written over the tables' columns, for what it says of own columns.
    pub(super) fn restrict(&mut self, predicate: &Expr) -> Result<(), String> {
        for part in split(predicate) {
            match self.relation.is_own(&part) {
                Some(true) => self.relation.predicates.push(part),
                Some(false) => {}
                None => return Err(format!("the predicate `{part}` compares columns of several stewards")),
            }
        }
        Ok(())
    }
}

impl Check<'_> {
    /// What a plan of a fragment gives.
    pub(super) fn derive(
        &self,
        plan: &LogicalPlan,
        fragment: &Fragment,
        path: &mut Vec<FragmentId>,
    ) -> Result<Flow, Refusal> {
        if let LogicalPlan::TableScan(scan) = plan {
            return self.leaf(scan, fragment, path);
        }
        let inputs = self.inputs(plan, fragment, path)?;
        if inputs.iter().any(Flow::is_bound) {
            return operator(plan, inputs, fragment);
        }
        // Rows that are released go on as rows of their steward as long as they could stand below a release point.
        let free = inputs.iter().any(|input| !input.protected.is_empty());
        if free && let Ok(flow) = operator(plan, inputs.clone(), fragment) {
            return Ok(flow);
        }
        // Whoever may have the key itself has no use for its hash, and nobody else may have what is made of it.
        if inputs.iter().flat_map(|input| &input.protected).any(Protected::holds_hash) {
            return Err(Refusal::at(
                fragment.id,
                "hashed keys are joined with one another or counted, and nothing else",
            ));
        }
        // A list keeps or drops rows; none of its own go on.
        if let LogicalPlan::Join(join) = plan
            && is_list_kind(join.join_type)
            && let [rows, list] = inputs.as_slice()
        {
            return Ok(rows.clone().settled().kept_by(list.clone()));
        }
        // Released rows, and those of others, for whom others decide.
        let invented = !inputs.iter().any(Flow::is_of_stewards);
        let together = Flow::together(inputs).settled();
        Ok(Flow { invented: invented || together.invented, ..together })
    }

    fn leaf(&self, scan: &TableScan, fragment: &Fragment, path: &mut Vec<FragmentId>) -> Result<Flow, Refusal> {
        let refuse = |reason: String| Refusal::at(fragment.id, reason);
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(refuse(format!("the scan of `{}` carries a condition", scan.table_name)));
        }
        match Leaf::from_reference(&scan.table_name) {
            None => Err(refuse(format!("`{}` is no leaf of a fragment", scan.table_name))),
            Some(Leaf::Release(id)) => {
                let point = self.graph.release(id).filter(|point| point.fragment == fragment.id);
                if point.is_none() {
                    return Err(refuse(format!("release point {id} is not executed here")));
                }
                Ok(Flow { sources: BTreeSet::from([Source::Groups(id)]), ..Flow::default() })
            }
            Some(Leaf::Exchange(id)) => {
                let sender = self
                    .graph
                    .fragment(id)
                    .filter(|sender| sender.consumer == Some(fragment.id) && sender.partial_of.is_none())
                    .ok_or_else(|| refuse(format!("{id} does not send rows here")))?;
                let mut flow = self.output(sender, path)?;
                flow.invented |= sender.place.is_coordinator();
                // The scan may read fewer columns, or in another order.
                if let Some(projection) = &scan.projection {
                    for rows in &mut flow.protected {
                        let picked = projection.iter().map(|index| rows.columns.get(*index).cloned());
                        rows.columns = picked
                            .collect::<Option<_>>()
                            .ok_or_else(|| refuse("it reads columns that are not sent".into()))?;
                    }
                }
                Ok(flow)
            }
            Some(Leaf::Table { site, schema, table, clause }) => {
                if site != fragment.place {
                    return Err(refuse(format!("a table of `{site}` cannot be read at `{}`", fragment.place)));
                }
                self.table(scan, site, TableName::new(schema, table), clause).map_err(|refusal| {
                    match refusal.fragment {
                        Some(_) => refusal,
                        None => Refusal::at(fragment.id, refusal.reason),
                    }
                })
            }
        }
    }

    fn table(&self, scan: &TableScan, steward: SiteId, name: TableName, clause: Option<u32>) -> Result<Flow, Refusal> {
        if steward.is_coordinator() {
            return Err(Refusal { fragment: None, reason: "the coordinator has no tables".into() });
        }
        if !self.answers_for(&steward) {
            if self.shapes && clause.is_none() {
                return foreign_shape(scan, steward, name);
            }
            // Which tables another's clause joins is not known here, so that no JOIN … WITH TABLE names them all.
            let joined = clause.map(|clause| TableName::new(name.schema.clone(), format!("{}#{clause}", name.table)));
            let tables = joined.into_iter().chain([name]).collect();
            return Ok(Flow { foreign: [steward].into(), tables, ..Flow::default() });
        }
        let held = self.governing(&steward)?;
        let whole =
            |error: datafusion::common::DataFusionError| Refusal { fragment: None, reason: error.strip_backtrace() };
        let leaf = scan.source.schema();
        let relation = match clause {
            None => {
                let reference = TableReference::partial(name.schema.clone(), name.table.clone());
                let schema = DFSchema::try_from_qualified_schema(reference, &leaf).map_err(whole)?;
                RelationShape { tables: BTreeMap::from([(name.clone(), schema)]), ..RelationShape::default() }
            }
            Some(clause) => within(&held.agreement, clause, &name, &leaf, self.input.state).ok_or_else(|| Refusal {
                fragment: None,
                reason: format!(
                    "clause {clause} of `{steward}` releases no rows of `{name}` under a condition or of a join"
                ),
            })?,
        };
        let names = scan.projected_schema.fields().iter().map(|field| field.name());
        let columns = within_columns(&relation, names).ok_or_else(|| Refusal {
            fragment: None,
            reason: format!("`{}` has columns of no table", scan.table_name),
        })?;
        let tables: BTreeSet<TableName> = relation.tables.keys().cloned().collect();
        let released = match clause {
            None => relation.released_rows(&held.agreement, &columns, self.input.state).ok(),
            Some(clause) => {
                relation.lists_columns(&held.agreement, clause, &columns, self.input.state).then_some(clause)
            }
        };
        let (free, partners) = (BTreeSet::new(), Vec::new());
        let mut rows = Protected { steward: steward.clone(), relation, columns, free, partners, lists: Vec::new() };
        if let Some(clause) = released {
            rows.free.insert(Source::Rows(Arc::new(ReleasedRows::new(rows.clone(), cite(&steward, held, clause)))));
        }
        Ok(Flow { protected: vec![rows], tables, ..Flow::default() })
    }
}

/// Another steward's rows, by the graph alone.
fn foreign_shape(scan: &TableScan, steward: SiteId, name: TableName) -> Result<Flow, Refusal> {
    let whole = |reason: String| Refusal { fragment: None, reason };
    let reference = TableReference::partial(name.schema.clone(), name.table.clone());
    let schema = DFSchema::try_from_qualified_schema(reference, &scan.source.schema());
    let schema = schema.map_err(|error| whole(error.strip_backtrace()))?;
    let relation = RelationShape { tables: BTreeMap::from([(name.clone(), schema)]), ..RelationShape::default() };
    let names = scan.projected_schema.fields().iter().map(|field| field.name());
    let columns = within_columns(&relation, names);
    let columns = columns.ok_or_else(|| whole(format!("`{}` has columns of no table", scan.table_name)))?;
    let rows = Protected { steward, relation, columns, free: BTreeSet::new(), partners: Vec::new(), lists: Vec::new() };
    Ok(Flow { protected: vec![rows], tables: [name].into(), ..Flow::default() })
}

/// What an operator makes of protected rows.
fn operator(plan: &LogicalPlan, mut inputs: Vec<Flow>, fragment: &Fragment) -> Result<Flow, Refusal> {
    let refuse = |reason: String| Refusal::at(fragment.id, reason);
    // A list may be of released data; see there.
    let list = matches!(plan, LogicalPlan::Join(join) if is_list_kind(join.join_type));
    if inputs.iter().take(if list { 1 } else { usize::MAX }).any(|input| !input.sources.is_empty()) {
        return Err(refuse("protected rows meet released data".into()));
    }
    adds_no_failing_cast(plan).map_err(refuse)?;
    match plan {
        LogicalPlan::Projection(projection) => {
            let mut flow = single(&mut inputs, fragment)?;
            for rows in &mut flow.protected {
                let columns = projection.expr.iter().map(|expr| rows.written(expr, projection.input.schema()));
                rows.columns = columns.collect::<Result<_, _>>().map_err(refuse)?;
            }
            Ok(flow)
        }
        LogicalPlan::Filter(filter) => {
            let mut flow = single(&mut inputs, fragment)?;
            for rows in &mut flow.protected {
                let predicate = rows.written(&filter.predicate, filter.input.schema()).map_err(refuse)?;
                rows.restrict(&predicate).map_err(refuse)?;
            }
            Ok(flow)
        }
        LogicalPlan::SubqueryAlias(_) => single(&mut inputs, fragment),
        LogicalPlan::Union(_) => Ok(Flow::together(inputs)),
        LogicalPlan::Join(join) => joined(join, inputs, fragment),
        other => {
            let text = other.display().to_string();
            let operator = text.split([':', '(', ' ']).next().unwrap_or_default().to_owned();
            Err(refuse(format!("`{operator}` may not work on protected rows")))
        }
    }
}

/// Fails where the engine, which makes the types of what is compared, joined or united agree, would cast protected values in a
/// way that fails on some of them. No clause says so, and it is none of the predicates that a clause allows.
fn adds_no_failing_cast(plan: &LogicalPlan) -> Result<(), String> {
    let of = match plan {
        LogicalPlan::Filter(filter) => format!("no FILTER clause allows the predicate `{}`: ", filter.predicate),
        LogicalPlan::Projection(_) | LogicalPlan::Union(_) | LogicalPlan::Join(_) => String::new(),
        // Others may not work on protected rows at all.
        _ => return Ok(()),
    };
    match cast_by_the_engine(plan) {
        Ok(None) => Ok(()),
        Ok(Some(cast)) => Err(format!("{of}{cast}, and the error would tell of one")),
        Err(error) => Err(error.strip_backtrace()),
    }
}

fn single(inputs: &mut Vec<Flow>, fragment: &Fragment) -> Result<Flow, Refusal> {
    match (inputs.pop(), inputs.is_empty()) {
        (Some(flow), true) => Ok(flow),
        _ => Err(Refusal::at(fragment.id, "an operator has another number of inputs than it should")),
    }
}

/// How many parts an expression has.
fn parts_of(expr: &Expr) -> usize {
    let mut parts = 0;
    let visited = expr.apply(|_| {
        parts += 1;
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor does not fail");
    parts
}
