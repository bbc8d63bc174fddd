//! RELEASE ROWS over a join: the rows of exactly that join are released, its tables alone are not (rules A.3, A.6, C.3, C.4).

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use dynamos_planner::{PermittedQuery, Placement};

use super::bench::{Bench, places};

const ROWS: &str = "RELEASE ROWS (people.sex, visits.ward) FROM s.people JOIN s.visits ON id";
const FROM: &str = "s.people x JOIN s.visits y ON x.id = y.id";

/// The tables that a plan's fragments read, with their columns.
fn reads(query: &PermittedQuery) -> Vec<String> {
    let mut all = Vec::new();
    for fragment in &query.graph().fragments {
        fragment
            .plan
            .apply(|node| {
                if let LogicalPlan::TableScan(scan) = node
                    && scan.table_name.catalog().is_some()
                {
                    let names: Vec<&str> =
                        scan.projected_schema.fields().iter().map(|field| field.name().as_str()).collect();
                    all.push(format!("{} ({})", scan.table_name, names.join(", ")));
                }
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
    }
    all
}

#[test]
fn a3_rows_of_the_very_join_are_released_and_its_tables_alone_are_not() {
    let bench = Bench::both(ROWS);
    let query = bench.allows(&format!("SELECT x.sex, y.ward FROM {FROM}"));
    assert_eq!(reads(&query), ["a#1.s.people (t0_sex, t1_ward)", "b#1.s.people (t0_sex, t1_ward)"]);
    for steward in ["a", "b"] {
        bench.judged_by(steward, &query).unwrap();
    }
    for sql in [
        format!("SELECT ward FROM {FROM}"),
        "SELECT sex FROM s.visits y JOIN s.people x USING (id)".to_owned(),
        format!("SELECT upper(x.sex) || y.ward FROM {FROM} ORDER BY 1 LIMIT 3"),
        format!("SELECT ward, median(length(sex)), count(*) FROM {FROM} GROUP BY ward"),
        format!("SELECT x.steward, count(*) FROM {FROM} GROUP BY x.steward"),
        format!("SELECT count(*) FROM {FROM}"),
        format!("SELECT p.ward FROM (SELECT x.sex, y.ward FROM {FROM}) p LEFT JOIN (VALUES ('f')) l(s) ON p.sex = l.s"),
        "SELECT x.sex FROM a.s.people x JOIN a.s.visits y ON x.id = y.id".to_owned(),
        format!("SELECT ward FROM {FROM} WHERE x.steward = 'b'"),
    ] {
        bench.allows(&sql);
    }
    for (sql, reason) in [
        ("SELECT sex FROM s.people", "it is about another relation"),
        ("SELECT ward FROM s.visits", "it is about another relation"),
        ("SELECT x.sex FROM s.people x JOIN s.visits y ON x.id = y.id AND x.city = y.ward", "no RELEASE"),
        ("SELECT x.sex FROM s.people x LEFT JOIN s.visits y ON x.id = y.id", "it is about another relation"),
        ("SELECT x.sex FROM s.people x, s.visits y", "joined within each steward"),
        ("SELECT x.sex FROM s.people x WHERE x.id IN (SELECT id FROM s.visits)", "join"),
    ] {
        let refused = bench.ask(sql).map(|_| ()).unwrap_err();
        assert!(refused.contains(reason) || refused.contains("another relation"), "{sql}: {refused}");
    }
    for column in ["x.id", "y.id", "x.city", "y.cost"] {
        bench.refuses(&format!("SELECT {column} FROM {FROM}"), "clause 1: it does not list");
        bench.refuses(&format!("SELECT sum(length(sex)), {column} FROM {FROM} GROUP BY {column}"), "");
    }
}

#[test]
fn c3_a_predicate_on_listed_columns_is_above_the_released_join() {
    let bench = Bench::both(ROWS);
    bench.allows(&format!("SELECT ward FROM {FROM} WHERE x.sex = 'f' AND y.ward LIKE 'w%'"));
    bench.allows(&format!("SELECT ward FROM {FROM} WHERE x.sex IN (VALUES ('f'), ('m'))"));
    bench.allows(&format!("SELECT ward FROM {FROM} WHERE x.sex <> y.ward"));
    bench.refuses(&format!("SELECT ward FROM {FROM} WHERE x.city = 'c'"), "it does not list `s.people.city`");
    bench.refuses(&format!("SELECT ward FROM {FROM} WHERE x.id IN (VALUES (1))"), "it does not list");
    bench.refuses(&format!("SELECT ward FROM {FROM} WHERE x.wage > y.cost"), "it does not list");
}

#[test]
fn c3_the_condition_of_the_clause_is_stated_and_need_not_be_listed() {
    let bench = Bench::both(&format!("{ROWS} WHERE people.wage > 10"));
    let query = bench.allows(&format!("SELECT sex FROM {FROM} WHERE x.wage > 10 AND y.ward = 'w'"));
    bench.judged_by("a", &query).unwrap();
    bench.refuses(&format!("SELECT sex FROM {FROM}"), "it needs the condition");
    bench.refuses(&format!("SELECT sex FROM {FROM} WHERE x.wage > 11"), "it needs the condition");
    // The graph names the clause; its condition is what the site's own copy says.
    Bench::both(&format!("{ROWS} WHERE people.wage > 11")).judged_by("a", &query).unwrap();
}

#[test]
fn a6_a_site_judges_released_joins_by_its_own_clause() {
    let wide = Bench::both("RELEASE ROWS (people.sex, people.city, visits.ward) FROM s.people JOIN s.visits ON id");
    let query = wide.allows(&format!("SELECT x.city, y.ward FROM {FROM}"));
    for (clause, reason) in [
        (ROWS, "protected rows of `a` reach the requester"),
        ("RELEASE ROWS (city) FROM s.people", "releases no rows"),
        ("RELEASE count OF * FROM s.people JOIN s.visits ON id", "releases no rows"),
        ("RELEASE ROWS (*) FROM s.people JOIN s.cases ON id", "releases no rows"),
        ("RELEASE ROWS (people.city) FROM s.people JOIN s.visits ON id", "protected rows of `a` reach the requester"),
    ] {
        let refused = Bench::both(clause).judged_by("a", &query).unwrap_err();
        assert!(refused.contains(reason), "{clause}: {refused}");
    }
    Bench::both("RELEASE ROWS (*) FROM s.visits JOIN people ON people.id = visits.id").judged_by("a", &query).unwrap();
}

#[test]
fn c4_rows_of_federated_joins_need_a_clause_of_every_steward() {
    let sql = format!("SELECT x.sex FROM {FROM}");
    let other = "RELEASE ROWS (ward, sex, city) FROM s.visits JOIN s.people ON visits.id = people.id";
    Bench::none()
        .with("a", "g", &format!("RELEASE ROWS (city) FROM s.people, {ROWS}"))
        .with("b", "g", other)
        .allows(&sql);
    Bench::none().with("a", "g", ROWS).with("b", "g", "RELEASE ROWS (sex) FROM s.people").refuses(&sql, "b: ");
    Bench::none().with("a", "g", ROWS).refuses(&sql, "b");
}

#[test]
fn a4_released_joins_go_where_rows_of_the_same_join_may() {
    let sql = format!("SELECT x.sex, y.ward FROM {FROM} ORDER BY 1");
    let ship = |columns: &str, from: &str| format!("{ROWS}, SHIP ROWS ({columns}) FROM {from} TO p");
    let at_p = |clauses: &str| {
        let query = Bench::both(clauses)
            .placed(Placement::DataToCompute)
            .allows(&format!("SELECT sex, count(*) FROM ({sql}) GROUP BY sex"));
        places(&query).contains("p")
    };
    assert!(at_p(&ship("sex, ward", "s.people JOIN s.visits ON id")));
    assert!(!at_p(&ship("ward", "s.people JOIN s.visits ON id")));
    assert!(!at_p(&ship("sex", "s.people")));
    assert!(!at_p(ROWS));
}

#[test]
fn a3_the_rows_of_a_left_join_are_released_as_such() {
    let bench = Bench::both("RELEASE ROWS (people.sex, visits.ward) FROM s.people LEFT JOIN s.visits ON id");
    let query =
        bench.allows("SELECT x.sex, y.ward FROM s.people x LEFT JOIN s.visits y ON x.id = y.id WHERE y.ward IS NULL");
    bench.judged_by("a", &query).unwrap();
    bench.refuses(&format!("SELECT x.sex, y.ward FROM {FROM}"), "it is about another relation");
    bench.refuses("SELECT y.steward FROM s.people x LEFT JOIN s.visits y ON x.id = y.id", "it does not list");
    let with_key = Bench::both("RELEASE ROWS (people.sex, visits.id) FROM s.people LEFT JOIN s.visits ON id");
    for item in ["y.id", "y.steward", "median(y.id)", "count(DISTINCT y.id)"] {
        let query = with_key.allows(&format!("SELECT {item} FROM s.people x LEFT JOIN s.visits y ON x.id = y.id"));
        with_key.judged_by("b", &query).unwrap();
    }
    with_key
        .refuses("SELECT x.id FROM s.people x LEFT JOIN s.visits y ON x.id = y.id", "it does not list `s.people.id`");
}
