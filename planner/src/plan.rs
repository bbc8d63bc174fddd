//! The planner's door: SQL and a snapshot of everything that matters in, a permitted query or a denial out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::status::Code;
use thiserror::Error;
use tracing::debug_span;

use crate::bind::{
    self, BoundPlan, ParsedQuery, VisibleTable, VisibleTables, bind, localize, normalize, parameter_types,
    restrict_stewards, stewards_in,
};
use crate::candidate::{Candidates, Legal, Placement, enumerate};
use crate::catalog::{Availability, Catalog, SiteKind, TableName};
use crate::fragment::{FragmentGraph, cut};
use crate::knowledge::Knowledge;
use crate::permit::{PermittedQuery, QueryPath, permit};
use crate::policy::{
    AgreementSet, BroughtPlan, ClauseChoice, CompliantPlan, Denial, Governing, Policy, ProtectedPart, Purposes, Reason,
    Requester, Stop, UtcMillis, comply, conditions, releases_under_condition,
};
use crate::wire::WireError;

/// Choices of governing agreements that are tried, at most.
const CHOICES_MAX: usize = 64;
/// A site acts on a graph for this long (milliseconds).
const GRAPH_VALID_MS: i64 = 60_000;

/// Everything that a plan depends on.
#[derive(Clone, Debug)]
pub struct PlanningInput<'a> {
    /// What the federation consists of.
    pub catalog: &'a Catalog,
    /// Every agreement in force.
    pub agreements: &'a AgreementSet,
    /// Which purposes lie below which, by version.
    pub purposes: &'a Purposes,
    /// Who asks.
    pub requester: &'a Requester,
    /// The declared purpose.
    pub purpose: Option<&'a str>,
    /// The agreement that the requester wants, by name.
    pub agreement: Option<&'a str>,
    /// The family of placements that is forced.
    pub placement: Placement,
    /// Schema of federated tables that are named without one.
    pub default_schema: Option<&'a str>,
    /// Costs as they are believed.
    pub knowledge: &'a Knowledge,
    /// The query's id.
    pub query: QueryId,
    /// Counts the plans of this query, from 0.
    pub attempt: u32,
    /// The present.
    pub now: UtcMillis,
    /// SHA-256 of the requester's token.
    pub token_hash: Vec<u8>,
}

/// What planning gives.
#[derive(Debug)]
pub enum Planned {
    /// A query that may run.
    Permitted(Box<PermittedQuery>),
    /// A query that the agreements do not allow.
    Denied(Denial),
}

/// What is known of a query before it runs.
#[derive(Clone, Debug)]
pub struct Described {
    /// The answer's columns.
    pub schema: SchemaRef,
    /// The types of the parameters `$1…`, in order; none where unknown.
    pub parameters: Vec<Option<DataType>>,
}

/// Why a query cannot be planned.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The text is not SQL.
    #[error("{0}")]
    Syntax(String),
    /// A name does not exist, or may not be known to exist.
    #[error("{0}")]
    UnknownName(String),
    /// Understood, but not done here.
    #[error("{0}")]
    Unsupported(String),
    /// The plan cannot be sent to the sites.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A fault of the planner.
    #[error("the planner failed: {0}")]
    Internal(String),
}

impl PlanError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Syntax(_) => Code::Syntax,
            Self::UnknownName(_) => Code::UnknownName,
            Self::Unsupported(_) | Self::Wire(_) => Code::Unsupported,
            Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<DataFusionError> for PlanError {
    fn from(error: DataFusionError) -> Self {
        let text = error.strip_backtrace();
        match error.find_root() {
            DataFusionError::SQL(..) => Self::Syntax(text),
            DataFusionError::NotImplemented(what) => Self::Unsupported(what.clone()),
            DataFusionError::Internal(_) => Self::Internal(text),
            _ => Self::UnknownName(text),
        }
    }
}

/// The tables that the requester may know to exist: those that any choice of governing agreements shows.
pub fn visible_tables(input: &PlanningInput<'_>) -> Result<Vec<VisibleTable>, PlanError> {
    let state = crate::function::engine_state();
    let policy = policy(input);
    let mut visible: Vec<VisibleTable> = Vec::new();
    let mut named = BTreeSet::new();
    for governing in policy.choices(&stewards(input.catalog), &BTreeSet::new(), CHOICES_MAX, &state) {
        let tables = policy.visible(&governing, &state).tables;
        visible.extend(tables.into_iter().filter(|table| named.insert((table.site.clone(), table.name.clone()))));
    }
    Ok(visible)
}

/// What a query's answer and parameters look like, without deciding whether it is allowed: under the first choice of governing
/// agreements that shows all that it names.
pub fn describe_query(sql: &str, input: &PlanningInput<'_>) -> Result<Described, PlanError> {
    let state = crate::function::engine_state();
    let parsed = bind::parse(sql)?;
    let policy = policy(input);
    let mut failed = Failed::default();
    let (stewards, named) = (named_stewards(&parsed, input.catalog), named_tables(&parsed, input.default_schema));
    for governing in policy.choices(&stewards, &named, CHOICES_MAX, &state) {
        let shown = policy.visible(&governing, &state);
        let tables = VisibleTables::new(shown.tables, input.default_schema);
        if let Some(text) = why_hidden(&parsed, &tables, &shown.unfit, input.catalog) {
            failed.hidden(text);
            continue;
        }
        match bind(&parsed, &[], &tables, &state) {
            Ok(bound) => {
                let parameters = parameter_types(bound.plan())?;
                return Ok(Described { schema: answer_schema(bound.output()), parameters });
            }
            Err(error) => failed.unbound(error.into(), &parsed, &tables),
        }
    }
    let failed = failed.error().unwrap_or_else(|| PlanError::Internal("no choice of agreements".to_owned()));
    Err(unknown(failed, input))
}

/// Plans a query: the whole path, in order.
pub fn plan_query(sql: &str, parameters: &[ScalarValue], input: &PlanningInput<'_>) -> Result<Planned, PlanError> {
    let state = crate::function::engine_state();
    let parsed = bind::parse(sql)?;
    let policy = policy(input);
    let stewards = named_stewards(&parsed, input.catalog);
    let mut denials: Vec<Denial> = Vec::new();
    let mut failed = Failed::default();
    let choices = policy.choices(&stewards, &named_tables(&parsed, input.default_schema), CHOICES_MAX + 1, &state);
    for governing in choices.iter().take(CHOICES_MAX) {
        let shown = policy.visible(governing, &state);
        let tables = VisibleTables::new(shown.tables, input.default_schema);
        if let Some(text) = why_hidden(&parsed, &tables, &shown.unfit, input.catalog) {
            failed.hidden(text);
            continue;
        }
        let (governing, unfit) = (&shown.governing, &shown.unfit);
        let attempt = Attempt { policy: &policy, governing, unfit, tables: &tables, input, state: &state };
        match attempt.plan(&parsed, parameters) {
            Ok(Planned::Permitted(query)) => return Ok(Planned::Permitted(query)),
            Ok(Planned::Denied(denial)) => denials.push(denial),
            // Another agreement may show the column that this one hides.
            Err(error) => failed.unbound(error, &parsed, &tables),
        }
    }
    if let Some(error) = failed.error().filter(|_| denials.is_empty()) {
        return Err(unknown(error, input));
    }
    let mut reasons: Vec<Reason> = denials.into_iter().flat_map(|denial| denial.reasons).collect();
    if choices.len() > CHOICES_MAX {
        let text = format!(
            "only {CHOICES_MAX} combinations of agreements of several stewards were tried; say by SET dynamos.agreement = '…' \
             which one to begin with"
        );
        reasons.push(Reason { steward: None, text });
    }
    reasons.sort();
    reasons.dedup();
    Ok(Planned::Denied(Denial { reasons }))
}

/// Why no choice of governing agreements led to a decision.
#[derive(Debug, Default)]
struct Failed {
    /// The first error, and whether a table was not there.
    first: Option<(PlanError, bool)>,
    /// What is wrong with an agreement that would show a table which is not there.
    hidden: Option<String>,
}

impl Failed {
    fn unbound(&mut self, error: PlanError, parsed: &ParsedQuery, tables: &VisibleTables) {
        if self.first.is_none() {
            let missing = parsed.tables.iter().any(|table| tables.find(table).is_err());
            self.first = Some((error, missing));
        }
    }

    fn hidden(&mut self, text: String) {
        self.hidden.get_or_insert(text);
    }

    /// The error that is of most use.
    fn error(self) -> Option<PlanError> {
        match (self.first, self.hidden) {
            (None | Some((_, true)), Some(text)) => Some(PlanError::UnknownName(text)),
            (first, _) => first.map(|(error, _)| error),
        }
    }
}

/// What is wrong with an agreement that cannot be applied to its steward's tables, if one of those that it speaks of is named in
/// a query and not there.
fn why_hidden(
    parsed: &ParsedQuery,
    tables: &VisibleTables,
    unfit: &BTreeMap<(SiteId, TableName), String>,
    catalog: &Catalog,
) -> Option<String> {
    let means = |reference: &TableReference, steward: &SiteId, name: &TableName| match reference {
        TableReference::Full { catalog: site, schema, table } => {
            site.as_ref() == steward.as_str() && *name == TableName::new(schema.as_ref(), table.as_ref())
        }
        TableReference::Partial { schema, table } => {
            let stewards = catalog.federated.get(name).map(|federated| &federated.stewards);
            *name == TableName::new(schema.as_ref(), table.as_ref())
                && stewards.is_some_and(|stewards| stewards.contains(steward))
        }
        TableReference::Bare { table } => name.table.as_str() == table.as_ref(),
    };
    let mut missing = parsed.tables.iter().filter(|table| tables.find(table).is_err());
    missing.find_map(|table| {
        let mut hidden = unfit.iter().filter(|((steward, name), _)| means(table, steward, name));
        hidden.next().map(|(_, text)| text.clone())
    })
}

/// Without a purpose no agreement holds and no table exists for the requester: the error says so.
fn unknown(error: PlanError, input: &PlanningInput<'_>) -> PlanError {
    match error {
        PlanError::UnknownName(text) if input.purpose.is_none() => {
            PlanError::UnknownName(format!("{text}; {NO_PURPOSE}"))
        }
        other => other,
    }
}

const NO_PURPOSE: &str = "no purpose is declared: say SET dynamos.purpose = '…'";

pub(crate) fn policy<'a>(input: &PlanningInput<'a>) -> Policy<'a> {
    Policy {
        catalog: input.catalog,
        agreements: input.agreements,
        purposes: input.purposes,
        requester: input.requester,
        purpose: input.purpose.unwrap_or_default(),
        agreement: input.agreement,
        now: input.now,
    }
}

fn stewards(catalog: &Catalog) -> BTreeSet<SiteId> {
    let stewards = catalog.sites.iter().filter(|(_, site)| site.kind == SiteKind::Steward);
    stewards.map(|(name, _)| name.clone()).collect()
}

/// The stewards of all tables that a query names; all stewards if it names a table without its schema.
fn named_stewards(parsed: &ParsedQuery, catalog: &Catalog) -> BTreeSet<SiteId> {
    let mut named = BTreeSet::new();
    for table in &parsed.tables {
        match table {
            TableReference::Full { catalog, .. } => {
                named.insert(SiteId::new(catalog.as_ref()));
            }
            TableReference::Partial { schema, table } => {
                let name = TableName::new(schema.as_ref(), table.as_ref());
                named.extend(catalog.federated.get(&name).into_iter().flat_map(|table| table.stewards.clone()));
            }
            TableReference::Bare { .. } => return stewards(catalog),
        }
    }
    named.intersection(&stewards(catalog)).cloned().collect()
}

/// The tables that a query names; none if it names one whose schema is not known, which may be any.
fn named_tables(parsed: &ParsedQuery, default_schema: Option<&str>) -> BTreeSet<TableName> {
    let named =
        parsed.tables.iter().map(|table| Some(TableName::new(table.schema().or(default_schema)?, table.table())));
    named.collect::<Option<_>>().unwrap_or_default()
}

/// Planning under one choice of governing agreements.
struct Attempt<'a> {
    policy: &'a Policy<'a>,
    governing: &'a Governing<'a>,
    /// What is wrong with agreements that are none of these, because they cannot be applied to their stewards' tables.
    unfit: &'a BTreeMap<(SiteId, TableName), String>,
    /// What these show.
    tables: &'a VisibleTables,
    input: &'a PlanningInput<'a>,
    state: &'a SessionState,
}

impl Attempt<'_> {
    fn plan(&self, parsed: &ParsedQuery, parameters: &[ScalarValue]) -> Result<Planned, PlanError> {
        let (bound, normal) = debug_span!("bind").in_scope(|| self.bind(parsed, parameters))?;
        if let Some(denial) = self.unavailable(&stewards_in(&normal)?) {
            return Ok(Planned::Denied(denial));
        }
        // A condition that a clause releases rows under is looked for where the rows are scanned.
        if self.governing.values().any(|held| releases_under_condition(&held.agreement)) {
            let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> =
                vec![Arc::new(PushDownFilter::new()), Arc::new(OptimizeProjections::new())];
            let pushed = bind::optimize(normal.clone(), rules, self.state)?;
            // What is pushed through a join can also stand in the way of a clause over it. Rows that are released as rows are
            // released lowest.
            let points = |form: &LogicalPlan| -> Result<usize, PlanError> {
                let compliant = self.comply(&bound, form, &ClauseChoice::new())?;
                Ok(compliant.map_or(usize::MAX, |compliant| compliant.parts().len()))
            };
            let (first, second) =
                if points(&normal)? < points(&pushed)? { (&normal, &pushed) } else { (&pushed, &normal) };
            let planned = self.plan_form(&bound, first)?;
            if matches!(planned, Planned::Permitted(_)) {
                return Ok(planned);
            }
            return self.plan_form(&bound, second);
        }
        self.plan_form(&bound, &normal)
    }

    /// The bound plan and its normal form.
    fn bind(&self, parsed: &ParsedQuery, parameters: &[ScalarValue]) -> Result<(BoundPlan, LogicalPlan), PlanError> {
        let bound = bind(parsed, parameters, self.tables, self.state)?;
        let normal = restrict_stewards(localize(normalize(bound.plan().clone(), self.state)?, self.state)?)?;
        Ok((bound, normal))
    }

    /// The plan of a query in one of its forms.
    fn plan_form(&self, bound: &BoundPlan, normal: &LogicalPlan) -> Result<Planned, PlanError> {
        let first = match self.comply(bound, normal, &ClauseChoice::new())? {
            Ok(compliant) => compliant,
            Err(denial) => return Ok(Planned::Denied(self.explain_absence(denial))),
        };
        let others = first.other_choices();
        let planned = self.place(bound, normal, first)?;
        if matches!(planned, Planned::Permitted(_)) {
            return Ok(planned);
        }
        for choice in others {
            if let Ok(compliant) = self.comply(bound, normal, &choice)?
                && let Planned::Permitted(query) = self.place(bound, normal, compliant)?
            {
                return Ok(Planned::Permitted(query));
            }
        }
        Ok(planned)
    }

    fn comply(
        &self,
        bound: &BoundPlan,
        normal: &LogicalPlan,
        choice: &ClauseChoice,
    ) -> Result<Result<CompliantPlan, Denial>, PlanError> {
        let _span = debug_span!("policy_rewrite").entered();
        match comply(
            normal.clone(),
            Arc::clone(bound.output()),
            self.governing,
            &self.input.catalog.federated,
            choice,
            self.state,
        ) {
            Ok(compliant) => Ok(Ok(compliant)),
            Err(Stop::Denied(denial)) => Ok(Err(denial)),
            Err(Stop::Failed(error)) => Err(error.into()),
        }
    }

    /// The cheapest legal place for every operator.
    fn place(&self, bound: &BoundPlan, normal: &LogicalPlan, compliant: CompliantPlan) -> Result<Planned, PlanError> {
        let optimized = bind::optimize(compliant.plan().clone(), self.state.optimizers().to_vec(), self.state)?;
        let brought = compliant.brought().iter();
        let optimize = |one: &BroughtPlan| {
            let plan = bind::optimize(one.plan.clone(), self.state.optimizers().to_vec(), self.state)?;
            Ok::<_, DataFusionError>(BroughtPlan { plan, reader: one.reader })
        };
        let brought = brought.map(optimize).collect::<Result<Vec<_>, _>>()?;
        let legal = Legal { catalog: self.input.catalog, governing: self.governing, state: self.state };
        let families = [Placement::Auto, Placement::ComputeToData, Placement::DataToCompute].into_iter();
        let candidates = debug_span!("enumerate").in_scope(|| {
            let each = families
                .map(|family| enumerate(&compliant, &optimized, &brought, family, &legal, self.input.knowledge));
            each.collect::<Result<Vec<_>, _>>()
        })?;
        let path = QueryPath { bound: bound.clone(), normal: normal.clone(), compliant, optimized };
        self.choose(path, &candidates, &legal)
    }

    fn choose(&self, path: QueryPath, candidates: &[Candidates], legal: &Legal<'_>) -> Result<Planned, PlanError> {
        let compliant = &path.compliant;
        let wanted = candidates.iter().find(|candidate| candidate.family == self.input.placement);
        let Some(chosen) = wanted.and_then(|candidate| candidate.best.as_ref()) else {
            let text = match self.input.placement {
                Placement::Auto => "no place may do this: the agreements release the answer, but let neither rows nor partials of it go where they could be brought together".to_owned(),
                forced => format!("placement `{}` has no legal plan", forced.as_str()),
            };
            let mut reasons = vec![Reason { steward: None, text }];
            reasons.extend(legal.why_nowhere(compliant, self.input.placement));
            return Ok(Planned::Denied(Denial { reasons }));
        };
        let _span = debug_span!("fragment").entered();
        let parts = compliant.parts();
        let conditions =
            parts.iter().map(|part| conditions(&part.clauses, self.input.agreements)).collect::<Result<Vec<_>, _>>()?;
        let hashed = |part: &ProtectedPart, place: &SiteId, steward: &SiteId| legal.hashed_at(part, place, steward);
        let cut = cut(&chosen.placed, compliant.output(), parts, &conditions, &hashed, self.tables, self.state)?;
        let places: BTreeSet<SiteId> = cut.fragments.iter().map(|fragment| fragment.place.clone()).collect();
        let endpoints = places.into_iter().filter_map(|place| {
            let uri = self.input.catalog.sites.get(&place)?.uri.clone();
            Some((place, uri))
        });
        let graph = FragmentGraph {
            query: self.input.query.clone(),
            attempt: self.input.attempt,
            purpose: self.policy.purpose.to_owned(),
            catalog_version: self.input.catalog.version,
            fragments: cut.fragments,
            releases: cut.releases,
            endpoints: endpoints.collect(),
            governing: compliant.governing().clone(),
            planned_at_ms: self.input.now.0,
            expires_at_ms: self.input.now.0.saturating_add(GRAPH_VALID_MS),
            token_hash: self.input.token_hash.clone(),
            organisation: self.input.requester.organisation.clone(),
        };
        let schema = answer_schema(compliant.output());
        permit(graph, schema, path, candidates, self.input, self.state)
    }

    /// A steward that does not answer refuses by name, before anything is planned for it.
    fn unavailable(&self, stewards: &BTreeSet<SiteId>) -> Option<Denial> {
        let down = stewards.iter().filter(|steward| {
            self.input.catalog.sites.get(*steward).is_none_or(|site| site.availability == Availability::Down)
        });
        let reasons: Vec<Reason> = down
            .map(|steward| Reason {
                steward: Some(steward.clone()),
                text: format!(
                    "site `{steward}` does not answer now; ask later, or leave it out by a condition on `steward`"
                ),
            })
            .collect();
        (!reasons.is_empty()).then_some(Denial { reasons })
    }

    /// Says for stewards without an agreement why each of their agreements does not apply.
    fn explain_absence(&self, mut denial: Denial) -> Denial {
        let without: BTreeSet<SiteId> = denial.reasons.iter().filter_map(|reason| reason.steward.clone()).collect();
        for steward in without.into_iter().filter(|steward| !self.governing.contains_key(steward)) {
            let unfit = self.unfit.iter().find(|((of, _), _)| *of == steward).map(|(_, text)| vec![text.clone()]);
            let more = unfit.unwrap_or_else(|| self.policy.why_none(&steward)).into_iter();
            denial.reasons.extend(more.map(|text| Reason { steward: Some(steward.clone()), text }));
        }
        if self.input.purpose.is_none() {
            denial.reasons.insert(0, Reason { steward: None, text: NO_PURPOSE.to_owned() });
        }
        denial
    }
}

/// The answer's columns as clients see them: the names of the query, every column nullable.
fn answer_schema(output: &DFSchema) -> SchemaRef {
    let fields = output.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
