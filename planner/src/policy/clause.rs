//! The clauses of an agreement, one type each; RELEASE has a file of its own. They are values as written: names are not
//! resolved and nothing is decided here.

use datafusion::sql::sqlparser::ast::Expr;

use super::place::PlaceRef;
use super::relation::{ColumnRef, Columns, FromRelation, TableRef};
use super::release::{Decimal, ReleaseClause, ReleaseWhat};

/// One clause.
#[derive(Debug, Clone, PartialEq)]
pub enum Clause {
    /// What may reach the requester.
    Release(ReleaseClause),
    /// What may exist at another place while a query runs.
    Ship(ShipClause),
    /// What a predicate may touch.
    Filter(FilterClause),
    /// On which keys, and with whom, the relation may be joined.
    Join(JoinClause),
    /// How a column is seen.
    Mask(MaskClause),
    /// Which rows exist for the requester.
    Rows(RowsClause),
    /// How much may be asked.
    Budget(BudgetClause),
    /// Which archetypes the steward's edges may take; never empty.
    Archetypes(Vec<Archetype>),
    /// What a permit demands of a place.
    Oblige(ObligeClause),
}

impl Clause {
    /// The words that it begins with.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Release(ReleaseClause { what: ReleaseWhat::Rows(_), .. }) => "RELEASE ROWS",
            Self::Release(ReleaseClause { what: ReleaseWhat::Aggregates(_), .. }) => "RELEASE",
            Self::Ship(ShipClause { what: ShipWhat::Rows { .. }, .. }) => "SHIP ROWS",
            Self::Ship(ShipClause { what: ShipWhat::Partials { .. }, .. }) => "SHIP PARTIALS",
            Self::Filter(_) => "FILTER",
            Self::Join(_) => "JOIN",
            Self::Mask(_) => "MASK",
            Self::Rows(_) => "ROWS",
            Self::Budget(_) => "BUDGET",
            Self::Archetypes(_) => "ARCHETYPES",
            Self::Oblige(_) => "OBLIGE",
        }
    }
}

/// A SHIP clause.
#[derive(Debug, Clone, PartialEq)]
pub struct ShipClause {
    /// What may be there.
    pub what: ShipWhat,
    /// Where; never empty.
    pub to: Vec<PlaceRef>,
}

/// The two forms of a SHIP.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an agreement holds few; a box would burden every reader")]
pub enum ShipWhat {
    /// Partial aggregates of a RELEASE clause of this agreement.
    Partials {
        /// The clause.
        of: ClauseRef,
    },
    /// Rows.
    Rows {
        /// Which columns.
        columns: Columns,
        /// Of which relation.
        from: FromRelation,
        /// Only rows that fulfil this.
        filter: Option<Expr>,
    },
}

/// How one clause refers to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClauseRef {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

/// A FILTER clause.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterClause {
    /// Columns, or expressions as written; never empty.
    pub columns: Vec<Expr>,
    /// What they may be compared with.
    pub with: Comparison,
}

/// The other side of a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Literals.
    Literals,
    /// Other columns.
    Columns,
    /// Both.
    Both,
}

/// A JOIN clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinClause {
    /// The keys; never empty.
    pub keys: Vec<ColumnRef>,
    /// The other side.
    pub with: JoinPartner,
}

/// With whom a relation may be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinPartner {
    /// With what the requester brings.
    Requester,
    /// With the tables of a site, written `WITH surf` or `WITH SITE surf`.
    Site(String),
    /// With one table, written `WITH TABLE t`.
    Table(TableRef),
    /// With anything.
    Any,
}

/// A MASK clause.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskClause {
    /// The column; its table may be left out where only one table has it.
    pub column: ColumnRef,
    /// What is seen in its place.
    pub value: Expr,
}

/// A ROWS clause.
#[derive(Debug, Clone, PartialEq)]
pub struct RowsClause {
    /// The table; may be left out where only one table has the columns of the condition.
    pub table: Option<TableRef>,
    /// Rows exist for the requester where this is true of their raw values.
    pub condition: Expr,
}

/// A BUDGET clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetClause {
    /// All must hold; never empty.
    pub limits: Vec<BudgetLimit>,
}

/// One limit of a budget, per calendar period in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetLimit {
    /// Release points of dispatched queries.
    Queries {
        /// How many.
        count: u32,
        /// In which time.
        per: Period,
    },
    /// Privacy loss.
    Epsilon {
        /// How much.
        amount: Decimal,
        /// In which time.
        per: Period,
    },
}

/// Calendar periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From first to first.
    Month,
    /// From 1 January to 1 January.
    Year,
}

/// How the work is spread between stewards and other places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Archetype {
    /// Only partials and released data leave the steward.
    ComputeToData,
    /// Rows may leave, as SHIP says.
    DataToCompute,
}

/// An OBLIGE clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObligeClause {
    /// What is demanded.
    pub obligation: Obligation,
    /// Of which place; `None` is every place that receives something.
    pub at: Option<PlaceRef>,
}

/// What a permit can demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obligation {
    /// Intermediate data are kept no longer than this after the query.
    Retention {
        /// How many units.
        amount: u32,
        /// Of which unit.
        unit: TimeUnit,
    },
    /// Each use is recorded at the place.
    Audit,
    /// The steward is told of each use.
    Notification,
}

/// Units of a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days of 24 hours.
    Day,
}
