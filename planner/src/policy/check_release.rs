//! The check of a release point: of each steward's rows it computes what that steward's clause releases, counts the people
//! that the clause wants counted, and is decided where the clause says.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::prelude::Expr;
use dynamos_proto::ids::{FragmentId, SiteId};

use super::assemble::origins;
use super::check::{Check, Refusal, cite};
use super::flow::{Flow, Protected};
use super::matching::Asked;
use super::seen::{averages_rows, filtered_apart, tell_counts};
use super::tied::{Tied, known};
use super::{Clause, ClauseRef, HeldAgreement, MinimumScope, ReleaseClause, ReleaseWhat};
use crate::fragment::{ReleaseInput, ReleasePoint, ReleasedAggregate};

impl Check<'_> {
    /// What a release point aggregates: protected rows, once for each steward.
    pub(super) fn release_input(&self, point: &ReleasePoint, path: &mut Vec<FragmentId>) -> Result<Flow, Refusal> {
        let at =
            self.graph.fragment(point.fragment).ok_or_else(|| Refusal::whole("a release point without a place"))?;
        let flow = match &point.input {
            ReleaseInput::Complete(plan) => {
                let flow = self.derive(plan, at, path)?;
                // Rows that no steward vouches for would count as people and lift a group over its minimum.
                if !flow.sources.is_empty() || flow.invented {
                    return Err(Refusal::at(at.id, "a release point aggregates protected rows only"));
                }
                flow
            }
            ReleaseInput::Merge(senders) => {
                let mut flows = Vec::new();
                for sender in senders {
                    let sender = self
                        .graph
                        .fragment(*sender)
                        .filter(|sender| sender.partial_of == Some(point.id) && sender.consumer == Some(point.fragment))
                        .ok_or_else(|| {
                            Refusal::at(at.id, format!("{sender} does not send partials of {}", point.id))
                        })?;
                    flows.push(self.output(sender, path)?);
                }
                Flow::together(flows)
            }
        };
        let stewards: BTreeSet<&SiteId> = flow.protected.iter().map(|rows| &rows.steward).collect();
        if stewards.len() != flow.protected.len() {
            return Err(Refusal::at(at.id, format!("a steward's rows enter release point {} twice", point.id)));
        }
        Ok(flow)
    }

    /// A release point computes, of each steward's rows, what that steward's clause releases. Gives the JOIN clauses that let
    /// the rows meet with others.
    pub(super) fn release(&self, point: &ReleasePoint, path: &mut Vec<FragmentId>) -> Result<Vec<String>, Refusal> {
        let at = point.fragment;
        let input = self.release_input(point, path)?;
        let all = input.stewards();
        let mut joins = Vec::new();
        for rows in input.protected {
            let held = self.governing(&rows.steward)?;
            let clause = point.clauses.iter().find(|clause| clause.steward == rows.steward).ok_or_else(|| {
                Refusal::at(at, format!("release point {} names no clause of `{}`", point.id, rows.steward))
            })?;
            if Some(&clause.agreement) != self.graph.governing.get(&rows.steward) {
                return Err(Refusal::at(at, "the clause is of another agreement than the one that governs"));
            }
            let values = self.shape(point, &rows, held, clause.clause).map_err(|reason| Refusal::at(at, reason))?;
            self.scope(point, &rows, held, clause.clause).map_err(|reason| Refusal::at(at, reason))?;
            // Those with whom its rows are joined have people of their own.
            let partners: BTreeSet<&SiteId> = rows.partners.iter().flat_map(|partner| &partner.stewards).collect();
            let beside: BTreeSet<&SiteId> = all.iter().filter(|steward| !partners.contains(steward)).collect();
            let together = beside.len() > 1 && point.scope == MinimumScope::Federation;
            let minimums =
                self.counted(point, &rows, held, clause.clause, together).map_err(|reason| Refusal::at(at, reason))?;
            if let Some(text) = filtered_apart(&values, &Tied::of(&rows.relation, &values)).filter(|_| minimums > 0) {
                return Err(Refusal::at(at, format!("release point {}: {text}", point.id)));
            }
            if together && minimums > 0 {
                self.of_all_stewards(point, &rows, &beside).map_err(|reason| Refusal::at(at, reason))?;
            }
            let numbers = rows.relation.joining_clauses(&held.agreement, &rows.partners);
            joins.extend(numbers.into_iter().map(|number| cite(&rows.steward, held, number)));
        }
        Ok(joins)
    }

    /// The clause lists all that the release point gives. The values, without widening.
    fn shape(
        &self,
        point: &ReleasePoint,
        rows: &Protected,
        held: &HeldAgreement,
        clause: u32,
    ) -> Result<Vec<Asked>, String> {
        let column = |index: usize| {
            rows.columns.get(index).cloned().ok_or_else(|| format!("release point {} has no column {index}", point.id))
        };
        let keys = (0..point.shape.keys).map(column).collect::<Result<Vec<Expr>, String>>()?;
        let (mut asked, mut bare) = (Vec::new(), Vec::new());
        for value in &point.shape.aggregates {
            let argument = value.argument.map(column).transpose()?;
            let filter = value.filter.map(column).transpose()?;
            let one = Asked { function: value.function.clone(), distinct: value.distinct, argument, filter };
            if point.scope == MinimumScope::PerSite && matches!(point.input, ReleaseInput::Merge(_)) {
                // What is sent is released: each state must be.
                asked.extend(one.states().iter().map(|state| state.bare(&rows.relation)));
            }
            bare.push(one.bare(&rows.relation));
        }
        asked.extend(bare.iter().cloned());
        rows.relation
            .released_part(&held.agreement, &rows.partners, &keys, &asked, Some(clause), self.input.state)
            .map_err(|reasons| format!("release point {}: {}", point.id, reasons.join("; ")))?;
        // What is of another steward's columns is that one's to look after.
        let origins = origins(&point.shape.aggregates, &bare);
        let own = |value: &Asked| columns_of_value(value).all(|column| rows.relation.table_of(column).is_some());
        let values = point.shape.aggregates.iter().zip(&bare).zip(origins);
        let told_apart = values.into_iter().any(|((value, bare), origin)| own(bare) && value.origin != origin);
        let portions = point.shape.sets.len() > 1 && tell_counts(&point.shape.aggregates);
        let mut known = known(&bare, &keys, &rows.relation).into_iter().zip(&point.shape.aggregates).zip(&bare);
        let counts = |known: bool, bare: &Asked| known || (portions && averages_rows(&bare.function, bare.distinct));
        if known.any(|((known, value), bare)| own(bare) && counts(known, bare) && !value.known) {
            return Err(format!(
                "release point {} does not say which of its values tell how many rows there are",
                point.id
            ));
        }
        let tied = Tied::of(&rows.relation, &bare);
        let of_own = |value: &Asked| -> BTreeSet<Column> {
            let columns = value.argument.iter().flat_map(|argument| tied.columns(argument));
            columns.filter(|column| rows.relation.table_of(column).is_some()).collect()
        };
        let values: Vec<_> = point.shape.aggregates.iter().zip(bare.iter().map(of_own)).collect();
        let in_two_families = |(one, columns): &(&ReleasedAggregate, BTreeSet<Column>)| {
            let apart = |other: &ReleasedAggregate| one.family.is_none() || one.family != other.family;
            values.iter().any(|(other, others)| apart(other) && !columns.is_disjoint(others))
        };
        if told_apart || values.iter().any(in_two_families) {
            return Err(format!("release point {} does not say which of its values are of one column", point.id));
        }
        Ok(bare)
    }

    /// Where the steward's clause or the point says that each steward decides by itself, its rows are decided over at home.
    fn scope(&self, point: &ReleasePoint, rows: &Protected, held: &HeldAgreement, clause: u32) -> Result<(), String> {
        let clause = held.agreement.clause(&ClauseRef::Number(clause)).map(|clause| &clause.clause);
        let per_site = matches!(clause, Some(Clause::Release(ReleaseClause { what: ReleaseWhat::Aggregates(released), .. }))
            if released.scope == MinimumScope::PerSite);
        let at = self.graph.fragment(point.fragment).map(|fragment| &fragment.place);
        let at_home = match &point.input {
            ReleaseInput::Complete(_) => at == Some(&rows.steward) && point.clauses.len() == 1,
            ReleaseInput::Merge(_) => point.scope == MinimumScope::PerSite,
        };
        if (per_site || point.scope == MinimumScope::PerSite) && !at_home {
            return Err(format!("release point {} is not decided by each steward over its own groups", point.id));
        }
        Ok(())
    }

    /// Every entity key of a release point is that column of each steward's rows, whoever demands the minimum: another
    /// column could have more values than there are people. Each minimum of the steward's own clause is counted. Gives the number
    /// of these.
    fn counted(
        &self,
        point: &ReleasePoint,
        rows: &Protected,
        held: &HeldAgreement,
        clause: u32,
        several: bool,
    ) -> Result<usize, String> {
        let minimums = held.agreement.clause(&ClauseRef::Number(clause)).map(|clause| &clause.clause);
        let minimums = match minimums {
            Some(Clause::Release(ReleaseClause { what: ReleaseWhat::Aggregates(released), .. })) => &released.minimums,
            _ => return Err(format!("clause {clause} releases no aggregates")),
        };
        for entity in &point.shape.entities {
            let same_name = match rows.columns.get(entity.column).and_then(|expr| rows.relation.counted_column(expr)) {
                Some(column) if rows.relation.table_of(&column).is_some() => column.name == entity.name,
                // People of another steward are that one's to look after.
                Some(_) => !rows.partners.is_empty(),
                None => false,
            };
            if !same_name {
                return Err(format!("release point {} counts something else as `{}`", point.id, entity.name));
            }
        }
        for minimum in minimums {
            let name = &minimum.entity.column;
            let counted = point.shape.entities.iter().filter(|have| have.name == *name);
            let mut columns = counted.filter_map(|have| rows.columns.get(have.column));
            let column = columns.find_map(|column| {
                let column = rows.relation.counted_column(column)?;
                rows.relation.is_entity(&column, &minimum.entity).then_some(column)
            });
            let Some(column) = column else {
                return Err(format!("release point {} does not count `{name}`", point.id));
            };
            let table = rows.relation.table_of(&column);
            if several && !table.is_some_and(|table| (self.input.counts_add)(&rows.steward, table, &column.name)) {
                return Err(format!(
                    "release point {} counts `{name}`, which may be the same at several stewards",
                    point.id
                ));
            }
        }
        Ok(minimums.len())
    }
}

fn columns_of_value(value: &Asked) -> impl Iterator<Item = &Column> {
    value.argument.iter().flat_map(|argument| argument.column_refs())
}
