//! Somebody who has all rows, and holds an answer against them: every value is true, and no subtraction of what else the
//! requester may know isolates a few people.

use std::collections::{BTreeMap, BTreeSet};

use dynamos_cli::demo::Truth;

use crate::federation::TestFederation;

/// The relation that is asked about.
pub const FROM: &str = "wages.personen p JOIN wages.aanstellingen a ON p.unieknr = a.unieknr";
/// So many people are enough.
pub const MINIMUM: usize = 10;
/// Whose people they are.
pub const STEWARDS: [&str; 2] = ["uva", "vu"];
/// The analyst's organisation.
const OWN: &str = "uva";

/// An appointment of a person.
#[derive(Clone)]
pub struct Row {
    /// At whom.
    pub steward: String,
    /// Whose it is, among the people of the steward.
    pub person: String,
    /// By what groups are made.
    pub keys: Vec<String>,
    /// What it pays.
    pub salary: Option<i64>,
}

/// All appointments.
pub async fn all_rows(federation: &TestFederation) -> Vec<Row> {
    let truth = Truth::open(&federation.layout).await.unwrap();
    let sql = format!(
        "SELECT p.steward, p.unieknr, p.geslacht, a.hoopgeb, date_part('year', p.gebdat), a.salschal
         FROM {FROM} AND p.steward = a.steward"
    );
    let rows = truth.answer(&sql).await.unwrap().into_iter();
    let row = |row: Vec<String>| Row {
        steward: row[0].clone(),
        person: row[1].clone(),
        keys: row[2..5].to_vec(),
        salary: row[5].parse().ok(),
    };
    rows.map(row).collect()
}

/// Whose people a value over these rows is about: all, or those with a salary.
fn people(rows: &[&Row], salaried: bool) -> BTreeMap<&'static str, usize> {
    let of = |steward: &'static str| {
        let rows = rows.iter().filter(|row| row.steward == steward && (!salaried || row.salary.is_some()));
        (steward, rows.map(|row| &row.person).collect::<BTreeSet<_>>().len())
    };
    STEWARDS.map(of).into()
}

/// The people whom a value over these rows isolates, if they are too few: all of them, or those at one steward when the
/// other's part is subtracted.
fn isolated(rows: &[&Row], at_least: usize) -> Option<usize> {
    [false, true].into_iter().find_map(|salaried| {
        let people = people(rows, salaried);
        let all: usize = people.values().sum();
        let unknown = people.iter().filter(|(steward, count)| **steward != OWN && **count < MINIMUM);
        let rest: usize = unknown.map(|(_, count)| count).sum();
        let few = |count: usize| (at_least..MINIMUM).contains(&count);
        if few(all) { Some(all) } else { Some(rest).filter(|rest| (1..MINIMUM).contains(rest)) }
    })
}

/// How many groups there are, and why some are withheld.
#[derive(Debug, Default, PartialEq)]
pub struct Cost {
    pub groups: usize,
    pub below_minimum: usize,
    pub by_rest: usize,
    pub by_complement: usize,
}

/// Holds an answer `(keys…, count(*), sum(salschal))` against all rows. Every value is true, and no subtraction isolates
/// anybody.
pub fn attack(rows: &[Row], answered: &[Vec<String>], keys: usize) -> Cost {
    let mut groups: BTreeMap<&[String], Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(&row.keys[..keys]).or_default().push(row);
    }
    let released: BTreeSet<&[String]> = answered.iter().map(|row| &row[..keys]).collect();
    for row in answered {
        let rows = &groups[&row[..keys]];
        let sum: i64 = rows.iter().filter_map(|row| row.salary).sum();
        assert_eq!(row[keys..], [rows.len().to_string(), sum.to_string()], "{row:?}");
        assert_eq!(isolated(rows, 0), None, "{row:?}");
    }
    let mut cost = Cost { groups: groups.len(), ..Cost::default() };
    for (_, rows) in groups.iter().filter(|(keys, _)| !released.contains(*keys)) {
        let enough = [false, true].iter().all(|salaried| people(rows, *salaried).values().sum::<usize>() >= MINIMUM);
        match (enough, isolated(rows, 0)) {
            (false, _) => cost.below_minimum += 1,
            (true, Some(_)) => cost.by_rest += 1,
            (true, None) => cost.by_complement += 1,
        }
    }
    for subset in 0..(1_usize << keys) - 1 {
        let coarser = |row: &Row| -> Vec<String> {
            (0..keys).filter(|key| subset & (1 << key) != 0).map(|key| row.keys[key].clone()).collect()
        };
        let mut parents: BTreeMap<Vec<String>, Vec<&Row>> = BTreeMap::new();
        for row in rows {
            parents.entry(coarser(row)).or_default().push(row);
        }
        for (parent, rows) in parents {
            let rest: Vec<&Row> = rows.iter().copied().filter(|row| !released.contains(&row.keys[..keys])).collect();
            if rest.len() < rows.len() && isolated(&rows, 0).is_none() {
                assert_eq!(isolated(&rest, 1), None, "{parent:?} without the released groups in it");
            }
        }
    }
    cost
}

/// What the minimum alone would leave open.
#[derive(Debug, PartialEq)]
pub struct Open {
    /// Groups, and those of them with enough people.
    pub groups: usize,
    pub enough: usize,
    /// Of the latter, those of which a few people are left when the part of a steward that has enough of them is subtracted.
    pub by_steward: usize,
    /// Groups by some of the keys with enough people, and those of them of which a few people are left when the finer groups with
    /// enough are subtracted.
    pub coarser: usize,
    pub by_group: usize,
    /// Groups by all keys but the first, also those with few people, and those of them of which a few people are left likewise.
    pub one_key_less: usize,
    pub by_first_key: usize,
}

/// What would be open if every group with enough people were released.
pub fn open_to_subtraction(rows: &[Row], keys: usize) -> Open {
    let few = |count: usize| (1..MINIMUM).contains(&count);
    let count = |rows: &[&Row]| people(rows, false).values().sum::<usize>();
    let by = |subset: usize| {
        let mut groups: BTreeMap<Vec<&String>, Vec<&Row>> = BTreeMap::new();
        for row in rows {
            let of = (0..keys).filter(|key| subset & (1 << key) != 0).map(|key| &row.keys[key]);
            groups.entry(of.collect()).or_default().push(row);
        }
        groups
    };
    let finest = (1_usize << keys) - 1;
    let groups = by(finest);
    let enough = |rows: &[&Row]| count(rows) >= MINIMUM;
    let one_is_left = |rows: &[&Row]| {
        let shares = people(rows, false);
        shares.values().any(|share| *share >= MINIMUM) && shares.values().any(|share| few(*share))
    };
    let coarser: Vec<Vec<&Row>> = (0..finest).flat_map(|subset| by(subset).into_values()).collect();
    let small: BTreeSet<&Vec<&String>> =
        groups.iter().filter(|(_, rows)| !enough(rows)).map(|(keys, _)| keys).collect();
    let withheld = |rows: &[&Row]| {
        let of_small = |row: &&Row| small.contains(&row.keys[..keys].iter().collect::<Vec<_>>());
        let left: Vec<&Row> = rows.iter().copied().filter(of_small).collect();
        count(&left)
    };
    let one_key_less = by(finest & !1);
    Open {
        groups: groups.len(),
        enough: groups.values().filter(|rows| enough(rows)).count(),
        by_steward: groups.values().filter(|rows| enough(rows) && one_is_left(rows)).count(),
        coarser: coarser.iter().filter(|rows| enough(rows)).count(),
        by_group: coarser.iter().filter(|rows| enough(rows) && few(withheld(rows))).count(),
        one_key_less: one_key_less.len(),
        by_first_key: one_key_less.values().filter(|rows| few(withheld(rows))).count(),
    }
}

/// Groups by their keys.
type Groups = Vec<Vec<String>>;

/// Holds an answer `(keys…, count(*), sum(salschal), grouping(keys))` of several grouping sets against all rows: every value is
/// true, and rows that no group of the answer tells apart are of nobody or enough. Gives the released groups of each set.
pub fn attack_sets(rows: &[Row], answered: &[Vec<String>]) -> BTreeMap<usize, usize> {
    let of = |row: &Row, set: usize| -> Vec<String> {
        let key = |key: usize| if set & (4 >> key) == 0 { row.keys[key].clone() } else { "NULL".to_owned() };
        (0..3).map(key).collect()
    };
    let mut sets: BTreeMap<usize, BTreeSet<Vec<String>>> = BTreeMap::new();
    for row in answered {
        let set: usize = row[5].parse().unwrap();
        let members: Vec<&Row> = rows.iter().filter(|member| of(member, set) == row[..3]).collect();
        let sum: i64 = members.iter().filter_map(|row| row.salary).sum();
        assert_eq!(row[3..5], [members.len().to_string(), sum.to_string()], "{row:?}");
        assert!(sets.entry(set).or_default().insert(row[..3].to_vec()), "{row:?} stands twice");
    }
    let mut alike: BTreeMap<Vec<bool>, BTreeMap<Groups, Vec<&Row>>> = BTreeMap::new();
    for row in rows {
        let groups: Groups = sets.keys().map(|set| of(row, *set)).collect();
        let shown: Vec<bool> = sets.values().zip(&groups).map(|(set, group)| set.contains(group)).collect();
        let told = groups.into_iter().zip(&shown).filter(|(_, shown)| **shown).map(|(group, _)| group).collect();
        alike.entry(shown).or_default().entry(told).or_default().push(row);
    }
    for (shown, classes) in alike.iter().filter(|(shown, _)| shown.contains(&true)) {
        for (told, rows) in classes {
            assert_eq!(isolated(rows, 1), None, "rows that are only in {told:?} ({shown:?})");
        }
    }
    sets.into_iter().map(|(set, groups)| (set, groups.len())).collect()
}
