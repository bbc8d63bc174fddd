//! Enumerates placements bottom-up: for each operator, the cheapest way to have its rows in each distribution that the
//! agreements allow (dynamic programming over the plan tree and the places).

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, DataFusionError, JoinType, NullEquality, Result, not_impl_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    Aggregate, FetchType, Join, Limit, LogicalPlan, SkipType, Sort, TableScan, Union, Window, lit,
};
use datafusion::prelude::Expr;
use dynamos_proto::ids::SiteId;

use super::alternative::{Alternative, Alternatives};
use super::estimate::{self, Columns, Estimates};
use super::legal::Legal;
use super::placed::{Brought, Distribution, Placed, PlacedOp, Placement, ReleaseHow};
use super::split;
use crate::bind::{Origin, unalias, unpadded_origin};
use crate::catalog::STEWARD;
use crate::cost::{self, Cost};
use crate::knowledge::Knowledge;
use crate::policy::{BroughtPlan, CompliantPlan, ProtectedPart, Reader, brought_in};
use crate::wire::{Leaf, LeafTable};

/// The cheapest legal candidate of one family, or why there is none.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// The family.
    pub family: Placement,
    /// The candidate.
    pub best: Option<Alternative>,
}

/// The cheapest placement of a family whose rows end at the coordinator.
pub fn enumerate(
    plan: &CompliantPlan,
    optimized: &LogicalPlan,
    brought: &[BroughtPlan],
    family: Placement,
    legal: &Legal<'_>,
    knowledge: &Knowledge,
) -> Result<Candidates> {
    let stewards = plan.governing().keys().cloned().collect();
    let walk = Enumeration {
        legal,
        knowledge,
        family,
        parts: plan.parts(),
        brought,
        estimates: Estimates { catalog: legal.catalog },
        state: legal.state,
        stewards,
    };
    let root = walk.visit(optimized, Position::Root)?;
    let _span = tracing::debug_span!("cost", family = family.as_str()).entered();
    Ok(Candidates { family, best: root.to(&Distribution::At(SiteId::coordinator()), knowledge) })
}

/// Whether the order of an operator's rows reaches the requester.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Root,
    Inner,
}

pub(super) struct Enumeration<'a> {
    pub(super) legal: &'a Legal<'a>,
    pub(super) knowledge: &'a Knowledge,
    pub(super) family: Placement,
    parts: &'a [ProtectedPart],
    /// The released data that parts read.
    brought: &'a [BroughtPlan],
    estimates: Estimates<'a>,
    pub(super) state: &'a SessionState,
    stewards: BTreeSet<SiteId>,
}

/// Released data at the stewards that read them below a release point.
struct Bringing {
    brought: Brought,
    cost: Cost,
    /// Where all of them may be; none if there are none.
    places: Option<BTreeSet<SiteId>>,
}

impl Enumeration<'_> {
    pub(super) fn inner(&self, plan: &LogicalPlan) -> Result<Alternatives> {
        self.visit(plan, Position::Inner)
    }

    fn visit(&self, plan: &LogicalPlan, position: Position) -> Result<Alternatives> {
        match plan {
            LogicalPlan::TableScan(scan) => self.leaf(scan),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(self.constant(plan)),
            LogicalPlan::Filter(filter) => {
                let input = self.visit(&filter.input, position)?;
                let rows = (input.rows * estimate::selectivity(&filter.predicate, &input.columns)).max(1.0);
                let columns = input.columns.clone();
                Ok(self.stream(plan, &input, rows, columns))
            }
            LogicalPlan::Projection(projection) => {
                let input = self.visit(&projection.input, position)?;
                let columns = renamed(&projection.expr, &plan.schema().columns(), &input.columns);
                Ok(self.stream(plan, &input, input.rows, columns))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.visit(&alias.input, position)?;
                let pairs = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
                let columns = pairs.filter_map(|(from, to)| Some((to, *input.columns.get(&from)?))).collect();
                Ok(self.stream(plan, &input, input.rows, columns))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(plan, aggregate),
            LogicalPlan::Distinct(_) => self.gathered(plan, position),
            LogicalPlan::Window(window) => self.window(plan, window),
            LogicalPlan::Sort(sort) => self.sort(plan, sort, position),
            LogicalPlan::Limit(limit) => self.limit(plan, limit, position),
            LogicalPlan::Union(union) => self.union(plan, union),
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => self.inner_joins(plan),
            LogicalPlan::Join(join) => self.outer_join(plan, join),
            other => not_impl_err!("`{}` over several sites; write the query without it", other.display()),
        }
    }

    /// Places at which this family lets operators run, of those where the rows may be.
    pub(super) fn targets(&self, places: &BTreeSet<SiteId>) -> BTreeSet<SiteId> {
        let pick = |wanted: &dyn Fn(&SiteId) -> bool| -> BTreeSet<SiteId> {
            places.iter().filter(|place| wanted(place)).cloned().collect()
        };
        let preferred = match self.family {
            Placement::Auto => return places.clone(),
            Placement::ComputeToData => pick(&|place| self.stewards.contains(place)),
            Placement::DataToCompute => pick(&|place| self.legal.is_provider(place)),
        };
        if preferred.is_empty() { pick(&SiteId::is_coordinator) } else { preferred }
    }

    /// Whether this family lets operators that combine rows run where the rows are spread.
    pub(super) fn works_spread(&self) -> bool {
        self.family != Placement::DataToCompute
    }

    fn leaf(&self, scan: &TableScan) -> Result<Alternatives> {
        if let Some(Leaf::Release(id)) = Leaf::from_reference(&scan.table_name) {
            return self.release(scan, id.0 as usize);
        }
        let Some(table) = LeafTable::bound_to(scan) else {
            return not_impl_err!("a scan of `{}`", scan.table_name);
        };
        let schema = &scan.projected_schema;
        let (rows, columns) = self.estimates.scan(&table, schema);
        let mut ways = Alternatives::new(self.legal.rows(scan), Arc::clone(schema), rows, columns);
        let at = match table.stewards.iter().next() {
            Some(only) if table.stewards.len() == 1 => Distribution::At(only.clone()),
            _ => Distribution::Spread(table.stewards.clone()),
        };
        let placed = Placed {
            op: PlacedOp::Scan(LogicalPlan::TableScan(scan.clone())),
            at: at.clone(),
            rows,
            width: ways.width,
        };
        let cost = Cost::work(cost::scan_ms(rows, &at, self.knowledge));
        ways.offer(Alternative { placed: Arc::new(placed), cost });
        Ok(ways)
    }

    fn release(&self, scan: &TableScan, index: usize) -> Result<Alternatives> {
        let Some(part) = self.parts.get(index) else {
            return Err(DataFusionError::Internal(format!("no protected part {index}")));
        };
        // Each table's rows once, joins on keys keep the largest.
        let rows = self.part_rows(part);
        let groups = if part.shape.keys == 0 { 1.0 } else { (rows / 20.0).clamp(1.0, 5_000.0) };
        let schema = &scan.projected_schema;
        let releases = self.legal.releases(part);
        let places = releases.iter().flat_map(|(_, at, may)| may.iter().chain([at])).cloned().collect();
        let mut ways = Alternatives::new(places, Arc::clone(schema), groups, Columns::new());
        let spread = match part.stewards.iter().next() {
            Some(only) if part.stewards.len() == 1 => Distribution::At(only.clone()),
            _ => Distribution::Spread(part.stewards.clone()),
        };
        let Some(Bringing { brought, cost: bringing, places: readable }) = self.brought_to(part)? else {
            return Ok(ways);
        };
        let brought = Arc::new(brought);
        let input_width = estimate::width(part.input.schema());
        let work = Cost::work(cost::scan_ms(rows * 6.0, &spread, self.knowledge));
        for (how, place, _) in releases {
            // Rows that are sent tell of what kept them.
            let kept_there = how != ReleaseHow::Rows || readable.as_ref().is_none_or(|places| places.contains(&place));
            if !self.legal.in_family(how, &place, self.family) || !kept_there {
                continue;
            }
            let at = Distribution::At(place);
            let moved = match how {
                ReleaseHow::Beside => Cost::work(0.0),
                ReleaseHow::Merge => {
                    let stewards = part.stewards.len() as f64;
                    cost::exchange(groups * stewards, ways.width + 8.0, &spread, &at, self.knowledge)
                }
                ReleaseHow::Rows => cost::exchange(rows, input_width, &spread, &at, self.knowledge),
            };
            let op = PlacedOp::Release { part: index, how, brought: Arc::clone(&brought) };
            let placed = Placed { op, at, rows: groups, width: ways.width };
            ways.offer(Alternative { placed: Arc::new(placed), cost: work + moved + bringing });
        }
        Ok(ways)
    }

    /// The released data that a part reads, brought to each steward that reads them; none if they may not be there.
    fn brought_to(&self, part: &ProtectedPart) -> Result<Option<Bringing>> {
        let mut all = Bringing { brought: Brought::new(), cost: Cost::work(0.0), places: None };
        for side in &part.sides {
            for number in brought_in(&side.input) {
                let Some(BroughtPlan { plan, reader }) = self.brought.get(number) else {
                    return Err(DataFusionError::Internal(format!("no released data {number}")));
                };
                let ways = self.inner(plan)?;
                for steward in &side.stewards {
                    let here = Distribution::At(steward.clone());
                    let way = match reader {
                        Reader::OfAll => ways.to(&here, self.knowledge),
                        Reader::OfItsOwn if side.stewards.len() == 1 => ways.by_distribution.get(&here).cloned(),
                        Reader::OfItsOwn => {
                            ways.by_distribution.get(&Distribution::Spread(side.stewards.clone())).cloned()
                        }
                    };
                    let Some(way) = way else { return Ok(None) };
                    all.cost = all.cost + way.cost;
                    all.brought.insert((number, steward.clone()), way.placed);
                }
                all.places = Some(match all.places {
                    None => ways.places,
                    Some(places) => common([&places, &ways.places]),
                });
            }
        }
        Ok(Some(all))
    }

    fn part_rows(&self, part: &ProtectedPart) -> f64 {
        let of_tables = part.sides.iter().flat_map(|side| side.relation.tables.keys()).map(|name| {
            let tables = part.stewards.iter().filter_map(|steward| self.legal.catalog.table(steward, name));
            tables.map(|table| table.statistics.rows as f64).sum::<f64>()
        });
        of_tables.fold(1.0, f64::max)
    }

    /// Literals: every place can make them.
    fn constant(&self, plan: &LogicalPlan) -> Alternatives {
        let rows = match plan {
            LogicalPlan::Values(values) => values.values.len() as f64,
            _ => 1.0,
        };
        let places: BTreeSet<SiteId> = self.legal.candidates().cloned().collect();
        let mut ways = Alternatives::new(places.clone(), Arc::clone(plan.schema()), rows, Columns::new());
        for place in places {
            let at = Distribution::At(place);
            let placed = Placed { op: PlacedOp::Constant(plan.clone()), at, rows, width: ways.width };
            ways.offer(Alternative { placed: Arc::new(placed), cost: Cost::work(0.0) });
        }
        ways
    }

    /// An operator over inputs that are where it runs.
    pub(super) fn node(
        &self,
        plan: &LogicalPlan,
        inputs: &[&Alternative],
        at: Distribution,
        rows: f64,
        width: f64,
    ) -> Alternative {
        let input_rows: Vec<f64> = inputs.iter().map(|input| input.placed.rows).collect();
        let work = cost::operator_ms(plan, &input_rows, rows, &at, self.knowledge);
        let cost = inputs.iter().map(|input| input.cost).sum::<Cost>() + Cost::work(work);
        let inputs = inputs.iter().map(|input| Arc::clone(&input.placed)).collect();
        let placed = Placed { op: PlacedOp::Node { plan: plan.clone(), inputs }, at, rows, width };
        Alternative { placed: Arc::new(placed), cost }
    }

    /// Operators that work row by row run where the rows are.
    fn stream(&self, plan: &LogicalPlan, input: &Alternatives, rows: f64, columns: Columns) -> Alternatives {
        let mut ways = Alternatives::new(input.places.clone(), Arc::clone(plan.schema()), rows, columns);
        for (at, way) in &input.by_distribution {
            let node = self.node(plan, &[way], at.clone(), rows, ways.width);
            ways.offer(node);
        }
        ways
    }

    /// Operators that need all rows at one place.
    fn gathered(&self, plan: &LogicalPlan, position: Position) -> Result<Alternatives> {
        let inputs = plan.inputs();
        let [input] = inputs.as_slice() else { return not_impl_err!("`{}`", plan.display()) };
        let input = self.visit(input, position)?;
        let mut ways =
            Alternatives::new(input.places.clone(), Arc::clone(plan.schema()), input.rows, input.columns.clone());
        self.offer_gathered(plan, &input, &mut ways);
        Ok(ways)
    }

    fn offer_gathered(&self, plan: &LogicalPlan, input: &Alternatives, ways: &mut Alternatives) {
        for place in self.targets(&input.places) {
            let at = Distribution::At(place);
            if let Some(way) = input.to(&at, self.knowledge) {
                let node = self.node(plan, &[&way], at, ways.rows, ways.width);
                ways.offer(node);
            }
        }
    }

    fn aggregate(&self, plan: &LogicalPlan, aggregate: &Aggregate) -> Result<Alternatives> {
        let input = self.inner(&aggregate.input)?;
        let rows = estimate::groups(input.rows, &aggregate.group_expr, &input.columns);
        let columns = renamed(&aggregate.group_expr, &plan.schema().columns(), &input.columns);
        let mut ways = Alternatives::new(input.places.clone(), Arc::clone(plan.schema()), rows, columns);
        self.offer_gathered(plan, &input, &mut ways);
        if !self.works_spread() {
            return Ok(ways);
        }
        if aggregate.group_expr.iter().any(|key| self.tells_steward(&aggregate.input, key)) {
            for (stewards, way) in input.spread() {
                let node = self.node(plan, &[way], Distribution::Spread(stewards.clone()), rows, ways.width);
                ways.offer(node);
            }
        }
        let Some(parts) = split::split(aggregate, self.state)? else { return Ok(ways) };
        let merge_places: BTreeSet<SiteId> =
            self.targets(&input.places).into_iter().chain([SiteId::coordinator()]).collect();
        for way in input.by_distribution.values() {
            // The groups that each place sends.
            let sent = rows * way.placed.at.places().len() as f64;
            let partial_width = estimate::width(parts.partial.schema());
            let partial = self.node(&parts.partial, &[way], way.placed.at.clone(), sent.min(input.rows), partial_width);
            let schema = Arc::clone(parts.partial.schema());
            let mut partials = Alternatives::new(input.places.clone(), schema, partial.placed.rows, Columns::new());
            partials.offer(partial);
            for place in &merge_places {
                let at = Distribution::At(place.clone());
                if way.placed.at == at {
                    continue;
                }
                let Some(moved) = partials.to(&at, self.knowledge) else { continue };
                let merged = self.node(&parts.merge, &[&moved], at.clone(), rows, partial_width);
                let finished = self.node(&parts.finish, &[&merged], at, rows, ways.width);
                ways.offer(finished);
            }
        }
        Ok(ways)
    }

    /// Whether rows with equal values of this expression are all at one steward.
    pub(super) fn tells_steward(&self, plan: &LogicalPlan, expr: &Expr) -> bool {
        let Expr::Column(column) = unalias(expr) else { return false };
        steward_column(plan, column)
    }

    fn window(&self, plan: &LogicalPlan, window: &Window) -> Result<Alternatives> {
        let input = self.inner(&window.input)?;
        let mut ways =
            Alternatives::new(input.places.clone(), Arc::clone(plan.schema()), input.rows, input.columns.clone());
        self.offer_gathered(plan, &input, &mut ways);
        let by_steward = window.window_expr.iter().all(|expr| match unalias(expr) {
            Expr::WindowFunction(call) => {
                call.params.partition_by.iter().any(|key| self.tells_steward(&window.input, key))
            }
            _ => false,
        });
        if by_steward && self.works_spread() {
            for (stewards, way) in input.spread() {
                let node = self.node(plan, &[way], Distribution::Spread(stewards.clone()), input.rows, ways.width);
                ways.offer(node);
            }
        }
        Ok(ways)
    }

    /// The order that the requester sees is made at the coordinator, after the last exchange. Where only the first rows
    /// are wanted, each place sends its own first ones.
    fn sort(&self, plan: &LogicalPlan, sort: &Sort, position: Position) -> Result<Alternatives> {
        let mut input = self.inner(&sort.input)?;
        if let Some(fetch) = sort.fetch {
            input = self.first_rows(plan, input, fetch as f64);
        }
        let rows = sort.fetch.map_or(input.rows, |fetch| input.rows.min(fetch as f64));
        self.at_end(plan, &input, rows, position)
    }

    fn limit(&self, plan: &LogicalPlan, limit: &Limit, position: Position) -> Result<Alternatives> {
        let input = self.visit(&limit.input, position)?;
        let (FetchType::Literal(fetch), SkipType::Literal(skip)) = (limit.get_fetch_type()?, limit.get_skip_type()?)
        else {
            return not_impl_err!("LIMIT and OFFSET take numbers");
        };
        let rows = fetch.map_or(input.rows, |fetch| input.rows.min(fetch as f64));
        let sorted = matches!(limit.input.as_ref(), LogicalPlan::Sort(_));
        let input = match fetch {
            Some(fetch) if !sorted => {
                let wanted = fetch.saturating_add(skip);
                let local = LogicalPlan::Limit(Limit {
                    skip: None,
                    fetch: Some(Box::new(lit(i64::try_from(wanted).unwrap_or(i64::MAX)))),
                    input: Arc::clone(&limit.input),
                });
                self.first_rows(&local, input, wanted as f64)
            }
            Some(_) | None => input,
        };
        self.at_end(plan, &input, rows, position)
    }

    /// Ways in which each place keeps only the rows that can be among the first.
    fn first_rows(&self, plan: &LogicalPlan, input: Alternatives, wanted: f64) -> Alternatives {
        if !self.works_spread() {
            return input;
        }
        let most = input.by_distribution.keys().map(|at| at.places().len()).max().unwrap_or(1) as f64;
        let rows = input.rows.min(wanted * most);
        let mut ways = Alternatives::new(input.places.clone(), Arc::clone(&input.schema), rows, input.columns.clone());
        for (at, way) in &input.by_distribution {
            let node = self.node(plan, &[way], at.clone(), rows, ways.width);
            ways.offer(node);
        }
        ways
    }

    fn at_end(&self, plan: &LogicalPlan, input: &Alternatives, rows: f64, position: Position) -> Result<Alternatives> {
        let mut ways = Alternatives::new(input.places.clone(), Arc::clone(plan.schema()), rows, input.columns.clone());
        match position {
            Position::Inner => self.offer_gathered(plan, input, &mut ways),
            Position::Root => {
                let at = Distribution::At(SiteId::coordinator());
                if let Some(way) = input.to(&at, self.knowledge) {
                    let node = self.node(plan, &[&way], at, rows, ways.width);
                    ways.offer(node);
                }
            }
        }
        Ok(ways)
    }

    fn union(&self, plan: &LogicalPlan, union: &Union) -> Result<Alternatives> {
        let inputs = union.inputs.iter().map(|input| self.inner(input)).collect::<Result<Vec<_>>>()?;
        let rows = inputs.iter().map(|input| input.rows).sum();
        let places = common(inputs.iter().map(|input| &input.places));
        let mut ways = Alternatives::new(places.clone(), Arc::clone(plan.schema()), rows, Columns::new());
        // The branches may come together wherever all may be; in every family the coordinator is such a place.
        for place in self.targets(&places).into_iter().chain([SiteId::coordinator()]) {
            let at = Distribution::At(place);
            let moved: Option<Vec<Alternative>> = inputs.iter().map(|input| input.to(&at, self.knowledge)).collect();
            if let Some(moved) = moved {
                let node = self.node(plan, &moved.iter().collect::<Vec<_>>(), at, rows, ways.width);
                ways.offer(node);
            }
        }
        let spreads: BTreeSet<BTreeSet<SiteId>> =
            inputs.iter().flat_map(|input| input.spread().map(|(stewards, _)| stewards.clone())).collect();
        for stewards in spreads {
            let at = Distribution::Spread(stewards);
            let here: Option<Vec<&Alternative>> = inputs.iter().map(|input| input.by_distribution.get(&at)).collect();
            if let Some(here) = here {
                let node = self.node(plan, &here, at, rows, ways.width);
                ways.offer(node);
            }
        }
        Ok(ways)
    }

    fn outer_join(&self, plan: &LogicalPlan, join: &Join) -> Result<Alternatives> {
        let (left, right) = (self.inner(&join.left)?, self.inner(&join.right)?);
        let mut columns = left.columns.clone();
        columns.extend(right.columns.iter().map(|(column, known)| (column.clone(), *known)));
        let matched = estimate::join_rows(left.rows, right.rows, &join.on, join.filter.as_ref(), &columns);
        let rows = match join.join_type {
            JoinType::Left | JoinType::LeftMark => matched.max(left.rows),
            JoinType::Right | JoinType::RightMark => matched.max(right.rows),
            JoinType::Full => matched.max(left.rows + right.rows),
            JoinType::LeftSemi => matched.min(left.rows),
            JoinType::RightSemi => matched.min(right.rows),
            JoinType::LeftAnti => (left.rows * 0.5).max(1.0),
            JoinType::RightAnti => (right.rows * 0.5).max(1.0),
            JoinType::Inner => matched,
        };
        let rows = if join.join_type == JoinType::LeftMark { left.rows } else { rows };
        let places = common([&left.places, &right.places]);
        let mut ways = Alternatives::new(places, Arc::clone(plan.schema()), rows, columns);
        self.offer_join(plan, join, &left, &right, &mut ways);
        Ok(ways)
    }

    /// Every way to place one join: both sides at one place; both spread and joined steward by steward; one side spread
    /// and the other brought whole to each steward.
    pub(super) fn offer_join(
        &self,
        plan: &LogicalPlan,
        join: &Join,
        left: &Alternatives,
        right: &Alternatives,
        ways: &mut Alternatives,
    ) {
        for place in self.targets(&ways.places) {
            let at = Distribution::At(place);
            if let (Some(left), Some(right)) = (left.to(&at, self.knowledge), right.to(&at, self.knowledge)) {
                let node = self.node(plan, &[&left, &right], at, ways.rows, ways.width);
                ways.offer(node);
            }
        }
        if !self.works_spread() {
            return;
        }
        for (stewards, spread) in left.spread() {
            let at = Distribution::Spread(stewards.clone());
            if by_steward(join)
                && let Some(other) = right.by_distribution.get(&at)
            {
                let node = self.node(plan, &[spread, other], at.clone(), ways.rows, ways.width);
                ways.offer(node);
            }
            if keeps_left(join.join_type)
                && let Some(other) = right.to(&at, self.knowledge)
            {
                let node = self.node(plan, &[spread, &other], at, ways.rows, ways.width);
                ways.offer(node);
            }
        }
        for (stewards, spread) in right.spread() {
            let at = Distribution::Spread(stewards.clone());
            if keeps_right(join.join_type)
                && let Some(other) = left.to(&at, self.knowledge)
            {
                let node = self.node(plan, &[&other, spread], at, ways.rows, ways.width);
                ways.offer(node);
            }
        }
    }
}

/// The right side may be whole at each steward: no row of it is given by itself.
fn keeps_left(kind: JoinType) -> bool {
    matches!(kind, JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark)
}

fn keeps_right(kind: JoinType) -> bool {
    matches!(kind, JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark)
}

/// Whether rows that match in this join are at one steward: it compares stewards, or a key that both sides declare to be at
/// one steward only.
fn by_steward(join: &Join) -> bool {
    let nulls_match = join.null_equality == NullEquality::NullEqualsNull;
    join.on.iter().any(|(left, right)| {
        let (Expr::Column(left), Expr::Column(right)) = (unalias(left), unalias(right)) else { return false };
        // A NULL may be at every steward.
        if nulls_match && !(steward_column(&join.left, left) && steward_column(&join.right, right)) {
            return false;
        }
        let (one, other) = (unpadded_origin(&join.left, left), unpadded_origin(&join.right, right));
        let (Some(one), Some(other)) = (one, other) else { return false };
        let stewards = one.column == STEWARD && other.column == STEWARD;
        let key = |origin: &Origin| origin.table.colocated.get(&origin.column).cloned();
        let colocated = key(&one).is_some_and(|of_one| key(&other) == Some(of_one));
        one.table.site.is_none() && other.table.site.is_none() && (stewards || colocated)
    })
}

/// Whether all rows with one value of this column, NULL included, are at one steward. What is declared of a key says nothing
/// of NULL.
fn steward_column(plan: &LogicalPlan, column: &Column) -> bool {
    unpadded_origin(plan, column).is_some_and(|Origin { table, column }| {
        let never_null = || table.schema.field_with_name(&column).is_ok_and(|field| !field.is_nullable());
        table.site.is_none() && (column == STEWARD || (table.colocated.contains_key(&column) && never_null()))
    })
}

/// What is known of columns that are passed on under other names.
fn renamed(exprs: &[Expr], names: &[Column], known: &Columns) -> Columns {
    let pairs = exprs.iter().zip(names);
    pairs
        .filter_map(|(expr, name)| match unalias(expr) {
            Expr::Column(column) => Some((name.clone(), *known.get(column)?)),
            _ => None,
        })
        .collect()
}

/// Places that are in every set.
pub(super) fn common<'a>(sets: impl IntoIterator<Item = &'a BTreeSet<SiteId>>) -> BTreeSet<SiteId> {
    let mut sets = sets.into_iter();
    let first = sets.next().cloned().unwrap_or_default();
    sets.fold(first, |all, set| all.intersection(set).cloned().collect())
}
