//! Rows that are released under a condition of the clause (rule C.3).

use super::bench::Bench;

#[test]
fn c3_the_condition_of_a_clause_is_stated_and_applied_in_the_view() {
    let clause = "RELEASE ROWS (city, wage) FROM s.people WHERE sex = 'f'";
    let ship = "SHIP ROWS (city, wage) FROM s.people WHERE sex = 'f' TO p";
    let bench = Bench::both(&format!("{clause}, {ship}"));
    let query = bench.allows("SELECT city FROM s.people WHERE sex = 'f' AND 100 / wage > 1 ORDER BY wage");
    let plans = query.graph().fragments.iter().map(|one| one.plan.display_indent().to_string()).collect::<String>();
    assert!(plans.contains("a#1.s.people") && plans.contains("b#1.s.people"), "{plans}");
    assert!(!plans.contains("sex"), "the condition stays in the view: {plans}");
    bench.allows("SELECT x.city FROM s.people x JOIN s.people y ON x.wage = y.wage WHERE x.sex = 'f' AND y.sex = 'f'");
    bench.allows("SELECT city, max(wage) FROM s.people WHERE 'f' = sex GROUP BY city");
    for sql in [
        "SELECT city FROM s.people",
        "SELECT city FROM s.people WHERE sex IN ('f', 'm')",
        "SELECT sex FROM s.people WHERE sex = 'f'",
        "SELECT city FROM s.people WHERE sex = 'f' AND pension > 1",
        "SELECT city FROM s.people WHERE sex = 'f' OR wage > 1",
    ] {
        bench.refuses(sql, "it needs the condition");
    }
    // A steward whose clause has no such condition does not believe that it has.
    for other in [
        "RELEASE ROWS (city, wage) FROM s.people",
        "RELEASE ROWS (city, wage) FROM s.visits WHERE ward = 'f'",
        "RELEASE sum OF wage FROM s.people WHERE sex = 'f'",
    ] {
        let refused = Bench::both(other).judged_by("a", &query).unwrap_err();
        assert!(refused.contains("releases no rows of `s.people` under a condition"), "{other}: {refused}");
    }
    let narrower = Bench::both(&format!("RELEASE ROWS (city) FROM s.people WHERE sex = 'f', {ship}"));
    assert!(narrower.judged_by("a", &query).is_err(), "wage is not listed");
}
