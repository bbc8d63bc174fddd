//! Two federations that look alike to whoever asks: the same rows are in view, with the same masked values. They differ in
//! rows that ROWS clauses hide and in what MASK clauses take away of values. What a steward publishes of a table for
//! estimates (rows, and by column distinct values, NULLs and bounds) is known to everybody and therefore the same.

use std::path::Path;

use dynamos_cli::federation::Design;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::schema::{Row, Table, design_with, tables_of};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    One,
    Other,
}

/// Seed of the hidden rows.
const HIDDEN_SEED: u64 = 21;
/// Hidden rows of each part.
const HIDDEN: usize = 12;
/// Row numbers and persons from here on are hidden.
const HIDDEN_FROM: usize = 500_000;

/// The federation of a side; writes its files into `root`.
pub fn design(side: Side) -> impl FnOnce(&Path) -> Design {
    move |root| {
        let mut random = StdRng::seed_from_u64(HIDDEN_SEED);
        design_with(root, &agreement, &mut |table, place, rows| {
            for row in rows.iter_mut() {
                mask(table, row, side);
            }
            rows.extend(hidden(table, place, side, &mut random));
        })
    }
}

/// What is in view of a table.
fn view(table: &Table) -> &'static str {
    match table.name {
        "tags" => "num IS NULL OR num < 90",
        "rates" => "rate IS NULL OR rate < 5000",
        "nothing" => "num < 90",
        _ => "rid < 500000",
    }
}

fn agreement(steward: &str) -> String {
    let mut clauses = Vec::new();
    for table in tables_of(steward) {
        let name = table.name;
        clauses.push(format!("RELEASE ROWS (*) FROM gen.{name}"));
        clauses.push(format!("SHIP ROWS (*) FROM gen.{name} TO ANY, COORDINATOR"));
        clauses.push(format!("ROWS ON gen.{name} WHERE {}", view(table)));
        let masks: &[&str] = match name {
            "orders" => &["gen.orders.kind AS left(kind, 1)", "gen.orders.price AS NULL"],
            "customers" => &["gen.customers.name AS upper(left(name, 1))"],
            "visits" => &["gen.visits.days AS CASE WHEN days > 4 THEN 9 ELSE 1 END"],
            _ => &[],
        };
        clauses.extend(masks.iter().map(|mask| format!("MASK {mask}")));
    }
    format!(
        "CREATE AGREEMENT views ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS (\n  {}\n);",
        clauses.join(",\n  ")
    )
}

/// Changes what is masked away of a row's values.
fn mask(table: &Table, row: &mut Row, side: Side) {
    let first = |text: &str| text.chars().take(1).collect::<String>();
    let rest = if side == Side::One { "lice" } else { "bdul-Aziz 100%" };
    let mut change = |column: &str, to: &dyn Fn(&str) -> String| {
        if let Some(cell) = table.position(column).and_then(|at| row.get_mut(at))
            && let Some(text) = cell.as_ref().filter(|text| !text.is_empty())
        {
            *cell = Some(to(text));
        }
    };
    match table.name {
        "orders" => {
            change("kind", &|text| first(text) + rest);
            change("price", &|_| if side == Side::One { "1.25".into() } else { "-99999.99".into() });
        }
        "customers" => change("name", &|text| first(text) + rest),
        "visits" => change("days", &|text| match (text.parse::<i64>().unwrap() > 4, side) {
            (true, Side::One) => "5".into(),
            (true, Side::Other) => "7777".into(),
            (false, Side::One) => "0".into(),
            (false, Side::Other) => "-20".into(),
        }),
        _ => {}
    }
}

/// Rows that are not in view.
fn hidden(table: &Table, place: usize, side: Side, random: &mut StdRng) -> Vec<Row> {
    let mut rows = table.rows(place, HIDDEN, random);
    rows.truncate(HIDDEN);
    if side == Side::Other {
        // The same values, each column's in other rows.
        let before = rows.clone();
        for (number, row) in rows.iter_mut().enumerate() {
            for (column, cell) in row.iter_mut().enumerate() {
                cell.clone_from(&before[(number + column * 5 + 1) % HIDDEN][column]);
            }
        }
    }
    for (number, row) in rows.iter_mut().enumerate() {
        let mut set = |column: &str, value: String| {
            if let Some(cell) = table.position(column).and_then(|at| row.get_mut(at)) {
                *cell = Some(value);
            }
        };
        set("rid", (HIDDEN_FROM + place * 1_000 + number).to_string());
        set("pid", (HIDDEN_FROM + number).to_string());
        match table.name {
            "tags" | "nothing" => set("num", (90 + number).to_string()),
            "rates" => set("rate", "6000.50".to_owned()),
            // What would make an expression of the requester fail, were it to see the row.
            "orders" => set("qty", "20".to_owned()),
            "visits" => set("days", i64::MAX.to_string()),
            _ => {}
        }
    }
    rows
}
