//! The conditions of RELEASE over a federation: the same answer wherever it is computed, every value true, and nothing small
//! left by subtracting what else the requester may know, tried by somebody who has all rows.

use std::collections::BTreeMap;

use dynamos_cli::federation::Client;

use crate::attack::{Cost, FROM, MINIMUM, Open, Row, STEWARDS, all_rows, attack, attack_sets, open_to_subtraction};
use crate::federation::{TestFederation, answer, error, everywhere, explained, published_wages};

/// The agreement `name` of a university, with these conditions.
fn agreement(name: &str, steward: &str, conditions: &str) -> String {
    format!(
        "CREATE AGREEMENT {name} ON SITE {steward} FOR ROLE analyst PURPOSE statistics AS (
           groups: RELEASE sum, avg, count, median OF salschal, * BY geslacht, hoopgeb, date_part('year', gebdat)
                   FROM wages.personen JOIN wages.aanstellingen ON unieknr
                   MINIMUM {MINIMUM} DISTINCT personen.unieknr {conditions},
           SHIP PARTIALS OF groups TO surf,
           SHIP ROWS (personen.unieknr, geslacht, hoopgeb, date_part('year', gebdat), salschal)
                FROM wages.personen JOIN wages.aanstellingen ON unieknr TO surf)"
    )
}

/// Gives both universities the agreement, and connects the analyst under it.
async fn under(federation: &TestFederation, name: &str, conditions: &str) -> Client {
    let ready = format!("SELECT geslacht, count(*) FROM {FROM} GROUP BY geslacht");
    let mut analyst = federation.client("analyst@uva.nl", "auto", &ready).await;
    for steward in STEWARDS {
        let mut client = federation.plain_client(&format!("steward@{steward}.nl"), "statistics").await;
        answer(&mut client, &agreement(name, steward, conditions)).await;
    }
    answer(&mut analyst, &format!("SET dynamos.agreement = '{name}'")).await;
    analyst
}

/// Takes the agreement back at both universities.
async fn revoke(federation: &TestFederation, name: &str) {
    for steward in STEWARDS {
        let mut client = federation.plain_client(&format!("steward@{steward}.nl"), "statistics").await;
        answer(&mut client, &format!("REVOKE AGREEMENT {name} ON SITE {steward}")).await;
    }
}

fn grouped(keys: usize) -> String {
    let all = ["geslacht", "hoopgeb", "date_part('year', gebdat)"];
    let by = all[..keys].join(", ");
    format!("SELECT {by}, count(*), sum(salschal) FROM {FROM} GROUP BY {by} ORDER BY {by}")
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_b5_rest_and_complement_leave_nothing_small_to_subtract() {
    let federation = TestFederation::start(None).await;
    let rows = all_rows(&federation).await;
    let mut analyst = under(&federation, "strict", "ELSE DROP").await;
    let mut withheld = 0;
    for keys in 1..=3 {
        let answered = everywhere(&mut analyst, &grouped(keys)).await;
        let cost = attack(&rows, &answered, keys);
        println!("by {keys} keys: {} released, {cost:?}", answered.len());
        withheld += cost.by_complement;
    }
    assert!(withheld > 0, "nothing was left for the complement to do");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_remainder_is_the_merge_of_what_is_withheld() {
    let federation = TestFederation::start(None).await;
    let rows = all_rows(&federation).await;
    let mut analyst = under(&federation, "merged", "ELSE REMAINDER").await;
    let refused =
        error(&mut analyst, &format!("SELECT geslacht, median(salschal) FROM {FROM} GROUP BY geslacht")).await;
    assert!(refused.message.contains("`median` of small groups cannot be merged to a remainder"), "{refused}");
    let mut strict = under(&federation, "strict", "ELSE DROP").await;
    let dropped = answer(&mut strict, &grouped(3)).await;
    // Settings are the user's, whichever connection made them.
    answer(&mut analyst, "SET dynamos.agreement = 'merged'").await;
    let merged = everywhere(&mut analyst, &grouped(3)).await;
    let (remainder, others): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|row| row[..3].iter().all(|key| key == "NULL"));
    assert_eq!(others, dropped);
    let total = |column: usize| dropped.iter().map(|row| row[column].parse::<i64>().unwrap()).sum::<i64>();
    let salaries: i64 = rows.iter().filter_map(|row| row.salary).sum();
    let expected =
        [i64::try_from(rows.len()).unwrap() - total(3), salaries - total(4)].map(|number| number.to_string());
    assert_eq!(remainder.len(), 1);
    assert_eq!(remainder[0][3..], expected);
    // Averages are merged from sums and counts.
    let average =
        "SELECT geslacht, hoopgeb, date_part('year', gebdat), sum(salschal) / count(salschal), avg(salschal) FROM "
            .to_owned()
            + FROM
            + " GROUP BY geslacht, hoopgeb, date_part('year', gebdat) ORDER BY 1, 2, 3";
    for row in everywhere(&mut analyst, &average).await {
        let [whole, average] = [&row[3], &row[4]].map(|number| number.parse::<f64>().unwrap());
        assert!((whole..whole + 1.0).contains(&average), "{row:?}");
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_is_remainder_tells_the_remainder_from_groups_whose_keys_are_null() {
    let federation = TestFederation::start(None).await;
    let mut analyst = under(&federation, "merged", "ELSE REMAINDER").await;
    let by = "geslacht, hoopgeb, date_part('year', gebdat)";
    let plain = everywhere(&mut analyst, &grouped(3)).await;
    let sql =
        format!("SELECT {by}, count(*), sum(salschal), dynamos.is_remainder() FROM {FROM} GROUP BY {by} ORDER BY {by}");
    let marked = everywhere(&mut analyst, &sql).await;
    let of = |mark: &str| -> Vec<Vec<String>> {
        marked.iter().filter(|row| row[5] == mark).map(|row| row[..5].to_vec()).collect()
    };
    let (remainder, others) = (of("true"), of("false"));
    assert_eq!((remainder.len(), remainder.len() + others.len()), (1, plain.len()));
    assert!(remainder[0][..3].iter().all(|key| key == "NULL") && plain.contains(&remainder[0]));
    assert!(others.iter().all(|row| plain.contains(row)));
    // In HAVING, in ORDER BY, in any case, above the release, and with nothing beside it.
    let only = format!("SELECT count(*) FROM {FROM} GROUP BY {by} HAVING Dynamos.Is_Remainder()");
    assert_eq!(everywhere(&mut analyst, &only).await, [[remainder[0][3].clone()]]);
    let last = format!("SELECT count(*) FROM {FROM} GROUP BY {by} ORDER BY dynamos.is_remainder() DESC LIMIT 1");
    assert_eq!(everywhere(&mut analyst, &last).await, [[remainder[0][3].clone()]]);
    let above = format!(
        "SELECT rest, sum(n) FROM (SELECT dynamos.is_remainder() AS rest, count(*) AS n FROM {FROM} GROUP BY {by}) t \
         GROUP BY rest ORDER BY rest DESC"
    );
    assert_eq!(everywhere(&mut analyst, &above).await[0], ["true".to_owned(), remainder[0][3].clone()]);
    let bare = format!("SELECT dynamos.is_remainder(), geslacht FROM {FROM} GROUP BY geslacht ORDER BY geslacht");
    assert_eq!(everywhere(&mut analyst, &bare).await.iter().map(|row| &row[0]).collect::<Vec<_>>(), ["false", "false"]);
    // Without keys nothing is a remainder.
    let total = format!("SELECT count(*) > 0, dynamos.is_remainder() FROM {FROM}");
    assert_eq!(everywhere(&mut analyst, &total).await, [["true", "false"]]);
    // Over what is released already, and over nothing.
    for sql in [
        format!(
            "SELECT dynamos.is_remainder() FROM (SELECT hoopgeb, count(*) AS n FROM {FROM} GROUP BY hoopgeb) t GROUP BY n"
        ),
        format!("SELECT count(*), dynamos.is_remainder() OVER () FROM {FROM} GROUP BY {by}"),
        "SELECT dynamos.is_remainder()".to_owned(),
    ] {
        let refused = error(&mut analyst, &sql).await;
        assert!(refused.message.contains("ask for it where groups are released"), "{sql}: {refused}");
    }
    let filtered = format!("SELECT dynamos.is_remainder() FILTER (WHERE salschal > 1) FROM {FROM} GROUP BY geslacht");
    assert!(error(&mut analyst, &filtered).await.message.contains("does not list `dynamos.is_remainder`"));
    // Each agreement alone: one that is named comes first, and the others after it.
    answer(&mut analyst, "SET dynamos.agreement = 'wage_gap'").await;
    revoke(&federation, "merged").await;
    let mut analyst = under(&federation, "strict", "ELSE DROP").await;
    let refused = error(&mut analyst, &sql).await;
    assert!(refused.message.contains("merge no remainder (ELSE REMAINDER)"), "{refused}");
    answer(&mut analyst, "SET dynamos.agreement = 'wage_gap'").await;
    revoke(&federation, "strict").await;
    let mut analyst = under(&federation, "alone", "PER SITE ELSE REMAINDER").await;
    let marked = answer(&mut analyst, &sql).await;
    assert_eq!(marked.iter().filter(|row| row[5] == "true").count(), 1);
    assert!(marked.iter().all(|row| row[5] == "true" || row[..3].iter().any(|key| key != "NULL")));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_round_and_sites_hold_under_every_placement() {
    let federation = TestFederation::start(None).await;
    let mut analyst = under(&federation, "strict", "ELSE DROP").await;
    let exact = answer(&mut analyst, &grouped(1)).await;
    let mut analyst = under(&federation, "rounded", "ROUND TO 25 ELSE DROP").await;
    let rounded = everywhere(&mut analyst, &grouped(1)).await;
    assert_eq!((exact.len(), rounded.len()), (2, 2));
    for (exact, rounded) in exact.iter().zip(&rounded) {
        for column in 1..3 {
            let [exact, rounded] = [exact, rounded].map(|row| row[column].parse::<f64>().unwrap());
            assert_eq!(rounded, (exact / 25.0).round() * 25.0);
        }
    }
    let one = format!("SELECT count(*) FROM {}", FROM.replace("wages.", "vu.wages."));
    assert_ne!(answer(&mut analyst, &one).await, [["NULL"]]);
    let mut analyst = under(&federation, "sites", "MINIMUM 2 SITES ELSE DROP").await;
    assert_eq!(everywhere(&mut analyst, &grouped(1)).await, exact);
    assert_eq!(answer(&mut analyst, &one).await, [["NULL"]]);
    federation.stop().await;
}

/// The largest parts that a person and a steward have of the salaries of these rows.
fn largest_parts(rows: &[&Row]) -> (f64, f64) {
    let (mut people, mut stewards) = (BTreeMap::<_, i64>::new(), BTreeMap::<_, i64>::new());
    for row in rows {
        *people.entry((&row.steward, &row.person)).or_default() += row.salary.unwrap_or(0);
        *stewards.entry(&row.steward).or_default() += row.salary.unwrap_or(0);
    }
    let all: i64 = stewards.values().sum();
    let part = |largest: Option<&i64>| *largest.unwrap_or(&0) as f64 / all as f64;
    (part(people.values().max()), part(stewards.values().max()))
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_dominance_leaves_no_sum_to_one_person_or_one_steward() {
    let federation = TestFederation::start(None).await;
    let rows = all_rows(&federation).await;
    let group = |keys: &[String], steward: Option<&str>| -> Vec<&Row> {
        let of = rows.iter().filter(|row| row.keys[..keys.len()] == *keys);
        of.filter(|row| steward.is_none_or(|steward| row.steward == steward)).collect()
    };
    // Over both, no steward has more than its portion; at one, no person has.
    for (name, portion, steward) in [("both", 0.6, None), ("one", 0.1, Some("uva"))] {
        let of = |sql: String| steward.map_or(sql.clone(), |name| sql.replace("wages.", &format!("{name}.wages.")));
        let mut analyst = under(&federation, &format!("strict_{name}"), "ELSE DROP").await;
        let (two, three) = (of(grouped(2)), of(grouped(3)));
        let strict = [answer(&mut analyst, &two).await, answer(&mut analyst, &three).await];
        let mut analyst = under(&federation, name, &format!("DOMINANCE {portion} ELSE DROP")).await;
        let held = [everywhere(&mut analyst, &two).await, everywhere(&mut analyst, &three).await];
        let mut dominated = 0;
        for (keys, (strict, held)) in (2..=3).zip(strict.iter().zip(&held)) {
            for row in strict {
                let (person, of_steward) = largest_parts(&group(&row[..keys], steward));
                if person > portion || (steward.is_none() && of_steward > portion) {
                    assert!(!held.contains(row), "{name}: {row:?} has parts of {person} and {of_steward}");
                    dominated += 1;
                }
            }
            // What the complement takes along may be another group than without DOMINANCE; it is held to it, too.
            for row in held {
                let of_group = group(&row[..keys], steward);
                let (person, of_steward) = largest_parts(&of_group);
                assert!(person <= portion && (steward.is_some() || of_steward <= portion), "{name}: {row:?}");
                let sum: i64 = of_group.iter().filter_map(|row| row.salary).sum();
                assert_eq!(row[keys..], [of_group.len().to_string(), sum.to_string()], "{name}");
            }
        }
        println!(
            "{name}: {dominated} dominated, {:?} of {:?} released",
            held.map(|h| h.len()),
            strict.map(|s| s.len())
        );
        assert!(dominated > 0, "{name}: nothing was dominated");
        let mut analyst = under(&federation, &format!("{name}_fails"), &format!("DOMINANCE {portion} ELSE FAIL")).await;
        let failed = error(&mut analyst, &three).await;
        assert!(failed.code == dynamos_proto::status::Code::Denied && failed.message.contains("minimum"), "{failed}");
    }
    let refused = "RELEASE sum DISTINCT OF salschal FROM wages.aanstellingen MINIMUM 2 DISTINCT unieknr DOMINANCE 0.5";
    let refused = format!("CREATE AGREEMENT different ON SITE uva FOR ROLE analyst PURPOSE statistics AS ({refused})");
    let mut steward = federation.plain_client("steward@uva.nl", "statistics").await;
    answer(&mut steward, &refused).await;
    let mut analyst = under(&federation, "strict", "ELSE DROP").await;
    answer(&mut analyst, "SET dynamos.agreement = 'different'").await;
    let refused = error(&mut analyst, "SELECT sum(DISTINCT salschal) FROM uva.wages.aanstellingen").await;
    assert!(refused.message.contains("cannot be held to DOMINANCE"), "{refused}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_per_site_merges_what_each_steward_releases_alone() {
    let federation = TestFederation::start(None).await;
    let mut analyst = under(&federation, "alone", "PER SITE ELSE DROP").await;
    let mut merged: BTreeMap<Vec<String>, [i64; 2]> = BTreeMap::new();
    let mut parts = 0;
    for steward in STEWARDS {
        let own = grouped(3).replace("wages.", &format!("{steward}.wages."));
        for row in answer(&mut analyst, &own).await {
            parts += 1;
            let sums = merged.entry(row[..3].to_vec()).or_default();
            for (sum, value) in sums.iter_mut().zip(&row[3..]) {
                *sum += value.parse::<i64>().unwrap();
            }
        }
    }
    assert!(parts > merged.len() && !merged.is_empty(), "{parts} groups of stewards, {} together", merged.len());
    for placement in ["auto", "compute_to_data"] {
        answer(&mut analyst, &format!("SET dynamos.placement = '{placement}'")).await;
        let answered = answer(&mut analyst, &grouped(3)).await;
        let answered = answered.into_iter().map(|row| {
            let values = [&row[3], &row[4]].map(|value| value.parse::<i64>().unwrap());
            (row[..3].to_vec(), values)
        });
        assert_eq!(answered.collect::<BTreeMap<_, _>>(), merged, "{placement}");
    }
    answer(&mut analyst, "SET dynamos.placement = 'data_to_compute'").await;
    let refused = error(&mut analyst, &grouped(3)).await;
    assert!(refused.message.contains("data_to_compute"), "rows leave before anything is decided: {refused}");
    answer(&mut analyst, "SET dynamos.placement = 'auto'").await;
    let refused =
        error(&mut analyst, &format!("SELECT geslacht, median(salschal) FROM {FROM} GROUP BY geslacht")).await;
    assert!(refused.message.contains("`median` of groups that each steward releases by itself"), "{refused}");
    federation.stop().await;
}

/// What the conditions cost on the published wage data, and that they hold there.
#[tokio::test(flavor = "multi_thread")]
async fn b4_b5_hold_on_the_published_wage_data() {
    let Some(folder) = published_wages() else { return };
    let federation = TestFederation::start(Some(&folder)).await;
    let rows = all_rows(&federation).await;
    let mut analyst = under(&federation, "strict", "ELSE DROP").await;
    for keys in 1..=3 {
        let answered = everywhere(&mut analyst, &grouped(keys)).await;
        let (open, cost) = (open_to_subtraction(&rows, keys), attack(&rows, &answered, keys));
        let share = |part: usize| format!("{:.1} %", 100.0 * part as f64 / cost.groups as f64);
        println!("by {keys} keys, a minimum alone: {open:?}");
        println!(
            "by {keys} keys: {} released ({}), {cost:?}; rest and complement cost {}",
            answered.len(),
            share(answered.len()),
            share(cost.by_rest + cost.by_complement)
        );
        if keys == 3 {
            let expected = Open {
                groups: 614,
                enough: 500,
                by_steward: 164,
                coarser: 443,
                by_group: 75,
                one_key_less: 323,
                by_first_key: 77,
            };
            assert_eq!(open, expected);
            // Of one university alone more is open.
            let of_uva: Vec<Row> = rows.iter().filter(|row| row.steward == "uva").cloned().collect();
            let alone = open_to_subtraction(&of_uva, keys);
            assert_eq!((alone.groups, alone.one_key_less, alone.by_first_key), (589, 315, 94));
            let expected = Cost { groups: 614, below_minimum: 114, by_rest: 145, by_complement: 91 };
            assert_eq!((answered.len(), cost), (264, expected));
        }
    }
    for sets in ["ROLLUP", "CUBE"] {
        let answered = everywhere(&mut analyst, &by_sets(&format!("{sets} ({ALL_KEYS})"))).await;
        println!("{sets}: {:?} released of each set", attack_sets(&rows, &answered));
    }
    federation.stop().await;
}

const ALL_KEYS: &str = "geslacht, hoopgeb, date_part('year', gebdat)";

fn by_sets(sets: &str) -> String {
    format!(
        "SELECT {ALL_KEYS}, count(*), sum(salschal), grouping({ALL_KEYS}) FROM {FROM} GROUP BY {sets} ORDER BY 6, 1, 2, 3"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_all_grouping_sets_of_an_answer_leave_nothing_small_to_subtract() {
    let federation = TestFederation::start(None).await;
    let rows = all_rows(&federation).await;
    let mut analyst = under(&federation, "strict", "ELSE DROP").await;
    for sets in ["ROLLUP", "CUBE"] {
        let answered = everywhere(&mut analyst, &by_sets(&format!("{sets} ({ALL_KEYS})"))).await;
        println!("{sets}: {:?} released of each set", attack_sets(&rows, &answered));
        let of = |set: &str, keys: usize| -> Vec<Vec<String>> {
            let of_set = answered.iter().filter(|row| row[5] == set);
            of_set.map(|row| row[..keys].iter().chain(&row[3..5]).cloned().collect()).collect()
        };
        assert_eq!(of("7", 0), answer(&mut analyst, &format!("SELECT count(*), sum(salschal) FROM {FROM}")).await);
        assert_eq!(of("3", 1), answer(&mut analyst, &grouped(1)).await);
    }
    // Functions that have no states are computed of each set.
    let medians = format!("SELECT geslacht, median(salschal) FROM {FROM} GROUP BY");
    answer(&mut analyst, "SET dynamos.placement = 'data_to_compute'").await;
    let alone = answer(&mut analyst, &format!("{medians} geslacht ORDER BY 1")).await;
    let both = answer(&mut analyst, &format!("{medians} ROLLUP (geslacht) ORDER BY grouping(geslacht), 1")).await;
    assert_eq!((both.len(), &both[..2]), (3, &alone[..]));
    answer(&mut analyst, "SET dynamos.placement = 'auto'").await;
    let report = explained(&mut analyst, "EXPLAIN POLICY", &by_sets(&format!("ROLLUP ({ALL_KEYS})"))).await;
    assert!(report.contains(" by grouping sets ((), "), "{report}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_grouping_sets_per_site_are_merged_set_by_set() {
    let federation = TestFederation::start(None).await;
    let mut analyst = under(&federation, "alone", "PER SITE ELSE DROP").await;
    let sql = by_sets(&format!("ROLLUP ({ALL_KEYS})"));
    let mut merged: BTreeMap<Vec<String>, [i64; 2]> = BTreeMap::new();
    for steward in STEWARDS {
        for row in answer(&mut analyst, &sql.replace("wages.", &format!("{steward}.wages."))).await {
            let group = [&row[..3], &row[5..]].concat();
            let sums = merged.entry(group).or_default();
            for (sum, value) in sums.iter_mut().zip(&row[3..5]) {
                *sum += value.parse::<i64>().unwrap();
            }
        }
    }
    let answered = answer(&mut analyst, &sql).await.into_iter().map(|row| {
        let values = [&row[3], &row[4]].map(|value| value.parse::<i64>().unwrap());
        ([&row[..3], &row[5..]].concat(), values)
    });
    let answered: BTreeMap<Vec<String>, [i64; 2]> = answered.collect();
    assert!(answered.len() > 10, "{answered:?}");
    assert_eq!(answered, merged);
    federation.stop().await;
}
