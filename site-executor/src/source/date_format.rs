//! Strict reading of dates and timestamps by a `strftime`-like format.
//!
//! Strict on purpose: every field has a fixed width and the calendar is checked, so `20240230` is an error and never
//! some other day. Month names, weeks and time zones are left out: files that need them should be converted first.

use dynamos_planner::policy::day_number;
use serde::Deserialize;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// How dates or timestamps are written in a file: `%Y %m %d %H %M %S %f` (fraction, one to six digits) and literal text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DateFormat {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Literal(char),
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Fraction,
}

/// What was read, before the calendar is checked.
#[derive(Default)]
struct Fields {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    micros: u32,
}

impl DateFormat {
    /// ISO 8601 dates, `%Y-%m-%d`: the default.
    pub fn iso() -> Self {
        let parts = vec![Part::Year, Part::Literal('-'), Part::Month, Part::Literal('-'), Part::Day];
        DateFormat { text: "%Y-%m-%d".to_owned(), parts }
    }

    /// The format as the steward wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Days since 1970-01-01, if `text` is a date in this format.
    pub(crate) fn parse_days(&self, text: &str) -> Option<i32> {
        self.read(text)?.days()
    }

    /// Microseconds since 1970-01-01 00:00, if `text` is a timestamp in this format.
    pub(crate) fn parse_micros(&self, text: &str) -> Option<i64> {
        self.read(text)?.micros()
    }

    fn read(&self, text: &str) -> Option<Fields> {
        let mut fields = Fields::default();
        let mut rest = text;
        for part in &self.parts {
            rest = match part {
                Part::Literal(literal) => rest.strip_prefix(*literal)?,
                Part::Year => digits(rest, 4, &mut fields.year)?,
                Part::Month => digits(rest, 2, &mut fields.month)?,
                Part::Day => digits(rest, 2, &mut fields.day)?,
                Part::Hour => digits(rest, 2, &mut fields.hour)?,
                Part::Minute => digits(rest, 2, &mut fields.minute)?,
                Part::Second => digits(rest, 2, &mut fields.second)?,
                Part::Fraction => fraction(rest, &mut fields.micros)?,
            };
        }
        rest.is_empty().then_some(fields)
    }
}

impl Default for DateFormat {
    fn default() -> Self {
        DateFormat::iso()
    }
}

impl TryFrom<String> for DateFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut parts = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                parts.push(Part::Literal(character));
                continue;
            }
            parts.push(match characters.next() {
                Some('Y') => Part::Year,
                Some('m') => Part::Month,
                Some('d') => Part::Day,
                Some('H') => Part::Hour,
                Some('M') => Part::Minute,
                Some('S') => Part::Second,
                Some('f') => Part::Fraction,
                Some('%') => Part::Literal('%'),
                _ => return Err(format!("`{text}` is not a date format, use %Y %m %d %H %M %S %f and literal text")),
            });
        }
        let repeated = parts.iter().enumerate().any(|(index, part)| {
            !matches!(part, Part::Literal(_)) && parts.iter().skip(index + 1).any(|other| other == part)
        });
        let dated = [Part::Year, Part::Month, Part::Day].iter().all(|part| parts.contains(part));
        if repeated || !dated {
            return Err(format!("date format `{text}` must name %Y, %m and %d, and each field once"));
        }
        Ok(DateFormat { text, parts })
    }
}

impl Fields {
    fn days(&self) -> Option<i32> {
        i32::try_from(day_number(self.year.into(), self.month.into(), self.day.into())?).ok()
    }

    fn micros(&self) -> Option<i64> {
        if self.hour > 23 || self.minute > 59 || self.second > 59 {
            return None;
        }
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        let whole = i64::from(self.days()?) * SECONDS_PER_DAY + seconds;
        Some(whole * MICROS_PER_SECOND + i64::from(self.micros))
    }
}

/// Takes exactly `width` digits and returns what follows them.
fn digits<'a>(text: &'a str, width: usize, value: &mut u32) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(width)?;
    if !head.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    *value = head.parse().ok()?;
    Some(rest)
}

/// Takes one to six digits as a fraction of a second; finer fractions are refused, not rounded.
fn fraction<'a>(text: &'a str, micros: &mut u32) -> Option<&'a str> {
    let width = text.bytes().take_while(u8::is_ascii_digit).count();
    if width == 0 || width > 6 {
        return None;
    }
    let (head, rest) = text.split_at_checked(width)?;
    *micros = format!("{head:0<6}").parse().ok()?;
    Some(rest)
}

/// Reads an ISO 8601 timestamp: `T` or a space between date and time, seconds and their fraction optional, no zone.
pub(crate) fn parse_iso_micros(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let mut fields = DateFormat::iso_fields(date)?;
    let rest = digits(time, 2, &mut fields.hour)?.strip_prefix(':')?;
    let mut rest = digits(rest, 2, &mut fields.minute)?;
    if let Some(seconds) = rest.strip_prefix(':') {
        rest = digits(seconds, 2, &mut fields.second)?;
        if let Some(fractions) = rest.strip_prefix('.') {
            rest = fraction(fractions, &mut fields.micros)?;
        }
    }
    if rest.is_empty() { fields.micros() } else { None }
}

impl DateFormat {
    fn iso_fields(text: &str) -> Option<Fields> {
        let mut fields = Fields::default();
        let rest = digits(text, 4, &mut fields.year)?.strip_prefix('-')?;
        let rest = digits(rest, 2, &mut fields.month)?.strip_prefix('-')?;
        digits(rest, 2, &mut fields.day)?.is_empty().then_some(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> DateFormat {
        DateFormat::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn counts_days_over_the_whole_calendar() {
        let compact = format("%Y%m%d");
        assert_eq!(compact.parse_days("19700101"), Some(0));
        assert_eq!(compact.parse_days("19691231"), Some(-1));
        assert_eq!(compact.parse_days("20000229"), Some(11_016));
        assert_eq!(compact.parse_days("99990101"), Some(2_932_532));
        assert_eq!(compact.parse_days("00010101"), Some(-719_162));
    }

    #[test]
    fn refuses_days_that_do_not_exist_and_loose_widths() {
        let iso = DateFormat::iso();
        for wrong in
            ["2023-02-29", "1900-02-29", "2024-13-01", "2024-00-10", "2024-1-05", "2024-01-05x", "", "0000-01-01"]
        {
            assert_eq!(iso.parse_days(wrong), None, "{wrong}");
        }
        assert_eq!(iso.parse_days("2024-02-29"), Some(19_782));
        assert_eq!(format("%d/%m/%Y").parse_days("29/02/2024"), Some(19_782));
    }

    #[test]
    fn reads_timestamps_without_zone_only() {
        assert_eq!(parse_iso_micros("1970-01-01T00:00:01.5"), Some(1_500_000));
        assert_eq!(parse_iso_micros("1970-01-02 00:00"), Some(86_400_000_000));
        for wrong in ["1970-01-01T00:00:00Z", "1970-01-01T24:00", "1970-01-01T00:00:00.1234567", "1970-01-01"] {
            assert_eq!(parse_iso_micros(wrong), None, "{wrong}");
        }
        assert_eq!(format("%Y%m%d%H%M%S").parse_micros("19700101000002"), Some(2_000_000));
    }

    #[test]
    fn refuses_formats_that_leave_the_day_open() {
        for wrong in ["%Y-%m", "%Y%m%d%d", "%Y-%b-%d", "%"] {
            assert!(DateFormat::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
