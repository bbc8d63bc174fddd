//! The canonical text of an agreement: one line a clause, keywords in capitals, names bare where they can be. It is what
//! a steward signs, so parsing it gives the same value again; the parser checks that for every
//! agreement it accepts.

use std::fmt::{self, Display, Formatter};

use super::agreement::{Agreement, Grantee, NumberedClause};
use super::clause::{
    Archetype, BudgetClause, BudgetLimit, Clause, ClauseRef, Comparison, JoinPartner, Obligation, ObligeClause, Period,
    ShipClause, ShipWhat, TimeUnit,
};
use super::place::PlaceRef;
use super::relation::{Columns, FromRelation, JoinKey, JoinKind};
use super::release::{
    Argument, DistinctInput, MinimumScope, Outcome, ReleaseClause, ReleaseWhat, ReleasedAggregates, ReleasedFunction,
};

/// Words that hold an agreement together; a name that equals one is written in quotes everywhere.
pub(crate) const RESERVED: [&str; 33] = [
    "and",
    "archetypes",
    "as",
    "at",
    "budget",
    "by",
    "compare",
    "distinct",
    "dominance",
    "else",
    "filter",
    "for",
    "from",
    "inner",
    "join",
    "left",
    "mask",
    "minimum",
    "oblige",
    "of",
    "on",
    "outer",
    "per",
    "purpose",
    "release",
    "round",
    "rows",
    "ship",
    "to",
    "until",
    "valid",
    "where",
    "with",
];

/// Words that say which kind of place, grantee or partner follows; a site of that name is written in quotes.
pub(crate) const KINDS: [&str; 11] = [
    "any",
    "anyone",
    "coordinator",
    "organisation",
    "organization",
    "region",
    "requester",
    "role",
    "site",
    "table",
    "user",
];

/// A name as SQL text: bare where that reads back as the same name, else in double quotes.
pub(crate) struct Name<'a>(pub &'a str);

/// Whether `text` reads back as itself when it stands without quotes, keywords aside.
pub(crate) fn is_plain(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) && !RESERVED.contains(&self.0) {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", self.0.replace('"', "\"\""))
        }
    }
}

/// The name of a site where other kinds of place may stand, too.
struct SiteName<'a>(&'a str);

impl Display for SiteName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if KINDS.contains(&self.0) { write!(f, "\"{}\"", self.0) } else { Name(self.0).fmt(f) }
    }
}

/// A string literal.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

/// Items with `, ` between them.
fn list<T>(f: &mut Formatter<'_>, items: &[T], item: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result) -> fmt::Result {
    for (index, one) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        item(f, one)?;
    }
    Ok(())
}

fn shown<T: Display>(f: &mut Formatter<'_>, item: &T) -> fmt::Result {
    item.fmt(f)
}

impl Display for Agreement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE AGREEMENT {} ON SITE {}\n  FOR ", Name(&self.name), Name(&self.steward))?;
        list(f, &self.grantees, shown)?;
        f.write_str("\n  PURPOSE ")?;
        list(f, &self.purposes, |f, purpose| Name(purpose).fmt(f))?;
        if self.valid_from.is_some() || self.valid_until.is_some() {
            f.write_str("\n  VALID")?;
        }
        if let Some(from) = self.valid_from {
            write!(f, " FROM '{from}'")?;
        }
        if let Some(until) = self.valid_until {
            write!(f, " UNTIL '{until}'")?;
        }
        f.write_str("\nAS (")?;
        let mut next = 1;
        for (index, clause) in self.clauses.iter().enumerate() {
            f.write_str(if index > 0 { ",\n  " } else { "\n  " })?;
            if clause.number != next {
                write!(f, "{}: ", clause.number)?;
            }
            next = clause.number.saturating_add(1);
            clause.fmt(f)?;
        }
        f.write_str("\n)")
    }
}

impl Display for NumberedClause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{}: ", Name(name))?;
        }
        self.clause.fmt(f)
    }
}

impl Display for Grantee {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Grantee::User(user) => write!(f, "USER {}", Text(user)),
            Grantee::Role { role, organisation: None } => write!(f, "ROLE {}", Name(role)),
            Grantee::Role { role, organisation: Some(organisation) } => {
                write!(f, "ROLE {} OF {}", Name(role), Name(organisation))
            }
            Grantee::Organisation(organisation) => write!(f, "ORGANISATION {}", Name(organisation)),
            Grantee::Anyone => f.write_str("ANYONE"),
        }
    }
}

impl Display for Clause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Clause::Release(release) => release.fmt(f),
            Clause::Ship(ship) => ship.fmt(f),
            Clause::Filter(filter) => {
                f.write_str("FILTER ON ")?;
                list(f, &filter.columns, shown)?;
                write!(f, " COMPARE WITH {}", filter.with)
            }
            Clause::Join(join) => {
                f.write_str("JOIN ON ")?;
                list(f, &join.keys, shown)?;
                write!(f, " WITH {}", join.with)
            }
            Clause::Mask(mask) => write!(f, "MASK {} AS {}", mask.column, mask.value),
            Clause::Rows(rows) => {
                f.write_str("ROWS ")?;
                if let Some(table) = &rows.table {
                    write!(f, "ON {table} ")?;
                }
                write!(f, "WHERE {}", rows.condition)
            }
            Clause::Budget(budget) => budget.fmt(f),
            Clause::Archetypes(archetypes) => {
                f.write_str("ARCHETYPES ")?;
                list(f, archetypes, shown)
            }
            Clause::Oblige(oblige) => oblige.fmt(f),
        }
    }
}

impl Display for ReleaseClause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.what {
            ReleaseWhat::Rows(columns) => write!(f, "RELEASE ROWS ({columns})")?,
            ReleaseWhat::Aggregates(aggregates) => {
                f.write_str("RELEASE ")?;
                list(f, &aggregates.functions, shown)?;
                f.write_str(" OF ")?;
                list(f, &aggregates.arguments, shown)?;
                if !aggregates.by.is_empty() {
                    f.write_str(" BY ")?;
                    list(f, &aggregates.by, shown)?;
                }
            }
        }
        write!(f, " FROM {}", self.from)?;
        if let Some(filter) = &self.filter {
            write!(f, " WHERE {filter}")?;
        }
        match &self.what {
            ReleaseWhat::Rows(_) => Ok(()),
            ReleaseWhat::Aggregates(aggregates) => conditions(f, aggregates),
        }
    }
}

fn conditions(f: &mut Formatter<'_>, aggregates: &ReleasedAggregates) -> fmt::Result {
    for minimum in &aggregates.minimums {
        write!(f, " MINIMUM {} DISTINCT {}", minimum.count, minimum.entity)?;
    }
    if let Some(sites) = aggregates.minimum_sites {
        write!(f, " MINIMUM {sites} SITES")?;
    }
    match aggregates.scope {
        MinimumScope::Federation => {}
        MinimumScope::PerSite => f.write_str(" PER SITE")?,
    }
    if let Some(share) = &aggregates.dominance {
        write!(f, " DOMINANCE {share}")?;
    }
    if let Some(step) = &aggregates.round_to {
        write!(f, " ROUND TO {step}")?;
    }
    match aggregates.outcome {
        Outcome::Drop => Ok(()),
        Outcome::Remainder => f.write_str(" ELSE REMAINDER"),
        Outcome::Fail => f.write_str(" ELSE FAIL"),
    }
}

impl Display for ReleasedFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Name(&self.name).fmt(f)?;
        match self.distinct {
            DistinctInput::All => Ok(()),
            DistinctInput::Distinct => f.write_str(" DISTINCT"),
        }
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Star => f.write_str("*"),
            Argument::Expr(expr) => expr.fmt(f),
        }
    }
}

impl Display for Columns {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Columns::All => f.write_str("*"),
            Columns::Listed(columns) => list(f, columns, shown),
        }
    }
}

impl Display for FromRelation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        for join in &self.joins {
            match join.kind {
                JoinKind::Inner => f.write_str(" JOIN ")?,
                JoinKind::Left => f.write_str(" LEFT JOIN ")?,
            }
            write!(f, "{} ON ", join.table)?;
            for (index, key) in join.on.iter().enumerate() {
                if index > 0 {
                    f.write_str(" AND ")?;
                }
                match key {
                    JoinKey::Same(column) => Name(column).fmt(f)?,
                    JoinKey::Pair { left, right } => write!(f, "{left} = {right}")?,
                }
            }
        }
        Ok(())
    }
}

impl Display for ShipClause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.what {
            ShipWhat::Partials { of } => write!(f, "SHIP PARTIALS OF {of}")?,
            ShipWhat::Rows { columns, from, filter } => {
                write!(f, "SHIP ROWS ({columns}) FROM {from}")?;
                if let Some(filter) = filter {
                    write!(f, " WHERE {filter}")?;
                }
            }
        }
        f.write_str(" TO ")?;
        list(f, &self.to, shown)
    }
}

impl Display for ClauseRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ClauseRef::Number(number) => number.fmt(f),
            ClauseRef::Name(name) => Name(name).fmt(f),
        }
    }
}

impl Display for PlaceRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            PlaceRef::Site(site) => SiteName(site).fmt(f),
            PlaceRef::Role(role) => write!(f, "ROLE {}", Name(role)),
            PlaceRef::Region(region) => write!(f, "REGION {}", Name(region)),
            PlaceRef::Coordinator => f.write_str("COORDINATOR"),
            PlaceRef::Any => f.write_str("ANY"),
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Literals => "LITERALS",
            Comparison::Columns => "COLUMNS",
            Comparison::Both => "LITERALS, COLUMNS",
        })
    }
}

impl Display for JoinPartner {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            JoinPartner::Requester => f.write_str("REQUESTER"),
            JoinPartner::Site(site) => SiteName(site).fmt(f),
            JoinPartner::Table(table) => write!(f, "TABLE {table}"),
            JoinPartner::Any => f.write_str("ANY"),
        }
    }
}

impl Display for BudgetClause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("BUDGET ")?;
        list(f, &self.limits, |f, limit| match limit {
            BudgetLimit::Queries { count, per } => write!(f, "{count} QUERIES PER {per}"),
            BudgetLimit::Epsilon { amount, per } => write!(f, "EPSILON {amount} PER {per}"),
        })
    }
}

impl Display for Period {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Period::Hour => "HOUR",
            Period::Day => "DAY",
            Period::Week => "WEEK",
            Period::Month => "MONTH",
            Period::Year => "YEAR",
        })
    }
}

impl Display for Archetype {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Archetype::ComputeToData => "compute_to_data",
            Archetype::DataToCompute => "data_to_compute",
        })
    }
}

impl Display for ObligeClause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("OBLIGE ")?;
        match &self.obligation {
            Obligation::Retention { amount, unit } => write!(f, "RETENTION INTERVAL '{amount}' {unit}")?,
            Obligation::Audit => f.write_str("AUDIT")?,
            Obligation::Notification => f.write_str("NOTIFICATION")?,
        }
        match &self.at {
            Some(place) => write!(f, " AT {place}"),
            None => Ok(()),
        }
    }
}

impl Display for TimeUnit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimeUnit::Second => "SECOND",
            TimeUnit::Minute => "MINUTE",
            TimeUnit::Hour => "HOUR",
            TimeUnit::Day => "DAY",
        })
    }
}
