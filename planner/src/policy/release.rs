//! RELEASE: the only clause that lets something reach the requester, either single rows or aggregates under conditions.
//! What the conditions mean while a query runs is decided where the release point is built, not here.

use std::cmp::Ordering;
use std::fmt;

use datafusion::sql::sqlparser::ast::Expr;

use super::relation::{ColumnRef, Columns, FromRelation};
use crate::function::Portion;

/// A RELEASE clause.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseClause {
    /// What may be released.
    pub what: ReleaseWhat,
    /// The relation that it is computed from.
    pub from: FromRelation,
    /// Rows of the relation that count, after the steward's own filters and masks.
    pub filter: Option<Expr>,
}

/// The two forms of a RELEASE.
#[derive(Debug, Clone, PartialEq)]
pub enum ReleaseWhat {
    /// Single rows. No minimum can protect a row, so none can be written.
    Rows(Columns),
    /// Aggregates over groups.
    Aggregates(ReleasedAggregates),
}

/// Aggregates that may be released together, and on which conditions. Every function is granted on every argument; `*`
/// goes with `count` alone. `RELEASE avg, count OF salary, *` grants `avg(salary)`, `count(salary)` and `count(*)`.
/// `min` and `max` are released only because they are listed: no other function implies them.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleasedAggregates {
    /// The functions; never empty.
    pub functions: Vec<ReleasedFunction>,
    /// What they may be applied to; never empty.
    pub arguments: Vec<Argument>,
    /// The finest grouping; any subset is allowed, the empty one included.
    pub by: Vec<Expr>,
    /// Entities that must stand behind every released value; all must hold.
    pub minimums: Vec<Minimum>,
    /// Whether minimums hold over the federation or at each steward.
    pub scope: MinimumScope,
    /// How many stewards must have an entity in the cell.
    pub minimum_sites: Option<u32>,
    /// The largest share of a sum that one entity or one site may have; strictly between 0 and 1.
    pub dominance: Option<Decimal>,
    /// Released numbers are multiples of this; above 0.
    pub round_to: Option<Decimal>,
    /// What happens to a group that does not reach a minimum.
    pub outcome: Outcome,
}

/// One aggregate function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasedFunction {
    /// Its name in lower case.
    pub name: String,
    /// `count DISTINCT` is another function than `count`.
    pub distinct: DistinctInput,
}

/// Which inputs an aggregate function sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistinctInput {
    /// Every row.
    All,
    /// Every value once.
    Distinct,
}

/// What a released function may be applied to.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an agreement holds few; a box would burden every reader")]
pub enum Argument {
    /// `*`: rows, for `count` only.
    Star,
    /// This expression as written.
    Expr(Expr),
}

/// `MINIMUM n DISTINCT entity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimum {
    /// How many; at least 1.
    pub count: u32,
    /// The column that tells entities apart.
    pub entity: ColumnRef,
}

/// Over whom a minimum counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinimumScope {
    /// All stewards of the query together.
    Federation,
    /// Each steward by itself, before anything leaves it.
    PerSite,
}

/// What happens to a group below a minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is left out; this is the default.
    Drop,
    /// It is merged with the other small groups.
    Remainder,
    /// The query fails.
    Fail,
}

/// A non-negative decimal number in its shortest form (`0.5`, `10`), so that equal numbers have equal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal(String);

impl Decimal {
    /// Reads digits with an optional fraction; `None` for anything else, exponents included.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || text.len() > 32 {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        Some(Self(format!("{whole}{point}{fraction}")))
    }

    /// Whether it is 0.
    pub fn is_zero(&self) -> bool {
        self.0 == "0"
    }

    /// Its digits, and how many of them stand after the point.
    pub fn digits(&self) -> Option<(i128, u32)> {
        let (whole, fraction) = self.parts();
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some((digits, u32::try_from(fraction.len()).ok()?))
    }

    /// The number as a portion of a whole, if it is above 0, below 1 and has at most 18 digits.
    pub fn portion(&self) -> Option<Portion> {
        let (units, digits) = self.digits()?;
        let (units, whole) = (u64::try_from(units).ok()?, 10_u64.checked_pow(digits)?);
        (0 < units && units < whole && digits <= 18).then_some(Portion { units, whole })
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('.').unwrap_or((&self.0, ""))
    }

    /// Whether it is below 1.
    pub fn is_below_one(&self) -> bool {
        self.0 == "0" || self.0.starts_with("0.")
    }
}

/// By value.
impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((whole, fraction), (of_other, fraction_of_other)) = (self.parts(), other.parts());
        // Neither has zeros in front of its whole part or behind its fraction.
        whole.len().cmp(&of_other.len()).then_with(|| whole.cmp(of_other)).then_with(|| fraction.cmp(fraction_of_other))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_ordered_by_value() {
        let rising = ["0", "0.05", "0.25", "0.3", "1", "2", "2.5", "10", "100.01"];
        for (index, one) in rising.iter().enumerate() {
            for (at, other) in rising.iter().enumerate() {
                let [one, other] = [one, other].map(|text| Decimal::parse(text).unwrap());
                assert_eq!(one.cmp(&other), index.cmp(&at), "{one} {other}");
            }
        }
        assert_eq!(Decimal::parse("02.50").unwrap().digits(), Some((25, 1)));
        assert_eq!(Decimal::parse("100").unwrap().digits(), Some((100, 0)));
    }
}
