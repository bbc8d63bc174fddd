//! The independent check of a placed graph: walks every edge and puts the clause beside it that allows it, or refuses.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use dynamos_proto::ids::{FragmentId, SiteId};
use thiserror::Error;

use super::carried::Carried;
use super::flow::{Flow, Protected, Source};
use super::hashing::{HashListing, hashed_at_home, sharers};
use super::matching::shipped_partials;
use super::{AgreementSet, Archetype, Clause, HeldAgreement, MinimumScope, PlaceRef, Purposes, Requester, UtcMillis};
use crate::candidate::place_matches;
use crate::catalog::TableName;
use crate::fragment::{Fragment, FragmentGraph, ReleaseInput, ReleasePoint};
use crate::function::KeyDomain;
use crate::wire::Leaf;

/// So many fragments may read one another in a row: each is walked by recursion.
const FRAGMENTS_DEEP_MAX: usize = 32;

/// What `ROLE …` and `REGION …` of a SHIP clause match a place by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceFacts {
    /// Its roles.
    pub roles: BTreeSet<String>,
    /// Its regions.
    pub regions: BTreeSet<String>,
}

/// For whom a graph is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Viewpoint {
    /// The whole graph, with every steward's agreements at hand.
    Planner,
    /// One place: every edge that carries something of its own tables, and every release point that it executes.
    Site(SiteId),
}

/// What a graph is checked against.
pub struct CheckInput<'a> {
    /// For whom.
    pub viewpoint: Viewpoint,
    /// The agreements that the checking place holds itself.
    pub agreements: &'a AgreementSet,
    /// Who asks, as the requester's organisation signed; unknown to a place that only computes.
    pub requester: Option<&'a Requester>,
    /// Roles and regions of the places, as the checking place knows them.
    pub places: &'a BTreeMap<SiteId, PlaceFacts>,
    /// Resolves functions.
    pub state: &'a SessionState,
    /// The present.
    pub now: UtcMillis,
    /// Which purposes lie below which, by version.
    pub purposes: &'a Purposes,
    /// Whether an entity key of a steward's table tells apart the people of several stewards, too: its values are the
    /// steward's own, or no two stewards have one in common. Else one person at two stewards would count as two.
    pub counts_add: &'a dyn Fn(&SiteId, &TableName, &str) -> bool,
    /// Within what the values of a steward's column mean the same entity; none if it is no entity key.
    pub key_domain: &'a dyn Fn(&SiteId, &TableName, &str) -> Option<KeyDomain>,
    /// All stewards of the federated table that a steward's table is a part of, as the checking place knows them; none if it is
    /// part of none.
    pub federated: &'a dyn Fn(&SiteId, &TableName) -> Option<BTreeSet<SiteId>>,
}

/// An edge that was found allowed, with the reason.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeVerdict {
    /// The sending fragment.
    pub from: FragmentId,
    /// The receiving fragment; none for the requester.
    pub to: Option<FragmentId>,
    /// What leaves, in words: `rows of wages.personen (geslacht, salschal)`, `partials of r0`, `released r0`.
    pub what: String,
    /// The same for reports.
    pub carried: Carried,
    /// Clauses that allow it: steward, agreement, epoch, clause number.
    pub clauses: Vec<String>,
    /// The steward, where it is rows that a RELEASE ROWS clause released at the scan.
    pub rows_of: Option<SiteId>,
}

/// Why a graph may not run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The fragment at fault, where one is.
    pub fragment: Option<FragmentId>,
    /// What is not allowed, by which steward's agreement or its absence.
    pub reason: String,
}

impl Refusal {
    pub(super) fn at(fragment: FragmentId, reason: impl Into<String>) -> Self {
        Self { fragment: Some(fragment), reason: reason.into() }
    }

    pub(super) fn whole(reason: impl Into<String>) -> Self {
        Self { fragment: None, reason: reason.into() }
    }
}

/// Checks a graph: derives from the plans, as they were read from the wire, what every fragment's output holds, and finds
/// for each edge the clauses that allow it. What is not understood is refused.
pub fn check_graph(graph: &FragmentGraph, input: &CheckInput<'_>) -> Result<Vec<EdgeVerdict>, Refusal> {
    let check = Check { graph, input, sharers: sharers(graph), shapes: false };
    check.structure()?;
    hashed_at_home(graph)?;
    check.agreements()?;
    let mut verdicts = Vec::new();
    for fragment in &graph.fragments {
        let flow = check.output(fragment, &mut Vec::new())?;
        verdicts.extend(check.edge(fragment, &flow)?);
    }
    for point in &graph.releases {
        let joins = check.release(point, &mut Vec::new())?;
        let released = Source::Groups(point.id).to_string();
        for verdict in verdicts.iter_mut().filter(|verdict| verdict.what == released) {
            verdict
                .clauses
                .extend(joins.iter().filter(|clause| !verdict.clauses.contains(clause)).cloned().collect::<Vec<_>>());
        }
    }
    check.shares_with_those_it_meets()?;
    Ok(verdicts)
}

#[derive(Clone)]
pub(super) struct Check<'a> {
    pub(super) graph: &'a FragmentGraph,
    pub(super) input: &'a CheckInput<'a>,
    /// Who shares the key of hashes.
    pub(super) sharers: BTreeSet<SiteId>,
    /// Whether rows of stewards that the checking place does not answer for are followed, too: tables, joins and conditions,
    /// by no agreement.
    pub(super) shapes: bool,
}

impl Check<'_> {
    /// Numbers are unique, there is one root, at the coordinator, and every reader and writer knows the other.
    fn structure(&self) -> Result<(), Refusal> {
        let mut seen = BTreeSet::new();
        for fragment in &self.graph.fragments {
            if !seen.insert(fragment.id) {
                return Err(Refusal::at(fragment.id, "two fragments have this number"));
            }
            match fragment.consumer {
                None if fragment.id == FragmentId(0) && fragment.place.is_coordinator() => {}
                None => return Err(Refusal::at(fragment.id, "only fragment f0 at the coordinator gives the answer")),
                Some(consumer) if self.graph.fragment(consumer).is_some() && fragment.id != FragmentId(0) => {}
                Some(_) => return Err(Refusal::at(fragment.id, "its output has no reader")),
            }
        }
        let mut seen = BTreeSet::new();
        for point in &self.graph.releases {
            if !seen.insert(point.id) {
                return Err(Refusal::whole(format!("two release points are called {}", point.id)));
            }
            if self.graph.fragment(point.fragment).is_none() {
                return Err(Refusal::whole(format!("release point {} belongs to no fragment", point.id)));
            }
            if let ReleaseInput::Complete(rows) = &point.input {
                read_once(point.fragment, rows)?;
            }
        }
        self.graph.fragments.iter().try_for_each(|fragment| read_once(fragment.id, &fragment.plan))
    }

    /// Every governing agreement that the checking place answers for is held in that version and applies, and the requester
    /// is of the organisation that release points take it to be of.
    fn agreements(&self) -> Result<(), Refusal> {
        for steward in self.graph.governing.keys().filter(|steward| self.answers_for(steward)) {
            self.governing(steward)?;
        }
        if self.input.requester.is_some_and(|requester| requester.organisation != self.graph.organisation) {
            return Err(Refusal::whole(format!("the requester is not of `{}`", self.graph.organisation)));
        }
        Ok(())
    }

    /// Whether the checking place decides about a steward's data.
    pub(super) fn answers_for(&self, steward: &SiteId) -> bool {
        match &self.input.viewpoint {
            Viewpoint::Planner => true,
            Viewpoint::Site(me) => me == steward,
        }
    }

    /// The agreement that governs a steward's data in this query, from the checking place's own copies.
    pub(super) fn governing(&self, steward: &SiteId) -> Result<&HeldAgreement, Refusal> {
        let Some(named) = self.graph.governing.get(steward) else {
            return Err(Refusal::whole(format!("no agreement of `{steward}` governs the query")));
        };
        let held = self.input.agreements.get(steward, &named.agreement);
        let Some(held) = held.filter(|held| held.epoch == named.epoch) else {
            let text =
                format!("agreement `{}` of `{steward}` is not in force in epoch {}", named.agreement, named.epoch);
            return Err(Refusal::whole(text));
        };
        let Some(requester) = self.input.requester else {
            return Err(Refusal::whole("a steward's agreement needs to know who asks"));
        };
        held.applies_to(requester, &self.graph.purpose, self.input.now, self.input.purposes)
            .map_err(|reason| Refusal::whole(reason.to_string()))?;
        Ok(held)
    }

    fn names(&self, targets: &[PlaceRef], place: &SiteId) -> bool {
        let none = PlaceFacts::default();
        let facts = self.input.places.get(place).unwrap_or(&none);
        place_matches(targets, place, &facts.roles, &facts.regions)
    }

    /// What a fragment's output holds.
    pub(super) fn output(&self, fragment: &Fragment, path: &mut Vec<FragmentId>) -> Result<Flow, Refusal> {
        if path.contains(&fragment.id) {
            return Err(Refusal::at(fragment.id, "fragments read each other in a circle"));
        }
        if path.len() >= FRAGMENTS_DEEP_MAX {
            let text = format!("more than {FRAGMENTS_DEEP_MAX} fragments read one another in a row");
            return Err(Refusal::at(fragment.id, text));
        }
        path.push(fragment.id);
        let flow = self.derive(&fragment.plan, fragment, path)?;
        path.pop();
        let Some(release) = fragment.partial_of else { return Ok(flow) };
        // A shape is checked with the rows that enter its release point; partials that do not enter would have any shape.
        let enters = self.graph.release(release).is_some_and(|point| match &point.input {
            ReleaseInput::Merge(senders) => senders.contains(&fragment.id),
            ReleaseInput::Complete(_) => false,
        });
        if !enters {
            return Err(Refusal::at(fragment.id, format!("release point {release} does not merge its partials")));
        }
        let stewards: BTreeSet<&SiteId> =
            flow.protected.iter().map(|rows| &rows.steward).chain(&flow.foreign).collect();
        let own = flow.protected.len() <= 1 && stewards == BTreeSet::from([&fragment.place]);
        if own && flow.sources.is_empty() && !flow.invented {
            return Ok(flow);
        }
        Err(Refusal::at(fragment.id, "partials are made of one steward's protected rows and of nothing else"))
    }

    /// The clauses that let a fragment's output go to its reader.
    fn edge(&self, fragment: &Fragment, flow: &Flow) -> Result<Vec<EdgeVerdict>, Refusal> {
        self.hashes_own_rows(fragment, flow)?;
        let reader = fragment.consumer.and_then(|id| self.graph.fragment(id));
        let Some(reader) = reader else {
            if let Some(rows) = flow.protected.iter().find(|rows| rows.holds_hash()) {
                return Err(Refusal::at(fragment.id, format!("hashed keys of `{}` reach the requester", rows.steward)));
            }
            let flow = flow.clone().settled();
            return match flow.protected.first() {
                Some(rows) => {
                    Err(Refusal::at(fragment.id, format!("protected rows of `{}` reach the requester", rows.steward)))
                }
                None => {
                    let sources = flow.sources.union(&flow.kept_by);
                    Ok(sources.map(|source| released(fragment, source, self.basis(source))).collect())
                }
            };
        };
        let mut verdicts = Vec::new();
        for rows in &flow.protected {
            // Rows that are released go as such where their tables may; partials are made of them all the same.
            let tables = rows.free.iter().map(|source| Ok((source, self.released_may_go(source, &reader.place)?)));
            let tables: Result<Vec<(&Source, Vec<String>)>, String> = tables.collect();
            if fragment.partial_of.is_none()
                && rows.is_free()
                && !rows.holds_hash()
                && let Ok(tables) = tables
            {
                let released = tables
                    .into_iter()
                    .map(|(source, basis)| verdict(fragment, source.carried(), source.to_string(), basis));
                verdicts.extend(released);
                continue;
            }
            let (carried, what) = match fragment.partial_of {
                Some(release) => {
                    (Carried::Partials(release, rows.carried()), format!("partials of {release} over {rows}"))
                }
                None => (Carried::Rows(rows.carried()), rows.to_string()),
            };
            let clause = match fragment.partial_of {
                Some(release) => {
                    let point =
                        self.graph.release(release).ok_or_else(|| Refusal::at(fragment.id, "no such release point"))?;
                    if point.fragment != reader.id {
                        return Err(Refusal::at(fragment.id, "partials go to another place than their release point"));
                    }
                    self.partials_may_go(point, rows, &reader.place)
                        .map_err(|reasons| Refusal::at(fragment.id, reasons))?
                }
                None => self.rows_may_go(rows, &reader.place).map_err(|reasons| Refusal::at(fragment.id, reasons))?,
            };
            verdicts.push(verdict(fragment, carried, what, vec![clause]));
        }
        // Partials tell of a list what their own release does.
        let (none, of_partials) = (BTreeSet::new(), fragment.partial_of.is_some());
        let kept_by = if of_partials { &none } else { &flow.kept_by };
        for source in flow.sources.union(kept_by) {
            let basis = self.released_may_go(source, &reader.place).map_err(|reasons| {
                Refusal::at(fragment.id, format!("{source} may not be at `{}`: {reasons}", reader.place))
            })?;
            verdicts.push(released(fragment, source, basis));
        }
        Ok(verdicts)
    }

    fn partials_may_go(&self, point: &ReleasePoint, rows: &Protected, place: &SiteId) -> Result<String, String> {
        if rows.steward == *place {
            return Ok(format!("{place}: its own"));
        }
        let held = self.governing(&rows.steward).map_err(|refusal| refusal.reason)?;
        let released = point.scope == MinimumScope::PerSite && place.is_coordinator();
        let Some(clause) = point.clauses.iter().find(|clause| clause.steward == rows.steward) else {
            return Err(format!("release point {} names no clause of `{}`", point.id, rows.steward));
        };
        if released {
            return Ok(cite(&rows.steward, held, clause.clause));
        }
        let number = shipped_partials(&held.agreement, clause.clause, &|targets| self.names(targets, place))
            .map_err(|reasons| format!("partials may not go to `{place}`: {}", reasons.join("; ")))?;
        Ok(cite(&rows.steward, held, number))
    }

    fn rows_may_go(&self, rows: &Protected, place: &SiteId) -> Result<String, String> {
        if rows.steward == *place {
            return Ok(format!("{place}: its own"));
        }
        if !rows.partners.is_empty() {
            return Err("rows of several stewards that are joined go no further than to their release point".into());
        }
        let held = self.governing(&rows.steward).map_err(|refusal| refusal.reason)?;
        let forbidden = held.agreement.clauses.iter().any(|clause| match &clause.clause {
            Clause::Archetypes(allowed) => !allowed.contains(&Archetype::DataToCompute),
            _ => false,
        });
        if forbidden {
            return Err(format!("agreement `{}` of `{}` lets no rows leave", held.agreement.name, rows.steward));
        }
        let at = |targets: &[PlaceRef]| self.names(targets, place);
        self.hashes_may_go(rows, place)?;
        let number = rows
            .relation
            .shipped_rows(&held.agreement, &rows.columns, &at, HashListing::HashOrKey, self.input.state)
            .map_err(|reasons| format!("rows may not go to `{place}`: {}", reasons.join("; ")))?;
        Ok(cite(&rows.steward, held, number))
    }

    /// Released data may be at the coordinator, at their steward, and where SHIP lets the relation or its clause go.
    fn released_may_go(&self, source: &Source, place: &SiteId) -> Result<Vec<String>, String> {
        if place.is_coordinator() {
            return Ok(self.basis(source));
        }
        match source {
            Source::Rows(released) => Ok(vec![self.rows_may_go(&released.rows, place)?]),
            Source::Groups(point) => {
                let point = self.graph.release(*point).ok_or("no such release point")?;
                let own = point.clauses.iter().all(|clause| clause.steward == *place);
                let mut basis = Vec::new();
                for clause in point.clauses.iter().filter(|clause| self.answers_for(&clause.steward) && !own) {
                    let held = self.governing(&clause.steward).map_err(|refusal| refusal.reason)?;
                    if clause.steward == *place {
                        continue;
                    }
                    let partials =
                        shipped_partials(&held.agreement, clause.clause, &|targets| self.names(targets, place));
                    match partials {
                        Ok(number) => basis.push(cite(&clause.steward, held, number)),
                        Err(reasons) => match self.release_rows_at(point, &clause.steward, place) {
                            Ok(by_rows) => basis.push(by_rows),
                            Err(more) => return Err(format!("{}; {more}", reasons.join("; "))),
                        },
                    }
                }
                Ok(basis)
            }
        }
    }

    /// The clauses that released a source.
    fn basis(&self, source: &Source) -> Vec<String> {
        match source {
            Source::Rows(released) => vec![released.clause.clone()],
            Source::Groups(id) => {
                let clauses = self.graph.release(*id).map(|point| point.clauses.as_slice()).unwrap_or_default();
                let cite = |one: &crate::fragment::ReleaseClauseRef| {
                    let (agreement, epoch) = (&one.agreement.agreement, one.agreement.epoch);
                    format!("{}: agreement `{agreement}` epoch {epoch}, clause {}", one.steward, one.clause)
                };
                clauses.iter().map(cite).collect()
            }
        }
    }

    fn release_rows_at(&self, point: &ReleasePoint, steward: &SiteId, place: &SiteId) -> Result<String, String> {
        let input = self.release_input(point, &mut Vec::new()).map_err(|refusal| refusal.reason)?;
        let own = input.protected.into_iter().find(|rows| rows.steward == *steward);
        let own = own.ok_or("its rows are not in the release point")?;
        self.rows_may_go(&own, place)
    }

    /// The flow of a plan's inputs.
    pub(super) fn inputs(
        &self,
        plan: &LogicalPlan,
        fragment: &Fragment,
        path: &mut Vec<FragmentId>,
    ) -> Result<Vec<Flow>, Refusal> {
        plan.inputs().into_iter().map(|input| self.derive(input, fragment, path)).collect()
    }
}

/// Each exchange is read at one leaf of a plan; else a row of fragments that read the next one twice would hold
/// exponentially many of them.
fn read_once(fragment: FragmentId, plan: &LogicalPlan) -> Result<(), Refusal> {
    let mut read = BTreeSet::new();
    let mut twice = None;
    let visited = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(Leaf::Exchange(id)) = Leaf::from_reference(&scan.table_name)
            && !read.insert(id)
        {
            twice = Some(id);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(visited.is_ok(), "the visitor does not fail");
    match twice {
        Some(id) => Err(Refusal::at(fragment, format!("it reads {id} twice"))),
        None => Ok(()),
    }
}

fn verdict(fragment: &Fragment, carried: Carried, what: String, clauses: Vec<String>) -> EdgeVerdict {
    EdgeVerdict { from: fragment.id, to: fragment.consumer, what, carried, clauses, rows_of: None }
}

fn released(fragment: &Fragment, source: &Source, clauses: Vec<String>) -> EdgeVerdict {
    let rows_of = match source {
        Source::Rows(released) => Some(released.rows.steward.clone()),
        Source::Groups(_) => None,
    };
    EdgeVerdict { rows_of, ..verdict(fragment, source.carried(), source.to_string(), clauses) }
}

/// A clause as reasons cite it.
pub(crate) fn cite(steward: &SiteId, held: &HeldAgreement, clause: u32) -> String {
    format!("{steward}: agreement `{}` epoch {}, clause {clause}", held.agreement.name, held.epoch)
}
