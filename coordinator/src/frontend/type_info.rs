//! SQL's names for Arrow's types: the list that GetXdbcTypeInfo gives, and the metadata that describes each column.
//! ODBC's drivers read the metadata of every column and crash on one without.

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

use super::engine::TableInfo;
use super::plain_types::client_schema;

/// Prefix of the protocol's field metadata.
const PREFIX: &str = "ARROW:FLIGHT:SQL:";

/// The field with the protocol's metadata added.
pub(super) fn describe(field: &Field) -> Field {
    let data_type = field.data_type();
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8);
    let mut metadata = field.metadata().clone();
    let mut add = |name: &str, value: &str| metadata.insert(format!("{PREFIX}{name}"), value.to_owned());
    add("TYPE_NAME", sql_name(data_type));
    if let Some((precision, scale)) = precision(data_type) {
        add("PRECISION", &precision.to_string());
        add("SCALE", &scale.to_string());
    }
    add("IS_AUTO_INCREMENT", "0");
    add("IS_CASE_SENSITIVE", if is_text { "1" } else { "0" });
    add("IS_READ_ONLY", "1");
    add("IS_SEARCHABLE", "1");
    field.clone().with_metadata(metadata)
}

/// A table's columns as clients see them, each with the names of its table.
pub(super) fn describe_table(table: &TableInfo) -> Schema {
    let columns = client_schema(&table.columns);
    let fields = columns.fields().iter().map(|field| {
        let mut metadata = field.metadata().clone();
        if let Some(catalog) = &table.catalog {
            metadata.insert(format!("{PREFIX}CATALOG_NAME"), catalog.clone());
        }
        metadata.insert(format!("{PREFIX}DB_SCHEMA_NAME"), table.schema.clone());
        metadata.insert(format!("{PREFIX}TABLE_NAME"), table.table.clone());
        field.as_ref().clone().with_metadata(metadata)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// SQL's name for a plain type.
pub(super) fn sql_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INTEGER UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float16 | DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "DECIMAL"
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "VARBINARY",
        DataType::FixedSizeBinary(_) => "BINARY",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Interval(IntervalUnit::YearMonth) => "INTERVAL YEAR TO MONTH",
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL",
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(..) => "ARRAY",
        DataType::Struct(_) => "STRUCT",
        DataType::Map(..) => "MAP",
        DataType::Union(..) => "UNION",
        DataType::Dictionary(_, values) => sql_name(values),
        DataType::RunEndEncoded(_, values) => sql_name(values.data_type()),
        DataType::Null => "NULL",
    }
}

/// The type's name for a CAST in a statement, where there is one.
pub(super) fn cast_name(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Binary | DataType::LargeBinary => "BYTEA".to_owned(),
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Date32
        | DataType::Time64(_)
        | DataType::Timestamp(..) => sql_name(data_type).to_owned(),
        _ => return None,
    })
}

/// Precision and scale, in decimal digits, of a number or time.
fn precision(data_type: &DataType) -> Option<(u8, i8)> {
    let fraction = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Float32 => (7, 0),
        DataType::Float64 => (15, 0),
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => (fraction(unit), 0),
        _ => return None,
    })
}

/// Every type that a column of a result can have, for GetXdbcTypeInfo.
pub(super) fn type_info() -> XdbcTypeInfoDataBuilder {
    use XdbcDataType as Type;
    let mut infos = XdbcTypeInfoDataBuilder::new();
    let mut add = |info| infos.append(info);
    add(XdbcTypeInfo { unsigned_attribute: None, ..number("BOOLEAN", Type::XdbcBit, 1) });
    for (name, unsigned_name, data_type, digits, unsigned_digits) in [
        ("TINYINT", "TINYINT UNSIGNED", Type::XdbcTinyint, 3, 3),
        ("SMALLINT", "SMALLINT UNSIGNED", Type::XdbcSmallint, 5, 5),
        ("INTEGER", "INTEGER UNSIGNED", Type::XdbcInteger, 10, 10),
        ("BIGINT", "BIGINT UNSIGNED", Type::XdbcBigint, 19, 20),
    ] {
        add(number(name, data_type, digits));
        add(XdbcTypeInfo { unsigned_attribute: Some(true), ..number(unsigned_name, data_type, unsigned_digits) });
    }
    add(number("REAL", Type::XdbcReal, 7));
    add(number("DOUBLE", Type::XdbcDouble, 15));
    let parameters = ["precision", "scale"].map(str::to_owned).to_vec();
    add(XdbcTypeInfo {
        create_params: Some(parameters),
        maximum_scale: Some(38),
        ..number("DECIMAL", Type::XdbcDecimal, 38)
    });
    add(XdbcTypeInfo { case_sensitive: true, ..quoted("VARCHAR", Type::XdbcVarchar, i32::MAX, "'") });
    add(quoted("VARBINARY", Type::XdbcVarbinary, i32::MAX, "X'"));
    add(quoted("BINARY", Type::XdbcBinary, i32::MAX, "X'"));
    add(time("DATE", Type::XdbcDate, 10, XdbcDatetimeSubcode::XdbcSubcodeYear));
    add(time("TIME", Type::XdbcTime, 18, XdbcDatetimeSubcode::XdbcSubcodeTime));
    add(time("TIMESTAMP", Type::XdbcTimestamp, 29, XdbcDatetimeSubcode::XdbcSubcodeTimestamp));
    let zoned = XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone;
    add(time("TIMESTAMP WITH TIME ZONE", Type::XdbcTimestamp, 35, zoned));
    for name in ["INTERVAL", "INTERVAL YEAR TO MONTH"] {
        add(XdbcTypeInfo { literal_prefix: Some("INTERVAL '".into()), ..quoted(name, Type::XdbcInterval, 64, "'") });
    }
    for name in ["ARRAY", "MAP", "NULL", "STRUCT", "UNION"] {
        add(XdbcTypeInfo { searchable: Searchable::None, ..plain(name, Type::XdbcUnknownType) });
    }
    infos
}

fn plain(name: &str, data_type: XdbcDataType) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        local_type_name: Some(name.to_owned()),
        sql_data_type: data_type,
        ..XdbcTypeInfo::default()
    }
}

fn number(name: &str, data_type: XdbcDataType, digits: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        column_size: Some(digits),
        unsigned_attribute: Some(false),
        auto_increment: Some(false),
        minimum_scale: Some(0),
        maximum_scale: Some(0),
        num_prec_radix: Some(10),
        ..plain(name, data_type)
    }
}

fn quoted(name: &str, data_type: XdbcDataType, size: i32, prefix: &str) -> XdbcTypeInfo {
    let (literal_prefix, literal_suffix) = (Some(prefix.to_owned()), Some("'".to_owned()));
    XdbcTypeInfo { column_size: Some(size), literal_prefix, literal_suffix, ..plain(name, data_type) }
}

fn time(name: &str, data_type: XdbcDataType, size: i32, subcode: XdbcDatetimeSubcode) -> XdbcTypeInfo {
    let keyword = name.split(' ').next().unwrap_or(name);
    XdbcTypeInfo {
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: Some(subcode),
        ..quoted(name, data_type, size, &format!("{keyword} '"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn every_name_of_a_column_type_is_in_the_list() {
        let known = type_info().build().unwrap().record_batch(None).unwrap();
        let known = known.column(0).as_string::<i32>().iter().flatten().collect::<BTreeSet<_>>();
        for data_type in [
            DataType::Boolean,
            DataType::Int8,
            DataType::UInt64,
            DataType::Float32,
            DataType::Decimal128(10, 2),
            DataType::LargeUtf8,
            DataType::Binary,
            DataType::FixedSizeBinary(3),
            DataType::Date32,
            DataType::Time64(TimeUnit::Nanosecond),
            DataType::Timestamp(TimeUnit::Second, Some("UTC".into())),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Null,
        ] {
            assert!(known.contains(sql_name(&data_type)), "{data_type}");
        }
    }
}
