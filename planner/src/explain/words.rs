//! What a plan gives, column by column, in words: `salschal`, `avg(salschal)`, `hash(bsn)`. Words are followed through
//! exchanges and release points down to the tables, so that a report tells of rows only what really goes out.

use std::collections::BTreeSet;

use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Cast, Expr, ExprSchemable, Join, LogicalPlan, TableScan};
use dynamos_proto::ids::{ReleaseId, SiteId};

use super::text::{ExprText, function_name};
use crate::catalog::STEWARD;
use crate::fragment::{FragmentGraph, ReleaseInput, ReleasePoint, ReleasedAggregate};
use crate::function::IS_REMAINDER;
use crate::policy::{AgreementSet, Clause, ClauseRef};
use crate::wire::{Leaf, joined_parts};

/// A longer text is told by the columns that it is made of.
const TEXT_MAX: usize = 100;

/// Where something comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A steward's rows.
    Rows(SiteId),
    /// A release point.
    Groups(ReleaseId),
}

/// A column in words.
#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    /// The words.
    pub(super) text: String,
    /// What it is made of.
    pub(super) of: BTreeSet<Origin>,
    /// The tables' columns that it is made of.
    columns: BTreeSet<String>,
    /// The function of all rows of a group that it is, unchanged.
    function: Option<String>,
}

/// What a plan gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// Its columns, in order.
    pub(super) words: Vec<Word>,
    /// Of these it has rows one by one, not only in groups.
    pub(super) single: BTreeSet<Origin>,
    /// On all of these its rows depend.
    of: BTreeSet<Origin>,
}

impl Given {
    /// The words for one of its columns.
    pub(super) fn text(&self, index: usize) -> String {
        self.words.get(index).map_or_else(|| format!("column {}", index + 1), |word| word.text.clone())
    }

    /// The words for all that is made of one thing, each once.
    pub(super) fn texts_of(&self, origin: &Origin) -> Vec<String> {
        let mut texts = Vec::new();
        for word in self.words.iter().filter(|word| word.of.contains(origin)) {
            if !texts.contains(&word.text) {
                texts.push(word.text.clone());
            }
        }
        texts
    }

    /// The same columns of some of the rows, or of repeated ones: what is made of them is not of all rows of a group.
    fn of_other_rows(mut self) -> Self {
        self.words.iter_mut().for_each(|word| word.function = None);
        self
    }

    fn at(&self, schema: &DFSchema, column: &Column) -> Option<&Word> {
        self.words.get(schema.index_of_column(column).ok()?)
    }

    /// The same columns, picked by a scan.
    fn picked(self, scan: &TableScan) -> Self {
        match &scan.projection {
            Some(picked) => {
                let words = picked.iter().filter_map(|index| self.words.get(*index).cloned()).collect();
                Self { words, ..self }
            }
            None => self,
        }
    }
}

/// Finds the words.
pub(super) struct Words<'a> {
    /// The placed query.
    pub(super) graph: &'a FragmentGraph,
    /// The agreements, of which only the joins of RELEASE ROWS clauses are read.
    pub(super) agreements: &'a AgreementSet,
}

impl Words<'_> {
    /// What a plan gives.
    pub(super) fn given(&self, plan: &LogicalPlan) -> Given {
        match plan {
            LogicalPlan::TableScan(scan) => self.leaf(scan),
            LogicalPlan::Projection(projection) => {
                let input = self.given(&projection.input);
                let schema = projection.input.schema();
                let words = projection.expr.iter().map(|expr| self.word(expr, &input, schema)).collect();
                Given { words, ..input }
            }
            LogicalPlan::Aggregate(aggregate) => self.groups(aggregate),
            LogicalPlan::Window(window) => {
                let mut input = self.given(&window.input);
                let schema = window.input.schema();
                let values: Vec<Word> = window.window_expr.iter().map(|expr| self.word(expr, &input, schema)).collect();
                input.words.extend(values);
                input
            }
            LogicalPlan::Join(join) => self.joined(join).of_other_rows(),
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|input| self.given(input));
                inputs.reduce(|one, other| self.either(one, other)).unwrap_or_default()
            }
            LogicalPlan::Distinct(distinct) => {
                Given { single: BTreeSet::new(), ..self.given(distinct.input()).of_other_rows() }
            }
            LogicalPlan::Filter(filter) => self.given(&filter.input).of_other_rows(),
            LogicalPlan::Limit(limit) => self.given(&limit.input).of_other_rows(),
            LogicalPlan::Sort(sort) if sort.fetch.is_some() => self.given(&sort.input).of_other_rows(),
            other => match other.inputs().as_slice() {
                [input] if input.schema().fields().len() == other.schema().fields().len() => self.given(input),
                inputs => {
                    let of = inputs.iter().flat_map(|input| self.given(input).of).collect();
                    named(other, of)
                }
            },
        }
    }

    /// What a release point gives: keys, then values.
    fn released(&self, point: &ReleasePoint) -> Given {
        let input = self.aggregated(point);
        let of = BTreeSet::from([Origin::Groups(point.id)]);
        let word = |text: String| Word { text, of: of.clone(), ..Word::default() };
        let keys = (0..point.shape.keys).map(|key| word(input.text(key)));
        let set = (!point.shape.sets.is_empty()).then(|| word("grouping set".to_owned()));
        let values = point.shape.aggregates.iter().map(|value| word(value_text(value, &input)));
        Given { words: keys.chain(set).chain(values).collect(), single: BTreeSet::new(), of: of.clone() }
    }

    /// What a release point aggregates.
    pub(super) fn aggregated(&self, point: &ReleasePoint) -> Given {
        match &point.input {
            ReleaseInput::Complete(rows) => self.given(rows),
            ReleaseInput::Merge(senders) => {
                let rows =
                    senders.iter().filter_map(|id| self.graph.fragment(*id)).map(|sender| self.given(&sender.plan));
                rows.reduce(|one, other| self.either(one, other)).unwrap_or_default()
            }
        }
    }

    fn leaf(&self, scan: &TableScan) -> Given {
        match Leaf::from_reference(&scan.table_name) {
            Some(Leaf::Table { site, clause, .. }) => {
                let joined = clause.is_some_and(|clause| self.joins_tables(&site, clause));
                let of = BTreeSet::from([Origin::Rows(site)]);
                let word = |name: &str| {
                    let own = if joined { joined_parts(name).map_or(name, |(_, column)| column) } else { name };
                    Word { text: own.to_owned(), of: of.clone(), columns: [own.to_owned()].into(), function: None }
                };
                let words = scan.projected_schema.fields().iter().map(|field| word(field.name())).collect();
                Given { words, single: of.clone(), of: of.clone() }
            }
            Some(Leaf::Exchange(id)) => {
                self.graph.fragment(id).map(|sender| self.given(&sender.plan)).unwrap_or_default().picked(scan)
            }
            Some(Leaf::Release(id)) => {
                self.graph.release(id).map(|point| self.released(point)).unwrap_or_default().picked(scan)
            }
            None => named(&LogicalPlan::TableScan(scan.clone()), BTreeSet::new()),
        }
    }

    /// Whether a leaf with this clause is a join of tables, whose columns have other names there.
    fn joins_tables(&self, steward: &SiteId, clause: u32) -> bool {
        let governing = self.graph.governing.get(steward);
        let held = governing.and_then(|governing| self.agreements.get(steward, &governing.agreement));
        let clause = held.and_then(|held| held.agreement.clause(&ClauseRef::Number(clause)));
        matches!(clause.map(|numbered| &numbered.clause), Some(Clause::Release(release)) if !release.from.joins.is_empty())
    }

    fn groups(&self, aggregate: &Aggregate) -> Given {
        let (input, schema) = (self.given(&aggregate.input), aggregate.input.schema());
        let keys = grouping_set_to_exprlist(&aggregate.group_expr).unwrap_or_default();
        // Equal keys are there once.
        let key = |key| Word { function: None, ..self.word(key, &input, schema) };
        let mut words: Vec<Word> = keys.into_iter().map(key).collect();
        if let [Expr::GroupingSet(_)] = aggregate.group_expr.as_slice() {
            words.push(Word { text: "grouping set".to_owned(), ..Word::default() });
        }
        words.extend(aggregate.aggr_expr.iter().map(|value| self.word(value, &input, schema)));
        Given { words, single: BTreeSet::new(), of: input.of }
    }

    fn joined(&self, join: &Join) -> Given {
        let (left, right) = (self.given(&join.left), self.given(&join.right));
        let of = left.of.union(&right.of).cloned().collect();
        let mark = |of: &BTreeSet<Origin>| Word {
            text: "whether something matches".to_owned(),
            of: of.clone(),
            ..Word::default()
        };
        match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => Given {
                words: left.words.into_iter().chain(right.words).collect(),
                single: left.single.union(&right.single).cloned().collect(),
                of,
            },
            JoinType::LeftSemi | JoinType::LeftAnti => Given { words: left.words, single: left.single, of },
            JoinType::RightSemi | JoinType::RightAnti => Given { words: right.words, single: right.single, of },
            JoinType::LeftMark => {
                let words = left.words.into_iter().chain([mark(&right.of)]).collect();
                Given { words, single: left.single, of }
            }
            JoinType::RightMark => {
                let words = right.words.into_iter().chain([mark(&left.of)]).collect();
                Given { words, single: right.single, of }
            }
        }
    }

    /// Rows of the one below rows of the other.
    fn either(&self, one: Given, other: Given) -> Given {
        let words = one.words.into_iter().zip(other.words).map(|(one, other)| {
            let of = one.of.union(&other.of).cloned().collect();
            let columns: BTreeSet<String> = one.columns.union(&other.columns).cloned().collect();
            let function = if one.function == other.function { one.function } else { None };
            let whose = |text: &str| text == STEWARD || self.names_steward(text);
            let text = if one.text == other.text || one.text.split(" or ").any(|part| part == other.text) {
                one.text
            } else if whose(&one.text) && whose(&other.text) {
                STEWARD.to_owned()
            } else {
                shortened(format!("{} or {}", one.text, other.text), &columns)
            };
            Word { text, of, columns, function }
        });
        Given {
            words: words.collect(),
            single: one.single.union(&other.single).cloned().collect(),
            of: one.of.union(&other.of).cloned().collect(),
        }
    }

    /// An expression over what is given.
    fn word(&self, expr: &Expr, input: &Given, schema: &DFSchema) -> Word {
        let column = |column: &Column| input.at(schema, column).map_or(column.name.clone(), |word| word.text.clone());
        let text = ExprText {
            column: &column,
            is_silent: &|cast| is_silent(cast, schema),
            names_steward: &|text| self.names_steward(text),
        };
        let plain = text.plain(expr);
        if let Expr::Column(column) = plain
            && let Some(word) = input.at(schema, column)
        {
            return word.clone();
        }
        let mut made = Word::default();
        for read in plain.column_refs().into_iter().filter_map(|column| input.at(schema, column)) {
            made.of.extend(read.of.iter().cloned());
            made.columns.extend(read.columns.iter().cloned());
        }
        if let Expr::AggregateFunction(call) = plain {
            let argument = match call.params.args.as_slice() {
                [argument] if !call.params.distinct && call.params.filter.is_none() => text.plain(argument),
                _ => plain,
            };
            let merged = argument.try_as_col().and_then(|column| input.at(schema, column));
            match merged.filter(|word| merges(function_name(call), word.function.as_deref())) {
                Some(word) => return word.clone(),
                None => made.function = (!call.params.distinct).then(|| function_name(call).to_owned()),
            }
        }
        if made.of.is_empty() && matches!(plain, Expr::AggregateFunction(_) | Expr::WindowFunction(_)) {
            // It tells of the rows themselves.
            made.of = input.of.clone();
        }
        Word { text: shortened(text.of(plain), &made.columns), ..made }
    }

    /// Whether a text is a steward's name, as a literal.
    fn names_steward(&self, text: &str) -> bool {
        let name = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
        name.is_some_and(|name| self.graph.governing.contains_key(&SiteId::new(name)))
    }
}

/// A released value over what is aggregated.
pub(super) fn value_text(value: &ReleasedAggregate, input: &Given) -> String {
    let argument = value.argument.map_or_else(|| "*".to_owned(), |index| input.text(index));
    let argument = if value.function == IS_REMAINDER { String::new() } else { argument };
    let distinct = if value.distinct { "DISTINCT " } else { "" };
    let filter = value.filter.map(|index| format!(" FILTER (WHERE {})", input.text(index))).unwrap_or_default();
    format!("{}({distinct}{argument}){filter}", value.function)
}

/// Whether a function of another function's values is that other function of all rows.
fn merges(outer: &str, inner: Option<&str>) -> bool {
    matches!((outer, inner), ("sum", Some("sum" | "count")) | ("min", Some("min")) | ("max", Some("max")))
}

/// A cast between numbers or between texts. Engine and planner put these in so that types agree.
fn is_silent(cast: &Cast, schema: &DFSchema) -> bool {
    let (from, to) = (cast.expr.get_type(schema), cast.field.data_type());
    from.is_ok_and(|from| from == *to || (from.is_numeric() && to.is_numeric()) || (from.is_string() && to.is_string()))
}

fn shortened(text: String, columns: &BTreeSet<String>) -> String {
    if text.chars().count() <= TEXT_MAX || columns.is_empty() {
        return text;
    }
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    format!("a value made of {}", columns.join(", "))
}

/// A plan of which only the names are known.
fn named(plan: &LogicalPlan, of: BTreeSet<Origin>) -> Given {
    let word = |name: &String| Word { text: name.clone(), of: of.clone(), ..Word::default() };
    Given {
        words: plan.schema().fields().iter().map(|field| word(field.name())).collect(),
        single: BTreeSet::new(),
        of: of.clone(),
    }
}
