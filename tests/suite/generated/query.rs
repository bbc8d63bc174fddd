//! A generated query: enough of its structure to write it as SQL and to try smaller queries in its place. Expressions are
//! text.

use std::collections::BTreeSet;
use std::fmt;

use super::schema::Kind;

/// How a federation is asked for the value of a local key: a bare column would be the key.
pub const VALUE: &str = "(0 + ";

/// What kinds of work a query does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    Join,
    OuterJoin,
    Aggregate,
    GroupingSets,
    Window,
    SetOperation,
    Subquery,
    Correlated,
    With,
    Limit,
    LocalKey,
}

/// A whole query.
#[derive(Clone, Debug)]
pub struct Query {
    /// Its WITH parts, in order.
    pub with: Vec<(String, Query)>,
    /// What gives the rows.
    pub body: Body,
    /// Its order; total over the output if there is any.
    pub order: Vec<String>,
    /// LIMIT and OFFSET.
    pub limit: Option<String>,
    /// What it does.
    pub features: BTreeSet<Feature>,
}

/// A SELECT, or several put together.
#[derive(Clone, Debug)]
pub enum Body {
    Select(Box<Select>),
    Set { operator: &'static str, left: Box<Body>, right: Box<Body> },
}

/// One SELECT.
#[derive(Clone, Debug, Default)]
pub struct Select {
    pub distinct: bool,
    pub items: Vec<Item>,
    pub from: Vec<Joined>,
    pub filters: Vec<String>,
    /// What stands after GROUP BY.
    pub grouping: Option<String>,
    pub having: Vec<String>,
}

/// An output column.
#[derive(Clone, Debug)]
pub struct Item {
    pub text: String,
    /// The name after AS; none keeps the engine's own.
    pub name: Option<String>,
    pub kind: Kind,
}

/// A relation in FROM; the first one is joined with nothing.
#[derive(Clone, Debug)]
pub struct Joined {
    pub join: &'static str,
    pub relation: String,
    pub on: Option<String>,
}

impl Query {
    /// The same for a federation, which knows local keys by itself; see [`super::oracle`].
    pub fn federated(&self) -> String {
        self.to_string().replace("entity_value(", VALUE)
    }

    /// What the output columns are.
    pub fn kinds(&self) -> Vec<Kind> {
        self.body.first().items.iter().map(|item| item.kind).collect()
    }

    /// Whether LIMIT, here and in the WITH parts, cuts rows that are in one order only.
    pub fn is_determined(&self) -> bool {
        let names = &self.body.first().items;
        let ordered = |item: &Item| {
            let Some(name) = &item.name else { return false };
            self.order.iter().any(|key| {
                let key = key.trim_start_matches("entity_value(");
                key.split([' ', ')']).next() == Some(name)
            })
        };
        let total = self.order.len() == names.len() && names.iter().all(ordered);
        (total || self.order.is_empty() && self.limit.is_none())
            && self.with.iter().all(|(_, part)| part.is_determined())
    }

    /// Queries with one thing less, the greatest first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for index in 0..self.with.len() {
            let mut less = self.clone();
            less.with.remove(index);
            all.push(less);
        }
        all.extend(self.body.smaller().into_iter().map(|body| Self { body, ..self.clone() }));
        if self.limit.is_some() {
            all.push(Self { limit: None, ..self.clone() });
        } else if !self.order.is_empty() {
            all.push(Self { order: Vec::new(), ..self.clone() });
        }
        for (index, (name, part)) in self.with.iter().enumerate() {
            for smaller in part.smaller() {
                let mut less = self.clone();
                less.with.splice(index..=index, [(name.clone(), smaller)]);
                all.push(less);
            }
        }
        all
    }
}

impl Body {
    fn first(&self) -> &Select {
        match self {
            Self::Select(select) => select,
            Self::Set { left, .. } => left.first(),
        }
    }

    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Select(select) => select.smaller().into_iter().map(|less| Self::Select(Box::new(less))).collect(),
            Self::Set { operator, left, right } => {
                let mut all = vec![left.as_ref().clone(), right.as_ref().clone()];
                let with = |left: &Self, right: &Self| Self::Set {
                    operator,
                    left: Box::new(left.clone()),
                    right: Box::new(right.clone()),
                };
                all.extend(left.smaller().iter().map(|left| with(left, right)));
                all.extend(right.smaller().iter().map(|right| with(left, right)));
                all
            }
        }
    }
}

impl Select {
    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut each = |count: usize, remove: &dyn Fn(&mut Self, usize)| {
            for index in (0..count).rev() {
                let mut less = self.clone();
                remove(&mut less, index);
                all.push(less);
            }
        };
        if self.from.len() > 1 {
            each(self.from.len(), &|less, index| {
                less.from.remove(index);
                if let (0, Some(first)) = (index, less.from.first_mut()) {
                    *first = Joined { join: "", on: None, relation: first.relation.clone() };
                }
            });
        }
        each(self.filters.len(), &|less, index| drop(less.filters.remove(index)));
        each(self.having.len(), &|less, index| drop(less.having.remove(index)));
        if self.items.len() > 1 {
            each(self.items.len(), &|less, index| drop(less.items.remove(index)));
        }
        each(usize::from(self.distinct), &|less, _| less.distinct = false);
        each(usize::from(self.grouping.is_some()), &|less, _| less.grouping = None);
        all
    }
}

impl fmt::Display for Query {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, part)) in self.with.iter().enumerate() {
            write!(out, "{}{name} AS ({part})", if index == 0 { "WITH " } else { ", " })?;
        }
        if !self.with.is_empty() {
            out.write_str(" ")?;
        }
        write!(out, "{}", self.body)?;
        if !self.order.is_empty() {
            write!(out, " ORDER BY {}", self.order.join(", "))?;
        }
        match &self.limit {
            Some(limit) => write!(out, " {limit}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select(select) => write!(out, "{select}"),
            Self::Set { operator, left, right } => write!(out, "({left}) {operator} ({right})"),
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<String> = self.items.iter().map(ToString::to_string).collect();
        write!(out, "SELECT {}{}", if self.distinct { "DISTINCT " } else { "" }, items.join(", "))?;
        for joined in &self.from {
            match joined.join {
                "" => write!(out, " FROM {}", joined.relation)?,
                join => write!(out, " {join} {}", joined.relation)?,
            }
            if let Some(on) = &joined.on {
                write!(out, " {on}")?;
            }
        }
        if !self.filters.is_empty() {
            write!(out, " WHERE {}", self.filters.join(" AND "))?;
        }
        if let Some(grouping) = &self.grouping {
            write!(out, " GROUP BY {grouping}")?;
        }
        if !self.having.is_empty() {
            write!(out, " HAVING {}", self.having.join(" AND "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(out, "{} AS {name}", self.text),
            None => out.write_str(&self.text),
        }
    }
}
