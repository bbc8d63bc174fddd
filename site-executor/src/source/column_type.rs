//! The types a steward may declare for a column, by their SQL names.
//!
//! Not the engine's types: only those a text file can hold without loss, each with one Arrow counterpart.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};
use serde::Deserialize;

/// A column type by its SQL name, such as `bigint` or `decimal(10,2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ColumnType {
    /// `text`: UTF-8 of any length.
    Text,
    /// `integer`: 32 bits, signed.
    Integer,
    /// `bigint`: 64 bits, signed.
    BigInt,
    /// `double`: 64 bits, finite values only.
    Double,
    /// `boolean`.
    Boolean,
    /// `date`: days, no time of day.
    Date,
    /// `timestamp`: microseconds, without time zone.
    Timestamp,
    /// `decimal(p,s)`: exact, `p` digits in all, `s` of them after the point.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: u8,
    },
}

impl ColumnType {
    /// The Arrow type of such a column; text is always plain `Utf8`.
    pub fn data_type(self) -> DataType {
        match self {
            ColumnType::Text => DataType::Utf8,
            ColumnType::Integer => DataType::Int32,
            ColumnType::BigInt => DataType::Int64,
            ColumnType::Double => DataType::Float64,
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Date => DataType::Date32,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            // The scale is at most 38, so it fits the signed type Arrow keeps it in.
            ColumnType::Decimal { precision, scale } => {
                DataType::Decimal128(precision, i8::try_from(scale).unwrap_or(i8::MAX))
            }
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Text => f.write_str("text"),
            ColumnType::Integer => f.write_str("integer"),
            ColumnType::BigInt => f.write_str("bigint"),
            ColumnType::Double => f.write_str("double"),
            ColumnType::Boolean => f.write_str("boolean"),
            ColumnType::Date => f.write_str("date"),
            ColumnType::Timestamp => f.write_str("timestamp"),
            ColumnType::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
        }
    }
}

impl FromStr for ColumnType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim().to_ascii_lowercase();
        match name.as_str() {
            "text" | "varchar" | "string" => return Ok(ColumnType::Text),
            "integer" | "int" => return Ok(ColumnType::Integer),
            "bigint" => return Ok(ColumnType::BigInt),
            "double" | "double precision" => return Ok(ColumnType::Double),
            "boolean" | "bool" => return Ok(ColumnType::Boolean),
            "date" => return Ok(ColumnType::Date),
            "timestamp" => return Ok(ColumnType::Timestamp),
            _ => {}
        }
        parse_decimal_type(&name).ok_or_else(|| {
            format!(
                "`{text}` is not a column type, use text, integer, bigint, double, boolean, date, timestamp or \
                 decimal(p,s) with 1 <= p <= 38 and s <= p"
            )
        })
    }
}

impl TryFrom<String> for ColumnType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Reads `decimal(p)` and `decimal(p,s)`, also under the name `numeric`.
fn parse_decimal_type(name: &str) -> Option<ColumnType> {
    let digits = name.strip_prefix("decimal").or_else(|| name.strip_prefix("numeric"))?.trim();
    let inner = digits.strip_prefix('(')?.strip_suffix(')')?;
    let (precision, scale) = match inner.split_once(',') {
        Some((precision, scale)) => (precision.trim().parse().ok()?, scale.trim().parse().ok()?),
        None => (inner.trim().parse().ok()?, 0),
    };
    let legal = (1..=DECIMAL128_MAX_PRECISION).contains(&precision) && scale <= precision;
    legal.then_some(ColumnType::Decimal { precision, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sql_names_and_prints_them_back() {
        for name in ["text", "integer", "bigint", "double", "boolean", "date", "timestamp", "decimal(10,2)"] {
            assert_eq!(name.parse::<ColumnType>().unwrap().to_string(), name);
        }
        assert_eq!("NUMERIC( 8 , 3 )".parse(), Ok(ColumnType::Decimal { precision: 8, scale: 3 }));
        assert_eq!("decimal(5)".parse(), Ok(ColumnType::Decimal { precision: 5, scale: 0 }));
    }

    #[test]
    fn refuses_unknown_names_and_impossible_decimals() {
        for name in ["json", "decimal", "decimal(0,0)", "decimal(39,2)", "decimal(4,5)", "decimal(4,-1)"] {
            assert!(name.parse::<ColumnType>().unwrap_err().contains(name), "{name}");
        }
    }
}
