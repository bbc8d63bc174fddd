//! What a BUDGET clause counts, and in which time: release points of one steward's data, by calendar periods in UTC. Who
//! has spent how much is kept by the steward's own site; there is no memory and no clock here.

use dynamos_proto::ids::SiteId;

use super::instant::{DAY_MS, civil, days_from_civil};
use super::{Agreement, BudgetLimit, Clause, EdgeVerdict, Period, UtcMillis};
use crate::fragment::FragmentGraph;

const HOUR_MS: i64 = 3_600_000;

impl Period {
    /// Every kind of period.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The first moment of the period that a moment lies in.
    pub fn start(self, at: UtcMillis) -> UtcMillis {
        self.moved(at, 0)
    }

    /// The first moment of the period after the one that a moment lies in.
    pub fn next(self, at: UtcMillis) -> UtcMillis {
        self.moved(at, 1)
    }

    /// The first moment of the period so many periods later.
    fn moved(self, UtcMillis(at): UtcMillis, periods: i64) -> UtcMillis {
        let day = at.div_euclid(DAY_MS);
        let (year, month, _) = civil(day);
        let days = match self {
            Self::Hour => return UtcMillis((at.div_euclid(HOUR_MS) + periods) * HOUR_MS),
            Self::Day => day + periods,
            // 1970-01-01 was a Thursday, three days after a Monday.
            Self::Week => ((day + 3).div_euclid(7) + periods) * 7 - 3,
            Self::Month => {
                let months = year * 12 + month - 1 + periods;
                days_from_civil(months.div_euclid(12), months.rem_euclid(12) + 1, 1)
            }
            Self::Year => days_from_civil(year + periods, 1, 1),
        };
        UtcMillis(days * DAY_MS)
    }
}

impl Agreement {
    /// The limits on queries of all its BUDGET clauses, each with its clause's number; all must hold.
    pub fn query_limits(&self) -> impl Iterator<Item = (u32, u32, Period)> {
        self.clauses.iter().flat_map(|numbered| {
            let limits = match &numbered.clause {
                Clause::Budget(budget) => budget.limits.as_slice(),
                _ => &[],
            };
            limits.iter().filter_map(|limit| match limit {
                BudgetLimit::Queries { count, per } => Some((numbered.number, *count, *per)),
                BudgetLimit::Epsilon { .. } => None,
            })
        })
    }
}

/// How often a query has one steward's data released: its release points with a clause of that steward, each as
/// often as it has grouping sets, and each relation whose rows a RELEASE ROWS clause releases at the scan. At least once: a
/// query that reads the data is never free. `verdicts` are those of a check that answered for this steward.
pub fn release_points(graph: &FragmentGraph, verdicts: &[EdgeVerdict], steward: &SiteId) -> u32 {
    let points = graph.releases.iter().filter(|point| point.clauses.iter().any(|clause| clause.steward == *steward));
    let rows: std::collections::BTreeSet<&str> = verdicts
        .iter()
        .filter(|verdict| verdict.rows_of.as_ref() == Some(steward))
        .map(|verdict| verdict.what.as_str())
        .collect();
    let points: usize = points.map(|point| point.shape.releases()).sum();
    u32::try_from(points + rows.len()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse_agreement;

    #[test]
    fn periods_begin_and_end_by_the_calendar() {
        for (at, period, start, next) in [
            ("2026-03-01T12:34:56.789Z", Period::Hour, "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"),
            ("2026-12-31T23:59:59.999Z", Period::Hour, "2026-12-31T23:00:00Z", "2027-01-01"),
            ("2026-03-01T12:34:56Z", Period::Day, "2026-03-01", "2026-03-02"),
            ("2024-02-28T12:00:00Z", Period::Day, "2024-02-28", "2024-02-29"),
            // 2026-03-01 is a Sunday, the day after a Monday.
            ("2026-03-01T23:59:59.999Z", Period::Week, "2026-02-23", "2026-03-02"),
            ("2026-03-02", Period::Week, "2026-03-02", "2026-03-09"),
            ("1969-12-31T23:00:00Z", Period::Week, "1969-12-29", "1970-01-05"),
            ("2026-02-28T23:59:59.999Z", Period::Month, "2026-02-01", "2026-03-01"),
            ("2026-12-05", Period::Month, "2026-12-01", "2027-01-01"),
            ("2026-01-01", Period::Month, "2026-01-01", "2026-02-01"),
            ("2024-12-31T23:59:59.999Z", Period::Year, "2024-01-01", "2025-01-01"),
            ("2025-01-01", Period::Year, "2025-01-01", "2026-01-01"),
        ] {
            let at = UtcMillis::parse(at).unwrap();
            let found = (period.start(at).to_string(), period.next(at).to_string());
            assert_eq!(found, (start.to_owned(), next.to_owned()), "{at} {period}");
        }
    }

    #[test]
    fn every_moment_lies_in_one_period_of_each_kind() {
        // An odd number of milliseconds, so that all hours, weekdays and dates come by.
        for step in 0..20_000 {
            let at = UtcMillis(-300_000_000_000 + step * 37_000_019);
            for period in Period::ALL {
                let (start, next) = (period.start(at), period.next(at));
                assert!(start <= at && at < next, "{at} {period}");
                assert_eq!((period.start(start), period.start(UtcMillis(next.0 - 1))), (start, start), "{at} {period}");
                assert_eq!(period.start(next), next, "{at} {period}");
            }
        }
    }

    #[test]
    fn limits_come_with_the_number_of_their_clause() {
        let text = "CREATE AGREEMENT a ON SITE vu FOR ANYONE PURPOSE statistics AS (RELEASE ROWS (*) FROM t, \
                    BUDGET 3 QUERIES PER DAY, 7 QUERIES PER MONTH, BUDGET 9 QUERIES PER YEAR)";
        let agreement = parse_agreement(text).unwrap();
        let limits: Vec<_> = agreement.query_limits().collect();
        assert_eq!(limits, [(2, 3, Period::Day), (2, 7, Period::Month), (3, 9, Period::Year)]);
    }
}
