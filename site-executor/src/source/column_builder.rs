//! Turning the text of one CSV column into an Arrow array, strictly.
//!
//! A text that is not a value of the column's type is refused; there is no reading of it as NULL, no rounding and no
//! wrapping. Spaces around numbers, dates and booleans are the only thing forgiven.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
};

use super::column_type::ColumnType;
use super::date_format::{DateFormat, parse_iso_micros};

/// Collects the values of one column.
pub(crate) enum ColumnBuilder {
    Text(StringBuilder),
    Integer(Int32Builder),
    BigInt(Int64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    Date(Date32Builder, DateFormat),
    Timestamp(TimestampMicrosecondBuilder, Option<DateFormat>),
    Decimal { values: Decimal128Builder, precision: u8, scale: u8 },
}

/// The text is not a value of the column's type.
#[derive(Debug, PartialEq)]
pub(crate) struct NotOfType;

impl ColumnBuilder {
    /// An empty column; `format` says how dates or timestamps are written.
    pub(crate) fn new(column_type: ColumnType, format: Option<DateFormat>) -> Self {
        match column_type {
            ColumnType::Text => ColumnBuilder::Text(StringBuilder::new()),
            ColumnType::Integer => ColumnBuilder::Integer(Int32Builder::new()),
            ColumnType::BigInt => ColumnBuilder::BigInt(Int64Builder::new()),
            ColumnType::Double => ColumnBuilder::Double(Float64Builder::new()),
            ColumnType::Boolean => ColumnBuilder::Boolean(BooleanBuilder::new()),
            ColumnType::Date => ColumnBuilder::Date(Date32Builder::new(), format.unwrap_or_default()),
            ColumnType::Timestamp => ColumnBuilder::Timestamp(TimestampMicrosecondBuilder::new(), format),
            ColumnType::Decimal { precision, scale } => {
                let values = Decimal128Builder::new().with_data_type(column_type.data_type());
                ColumnBuilder::Decimal { values, precision, scale }
            }
        }
    }

    /// Appends one value.
    pub(crate) fn append(&mut self, text: &str) -> Result<(), NotOfType> {
        let bare = text.trim_matches(' ');
        match self {
            ColumnBuilder::Text(values) => values.append_value(text),
            ColumnBuilder::Integer(values) => values.append_value(bare.parse().map_err(|_| NotOfType)?),
            ColumnBuilder::BigInt(values) => values.append_value(bare.parse().map_err(|_| NotOfType)?),
            ColumnBuilder::Double(values) => values.append_value(parse_double(bare).ok_or(NotOfType)?),
            ColumnBuilder::Boolean(values) => values.append_value(parse_boolean(bare).ok_or(NotOfType)?),
            ColumnBuilder::Date(values, format) => values.append_value(format.parse_days(bare).ok_or(NotOfType)?),
            ColumnBuilder::Timestamp(values, format) => {
                let micros = match format {
                    Some(format) => format.parse_micros(bare),
                    None => parse_iso_micros(bare),
                };
                values.append_value(micros.ok_or(NotOfType)?);
            }
            ColumnBuilder::Decimal { values, precision, scale } => {
                values.append_value(parse_decimal(bare, *precision, *scale).ok_or(NotOfType)?);
            }
        }
        Ok(())
    }

    /// Appends NULL.
    pub(crate) fn append_null(&mut self) {
        match self {
            ColumnBuilder::Text(values) => values.append_null(),
            ColumnBuilder::Integer(values) => values.append_null(),
            ColumnBuilder::BigInt(values) => values.append_null(),
            ColumnBuilder::Double(values) => values.append_null(),
            ColumnBuilder::Boolean(values) => values.append_null(),
            ColumnBuilder::Date(values, _) => values.append_null(),
            ColumnBuilder::Timestamp(values, _) => values.append_null(),
            ColumnBuilder::Decimal { values, .. } => values.append_null(),
        }
    }

    /// The values so far as an array; the builder is empty again.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::Text(values) => Arc::new(values.finish()),
            ColumnBuilder::Integer(values) => Arc::new(values.finish()),
            ColumnBuilder::BigInt(values) => Arc::new(values.finish()),
            ColumnBuilder::Double(values) => Arc::new(values.finish()),
            ColumnBuilder::Boolean(values) => Arc::new(values.finish()),
            ColumnBuilder::Date(values, _) => Arc::new(values.finish()),
            ColumnBuilder::Timestamp(values, _) => Arc::new(values.finish()),
            ColumnBuilder::Decimal { values, .. } => Arc::new(values.finish()),
        }
    }
}

/// Finite numbers only: NaN and infinity have no place in sums that must be exact, declare them in `null_values`.
fn parse_double(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// The value times 10^scale; zeros beyond the scale are dropped, other digits beyond it are refused.
fn parse_decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let decimals = decimals.trim_end_matches('0');
    let scale = usize::from(scale);
    let digits_only = whole.bytes().chain(decimals.bytes()).all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits_only || decimals.len() > scale {
        return None;
    }
    let digits = format!("{whole}{decimals:0<scale$}");
    let digits = digits.trim_start_matches('0');
    if digits.len() > usize::from(precision) {
        return None;
    }
    let value: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    Some(if text.starts_with('-') { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(parse_decimal("12.5", 6, 2), Some(1250));
        assert_eq!(parse_decimal("-0.05", 6, 2), Some(-5));
        assert_eq!(parse_decimal("0007.500", 6, 2), Some(750));
        assert_eq!(parse_decimal("9999.99", 6, 2), Some(999_999));
        for wrong in ["10000.00", "0.125", "1e3", "", "-", ".5", "1,5", "1.2.3"] {
            assert_eq!(parse_decimal(wrong, 6, 2), None, "{wrong}");
        }
    }

    #[test]
    fn values_out_of_range_or_not_finite_are_refused() {
        let refuses = |column_type, text| ColumnBuilder::new(column_type, None).append(text) == Err(NotOfType);
        assert!(refuses(ColumnType::Integer, "2147483648"));
        assert!(refuses(ColumnType::BigInt, "1.0"));
        assert!(refuses(ColumnType::Double, "NaN"));
        assert!(refuses(ColumnType::Double, "inf"));
        assert!(refuses(ColumnType::Boolean, "maybe"));
        assert!(refuses(ColumnType::Date, "20240131"));
        assert!(refuses(ColumnType::Timestamp, "2024-01-31"));
        assert!(!refuses(ColumnType::Integer, " 0001 "));
    }
}
