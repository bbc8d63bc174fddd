//! What this system can do, as Flight SQL's SqlInfo. The list is complete: drivers and BI tools fail on an id that is
//! missing, and on a value in the wrong branch of the union. `0` for a maximum means no limit or none known.

use std::collections::BTreeMap;

use arrow_flight::sql::metadata::SqlInfoDataBuilder;
use arrow_flight::sql::{SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity, SqlSupportedTransaction};
use arrow_flight::sql::{SqlSupportsConvert, SqlTransactionIsolationLevel};

/// Every value, by id.
pub(super) fn sql_info() -> SqlInfoDataBuilder {
    let mut infos = SqlInfoDataBuilder::new();
    server(&mut infos);
    texts(&mut infos);
    lists(&mut infos);
    flags(&mut infos);
    bitmasks(&mut infos);
    maxima(&mut infos);
    infos.append(SqlInfo::SqlSupportsConvert, conversions());
    infos
}

fn server(infos: &mut SqlInfoDataBuilder) {
    infos.append(SqlInfo::FlightSqlServerName, "DYNAMOS");
    infos.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    infos.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    infos.append(SqlInfo::FlightSqlServerReadOnly, false);
    infos.append(SqlInfo::FlightSqlServerSql, true);
    infos.append(SqlInfo::FlightSqlServerSubstrait, false);
    infos.append(SqlInfo::FlightSqlServerSubstraitMinVersion, "");
    infos.append(SqlInfo::FlightSqlServerSubstraitMaxVersion, "");
    infos.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    infos.append(SqlInfo::FlightSqlServerCancel, true);
    infos.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    infos.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    infos.append(SqlInfo::FlightSqlServerStatementTimeout, 0_i32);
    infos.append(SqlInfo::FlightSqlServerTransactionTimeout, 0_i32);
}

fn texts(infos: &mut SqlInfoDataBuilder) {
    for (id, text) in [
        (SqlInfo::SqlIdentifierQuoteChar, "\""),
        (SqlInfo::SqlSearchStringEscape, "\\"),
        (SqlInfo::SqlExtraNameCharacters, ""),
        (SqlInfo::SqlSchemaTerm, "schema"),
        (SqlInfo::SqlProcedureTerm, "procedure"),
        (SqlInfo::SqlCatalogTerm, "catalog"),
    ] {
        infos.append(id, text);
    }
}

fn lists(infos: &mut SqlInfoDataBuilder) {
    let keywords = ["AGREEMENT", "AGREEMENTS", "EXPLAIN", "ILIKE", "LIMIT", "OFFSET", "PERMISSIONS", "PURPOSE", "SHOW"];
    let numeric = [
        "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "degrees", "exp", "floor", "ln", "log", "log10", "log2",
        "pi", "power", "radians", "random", "round", "signum", "sin", "sqrt", "tan", "trunc",
    ];
    let string = [
        "ascii",
        "btrim",
        "char_length",
        "chr",
        "concat",
        "concat_ws",
        "initcap",
        "left",
        "length",
        "lower",
        "lpad",
        "ltrim",
        "octet_length",
        "position",
        "regexp_like",
        "regexp_replace",
        "repeat",
        "replace",
        "reverse",
        "right",
        "rpad",
        "rtrim",
        "split_part",
        "starts_with",
        "strpos",
        "substr",
        "translate",
        "trim",
        "upper",
    ];
    let system = ["coalesce", "nullif", "nvl"];
    let datetime = [
        "current_date",
        "current_time",
        "date_bin",
        "date_part",
        "date_trunc",
        "extract",
        "make_date",
        "now",
        "to_char",
        "to_date",
        "to_timestamp",
        "to_unixtime",
    ];
    infos.append(SqlInfo::SqlKeywords, &keywords[..]);
    infos.append(SqlInfo::SqlNumericFunctions, &numeric[..]);
    infos.append(SqlInfo::SqlStringFunctions, &string[..]);
    infos.append(SqlInfo::SqlSystemFunctions, &system[..]);
    infos.append(SqlInfo::SqlDatetimeFunctions, &datetime[..]);
}

fn flags(infos: &mut SqlInfoDataBuilder) {
    for (id, is_supported) in [
        (SqlInfo::SqlDdlCatalog, false),
        (SqlInfo::SqlDdlSchema, false),
        (SqlInfo::SqlDdlTable, false),
        (SqlInfo::SqlAllTablesAreSelectable, false),
        (SqlInfo::SqlSupportsColumnAliasing, true),
        (SqlInfo::SqlNullPlusNullIsNull, true),
        (SqlInfo::SqlSupportsTableCorrelationNames, true),
        (SqlInfo::SqlSupportsDifferentTableCorrelationNames, false),
        (SqlInfo::SqlSupportsExpressionsInOrderBy, true),
        (SqlInfo::SqlSupportsOrderByUnrelated, true),
        (SqlInfo::SqlSupportsLikeEscapeClause, true),
        (SqlInfo::SqlSupportsNonNullableColumns, true),
        (SqlInfo::SqlSupportsIntegrityEnhancementFacility, false),
        (SqlInfo::SqlCatalogAtStart, true),
        (SqlInfo::SqlSelectForUpdateSupported, false),
        (SqlInfo::SqlStoredProceduresSupported, false),
        (SqlInfo::SqlCorrelatedSubqueriesSupported, true),
        (SqlInfo::SqlMaxRowSizeIncludesBlobs, false),
        (SqlInfo::SqlTransactionsSupported, false),
        (SqlInfo::SqlDataDefinitionCausesTransactionCommit, false),
        (SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false),
        (SqlInfo::SqlBatchUpdatesSupported, true),
        (SqlInfo::SqlSavepointsSupported, false),
        (SqlInfo::SqlNamedParametersSupported, false),
        (SqlInfo::SqlLocatorsUpdateCopy, false),
        (SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false),
    ] {
        infos.append(id, is_supported);
    }
}

/// Bit `n` of each mask stands for ordinal `n` of the enumeration that the protocol names for the id.
fn bitmasks(infos: &mut SqlInfoDataBuilder) {
    for (id, mask) in [
        // Unrelated columns, and columns beyond those selected.
        (SqlInfo::SqlSupportedGroupBy, 0b11_i32),
        // Minimum and core.
        (SqlInfo::SqlSupportedGrammar, 0b11),
        // Entry level.
        (SqlInfo::SqlAnsi92SupportedLevel, 0b1),
        // Limited and full.
        (SqlInfo::SqlOuterJoinsSupportLevel, 0b110),
        (SqlInfo::SqlSchemasSupportedActions, 0),
        (SqlInfo::SqlCatalogsSupportedActions, 0),
        (SqlInfo::SqlSupportedPositionedCommands, 0),
        // In comparisons, EXISTS and IN.
        (SqlInfo::SqlSupportedSubqueries, 0b111),
        // UNION and UNION ALL.
        (SqlInfo::SqlSupportedUnions, 0b11),
        // None but the level "none".
        (SqlInfo::SqlSupportedTransactionsIsolationLevels, 0b1),
        // Forward only.
        (SqlInfo::SqlSupportedResultSetTypes, 0b10),
        (SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified, 0),
        // Read only.
        (SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly, 0b10),
        (SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0),
        (SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0),
    ] {
        infos.append(id, mask);
    }
}

fn maxima(infos: &mut SqlInfoDataBuilder) {
    let lowercase = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64;
    infos.append(SqlInfo::SqlIdentifierCase, lowercase);
    // Quoted names keep their case, for which the protocol has no better value.
    let unknown = SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i64;
    infos.append(SqlInfo::SqlQuotedIdentifierCase, unknown);
    infos.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i64);
    let isolation = SqlTransactionIsolationLevel::SqlTransactionNone as i64;
    infos.append(SqlInfo::SqlDefaultTransactionIsolation, isolation);
    for id in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxStatements,
        SqlInfo::SqlMaxTableNameLength,
        SqlInfo::SqlMaxTablesInSelect,
        SqlInfo::SqlMaxUsernameLength,
    ] {
        infos.append(id, 0_i64);
    }
}

/// Which types CAST turns into which.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    use SqlSupportsConvert as Type;
    let numbers = [
        Type::SqlConvertBigint,
        Type::SqlConvertBit,
        Type::SqlConvertDecimal,
        Type::SqlConvertFloat,
        Type::SqlConvertInteger,
        Type::SqlConvertNumeric,
        Type::SqlConvertReal,
        Type::SqlConvertSmallint,
        Type::SqlConvertTinyint,
    ];
    let texts = [Type::SqlConvertChar, Type::SqlConvertLongvarchar, Type::SqlConvertVarchar];
    let times = [Type::SqlConvertDate, Type::SqlConvertTime, Type::SqlConvertTimestamp];
    let codes = |types: &[&[Type]]| types.concat().into_iter().map(|to| to as i32).collect::<Vec<_>>();
    let mut known = BTreeMap::new();
    known.extend(numbers.map(|from| (from as i32, codes(&[&numbers, &texts]))));
    known.extend(texts.map(|from| (from as i32, codes(&[&numbers, &texts, &times]))));
    known.extend(times.map(|from| (from as i32, codes(&[&texts]))));
    known.insert(Type::SqlConvertTimestamp as i32, codes(&[&texts, &times]));
    known
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::UInt32Type;

    use super::*;

    /// Ids of the protocol by union branch: text 0, bool 1, int64 2, bitmask 3, list 4, map 5.
    fn branch(id: u32) -> i8 {
        match id {
            0 | 1 | 2 | 6 | 7 | 504 | 513 | 514 | 529..=531 => 0,
            503 | 505 | 507 | 562 | 541..=555 | 557..=561 => 2,
            8 | 100 | 101 | 522 | 525 | 526 | 528 | 533..=535 | 538 | 540 | 564 | 567..=571 => 3,
            508..=512 => 4,
            517 => 5,
            _ => 1,
        }
    }

    #[test]
    fn holds_every_id_in_its_branch_of_the_union() {
        let batch = sql_info().build().unwrap().record_batch([]).unwrap();
        let ids = batch.column(0).as_primitive::<UInt32Type>().values().to_vec();
        let expected = (0..=11).chain(100..=101).chain(500..=576).collect::<Vec<_>>();
        assert_eq!(ids, expected);
        let values = batch.column(1).as_union();
        for (row, id) in ids.into_iter().enumerate() {
            assert_eq!(values.type_id(row), branch(id), "id {id}");
        }
    }
}
