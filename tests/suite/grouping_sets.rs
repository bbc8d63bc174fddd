//! Grouping sets over protected rows (rule B.5) in the federation of [`crate::thresholds`], where every expected row can be
//! worked out by hand: the same under every placement, and what the sets are if each is asked for alone, but for what one of
//! them would tell of another.
//!
//! ```text
//!  steward   x    y   NULL   z   v          By group: x, y and NULL; z and v are four together.
//!  a         4    1    3     2   -          By steward, beside that: a and b have too few of y.
//!  b         3    2    -     -   2          By both: (x, a), (x, b), (NULL, a).
//! ```

use dynamos_cli::federation::Client;

use crate::federation::{TestFederation, answer, error};
use crate::thresholds::{NOBODY, design, everywhere};

async fn ann(federation: &TestFederation, agreement: &str) -> Client {
    let mut ann = federation.client("ann@c", "auto", "SELECT count(*) FROM s.people").await;
    answer(&mut ann, &format!("SET dynamos.agreement = '{agreement}'")).await;
    ann
}

const AT_A: u32 = 10 + 20 + 30 + 40 + NOBODY;
const AT_B: u32 = 110 + 120 + 130;

#[tokio::test(flavor = "multi_thread")]
async fn b5_grouping_sets_are_released_set_by_set_and_together() {
    let federation = TestFederation::design(design).await;
    let mut ann = ann(&federation, "drop").await;
    let by_group = "SELECT grp, count(*), sum(wage) FROM s.people GROUP BY grp";
    let alone = everywhere(&mut ann, by_group).await;
    let total = everywhere(&mut ann, "SELECT NULL, count(*), sum(wage) FROM s.people").await;
    let mut both: Vec<String> = alone.iter().chain(&total).cloned().collect();
    both.sort();
    let rolled = "SELECT grp, count(*), sum(wage) FROM s.people GROUP BY ROLLUP (grp)";
    assert_eq!(everywhere(&mut ann, rolled).await, both);
    let (at_a, at_b) = (format!("x|a|5|{AT_A}|0"), format!("x|b|3|{AT_B}|0"));
    let by_both = [at_a.as_str(), at_b.as_str(), "NULL|a|3|270|0"];
    let x = format!("x|NULL|8|{}|1", AT_A + AT_B);
    let of_group = [x.as_str(), "y|NULL|3|340|1", "NULL|NULL|3|270|1"];
    let all: u32 = AT_A + AT_B + 50 + 140 + 150 + 60 + 70 + 80 + 90 + 100 + 160 + 170;
    let everything = format!("NULL|NULL|18|{all}|3");
    let select = "SELECT grp, steward, count(*), sum(wage), grouping(grp, steward) FROM s.people GROUP BY";
    for (sets, expected) in [
        ("ROLLUP (grp, steward)", [&by_both[..], &of_group, &[everything.as_str()]].concat()),
        // The groups by steward have too few people of y.
        ("CUBE (grp, steward)", [&by_both[..], &of_group, &[everything.as_str()]].concat()),
        ("GROUPING SETS ((grp), (steward))", of_group.to_vec()),
        (
            "GROUPING SETS ((grp, steward), (grp), (grp), ())",
            [&by_both[..], &of_group, &of_group, &[everything.as_str()]].concat(),
        ),
        (
            "GROUPING SETS ((), (grp, steward), ())",
            [&by_both[..], &[everything.as_str()], &[everything.as_str()]].concat(),
        ),
        ("grp, ROLLUP (steward)", [&by_both[..], &of_group].concat()),
    ] {
        let mut expected: Vec<&str> = expected;
        expected.sort_unstable();
        assert_eq!(everywhere(&mut ann, &format!("{select} {sets}")).await, expected, "{sets}");
    }
    // By steward alone is another question.
    let by_steward = "SELECT steward, count(*) FROM s.people GROUP BY ROLLUP (steward)";
    assert_eq!(everywhere(&mut ann, by_steward).await, ["NULL|18", "a|11", "b|7"]);
    // Above the sets everything is as above any release.
    let above = "SELECT g, sum(n) FROM (SELECT grp, grouping(grp) AS g, avg(wage) AS w, count(*) AS n FROM s.people \
                 GROUP BY ROLLUP (grp)) WHERE w > 0 GROUP BY g";
    assert_eq!(everywhere(&mut ann, above).await, ["0|14", "1|18"]);
    let having = "SELECT grp, count(*) FROM s.people GROUP BY CUBE (grp) HAVING count(*) > 3 ORDER BY grouping(grp)";
    assert_eq!(everywhere(&mut ann, having).await, ["NULL|18", "x|8"]);
    let joined = "SELECT p.grp, count(*) FROM s.people p JOIN s.visits v ON p.id = v.id GROUP BY ROLLUP (p.grp)";
    assert_eq!(everywhere(&mut ann, joined).await, ["NULL|3", "NULL|35", "x|7", "y|3"]);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_b5_a_withheld_total_is_a_row_of_nulls_and_each_set_has_its_remainder() {
    let federation = TestFederation::design(design).await;
    let mut ann = ann(&federation, "drop").await;
    for nobody in ["z", "nobody"] {
        let sql = format!(
            "SELECT grp, count(*), sum(wage), grouping(grp) FROM s.people WHERE grp = '{nobody}' GROUP BY \
             GROUPING SETS ((grp), (), ())"
        );
        assert_eq!(everywhere(&mut ann, &sql).await, ["NULL|NULL|NULL|1"; 2], "{nobody}");
    }
    answer(&mut ann, "SET dynamos.agreement = 'remainder'").await;
    let sql = "SELECT grp, steward, count(*), grouping(grp, steward), dynamos.is_remainder() FROM s.people \
               GROUP BY ROLLUP (grp, steward)";
    let expected = [
        "NULL|NULL|18|3|false",
        "NULL|NULL|3|1|false",
        "NULL|NULL|4|1|true",
        "NULL|NULL|7|0|true",
        "NULL|a|3|0|false",
        "x|NULL|8|1|false",
        "x|a|5|0|false",
        "x|b|3|0|false",
        "y|NULL|3|1|false",
    ];
    assert_eq!(everywhere(&mut ann, sql).await, expected);
    answer(&mut ann, "SET dynamos.agreement = 'fail'").await;
    let few = "SELECT grp, count(*) FROM s.people GROUP BY ROLLUP (grp)";
    assert!(error(&mut ann, few).await.to_string().contains("below the agreed minimum"));
    let enough = few.replace("GROUP BY", "WHERE grp IN ('x', 'y') GROUP BY");
    assert_eq!(everywhere(&mut ann, &enough).await, ["NULL|11", "x|8", "y|3"]);
    let nobody = few.replace("GROUP BY", "WHERE grp = 'nobody' GROUP BY");
    assert!(error(&mut ann, &nobody).await.to_string().contains("below the agreed minimum"));
    federation.stop().await;
}
