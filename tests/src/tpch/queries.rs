//! The 22 queries with the substitution values that the TPC-H specification gives for validation (clause 2.4), without
//! the limits on the number of rows: these would leave it open which of equal rows are given.

use anyhow::Context;
use tpchgen::q_and_a::queries::query;

/// Numbers of the queries.
pub const QUERIES: std::ops::RangeInclusive<i32> = 1..=22;

/// Values for `:1`, `:2` and so on.
fn values(number: i32) -> &'static [&'static str] {
    match number {
        1 => &["90"],
        2 => &["15", "BRASS", "EUROPE"],
        3 => &["BUILDING", "1995-03-15"],
        4 => &["1993-07-01"],
        5 => &["ASIA", "1994-01-01"],
        6 => &["1994-01-01", "0.06", "24"],
        7 => &["FRANCE", "GERMANY"],
        8 => &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"],
        9 => &["green"],
        10 => &["1993-10-01"],
        // The share of the whole value is one ten-thousandth at factor 1 and rises as data shrinks.
        11 => &["GERMANY", "{share}"],
        12 => &["MAIL", "SHIP", "1994-01-01"],
        13 => &["special", "requests"],
        14 => &["1995-09-01"],
        15 => &["1996-01-01"],
        16 => &["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"],
        17 => &["Brand#23", "MED BOX"],
        18 => &["300"],
        19 => &["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"],
        20 => &["forest", "1994-01-01", "CANADA"],
        21 => &["SAUDI ARABIA"],
        22 => &["13", "31", "23", "29", "30", "18", "17"],
        _ => &[],
    }
}

/// A query as one statement.
pub fn sql(number: i32, factor: f64) -> anyhow::Result<String> {
    let mut text = query(number).with_context(|| format!("there is no query {number}"))?.to_owned();
    // The precision of an interval says nothing here and is not in this dialect.
    text = text.replace(" day (3)", " day");
    if let Some(rest) = text.trim().strip_prefix("create view revenue:s (supplier_no, total_revenue) as") {
        let (view, rest) = rest.split_once(';').context("query 15 has no view")?;
        let (select, _) = rest.split_once(';').context("query 15 has no query")?;
        text =
            format!("with revenue (supplier_no, total_revenue) as ({view}) {select}").replace("revenue:s", "revenue");
    }
    for (index, value) in values(number).iter().enumerate().rev() {
        text = text.replace(&format!(":{}", index + 1), value);
    }
    text = text.replace("{share}", &format!("{:.10}", 0.0001 / factor));
    Ok(text.trim().trim_end_matches(';').to_owned())
}
