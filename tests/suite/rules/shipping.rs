//! What may travel, and to whom (rules D.1, D.2, D.4).

use dynamos_planner::Placement;
use dynamos_planner::fragment::ReleaseInput;

use super::bench::{Bench, places};

const RELEASE: &str = "RELEASE sum, avg, median, count, min OF wage, * BY sex FROM s.people MINIMUM 5 DISTINCT id,
                       FILTER ON city COMPARE WITH LITERALS";

#[test]
fn d1_partials_are_states_of_constant_size_under_the_release_keys() {
    let bench = Bench::both(&format!("{RELEASE}, SHIP PARTIALS OF 1 TO p"));
    let query = bench
        .allows("SELECT sex, sum(wage), avg(wage), count(*), min(wage) FROM s.people WHERE city = 'x' GROUP BY sex");
    let point = &query.graph().releases[0];
    assert!(matches!(&point.input, ReleaseInput::Merge(senders) if senders.len() == 2));
    assert_eq!(point.shape.keys, 1, "nothing finer than the release keys");
    for (sql, why) in [
        ("SELECT median(wage) FROM s.people", "no place"),
        ("SELECT sex, median(wage), sum(wage) FROM s.people GROUP BY sex", "no place"),
    ] {
        bench.refuses(sql, why);
    }
    // A steward alone computes it beside the data.
    bench.allows("SELECT median(wage) FROM a.s.people");
    Bench::both(RELEASE).refuses("SELECT sum(wage) FROM s.people", "no place");
    Bench::both(&format!("{RELEASE}, SHIP PARTIALS OF 1 TO elsewhere"))
        .refuses("SELECT sum(wage) FROM s.people", "no place");
}

#[test]
fn d2_every_column_that_is_touched_below_the_edge_is_listed() {
    let ask = "SELECT sex, median(wage) FROM s.people WHERE city = 'x' GROUP BY sex";
    let ship = |columns: &str| Bench::both(&format!("{RELEASE}, SHIP ROWS ({columns}) FROM s.people TO p"));
    let query = ship("id, sex, wage, city").allows(ask);
    assert!(places(&query).contains("p"));
    for missing in ["id, sex, wage", "id, sex, city", "id, wage, city", "sex, wage, city"] {
        ship(missing).refuses(ask, "no place");
    }
    // The clause's own condition is exempt, if the query states it.
    let own = Bench::both(&format!("{RELEASE}, SHIP ROWS (id, sex, wage) FROM s.people WHERE city = 'x' TO p"));
    own.allows(ask);
    own.refuses("SELECT sex, median(wage) FROM s.people GROUP BY sex", "no place");
    own.refuses("SELECT sex, median(wage) FROM s.people WHERE city = 'y' GROUP BY sex", "no place");
    // A function of a column is another thing than the column.
    let by = "RELEASE median OF wage BY upper(sex) FROM s.people MINIMUM 5 DISTINCT id";
    let ask = "SELECT upper(sex), median(wage) FROM s.people GROUP BY upper(sex)";
    let with = |listed: &str| Bench::both(&format!("{by}, SHIP ROWS (id, wage, {listed}) FROM s.people TO p"));
    with("upper(sex)").allows(ask);
    with("sex").refuses(ask, "no place");
    with("upper(sex)").refuses("SELECT median(wage), sex FROM s.people GROUP BY sex", "does not list the grouping");
}

#[test]
fn d4_archetypes_bind_the_steward_s_own_edges() {
    let ship = "SHIP ROWS (*) FROM s.people TO p, SHIP PARTIALS OF 1 TO p";
    let (whole, sums) = ("SELECT median(wage) FROM s.people", "SELECT sum(wage) FROM s.people");
    let free = Bench::both(&format!("{RELEASE}, {ship}"));
    free.allows(whole);
    let bound = Bench::both(&format!("{RELEASE}, {ship}, ARCHETYPES compute_to_data"));
    bound.refuses(whole, "no place");
    bound.allows(sums);
    bound.placed(Placement::DataToCompute).refuses(sums, "data_to_compute");
    // One steward's archetypes are enough.
    let one = Bench::none().with("a", "g", &format!("{RELEASE}, {ship}, ARCHETYPES compute_to_data")).with(
        "b",
        "g",
        &format!("{RELEASE}, {ship}, ARCHETYPES compute_to_data, data_to_compute"),
    );
    one.refuses(whole, "no place");
    let forced = free.placed(Placement::ComputeToData);
    forced.refuses(whole, "compute_to_data");
    forced.allows(sums);
}
