//! Guessing the type of an undeclared CSV column from every one of its values.
//!
//! A type is only taken if reading it loses nothing the file shows: `0001` and `+1` stay text because a number would
//! print differently, and `20240131` becomes a whole number, not a date, because only the steward knows that it is one.
//! The guess looks at the whole data, so that a value on the last line cannot contradict it later.

use super::column_type::ColumnType;
use super::date_format::{DateFormat, parse_iso_micros};

/// Which types all values seen so far would fit.
#[derive(Debug, Clone)]
pub(crate) struct Inference {
    seen: bool,
    iso: DateFormat,
    candidates: [(ColumnType, bool); 5],
}

impl Default for Inference {
    fn default() -> Self {
        // In order of preference: a whole number is also a double, no other two overlap.
        let candidates =
            [ColumnType::BigInt, ColumnType::Double, ColumnType::Boolean, ColumnType::Date, ColumnType::Timestamp];
        Inference { seen: false, iso: DateFormat::iso(), candidates: candidates.map(|candidate| (candidate, true)) }
    }
}

impl Inference {
    /// Takes one value into account; NULL is left out by the caller.
    pub(crate) fn observe(&mut self, text: &str) {
        self.seen = true;
        for (candidate, fits) in &mut self.candidates {
            *fits = *fits
                && match candidate {
                    ColumnType::BigInt => is_plain_integer(text),
                    ColumnType::Double => is_plain_number(text),
                    ColumnType::Boolean => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
                    ColumnType::Date => self.iso.parse_days(text).is_some(),
                    ColumnType::Timestamp => parse_iso_micros(text).is_some(),
                    ColumnType::Text | ColumnType::Integer | ColumnType::Decimal { .. } => false,
                };
        }
    }

    /// The narrowest type that fits; text if nothing else does or nothing was seen.
    pub(crate) fn column_type(&self) -> ColumnType {
        let fitting = self.candidates.iter().find(|(_, fits)| *fits).map(|(candidate, _)| *candidate);
        if self.seen { fitting.unwrap_or(ColumnType::Text) } else { ColumnType::Text }
    }
}

/// A whole number of 64 bits that prints as it is written.
fn is_plain_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok() && has_plain_digits(text) && text != "-0"
}

/// A finite number in digits, possibly with a point and an exponent, that a double holds as exactly as it is written.
fn is_plain_number(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits_only = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Codes like 12345678901234567890 are not quantities: a double would blur their last digits.
    let significant = mantissa.bytes().filter(u8::is_ascii_digit).count();
    has_plain_digits(whole)
        && digits_only(decimals)
        && digits_only(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
        && significant <= 17
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Digits without leading zeros, possibly after a minus.
fn has_plain_digits(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits && (digits == "0" || !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(values: &[&str]) -> ColumnType {
        let mut inference = Inference::default();
        values.iter().for_each(|value| inference.observe(value));
        inference.column_type()
    }

    #[test]
    fn takes_the_narrowest_type_that_fits_every_value() {
        assert_eq!(infer(&["1", "-20", "0"]), ColumnType::BigInt);
        assert_eq!(infer(&["1", "2.50", "-3e4"]), ColumnType::Double);
        assert_eq!(infer(&["true", "FALSE"]), ColumnType::Boolean);
        assert_eq!(infer(&["2024-01-31"]), ColumnType::Date);
        assert_eq!(infer(&["2024-01-31T10:00:00", "2024-01-31 10:00"]), ColumnType::Timestamp);
        assert_eq!(infer(&["1", "2", "x"]), ColumnType::Text);
        assert_eq!(infer(&["2024-01-31", "1"]), ColumnType::Text);
        assert_eq!(infer(&[]), ColumnType::Text);
    }

    #[test]
    fn leading_zeros_and_signs_keep_a_column_text() {
        for value in ["0000", "01", "+1", "00.5", "1.", ".5", " 1", "1 "] {
            assert_eq!(infer(&[value, "12"]), ColumnType::Text, "{value}");
        }
        assert_eq!(infer(&["-0", "12"]), ColumnType::Double);
        assert_eq!(infer(&["0000"]), ColumnType::Text);
        assert_eq!(infer(&["01", "12"]), ColumnType::Text);
    }

    #[test]
    fn compact_dates_stay_numbers_and_long_codes_stay_text() {
        assert_eq!(infer(&["20240131", "99990101"]), ColumnType::BigInt);
        assert_eq!(infer(&["12345678901234567890"]), ColumnType::Text);
        assert_eq!(infer(&["NaN"]), ColumnType::Text);
        assert_eq!(infer(&["1e999"]), ColumnType::Text);
    }
}
