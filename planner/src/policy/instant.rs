//! Moments in an agreement: UTC, to the millisecond, in the proleptic Gregorian calendar. There is no clock here: the
//! present is an input of the planner.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z, within the years 0001 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcMillis(pub i64);

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

impl UtcMillis {
    /// Reads `YYYY-MM-DD` (midnight UTC) or an RFC 3339 time with `Z` or an offset, with at most three digits of a
    /// second's fraction. `None` for anything else, days that do not exist and leap seconds included.
    pub fn parse(text: &str) -> Option<Self> {
        let date = text.get(..10)?;
        let midnight = days_of(date)?.checked_mul(DAY_MS)?;
        match text.get(10..)? {
            "" => Some(Self(midnight)),
            time => Self::within_years(midnight.checked_add(time_of(time)?)?),
        }
    }

    fn within_years(millis: i64) -> Option<Self> {
        let (year, _, _) = civil(millis.div_euclid(DAY_MS));
        (1..=9999).contains(&year).then_some(Self(millis))
    }
}

impl fmt::Display for UtcMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(DAY_MS));
        write!(f, "{year:04}-{month:02}-{day:02}")?;
        let of_day = self.0.rem_euclid(DAY_MS);
        if of_day == 0 {
            return Ok(());
        }
        let (seconds, millis) = (of_day / 1000, of_day % 1000);
        write!(f, "T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if millis != 0 {
            write!(f, ".{millis:03}")?;
        }
        f.write_str("Z")
    }
}

/// Days since 1970-01-01 of a `YYYY-MM-DD`.
fn days_of(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    parts.next().is_none().then(|| day_number(year, month, day))?
}

/// Days since 1970-01-01, if there is such a day from the year 1 on.
pub fn day_number(year: i64, month: i64, day: i64) -> Option<i64> {
    let days = days_from_civil(year, month, day);
    // A day that does not exist comes back as another one.
    (year >= 1 && civil(days) == (year, month, day)).then_some(days)
}

/// Milliseconds after midnight UTC of a `Thh:mm:ss[.fff](Z|±hh:mm)`; may be negative or above a day.
fn time_of(time: &str) -> Option<i64> {
    if !time.starts_with(['T', 't', ' ']) {
        return None;
    }
    let (hour, minute) = hour_and_minute(time.get(1..6)?)?;
    if time.get(6..7)? != ":" {
        return None;
    }
    let second = digits(time.get(7..9)?, 2).filter(|second| *second < 60)?;
    let mut rest = time.get(9..)?;
    let mut millis = ((hour * 60 + minute) * 60 + second) * 1000;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let scale = match length {
            1 => 100,
            2 => 10,
            3 => 1,
            _ => return None,
        };
        millis += digits(fraction.get(..length)?, length)? * scale;
        rest = fraction.get(length..)?;
    }
    let offset_ms = match rest {
        "Z" | "z" => 0,
        offset => {
            let (hour, minute) = hour_and_minute(offset.get(1..)?)?;
            let ms = (hour * 60 + minute) * 60_000;
            match offset.get(..1)? {
                "+" => ms,
                "-" => -ms,
                _ => return None,
            }
        }
    };
    Some(millis - offset_ms)
}

fn hour_and_minute(text: &str) -> Option<(i64, i64)> {
    let (hour, minute) = text.split_once(':')?;
    Some((digits(hour, 2).filter(|hour| *hour < 24)?, digits(minute, 2).filter(|minute| *minute < 60)?))
}

fn digits(text: &str, length: usize) -> Option<i64> {
    (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Howard Hinnant's `days_from_civil`: eras of 400 years, years that begin in March.
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Its inverse.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_and_times() {
        for (text, millis, printed) in [
            ("1970-01-01", 0, "1970-01-01"),
            ("2026-01-01", 1_767_225_600_000, "2026-01-01"),
            ("2024-02-29", 1_709_164_800_000, "2024-02-29"),
            ("1969-12-31T23:59:59.999Z", -1, "1969-12-31T23:59:59.999Z"),
            ("2026-01-01T01:00:00+01:00", 1_767_225_600_000, "2026-01-01"),
            ("2026-01-01T00:00:00.5-00:30", 1_767_227_400_500, "2026-01-01T00:30:00.500Z"),
            ("0001-01-01", -62_135_596_800_000, "0001-01-01"),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000, "9999-12-31T23:59:59Z"),
        ] {
            let read = UtcMillis::parse(text);
            assert_eq!(read, Some(UtcMillis(millis)), "{text}");
            assert_eq!(read.unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_moment() {
        for text in [
            "",
            "2026",
            "2026-1-01",
            "2026-13-01",
            "2026-00-10",
            "2026-02-29",
            "2026-04-31",
            "0000-01-01",
            "2026-01-01T",
            "2026-01-01T00:00",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234Z",
            "2026-01-01T00:00:00+0100",
            "2026-01-01Z",
            "+026-01-01",
            "0001-01-01T00:00:00+01:00",
            "2026-01-0é",
            "2026-01-01T00:00:00é",
        ] {
            assert_eq!(UtcMillis::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_survives_printing() {
        for day in -200_000..100_000 {
            let moment = UtcMillis(day * DAY_MS + 1);
            assert_eq!(UtcMillis::parse(&moment.to_string()), Some(moment));
        }
    }
}
